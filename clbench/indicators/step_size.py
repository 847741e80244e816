"""How far an optimizer really goes: the step size over the root of the second moment."""

from collections.abc import Callable, Mapping, Sequence

import torch

from clbench.indicators.layers import WHOLE, LayerChoice
from clbench.indicators.networks import (
    Measures,
    Model,
    Network,
    check_choice,
    is_bias,
    total,
    wide,
    wide_dtype,
)
from clbench.indicators.optimizers import Optimizer, parameter_states
from clbench.indicators.parameter_state import Number, ParameterState

REDUCTIONS = ("rms", "mean")


def effective_step_size(
    model: Model | Network, optimizer: Optimizer, reduction: str = "rms", layers: LayerChoice = None
) -> Measures:
    """Return the factor by which the average gradient is multiplied; NaN where there was no update yet.

    Adam, AdamW: `alpha = eta / ((1 - beta1^t) (sqrt(v_hat) + eps))`, `v_hat` the bias-corrected second moment, for
    `alpha` multiplies the average gradient as it is. What other optimizers' `alpha` multiplies is bias-corrected:

    - NAdam, RAdam: `eta / (sqrt(v_hat) + eps)`, RAdam's times its rectification; eta before there is one.
    - RMSprop: `eta / (sqrt(v) + eps)`, `v` less the squared average gradient where it is centered.
    - Adagrad: `eta_t / (sqrt(sum) + eps)`, `eta_t = eta / (1 + (t - 1) lr_decay)`.
    - Adamax: `eta / u`, `u` the gradient's decaying maximum.
    - SGD, Muon have no second moment: `eta`, before the first update, too.
    - others: by what they report, see `ReportsSecondMoments`.

    "rms": `sqrt(mean v_hat)` over each weight tensor, then the mean of alpha over a layer's tensors. Biases are
    left out, unless a layer has nothing else. "mean": alpha of every single weight, then the mean over the
    layer's tensors' means; a dead unit (`v_hat` near 0) makes it explode, up to `eta / eps`. The whole network
    is treated as one layer.

    Tensors and, where each element counts its own steps, elements that have had no update are left out: as if new
    where a reset has set "step" to 0.

    Source: Baveja et al., arXiv 2509.19698: "mean" is the text's, "rms" the published code's.

    Args:
        model: a module, or `Stacked` ones.
        optimizer: of `torch.optim`, one of those above on the model's parameters; one of your own
            (`ReportsSecondMoments`); or a list of several, each of some of the parameters.
        reduction: "rms" or "mean".
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        step size (that of plain gradient descent), per layer and for the whole network: scalars, or `(S,)`.

    Raises:
        OptionError: another optimizer or reduction, or a parameter that is not trained.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    network = Network.of(model, layers)
    return effective_of(network, parameter_states(network, optimizer), reduction)


def effective_of(network: Network, known: Mapping[str, ParameterState], reduction: str = "rms") -> Measures:
    """Return `effective_step_size` from what the optimizer says."""
    values = network.trained
    updated = {
        name: _updated(network, value, known[name]).any(dim=1).view(-1 if network.stacked else ())
        if _differs(known[name])
        else True
        for name, value in values.items()
        if known[name].updated is not False
    }
    alphas = {name: _alpha(network, values[name], known[name], reduction) for name in updated}

    def mean(names: Sequence[str]) -> torch.Tensor:
        own = [name for name in names if name in alphas]
        chosen = [name for name in own if not is_bias(name)] or own
        if not chosen:
            return _as_tensor(network, torch.nan, values[names[0]])
        return _mean([alphas[name] for name in chosen], [updated[name] for name in chosen])

    found = {layer: mean(names) for layer, names in network.layers.items()}
    return {**found, WHOLE: mean(list(values))}


def aggregated_step_size(
    model: Model | Network, optimizer: Optimizer, layers: LayerChoice = None
) -> Measures:
    """Return `alpha_agg = eta / (sqrt(mean v_hat over all parameters) + eps)`, which normalises sharpness.

    The mean is over all of the network that has been updated yet; eta is each layer's own, and for the whole
    network the mean over its parameters. NaN before the first update. SGD, Muon: 1, so that normalised sharpness is
    sharpness. Where several optimizers train a layer, it has the value of its first parameter.

    Args:
        model: a module, or `Stacked` ones.
        optimizer: as for `effective_step_size`; what it names `v_hat`, `v`, `sum` and `u^2` is `v_hat` here.
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        step size, per layer and for the whole network: scalars, or `(S,)`.
    """
    network = Network.of(model, layers)
    return aggregated_of(network, parameter_states(network, optimizer))


def aggregated_of(network: Network, known: Mapping[str, ParameterState]) -> Measures:
    """Return `aggregated_step_size` from what the optimizer says."""
    values, normalized = network.trained, _normalizing(network, known)
    adaptive = [name for name in values if known[name].adaptive]
    steps = {name: _scheduled_step_size(network, values[name], known[name]) for name in adaptive}
    ones = {name: _as_tensor(network, 1.0, value) for name, value in values.items() if name not in steps}
    of_layers = {
        layer: normalized(steps[names[0]], names[:1]) if names[0] in steps else ones[names[0]]
        for layer, names in network.layers.items()
    }
    if not adaptive:
        return {**of_layers, WHOLE: next(iter(ones.values()))}
    sizes = network.sizes
    count = sum(sizes[name] for name in adaptive)
    whole = normalized(total([steps[name] * sizes[name] for name in adaptive]) / count, adaptive)
    if ones:  # by several optimizers
        others = sum(sizes[name] for name in ones)
        whole = (whole * count + others) / (count + others)
    return {**of_layers, WHOLE: whole}


def _normalizing(
    network: Network, known: Mapping[str, ParameterState]
) -> Callable[[torch.Tensor, Sequence[str]], torch.Tensor]:
    """Return what divides a step size of some parameters by the root of the network's mean second moment."""
    moments = {name: one for name, one in known.items() if one.second_moment is not None}
    if not moments:
        # There is none in RAdam's first updates; before the first update there is no value.
        if any(one.adaptive and one.updated is not False for one in known.values()):
            return lambda step, names: step
        return lambda step, names: torch.full_like(step, torch.nan)
    sums, counts = zip(*[_sum_of_moments(network, one) for one in moments.values()], strict=True)
    root = (total(sums) / sum(counts)).sqrt()
    eps = {
        name: float(one.eps.nanmean()) if isinstance(one.eps, torch.Tensor) else one.eps
        for name, one in moments.items()
    }

    def divided(step: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
        own = [eps[name] for name in names if name in eps] or list(eps.values())
        return step / (root + (own[0] if len(set(own)) == 1 else sum(own) / len(own)))

    return divided


def _sum_of_moments(network: Network, known: ParameterState) -> tuple[torch.Tensor, int | torch.Tensor]:
    """Return the sum of a parameter's second moments, and of how many."""
    moment = known.second_moment
    assert moment is not None
    if not _differs(known):
        count = moment.numel() // network.count
        return network.each(lambda own: wide(own).sum(), moment), count
    counted = _updated(network, moment, known) & _rows(network, moment, known.divided, torch.bool)
    sums = torch.where(counted, _rows(network, moment, moment), 0).sum(dim=1)
    counts = counted.sum(dim=1)
    return (sums, counts) if network.stacked else (sums[0], counts[0])


def _scheduled_step_size(network: Network, value: torch.Tensor, known: ParameterState) -> torch.Tensor:
    """Return eta as the optimizer's own schedule has it; where elements differ, their mean."""
    eta = _as_tensor(network, known.step_size, value)
    if not isinstance(known.scale, torch.Tensor):
        return eta * known.scale
    updated = _updated(network, value, known)
    scales = torch.where(updated, _rows(network, value, known.scale), 0).sum(dim=1) / updated.sum(dim=1)
    return eta * scales.view(eta.shape)


def _alpha(network: Network, value: torch.Tensor, known: ParameterState, reduction: str) -> torch.Tensor:
    if _differs(known):
        return _alpha_of_elements(network, value, known, reduction)
    eta = _as_tensor(network, known.step_size, value) * known.scale
    if known.second_moment is None:
        return eta
    if reduction == "rms":
        root = network.each(lambda own: wide(own).mean(), known.second_moment).sqrt()
        return eta / (known.correction * (root + known.eps))
    inverse = network.each(lambda own: (1 / (wide(own).sqrt() + known.eps)).mean(), known.second_moment)
    return eta * inverse / known.correction


def _alpha_of_elements(
    network: Network, value: torch.Tensor, known: ParameterState, reduction: str
) -> torch.Tensor:
    """Return the mean over those elements that have been updated; NaN if none has."""
    updated = _updated(network, value, known)
    divided = updated & _rows(network, value, known.divided, torch.bool)
    moment = torch.where(
        divided, _rows(network, value, 0.0 if known.second_moment is None else known.second_moment), 0
    )
    if reduction == "rms":
        moment = moment.sum(dim=1, keepdim=True) / divided.sum(dim=1, keepdim=True)
    scale, correction, eps = (
        _rows(network, value, one) for one in (known.scale, known.correction, known.eps)
    )
    factors = scale / torch.where(divided, correction * (moment.sqrt() + eps), 1)
    eta = _as_tensor(network, known.step_size, value)
    mean = torch.where(updated, factors, 0).sum(dim=1) / updated.sum(dim=1)
    return eta * mean.view(eta.shape)


def _differs(known: ParameterState) -> bool:
    """Tell whether a parameter's elements have had updates of their own."""
    return isinstance(known.updated, torch.Tensor)


def _updated(network: Network, like: torch.Tensor, known: ParameterState) -> torch.Tensor:
    return _rows(network, like, known.updated, torch.bool)


def _rows(
    network: Network, like: torch.Tensor, value: Number | torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return a number for each element of a parameter, a row for each network."""
    tensor = torch.as_tensor(value, dtype=dtype or wide_dtype(like), device=like.device)
    return tensor.expand(like.shape).reshape(network.count, -1)


def _as_tensor(network: Network, number: Number, value: torch.Tensor) -> torch.Tensor:
    tensor = torch.as_tensor(number, dtype=wide_dtype(value), device=value.device).detach()
    return tensor.expand(network.count) if network.stacked else tensor.reshape(())


def _mean(values: Sequence[torch.Tensor], counted: Sequence[bool | torch.Tensor]) -> torch.Tensor:
    """Return the mean of those values that count, for each network."""
    if all(one is True for one in counted):
        return total(values) / len(values)
    share = [torch.as_tensor(one, device=values[0].device) for one in counted]
    sums = [torch.where(one, value, 0) for one, value in zip(share, values, strict=True)]
    return total(sums) / total([one.to(values[0]) for one in share])
