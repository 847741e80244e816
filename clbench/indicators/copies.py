"""Copies of everything that a forward pass may write to, other than parameters and buffers."""

import argparse
import copy
import functools
import random
import sys
import types
from collections import deque
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

MOST_ITEMS = 256  # of a container; items of larger ones are not copied
MOST_LEVELS = 20
NOT_COPIED = sys.stdlib_module_names | {"torch", "numpy"}
Value = TypeVar("Value")
IMMUTABLE = (int, float, complex, str, bytes, type(None), type, types.FunctionType, torch.dtype, torch.device)


class Copies:
    """Copies, one of each object, whoever holds it: what modules share, they still share.

    Containers, arrays, tensors and random generators are copied, bound methods and partial functions bound to copies,
    and instances of users' plain classes with all their attributes. Closures, files and the like are not.
    `replacements`, by the original's id, are used instead of copies; `modules` collects the modules met on the way.
    """

    def __init__(self, replacements: Mapping[int, object]) -> None:
        self._copies: dict[int, object] = dict(replacements)
        self._level = 0
        self.modules: list[nn.Module] = []

    def get(self, value: Value) -> Value:
        """Return a value's copy, which may be written to, or the value itself."""
        if type(value) in IMMUTABLE or self._level > MOST_LEVELS:
            return value
        self._level += 1
        try:
            copied = self._copies[id(value)] if id(value) in self._copies else self._copy(value)
        finally:
            self._level -= 1
        return cast("Value", copied)

    def _copy(self, value: object) -> object:
        if isinstance(value, torch.Tensor):
            with torch.enable_grad():  # its graph is kept: it may be a piece of a parameter
                return self._remember(value, value.clone())
        if isinstance(value, torch.Generator):
            return self._remember(value, value.clone_state())
        if isinstance(value, np.ndarray | np.random.Generator | np.random.RandomState | random.Random):
            return self._remember(value, copy.deepcopy(value))
        if isinstance(value, nn.Module):
            self.modules.append(value)
            return self._remember(value, value)
        if isinstance(value, functools.partial):
            keywords = {name: self.get(item) for name, item in value.keywords.items()}
            return functools.partial(self.get(value.func), *map(self.get, value.args), **keywords)
        if isinstance(value, types.MethodType):
            owner = self.get(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if isinstance(value, tuple):
            return self._copy_tuple(value)
        if isinstance(value, list | dict) or type(value) is set or type(value) is deque:
            return self._copy_container(value)
        return self._copy_instance(value) if _is_plain(value) else value

    def _remember(self, value: object, copied: Value) -> Value:
        self._copies[id(value)] = copied
        return copied

    def _copy_tuple(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(value) > MOST_ITEMS:
            return value
        items = [self.get(item) for item in value]
        if all(copied is item for copied, item in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    def _copy_container(self, value: list[Any] | dict[Any, Any] | set[Any] | deque[Any]) -> object:
        copied = self._remember(value, copy.copy(value))
        if len(value) <= MOST_ITEMS and not isinstance(value, set):  # items of a set are not written to
            kind: Any = dict if isinstance(value, dict) else list if isinstance(value, list) else deque
            for key, item in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
                kind.__setitem__(copied, key, self.get(item))
        return copied

    def _copy_instance(self, value: Value) -> Value:
        copied = self._remember(value, type(value).__new__(type(value)))
        copied.__dict__.update({name: self.get(item) for name, item in vars(value).items()})
        return copied


def _is_plain(value: object) -> bool:
    """Return whether an object consists of its attributes: it is not a file or the like, and has no finaliser."""
    kind = type(value)
    if not getattr(value, "__dict__", None):
        return False
    if isinstance(value, types.SimpleNamespace | argparse.Namespace):
        return True
    return (
        kind.__module__.partition(".")[0] not in NOT_COPIED
        and kind.__new__ is object.__new__
        and not hasattr(kind, "__del__")
        and not any("__slots__" in vars(base) for base in kind.__mro__)
    )
