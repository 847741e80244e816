"""A learner's arguments: their defaults, and which values they may have."""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from clbench.errors import OptionError, UndefinedError, UnknownNameError, did_you_mean
from clbench.indicators import LayerChoice
from clbench.scheduling import SCHEDULERS, Constants

Range = tuple[float, float, str]
POSITIVE: Range = (math.ulp(0), sys.float_info.max, "above 0 and finite")
NON_NEGATIVE: Range = (0, math.inf, "0 or above")
FINITE: Range = (-sys.float_info.max, sys.float_info.max, "finite")
CONSTANTS = {item.name: item.default for item in dataclasses.fields(Constants)}


class TakesArguments:
    """Takes the arguments that a class and its bases name in `RANGES`; class attributes are their defaults.

    Others are `scheduler`, "none" or a name in `clbench.scheduling.SCHEDULERS`, its constants (those of
    `clbench.scheduling.Constants`), and `layers`, what has a separate step size (see
    `clbench.indicators.layer_parameters`).
    """

    RANGES: ClassVar[Mapping[str, Range]] = {}
    default_scheduler = "none"
    schedulers: ClassVar[Sequence[str]] = ("none", *SCHEDULERS)
    keyword_arguments: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls) -> None:
        ranges = [vars(owner).get("RANGES", {}) for owner in reversed(cls.__mro__)]
        cls.RANGES = {name: allowed for each in ranges for name, allowed in each.items()}
        defaults = {name: getattr(cls, name) for name in cls.RANGES}
        cls.keyword_arguments = {**defaults, "scheduler": cls.default_scheduler, "layers": None, **CONSTANTS}

    def take(self, given: Mapping[str, Any]) -> None:
        self.check_arguments(given)
        self.arguments = {**self.keyword_arguments, **given}
        for name in self.RANGES:
            setattr(self, name, self.arguments[name])
        self.layers: LayerChoice = self.arguments["layers"]

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """Raise unless a learner can be made with these."""
        for name in arguments:
            if name not in cls.keyword_arguments:
                raise UnknownNameError(f"no argument '{name}'.{did_you_mean(name, cls.keyword_arguments)}")
        values = {**cls.keyword_arguments, **arguments}
        for name, (low, high, text) in cls.RANGES.items():
            value = values[name]
            if not (isinstance(value, (int, float)) and low <= value <= high):
                raise OptionError(f"{name}={value} must be {text}")
        scheduler, choices = values["scheduler"], ", ".join(cls.schedulers)
        if scheduler in cls.schedulers:
            Constants(**{name: values[name] for name in CONSTANTS})
        elif scheduler in SCHEDULERS:
            raise UndefinedError(f"scheduler={scheduler} needs per-sample gradients; choose from {choices}")
        else:
            hint = did_you_mean(str(scheduler), cls.schedulers)
            raise UnknownNameError(f"no scheduler '{scheduler}'.{hint} There are: {choices}.")
        unused = [name for name, default in CONSTANTS.items() if values[name] != default]
        if unused and scheduler == "none":
            name = unused[0]
            raise OptionError(f"{name}={values[name]} has no effect without a scheduler, such as per-layer")
