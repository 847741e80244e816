"""The command `clbench leaderboard`."""

import sys
from pathlib import Path
from typing import Any

import click

from clbench.commands import options as shared
from clbench.errors import ClbenchError, SubmissionError

EPILOG = """\b
examples:
  clbench leaderboard submit results/RandomLabelMNIST-v0-standard-4 --name my-method --code https://...
  clbench leaderboard check
  clbench leaderboard verify my-method --seed 0 --tasks 2
  clbench leaderboard build

exit codes: 0 valid, or repeated; 1 invalid, or different; 2 nothing was started
"""
FOLDER = shared.path(
    "--folder", "folder of the leaderboard (default: leaderboard)", "DIR", default="leaderboard"
)


@click.group("leaderboard", epilog=EPILOG, no_args_is_help=False)
def command() -> None:
    """Create, check, verify and rank submissions to the leaderboard."""


@command.command("submit")
@click.argument("run", type=shared.PATH, metavar="RUN")
@shared.together(
    shared.text("--name", "name of the submission: a-z, 0-9 and -", "NAME", required=True),
    shared.path("--agent", "which of several agents, or the agent's file", "NAME"),
    shared.text("--paper", "where the method is described", "URL", default=""),
    shared.text("--code", "where the method's code is", "URL", default=""),
    shared.text("--contact", "whom to ask", "TEXT", default=""),
    shared.text("--licence", "licence of the agent's source (default: MIT)", "SPDX", default="MIT"),
    shared.text("--tuned", "how hyperparameters were tuned on this stream, if they were", "HOW", default=""),
    shared.path("--data-dir", "folder with MNIST/raw/, if the run does not record it", "DIR"),
    click.option("--replace", is_flag=True, help="replace an older submission with this name"),
    FOLDER,
    shared.DEBUG,
)
def submit(
    run: str,
    name: str,
    folder: str,
    agent: str | None,
    data_dir: str | None,
    replace: bool,
    debug: bool,
    **about: Any,
) -> None:
    """Create a submission from the run folder RUN."""
    from clbench.leaderboard import submitting
    from clbench.leaderboard.submission import About

    submission = submitting.submit(
        Path(run),
        Path(folder),
        name,
        About(**about),
        agent=agent,
        data_dir=data_dir,
        replace_it=replace,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    config, cost = submission.run.config, submission.cost
    ratio = f"a step costs {cost.relative_to_vanilla:.2f} of vanilla's" if cost else "not verifiable"
    print(
        f"checked: {len(config.seeds)} seeds x {config.stream.num_tasks} tasks complete, "
        f"{', '.join(submission.sources)} attached ({submission.about.licence}), {ratio}"
    )
    print(f"wrote {folder}/submissions/{name}/   next: check, build, commit and open a pull request")


@command.command("check")
@shared.together(FOLDER, shared.DEBUG)
def check(folder: str, debug: bool) -> int:
    """Check all submissions without running them."""
    from clbench.leaderboard.checking import read_all

    results = list(read_all(Path(folder)))
    errors = {name: error for name, error in results if isinstance(error, ClbenchError)}
    for name, error in errors.items():
        print(f"error: {ascii(name)[1:-1]}: {' '.join(str(error).split())}", file=sys.stderr)
    print(f"{len(results)} submissions, {f'{len(errors)} refused' if errors else 'all valid'}")
    return 1 if errors else 0


@command.command("verify")
@click.argument("name", metavar="NAME")
@shared.together(
    click.option("--seed", type=int, default=0, metavar="N", help="which seed (default: 0)"),
    click.option("--tasks", type=int, default=1, metavar="N", help="number of tasks (default: 1)"),
    shared.DATA_DIR,
    FOLDER,
    shared.DEBUG,
)
def verify(name: str, seed: int, tasks: int, data_dir: str | None, folder: str, debug: bool) -> int:
    """Repeat the first tasks of the submission NAME. This runs its code."""
    from clbench.leaderboard import verifying

    verdict = verifying.verify(Path(folder), name, seed, tasks, data_dir)
    which = "task 1" if tasks == 1 else f"tasks 1-{tasks}"
    recorded, repeated = (
        " ".join(f"{value:.4f}" for value in values) for values in (verdict.recorded, verdict.repeated)
    )
    amount = "" if verdict.difference == 0 else f" (by up to {verdict.difference:.2g})"
    print(f"seed {verdict.seed}, {which}: recorded {recorded}, re-run {repeated}: {verdict.word}{amount}")
    return 1 if verdict.word == "different" else 0


@command.command("build")
@shared.together(FOLDER, shared.DEBUG)
def build(folder: str, debug: bool) -> None:
    """Write the tables and the page."""
    from clbench.leaderboard import building
    from clbench.leaderboard.checking import read_all
    from clbench.leaderboard.ranking import rank

    entries = []
    for name, entry in read_all(Path(folder)):
        if isinstance(entry, ClbenchError):
            raise SubmissionError(f"{ascii(name)[1:-1]}: {entry}. Nothing was built")
        entries.append(entry)
    for path in building.build(Path(folder), rank(entries)):
        print(f"wrote {path}")
