"""The command line of `python -m clbench.evaluate`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.command_line import Parser, run_command, seeds_in
from clbench.errors import OptionError
from clbench.evaluation.progress import Silent, default_display, make_console
from clbench.registration import COMMON_OPTIONS
from clbench.specs import PROTOCOLS
from clbench.tracking import TRACKERS, check_trackers

if TYPE_CHECKING:
    from clbench.evaluation.api import Evaluation

EPILOG = """\
examples:
  python -m clbench.evaluate agents.vanilla agents.reset
  python -m clbench.evaluate my_agent.py:Agent --set step_size=3e-4 --seeds 5
  python -m clbench.evaluate agents.l2 --env PermutedMNIST-v0 --protocol standard --seeds 0,4,7
  python -m clbench.evaluate --resume results/PermutedMNIST-v0-standard-1

exit codes: 0 done; 1 a run failed, finished tasks are kept; 2 nothing was started;
130 interrupted by Ctrl-C, 143 ended by SIGTERM, both after the step in progress: --resume goes on
"""


def build_parser() -> Parser:
    """Return the parser; numbers are checked where they are used, so that messages are the same everywhere."""
    parser = Parser(
        prog="python -m clbench.evaluate",
        description="Run agents on a non-stationary stream and see whether they keep learning.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add(
        "agents",
        nargs="*",
        metavar="AGENT",
        help="agents.NAME, package.module[:Class] or path/to/file.py[:Class]",
    )
    add(
        "--env",
        default="RandomLabelMNIST-v0",
        metavar="ID",
        help="stream: an id, or module:id (default: %(default)s)",
    )
    add("--protocol", default="quick", metavar="NAME", help=f"{', '.join(PROTOCOLS)} (default: %(default)s)")
    add(
        "--seeds",
        metavar="N|A,B,...",
        help="how many, or which; for a single one 7, (default: the protocol's, 3)",
    )
    add("--tasks", type=_whole, dest="num_tasks", metavar="N", help="tasks in the stream")
    add("--epochs", type=_whole, dest="epochs_per_task", metavar="N", help="epochs per task")
    add("--images", type=_whole, dest="num_samples", metavar="N", help="images drawn per seed")
    add("--batch-size", type=_whole, metavar="N", help="images per step")
    add("--source", metavar="NAME", help="embedded (5,000 images) or torchvision (60,000)")
    add(
        "--data-dir",
        metavar="DIR",
        help="folder with MNIST/raw/; else $CLBENCH_DATA_DIR, else downloaded once",
    )
    add("--env-set", action="append", default=[], metavar="NAME=VALUE", help="an option of the stream's own")
    add("--step-size", metavar="X", help="short for --set step_size=X")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="constructor argument of the agents")
    add("--scheduler", metavar="NAME", help="none, per-layer, full-network, noise-only or volatility-only")
    add(
        "--indicators",
        metavar="LIST",
        help="names with commas, all, or none (default: those that cost next to nothing)",
    )
    add(
        "--indicators-every",
        type=_whole,
        metavar="N",
        help="measure every N steps of a task (default: only at its end)",
    )
    add(
        "--layers",
        metavar="WHAT",
        help="what is a layer: a depth, or modules' names or patterns with commas, such as 'blocks.*,head' or "
        "body=blocks.*,head=fc (default: the agent's own, else every leaf module)",
    )
    add(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)",
    )
    add("--workers", type=_whole, metavar="N", help="processes at a time (default: what is quickest)")
    add(
        "--together",
        action="store_true",
        help="train the agents that can in lockstep; results are the same, on a GPU up to rounding",
    )
    add(
        "--resume",
        metavar="RUN",
        help="go on with a run that was broken off; beside it only --workers, --data-dir, --log, --profile, "
        "--quiet and --debug",
    )
    add(
        "--accept-changes",
        action="store_true",
        help="with --resume: although agent, stream or spec have changed",
    )
    add("--out", default="results", metavar="DIR", help="where run folders are made (default: %(default)s)")
    add(
        "--log",
        metavar="LIST",
        help=f"let experiment trackers follow the run: {', '.join(TRACKERS)}, with commas, or none",
    )
    add("--profile", action="store_true", help="write where the time goes into profile.csv")
    add("--quiet", action="store_true", help="print the run folder's path, nothing else")
    add("--list", action="store_true", help="list streams, protocols and agents")
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(_main, arguments)


def _main(arguments: Sequence[str]) -> int:
    parser = build_parser()
    options = parser.read(arguments)
    if options.list:
        from clbench.evaluation.report import print_list

        print_list(make_console())
        return 0
    if options.resume is not None:
        _refuse_beside_resume(parser, options)
    elif options.accept_changes:
        raise OptionError("--accept-changes goes with --resume RUN")
    return _report(options, _evaluate(options) if options.resume is None else _resume(options))


def _refuse_beside_resume(parser: Parser, options: argparse.Namespace) -> None:
    """A run's folder says what the run is."""
    free = ("resume", "accept_changes", "workers", "data_dir", "log", "profile", "quiet", "debug")
    for name, value in vars(options).items():
        if name not in free and value != parser.get_default(name) and value != []:
            what = f"agent '{value[0]}'" if name == "agents" else parser.flag_of(name)
            raise OptionError(f"{what} cannot be changed with --resume: the run's folder says it")


