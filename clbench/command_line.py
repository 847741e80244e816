"""What all command lines share: errors of one line, exit codes, interruptions."""

import argparse
import io
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from clbench.errors import ClbenchError, OptionError, UsageError, did_you_mean


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest option's name; descriptions keep their lines."""

    def __init__(self, **named: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **named)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UsageError(f"{message} (--help shows all options)")

    def known_options(self) -> list[str]:
        """Return all option strings."""
        return [text for action in self._actions for text in action.option_strings]

    def flag_of(self, name: str) -> str:
        """Return the option that sets the attribute `name`."""
        return next(action.option_strings[0] for action in self._actions if action.dest == name)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options in `arguments`, or raise `UsageError` naming the one that is unknown."""
        options, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"no option '{name}'.{did_you_mean(name, self.known_options())}")
        return options


def run_command(body: Callable[[Sequence[str]], int], arguments: Sequence[str] | None) -> int:
    """Run `body` on the command line's arguments; return the exit code.

    0 or what `body` returns; 1 for an error on the way, 2 for one before anything was started, 128 and the
    signal's number for an interruption. `--debug` among the arguments shows tracebacks.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no "·" shows "?" instead
    try:
        return body(arguments)
    except (ClbenchError, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        if isinstance(error, KeyboardInterrupt):
            print("; ".join(["interrupted", *map(str, error.args)]), file=sys.stderr)
            return 128 + int(getattr(error, "signal", signal.SIGINT))
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # whoever read the output has left
        sys.stderr.close()
        return 141


def seeds_in(text: str | None) -> int | list[int] | None:
    """Return what `--seeds` says: how many, or which.

    >>> seeds_in("3"), seeds_in("0,4"), seeds_in("7,")
    (3, [0, 4], [7])
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.rstrip(",").split(",")] if "," in text else int(text)
    except ValueError:
        raise OptionError(
            f"--seeds '{text}': give how many (3) or which (0,4,7; for a single one 7,)"
        ) from None
