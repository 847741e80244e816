"""Where a job's time goes: parts of the loop, and PyTorch's operators over a window of steps."""

import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch

from clbench.config import RunConfig
from clbench.machine import wait_for
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

    def timed_list(self, name: str, action: Callable[..., Any]) -> Callable[..., list[Any]]:
        """Return a generator function as a timed one that returns a list."""
        return self.timed(name, lambda *arguments: list(action(*arguments)))

    def env(self, env: Any) -> Any:
        """Return the environment, timed."""
        names = ("reset", "step", "restore")
        return _Wrapper(env, {name: self.timed(STREAM, getattr(env, name)) for name in names})

    def agent(self, agent: Any) -> Any:
        """Return the agent, timed; its steps open and close the window."""
        act = self.timed(PREDICT, agent.act)

        def step(obs: Any) -> Any:
            self._open_or_close()
            return act(obs)

        methods = {"act": step, "learn": self.timed(LEARN, agent.learn)}
        if hasattr(agent, "begin_task"):
            methods["begin_task"] = self.timed(LEARN, agent.begin_task)
        return _Wrapper(agent, methods)

    def observer(self, observer: Any) -> Any:
        """Return the observer, timed."""
        names = ("begin_task", "observe", "end_task")
        return _Wrapper(observer, {name: self.timed_list(MEASURE, getattr(observer, name)) for name in names})

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

    def _open_or_close(self) -> None:
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


class _Wrapper:
    """Another object, with some methods replaced."""

    def __init__(self, wrapped: Any, methods: Mapping[str, Callable[..., Any]]) -> None:
        self.__dict__.update(methods)
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def operators(recorder: torch.profiler.profile, on_device: bool) -> list[tuple[str, int, float]]:
    """Return name, calls and seconds of each operator without those it calls (the device's time, if there is one),
    the slowest first.
    """
    unit = "self_device_time_total" if on_device else "self_cpu_time_total"
    rows = [(event.key, event.count, getattr(event, unit) / 1e6) for event in recorder.key_averages()]
    return sorted((row for row in rows if row[2]), key=lambda row: -row[2])
