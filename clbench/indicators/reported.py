"""States that custom optimizers report of their parameters."""

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Network
from clbench.indicators.parameter_state import (
    Number,
    ParameterState,
    broadcast,
    broadcast_steps,
    class_name,
    groups_by_id,
    has_updates,
)

Report: TypeAlias = Number | Mapping[object, Number] | None
"""One for all parameters, or by parameter: the tensor, or its name."""


class ReportsSecondMoments(Protocol):
    """A custom optimizer that reports what it divides gradients by.

    Only `second_moments` is required. Each of the first three is an attribute, or a method without arguments.

    Attributes:
        second_moments: by parameter (the tensor, or its name), a number or a tensor that broadcasts to it: that whose
            root divides the gradient. A parameter that has none yet has had no update, unless `steps` has updates for
            it by itself: then its steps have no second moment, as Muon's next to its own Adam. None instead of a
            dictionary: the whole optimizer has no second moment, as SGD.
        step_sizes: eta, one for all or by parameter. For stacked networks also a tensor `(L, S)`, layers in the
            model's order and a last row for parameters in no layer; an attribute `names`, parameters' names by
            layer, gives other layers than those of `layer_parameters`. Without it "lr" in `param_groups`.
        steps: updates done, one for all or by parameter, each a number or a tensor that broadcasts to the
            parameter; `(S,)` for stacked networks. Elements without an update are left out. Without it every
            parameter that has a second moment has been updated.
        betas: decay of the first and second moment, if second moments are those of Adam before the correction of
            their bias: then they are corrected as Adam's are. Without it they are used as they are.
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
    def second_moments(self) -> object: ...


def reported_states(network: Network, optimizer: object) -> dict[str, ParameterState]:
    moments, sizes, steps = (_report(optimizer, name) for name in ("second_moments", "step_sizes", "steps"))
    betas, eps = getattr(optimizer, "betas", None), getattr(optimizer, "eps", 0.0)
    groups, states = groups_by_id(optimizer), {}
    dictionaries = [report for report in (moments, sizes, steps) if isinstance(report, Mapping) and report]
    for index, names in enumerate(step_size_rows(network, optimizer)):
        for name in names:
            value = network.trained[name]
            listed = any(name in report or value in report for report in dictionaries)
            if (dictionaries or groups) and not listed and id(value) not in groups:
                continue  # another optimizer's
            size = _select(sizes, name, value)
            if size is not None and size is sizes and isinstance(size, torch.Tensor) and size.ndim:
                size = size[index]
            if size is None:
                size = groups.get(id(value), {}).get("lr")
            if size is None:
                raise OptionError(
                    f"{class_name(optimizer)} has no step size of '{name}': give it `step_sizes()`, a number or one "
                    "per parameter"
                )
            moment, count = _select(moments, name, value), _select(steps, name, value)
            if moments is None or (moment is None and count is not steps and _any(count)):
                states[name] = ParameterState(size, adaptive=False, divided=False)
                continue
            fields = None
            if moment is not None and (count is None or isinstance(count, torch.Tensor) or count > 0):
                fields = _moment_fields(network, value, moment, count, betas, shared=count is steps)
            states[name] = (
                ParameterState(size, eps=eps, **fields) if fields else ParameterState(size, updated=False)
            )
    return states


def step_size_rows(network: Network, optimizer: object) -> list[list[str]]:
    """Return the names of the parameters that each row of `step_sizes` `(L, S)` is for."""
    layers = getattr(optimizer, "names", None)
    rows = [list(names) for names in (layers if isinstance(layers, Mapping) else network.layers).values()]
    in_layers = {name for names in rows for name in names}
    rest = [name for name in network.trained if name not in in_layers]
    trained = [[name for name in names if name in network.trained] for names in rows]
    return [*trained, rest] if rest else trained


def _report(optimizer: object, name: str) -> Report:
    attribute = getattr(optimizer, name, None)
    report: Report = attribute() if callable(attribute) else attribute
    return report


def _select(report: Report, name: str, value: torch.Tensor) -> Number | None:
    """Return a parameter's number: by its name, by itself, or the one for all."""
    if not isinstance(report, Mapping):
        return report
    return report[name] if name in report else report.get(value)


def _any(count: Number | None) -> bool:
    return bool((count > 0).any()) if isinstance(count, torch.Tensor) else bool(count)


def _moment_fields(
    network: Network,
    value: torch.Tensor,
    moment: Number,
    steps: Number | None,
    betas: tuple[float, float] | None,
    shared: bool,
) -> dict[str, Any] | None:
    """Return fields of `ParameterState`, bias-corrected if there are `betas`; None before the first update."""
    moment = broadcast("second moments", moment, value)
    if steps is None:
        if betas is not None:
            raise OptionError(
                "an optimizer with `betas` needs `steps`: they correct the bias of its second moments"
            )
        return {"second_moment": moment}
    axis = network.axis
    updated: bool | torch.Tensor = True
    per_network = shared and network.stacked and getattr(steps, "shape", None) == axis.shape
    if not per_network:  # numbers `(S,)` for all parameters must not be read: a graph may be recorded
        steps = broadcast_steps(network, value, steps)
        updated = has_updates(steps)
        if updated is False:
            return None
    first, second = (1.0, 1.0) if betas is None else (_one_minus_power(beta, steps, moment) for beta in betas)
    if isinstance(steps, torch.Tensor):
        # Elements without an update have no value: NaN.
        second = torch.where(steps > 0, second if betas else torch.ones_like(steps), torch.nan)
        second = axis.expand(second, moment) if per_network else second
    return {"updated": updated, "second_moment": moment / second, "correction": first}


def _one_minus_power(beta: float, steps: Number, like: torch.Tensor) -> torch.Tensor:
    if isinstance(steps, torch.Tensor):
        return -torch.expm1(steps * (math.log(beta) if beta else -math.inf)).to(like)
    return like.new_tensor(1 - beta**steps)
