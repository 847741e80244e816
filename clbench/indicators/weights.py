"""Norms of weights and gradients."""

import torch

from clbench.indicators.networks import (
    LossFunction,
    Measures,
    Model,
    Penalty,
    by_layer,
    check_choice,
    counts,
    per_network,
    trainable,
    wide,
)
from clbench.indicators.passes import Pass

KINDS = ("euclidean", "rms")


def weight_norm(model: Model, kind: str = "euclidean") -> Measures:
    """Return the norm of the weights, biases included.

    "euclidean": `sqrt(sum theta^2)`; "rms": `sqrt(mean theta^2)`. Others report the mean absolute value under
    this name (Dohare et al., Nature 2024); that is neither.

    Args:
        model: a module, or `Stacked` ones.
        kind: "euclidean" or "rms".

    Returns:
        weight, per layer and for the whole network: scalars, or `(S,)`.

    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
    >>> _ = torch.nn.init.constant_(model[0].weight, 3)
    >>> weight_norm(model, "rms")
    {'0': tensor(3.), 'whole network': tensor(3.)}
    """
    return norm_of(model, _weight_squares(model), kind)


def gradient_norm(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty | None = None,
    kind: str = "euclidean",
) -> Measures:
    """Return the norm of the batch's gradient as trained, penalty included.

    Args:
        model: a module, or `Stacked` ones.
        loss_fn: from outputs and targets to the batch's mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        penalty: from parameters by name to what is added to the loss; `(S,)` for stacked networks.
        kind: "euclidean", `sqrt(sum g^2)`, or "rms", `sqrt(mean g^2)`.

    Returns:
        `loss / weight`, per layer and for the whole network: scalars, or `(S,)`.
    """
    return norm_of(model, Pass(model, loss_fn, inputs, targets, penalty).gradient_squares(), kind)


def gradient_parameter_ratio(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty | None = None,
) -> Measures:
    """Return `||g|| / ||theta||`, Euclidean; 0 where all weights are 0.

    Args:
        model: a module, or `Stacked` ones.
        loss_fn: from outputs and targets to the batch's mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        penalty: from parameters by name to what is added to the loss.

    Returns:
        `loss / weight^2`, per layer and for the whole network: scalars, or `(S,)`.
    """
    return ratio_of(model, Pass(model, loss_fn, inputs, targets, penalty).gradient_squares())


def ratio_of(model: Model, gradient_squares: Measures) -> Measures:
    """Return ||g|| / ||theta|| from ||g||^2."""
    weights = _weight_squares(model)
    return {
        layer: torch.where(weights[layer] > 0, (square / weights[layer]).sqrt(), 0)
        for layer, square in gradient_squares.items()
    }


def norm_of(model: Model, squares: Measures, kind: str) -> Measures:
    """Return norms from sums of squares."""
    check_choice("kind", kind, KINDS)
    sizes = counts(model)
    return {
        layer: (square / sizes[layer] if kind == "rms" else square).sqrt()
        for layer, square in squares.items()
    }


def _weight_squares(model: Model) -> Measures:
    values = {name: value.detach() for name, value in trainable(model).items()}
    return by_layer(
        model,
        {
            name: per_network(model, lambda own: wide(own).square().sum(), value)
            for name, value in values.items()
        },
    )
