"""Where a job's time goes: parts of the loop, and PyTorch's operators over a window of steps."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from clbench.machine import wait_for

STREAM, PREDICT, LEARN, MEASURE, SAVE = "stream and scoring", "predict", "learn", "indicators", "states"
REST = "the loop itself"
WINDOW = range(20, 40)
"""The steps over which operators are recorded; they are left out of the parts."""


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
        self._operators: list[dict[str, Any]] = []
        self._step = 0
        self._recorder: Any = None
        self._opened = self._left_out = 0.0
        self._started = time.perf_counter()

    def timed(self, part: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """Return `action`, its calls counted to `part`; of a generator function use `timed_list`."""

        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return action(*arguments, **named)
            finally:
                wait_for(self._device)
                if self._recorder is None:
                    self.seconds[part] += time.perf_counter() - started
                    self.calls[part] += 1

        return call

    def timed_list(self, part: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """Return a generator function as one that gives a list."""
        return self.timed(part, lambda *arguments: list(action(*arguments)))

    def env(self, env: Any) -> Any:
        """Return an environment that is timed."""
        names = ("reset", "step", "restore")
        return _Watched(env, {name: self.timed(STREAM, getattr(env, name)) for name in names})

    def agent(self, agent: Any) -> Any:
        """Return an agent that is timed; its steps open and close the window."""
        act = self.timed(PREDICT, agent.act)

        def opening(obs: Any) -> Any:
            self._open_or_close()
            return act(obs)

        methods = {"act": opening, "learn": self.timed(LEARN, agent.learn)}
        if hasattr(agent, "begin_task"):
            methods["begin_task"] = self.timed(LEARN, agent.begin_task)
        return _Watched(agent, methods)

    def observer(self, observer: Any) -> Any:
        """Return an observer that is timed."""
        names = ("begin_task", "observe", "end_task")
        return _Watched(observer, {name: self.timed_list(MEASURE, getattr(observer, name)) for name in names})

    def keeper(self, keeper: Any) -> Any:
        """Return a keeper of states that is timed."""
        return _Watched(keeper, {"save": self.timed_list(SAVE, keeper.save)})

    def message(self) -> dict[str, Any]:
        """Return what was found, as a message: rows of kind "part" and "operator"."""
        self.close()
        whole = time.perf_counter() - self._started - self._left_out
        seconds = {**self.seconds, REST: max(0.0, whole - sum(self.seconds.values()))}
        calls = {**self.calls, REST: self.calls[PREDICT]}
        parts = [_row("part", name, calls[name], value, whole) for name, value in seconds.items()]
        return {"kind": "profile", "rows": [*parts, *self._operators]}

    def _open_or_close(self) -> None:
        if self._step == WINDOW.start:
            self._opened = time.perf_counter()
            kinds = [torch.profiler.ProfilerActivity.CPU]
            if self._device.startswith("cuda"):
                kinds.append(torch.profiler.ProfilerActivity.CUDA)
            self._recorder = torch.profiler.profile(activities=kinds)
            self._recorder.__enter__()
        elif self._step == WINDOW.stop:
            self.close()
        self._step += 1

    def close(self) -> None:
        """End the window, if it is open."""
        if self._recorder is None:
            return
        self._recorder.__exit__(None, None, None)
        self._operators = operators_of(self._recorder, on_device=self._device.startswith("cuda"))
        self._recorder = None
        self._left_out = time.perf_counter() - self._opened


class _Watched:
    """Another object, with some methods replaced."""

    def __init__(self, inner: Any, methods: Mapping[str, Callable[..., Any]]) -> None:
        self.__dict__.update(methods)
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def operators_of(recorder: Any, on_device: bool, most: int = 20) -> list[dict[str, Any]]:
    """Return the operators that took the most time of their own (of the device's, if there is one)."""
    unit = "self_device_time_total" if on_device else "self_cpu_time_total"
    found = [(event.key, event.count, getattr(event, unit) / 1e6) for event in recorder.key_averages()]
    whole = sum(seconds for _, _, seconds in found)
    found.sort(key=lambda row: -row[2])
    return [_row("operator", name, count, seconds, whole) for name, count, seconds in found[:most] if seconds]


def _row(kind: str, name: str, calls: int, seconds: float, whole: float) -> dict[str, Any]:
    share = seconds / whole if whole else 0.0
    return {
        "kind": kind,
        "name": name,
        "calls": calls,
        "seconds": round(seconds, 6),
        "share": round(share, 6),
    }
