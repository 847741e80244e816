"""Options that several commands share."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeVar

import click

from clbench.arguments import Parameter, fit, parse_setting
from clbench.errors import OptionError
from clbench.places import expanded
from clbench.registration import COMMON_OPTIONS
from clbench.specs import PROTOCOLS

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]


class Seeds(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    """How many seeds, or which.

    >>> Seeds().convert("3", None, None), Seeds().convert("0,4", None, None), Seeds().convert("7,", None, None)
    (3, [0, 4], [7])
    """

    name = "N|A,B,..."

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | list[int]:
        try:
            if "," in value:
                return [int(part) for part in value.rstrip(",").split(",")]
            return int(value)
        except ValueError:
            raise OptionError(
                f"--seeds '{value}': give a number (3) or a comma-separated list (0,4,7, or 7, for one)"
            ) from None


class UserPath(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    """A path, in which a leading "~" is the home folder: shells leave it alone in --out=~/results."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return expanded(value)


PATH = UserPath()


def together(*decorators: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Return several options as one decorator, in the order in which they are shown."""
    return lambda function: reduce(lambda result, decorate: decorate(result), reversed(decorators), function)


def whole(flag: str, help: str, dest: str | None = None) -> Callable[[Any], Any]:
    """Return an option that takes a whole number."""
    return click.option(flag, *([dest] if dest else []), type=int, metavar="N", help=help)


def text(flag: str, help: str, metavar: str, **named: Any) -> Callable[[Any], Any]:
    """Return an option that takes a text."""
    return click.option(flag, metavar=metavar, help=help, **named)


def path(flag: str, help: str, metavar: str = "DIR", **named: Any) -> Callable[[Any], Any]:
    """Return an option that takes a path."""
    return click.option(flag, type=PATH, metavar=metavar, help=help, **named)


def settings(flag: str, help: str) -> Callable[[Any], Any]:
    """Return an option that takes NAME=VALUE and may be repeated."""
    return click.option(flag, multiple=True, metavar="NAME=VALUE", help=help)


PROTOCOL = text("--protocol", f"{', '.join(PROTOCOLS)} (default: quick)", "NAME", default="quick")
SEEDS = click.option(
    "--seeds",
    type=Seeds(),
    metavar="N|A,B,...",
    help="number of seeds, or a comma-separated list (`7,` is only seed 7); default: the protocol's, 3",
)
SOURCE = text("--source", "embedded (5,000 images) or torchvision (60,000)", "NAME")
DATA_DIR = path("--data-dir", "folder with MNIST/raw/ (default: $CLBENCH_DATA_DIR, else download once)")
DEVICE = text("--device", "auto, cpu, cuda, cuda:N or mps (default: auto)", "NAME", default="auto")
WORKERS = whole("--workers", "number of processes (default: the fastest)")
INDICATORS = text(
    "--indicators",
    "comma-separated names, all, or none (default: those that cost next to nothing)",
    "LIST",
)
LOG = text("--log", "experiment trackers, comma-separated: tensorboard, wandb, mlflow, or none", "LIST")
FIGURES = text("--figures", "formats of figures, comma-separated: png (default), pdf, svg, or none", "LIST")
ACCEPT_CHANGES = click.option(
    "--accept-changes", is_flag=True, help="resume although agent, stream or run.json changed"
)
PROFILE = click.option("--profile", is_flag=True, help="write where the run spends its time to profile.csv")
QUIET = click.option("--quiet", is_flag=True, help="print only the folder's path")
DEBUG = click.option("--debug", is_flag=True, help="show tracebacks")

STREAM = together(
    text(
        "--env",
        "stream: an id, file.py:id or module:id (default: RandomLabelMNIST-v0)",
        "ID",
        default="RandomLabelMNIST-v0",
    ),
    PROTOCOL,
    SEEDS,
    whole("--tasks", "tasks in the stream", "num_tasks"),
    whole("--epochs", "epochs per task", "epochs_per_task"),
    whole("--images", "images drawn per seed", "num_samples"),
    whole("--batch-size", "images per step"),
    SOURCE,
    DATA_DIR,
    text("--boundaries", "whether agents are told where a task begins (default: told)", "told|hidden"),
    settings("--env-set", "stream option"),
)
"""What is run on; `overrides` reads all but the first three."""


def overrides(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `STREAM` that override a protocol out of a command's options.

    Raises:
        OptionError: `--env-set` names one that has its own flag.
    """
    custom = parse_settings(options.pop("env_set"))
    for name in custom:
        if name in COMMON_OPTIONS:
            raise OptionError(f"--env-set {name}: use its own flag (--help shows all options)")
    return {**{name: options.pop(name) for name in COMMON_OPTIONS}, **custom}


def parse_settings(
    texts: Sequence[str], defaults: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the values of several NAME=VALUE: read for those with a default, else as typed."""
    typed = dict(map(parse_setting, texts))
    return {
        name: fit(name, value, Parameter.of(defaults[name])) if name in defaults else value
        for name, value in typed.items()
    }
