"""The command `clbench reproduce`: the study of the source paper, which only a clone contains."""

import sys
from importlib import import_module
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "noise_curvature"


def _command() -> click.Command:
    if STUDY.is_dir():
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))
        study: click.Command = import_module("studies.noise_curvature.cli").command
        return study
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command("reproduce", callback=_explain, add_help_option=False, context_settings=anything)


def _explain() -> None:
    raise click.UsageError(
        f"the study is not part of an installed clbench: clone the repository ('{STUDY}' does not exist)"
    )


command = _command()
