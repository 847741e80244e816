"""Hooks on modules: which are PyTorch's own, which may change what is computed, and how to do without."""

import contextlib
import dis
import functools
import re
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from clbench.errors import UndefinedError

FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")
FLAGS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
GLOBAL_HOOKS = tuple(f"_global{name}" for name in (*HOOKS, *FLAGS[:2]))

RETURNS_NOTHING = {"append", "appendleft", "extend"}  # and no tensor has such a method
PREFIX = {"COPY_FREE_VARS", "PUSH_NULL", "RESUME", "LOAD_ATTR", "LOAD_METHOD", "NOP", "CACHE"}
IN_A_KEY = {"LOAD_CONST", "LOAD_SMALL_INT", "BUILD_SLICE", "BUILD_TUPLE"}


def pytorchs(hooks: dict[int, Any]) -> dict[int, Any]:
    """Return those hooks by which PyTorch itself makes a weight."""
    return OrderedDict((key, hook) for key, hook in hooks.items() if _is_pytorchs(hook))


@contextlib.contextmanager
def global_hooks_off() -> Iterator[None]:
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
            for hook in getattr(module, kind).values():
                if not _is_pytorchs(hook) and not _only_looks(hook, module):
                    name = getattr(hook, "__qualname__", type(hook).__name__)
                    raise UndefinedError(
                        f"{where} has a forward hook, {name}, that may change what it computes, and hooks are left out "
                        "when measuring: do it in forward, or let the hook return and overwrite nothing"
                    )


def _is_pytorchs(hook: Any) -> bool:
    """Tell whether a hook is one by which PyTorch makes a weight: spectral and weight normalisation, pruning."""
    return type(hook).__module__.startswith("torch.nn.utils.")


def _only_looks(hook: Any, module: nn.Module) -> bool:
    """Tell whether a hook, as far as its code tells, returns None and writes to nothing that it is given."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    if not isinstance(hook, types.FunctionType | types.MethodType):
        hook = vars(type(hook)).get("__call__")
    code = getattr(hook, "__code__", None)
    if code is None:
        return False
    held = {*module._parameters, *module._buffers, *module._modules}
    return _returns_nothing(code) and not _writes(code) and not held & _attributes_set(code)


@functools.lru_cache(maxsize=1000)
def _returns_nothing(code: types.CodeType) -> bool:
    """Tell whether all of a function's returns are of None, of a single call such as `list.append`, or of `print`."""
    steps = _steps(code)
    for place, step in enumerate(steps):
        if step.opname == "RETURN_CONST" and step.argval is not None:
            return False
        if step.opname == "RETURN_VALUE":
            before = steps[place - 1]
            if before.opname == "LOAD_CONST" and before.argval is None:
                continue
            if not (before.opname.startswith("CALL") and _calls_what_returns_nothing(steps)):
                return False
    return True


def _calls_what_returns_nothing(steps: list[dis.Instruction]) -> bool:
    """Tell whether the first name in a function is `print`, or has a method that returns None called."""
    bases = 0
    for step in steps:
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and step.argval in RETURNS_NOTHING:
            return bases == 1
        if step.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST")):
            bases += 1
            if bases == 1 and step.argval == "print":
                return True
        elif step.opname not in PREFIX:
            return False
    return False


@functools.lru_cache(maxsize=1000)
def _writes(code: types.CodeType) -> bool:
    """Tell whether a function may write to its arguments: `x += 1`, `x[:, 0] = 0`, `x.mul_(2)`."""
    count = code.co_argcount + code.co_kwonlyargcount + 2  # and *args, **kwargs
    arguments = set(code.co_varnames[:count])
    steps = _steps(code)
    for place, step in enumerate(steps):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and re.search(r"[a-z0-9]_$", str(step.argval)):
            return True
        if step.opname == "STORE_FAST" and step.argval in arguments:
            return True
        if step.opname == "STORE_SUBSCR":
            at = place - 1
            while at > 0 and steps[at].opname in IN_A_KEY:
                at -= 1
            key_or_container, before = steps[at], steps[at - 1] if at else None
            named = before is not None and before.opname.startswith(
                ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_ATTR")
            )
            if key_or_container.argval in arguments and not named:
                return True
    return False


@functools.lru_cache(maxsize=1000)
def _attributes_set(code: types.CodeType) -> set[str]:
    return {str(step.argval) for step in _steps(code) if step.opname == "STORE_ATTR"}


def _steps(code: types.CodeType) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "NOP", "RESUME")]
