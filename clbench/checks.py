"""Checks of what users ask for."""

import numbers
from collections.abc import Collection, Sequence

from clbench.errors import OptionError, UnknownNameError, did_you_mean


def check_count(name: str, value: object) -> int:
    """Return `value` as an int; refuse all but whole numbers of 1 or above."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise OptionError(f"{name}={value!r} is not a whole number")
    if value < 1:
        raise OptionError(f"{name}={value} is too small: it must be at least 1")
    return int(value)


def check_choice(what: str, name: str, choices: Collection[str]) -> None:
    """Raise `UnknownNameError`, with the nearest choice, unless `name` is one of `choices`."""
    if name not in choices:
        known = f" Choose from: {', '.join(choices)}." if choices else ""
        raise UnknownNameError(f"no {what} '{name}'.{did_you_mean(name, choices)}{known}")


def check_value(name: str, value: str, choices: Collection[str]) -> None:
    """Raise `OptionError`, with the nearest choice, unless the option `name` has one of `choices` for its value."""
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        raise OptionError(f"{name}={value!r} is not possible.{hint} Choose from: {', '.join(choices)}.")


def split_names(names: str | Sequence[str]) -> list[str]:
    """Return names given as a list or as comma-separated text.

    >>> split_names("sharpness, feature_rank")
    ['sharpness', 'feature_rank']
    """
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def count(number: int, noun: str) -> str:
    """Return number and noun, in the plural if need be.

    >>> count(1, "task"), count(3, "seed")
    ('1 task', '3 seeds')
    """
    return f"{number} {noun}" + ("s" if number != 1 else "")
