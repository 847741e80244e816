"""States of PyTorch's optimizers, read from their groups and states."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Network, at_least_float32
from clbench.indicators.parameter_state import (
    Group,
    Number,
    ParameterState,
    broadcast_steps,
    class_name,
    groups_by_id,
    has_updates,
)

State: TypeAlias = Mapping[str, Any]
Reader: TypeAlias = Callable[[Group, State, torch.Tensor, Number], dict[str, Any]]
"""From group, state, its raw second moment and steps (at least 1, or NaN) to fields of `ParameterState`."""


def known_states(
    network: Network, optimizer: torch.optim.Optimizer, moments: Sequence[str], read: Reader
) -> dict[str, ParameterState]:
    groups, states = groups_by_id(optimizer), {}
    for name, value in network.trained.items():
        if (group := groups.get(id(value))) is None:
            continue
        if not moments:
            states[name] = ParameterState(group["lr"], adaptive=False, divided=False)
            continue
        state = optimizer.state.get(value, {})
        known = "step" in state and any(key in state for key in moments)
        # A subclass may have a rule of its own; what others keep in a state before the first step is none.
        if state and not known and not type(optimizer).__module__.startswith("torch.optim."):
            raise OptionError(
                f"{class_name(optimizer)} has no {moments[-1]} and step in its state: give it `second_moments()` "
                "(clbench.indicators.ReportsSecondMoments)"
            )
        moment = next((state[key] for key in moments if key in state), None)
        steps = broadcast_steps(network, value, state.get("step", 0))
        updated = has_updates(steps)
        if moment is None or updated is False:
            states[name] = ParameterState(group["lr"], updated=False)
            continue
        if isinstance(steps, torch.Tensor):
            steps = torch.where(steps > 0, steps, torch.nan)
        fields = read(group, state, at_least_float32(moment.detach()), steps)
        states[name] = ParameterState(group["lr"], updated=updated, **fields)
    return states


def _adam(group: Group, state: State, moment: torch.Tensor, steps: Number) -> dict[str, Any]:
    beta1, beta2 = group["betas"]
    second_moment = moment / (1 - beta2**steps)
    return {"second_moment": second_moment, "correction": 1 - beta1**steps, "eps": group["eps"]}


def _nadam(group: Group, state: State, moment: torch.Tensor, steps: Number) -> dict[str, Any]:
    # Eta multiplies Nesterov's average gradient, both terms of which products of mu have bias-corrected.
    return {**_adam(group, state, moment, steps), "correction": 1.0}


def _radam(group: Group, state: State, moment: torch.Tensor, steps: Number) -> dict[str, Any]:
    beta2 = group["betas"][1]
    longest, left = 2 / (1 - beta2) - 1, 1 - beta2**steps
    length = longest - 2 * steps * beta2**steps / left
    rectified = length > 5
    if rectified is False:
        return {"divided": False}
    square = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    scale = torch.where(rectified, square, 1).sqrt() if isinstance(rectified, torch.Tensor) else square**0.5
    eps = group["eps"] / left**0.5
    return {"second_moment": moment / left, "divided": rectified, "scale": scale, "eps": eps}


def _adamax(group: Group, state: State, moment: torch.Tensor, steps: Number) -> dict[str, Any]:
    return {"second_moment": moment.square()}  # eps is within it


def _rmsprop(group: Group, state: State, moment: torch.Tensor, steps: Number) -> dict[str, Any]:
    if group["centered"]:
        moment = (moment - at_least_float32(state["grad_avg"].detach()).square()).clamp(min=0)
    return {"second_moment": moment, "eps": group["eps"]}


def _adagrad(group: Group, state: State, moment: torch.Tensor, steps: Number) -> dict[str, Any]:
    scale = 1 / (1 + (steps - 1) * group["lr_decay"])
    return {"second_moment": moment, "scale": scale, "eps": group["eps"]}


def _named(*names: str) -> tuple[type[torch.optim.Optimizer], ...]:
    return tuple(getattr(torch.optim, name) for name in names if hasattr(torch.optim, name))


KNOWN: Mapping[tuple[type[torch.optim.Optimizer], ...], tuple[Sequence[str], Reader]] = MappingProxyType(
    {
        _named("Adam", "AdamW"): (("max_exp_avg_sq", "exp_avg_sq"), _adam),
        _named("NAdam"): (("exp_avg_sq",), _nadam),
        _named("RAdam"): (("exp_avg_sq",), _radam),
        _named("Adamax"): (("exp_inf",), _adamax),
        _named("RMSprop"): (("square_avg",), _rmsprop),
        _named("Adagrad"): (("sum",), _adagrad),
        _named("SGD", "Muon"): ((), _adam),
    }
)
"""Names of each optimizer's second moment, the first that a state has, none if it has none; and how it is read."""

DECOUPLED = _named("AdamW", "Muon", "Adafactor")
"""Optimizers that decay weights apart from the gradient, unless a group says otherwise."""
