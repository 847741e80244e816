"""Copies of all that a forward pass may write to beside parameters and buffers."""

import argparse
import functools
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

SEQUENCES = (list, set, deque)
MAPPINGS = (dict, OrderedDict, defaultdict)
MOST_ITEMS = 256  # of a container; what is in larger ones stays what it is
NOT_COPIED = sys.stdlib_module_names | {"torch", "numpy"}


class Copies:
    """Copies, of each object one, whoever holds it: what modules share they share still.

    Containers, tensors and generators are copied, bound methods and partial functions bound to copies, and instances of
    users' own classes with all that they hold; other objects, closures among them, are not.

    Args:
        given: what to take instead of a copy, by the original's id.

    Attributes:
        modules: those that were found on the way.
    """

    def __init__(self, given: Mapping[int, Any]) -> None:
        self._copies = dict(given)
        self.modules: list[nn.Module] = []

    def of(self, value: Any) -> Any:
        """Return what may be written to instead of a value, or the value itself."""
        if id(value) in self._copies:
            return self._copies[id(value)]
        if isinstance(value, torch.Tensor):
            return self._keep(value, value.detach().clone())
        if isinstance(value, torch.Generator):
            return self._keep(value, value.clone_state())
        if isinstance(value, nn.Module):
            self.modules.append(value)
            return self._keep(value, value)
        if isinstance(value, functools.partial):
            keywords = {name: self.of(own) for name, own in value.keywords.items()}
            return functools.partial(self.of(value.func), *map(self.of, value.args), **keywords)
        if isinstance(value, types.MethodType):
            owner = self.of(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if type(value) in (*SEQUENCES, *MAPPINGS) or isinstance(value, tuple):
            return self._of_container(value)
        return self._of_instance(value)

    def _keep(self, value: Any, copy: Any) -> Any:
        self._copies[id(value)] = copy
        return copy

    def _of_container(self, value: Any) -> Any:
        small = len(value) <= MOST_ITEMS
        if isinstance(value, tuple):
            if not small:
                return value
            items = [self.of(item) for item in value]
            if all(item is own for item, own in zip(items, value, strict=True)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        copy = self._keep(value, value.copy())
        if not small or isinstance(value, set):  # what is in a set has a hash, and is not written to
            return copy
        for place, item in value.items() if isinstance(value, dict) else enumerate(value):
            copy[place] = self.of(item)
        return copy

    def _of_instance(self, value: Any) -> Any:
        kind = type(value)
        plain = isinstance(value, types.SimpleNamespace | argparse.Namespace)
        if not plain and (
            isinstance(value, type | types.FunctionType | types.ModuleType)
            or kind.__module__.partition(".")[0] in NOT_COPIED
            or not hasattr(value, "__dict__")
        ):
            return value
        try:
            copy = self._keep(value, kind.__new__(kind))
        except TypeError:  # of a class that only it itself can make
            return value
        copy.__dict__.update({name: self.of(held) for name, held in vars(value).items()})
        return copy
