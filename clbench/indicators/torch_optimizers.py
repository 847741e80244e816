"""What is known of PyTorch's own optimizers, read from their groups and states."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from clbench.indicators.networks import Network, wide
from clbench.indicators.parameter_state import (
    Group,
    Number,
    ParameterState,
    broadcast_steps,
    groups_of,
    has_updates,
)

Reader: TypeAlias = Callable[[Group, Mapping[str, Any], Number], dict[str, Any] | None]
"""From group, state and steps (at least 1, or NaN) to what else there is in `ParameterState`."""


def known_states(
    network: Network, optimizer: torch.optim.Optimizer, read: Reader | None
) -> dict[str, ParameterState]:
    """Return what is known of those of the model's parameters that the optimizer trains."""
    groups = groups_of(optimizer)
    return {
        name: _read(network, value, groups[id(value)], optimizer.state.get(value, {}), read)
        for name, value in network.trained.items()
        if id(value) in groups
    }


def _read(
    network: Network, value: torch.Tensor, group: Group, state: Mapping[str, Any], read: Reader | None
) -> ParameterState:
    if read is None:
        return ParameterState(group["lr"], adaptive=False, divided=False)
    steps = broadcast_steps(network, value, state.get("step", 0))
    updated = has_updates(steps)
    if isinstance(steps, torch.Tensor):
        steps = torch.where(steps > 0, steps, torch.nan)
    found = read(group, state, steps) if updated is not False else None
    if found is None:
        return ParameterState(group["lr"], updated=False)
    return ParameterState(group["lr"], updated=updated, **found)


def _moment(state: Mapping[str, Any], name: str) -> torch.Tensor | None:
    moment = state.get(name)
    return None if moment is None else wide(moment.detach())


def _adam(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = _moment(state, "max_exp_avg_sq" if "max_exp_avg_sq" in state else "exp_avg_sq")
    if moment is None:
        return None
    beta1, beta2 = group["betas"]
    return {
        "second_moment": moment / (1 - beta2**steps),
        "correction": 1 - beta1**steps,
        "eps": group["eps"],
    }


def _nadam(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    # Eta multiplies Nesterov's average gradient, whose two parts products of mu have bias-corrected.
    found = _adam(group, state, steps)
    return found and {**found, "correction": 1.0}


def _radam(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = _moment(state, "exp_avg_sq")
    if moment is None:
        return None
    beta2 = group["betas"][1]
    longest, left = 2 / (1 - beta2) - 1, 1 - beta2**steps
    length = longest - 2 * steps * beta2**steps / left
    rectified = length > 5
    if rectified is False:
        return {"divided": False}
    square = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    scale = torch.where(rectified, square, 1).sqrt() if isinstance(rectified, torch.Tensor) else square**0.5
    return {
        "second_moment": moment / left,
        "divided": rectified,
        "scale": scale,
        "eps": group["eps"] / left**0.5,
    }


def _adamax(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    norm = _moment(state, "exp_inf")  # eps is within it
    return None if norm is None else {"second_moment": norm.square()}


def _rmsprop(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = _moment(state, "square_avg")
    if moment is None:
        return None
    if group["centered"]:
        moment = (moment - wide(state["grad_avg"].detach()).square()).clamp(min=0)
    return {"second_moment": moment, "eps": group["eps"]}


def _adagrad(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = _moment(state, "sum")
    if moment is None:
        return None
    return {
        "second_moment": moment,
        "scale": 1 / (1 + (steps - 1) * group["lr_decay"]),
        "eps": group["eps"],
    }


def _of_torch(*names: str) -> tuple[type[torch.optim.Optimizer], ...]:
    """Return PyTorch's optimizers of these names, but for those that this version has not."""
    return tuple(getattr(torch.optim, name) for name in names if hasattr(torch.optim, name))


KNOWN: Mapping[tuple[type[torch.optim.Optimizer], ...], Reader | None] = MappingProxyType(
    {
        _of_torch("Adam", "AdamW"): _adam,
        _of_torch("NAdam"): _nadam,
        _of_torch("RAdam"): _radam,
        _of_torch("Adamax"): _adamax,
        _of_torch("RMSprop"): _rmsprop,
        _of_torch("Adagrad"): _adagrad,
        _of_torch("SGD", "Muon"): None,
    }
)
"""How what is known of PyTorch's optimizers is read; None for those that have no second moment."""

DECOUPLED = _of_torch("AdamW", "Muon", "Adafactor")
"""Those that decay weights apart from the gradient, unless a group says otherwise."""
