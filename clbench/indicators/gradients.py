"""Norms of weights and gradients, and gradient noise."""

import torch

from clbench.checks import check_value
from clbench.indicators.derivatives import Derivatives
from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import (
    LossFunction,
    Measures,
    Network,
    Penalty,
    at_least_float32,
)
from clbench.indicators.stacked import Model

KINDS = ("euclidean", "rms")


def weight_norm(model: Model | Network, kind: str = "euclidean", layers: LayerChoice = None) -> Measures:
    """Return the norm of the weights, biases included.

    "euclidean": `sqrt(sum theta^2)`; "rms": `sqrt(mean theta^2)`. Others report the mean absolute value under
    this name (Dohare et al., Nature 2024); that is neither.

    Args:
        kind: "euclidean" or "rms".

    Returns:
        weight, per layer and for the whole network: scalars, or `(S,)`.

    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
    >>> _ = torch.nn.init.constant_(model[0].weight, 3)
    >>> weight_norm(model, "rms")
    {'0': tensor(3.), 'whole network': tensor(3.)}
    """
    network = Network.of(model, layers)
    return norms(network, _weight_squares(network), kind)


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
        kind: "euclidean", `sqrt(sum g^2)`, or "rms", `sqrt(mean g^2)`.

    Returns:
        `loss / weight`, per layer and for the whole network: scalars, or `(S,)`.
    """
    network = Network.of(model, layers)
    return norms(network, Derivatives(network, loss_fn, inputs, targets, penalty).gradient_squares(), kind)


def gradient_parameter_ratio(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty | None = None,
    layers: LayerChoice = None,
) -> Measures:
    """Return `||g|| / ||theta||`, Euclidean; 0 where all weights are 0.

    Returns:
        `loss / weight^2`, per layer and for the whole network: scalars, or `(S,)`.
    """
    network = Network.of(model, layers)
    return norm_ratios(network, Derivatives(network, loss_fn, inputs, targets, penalty).gradient_squares())


def gradient_noise(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    layers: LayerChoice = None,
) -> Measures:
    """Return `sigma^2 = (1/B) sum_i ||g_i - g_bar||^2` of the data loss, exact within the batch.

    For a linear layer with input `a_i` and loss gradient `d_i` at its output, `||g_i||^2 = ||d_i||^2 (||a_i||^2 + 1)`,
    so that `sigma^2 = mean ||g_i||^2 - ||g_bar||^2` takes one backward pass (Goodfellow, "Efficient per-example
    gradient computations", 2015). Other layers: `torch.func.vmap` over `torch.func.grad`, or a loop over samples where
    that fails. The mean divides by `B`, not `B - 1`; a batch of one has noise 0, and so has a network whose gradients
    vanish. Being a difference, noise of less than about a millionth of the mean `||g_i||^2` is lost to rounding in
    float32.

    Source: Baveja et al., arXiv 2509.19698, Sec. 3.

    Returns:
        `gradient^2`, per layer and for the whole network: scalars, or `(S,)`.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> inputs, targets = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]])
    >>> gradient_noise(model, torch.nn.functional.mse_loss, inputs, targets)  # gradients -2 and -6
    {'weight': tensor(4.), 'whole network': tensor(4.)}
    """
    return Derivatives(Network.of(model, layers), loss_fn, inputs, targets).noise()


def norm_ratios(network: Network, gradient_squares: Measures) -> Measures:
    weights = _weight_squares(network)
    return {
        layer: torch.where(weights[layer] > 0, (square / weights[layer]).sqrt(), 0)
        for layer, square in gradient_squares.items()
    }


def norms(network: Network, squares: Measures, kind: str) -> Measures:
    check_value("kind", kind, KINDS)
    counts = {block: sum(network.sizes[name] for name in names) for block, names in network.blocks.items()}
    means = {layer: square / counts[layer] if kind == "rms" else square for layer, square in squares.items()}
    return {layer: mean.sqrt() for layer, mean in means.items()}


def _weight_squares(network: Network) -> Measures:
    def square(value: torch.Tensor) -> torch.Tensor:
        return at_least_float32(value).square().sum()

    squares = {name: network.axis.each(square, value.detach()) for name, value in network.trained.items()}
    return network.sum_by_layer(squares)
