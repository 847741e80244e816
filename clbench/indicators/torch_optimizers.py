"""States of PyTorch's optimizers, read from their groups and states."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from clbench.indicators.networks import Network, at_least_float32
from clbench.indicators.parameter_state import (
    Group,
    Number,
    ParameterState,
    broadcast_steps,
    groups_by_id,
    has_updates,
    lookup,
)

Reader: TypeAlias = Callable[[Group, Mapping[str, Any], Number], dict[str, Any] | None]
"""From group, state and steps (at least 1, or NaN) to fields of `ParameterState`; None before the first update."""


def known_states(
    network: Network, optimizer: torch.optim.Optimizer, read: Reader | None
) -> dict[str, ParameterState]:
    """Return the states of those of a network's parameters that one of PyTorch's optimizers trains."""
    groups = groups_by_id(optimizer)
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
    fields = read(group, state, steps) if updated is not False else None
    if fields is None:
        return ParameterState(group["lr"], updated=False)
    return ParameterState(group["lr"], updated=updated, **fields)


def _adam(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = lookup(state, "max_exp_avg_sq" if "max_exp_avg_sq" in state else "exp_avg_sq")
    if moment is None:
        return None
    beta1, beta2 = group["betas"]
    return {
        "second_moment": moment / (1 - beta2**steps),
        "correction": 1 - beta1**steps,
        "eps": group["eps"],
    }


def _nadam(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    # Eta multiplies Nesterov's average gradient, both terms of which products of mu have bias-corrected.
    fields = _adam(group, state, steps)
    return fields and {**fields, "correction": 1.0}


def _radam(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = lookup(state, "exp_avg_sq")
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
    norm = lookup(state, "exp_inf")  # eps is within it
    return None if norm is None else {"second_moment": norm.square()}


def _rmsprop(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = lookup(state, "square_avg")
    if moment is None:
        return None
    if group["centered"]:
        moment = (moment - at_least_float32(state["grad_avg"].detach()).square()).clamp(min=0)
    return {"second_moment": moment, "eps": group["eps"]}


def _adagrad(group: Group, state: Mapping[str, Any], steps: Number) -> dict[str, Any] | None:
    moment = lookup(state, "sum")
    if moment is None:
        return None
    return {
        "second_moment": moment,
        "scale": 1 / (1 + (steps - 1) * group["lr_decay"]),
        "eps": group["eps"],
    }


def _named(*names: str) -> tuple[type[torch.optim.Optimizer], ...]:
    """Return PyTorch's optimizers with these names, as far as this version has them."""
    return tuple(getattr(torch.optim, name) for name in names if hasattr(torch.optim, name))


KNOWN: Mapping[tuple[type[torch.optim.Optimizer], ...], Reader | None] = MappingProxyType(
    {
        _named("Adam", "AdamW"): _adam,
        _named("NAdam"): _nadam,
        _named("RAdam"): _radam,
        _named("Adamax"): _adamax,
        _named("RMSprop"): _rmsprop,
        _named("Adagrad"): _adagrad,
        _named("SGD", "Muon"): None,
    }
)
"""How each optimizer's state is read; None for those that have no second moment."""

DECOUPLED = _named("AdamW", "Muon", "Adafactor")
"""Optimizers that decay weights apart from the gradient, unless a group says otherwise."""
