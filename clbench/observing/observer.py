"""Measures an agent's indicators while it runs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer as TorchOptimizer

from clbench.errors import ClbenchError, TouchedError
from clbench.indicators import LayerChoice, Stacked
from clbench.indicators.borrowing import untouched
from clbench.indicators.layers import is_layer_choice
from clbench.indicators.networks import LossFunction, Network, Penalty
from clbench.indicators.optimizers import Optimizer, list_optimizers
from clbench.indicators.parameter_state import class_name
from clbench.indicators.stacked import Model
from clbench.observing.decisions import Measurement, finite, shares, trajectories
from clbench.observing.registry import BOUNDS, CURVATURE, Snapshot, find_indicator
from clbench.records import IndicatorRecord, Undefined
from clbench.scheduling import StepSizeMonitor
from clbench.tracebacks import raised_at


class _AgentView:
    """The attributes by which a `clbench.Agent` can be measured; one of another type counts as missing."""

    def __init__(self, agent: object, layers: LayerChoice = None) -> None:
        self._agent, self._layers = agent, layers

    @property
    def scheduler(self) -> StepSizeMonitor | None:
        scheduler: object = getattr(self._agent, "scheduler", None)
        return scheduler if isinstance(scheduler, StepSizeMonitor) else None

    @property
    def loss_fn(self) -> LossFunction:
        loss_fn: LossFunction = getattr(self._agent, "loss_fn", F.cross_entropy)
        return loss_fn

    @property
    def penalty(self) -> Penalty | None:
        penalty: Penalty | None = getattr(self._agent, "penalty", None)
        return penalty

    @property
    def layers(self) -> LayerChoice:
        choice = getattr(self._agent, "layers", None) if self._layers is None else self._layers
        return choice if is_layer_choice(choice) else None

    def network(self) -> tuple[Model, Optimizer]:
        optimizer: Optimizer | None = getattr(self._agent, "optimizer", None)
        vectorized: object = getattr(self._agent, "vectorized", False)
        networks: object = getattr(self._agent, "networks", None)
        if isinstance(networks, Stacked) and optimizer is not None:
            return networks, optimizer
        model: object = getattr(self._agent, "model", None)
        if isinstance(model, nn.Module) and optimizer is not None and not vectorized:
            return model, optimizer
        raise ClbenchError(_how_to_show(self._agent, vectorized=bool(vectorized)))


def _how_to_show(agent: object, vectorized: bool) -> str:
    """Return what an agent lacks to be measured, and which of its attributes may be what is looked for."""
    name, kind = ("networks", Stacked) if vectorized else ("model", nn.Module)
    what = "clbench.indicators.Stacked" if vectorized else "torch.nn.Module"
    shown = getattr(agent, name, None)
    other = "" if shown is None else f", not a {class_name(shown)}"
    missing = [] if isinstance(shown, kind) else [f"`{name}` ({what}{other})"]
    missing += [] if getattr(agent, "optimizer", None) is not None else ["`optimizer`"]
    named: dict[str, object] = dict(getattr(agent, "__dict__", {}))
    if isinstance(agent, nn.Module):
        named |= dict(agent.named_children())
    near = [
        f"`{key}` ({type(value).__name__})"
        for key, value in named.items()
        if isinstance(value, (kind, TorchOptimizer)) and key not in (name, "optimizer")
    ]
    hint = f"; it has {' and '.join(near)}: give them those names, or add properties" if near else ""
    return f"the agent has no {' and no '.join(missing)}{hint}"


def _tensors(network: Network, obs: object, targets: object) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.as_tensor(obs, device=network.device), torch.as_tensor(targets, device=network.device)


class Observer:
    """Yields an agent's indicator records, and the decisions of its scheduler.

    Args:
        name: the agent's name in records.
        indicators: names in `ALL`, or references to functions.
        every: measure every so many steps of a task, too; None for the task's last step only.
        layers: which parameters form a layer, see `clbench.indicators.layer_parameters`; by default the agent's choice.
    """

    def __init__(
        self,
        agent: object,
        name: str,
        seeds: Sequence[int],
        indicators: Sequence[str],
        every: int | None,
        layers: LayerChoice = None,
    ) -> None:
        self._agent, self._name = _AgentView(agent, layers), name
        self._seeds, self._every = tuple(seeds), every
        self._indicators = [indicator for indicator in indicators if indicator != BOUNDS]
        self._bounds = BOUNDS in indicators
        self._created_monitor: StepSizeMonitor | None = None  # for an agent without a scheduler
        self._start = 0  # steps of the scheduler before the task
        self._measured: set[int] = set()  # steps of the task
        self._noted_no_decisions = False

    @property
    def _monitor(self) -> StepSizeMonitor | None:
        return self._created_monitor if self._bounds else None

    def begin_task(self) -> Iterator[Undefined]:
        """Yield what is undefined, at the start of a task, before the agent's first step in it."""
        self._measured = set()
        scheduler = self._agent.scheduler
        if scheduler is None and self._bounds:
            try:
                scheduler = self._created_monitor = self._current_monitor()
            except Exception as error:
                self._bounds = False
                yield self._undefined(BOUNDS, error)
            else:
                scheduler.begin_task()
        if scheduler is not None:
            self._start = scheduler.steps

    def needs_step(self, step: int, last: bool) -> bool:
        """Return whether `observe` would measure at the coming step of a task, counted from 1."""
        monitor = self._monitor
        return (monitor is not None and monitor.kind_of_step() is not None) or self._is_due(step, last)

    def _is_due(self, step: int, last: bool) -> bool:
        return bool(self._indicators and (last or (self._every and step % self._every == 0)))

    def skip_step(self) -> None:
        if self._monitor is not None:
            self._monitor.replayed()

    def observe(
        self, obs: object, targets: object, task: int, step: int, last: bool
    ) -> Iterator[IndicatorRecord | Undefined]:
        """Yield what is due, measured on a batch that the agent has predicted but not yet learned from."""
        monitor = self._monitor
        if monitor is not None:
            try:
                monitor.step(self._agent.loss_fn, *_tensors(monitor.network, obs, targets))
            except TouchedError:
                raise
            except Exception as error:
                self._bounds = False
                yield self._undefined(BOUNDS, error)
        if self._is_due(step, last):
            yield from self._measure(obs, targets, task, step)

    def end_task(self, task: int) -> Iterator[IndicatorRecord | Undefined]:
        """Yield records of the scheduler's decisions, after the agent's last step in the task."""
        scheduler = self._agent.scheduler or self._monitor
        if scheduler is None:
            return
        decisions, steps = scheduler.decisions, scheduler.steps - self._start
        indices = [index for index, at in enumerate(decisions.positions) if at.step > self._start]
        if indices:
            for step, layer, name, values in trajectories(decisions, indices, self._start):
                if name not in self._indicators or step not in self._measured:  # else it is recorded already
                    yield from self._records(task, (step, layer, name, values))
            for share in shares(decisions, indices, steps):
                yield from self._records(task, share)
        elif not self._noted_no_decisions:
            self._noted_no_decisions = True
            reason = f"no decision is taken in a task of {steps} steps with every={scheduler.constants.every}"
            yield Undefined(self._name, BOUNDS, reason)

    def state_dict(self) -> dict[str, Any]:
        return {
            "indicators": list(self._indicators),
            "bounds": self._bounds,
            "start": self._start,
            "measured": sorted(self._measured),
            "noted_no_decisions": self._noted_no_decisions,
            "monitor": None if self._created_monitor is None else self._created_monitor.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._indicators, self._bounds = list(state["indicators"]), state["bounds"]
        self._start, self._measured = state["start"], set(state["measured"])
        self._noted_no_decisions = state["noted_no_decisions"]
        if state["monitor"] is not None:
            self._created_monitor = self._current_monitor()
            self._created_monitor.load_state_dict(state["monitor"])

    def _current_monitor(self) -> StepSizeMonitor:
        """Return the monitor so far, or a new one if the agent has replaced its network or optimizer."""
        model, optimizer = self._agent.network()
        monitor = self._created_monitor
        if monitor is not None and monitor.model is model:
            pairs = zip_longest(list_optimizers(monitor.optimizer), list_optimizers(optimizer))
            if all(ours is theirs for ours, theirs in pairs):
                return monitor
        return StepSizeMonitor(
            model,
            optimizer,
            penalty=self._agent.penalty,
            seeds=self._seeds,
            layers=self._agent.layers,
            keep_all=False,
        )

    def _measure(
        self, obs: object, targets: object, task: int, step: int
    ) -> Iterator[IndicatorRecord | Undefined]:
        try:
            snapshot = self._snapshot(obs, targets)
        except Exception as error:
            for indicator in self._indicators:
                yield self._undefined(indicator, error)
            self._indicators = []
            return
        for indicator in list(self._indicators):
            try:
                with untouched(indicator, snapshot.model):
                    measures = find_indicator(indicator)(snapshot)
            except TouchedError:
                raise
            except Exception as error:  # what cannot be measured must not end a run
                self._indicators.remove(indicator)
                yield self._undefined(indicator, error)
                continue
            self._measured.add(step)
            for layer, values in measures.items():
                yield from self._records(task, (step, layer, indicator, finite(values)))

    def _snapshot(self, obs: object, targets: object) -> Snapshot:
        agent = self._agent
        model, optimizer = agent.network()
        network = Network(model, agent.layers)
        hessian = any(name in CURVATURE for name in self._indicators)
        batch = _tensors(network, obs, targets)
        return Snapshot(network, optimizer, agent.loss_fn, agent.penalty, *batch, self._seeds, hessian)

    def _records(self, task: int, measured: Measurement) -> Iterator[IndicatorRecord]:
        step, layer, indicator, values = measured
        for seed, value in zip(self._seeds, values, strict=True):
            if value is not None:
                yield IndicatorRecord(self._name, seed, task, step, layer, indicator, value)

    def _undefined(self, indicator: str, error: Exception) -> Undefined:
        text = " ".join(str(error).split())
        if not isinstance(error, ClbenchError):
            text = f"{type(error).__name__}: {text}{raised_at(error)}"
        return Undefined(self._name, indicator, text)
