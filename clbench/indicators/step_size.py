"""How far an optimizer moves: the step size over the root of the second moment."""

from collections.abc import Callable, Mapping, Sequence

import torch

from clbench.checks import check_value
from clbench.indicators.layers import WHOLE, LayerChoice
from clbench.indicators.networks import (
    Measures,
    Network,
    at_least_float32,
    dtype_at_least_float32,
    is_bias,
    total,
)
from clbench.indicators.optimizers import Optimizer, parameter_states
from clbench.indicators.parameter_state import Number, ParameterState
from clbench.indicators.stacked import Model

REDUCTIONS = ("rms", "mean")


def effective_step_size(
    model: Model | Network, optimizer: Optimizer, reduction: str = "rms", layers: LayerChoice = None
) -> Measures:
    """Return the factor by which the average gradient is multiplied; NaN before the first update.

    Adam, AdamW: `alpha = eta / ((1 - beta1^t) (sqrt(v_hat) + eps))`, `v_hat` the bias-corrected second moment, for
    `alpha` multiplies the average gradient as it is. Other optimizers' `alpha` multiplies a bias-corrected average:

    - NAdam, RAdam: `eta / (sqrt(v_hat) + eps)`, RAdam's times its rectification; eta before there is one.
    - RMSprop: `eta / (sqrt(v) + eps)`, `v` less the squared average gradient where it is centered.
    - Adagrad: `eta_t / (sqrt(sum) + eps)`, `eta_t = eta / (1 + (t - 1) lr_decay)`.
    - Adamax: `eta / u`, `u` the gradient's decaying maximum.
    - SGD, Muon have no second moment: `eta`, also before the first update.
    - custom ones: by what they report, see `ReportsSecondMoments`.

    "rms": `sqrt(mean v_hat)` over each weight tensor, then the mean of alpha over a layer's tensors. Biases are
    left out, unless a layer has nothing else. "mean": alpha of every single weight, then the mean over the
    layer's tensors' means; a dead unit (`v_hat` near 0) makes it explode, up to `eta / eps`. The whole network
    is treated as one layer.

    Tensors that have had no update are left out, and where each element counts steps, such elements: after a reset has
    set "step" to 0, they are as new.

    Source: Baveja et al., arXiv 2509.19698: "mean" is the text's, "rms" the published code's.

    Args:
        optimizer: of `torch.optim`, one of those above on the model's parameters; a custom one
            (`ReportsSecondMoments`); or a list of several, each of some of the parameters.
        reduction: "rms" or "mean".

    Returns:
        step size (that of plain gradient descent), per layer and for the whole network: scalars, or `(S,)`.
    """
    check_value("reduction", reduction, REDUCTIONS)
    network = Network.of(model, layers)
    return effective_from_states(network, parameter_states(network, optimizer), reduction)


def effective_from_states(
    network: Network, states: Mapping[str, ParameterState], reduction: str = "rms"
) -> Measures:
    values = network.trained
    updated = {
        name: _updated(network, values[name], state).any(dim=-1) if _differs(state) else True
        for name, state in states.items()
        if state.updated is not False
    }
    alphas = {name: _alpha(network, values[name], states[name], reduction) for name in updated}

    def mean(names: Sequence[str]) -> torch.Tensor:
        counted = [name for name in names if name in alphas]
        chosen = [name for name in counted if not is_bias(name)] or counted
        if not chosen:
            return _per_network(network, torch.nan, values[names[0]])
        return _mean([alphas[name] for name in chosen], [updated[name] for name in chosen])

    layers = {layer: mean(names) for layer, names in network.layers.items()}
    return {**layers, WHOLE: mean(list(values))}


def aggregated_step_size(
    model: Model | Network, optimizer: Optimizer, layers: LayerChoice = None
) -> Measures:
    """Return `alpha_agg = eta / (sqrt(mean v_hat over all parameters) + eps)`, which normalises sharpness.

    The mean is over all of the network that has been updated; eta is each layer's, and for the whole network the mean
    over its parameters. NaN before the first update. SGD, Muon: 1, so that normalised sharpness is sharpness. Where
    several optimizers train a layer, it has the value of its first parameter.

    Args:
        optimizer: as for `effective_step_size`; `v_hat` here is what that calls `v_hat`, `v`, `sum` and `u^2`.

    Returns:
        step size, per layer and for the whole network: scalars, or `(S,)`.
    """
    network = Network.of(model, layers)
    return aggregated_from_states(network, parameter_states(network, optimizer))


def aggregated_from_states(network: Network, states: Mapping[str, ParameterState]) -> Measures:
    values, normalized, sizes = network.trained, _normalizing(network, states), network.sizes
    etas = {
        name: _scheduled_step_size(network, values[name], state)
        for name, state in states.items()
        if state.adaptive
    }
    ones = {name: _per_network(network, 1.0, value) for name, value in values.items() if name not in etas}
    layers = {
        layer: normalized(etas[names[0]], names[:1]) if names[0] in etas else ones[names[0]]
        for layer, names in network.layers.items()
    }
    if not etas:
        return {**layers, WHOLE: next(iter(ones.values()))}
    count = sum(sizes[name] for name in etas)
    whole = normalized(total([eta * sizes[name] for name, eta in etas.items()]) / count, list(etas))
    if ones:  # by several optimizers
        others = sum(sizes[name] for name in ones)
        whole = (whole * count + others) / (count + others)
    return {**layers, WHOLE: whole}


