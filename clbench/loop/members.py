"""The agents of a loop, and errors that say which of them failed, and where."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from clbench.errors import AgentError, PredictionError
from clbench.loop.environment import Step
from clbench.loop.meter import LossError
from clbench.loop.weights import Weights
from clbench.observing import Observer
from clbench.specs import StreamSpec


class Resumable(Protocol):
    """An agent whose state can be saved and restored."""

    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> object: ...


@dataclass(frozen=True)
class Member:
    name: str  # in records
    agent: Resumable  # one that is not serves, too, unless its state is asked for
    seeds: tuple[int, ...]
    observer: Observer | None = None


class Faults:
    """Raises errors of agents as `AgentError`s that name agent, seeds, task and step."""

    def __init__(self, spec: StreamSpec, members: Sequence[Member]) -> None:
        self._spec = spec
        self._weights = [(member, Weights(member.agent)) for member in members]
        self._seeds = [seed for member in members for seed in member.seeds]
        self._names = [member.name for member in members for _ in member.seeds]

    @contextmanager
    def in_agent(self, step: Step, verb: str = "raised", remedy: str = "") -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise AgentError(f"{self._name()} {verb} {what} ({self._locate(step)}){remedy}") from error

    @contextmanager
    def in_predictions(self, step: Step) -> Iterator[None]:
        try:
            yield
        except PredictionError as error:
            where = f" ({self._locate(step)})" if error.row is None else ""
            raise AgentError(f"{self._name(error.row)}: {error}{where}") from error

    @contextmanager
    def in_losses(self, step: Step) -> Iterator[None]:
        try:
            yield
        except LossError as error:
            seeds = self._seeds if error.row is None else [self._seeds[error.row]]
            number = step.number if error.step is None else error.step
            where = self._spec.locate(seeds, step.task, number)
            raise AgentError(f"{self._name(error.row)} reported a loss that {error} ({where})") from error

    def check_weights(self, step: Step) -> None:
        """Raise if weights are NaN or infinite: no loss may have been reported that says so."""
        for member, weights in self._weights:
            with self.in_agent(step):
                broken = weights.broken()
            if broken is not None:
                name, row = broken
                where = self._spec.locate([member.seeds[row]], step.task, step.number)
                raise AgentError(f"{member.name}: its weights '{name}' are NaN or infinite ({where})")

    def _name(self, row: int | None = None) -> str:
        return ", ".join(dict.fromkeys(self._names)) if row is None else self._names[row]

    def _locate(self, step: Step) -> str:
        return self._spec.locate(self._seeds, step.task, step.number)
