"""From JSON data to frozen dataclasses, every type checked."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

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


def decode(kind: Any, data: Any, name: str = "", exact: bool = False) -> Any:
    """Return JSON data as a value of a type.

    Args:
        kind: a dataclass, number, string, `tuple[X, ...]`, `list[X]`, `Mapping[str, X]`, `Literal`, a union, or `Any`.
        data: what `json.loads` returned; values that are of the type already are left as they are.
        name: what error messages call it.
        exact: refuse keys that a dataclass does not have; otherwise they are ignored.

    Returns:
        The value; fields that are missing have their defaults.

    Raises:
        ValueError: a field is missing, unknown or of another type; the text names it.

    Examples:
        >>> decode(tuple[int, ...], [1, 2]), decode(float | None, None)
        ((1, 2), None)
        >>> decode(Mapping[str, int], {"a": "b"}, "sizes")
        Traceback (most recent call last):
        ValueError: sizes.a must be a whole number, not 'b'
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if origin in (Union, UnionType):
        return _decode_union(arguments, data, name, exact)
    if origin is Literal and data in arguments:
        return data
    if is_dataclass(kind) and isinstance(data, Mapping):
        return _decode_dataclass(kind, data, name, exact)
    if origin in (tuple, list) and isinstance(data, (list, tuple)):
        return origin(
            decode(arguments[0], item, f"{name}[{index}]", exact) for index, item in enumerate(data)
        )
    if origin in (dict, Mapping) and isinstance(data, Mapping):
        return {key: decode(arguments[1], item, _join(name, key), exact) for key, item in data.items()}
    if kind is float and type(data) in (int, float):
        return float(data)
    if type(data) is kind:  # of a dataclass, too
        return data
    raise ValueError(f"{name} must be {_describe(kind)}, not {_short(data)}")


def _decode_dataclass(kind: Any, data: Mapping[str, Any], name: str, exact: bool) -> Any:
    kinds, values = get_type_hints(kind), {}
    for item in fields(kind):
        if item.name in data:
            values[item.name] = decode(kinds[item.name], data[item.name], _join(name, item.name), exact)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"'{_join(name, item.name)}' is missing")
    unknown = [key for key in data if key not in kinds]
    if exact and unknown:
        raise ValueError(f"unexpected field {_short(_join(name, unknown[0]))}")
    return kind(**values)


def _decode_union(kinds: tuple[Any, ...], data: Any, name: str, exact: bool) -> Any:
    errors = []
    for kind in kinds:
        try:
            return decode(kind, data, name, exact)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _join(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    return NAMES.get(get_origin(kind) or kind, "an object")


def _short(data: object) -> str:
    text = ascii(data)
    return text if len(text) <= 60 else f"{text[:57]}..."
