"""Finds weights that have become NaN or infinite."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from clbench.indicators import Stacked

Named = tuple[str, torch.Tensor]
WHOLES = (Stacked, nn.Module, torch.Tensor, torch.optim.Optimizer, np.ndarray)
DEEPEST = 3  # attributes of attributes that are looked at


class Weights:
    """Watches an agent's weights for NaN and infinity.

    They are trained parameters: those of the agent, if it is a module itself, of its `networks` or `model`, and of the
    modules, stacked networks and optimizers among its attributes, also in lists, dictionaries and objects of its own.
    Other arrays there, of NumPy or PyTorch, count if they were finite when it was constructed.
    """

    def __init__(self, agent: object) -> None:
        self._agent = agent
        self._arrays = {name for name, value in _parts("", agent) if _has_nan(value) is False}

    def broken(self) -> tuple[str, int] | None:
        """Return the name of weights that are not finite, and in which stacked network (else 0); None if all are."""
        parts = dict(_parts("", self._agent))
        for name in ("networks", "model"):  # may be properties
            with contextlib.suppress(Exception):
                parts.setdefault(name, getattr(self._agent, name, None))
        seen: set[int] = set()
        for key, value in parts.items():
            if key in self._arrays and _has_nan(value):
                return key, 0
            for name, weights in _weights(key, value):
                if id(weights) not in seen and not _is_finite(weights):
                    return name, _first_broken(weights) if isinstance(value, Stacked) else 0
                seen.add(id(weights))
        return None


def _parts(name: str, value: object, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Yield what may hold weights in an agent, by name: its attributes, and theirs in turn."""
    if isinstance(value, WHOLES):
        yield name or "self", value
        if depth or not isinstance(value, nn.Module):
            return
    if depth > DEEPEST or isinstance(value, (str, bytes, type, ModuleType)) or (depth and callable(value)):
        return
    inside: dict[str, object] = {}
    if isinstance(value, Mapping):
        inside = {f"{name}[{key!r}]": each for key, each in value.items()}
    elif isinstance(value, (list, tuple)):
        inside = {f"{name}[{key}]": each for key, each in enumerate(value)}
    else:
        slots = [key for kind in type(value).__mro__ for key in _as_names(vars(kind).get("__slots__", ()))]
        own = {key: getattr(value, key) for key in slots if key[:2] != "__" and hasattr(value, key)}
        own |= getattr(value, "__dict__", {})
        inside = {f"{name}.{key}" if name else key: each for key, each in own.items()}
    for key, each in inside.items():
        yield from _parts(key, each, depth + 1)


def _as_names(slots: object) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots) if isinstance(slots, Iterable) else []


def _has_nan(value: object) -> bool | None:
    """Return whether an array has a NaN; None for anything else."""
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.inexact):
        return bool(np.isnan(value).any())
    if isinstance(value, torch.Tensor) and value.device.type != "meta" and not is_lazy(value):
        return bool(value.isnan().any())
    return None


def _first_broken(weights: torch.Tensor) -> int:
    return int((~weights.reshape(len(weights), -1).isfinite().all(dim=1)).nonzero()[0])


def _weights(name: str, value: object) -> Iterator[Named]:
    if isinstance(value, Stacked):
        yield from ((f"{name}.{key}", each) for key, each in value.parameters.items())
    elif isinstance(value, nn.Module):
        trained = ((key, each) for key, each in value.named_parameters() if each.requires_grad)
        yield from ((f"{name}.{key}", each) for key, each in trained)
    elif isinstance(value, torch.Tensor):
        yield from [(name, value)] if value.requires_grad and value.is_leaf else []
    elif isinstance(value, torch.optim.Optimizer):
        for index, group in enumerate(value.param_groups):
            trained = ((f"{name}.param_groups[{index}]", each) for each in group["params"])
            yield from ((key, each) for key, each in trained if each.requires_grad)


def _is_finite(weights: torch.Tensor) -> bool:
    known = not is_lazy(weights) and weights.device.type != "meta"
    return not known or bool(weights.isfinite().all())
