"""`python -m clbench.reproduce`: the source paper's figures and claims, a study that only a clone contains."""

import sys
from collections.abc import Sequence
from pathlib import Path

from clbench.command_line import run_command
from clbench.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
STUDY = ("studies", "noise_curvature")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of the command line."""
    return run_command(_main, arguments)


def _main(arguments: Sequence[str]) -> int:
    if not ROOT.joinpath(*STUDY).is_dir():
        raise UsageError(
            f"the study is not part of an installed clbench: clone the repository and run this in it "
            f"(there is no '{ROOT.joinpath(*STUDY)}')"
        )
    sys.path.insert(0, str(ROOT))  # before any other folder called studies
    from studies.noise_curvature.cli import main

    return main(arguments)


if __name__ == "__main__":
    sys.exit(main())
