"""What all values have in common: how markers know them, and how numbers are written."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).resolve().parent.parent
LEARNERS = {"agents.crelu": "CReLU", "agents.l2": "L2", "agents.wasserstein": "Wasserstein"}
WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]

VALUES: dict[str, Callable[..., str]] = {}
"""What a marker may call, by name."""


def value(function: Callable[..., str]) -> Callable[..., str]:
    VALUES[function.__name__] = function
    return function


def decimal(number: float, digits: int) -> str:
    """Return a number with so many decimals.

    Raises:
        ValueError: it is not finite.

    >>> decimal(-0.0004, 2), decimal(2046.0, 0)
    ('0.00', '2,046')
    """
    if not math.isfinite(number):
        raise ValueError("it was not measured")
    return f"{round(number, digits) + 0.0:,.{digits}f}"


def between(numbers: "pd.Series[float] | list[float]", digits: int = 0, scale: float = 1.0) -> str:
    """Return "3 to 31", the least and the greatest of some numbers."""
    return f"{decimal(scale * min(numbers), digits)} to {decimal(scale * max(numbers), digits)}"
