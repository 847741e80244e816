"""Copies of all that a forward pass may write to beside parameters and buffers."""

import argparse
import copy
import functools
import random
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

MOST_ITEMS = 256  # of a container; what is in larger ones stays what it is
MOST_LEVELS = 20
NOT_COPIED = sys.stdlib_module_names | {"torch", "numpy"}
IMMUTABLE = (int, float, complex, str, bytes, type(None), type, types.FunctionType, torch.dtype, torch.device)


class Copies:
    """Copies, of each object one, whoever holds it: what modules share they share still.

    Containers, arrays, tensors and random generators are copied, bound methods and partial functions bound to copies,
    and instances of users' plain classes with all that they hold. Closures, files and the like are not.

    Args:
        given: what to take instead of a copy, by the original's id.

    Attributes:
        modules: those that were found on the way.
    """

    def __init__(self, given: Mapping[int, Any]) -> None:
        self._copies = dict(given)
        self._level = 0
        self.modules: list[nn.Module] = []

    def of(self, value: Any) -> Any:
        """Return what may be written to instead of a value, or the value itself."""
        if type(value) in IMMUTABLE or self._level > MOST_LEVELS:
            return value
        if id(value) in self._copies:
            return self._copies[id(value)]
        self._level += 1
        try:
            return self._of_mutable(value)
        finally:
            self._level -= 1

    def _of_mutable(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            with torch.enable_grad():  # where it came from stays known: it may be a piece of a parameter
                return self._keep(value, value.clone())
        if isinstance(value, torch.Generator):
            return self._keep(value, value.clone_state())
        if isinstance(value, np.ndarray | np.random.Generator | np.random.RandomState | random.Random):
            return self._keep(value, copy.deepcopy(value))
        if isinstance(value, nn.Module):
            self.modules.append(value)
            return self._keep(value, value)
        if isinstance(value, functools.partial):
            keywords = {name: self.of(own) for name, own in value.keywords.items()}
            return functools.partial(self.of(value.func), *map(self.of, value.args), **keywords)
        if isinstance(value, types.MethodType):
            owner = self.of(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if isinstance(value, tuple):
            return self._of_tuple(value)
        if isinstance(value, list | dict) or type(value).__name__ in ("set", "deque"):
            return self._of_container(value)
        return self._of_instance(value)

    def _keep(self, value: Any, copied: Any) -> Any:
        self._copies[id(value)] = copied
        return copied

    def _of_tuple(self, value: Any) -> Any:
        if len(value) > MOST_ITEMS:
            return value
        items = [self.of(item) for item in value]
        if all(item is own for item, own in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    def _of_container(self, value: Any) -> Any:
        copied = self._keep(value, copy.copy(value))
        if len(value) <= MOST_ITEMS and not isinstance(value, set):  # what is in a set is not written to
            kind: Any = dict if isinstance(value, dict) else list if isinstance(value, list) else type(value)
            items = list(value.items()) if kind is dict else list(enumerate(value))
            for place, item in items:
                kind.__setitem__(copied, place, self.of(item))
        return copied

    def _of_instance(self, value: Any) -> Any:
        if not _is_plain(value):
            return value
        kind: Any = type(value)
        copied = self._keep(value, kind.__new__(kind))
        copied.__dict__.update({name: self.of(held) for name, held in vars(value).items()})
        return copied


def _is_plain(value: Any) -> bool:
    """Tell whether an object is what it holds, and nothing else: no file, no marker, nothing that ends with it."""
    kind: Any = type(value)
    if not getattr(value, "__dict__", None):
        return False
    if isinstance(value, types.SimpleNamespace | argparse.Namespace):
        return True
    return (
        kind.__module__.partition(".")[0] not in NOT_COPIED
        and kind.__new__ is object.__new__
        and not hasattr(kind, "__del__")
        and not any("__slots__" in vars(one) for one in kind.__mro__)
    )
