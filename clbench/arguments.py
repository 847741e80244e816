"""The constructor arguments of agents: which there are, and values read, checked and converted for them."""

import ast
import collections.abc
import inspect
import json
import math
import numbers
import re
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union

import numpy as np

from clbench.errors import LoadError, OptionError, UnknownNameError, did_you_mean

Kinds = frozenset[type]

ANYTHING: Kinds = frozenset()
NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a tuple",
    list: "a list",
    dict: "a dict",
}
ABSTRACT: Mapping[object, Kinds] = {
    collections.abc.Sequence: frozenset({list, tuple}),
    collections.abc.Mapping: frozenset({dict}),
    NoneType: frozenset({NoneType}),
    **{kind: frozenset({kind}) for kind in NAMES},
}
NUMBER_WORD = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


class Text(str):
    """A value as typed on the command line: it is read when it is known what its argument takes."""


@dataclass(frozen=True)
class Parameter:
    """An argument: its default, `inspect.Parameter.empty` if there is none, and the kinds of values that it takes."""

    default: Any
    kinds: Kinds = ANYTHING

    @classmethod
    def of(cls, default: object, annotation: object = Any) -> "Parameter":
        """Return the parameter with the kinds of its default and of its annotation, if that is simple."""
        default = default.item() if isinstance(default, np.generic) else default
        own = next((frozenset({kind}) for kind in NAMES if isinstance(default, kind)), ANYTHING)
        if annotation is inspect.Parameter.empty and own == {int} and default in (0, 1):
            own |= {float}  # as in weight_decay=0
        annotated = (_annotated(annotation) or ANYTHING) - {NoneType}
        if default is None or default is inspect.Parameter.empty:
            return cls(default, annotated)
        return cls(default, own and own | annotated)


def described_parameters(agent: type) -> dict[str, Parameter]:
    """Return the constructor arguments of an agent besides `spec` and the seed.

    Arguments passed on as `**kwargs` are those of the base classes, and then of the class attribute
    `keyword_arguments` (names and defaults), if there is one.
    """
    arguments: dict[str, Parameter] = {}
    for owner in agent.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        constructor = vars(owner)["__init__"]
        listed = list(inspect.signature(constructor).parameters.values())[1:]
        hints = _hints(constructor)
        for each in listed[2:]:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                annotation = hints.get(each.name, each.annotation)
                arguments.setdefault(each.name, Parameter.of(each.default, annotation))
        if not any(each.kind is each.VAR_KEYWORD for each in listed):
            return arguments
    for name, default in getattr(agent, "keyword_arguments", {}).items():
        arguments.setdefault(name, Parameter.of(default))
    return arguments


def parameters(agent: type) -> dict[str, Any]:
    """Return the constructor arguments that `--set` accepts, with their defaults."""
    return {name: parameter.default for name, parameter in described_parameters(agent).items()}


