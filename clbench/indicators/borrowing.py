"""Running a module without leaving a trace in it: on other tensors, without its user's hooks, nothing in place.

While a module is borrowed, each of its modules has another `__dict__`, a copy in which whatever a forward pass may
write to is a copy, too; afterwards it has its own again, the same object. This is the only file that knows how
`torch.nn.Module` keeps its parts.
"""

import contextlib
import dis
import functools
import random
import types
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module

from clbench.errors import TouchedError, UndefinedError
from clbench.indicators.layers import is_compiled
from clbench.indicators.networks import Model, Stacked

FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")
FLAGS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
GLOBAL_HOOKS = tuple(f"_global{name}" for name in (*HOOKS, *FLAGS[:2]))
STANDARD = frozenset(vars(nn.Module()))
IN_PLACE = ("inplace", "sparse")  # options that change how something is computed, not what
COPIED = (list, dict, set, deque, OrderedDict)
RETURNS_NOTHING = {
    "append",
    "appendleft",
    "extend",
    "insert",
    "update",
    "__setitem__",
}  # and no method of a tensor's does


@contextlib.contextmanager
def borrowed(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let a module have other tensors while the context lasts, for forward and for backward passes.

    Its user's hooks do not fire, and operations in place are not done so where a module has an option that says it.

    Args:
        model: the module; shared modules and tied tensors stay so.
        state: a tensor for each parameter and buffer, by its first name; parameters of other modules are not looked at.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    given = {id(value): state[name] for name, value in named}
    modules = list(model.modules())
    held = [(module, vars(module)) for module in modules]
    with contextlib.ExitStack() as stack:
        if any(is_compiled(module) for module in modules):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_global_hooks_off())
        try:
            for module, parts in held:
                object.__setattr__(module, "__dict__", _aside(module, parts, given))
            yield
        finally:
            for module, parts in held:
                object.__setattr__(module, "__dict__", parts)


def _aside(module: nn.Module, parts: Mapping[str, Any], given: Mapping[int, torch.Tensor]) -> dict[str, Any]:
    """Return a copy of what a module holds."""
    copy = dict(parts)
    for name in ("_parameters", "_buffers"):
        copy[name] = {key: given.get(id(value), value) for key, value in parts[name].items()}
    for name in HOOKS:
        copy[name] = OrderedDict((key, hook) for key, hook in parts[name].items() if _is_pytorchs(hook))
    for name in FLAGS:
        copy[name] = OrderedDict(parts[name])
    for name in IN_PLACE:
        if parts.get(name) is True:
            copy[name] = False
    for name in parts.keys() - STANDARD:
        copy[name] = _copied(copy[name], given)
    if isinstance(module, nn.RNNBase):
        own = copy["_parameters"]
        copy["_flat_weights"] = [own.get(name) for name in module._flat_weights_names]
    return copy


def _copied(value: Any, given: Mapping[int, torch.Tensor]) -> Any:
    """Return what may be written to instead of an attribute's value."""
    if isinstance(value, torch.Tensor):
        return given[id(value)] if id(value) in given else value.detach().clone()
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if type(value) in COPIED:
        copy = value.copy()
        places = enumerate(copy) if isinstance(copy, list) else copy.items() if isinstance(copy, dict) else ()
        for place, one in list(places):
            if id(one) in given:
                copy[place] = given[id(one)]
        return copy
    return value


@contextlib.contextmanager
def _global_hooks_off() -> Iterator[None]:
    """Leave out hooks on all modules, which a profiler may have set."""
    held = {name: getattr(torch_module, name) for name in GLOBAL_HOOKS if getattr(torch_module, name, None)}
    for name in held:
        setattr(torch_module, name, OrderedDict())
    try:
        yield
    finally:
        for name, hooks in held.items():
            setattr(torch_module, name, hooks)


def check_can_be_borrowed(model: nn.Module) -> None:
    """Raise unless a module computes without its user's hooks what it computes with them.

    Raises:
        UndefinedError: it is scripted, or a forward hook may change what it computes.
    """
    for path, module in model.named_modules():
        where = f"'{path}' ({type(module).__name__})" if path else type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise UndefinedError(
                f"a scripted module cannot be measured: give {where} as it was before scripting"
            )
        for kind in FORWARD_HOOKS:
            for hook in vars(module)[kind].values():
                if not _is_pytorchs(hook) and not _returns_nothing(hook):
                    name = getattr(hook, "__qualname__", type(hook).__name__)
                    raise UndefinedError(
                        f"{where} has a forward hook, {name}, that may change what it computes, and hooks are left out "
                        "when measuring: do it in forward, or let the hook return nothing"
                    )


def _is_pytorchs(hook: Any) -> bool:
    """Tell whether a hook is one by which PyTorch itself makes a weight: spectral and weight normalisation, pruning."""
    return type(hook).__module__.startswith("torch.nn.utils.")


def _returns_nothing(hook: Any) -> bool:
    """Tell whether a hook surely returns None, by its code."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    if not isinstance(hook, types.FunctionType | types.MethodType):
        hook = vars(type(hook)).get("__call__")
    code = getattr(hook, "__code__", None)
    return code is not None and _code_returns_nothing(code)


@functools.lru_cache(maxsize=1000)
def _code_returns_nothing(code: types.CodeType) -> bool:
    """Tell whether all of a function's returns are of None, or of a call such as `list.append`."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "NOP", "RESUME")]
    for place, step in enumerate(steps):
        if step.opname == "RETURN_CONST" and step.argval is not None:
            return False
        if step.opname == "RETURN_VALUE":
            before = steps[place - 1]
            if before.opname == "LOAD_CONST" and before.argval is None:
                continue
            first_call = next((i for i, one in enumerate(steps) if one.opname.startswith("CALL")), place)
            loaded = {one.argval for one in steps[:first_call] if one.opname in ("LOAD_METHOD", "LOAD_ATTR")}
            if not (before.opname.startswith("CALL") and loaded & RETURNS_NOTHING):
                return False
    return True


@contextlib.contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """Put the random states back afterwards: PyTorch's on the CPU and on `device`, Python's and NumPy's."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one, which a model may draw from
    devices: list[int] = []
    if device.type != "cpu":
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            yield  # a recorded pass draws from a state that its graph looks after
            return
        index = torch.get_device_module(device).current_device() if device.index is None else device.index
        devices = [index]
    try:
        with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def untouched(what: str, model: Model) -> Iterator[None]:
    """Raise unless a network's parameters, buffers and modes are the same afterwards.

    It looks at objects and their versions, which every write raises, and at no number: it costs next to nothing.

    Args:
        what: is done meanwhile, for the error's text.
        model: a module, or `Stacked` ones.

    Raises:
        TouchedError: something was changed.
    """
    before = _trace(model)
    yield
    after = _trace(model)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise TouchedError(
            f"{what} changed the network that it measured: {', '.join(changed[:3])}. What follows would not be the "
            "agent's own doing: leave the measurement at fault out (--indicators), and please report this"
        )


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
