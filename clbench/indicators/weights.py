"""Norms of weights and gradients."""

import torch

from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import (
    LossFunction,
    Measures,
    Model,
    Network,
    Penalty,
    check_choice,
    wide,
)
from clbench.indicators.passes import Pass

KINDS = ("euclidean", "rms")


def weight_norm(model: Model | Network, kind: str = "euclidean", layers: LayerChoice = None) -> Measures:
    """Return the norm of the weights, biases included.

    "euclidean": `sqrt(sum theta^2)`; "rms": `sqrt(mean theta^2)`. Others report the mean absolute value under
    this name (Dohare et al., Nature 2024); that is neither.

    Args:
        model: a module, or `Stacked` ones.
        kind: "euclidean" or "rms".
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        weight, per layer and for the whole network: scalars, or `(S,)`.

    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
    >>> _ = torch.nn.init.constant_(model[0].weight, 3)
    >>> weight_norm(model, "rms")
    {'0': tensor(3.), 'whole network': tensor(3.)}
    """
    network = Network.of(model, layers)
    return norm_of(network, _weight_squares(network), kind)


def gradient_norm(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty | None = None,
    kind: str = "euclidean",
    layers: LayerChoice = None,
) -> Measures:
    """Return the norm of the batch's gradient as trained, penalty included.

    Args:
        model: a module, or `Stacked` ones.
        loss_fn: from outputs and targets to the batch's mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        penalty: from parameters by name to what is added to the loss; `(S,)` for stacked networks.
        kind: "euclidean", `sqrt(sum g^2)`, or "rms", `sqrt(mean g^2)`.
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        `loss / weight`, per layer and for the whole network: scalars, or `(S,)`.
    """
    network = Network.of(model, layers)
    return norm_of(network, Pass(network, loss_fn, inputs, targets, penalty).gradient_squares(), kind)


def gradient_parameter_ratio(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty | None = None,
    layers: LayerChoice = None,
) -> Measures:
    """Return `||g|| / ||theta||`, Euclidean; 0 where all weights are 0.

    Args:
        model: a module, or `Stacked` ones.
        loss_fn: from outputs and targets to the batch's mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        penalty: from parameters by name to what is added to the loss.
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        `loss / weight^2`, per layer and for the whole network: scalars, or `(S,)`.
    """
    network = Network.of(model, layers)
    return ratio_of(network, Pass(network, loss_fn, inputs, targets, penalty).gradient_squares())


def ratio_of(network: Network, gradient_squares: Measures) -> Measures:
    """Return ||g|| / ||theta|| from ||g||^2."""
    weights = _weight_squares(network)
    return {
        layer: torch.where(weights[layer] > 0, (square / weights[layer]).sqrt(), 0)
        for layer, square in gradient_squares.items()
    }


def norm_of(network: Network, squares: Measures, kind: str) -> Measures:
    """Return norms from sums of squares."""
    check_choice("kind", kind, KINDS)
    counts = {block: sum(network.sizes[name] for name in names) for block, names in network.blocks.items()}
    return {
        layer: (square / counts[layer] if kind == "rms" else square).sqrt()
        for layer, square in squares.items()
    }


def _weight_squares(network: Network) -> Measures:
    return network.sums(
        {
            name: network.each(lambda own: wide(own).square().sum(), value.detach())
            for name, value in network.trained.items()
        }
    )