def _resume(options: argparse.Namespace) -> "Evaluation":
    from clbench.evaluation.api import go_on

    return go_on(
        Path(options.resume),
        Silent() if options.quiet else default_display(),
        workers=options.workers,
        data_dir=options.data_dir,
        accept_changes=options.accept_changes,
        profile=options.profile,
        log=options.log,
    )


def _evaluate(options: argparse.Namespace) -> "Evaluation":
    from clbench.evaluation.api import carry_out
    from clbench.evaluation.plan import make_plan
    from clbench.loading import parse_setting

    settings = dict(parse_setting(text) for text in options.set)
    if options.step_size is not None:
        settings["step_size"] = parse_setting(f"step_size={options.step_size}")[1]
    if options.scheduler is not None:
        settings["scheduler"] = options.scheduler
    own = dict(parse_setting(text) for text in options.env_set)
    for name in own:
        if name in COMMON_OPTIONS:
            raise OptionError(f"--env-set {name}: this has a flag of its own (--help shows all options)")
    overrides: dict[str, Any] = {name: getattr(options, name) for name in COMMON_OPTIONS}
    plan = make_plan(
        options.agents,
        options.env,
        options.protocol,
        seeds_in(options.seeds),
        {**overrides, **own},
        settings,
        options.device,
        options.workers,
        options.indicators,
        options.indicators_every,
        options.together,
        options.layers,
    )
    plan = replace(plan, profile=options.profile, log=check_trackers(options.log))
    return carry_out(plan, Path(options.out), Silent() if options.quiet else default_display())


def _report(options: argparse.Namespace, evaluation: "Evaluation") -> int:
    from clbench.evaluation.report import print_report

    if options.quiet:
        print(evaluation.folder)
    else:
        print_report(make_console(), evaluation)
        asked = (options.indicators, options.layers) != (None, None)
        _report_undefined(evaluation, all_of_them=asked)
    return _report_failures(evaluation, options.debug)


def _report_undefined(evaluation: "Evaluation", all_of_them: bool) -> None:
    """Say what could not be measured, if it was asked for; and always that a scheduler did nothing."""
    from clbench.observing import BOUNDS

    for agent, reasons in evaluation.undefined.items():
        by_reason: dict[str, list[str]] = {}
        for indicator, reason in reasons.items():
            if all_of_them or indicator == BOUNDS:
                by_reason.setdefault(reason, []).append(indicator)
        for reason, names in by_reason.items():
            print(f"note: {agent} has no {', '.join(names)}: {reason}", file=sys.stderr)


def _report_failures(evaluation: "Evaluation", debug: bool) -> int:
    for failure in evaluation.failures:
        if debug:
            print(failure.traceback, file=sys.stderr)
        kept = f"; finished tasks are kept in {evaluation.folder}" if evaluation.records else ""
        print(f"error: {failure.error}{kept}", file=sys.stderr)
    return 1 if evaluation.failures else 0


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None
