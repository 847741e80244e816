"""Finds weights that have become NaN or infinite."""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from clbench.indicators import Stacked

Named = tuple[str, torch.Tensor]


class Weights:
    """Watches an agent's weights for NaN and infinity.

    They are trained parameters: those of the agent, if it is a module itself, of its `networks` or `model`, and of the
    modules, stacked networks and optimizers among its attributes, also in lists and dictionaries. Other matrices among
    its attributes, of NumPy or PyTorch, count if they were finite when it was constructed.
    """

    def __init__(self, agent: object) -> None:
        self._agent = agent
        self._matrices = [name for name, value in _attributes(agent).items() if _has_nan(value) is False]

    def broken(self) -> tuple[str, int] | None:
        """Return the name of weights that are not finite, and in which stacked network (else 0); None if all are."""
        attributes = _attributes(self._agent)
        for name in self._matrices:
            if _has_nan(attributes.get(name)):
                return name, 0
        for name in ("networks", "model"):  # may be properties
            with contextlib.suppress(Exception):
                attributes.setdefault(name, getattr(self._agent, name, None))
        if isinstance(self._agent, nn.Module):
            attributes = {"self": self._agent, **attributes}
        seen: set[int] = set()
        for key, value in attributes.items():
            for name, weights in _weights(key, value):
                if id(weights) not in seen and not _is_finite(weights):
                    return name, _first_broken(weights) if isinstance(value, Stacked) else 0
                seen.add(id(weights))
        return None


def _attributes(agent: object) -> dict[str, object]:
    return dict(getattr(agent, "__dict__", {}))


def _has_nan(value: object) -> bool | None:
    """Return whether a matrix has a NaN; None for anything else."""
    if isinstance(value, np.ndarray) and value.ndim > 1 and np.issubdtype(value.dtype, np.inexact):
        return bool(np.isnan(value).any())
    if isinstance(value, torch.Tensor) and value.ndim > 1 and value.device.type != "meta":
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
            yield from (
                (f"{name}.param_groups[{index}]", each) for each in group["params"] if each.requires_grad
            )
    elif isinstance(value, Mapping):
        yield from (pair for key, each in value.items() for pair in _weights(f"{name}[{key!r}]", each))
    elif isinstance(value, (list, tuple)):
        yield from (pair for key, each in enumerate(value) for pair in _weights(f"{name}[{key}]", each))


def _is_finite(weights: torch.Tensor) -> bool:
    known = not is_lazy(weights) and weights.device.type != "meta"
    return not known or bool(weights.isfinite().all())
