"""Finds weights that have become NaN or infinite."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from clbench.indicators import Stacked

Named = tuple[str, torch.Tensor]


def broken_weights(agent: object) -> tuple[str, int] | None:
    """Return the name of trained weights that are not finite, and in which stacked network (else 0); None if all are.

    They are those of the agent, if it is a module itself, of its `networks` or `model`, and of the modules, stacked
    networks, parameters and optimizers among its attributes, also in lists and dictionaries.
    """
    attributes = dict(getattr(agent, "__dict__", {}))
    for name in ("networks", "model"):  # may be properties
        attributes.setdefault(name, getattr(agent, name, None))
    if isinstance(agent, nn.Module):
        attributes = {"self": agent, **attributes}
    seen: set[int] = set()
    for key, value in attributes.items():
        for name, weights in _weights(key, value):
            if id(weights) not in seen and not _is_finite(weights):
                rows = weights.flatten(1).isfinite().all(dim=1) if isinstance(value, Stacked) else None
                return name, 0 if rows is None else int((~rows).nonzero()[0])
            seen.add(id(weights))
    return None


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
