"""The exception family. Catch `ClbenchError` to catch them all."""

import difflib
from collections.abc import Iterable
from typing import Any


class ClbenchError(Exception):
    """Base of every error that clbench raises on purpose; its text is one line."""


class UsageError(ClbenchError, ValueError):
    """Invalid request; raised before anything runs."""


class UnknownNameError(UsageError, LookupError):
    """There is no stream, protocol, agent or option with this name."""


class UnknownOptionError(UnknownNameError, TypeError):
    """A stream has no such option; also a `TypeError`, as Python raises for an unexpected keyword argument."""


class OptionError(UsageError):
    """An option has an impossible value."""


class RegistrationError(UsageError):
    """A stream cannot be registered: its id is malformed or taken, or it is not a stream."""


class DeviceError(UsageError):
    """The machine does not have the device."""


class OutputError(UsageError):
    """The output folder cannot be created or written."""


class UndefinedError(UsageError):
    """A quantity is not defined for a model, or not in its current mode."""


class TouchedError(ClbenchError, RuntimeError):
    """Measuring changed a network, so that the results would no longer be the agent's."""


class StateError(UsageError):
    """A checkpoint cannot be saved or restored: it is damaged, from another run, or holds unsupported data."""


class ResumeError(UsageError):
    """A run cannot be resumed: it is in use or complete, its agent changed, or it is not a run folder."""


class InUseError(ResumeError):
    """Another process is using a run's folder."""


class SubmissionError(ClbenchError, ValueError):
    """A submission to the leaderboard is malformed, or claims something impossible."""


class WriteError(ClbenchError):
    """A file of a run cannot be written: the disk is full, for example."""


class DataError(UsageError):
    """Image files or recorded runs are missing, incomplete or damaged."""


class LoadError(UsageError):
    """The module of an agent or a stream cannot be imported, or the name is not that of an agent."""


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
    """An agent raised or predicted nonsense during a run; the text names seed, task and step.

    `clbench.evaluate` stores what was finished in `evaluation`.
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
