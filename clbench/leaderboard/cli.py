"""The command line of `python -m clbench.leaderboard`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clbench.command_line import Parser, run_command
from clbench.errors import ClbenchError, SubmissionError

EPILOG = """\
examples:
  python -m clbench.leaderboard submit results/RandomLabelMNIST-v0-standard-4 --name my-method --code https://...
  python -m clbench.leaderboard check
  python -m clbench.leaderboard verify my-method --seed 0 --tasks 2
  python -m clbench.leaderboard build

exit codes: 0 success; 1 a submission failed; 2 nothing was started
"""


def build_parser() -> Parser:
    """Return the parser of all four commands."""
    parser = Parser(
        prog="python -m clbench.leaderboard",
        description="Create, check, repeat and show submissions to the leaderboard.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--folder", default="leaderboard", metavar="DIR", help="default: %(default)s")
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        return command

    add = command("submit", "create a submission from a run").add_argument
    add("run", metavar="RUN", help="folder of the run")
    add("--name", required=True, help="of the submission: a-z, 0-9 and -")
    add("--agent", metavar="NAME", help="one of several agents, or the agent's file")
    add("--paper", default="", metavar="URL")
    add("--code", default="", metavar="URL")
    add("--contact", default="", metavar="TEXT", help="whom to ask")
    add("--licence", default="MIT", metavar="SPDX", help="of the agent's source (default: %(default)s)")
    add(
        "--tuned",
        default="",
        metavar="HOW",
        help="how hyperparameters were tuned on this stream, if they were",
    )
    add("--data-dir", metavar="DIR", help="folder with MNIST/raw/, if the run does not say which")
    add(
        "--replace", action="store_true", dest="replace_it", help="replace an older submission with this name"
    )
    command("check", "check all submissions")
    add = command("verify", "run a part of a submission again (this runs its code)").add_argument
    add("name", metavar="NAME")
    add("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    add("--tasks", type=int, default=1, metavar="N", help="number of tasks (default: %(default)s)")
    add("--data-dir", metavar="DIR", help="folder with MNIST/raw/; else $CLBENCH_DATA_DIR")
    command("build", "write the tables and the page")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(_main, arguments)


def _main(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    commands = {"submit": _submit, "check": _check, "verify": _verify, "build": _build}
    return commands[options.command](options, Path(options.folder))


def _submit(options: argparse.Namespace, folder: Path) -> int:
    from clbench.leaderboard.submitting import submit

    named = {
        name: value
        for name, value in vars(options).items()
        if name not in ("command", "debug", "folder", "run", "name")
    }
    made = submit(
        Path(options.run),
        folder,
        options.name,
        say=lambda text: print(text, file=sys.stderr, flush=True),
        **named,
    )
    config = made.run.config
    cost = f"a step costs {made.cost.relative_to_vanilla:.2f} of vanilla's" if made.cost else "not verifiable"
    print(
        f"checked: {len(config.seeds)} seeds x {config.stream.num_tasks} tasks complete, "
        f"{made.file} attached ({made.licence}), {cost}"
    )
    print(f"wrote {folder}/submissions/{made.name}/   next: check, build, commit it and open a pull request")
    return 0


def _check(options: argparse.Namespace, folder: Path) -> int:
    from clbench.leaderboard.checking import read_all

    results = list(read_all(folder))
    errors = {name: error for name, error in results if isinstance(error, ClbenchError)}
    for name, error in errors.items():
        print(f"error: {ascii(name)[1:-1]}: {' '.join(str(error).split())}", file=sys.stderr)
    print(f"{len(results)} submissions, {f'{len(errors)} refused' if errors else 'all valid'}")
    return 1 if errors else 0


def _verify(options: argparse.Namespace, folder: Path) -> int:
    from clbench.leaderboard.verifying import verify

    verdict = verify(folder, options.name, options.seed, options.tasks, options.data_dir)
    tasks = "task 1" if options.tasks == 1 else f"tasks 1-{options.tasks}"
    recorded, repeated = (
        " ".join(f"{value:.4f}" for value in values) for values in (verdict.recorded, verdict.repeated)
    )
    amount = "" if verdict.difference == 0 else f" (by up to {verdict.difference:.2g})"
    print(f"seed {verdict.seed}, {tasks}: recorded {recorded}, re-run {repeated}: {verdict.word}{amount}")
    return 1 if verdict.word == "different" else 0


def _build(options: argparse.Namespace, folder: Path) -> int:
    from clbench.leaderboard.building import build
    from clbench.leaderboard.checking import read_all
    from clbench.leaderboard.ranking import rank

    entries = []
    for name, entry in read_all(folder):
        if isinstance(entry, ClbenchError):
            raise SubmissionError(f"{ascii(name)[1:-1]}: {entry}. Nothing was built")
        entries.append(entry)
    for path in build(folder, rank(entries)):
        print(f"wrote {path}")
    return 0
