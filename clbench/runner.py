"""The loop that everyone runs, as a generator: (environment, agent) -> records."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch

from clbench.agent import Agent, AgentSpec
from clbench.errors import AgentError, PredictionError
from clbench.machine import seen
from clbench.meter import LossError, Meter
from clbench.observing import Observer
from clbench.records import Glimpse, IndicatorRecord, Savepoint, TaskRecord, Undefined
from clbench.replaying import Record, Replays
from clbench.seeding import global_states, set_global_states

Event = TaskRecord | IndicatorRecord | Undefined | Glimpse | Savepoint


@dataclass(frozen=True)
class Part:
    """One agent of those that run in lockstep.

    Attributes:
        name: the agent's name in records.
        agent: whose state is kept.
        seeds: root seeds of its streams.
        observer: measures its indicators.
    """

    name: str
    agent: Agent
    seeds: tuple[int, ...]
    observer: Observer | None = None


class Lockstep:
    """Agents on the same stream, step by step together: iterate over it for (place of the part, event).

    Events are records, and glimpses in between. Indicators are measured after a batch's targets are revealed and before
    the agent learns from them.

    Nothing here reads a value from the device but at a task's end and for a glimpse.

    After each task, and where it is stopped, every part gets a `Savepoint`: there, before the next event is asked for,
    `state_dict` gives all that the part needs to go on as if nothing had happened, alone or with others.

    Args:
        env: of as many seeds as all parts have together, part by part.
        agent: acts and learns for all parts.
        parts: who they are.
        interval: seconds between glimpses.
        stop: asked after every step; when it says true, the run ends.
        record: records steps so that they can be replayed, of an agent that has `kind_of_step`, on a stream that can.

    Raises:
        AgentError: the agent raised, or its predictions or losses are unusable; says which seed, task and step.
    """

    def __init__(
        self,
        env: Any,
        agent: Agent,
        parts: Sequence[Part],
        *,
        interval: float = 0.5,
        stop: Callable[[], bool] = lambda: False,
        record: Record | None = None,
    ) -> None:
        self._env, self._agent, self._parts = env, agent, tuple(parts)
        self._interval, self._stop = interval, stop
        replayable = record and getattr(agent, "kind_of_step", None) and env.can_replay
        self._record = record if replayable else None
        self._spec: AgentSpec = env.agent_spec
        self._vectorized = hasattr(env, "num_envs")
        self._device = self._spec.device if self._vectorized else "cpu"
        self._seeds = [seed for part in parts for seed in part.seeds]
        self._rows = [slice(*ends) for ends in pairwise(accumulate((len(p.seeds) for p in parts), initial=0))]
        self._observers = [
            (place, part.observer, self._rows[place])
            for place, part in enumerate(parts)
            if part.observer is not None
        ]
        self._meter, self._steps = self._new_meter(), 0
        self._start: tuple[Any, Mapping[str, Any]] | None = None

    def _new_meter(self) -> Meter:
        return Meter(len(self._seeds), self._device)

    def state_dict(self, place: int = 0) -> dict[str, Any]:
        """Return everything that the rest of a part's run depends on; only right at a `Savepoint`."""
        part, rows = self._parts[place], self._rows[place]
        agent: Any = part.agent
        env = self._env.state_dict()
        own = {name: value[rows] for name, value in env.items() if name in ("seeds", "first_bad")}
        return {
            "steps": self._steps,
            "env": {**env, **own},
            "agent": agent.state_dict(),
            "observer": None if part.observer is None else part.observer.state_dict(),
            "meter": self._meter.state_dict(rows),
            "random": global_states(),
        }

    def load_state_dict(self, *states: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave of each part after the same number of steps, before iterating."""
        first, envs = states[0], [state["env"] for state in states]
        self._steps = first["steps"]
        self._start = self._env.restore(_joined(envs))
        for part, rows, state in zip(self._parts, self._rows, states, strict=True):
            agent: Any = part.agent
            agent.load_state_dict(state["agent"])
            if part.observer is not None and state["observer"] is not None:
                part.observer.load_state_dict(state["observer"])
            self._meter.load_state_dict(state["meter"], rows)
        set_global_states(first["random"])

    def __iter__(self) -> Iterator[tuple[int, Event]]:
        env, spec = self._env, self._spec
        obs, info = self._start or env.reset(seed=self._seeds if self._vectorized else self._seeds[0])
        done, glimpsed = False, time.perf_counter()
        replays: Replays | None = None
        while not done:
            task, step = info["task"], info["step_in_task"]
            ended = step + 1 == spec.steps_per_task
            if replays and not ended and self._replay(replays, info):
                obs, info = None, env.place()
            else:
                if obs is None:
                    obs, info = env.present()
                obs, info, done = yield from self._take(obs, info, ended)
                if replays is None and self._record:
                    replays = Replays(env, self._agent, self._meter, self._record)
            self._steps += 1
            if ended:
                yield from self._end_task(task)
                replays = None
            stopped = not done and self._stop()
            if ended or stopped:
                for place in range(len(self._parts)):
                    yield place, Savepoint(self._steps, stopped)
                if stopped:
                    return
            elif time.perf_counter() - glimpsed > self._interval:
                for place, rows in enumerate(self._rows):
                    yield place, Glimpse(task, self._steps, self._meter.mean_accuracy(rows))
                glimpsed = time.perf_counter()

    def _take(
        self, shown: Any, info: Mapping[str, Any], ended: bool
    ) -> Generator[tuple[int, Event], None, tuple[Any, Mapping[str, Any], bool]]:
        """Take a step; return the next observation, where it is, and whether it is none."""
        agent: Any = self._agent
        task, step, opening, final = (
            info["task"],
            info["step_in_task"],
            info["boundary"],
            self._is_final(info),
        )
        try:
            if opening and hasattr(agent, "begin_task"):
                agent.begin_task(task)
            predictions = agent.act(shown)
        except (Exception, SystemExit) as error:
            raise self._raised(error, task, step) from error
        try:
            obs, reward, terminated, _, info = self._env.step(predictions)
        except PredictionError as error:
            where = "" if error.placed else f" ({self._where(self._seeds, task, step)})"
            raise AgentError(f"{self._name(error.index)}: {error}{where}") from error
        targets = info["targets"]
        for place, observer, rows in self._observers:
            if opening:
                yield from _of(place, observer.begin_task())
            own = (shown[rows], targets[rows]) if self._vectorized else (shown, targets)
            yield from _of(place, observer.observe(*own, task, step + 1, ended))
        try:
            loss = agent.learn(targets)
        except (Exception, SystemExit) as error:
            raise self._raised(error, task, step) from error
        self._add(reward, loss, final, ended, task, step)
        return obs, info, bool(terminated.all()) if self._vectorized else terminated

    def _replay(self, replays: Replays, info: Mapping[str, Any]) -> bool:
        """Take a step by replay, if that is possible and nobody looks at it; say whether it was taken."""
        task, step = info["task"], info["step_in_task"]
        if any(observer.needs_step(step + 1, last=False) for _, observer, _ in self._observers):
            return False
        try:
            taken = replays.take(self._is_final(info))
        except (Exception, SystemExit) as error:
            where = self._where(self._seeds, task, step)
            raise AgentError(
                f"{self._name()} cannot be replayed: {type(error).__name__}: {error} ({where}). "
                "Say kind_of_step = None in its class, to run it step by step"
            ) from error
        if taken:
            for _, observer, _ in self._observers:
                observer.skip_step()
        return taken

    def _is_final(self, info: Mapping[str, Any]) -> bool:
        last: bool = info["epoch"] == self._spec.epochs_per_task - 1
        return last

    def _end_task(self, task: int) -> Iterator[tuple[int, Event]]:
        for place, part in enumerate(self._parts):
            if part.observer is not None:
                yield from _of(place, part.observer.end_task(task))
            yield from _of(place, self._meter.records(part.name, part.seeds, task, self._rows[place]))
        self._meter = self._new_meter()

    def _add(self, reward: Any, loss: Any, final: bool, ended: bool, task: int, step: int) -> None:
        """Take note of a step's reward and loss."""
        try:
            self._meter.add(reward, loss, final)
            if ended or seen(self._device):
                self._meter.check_losses()
        except LossError as error:
            own = self._seeds if error.index is None else [self._seeds[error.index]]
            at = step if error.step is None else error.step
            raise AgentError(
                f"{self._name(error.index)} reported a loss that {error} ({self._where(own, task, at)})"
            ) from error

    def _name(self, index: int | None = None) -> str:
        """Return the name of the agent that a seed, by its place, is of; without a place all names."""
        own = [
            part.name
            for part, rows in zip(self._parts, self._rows, strict=True)
            if index is None or index in range(rows.start, rows.stop)
        ]
        return ", ".join(own)

    def _raised(self, error: BaseException, task: int, step: int) -> AgentError:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return AgentError(f"{self._name()} raised {what} ({self._where(self._seeds, task, step)})")

    def _where(self, seeds: Sequence[int], task: int, step: int) -> str:
        seeds, spec = list(dict.fromkeys(seeds)), self._spec
        who = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
        return f"{who}, task {task + 1} of {spec.num_tasks}, step {step + 1} of {spec.steps_per_task}"


class Run:
    """One agent on the whole stream of an environment: iterate over it for events, as `Lockstep` has them.

    Args:
        env: from `clbench.make` (one seed) or `clbench.make_vec` (`S` seeds).
        agent: constructed for the same seeds.
        name: the agent's name in records.
        seeds: root seeds of the streams.
        observer: measures indicators.
        **named: as for `Lockstep`.
    """

    def __init__(
        self,
        env: Any,
        agent: Agent,
        *,
        name: str,
        seeds: Sequence[int],
        observer: Observer | None = None,
        **named: Any,
    ) -> None:
        self._loop = Lockstep(env, agent, [Part(name, agent, tuple(seeds), observer)], **named)
        self.state_dict, self.load_state_dict = self._loop.state_dict, self._loop.load_state_dict

    def __iter__(self) -> Iterator[Event]:
        return (event for _, event in self._loop)


def _of(place: int, events: Iterator[Any]) -> Iterator[tuple[int, Event]]:
    return ((place, event) for event in events)


def _joined(envs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the state of an environment that has the seeds of several, all at the same place."""
    joined = dict(envs[0])
    if "first_bad" in joined:
        joined["first_bad"] = torch.cat([env["first_bad"] for env in envs])
    joined["seeds"] = [seed for env in envs for seed in env["seeds"]]
    return joined
