"""Running a module without leaving a trace in it: on other tensors, without users' hooks, nothing in place.

While a module is borrowed, each of its modules has another `__dict__`, a copy in which everything that a forward pass
may write to is copied, too; afterwards each has its old one again, the same object. One thread borrows at a time.
"""

import contextlib
import random
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointFunction

from clbench.errors import TouchedError
from clbench.indicators.copies import Copies
from clbench.indicators.hooks import FLAGS, HOOKS, global_hooks_off, keep_pytorchs
from clbench.indicators.stacked import Model, Stacked

STANDARD = frozenset(vars(nn.Module()))
LOCK = threading.RLock()


@contextlib.contextmanager
def borrowed(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Lend a module other parameters and buffers, by their first names, for forward and backward passes.

    Its user's hooks do not fire, and PyTorch's modules do nothing in place. Shared modules and tied tensors stay so.
    """
    modules = list(model.modules())
    replacements: dict[int, object] = {id(module): module for module in modules}
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        replacements.setdefault(id(value), state[name])
    copies = Copies(replacements)
    originals: list[tuple[nn.Module, dict[str, Any]]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(LOCK)
        if "torch._dynamo" in sys.modules:  # a module, its forward, or a function may be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(global_hooks_off())
        stack.enter_context(_reentrant_checkpoints_off())
        try:
            copies.modules += modules
            while copies.modules:  # copying finds more, which the model holds without registering them
                module = copies.modules.pop()
                attributes = vars(module)
                copied = _copy_attributes(module, copies)
                originals.append((module, attributes))
                object.__setattr__(module, "__dict__", copied)
            yield
        finally:
            for module, attributes in originals:
                object.__setattr__(module, "__dict__", attributes)


def _copy_attributes(module: nn.Module, copies: Copies) -> dict[str, Any]:
    attributes = vars(module)
    copied = dict(attributes)
    for kind in ("_parameters", "_buffers"):
        copied[kind] = {name: copies.get(value) for name, value in attributes[kind].items()}
    for value in copied["_parameters"].values():
        if value is not None:
            value._is_param = True  # what makes `isinstance(value, nn.Parameter)` true
    copied["_modules"] = dict(attributes["_modules"])
    for name in HOOKS:
        copied[name] = keep_pytorchs(attributes[name])
    for name in FLAGS:
        copied[name] = OrderedDict(attributes[name])
    for name in attributes.keys() - STANDARD:
        copied[name] = copies.get(attributes[name])
    if _has_inplace(module):
        copied["inplace"] = False
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        copied["sparse"] = False
    if isinstance(module, nn.RNNBase):
        copied["_flat_weights"] = [copied["_parameters"].get(name) for name in module._flat_weights_names]
    return copied


def _has_inplace(module: nn.Module) -> bool:
    return any(
        "inplace" in vars(kind).get("__constants__", ()) and kind.__module__.startswith("torch.nn.")
        for kind in type(module).__mro__
    )


@contextlib.contextmanager
def _reentrant_checkpoints_off() -> Iterator[None]:
    """Run functions checkpointed in the older, reentrant way directly, which `torch.autograd.grad` cannot."""
    held = vars(CheckpointFunction).get("apply")
    CheckpointFunction.apply = staticmethod(lambda function, preserve, *inputs: function(*inputs))
    try:
        yield
    finally:
        if held is None:
            del CheckpointFunction.apply
        else:
            CheckpointFunction.apply = held


@contextlib.contextmanager
def keep_random_states(device: torch.device) -> Iterator[None]:
    """Restore random states afterwards: PyTorch's on the CPU and on `device`, Python's and NumPy's."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one, which a model may draw from
    # A pass that is being captured draws from a state that its graph manages.
    capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    devices, kind = [], "cuda"
    if device.type != "cpu" and not capturing:
        kind, index = device.type, device.index
        devices = [torch.get_device_module(device).current_device() if index is None else index]
    try:
        with torch.random.fork_rng(devices=devices, enabled=not capturing, device_type=kind):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def untouched(what: str, model: Model) -> Iterator[None]:
    """Raise `TouchedError` if `what` changes parameters, buffers or modes, even if another error is raised."""
    # Identities and versions are compared: that costs next to nothing, and detects every write but through `.data`.
    before = _fingerprint(model)
    try:
        yield
    finally:
        after = _fingerprint(model)
        changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if changed:
            raise TouchedError(
                f"{what} changed the network that it measured: {', '.join(changed[:3])}. This would affect "
                "the agent's learning: leave this measurement out (--indicators), and please report it"
            )


def _fingerprint(model: Model) -> dict[str, object]:
    module = model.model if isinstance(model, Stacked) else model
    stacks = {**model.parameters, **model.buffers} if isinstance(model, Stacked) else {}
    modes = {f"mode of '{path}'": child.training for path, child in module.named_modules()}
    tensors = {f"stacked {name}": value for name, value in stacks.items()} | {
        f"{path}.{name}".lstrip("."): value
        for path, child in module.named_modules()
        for values in (child._parameters, child._buffers)
        for name, value in values.items()
        if value is not None
    }
    return {**modes, **{name: (id(value), _version(value)) for name, value in tensors.items()}}


def _version(value: torch.Tensor) -> int:
    """Return how many times a tensor was written to in place; 0 where PyTorch does not count, or tell."""
    return 0 if value.is_inference() else int(getattr(value, "_version", 0))