def check_arguments(reference: str, agent: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as `agent` takes them: texts of the command line are read, whatever does not fit is refused.

    Raises:
        UnknownNameError: there is no such argument.
        OptionError: a value does not fit, cannot be recorded, or one is missing.
        LoadError: the agent cannot be constructed so.
    """
    known, values = described_parameters(agent), dict[str, Any]()
    for name, value in arguments.items():
        if name not in known:
            listing = f" It has: {', '.join(known)}." if known else " It has none."
            raise UnknownNameError(
                f"{reference} has no argument '{name}'.{did_you_mean(name, known)}{listing}"
            )
        values[name] = fit(name, value, known[name], f"{reference}: ")
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in values:
            raise OptionError(f"{reference} requires the argument '{name}': pass --set {name}=...")
    try:
        inspect.signature(agent).bind(None, None, **values)
    except TypeError as error:
        raise LoadError(f"{reference} cannot be constructed with (spec, seed, ...): {error}") from error
    return values


def fit(name: str, value: object, parameter: Parameter, where: str = "") -> object:
    """Return a value as a parameter takes it.

    None is always taken. A float that is a whole number is taken for an int; numbers of NumPy become Python's. A text
    of the command line is a literal of Python or JSON; where a text is expected, and nothing else, it stands as it is
    unless it is `None` or quoted.

    Raises:
        OptionError: it does not fit, is not finite, or cannot be recorded.

    >>> fit("flag", Text("False"), Parameter.of(True)), fit("kind", Text("1"), Parameter.of("adam"))
    (False, '1')
    >>> fit("width", 1e3, Parameter.of(64)), fit("sizes", [1, 2], Parameter.of((3,)))
    (1000, (1, 2))
    """
    kinds = parameter.kinds
    read = _read(value, kinds) if isinstance(value, Text) else value
    try:
        plain = _plain(read)
    except ValueError as error:
        shown = read if isinstance(read, float) else value
        raise OptionError(f"{where}{name}={shown!r} {error}") from None
    converted = _converted(plain, kinds)
    if _fits(converted, kinds):
        return converted
    expected = " or ".join(text for kind, text in NAMES.items() if kind in kinds)
    default = (
        ""
        if parameter.default in (None, inspect.Parameter.empty)
        else f"; {parameter.default!r} is its default"
    )
    raise OptionError(f"{where}{name}={value!r} is not {expected}{default}")


def as_declared(agent: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded arguments as `agent` takes them: JSON has no tuples."""
    known = described_parameters(agent)
    return {
        name: _converted(value, known[name].kinds) if name in known else value
        for name, value in arguments.items()
    }


def parse_setting(text: str) -> tuple[str, Text]:
    """Split "name=value" or "agent:name=value"; the value is read when it is known what its argument takes.

    Raises:
        OptionError: the text does not have this form.

    >>> parse_setting("step_size=1e-3"), parse_setting("small:kind=adam")
    (('step_size', '1e-3'), ('small:kind', 'adam'))
    """
    name, equals, value = text.partition("=")
    owner, colon, last = name.rpartition(":")
    if not equals or not last.isidentifier() or (colon and not owner):
        raise OptionError(f"'{text}' is not of the form name=value, or agent:name=value for one agent")
    return name, Text(value)


def is_plain(value: object) -> bool:
    """Tell whether a value can be recorded as JSON data and restored."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def _read(text: Text, kinds: Kinds) -> object:
    """Return the literal that a text is, or the text."""
    bare, given = text.strip(), str(text)
    literal = _literal(bare)
    if kinds == {str}:
        return literal if isinstance(literal, (str, NoneType)) and bare != "null" else given
    if isinstance(literal, tuple) and not bare.startswith("(") and not kinds & {tuple, list}:
        return given  # a list of names, for example
    if literal is ... or (str in kinds and not _fits(literal, kinds)):
        return given
    return literal


def _literal(text: str) -> object:
    """Return the literal of Python or JSON that a text is; `...` if it is none."""
    if NUMBER_WORD.fullmatch(text):
        return float(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a backslash in a text
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
    return ...


def _plain(value: object) -> object:
    """Return a value with Python's own numbers; raise `ValueError` unless it can be recorded."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise ValueError("is not finite")
        return float(value)
    if isinstance(value, (list, tuple)):
        items = map(_plain, value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("cannot be recorded: the keys of a dict must be texts")
        return {key: _plain(item) for key, item in value.items()}
    raise ValueError("cannot be recorded: give numbers, texts, True, False, None, lists or dicts of them")


def _converted(value: object, kinds: Kinds) -> object:
    """Return a plain value as one of the kinds if it stands for one, else as it is."""
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        return int(value)
    if isinstance(value, list) and tuple in kinds and list not in kinds:
        return tuple(value)
    if isinstance(value, tuple) and list in kinds and tuple not in kinds:
        return list(value)
    return value


def _fits(value: object, kinds: Kinds) -> bool:
    """Tell whether a plain value is of one of the kinds; a whole number is a number, True is none."""
    if value is None or not kinds:
        return True
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, tuple(kinds)) or (isinstance(value, int) and float in kinds)


def _annotated(annotation: object) -> Kinds | None:
    """Return the kinds of a simple annotation; None for any other, and where everything is allowed."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, UnionType):
        members = [_annotated(argument) for argument in arguments]
        return None if None in members else frozenset[type]().union(*(each for each in members if each))
    if origin is Literal:
        return frozenset(map(type, arguments))
    if origin is typing.Annotated:
        return _annotated(arguments[0])
    key: Any = origin or annotation
    return ABSTRACT.get(key) if isinstance(key, collections.abc.Hashable) else None


def _hints(constructor: Callable[..., object]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(constructor)
    except Exception:  # a name that only a type checker imports
        return {}
