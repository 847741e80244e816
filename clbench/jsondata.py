"""Frozen dataclasses to JSON data and back, every type checked.

The field `class_` has the key "class"; a field with the metadata `UNRECORDED` has none, one with `IF_SET` only while it
is not empty.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

JSON: TypeAlias = Any
"""JSON data; its types are known only after `from_json` has checked them."""

Kind: TypeAlias = Any
"""A type as annotations have it, which may be a union."""

UNRECORDED: Mapping[str, object] = {"recorded": False}
IF_SET: Mapping[str, object] = {"recorded": "if set"}
T = TypeVar("T")
NAMES: Mapping[object, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    tuple: "a list",
    list: "a list",
    dict: "an object",
    Mapping: "an object",
}


def to_json(value: object) -> JSON:
    """Return dataclasses, mappings and tuples as dicts and lists that JSON can hold.

    >>> to_json({"sizes": (1, 2)})
    {'sizes': [1, 2]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        when = {item.name: item.metadata.get("recorded", True) for item in fields(value)}
        recorded = [name for name, rule in when.items() if rule is True or (rule and getattr(value, name))]
        return {name.rstrip("_"): to_json(getattr(value, name)) for name in recorded}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], data: JSON, name: str = "", exact: bool = False) -> T:
    """Return JSON data as an instance of a dataclass; fields that are missing have their defaults.

    Args:
        kind: its fields are dataclasses, numbers, strings, `tuple[X, ...]`, `list[X]`, `Mapping[str, X]`, `Literal`,
            unions or `Any`.
        data: what `json.loads` returned; values that are of their type already are left as they are.
        name: what error messages call it.
        exact: refuse keys that are not fields; otherwise they are ignored.

    Raises:
        ValueError: a field is missing, unknown or of another type; the text names it.
    """
    value: T = _convert(kind, data, name, exact)
    return value


def _convert(kind: Kind, data: JSON, name: str, exact: bool) -> JSON:
    origin: object = get_origin(kind)
    arguments = get_args(kind)
    if kind is Any:
        return data
    if origin in (Union, UnionType):
        return _convert_union(arguments, data, name, exact)
    if origin is Literal and data in arguments:
        return data
    if is_dataclass(kind) and isinstance(data, Mapping):
        return _convert_fields(kind, data, name, exact)
    if origin in (tuple, list) and isinstance(data, (list, tuple)):
        items = [_convert(arguments[0], item, f"{name}[{index}]", exact) for index, item in enumerate(data)]
        return tuple(items) if origin is tuple else items
    if origin in (dict, Mapping) and isinstance(data, Mapping):
        return {key: _convert(arguments[1], item, _join(name, key), exact) for key, item in data.items()}
    if kind is float and type(data) in (int, float):
        return float(data)
    if type(data) is kind:  # of a dataclass, too
        return data
    raise ValueError(f"{name} must be {_describe(kind)}, not {_short(data)}")


def _convert_fields(kind: Kind, data: Mapping[str, JSON], name: str, exact: bool) -> JSON:
    kinds, values = get_type_hints(kind), {}
    keys = {item.name.rstrip("_"): item for item in fields(kind)}
    for key, item in keys.items():
        if key in data:
            values[item.name] = _convert(kinds[item.name], data[key], _join(name, key), exact)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"'{_join(name, key)}' is missing")
    if exact and (unknown := [key for key in data if key not in keys]):
        raise ValueError(f"unexpected field {_short(_join(name, unknown[0]))}")
    return kind(**values)


def _convert_union(kinds: tuple[Kind, ...], data: JSON, name: str, exact: bool) -> JSON:
    errors = []
    for kind in kinds:
        try:
            return _convert(kind, data, name, exact)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _join(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _describe(kind: Kind) -> str:
    origin: object = get_origin(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    return NAMES.get(origin or kind, "an object")


def _short(data: object) -> str:
    text = ascii(data)
    return text if len(text) <= 60 else f"{text[:57]}..."
