"""The loop that everyone runs, as a generator: (environment, agent) -> records."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from clbench.agent import Agent, AgentSpec
from clbench.errors import AgentError, PredictionError
from clbench.observing import Observer
from clbench.records import Glimpse, IndicatorRecord, Savepoint, TaskRecord, Undefined
from clbench.seeding import global_states, set_global_states


class Run:
    """An agent on the whole stream of an environment: iterate over it for records, and glimpses in between.

    Indicators are measured after a batch's targets are revealed and before the agent learns from them.

    Nothing here reads a value from the device but at a task's end and for a glimpse.

    After each task, and where it is stopped, the run yields a `Savepoint`: there, before the next record is asked for,
    `state_dict` gives all that another `Run` needs to go on as if nothing had happened.

    Args:
        env: from `clbench.make` (one seed) or `clbench.make_vec` (`S` seeds).
        agent: constructed for the same seeds.
        name: the agent's name in records.
        seeds: root seeds of the streams.
        interval: seconds between glimpses.
        observer: measures indicators.
        stop: asked after every step; when it says true, the run ends.

    Raises:
        AgentError: the agent raised, or its predictions or losses are unusable; says which seed, task and step.
    """

    def __init__(
        self,
        env: Any,
        agent: Agent,
        *,
        name: str,
        seeds: Sequence[int],
        interval: float = 0.5,
        observer: Observer | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._env, self._agent, self._name, self._seeds = env, agent, name, tuple(seeds)
        self._interval, self._observer, self._stop = interval, observer, stop
        self._spec: AgentSpec = env.agent_spec
        self._vectorized = hasattr(env, "num_envs")
        self._device = self._spec.device if self._vectorized else "cpu"
        self._meter, self._steps = _Meter(len(seeds), self._device), 0
        self._start: tuple[Any, Mapping[str, Any]] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on; only right at a `Savepoint`."""
        agent: Any = self._agent
        return {
            "steps": self._steps,
            "env": self._env.state_dict(),
            "agent": agent.state_dict(),
            "observer": None if self._observer is None else self._observer.state_dict(),
            "meter": self._meter.state_dict(),
            "random": global_states(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave, before iterating."""
        agent: Any = self._agent
        self._steps = state["steps"]
        self._start = self._env.restore(state["env"])
        agent.load_state_dict(state["agent"])
        if self._observer is not None and state["observer"] is not None:
            self._observer.load_state_dict(state["observer"])
        self._meter.load_state_dict(state["meter"])
        set_global_states(state["random"])

    def __iter__(self) -> Iterator[TaskRecord | IndicatorRecord | Undefined | Glimpse | Savepoint]:
        env, agent, name, seeds, spec = self._env, self._agent, self._name, self._seeds, self._spec
        observer, device = self._observer, self._device
        begin_task: Callable[[int], Any] = getattr(agent, "begin_task", lambda task: None)
        final_epoch = spec.epochs_per_task - 1
        obs, info = self._start or env.reset(seed=list(seeds) if self._vectorized else seeds[0])
        done, glimpsed = False, time.perf_counter()
        while not done:
            task, epoch, step = info["task"], info["epoch"], info["step_in_task"]
            opening = info["boundary"]
            try:
                if opening:
                    begin_task(task)
                shown, predictions = obs, agent.act(obs)
            except (Exception, SystemExit) as error:
                raise _raised(name, error, seeds, spec, task, step) from error
            try:
                obs, reward, terminated, _, info = env.step(predictions)
            except PredictionError as error:
                where = "" if error.placed else f" ({_where(seeds, spec, task, step)})"
                raise AgentError(f"{name}: {error}{where}") from error
            if observer is not None and opening:
                yield from observer.begin_task()
            done = bool(terminated.all()) if self._vectorized else terminated
            ended = info["boundary"] or done
            if observer is not None:
                yield from observer.observe(shown, info["targets"], task, step + 1, ended)
            try:
                loss = agent.learn(info["targets"])
            except (Exception, SystemExit) as error:
                raise _raised(name, error, seeds, spec, task, step) from error
            self._steps += 1
            self._add(reward, loss, epoch == final_epoch, ended, task, step)
            if ended:
                if observer is not None:
                    yield from observer.end_task(task)
                yield from self._meter.records(name, seeds, task)
                self._meter = _Meter(len(seeds), device)
            stopped = not done and self._stop()
            if ended or stopped:
                yield Savepoint(self._steps, stopped)
                if stopped:
                    return
            elif time.perf_counter() - glimpsed > self._interval:
                yield Glimpse(task, self._steps, self._meter.mean_accuracy())
                glimpsed = time.perf_counter()

    def _add(self, reward: Any, loss: Any, final: bool, ended: bool, task: int, step: int) -> None:
        """Take note of a step's reward and loss."""
        try:
            self._meter.add(reward, loss, final)
            if ended or self._meter.eager:
                self._meter.check_losses()
        except _LossError as error:
            own = self._seeds if error.index is None else [self._seeds[error.index]]
            at = step if error.step is None else error.step
            raise AgentError(
                f"{self._name} reported a loss that {error} ({_where(own, self._spec, task, at)})"
            ) from error


def _raised(
    name: str, error: BaseException, seeds: Sequence[int], spec: AgentSpec, task: int, step: int
) -> AgentError:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return AgentError(f"{name} raised {what} ({_where(seeds, spec, task, step)})")


def _where(seeds: Sequence[int], spec: AgentSpec, task: int, step: int) -> str:
    who = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    return f"{who}, task {task + 1} of {spec.num_tasks}, step {step + 1} of {spec.steps_per_task}"


class _LossError(Exception):
    """A reported loss is unusable: which seed (by place) and step of the task, where known."""

    def __init__(self, fault: str, index: int | None = None, step: int | None = None) -> None:
        super().__init__(fault)
        self.index, self.step = index, step


class _Meter:
    """Sums over one task, kept on the device."""

    SUMS = ("right", "right_finally", "loss", "first_bad")
    COUNTS = ("steps", "final_steps", "losses")

    def __init__(self, seeds: int, device: str) -> None:
        # Apple's GPUs have no float64.
        dtype = torch.float32 if device.startswith("mps") else torch.float64
        self.right, self.right_finally, self.loss = torch.zeros(3, seeds, dtype=dtype, device=device)
        self.first_bad = torch.full((seeds,), -1, device=device)
        self.eager = device == "cpu"  # where looking costs no waiting
        self.steps = self.final_steps = self.losses = 0
        self.started = time.perf_counter()

    def add(self, reward: Any, loss: Any, final: bool) -> None:
        self.right += reward
        if final:
            self.final_steps += 1
            self.right_finally += reward
        if loss is not None:
            self.losses += 1
            loss = self._as_tensor(loss)
            self.loss += loss
            bad = ~torch.isfinite(loss) & (self.first_bad < 0)
            self.first_bad = torch.where(bad, self.steps, self.first_bad)
        self.steps += 1

    def _as_tensor(self, loss: Any) -> torch.Tensor:
        try:
            loss = torch.as_tensor(loss).detach().to(self.loss)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _LossError(f"is no number but {type(loss).__name__}") from error
        if loss.shape not in ((), self.loss.shape):
            raise _LossError(f"has shape {tuple(loss.shape)}: it must be a number or one for each seed")
        return loss

    def check_losses(self) -> None:
        """Raise for the first loss that was not finite."""
        for index, step in enumerate(self.first_bad.tolist()):
            if step >= 0:
                raise _LossError("is NaN or infinite", index, step)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all sums, and the seconds so far."""
        tensors = {name: getattr(self, name).clone() for name in self.SUMS}
        counts = {name: getattr(self, name) for name in self.COUNTS}
        return {**tensors, **counts, "seconds": time.perf_counter() - self.started}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        for name in self.SUMS:
            own = getattr(self, name)
            setattr(self, name, state[name].to(own))
        for name in self.COUNTS:
            setattr(self, name, state[name])
        self.started = time.perf_counter() - state["seconds"]

    def mean_accuracy(self) -> float:
        return float(self.right.mean() / self.steps)

    def records(self, name: str, seeds: Sequence[int], task: int) -> Iterator[TaskRecord]:
        losses = self.loss / self.losses if self.losses else torch.full_like(self.loss, torch.nan)
        columns = torch.stack(
            [self.right / self.steps, self.right_finally / self.final_steps, losses]
        ).tolist()
        seconds = time.perf_counter() - self.started
        for seed, accuracy, final, loss in zip(seeds, *columns, strict=True):
            yield TaskRecord(name, seed, task, self.steps, accuracy, final, loss, seconds)
