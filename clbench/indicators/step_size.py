"""How far Adam really goes: the step size over the root of the second moment."""

from collections.abc import Mapping

import torch

from clbench.indicators.networks import (
    WHOLE,
    Measures,
    Model,
    Stacked,
    check_choice,
    is_bias,
    layers,
    per_network,
    total,
    trainable,
    wide,
)
from clbench.indicators.optimizers import Knowledge, Optimizer, knowledge

REDUCTIONS = ("rms", "mean")


def effective_step_size(model: Model, optimizer: Optimizer, reduction: str = "rms") -> Measures:
    """Return `alpha = eta / ((1 - beta1^t) (sqrt(v_hat) + eps))`, `v_hat` the bias-corrected second moment.

    "rms": `sqrt(mean v_hat)` over each weight tensor, then the mean of alpha over a layer's tensors. Biases are
    left out, unless a layer has nothing else. "mean": alpha of every single weight, then the mean over the
    layer's tensors' means; a dead unit (`v_hat` near 0) makes it explode, up to `eta / eps`. The whole network
    is treated as one layer.

    Before the first update there is no second moment, and SGD has none: `alpha` is `eta`.

    Source: Baveja et al., arXiv 2509.19698: "mean" is the text's, "rms" the published code's.

    Args:
        model: a module, or `Stacked` ones.
        optimizer: `torch.optim.Adam`, `AdamW`, `SGD` on its parameters, or an Adam with a step size per layer
            and network (`StackedAdamLike`).
        reduction: "rms" or "mean".

    Returns:
        step size (that of plain gradient descent), per layer and for the whole network: scalars, or `(S,)`.

    Raises:
        OptionError: another optimizer or reduction, or a parameter that is not trained.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    return effective_of(model, knowledge(model, optimizer), reduction)


def effective_of(model: Model, known: Mapping[str, Knowledge], reduction: str = "rms") -> Measures:
    """Return `effective_step_size` from what the optimizer knows."""
    alphas = {name: _alpha(model, value, known[name], reduction) for name, value in trainable(model).items()}
    found = {layer: _mean(alphas, names) for layer, names in layers(model).items()}
    return {**found, WHOLE: _mean(alphas, list(alphas))}


def aggregated_step_size(model: Model, optimizer: Optimizer) -> Measures:
    """Return `alpha_agg = eta / (sqrt(mean v_hat over all parameters) + eps)`, which normalises sharpness.

    The mean is over all of the network that has been trained yet; eta is each layer's own, and for the whole
    network the mean over its parameters. SGD: 1, so that normalised sharpness is sharpness; and eta before
    Adam's first update.

    Args:
        model: a module, or `Stacked` ones.
        optimizer: as for `effective_step_size`.

    Returns:
        step size, per layer and for the whole network: scalars, or `(S,)`.
    """
    known = knowledge(model, optimizer)
    if isinstance(optimizer, torch.optim.SGD):
        return {layer: torch.ones_like(step) for layer, step in aggregated_of(model, known).items()}
    return aggregated_of(model, known)


def aggregated_of(model: Model, known: Mapping[str, Knowledge]) -> Measures:
    """Return `aggregated_step_size` from what the optimizer knows; for SGD the step size."""
    values = trainable(model)
    steps = {name: _as_tensor(model, known[name].step_size, value) for name, value in values.items()}
    sizes = {
        name: value[0].numel() if isinstance(model, Stacked) else value.numel()
        for name, value in values.items()
    }
    count = sum(sizes.values())
    of_layers = {layer: steps[names[0]] for layer, names in layers(model).items()}
    of_layers[WHOLE] = total([steps[name] * sizes[name] for name in values]) / count
    moments = {name: one.second_moment for name, one in known.items() if one.second_moment is not None}
    if not moments:
        return of_layers
    sums = [per_network(model, lambda own: wide(own).sum(), moment) for moment in moments.values()]
    root = (total(sums) / sum(sizes[name] for name in moments)).sqrt()
    eps = next(iter(known.values())).eps
    return {layer: step / (root + eps) for layer, step in of_layers.items()}


def _alpha(model: Model, value: torch.Tensor, known: Knowledge, reduction: str) -> torch.Tensor:
    eta = _as_tensor(model, known.step_size, value)
    if known.second_moment is None:
        return eta
    if reduction == "rms":
        root = per_network(model, lambda own: wide(own).mean(), known.second_moment).sqrt()
        return eta / (known.correction * (root + known.eps))
    inverse = per_network(model, lambda own: (1 / (wide(own).sqrt() + known.eps)).mean(), known.second_moment)
    return eta * inverse / known.correction


def _as_tensor(model: Model, number: float | torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    tensor = torch.as_tensor(number, dtype=value.dtype, device=value.device)
    return tensor.expand(model.count) if isinstance(model, Stacked) else tensor.reshape(())


def _mean(alphas: Measures, names: list[str]) -> torch.Tensor:
    weights = [name for name in names if not is_bias(name)] or names
    return total([alphas[name] for name in weights]) / len(weights)
