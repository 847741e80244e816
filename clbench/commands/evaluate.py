"""The command `clbench evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clbench.commands import options as shared
from clbench.errors import OptionError

if TYPE_CHECKING:
    from clbench.engine.evaluation import Evaluation

EPILOG = """\b
examples:
  clbench evaluate agents.vanilla agents.reset
  clbench evaluate my_agent.py:Agent --set step_size=3e-4 --seeds 5
  clbench evaluate small=my_agent.py large=my_agent.py --set large:width=512
  clbench evaluate agents.l2 --env PermutedMNIST-v0 --protocol standard --seeds 0,4,7
  clbench resume results/PermutedMNIST-v0-standard-1

exit codes: 0 done; 1 a run failed (finished tasks are kept); 2 nothing was started; 130 interrupted by Ctrl-C, 143
by SIGTERM (clbench resume continues)
"""


@click.command("evaluate", epilog=EPILOG)
@click.argument("agents", nargs=-1, metavar="AGENT...")
@shared.together(
    shared.STREAM,
    shared.text("--step-size", "short for --set step_size=X", "X"),
    shared.text(
        "--set", "constructor argument of all agents, or of one", "[AGENT:]NAME=VALUE", multiple=True
    ),
    shared.text("--scheduler", "none, per-layer, full-network, noise-only or volatility-only", "NAME"),
    shared.INDICATORS,
    shared.whole("--indicators-every", "also measure every N steps (default: only at the end of each task)"),
    shared.text(
        "--layers",
        "how parameters are grouped into layers: a depth, or comma-separated module names or patterns, such as "
        "'blocks.*,head' or body=blocks.*,head=fc (default: the agent's grouping, else one layer per leaf module)",
        "WHAT",
    ),
    shared.DEVICE,
    shared.WORKERS,
    click.option(
        "--together",
        is_flag=True,
        help="train compatible agents as one batch; same results, on a GPU up to rounding",
    ),
    shared.path("--out", "where run folders are created (default: results)", "DIR", default="results"),
    shared.LOG,
    shared.FIGURES,
    shared.PROFILE,
    shared.path("--resume", "resume an interrupted run, as clbench resume does", "RUN"),
    shared.ACCEPT_CHANGES,
    click.option("--list", "list_all", is_flag=True, help="list streams, protocols and agents"),
    shared.QUIET,
    shared.DEBUG,
)
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Run agents on a non-stationary stream and see whether they keep learning.

    AGENT is agents.NAME, package.module[:Class] or path/to/file.py[:Class]; LABEL=AGENT shows it under a label.
    """  # noqa: DOC501 - it is the command's help
    from clbench.report.console import make_console

    quiet, debug = options.pop("quiet"), options.pop("debug")
    if options.pop("list_all"):
        from clbench.report.tables import print_list

        print_list(make_console())
        return 0
    folder, accept_changes = options.pop("resume"), options.pop("accept_changes")
    if folder is not None:
        return _resume(context, Path(folder), accept_changes, quiet, debug)
    if accept_changes:
        raise OptionError("--accept-changes requires --resume RUN")
    return _evaluate(options, quiet, debug)


def _evaluate(options: dict[str, Any], quiet: bool, debug: bool) -> int:
    from clbench.api import carry_out
    from clbench.engine.figures import check_formats
    from clbench.engine.requests import Request
    from clbench.tracking import check_trackers

    out = Path(options.pop("out"))
    arguments = shared.parse_settings(options.pop("set"))
    step_size, scheduler = options.pop("step_size"), options.pop("scheduler")
    if step_size is not None:
        arguments |= shared.parse_settings([f"step_size={step_size}"])
    if scheduler is not None:
        arguments["scheduler"] = scheduler
    request = Request(
        overrides=shared.overrides(options),
        arguments=arguments,
        log=check_trackers(options.pop("log")),
        figures=check_formats(options.pop("figures")),
        **options,
    )
    evaluation = carry_out(request, out, shown=not quiet)
    asked = (request.indicators, request.layers) != (None, None)
    return report(evaluation, quiet, debug, all_undefined=asked)


def _resume(context: click.Context, folder: Path, accept_changes: bool, quiet: bool, debug: bool) -> int:
    """Resume as `clbench resume` does; the run's folder says everything else."""
    from clbench.commands.resume import resume

    allowed = ("workers", "data_dir", "log", "figures", "profile")
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        given = source is not None and source is not click.core.ParameterSource.DEFAULT
        if given and name not in (*allowed, "resume", "accept_changes", "quiet", "debug"):
            what = f"agent '{value[0]}'" if name == "agents" else flag_of(context, name)
            raise OptionError(f"{what} cannot be changed with --resume: it is fixed by the run")
    named = {name: context.params[name] for name in allowed}
    return resume(folder, quiet=quiet, debug=debug, accept_changes=accept_changes, **named)


def flag_of(context: click.Context, name: str) -> str:
    """Return the flag of an option."""
    return next(option.opts[0] for option in context.command.params if option.name == name)


def report(evaluation: "Evaluation", quiet: bool, debug: bool, all_undefined: bool = False) -> int:
    """Print an evaluation's results and what went wrong; return the exit code.

    Args:
        evaluation: finished.
        quiet: print the folder only.
        debug: print tracebacks.
        all_undefined: say of all indicators why they could not be measured, not only of a scheduler's.
    """
    from clbench.report.console import make_console
    from clbench.report.tables import print_report

    if quiet:
        print(evaluation.folder)
    else:
        print_report(make_console(), evaluation)
        _print_undefined(evaluation, all_undefined)
    for failure in evaluation.failures:
        if debug:
            print(failure.traceback, file=sys.stderr)
        kept = f"; finished tasks are kept in {evaluation.folder}" if evaluation.records else ""
        print(f"error: {failure.error}{kept}", file=sys.stderr)
    return 1 if evaluation.failures else 0


def _print_undefined(evaluation: "Evaluation", everything: bool) -> None:
    from clbench.engine.progress import note
    from clbench.observing import BOUNDS

    for run in evaluation.runs:
        by_reason: dict[str, list[str]] = {}
        for indicator, reason in run.undefined_indicators.items():
            by_reason.setdefault(reason, []).append(indicator)
        for reason, names in by_reason.items():
            shown = names if everything else [name for name in names if name == BOUNDS]
            what = "indicators" if set(names) == set(run.config.indicators) else ", ".join(shown)
            if what:
                note(f"{run.config.agent.name} has no {what}: {reason}")
