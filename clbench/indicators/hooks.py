"""Hooks on modules: which are PyTorch's, which may change what is computed, and how to leave them out."""

import contextlib
import dis
import functools
import inspect
import itertools
import re
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
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
ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
PREFIX = {"COPY_FREE_VARS", "PUSH_NULL", *ATTRIBUTES}
FREE = ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME", "LOAD_CLASSDEREF")
AUGMENTED = {"SWAP", "ROT_THREE"}
MOST_LEVELS = 5  # of functions that pass on to others
VARARGS, VARKEYWORDS = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS


def keep_pytorchs(hooks: Mapping[int, object]) -> dict[int, object]:
    return OrderedDict((key, hook) for key, hook in hooks.items() if _is_pytorchs(hook))


@contextlib.contextmanager
def global_hooks_off() -> Iterator[None]:
    """Leave out global hooks, which a profiler may have registered."""
    held = {name: getattr(torch_module, name) for name in GLOBAL_HOOKS if getattr(torch_module, name, None)}
    for name in held:
        setattr(torch_module, name, OrderedDict())
    try:
        yield
    finally:
        for name, hooks in held.items():
            setattr(torch_module, name, hooks)


def check_can_be_borrowed(model: nn.Module) -> None:
    """Raise `UndefinedError` if a module is scripted, or a user's forward hook may change what it computes."""
    for path, module in model.named_modules():
        where = f"'{path}' ({type(module).__name__})" if path else type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise UndefinedError(f"a scripted module cannot be measured: pass {where} before scripting")
        for kind in FORWARD_HOOKS:
            for hook in getattr(module, kind).values():
                _check(hook, where)
    for name in GLOBAL_HOOKS[: len(FORWARD_HOOKS)]:
        for hook in getattr(torch_module, name, {}).values():
            _check(hook, "every module")


def _check(hook: object, where: str) -> None:
    if not _is_pytorchs(hook) and not only_looks(hook):
        name = getattr(hook, "__qualname__", type(hook).__name__)
        raise UndefinedError(
            f"{where} has a forward hook, {name}, that may change what it computes, and hooks do not run when "
            "measuring: move it into forward, or let the hook neither return anything nor write to its arguments"
        )


def _is_pytorchs(hook: object) -> bool:
    """Return whether PyTorch computes a weight by this hook: spectral and weight normalisation, pruning."""
    return any(kind.__module__.startswith("torch.nn.utils.") for kind in type(hook).__mro__)


def only_looks(hook: object, levels: int = MOST_LEVELS) -> bool:
    """Return whether a hook certainly returns None and writes to none of its arguments, going by its bytecode.

    False if in doubt. A hook may write to variables around it, `kept["last"] = output`, and an object to itself, but
    not to the module nor into any tensor. It may return what a function around it, or a method of an object around it,
    returns, if that only looks: `lambda module, given, output: keep(module, output)`.
    """
    while isinstance(hook, functools.partial):
        hook = hook.func
    bound = not isinstance(hook, types.FunctionType)
    if bound and not isinstance(hook, types.MethodType):
        hook = getattr(type(hook), "__call__", None)  # noqa: B004 - its code is wanted
    function = inspect.unwrap(hook) if callable(hook) else None
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        return False
    if _only_looks(code, bound):
        return True
    callee = _passed_on_to(function) if levels else None
    return callee is not None and _only_looks(code, bound, returns=True) and only_looks(callee, levels - 1)


def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "NOP", "RESUME")]


def _passed_on_to(function: Any) -> object:  # noqa: ANN401 - a function or a method
    """Return what a function calls that is one call of something around it; None if it is not, or in doubt."""
    steps = _instructions(function.__code__)
    at = next((index for index, step in enumerate(steps) if step.opname not in PREFIX), 0)
    if not (steps[at].opname.startswith(FREE) and _is_single_call(steps, len(steps) - 1)):
        return None
    name, cells = (
        steps[at].argval,
        dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)),
    )
    try:
        value: object = cells[name].cell_contents if name in cells else function.__globals__.get(name)
    except ValueError:  # not assigned yet
        return None
    for step in itertools.takewhile(lambda step: step.opname in ATTRIBUTES, _without_nulls(steps[at + 1 :])):
        found = inspect.getattr_static(value, step.argval, None)  # runs nobody's code
        is_method = isinstance(found, types.FunctionType) and step.argval not in getattr(
            value, "__dict__", {}
        )
        value = types.MethodType(found, value) if is_method else found
    return value


def _without_nulls(steps: Sequence[dis.Instruction]) -> list[dis.Instruction]:
    return [step for step in steps if step.opname != "PUSH_NULL"]


