"""The exception family. Catch `ClbenchError` to catch them all."""

import difflib
from collections.abc import Iterable
from typing import Any


class ClbenchError(Exception):
    """Base of every error that clbench raises on purpose; its text is one line for people."""


class UsageError(ClbenchError, ValueError):
    """Something asked for cannot be had; nothing was started."""


class UnknownNameError(UsageError, LookupError):
    """A stream, protocol, agent or option has no such name."""


class OptionError(UsageError):
    """An option has a value that is not possible."""


class RegistrationError(UsageError):
    """A stream cannot be registered: malformed or taken id, or not a stream."""


class DeviceError(UsageError):
    """A device was asked for that this machine lacks."""


class OutputError(UsageError):
    """The output folder cannot be made or written."""


class UndefinedError(UsageError):
    """A quantity is not defined for a model, or not in its present mode."""


class TouchedError(ClbenchError, RuntimeError):
    """Measuring changed a network, which would make a run's results another agent's."""


class StateError(UsageError):
    """A run's state cannot be kept or taken up: damaged, of another run, or of data that is not kept."""


class ResumeError(UsageError):
    """A run cannot be gone on with: it is in use, finished, of a changed agent, or no run."""


class InUseError(ResumeError):
    """A run's folder is held by another process."""


class SubmissionError(ClbenchError, ValueError):
    """A submission to the leaderboard is not what it must be."""


class WriteError(ClbenchError):
    """A file of a run could not be written: the disk is full, for example."""


class DataError(UsageError):
    """Image files are missing, incomplete or not what they should be."""


class LoadError(UsageError):
    """An agent's or a stream's module cannot be imported, or what it names is no agent."""


class PredictionError(ClbenchError, ValueError):
    """Predictions have the wrong shape, dtype or range, or are not finite.

    Attributes:
        row: which of the seeds in lockstep made them; the text then names seed, task and step. None if the predictions
            of all seeds have the wrong shape or dtype.
    """

    def __init__(self, text: str, row: int | None = None) -> None:
        super().__init__(text)
        self.row = row


class StepOrderError(ClbenchError, RuntimeError):
    """`step` was called before `reset` or after the end, or `learn` before `act`."""


class AgentError(ClbenchError):
    """An agent raised or answered nonsense during a run; says which seed, task and step.

    Where `clbench.evaluate` raises it, `evaluation` holds what was finished.
    """

    evaluation: Any = None


class ContractError(ClbenchError, AssertionError):
    """An environment breaks the contract that `check_env` checks."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest choice, or "" if none is near.

    >>> did_you_mean("quik", ["quick", "paper"])
    " Did you mean 'quick'?"
    >>> did_you_mean("zzz", ["quick", "paper"])
    ''
    """
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