def _normalizing(
    network: Network, states: Mapping[str, ParameterState]
) -> Callable[[torch.Tensor, Sequence[str]], torch.Tensor]:
    """Return a function that divides parameters' step size by the root of the network's mean second moment."""
    moments = {name: state.second_moment for name, state in states.items() if state.second_moment is not None}
    if not moments:
        # RAdam has none in its first updates; before the first update there is no value.
        if any(state.adaptive and state.updated is not False for state in states.values()):
            return lambda step, names: step
        return lambda step, names: torch.full_like(step, torch.nan)
    pairs = [_sum_moments(network, moment, states[name]) for name, moment in moments.items()]
    sums, counts = zip(*pairs, strict=True)
    root = (total(sums) / sum(counts)).sqrt()
    all_eps = {name: states[name].eps for name in moments}
    numbers = {
        name: float(eps.nanmean()) if isinstance(eps, torch.Tensor) else eps for name, eps in all_eps.items()
    }

    def divided(step: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
        eps = [numbers[name] for name in names if name in numbers] or list(numbers.values())
        quotient: torch.Tensor = step / (root + (eps[0] if len(set(eps)) == 1 else sum(eps) / len(eps)))
        return quotient

    return divided


def _sum_moments(
    network: Network, moment: torch.Tensor, state: ParameterState
) -> tuple[torch.Tensor, int | torch.Tensor]:
    if not _differs(state):
        sums = network.axis.each(lambda values: at_least_float32(values).sum(), moment)
        return sums, moment.numel() // network.count
    counted = _updated(network, moment, state) & _elements(network, moment, state.divided, torch.bool)
    return torch.where(counted, _elements(network, moment, moment), 0).sum(dim=-1), counted.sum(dim=-1)


def _scheduled_step_size(network: Network, value: torch.Tensor, state: ParameterState) -> torch.Tensor:
    eta = _per_network(network, state.step_size, value)
    if not isinstance(state.scale, torch.Tensor):
        return eta * state.scale
    return eta * _mean_where(_updated(network, value, state), _elements(network, value, state.scale))


def _alpha(network: Network, value: torch.Tensor, state: ParameterState, reduction: str) -> torch.Tensor:
    if _differs(state):
        return _alpha_of_elements(network, value, state, reduction)
    eta = _per_network(network, state.step_size, value) * state.scale
    if state.second_moment is None:
        return eta
    if reduction == "rms":
        mean = network.axis.each(lambda moment: at_least_float32(moment).mean(), state.second_moment)
        return eta / (state.correction * (mean.sqrt() + state.eps))

    def inverse(moment: torch.Tensor) -> torch.Tensor:
        return (1 / (at_least_float32(moment).sqrt() + state.eps)).mean()

    return eta * network.axis.each(inverse, state.second_moment) / state.correction


def _alpha_of_elements(
    network: Network, value: torch.Tensor, state: ParameterState, reduction: str
) -> torch.Tensor:
    """Return the mean over the elements that have been updated; NaN if none has."""
    updated = _updated(network, value, state)
    divided = updated & _elements(network, value, state.divided, torch.bool)
    second_moment = 0.0 if state.second_moment is None else state.second_moment
    moment = torch.where(divided, _elements(network, value, second_moment), 0)
    if reduction == "rms":
        moment = moment.sum(dim=-1, keepdim=True) / divided.sum(dim=-1, keepdim=True)
    numbers = (state.scale, state.correction, state.eps)
    scale, correction, eps = (_elements(network, value, number) for number in numbers)
    factors = scale / torch.where(divided, correction * (moment.sqrt() + eps), 1)
    return _per_network(network, state.step_size, value) * _mean_where(updated, factors)


def _differs(state: ParameterState) -> bool:
    """Return whether a parameter's elements have been updated at different steps."""
    return isinstance(state.updated, torch.Tensor)


def _updated(network: Network, like: torch.Tensor, state: ParameterState) -> torch.Tensor:
    return _elements(network, like, state.updated, torch.bool)


def _elements(
    network: Network, like: torch.Tensor, value: Number, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return a number for each element of a parameter, `(n,)` or `(S, n)`."""
    tensor = torch.as_tensor(value, dtype=dtype or dtype_at_least_float32(like), device=like.device)
    return network.axis.flat(tensor.expand(like.shape))


def _per_network(network: Network, number: Number, like: torch.Tensor) -> torch.Tensor:
    tensor = torch.as_tensor(number, dtype=dtype_at_least_float32(like), device=like.device).detach()
    return tensor.expand(network.axis.shape) if network.stacked else tensor.reshape(())


def _mean_where(counted: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    mean: torch.Tensor = torch.where(counted, values, 0).sum(dim=-1) / counted.sum(dim=-1)
    return mean


def _mean(values: Sequence[torch.Tensor], counted: Sequence[bool | torch.Tensor]) -> torch.Tensor:
    if all(count is True for count in counted):
        return total(values) / len(values)
    masks = [torch.as_tensor(count, device=values[0].device) for count in counted]
    sums = [torch.where(mask, value, 0) for mask, value in zip(masks, values, strict=True)]
    return total(sums) / total([mask.to(values[0]) for mask in masks])
