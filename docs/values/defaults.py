"""Values that the code defines."""

import json
import math
from inspect import signature

from clbench import PROTOCOLS, indicators
from clbench.arguments import parameters
from clbench.loading import load_agent
from clbench.report.console import percent
from clbench.scheduling import Constants
from studies.noise_curvature.figures import FIGURES
from values.base import value

BATCH_SIZE = 256


@value
def default(agent: str, name: str) -> str:
    """Return a constant of a learner's constructor, as `--set` takes it."""
    return f"`{name}={short(parameters(load_agent(agent))[name])}`"


def short(number: object) -> str:
    """Return a default in short.

    >>> short(0.001), short(0.7), short("per-layer")
    ('1e-3', '0.7', 'per-layer')
    """
    if isinstance(number, float) and 0 < number < 0.1:
        power = f"1e{round(math.log10(number))}"
        return power if float(power) == number else str(number)
    return str(number)


@value
def constant(name: str, code: bool = True) -> str:
    number = getattr(Constants(), name)
    shown = json.dumps(number) if isinstance(number, str) else repr(number)
    return f"`{shown}`" if code else shown


@value
def option(indicator: str, name: str, as_percent: bool = False) -> str:
    number = signature(getattr(indicators, indicator)).parameters[name].default
    return percent(number) if as_percent else repr(number)


@value
def protocol(name: str) -> str:
    """Return three cells of the table of protocols: images, tasks and epochs, steps per task."""
    one = PROTOCOLS[name]
    images = f"{one.num_samples:,}" + (" embedded" if one.source == "embedded" else "")
    steps = one.num_samples // BATCH_SIZE * one.epochs_per_task
    return f"{images} | {one.num_tasks} x {one.epochs_per_task} | {steps:,}"


@value
def number_of_claims() -> str:
    return str(sum(len(figure.claims) for figure in FIGURES.values()))
