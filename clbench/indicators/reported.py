"""What optimizers of one's own report of their parameters."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Network, wide
from clbench.indicators.parameter_state import (
    Group,
    Number,
    ParameterState,
    broadcast_steps,
    groups_of,
    has_updates,
    kind_of,
)


class ReportsSecondMoments(Protocol):
    """An optimizer of one's own that says what it divides gradients by.

    `second_moments` is all that it must have. The others may be left out; each of the first three is a method
    without arguments or an attribute.

    Attributes:
        second_moments: by parameter (the tensor, or its name), shaped like it: that whose root divides the
            gradient. A parameter that has none yet is one before its first update. None instead of all: this
            optimizer has no second moment, as SGD.
        step_sizes: eta, one for all or by parameter. For stacked networks also a tensor `(L, S)`, layers in the
            model's order. Without it "lr" in `param_groups`.
        steps: updates done, one for all or by parameter, each a number or a tensor that broadcasts to the
            parameter; `(S,)` for stacked networks. Elements without an update are left out. Without it every
            parameter that has a second moment has been updated.
        betas: decay of the first and second moment, if second moments are those of Adam before the correction of
            their bias: then they are corrected as Adam's are. Without it they are taken as they are.
        eps: added to the root of the second moment; 0 without it.

    A scheduler multiplies "lr" in `param_groups`, or `step_sizes` if that is a tensor or a dictionary.

    >>> class OwnAdam(torch.optim.Optimizer):
    ...     betas, eps = (0.9, 0.999), 1e-8
    ...
    ...     def second_moments(self):
    ...         return {value: state["square"] for value, state in self.state.items()}
    ...
    ...     def steps(self):
    ...         return {value: state["count"] for value, state in self.state.items()}
    """

    @property
    def second_moments(self) -> Any:
        """See above."""


class StackedAdamLike(Protocol):
    """An Adam of one's own over stacked parameters, with a step size for each layer and network.

    It is one that `ReportsSecondMoments`.

    Attributes:
        step_sizes: `(L, S)`, layers in the model's order, and a last row for parameters in no layer. An attribute
            `names`, parameters' names by layer, says so if its layers are others than `layer_parameters` gives.
        second_moments: `(S, ...)` by parameter, not bias-corrected.
        steps: updates done; from the first one on it may be a tensor `(S,)`, for each network its own.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
    """

    step_sizes: torch.Tensor
    second_moments: dict[str, torch.Tensor]
    betas: tuple[float, float]
    eps: float

    @property
    def steps(self) -> int | torch.Tensor:
        """See above."""


def reported_states(network: Network, optimizer: Any) -> dict[str, ParameterState]:
    """Return what an optimizer reports of those parameters that it trains."""
    moments, sizes, steps = (_said(optimizer, name) for name in ("second_moments", "step_sizes", "steps"))
    betas, eps = getattr(optimizer, "betas", None), getattr(optimizer, "eps", 0.0)
    groups, values, found = groups_of(optimizer), network.trained, {}
    for place, names in enumerate(rows_of_step_sizes(network, optimizer)):
        for name in names:
            value = values[name]
            moment = _of(moments, name, value)
            own = [it for it in (moments, sizes, steps) if isinstance(it, Mapping) and it]
            if (
                id(value) not in groups
                and (own or groups)
                and not any(name in it or value in it for it in own)
            ):
                continue  # another optimizer's
            size = _step_size(optimizer, sizes, groups, name, value, place)
            if moments is None:
                found[name] = ParameterState(size, adaptive=False, divided=False)
                continue
            count = _of(steps, name, value)
            whole = count is steps and network.stacked and getattr(steps, "shape", None) == (network.count,)
            found[name] = _state(network, value, size, moment, count, whole, betas, eps)
    return found


def rows_of_step_sizes(network: Network, optimizer: Any) -> list[list[str]]:
    """Return the names of the parameters that each row of `step_sizes` `(L, S)` is of."""
    layers = getattr(optimizer, "names", None)
    rows = [list(names) for names in (layers if isinstance(layers, Mapping) else network.layers).values()]
    counted = {name for names in rows for name in names}
    rest = [name for name in network.trained if name not in counted]
    trained = [[name for name in names if name in network.trained] for names in rows]
    return [*trained, rest] if rest else trained


def _said(optimizer: Any, name: str) -> Any:
    said = getattr(optimizer, name, None)
    return said() if callable(said) else said


def _of(said: Any, name: str, value: torch.Tensor) -> Any:
    """Return what was said of a parameter: by its name, by itself, or for all."""
    if not isinstance(said, Mapping):
        return said
    return said[name] if name in said else said.get(value)


def _step_size(
    optimizer: Any,
    sizes: Any,
    groups: Mapping[int, Group],
    name: str,
    value: torch.Tensor,
    place: int,
) -> Number:
    size: Any = _of(sizes, name, value)
    if size is not None and size is sizes and isinstance(size, torch.Tensor) and size.ndim:
        size = size[place]
    if size is None and id(value) in groups:
        size = groups[id(value)].get("lr")
    if size is None:
        raise OptionError(
            f"{kind_of(optimizer)} has no step size of '{name}': give it `step_sizes()`, a number or one by parameter"
        )
    found: Number = size
    return found


def _state(
    network: Network,
    value: torch.Tensor,
    size: Number,
    moment: torch.Tensor | None,
    steps: Number | None,
    whole: bool,
    betas: tuple[float, float] | None,
    eps: float,
) -> ParameterState:
    if moment is None or (not isinstance(steps, torch.Tensor) and steps is not None and steps <= 0):
        return ParameterState(size, updated=False)
    if steps is None:
        if betas is not None:
            raise OptionError(
                "an optimizer with `betas` needs `steps`: its second moments are corrected by them"
            )
        return ParameterState(size, second_moment=wide(moment), eps=eps)
    updated: bool | torch.Tensor = True
    if not whole:  # numbers that are `(S,)` for all parameters must not be looked at: a graph may be recorded
        steps = broadcast_steps(network, value, steps)
        updated = has_updates(steps)
        if updated is False:
            return ParameterState(size, updated=False)
    first, second = (1.0, 1.0) if betas is None else (_left(beta, steps, wide(moment)) for beta in betas)
    if isinstance(steps, torch.Tensor):
        # What has not been updated has no value: NaN.
        second = torch.where(steps > 0, torch.ones_like(steps) if betas is None else second, torch.nan)
        if whole:
            second = second.view(-1, *[1] * (moment.ndim - 1))
    return ParameterState(
        size, updated=updated, second_moment=wide(moment) / second, correction=first, eps=eps
    )


def _left(beta: float, steps: Number, like: torch.Tensor) -> torch.Tensor:
    """Return 1 - beta^t, as a tensor like another."""
    if isinstance(steps, torch.Tensor):
        return -torch.expm1(steps * (math.log(beta) if beta else -math.inf)).to(like)
    return like.new_tensor(1 - beta**steps)
