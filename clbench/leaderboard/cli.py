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

exit codes: 0 all is well; 1 a submission is not; 2 nothing was started
"""


def build_parser() -> Parser:
    """Return the parser of all four commands."""
    parser = Parser(
        prog="python -m clbench.leaderboard",
        description="Make, check, repeat and show submissions to the leaderboard.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, about: str) -> Parser:
        one = commands.add_parser(name, help=about, description=about)
        one.add_argument("--folder", default="leaderboard", metavar="DIR", help="default: %(default)s")
        one.add_argument("--debug", action="store_true", help="show tracebacks")
        assert isinstance(one, Parser)
        return one

    one = command("submit", "make a submission from a run")
    one.add_argument("run", metavar="RUN", help="folder of the run")
    one.add_argument("--name", required=True, help="of the submission: a-z, 0-9 and -")
    one.add_argument("--agent", metavar="NAME", help="which, if the run has several; or its file")
    one.add_argument("--paper", default="", metavar="URL")
    one.add_argument("--code", default="", metavar="URL")
    one.add_argument("--contact", default="", metavar="TEXT", help="whom to ask")
    one.add_argument(
        "--licence", default="MIT", metavar="SPDX", help="of the agent's source (default: %(default)s)"
    )
    one.add_argument(
        "--tuned", default="", metavar="HOW", help="say how, if anything was tuned on this stream"
    )
    one.add_argument(
        "--data-dir", metavar="DIR", help="folder with MNIST/raw/, if the run does not say which"
    )
    one.add_argument("--replace", action="store_true", help="an older submission of this name")
    command("check", "check all submissions")
    one = command("verify", "run a part of a submission again (this runs its code)")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    one.add_argument(
        "--tasks", type=int, default=1, metavar="N", help="how many from the first (default: %(default)s)"
    )
    one.add_argument("--data-dir", metavar="DIR", help="folder with MNIST/raw/; else $CLBENCH_DATA_DIR")
    command("build", "write the table and the page")
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

    made = submit(
        Path(options.run),
        folder,
        options.name,
        agent=options.agent,
        paper=options.paper,
        code=options.code,
        contact=options.contact,
        licence=options.licence,
        tuned=options.tuned,
        data_dir=options.data_dir,
        replace_it=options.replace,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    seeds, tasks = len(made.seeds), made.stream["num_tasks"]
    print(
        f"checked: {seeds} seeds x {tasks} tasks complete, scores recomputed, {made.agent['file']} attached "
        f"(sha256 {made.agent['sha256'][:4]}..., {made.licence}), a step costs "
        f"{made.cost['relative_to_vanilla']:.2f} of vanilla's"
    )
    print(f"wrote {folder}/submissions/{made.name}/   next: check, build, commit it and open a pull request")
    return 0


def _check(options: argparse.Namespace, folder: Path) -> int:
    from clbench.leaderboard.checking import read_all

    count = wrong = 0
    for name, found in read_all(folder):
        count += 1
        if isinstance(found, ClbenchError):
            wrong += 1
            print(f"error: {ascii(name)[1:-1]}: {' '.join(str(found).split())}", file=sys.stderr)
    print(f"{count} submissions, {'all well' if not wrong else f'{wrong} refused'}")
    return 1 if wrong else 0


def _verify(options: argparse.Namespace, folder: Path) -> int:
    from clbench.leaderboard.verifying import verify

    verdict = verify(folder, options.name, options.seed, options.tasks, options.data_dir)
    first = "task 1" if options.tasks == 1 else f"tasks 1-{options.tasks}"
    recorded, repeated = (
        " ".join(f"{value:.4f}" for value in values) for values in (verdict.recorded, verdict.repeated)
    )
    rest = "" if verdict.difference == 0 else f" (by up to {verdict.difference:.2g})"
    print(f"seed {verdict.seed}, {first}: recorded {recorded}, re-run {repeated}: {verdict.word}{rest}")
    return 1 if verdict.word == "different" else 0


def _build(options: argparse.Namespace, folder: Path) -> int:
    from clbench.leaderboard.building import build
    from clbench.leaderboard.checking import read_all
    from clbench.leaderboard.ranking import rank

    entries = []
    for name, found in read_all(folder):
        if isinstance(found, ClbenchError):
            raise SubmissionError(f"{ascii(name)[1:-1]}: {found}. Nothing was built")
        entries.append(found)
    for path in build(folder, rank(entries)):
        print(f"wrote {path}")
    return 0
