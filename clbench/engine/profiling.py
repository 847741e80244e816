"""Where a job's time goes: parts of the loop, and PyTorch's operators over a window of steps."""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import torch

from clbench.agent import Agent
from clbench.config import RunConfig
from clbench.loop.environment import Environment
from clbench.machine import wait_for
from clbench.observing import Observer
from clbench.records import ProfileRecord

STREAM, PREDICT, LEARN, MEASURE, SAVE = (
    "stream and scoring",
    "predict",
    "learn",
    "indicators",
    "checkpoints",
)
REST = "the loop itself"
WINDOW = range(20, 40)
"""The steps over which operators are recorded; they are not counted in the parts."""
OPERATORS = 20
"""How many operators are listed, those that took the most time."""

P = ParamSpec("P")
T = TypeVar("T")


class Profile:
    """Times the parts of a job's loop.

    On a device other than the CPU it waits for the device after each part, so that time is counted where it arises:
    the run itself is slower than without.

    Args:
        device: where the learner runs.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.seconds = dict.fromkeys((STREAM, PREDICT, LEARN, MEASURE, SAVE), 0.0)
        self.calls = dict.fromkeys(self.seconds, 0)
        self._operators: list[tuple[str, int, float]] = []
        self._step = 0
        self._recorder: torch.profiler.profile | None = None
        self._opened = self._excluded = 0.0
        self._started = time.perf_counter()

    def timed(self, name: str, action: Callable[P, T]) -> Callable[P, T]:
        """Return `action` with its calls counted under `name`; for a generator function use `timed_list`."""

        @functools.wraps(action)  # whose signature says what it takes
        def call(*arguments: P.args, **named: P.kwargs) -> T:
            started = time.perf_counter()
            try:
                return action(*arguments, **named)
            finally:
                wait_for(self._device)
                if self._recorder is None:
                    self.seconds[name] += time.perf_counter() - started
                    self.calls[name] += 1

        return call

    def timed_list(self, name: str, action: Callable[P, Iterable[T]]) -> Callable[P, list[T]]:
        """Return a generator function as a timed one that returns a list."""
        return self.timed(name, lambda *arguments, **named: list(action(*arguments, **named)))

    def time_env(self, env: Environment) -> None:
        """Time an environment's methods from now on."""
        for name in ("reset", "step", "restore"):
            setattr(env, name, self.timed(STREAM, getattr(env, name)))

    def time_observer(self, observer: Observer) -> None:
        """Time an observer's methods from now on."""
        for name in ("begin_task", "observe", "end_task"):
            setattr(observer, name, self.timed_list(MEASURE, getattr(observer, name)))

    def records(self, config: RunConfig) -> list[ProfileRecord]:
        """Return the parts, then the operators."""
        self.close()
        total = time.perf_counter() - self._started - self._excluded
        rest = max(0.0, total - sum(self.seconds.values()))
        parts = [(name, self.calls[name], seconds) for name, seconds in self.seconds.items()]
        parts.append((REST, self.calls[PREDICT], rest))
        whole = sum(seconds for _, _, seconds in self._operators)
        seeds = " ".join(map(str, config.seeds))
        return [
            ProfileRecord(
                config.agent.name,
                seeds,
                kind,
                name,
                calls,
                round(seconds, 6),
                round(seconds / base if base else 0.0, 6),
            )
            for kind, rows, base in (("part", parts, total), ("operator", self._operators[:OPERATORS], whole))
            for name, calls, seconds in rows
        ]

    def open_or_close(self) -> None:
        """Count a step; open the window before its first step, and close it after its last."""
        if self._step == WINDOW.start:
            self._opened = time.perf_counter()
            kinds = [torch.profiler.ProfilerActivity.CPU]
            if self._device.startswith("cuda"):
                kinds.append(torch.profiler.ProfilerActivity.CUDA)
            self._recorder = torch.profiler.profile(activities=kinds)
            self._recorder.start()
        elif self._step == WINDOW.stop:
            self.close()
        self._step += 1

    def close(self) -> None:
        """End the window, if it is open."""
        if self._recorder is None:
            return
        self._recorder.stop()
        self._operators = operators(self._recorder, on_device=self._device.startswith("cuda"))
        self._recorder = None
        self._excluded = time.perf_counter() - self._opened


class TimedAgent:
    """Acts and learns as an agent does, timed; its steps open and close the window."""

    def __init__(self, agent: Agent[Any], profile: Profile) -> None:
        self._act, self._profile = profile.timed(PREDICT, agent.act), profile
        self.learn = profile.timed(LEARN, agent.learn)
        begin_task: Callable[[int], None] | None = getattr(agent, "begin_task", None)
        if begin_task is not None:
            self.begin_task = profile.timed(LEARN, begin_task)

    def act(self, obs: object) -> object:
        self._profile.open_or_close()
        return self._act(obs)


def operators(recorder: torch.profiler.profile, on_device: bool) -> list[tuple[str, int, float]]:
    """Return name, calls and seconds of each operator without those it calls (the device's time, if there is one),
    the slowest first.
    """
    unit = "self_device_time_total" if on_device else "self_cpu_time_total"
    rows = [(event.key, event.count, getattr(event, unit) / 1e6) for event in recorder.key_averages()]
    return sorted((row for row in rows if row[2]), key=lambda row: -row[2])
