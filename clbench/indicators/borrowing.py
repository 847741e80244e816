"""Running a module without leaving a trace in it: on other tensors, without its user's hooks, nothing in place.

While a module is borrowed, each of its modules has another `__dict__`, a copy in which whatever a forward pass may
write to is a copy, too; afterwards it has its own again, the same object. One thread borrows at a time.
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
from clbench.indicators.hooks import FLAGS, HOOKS, global_hooks_off, pytorchs
from clbench.indicators.networks import Model, Stacked

STANDARD = frozenset(vars(nn.Module()))
LOCK = threading.RLock()


@contextlib.contextmanager
def borrowed(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let a module have other tensors while the context lasts, for forward and for backward passes.

    Its user's hooks do not fire, and PyTorch's modules do nothing in place.

    Args:
        model: the module; shared modules and tied tensors stay so.
        state: a tensor for each parameter and buffer, by its first name; parameters of other modules are not looked at.
    """
    modules = list(model.modules())
    given: dict[int, Any] = {id(module): module for module in modules}
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        given.setdefault(id(value), state[name])
    copies = Copies(given)
    held: list[tuple[nn.Module, dict[str, Any]]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(LOCK)
        if "torch._dynamo" in sys.modules:  # something may be compiled: a module, its forward, or a function
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(global_hooks_off())
        stack.enter_context(_checkpoints_off())
        try:
            copies.modules += modules
            while (
                copies.modules
            ):  # more may be found on the way, which the model holds without registering them
                module = copies.modules.pop()
                parts = vars(module)
                aside = _aside(module, copies)
                held.append((module, parts))
                object.__setattr__(module, "__dict__", aside)
            yield
        finally:
            for module, parts in held:
                object.__setattr__(module, "__dict__", parts)


def _aside(module: nn.Module, copies: Copies) -> dict[str, Any]:
    """Return a copy of what a module holds."""
    parts = vars(module)
    copy = dict(parts)
    for name in ("_parameters", "_buffers"):
        copy[name] = {key: None if value is None else copies.of(value) for key, value in parts[name].items()}
    for value in copy["_parameters"].values():
        if value is not None:
            value._is_param = True  # what makes `isinstance(value, nn.Parameter)` true
    copy["_modules"] = dict(parts["_modules"])
    for name in HOOKS:
        copy[name] = pytorchs(parts[name])
    for name in FLAGS:
        copy[name] = OrderedDict(parts[name])
    for name in parts.keys() - STANDARD:
        copy[name] = copies.of(parts[name])
    if _has_inplace(module):
        copy["inplace"] = False
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        copy["sparse"] = False
    if isinstance(module, nn.RNNBase):
        own = copy["_parameters"]
        copy["_flat_weights"] = [own.get(name) for name in module._flat_weights_names]
    return copy


def _has_inplace(module: nn.Module) -> bool:
    """Tell whether a module is one of PyTorch's that may work in place."""
    return any(
        "inplace" in vars(kind).get("__constants__", ()) and kind.__module__.startswith("torch.nn.")
        for kind in type(module).__mro__
    )


@contextlib.contextmanager
def _checkpoints_off() -> Iterator[None]:
    """Run what is checkpointed in the older, reentrant way directly: `torch.autograd.grad` cannot go through it."""
    name, held = "apply", vars(CheckpointFunction).get("apply")
    CheckpointFunction.apply = staticmethod(lambda function, preserve, *inputs: function(*inputs))
    try:
        yield
    finally:
        if held is None:
            delattr(CheckpointFunction, name)
        else:
            CheckpointFunction.apply = held


@contextlib.contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """Put the random states back afterwards: PyTorch's on the CPU and on `device`, Python's and NumPy's."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one, which a model may draw from
    capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    devices: list[int] = []
    if device.type != "cpu" and not capturing:
        index = torch.get_device_module(device).current_device() if device.index is None else device.index
        devices = [index]
    # A pass that is recorded draws from a state that its graph looks after.
    kept = torch.random.fork_rng(
        devices=devices, enabled=not capturing, device_type=device.type if devices else "cuda"
    )
    try:
        with kept:
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def untouched(what: str, model: Model) -> Iterator[None]:
    """Raise unless a network's parameters, buffers and modes are the same afterwards, also after an error.

    It looks at objects and their versions, which every write raises but those through `.data`, and at no number: it
    costs next to nothing.

    Args:
        what: is done meanwhile, for the error's text.
        model: a module, or `Stacked` ones.

    Raises:
        TouchedError: something was changed.
    """
    before, failure = _trace(model), None
    try:
        yield
    except Exception as error:
        failure = error
    after = _trace(model)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise TouchedError(
            f"{what} changed the network that it measured: {', '.join(changed[:3])}. What follows would not be the "
            "agent's own doing: leave the measurement at fault out (--indicators), and please report this"
        ) from failure
    if failure is not None:
        raise failure


def _trace(model: Model) -> dict[str, Any]:
    """Return what tells whether tensors and modes are the same: identities and versions."""
    found: dict[str, Any] = {}
    if isinstance(model, Stacked):
        for name, value in {**model.parameters, **model.buffers}.items():
            found[f"stacked {name}"] = _identity(value)
        model = model.model
    for path, module in model.named_modules():
        found[f"mode of '{path}'"] = module.training
        for kind in ("_parameters", "_buffers"):
            for name, value in getattr(module, kind).items():
                if value is not None:
                    found[f"{path}.{name}".lstrip(".")] = _identity(value)
    return found


def _identity(value: torch.Tensor) -> tuple[int, int]:
    return id(value), 0 if value.is_inference() else value._version