@functools.lru_cache(maxsize=1000)
def _only_looks(code: types.CodeType, bound: bool, returns: bool = False) -> bool:
    """Return whether a function only looks; with `returns`, whatever it returns."""
    steps = _instructions(code)
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & VARARGS) + bool(code.co_flags & VARKEYWORDS)
    arguments = code.co_varnames[:count]
    receiver, given = set(arguments[: int(bound)]), set(arguments[bound:])
    module = set(arguments[bound : bound + 1])
    ends = [index for index, step in enumerate(steps) if step.opname.startswith("RETURN")]
    return (
        (returns or all(_returns_nothing(steps, index) for index in ends))
        and not any(_may_write(steps, index, receiver, given, module) for index in range(len(steps)))
        and not any({"out", "inplace"} & set(const) for const in code.co_consts if isinstance(const, tuple))
    )


def _returns_nothing(steps: Sequence[dis.Instruction], index: int) -> bool:
    """Return whether None is returned, or the function is one call of something that returns None, as `list.append`."""
    if steps[index].opname == "RETURN_CONST":
        return steps[index].argval is None
    before = steps[index - 1]
    if steps[index].opname != "RETURN_VALUE":
        return False
    if before.opname == "LOAD_CONST" and before.argval is None:
        return True
    return _is_single_call(steps, index) and _calls_for_nothing(steps)


def _is_single_call(steps: Sequence[dis.Instruction], index: int) -> bool:
    """Return whether a function is one expression, and what it returns at `index` is the result of a call."""
    single = not any(step.opname.startswith(("POP_TOP", "STORE", "POP_JUMP", "JUMP_IF")) for step in steps)
    return single and steps[index].opname == "RETURN_VALUE" and steps[index - 1].opname.startswith("CALL")


def _calls_for_nothing(steps: Sequence[dis.Instruction]) -> bool:
    """Return whether an expression calls `print`, or a method that returns None of the first name in it."""
    names = 0
    for step in steps:
        if step.opname in ATTRIBUTES and step.argval in RETURNS_NOTHING:
            return names == 1
        if step.opname.startswith(FREE) or step.opname.startswith("LOAD_FAST"):
            names += 1
            if names == 1 and step.argval == "print":
                return True
        elif step.opname not in PREFIX:
            return False
    return False


def _may_write(
    steps: Sequence[dis.Instruction], index: int, receiver: set[str], given: set[str], module: set[str]
) -> bool:
    """Return whether an instruction may write to one of the arguments `given`; those are `module` and the rest."""
    step = steps[index]
    if step.opname in ATTRIBUTES:  # such as `mul_`
        return bool(re.search(r"[a-z0-9]_$", str(step.argval)))
    if step.opname.startswith(FREE):
        return step.argval in ("setattr", "delattr")
    if step.opname.startswith("STORE_FAST"):  # such as `output += 1`
        names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        return bool(given & set(names[:1] if step.opname.endswith("LOAD_FAST") else names))
    if step.opname == "STORE_SUBSCR":
        return not _is_outside(steps, _container(steps, index), receiver)
    if step.opname == "STORE_ATTR":
        loads = {load.argval for load in steps if load.opname.startswith("LOAD_FAST")}
        loads |= {name for load in steps if isinstance(load.argval, tuple) for name in load.argval}
        return bool(loads & module) or steps[index - 1].argval in given
    if step.opname == "STORE_DEREF":
        return step.argval in given
    return step.opname.startswith(("STORE_SLICE", "DELETE_"))


def _container(steps: Sequence[dis.Instruction], index: int) -> int:
    """Return the last instruction that loads the container written to, -1 if unknown."""
    at = index - 1
    if steps[at].opname in AUGMENTED:  # such as `counts["calls"] += 1`: container and key, both then copied
        while at > 1 and not steps[at].opname.startswith(("COPY", "DUP_TOP")):
            at -= 1
        while at > 1 and steps[at - 1].opname.startswith(("COPY", "DUP_TOP")):
            at -= 1
        return at - 2
    height = 0
    while at >= 0 and height != -1:
        height -= dis.stack_effect(steps[at].opcode, steps[at].arg)
        at -= 1
    return at


def _is_outside(steps: Sequence[dis.Instruction], index: int, receiver: set[str]) -> bool:
    """Return whether an expression that ends here is a variable around a hook, or an attribute of its object."""
    if index < 0:
        return False
    while index > 0 and steps[index].opname == "LOAD_ATTR":
        index -= 1
    step = steps[index]
    name = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
    return step.opname.startswith(FREE) or (step.opname.startswith("LOAD_FAST") and name in receiver)
