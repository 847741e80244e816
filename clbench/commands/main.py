"""The command `clbench`: subcommands that load when used, errors of one line, exit codes."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from clbench.engine.interrupting import Interrupted
from clbench.errors import ClbenchError, UsageError, did_you_mean
from clbench.report.console import show_unknown_characters

COMMANDS = {
    "evaluate": "run agents on a stream and see whether they keep learning",
    "resume": "resume an interrupted evaluation",
    "sweep": "run many configurations from one file",
    "compare": "compare runs, seed by seed",
    "list": "list streams, protocols and agents",
    "leaderboard": "create, check, verify and rank submissions",
    "reproduce": "reproduce the source paper's figures and claims (from a clone)",
}
HELP = ["--help", "-h"]
COMPLETE = "_CLBENCH_COMPLETE"
"""Environment variable by which a shell asks for completions."""

EPILOG = """\b
examples:
  clbench evaluate agents.vanilla agents.reset
  clbench resume results/RandomLabelMNIST-v0-quick-1
  clbench sweep examples/sweep.toml --dry-run
  clbench compare results

\b
shell completion, for bash (zsh and fish likewise):
  eval "$(_CLBENCH_COMPLETE=bash_source clbench)"

Each command is also available as python -m clbench.COMMAND.
"""


class _Commands(click.Group):
    """Subcommands by name; only the one that is used is loaded."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            hint = did_you_mean(args[0], COMMANDS)
            raise UsageError(f"no command '{args[0]}'.{hint} There are: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, epilog=EPILOG)
@click.version_option(package_name="clbench", message="%(prog)s %(version)s")
def clbench() -> None:
    """A benchmark for loss of trainability."""


def load(name: str) -> click.Command:
    """Return the subcommand with a name."""
    command: click.Command = import_module(f"clbench.commands.{name}").command
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `clbench`; return the exit code."""
    if COMPLETE in os.environ:
        clbench.main(prog_name="clbench")  # prints what the shell asked for, and exits
    return run(clbench, arguments, "clbench")


def main_of(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run `python -m clbench.NAME`; return the exit code."""
    return run(load(name), arguments, f"python -m clbench.{name}")


def run(command: click.Command, arguments: Sequence[str] | None, prog: str) -> int:
    """Run a command on the command line's arguments; return the exit code.

    0 or what the command returns; 1 for an error during a run, 2 for one before anything was started, 128 and the
    signal's number for an interruption. `--debug` among the arguments shows tracebacks.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    show_unknown_characters()
    try:
        # Not `command.main`, which answers Ctrl-C by an empty line.
        with command.make_context(prog, list(arguments), help_option_names=HELP) as context:
            return int(command.invoke(context) or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.ClickException as error:
        print(f"error: {error.format_message()} (--help shows all options)", file=sys.stderr)
        return 2
    except (ClbenchError, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        if isinstance(error, ClbenchError):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2 if isinstance(error, UsageError) else 1
        print("; ".join(dict.fromkeys(["interrupted", *map(str, error.args)])), file=sys.stderr)
        return 128 + (error.signal if isinstance(error, Interrupted) else signal.SIGINT)
    except BrokenPipeError:  # whoever read the output has left
        sys.stderr.close()
        return 141
