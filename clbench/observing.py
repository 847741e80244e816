"""Measures indicators while an agent runs, of every agent that lets its network be seen."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from clbench.agent import Agent
from clbench.errors import ClbenchError, TouchedError
from clbench.indicators import (
    WHOLE,
    Stacked,
    dormant_units,
    effective_step_size,
    feature_rank,
    hessian_rank,
    predicted_loss_of_trainability,
    unit_sign_entropy,
    weight_norm,
)
from clbench.indicators.borrowing import untouched
from clbench.indicators.curvature import ITERATIONS, TOLERANCE, PowerIteration
from clbench.indicators.derivatives import Derivatives
from clbench.indicators.gradients import norm_ratios, norms
from clbench.indicators.layers import LayerChoice, is_layer_choice
from clbench.indicators.networks import LossFunction, Measures, Network, Penalty
from clbench.indicators.optimizers import Optimizer, list_optimizers, with_weight_decay
from clbench.indicators.stacked import Model
from clbench.indicators.step_size import aggregated_step_size
from clbench.loading import load_indicator
from clbench.records import IndicatorRecord, Undefined
from clbench.scheduling import PerLayerScheduler
from clbench.scheduling.history import COLUMNS, History

DEFINITIONS = 2
"""Version of what the indicators' names mean; a change of any definition raises it.

With 2 a bound is NaN where a layer is dead and `inf` where nothing bounds, and neither counts as violated.
"""

BOUNDS = "critical_step_sizes"
TRAJECTORIES = (
    "step_size",
    "effective_step_size",
    "noise_bound",
    "volatility_bound",
    "combined_bound",
    "volatility",
)
POINTS_PER_TASK = 20  # of a trajectory; a task of `standard` has 585 decisions


class Snapshot:
    """Networks at a step, with what indicators are computed from; what several need is computed once."""

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        loss_fn: LossFunction,
        penalty: Penalty | None,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        seeds: Sequence[int],
        hessian: bool,
    ) -> None:
        self.network, self.optimizer, self.loss_fn = network, optimizer, loss_fn
        self.model = network.model
        self.inputs, self.targets = inputs, targets
        self._penalty, self._seeds, self._hessian = penalty, seeds, hessian

    @cached_property
    def point(self) -> Derivatives:
        """Gradients on the batch."""
        penalty = with_weight_decay(self.network, self.optimizer, self._penalty)
        return Derivatives(
            self.network, self.loss_fn, self.inputs, self.targets, penalty, hessian=self._hessian
        )

    @cached_property
    def sharpness(self) -> Measures:
        """Top eigenvalues of the Hessian."""
        power = PowerIteration(self.network, list(self.network.blocks), self._seeds)
        return power.converge(self.point, ITERATIONS, TOLERANCE)

    @cached_property
    def normalized_sharpness(self) -> Measures:
        """Sharpness times the aggregated step size."""
        steps = aggregated_step_size(self.network, self.optimizer)
        return {layer: steps[layer] * value for layer, value in self.sharpness.items()}


INDICATORS: Mapping[str, Callable[[Snapshot], Measures]] = MappingProxyType(
    {
        "effective_step_size": lambda at: effective_step_size(at.network, at.optimizer),
        "sharpness": lambda at: at.sharpness,
        "normalized_sharpness": lambda at: at.normalized_sharpness,
        "gradient_noise": lambda at: at.point.noise(),
        "hessian_rank": lambda at: hessian_rank(at.network, at.loss_fn, at.inputs, at.targets),
        "unit_sign_entropy": lambda at: unit_sign_entropy(at.network, at.inputs),
        "dormant_units": lambda at: dormant_units(at.network, at.inputs),
        "feature_rank": lambda at: feature_rank(at.network, at.inputs),
        "weight_norm": lambda at: weight_norm(at.network),
        "weight_rms": lambda at: weight_norm(at.network, "rms"),
        "gradient_norm": lambda at: norms(at.network, at.point.gradient_squares(), "euclidean"),
        "gradient_rms": lambda at: norms(at.network, at.point.gradient_squares(), "rms"),
        "gradient_parameter_ratio": lambda at: norm_ratios(at.network, at.point.gradient_squares()),
    }
)
CURVATURE = ("sharpness", "normalized_sharpness")
ALL = (*INDICATORS, BOUNDS)
DEFAULT = tuple(name for name in INDICATORS if name not in CURVATURE)
"""What is measured unless asked otherwise: all that takes next to no time."""


def measure_of(indicator: str) -> Callable[[Snapshot], Measures]:
    """Return what measures an indicator: one of `INDICATORS`, or a user's "module:function" of a `Snapshot`."""
    return INDICATORS[indicator] if indicator in INDICATORS else load_indicator(indicator)


class Observer:
    """Yields indicator records of one agent.

    The agent shows its network by `model` (a `torch.nn.Module`) and `optimizer` (or a list of several); a vectorised
    one by `networks` (`clbench.indicators.Stacked`) and `optimizer`. It may also have `loss_fn` (mean cross-entropy
    otherwise), `layers` (see `clbench.indicators.layer_parameters`), `penalty` and `scheduler` (a `PerLayerScheduler`),
    whose decisions are then recorded.

    Args:
        agent: the agent.
        name: its name in records.
        seeds: of its networks.
        indicators: names among `ALL`, or references to functions.
        every: measure every so many steps of a task, too; None for the task's last step only.
        layers: by which layers, see `clbench.indicators.layer_parameters`; by default the agent's own `layers`, if it
            has them.
    """

    def __init__(
        self,
        agent: Agent,
        name: str,
        seeds: Sequence[int],
        indicators: Sequence[str],
        every: int | None,
        layers: LayerChoice = None,
    ) -> None:
        self._agent, self._name, self._seeds, self._every = agent, name, tuple(seeds), every
        self._indicators = [one for one in indicators if one != BOUNDS]
        self._bounds, self._choice = BOUNDS in indicators, layers
        self._monitor: PerLayerScheduler | None = None
        self._start = 0  # steps of the scheduler before the task
        self._measured: set[int] = set()  # steps of the task
        self._noted: set[str] = set()

    def begin_task(self) -> Iterator[Undefined]:
        """Take notice of a new task, before the agent's first step in it."""
        self._measured = set()
        scheduler = getattr(self._agent, "scheduler", None)
        if isinstance(scheduler, PerLayerScheduler):
            self._start = scheduler.steps
            return
        if not self._bounds:
            return
        try:
            model, optimizer = self._network()
            monitor = self._monitor
            if monitor is None or monitor.model is not model or not _same(monitor.optimizer, optimizer):
                monitor = self._watch()
            monitor.decisions.clear()
            self._monitor, self._start = monitor, monitor.steps
        except Exception as error:
            self._bounds = False
            yield self._note(BOUNDS, error)

    def looks(self, step: int, last: bool) -> bool:
        """Tell whether `observe` would look at the coming step of a task, counted from 1."""
        decides = self._watching is not None and self._watching.kind_of_step() is not None
        return decides or self._is_time(step, last)

    def _is_time(self, step: int, last: bool) -> bool:
        return bool(self._indicators and (last or (self._every and step % self._every == 0)))

    @property
    def _watching(self) -> PerLayerScheduler | None:
        return self._monitor if self._bounds else None

    def passed(self) -> None:
        """Take note of a step that there was no need to look at."""
        if self._watching is not None:
            self._watching.replayed()

    def observe(
        self, obs: Any, targets: Any, task: int, step: int, last: bool
    ) -> Iterator[IndicatorRecord | Undefined]:
        """Measure, if it is time to, on a batch that the agent has predicted and not yet learned from.

        Args:
            obs: as the agent was shown it.
            targets: its targets.
            task: index from 0.
            step: step of the task, from 1.
            last: whether it is the task's last.
        """
        monitor = self._watching
        if monitor is not None:
            try:
                inputs, wanted = _tensors(monitor.network, obs, targets)
                monitor.step(self._loss_fn, inputs, wanted)  # it guards the network itself
            except TouchedError:
                raise
            except Exception as error:
                self._bounds = False
                yield self._note(BOUNDS, error)
        if self._is_time(step, last):
            yield from self._measure(obs, targets, task, step)

    def end_task(self, task: int) -> Iterator[IndicatorRecord | Undefined]:
        """Yield what the scheduler's decisions of the task were, after the agent's last step in it."""
        scheduler = getattr(self._agent, "scheduler", None) or self._watching
        if not isinstance(scheduler, PerLayerScheduler):
            return
        decisions = scheduler.decisions
        own = [index for index, (step, _, _) in enumerate(decisions.places) if step > self._start]
        if not own:
            if BOUNDS not in self._noted:
                self._noted.add(BOUNDS)
                every, length = scheduler.constants.every, scheduler.steps - self._start
                reason = f"no decision is taken in a task of {length} steps where every={every}"
                yield Undefined(self._name, BOUNDS, reason)
            return
        yield from self._trajectories(task, decisions, own)
        yield from self._shares(task, scheduler.steps - self._start, decisions, own)

    def _trajectories(self, task: int, decisions: History, own: Sequence[int]) -> Iterator[IndicatorRecord]:
        kept = own
        if len(own) > POINTS_PER_TASK:
            shares = [index / (POINTS_PER_TASK - 1) for index in range(POINTS_PER_TASK)]
            kept = [own[round(share * (len(own) - 1))] for share in shares]
        steps = {index: decisions.places[index][0] - self._start for index in kept}
        dead = decisions.column("gradient_squares") == 0
        for name in TRAJECTORIES:
            table = decisions.column(name)
            keep = torch.isfinite(table)
            if name.endswith("_bound"):
                keep |= (table == torch.inf) | dead
            rows, kept_rows = table.tolist(), keep.tolist()
            for index, step in steps.items():
                if name in self._indicators and step in self._measured:
                    continue  # it is recorded already
                for layer, *of_seeds in zip(decisions.layers, rows[index], kept_rows[index], strict=True):
                    yield from self._records(task, step, layer, name, *of_seeds)

    def _shares(
        self, task: int, step: int, decisions: History, own: Sequence[int]
    ) -> Iterator[IndicatorRecord]:
        columns = {name: decisions.column(name)[own].cpu() for name in COLUMNS}
        effective, dead = columns["effective_step_size"], columns["gradient_squares"] == 0
        for layer, values in zip(decisions.layers, dead.double().mean(dim=0).tolist(), strict=True):
            yield from self._records(task, step, layer, "dead_decisions", values)
        for kind in ("combined", "noise", "volatility"):
            bound = columns[f"{kind}_bound"]
            known = ~(torch.isnan(bound) | torch.isnan(effective))
            above = (known & (effective > bound)).sum(dim=0).double() / known.sum(dim=0)
            for layer, values in zip(decisions.layers, above.tolist(), strict=True):
                yield from self._records(task, step, layer, f"{kind}_violations", values)
            rho = predicted_loss_of_trainability(effective, bound)
            name = "rho" if kind == "combined" else f"rho_{kind}"
            yield from self._records(task, step, WHOLE, name, rho.tolist())

    def state_dict(self) -> dict[str, Any]:
        """Return what the rest of a run's records depend on."""
        return {
            "indicators": list(self._indicators),
            "bounds": self._bounds,
            "start": self._start,
            "measured": sorted(self._measured),
            "noted": sorted(self._noted),
            "monitor": None if self._monitor is None else self._monitor.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave, once the agent has taken up its own state."""
        self._indicators, self._bounds = list(state["indicators"]), state["bounds"]
        self._start, self._measured = state["start"], set(state["measured"])
        self._noted = set(state["noted"])
        if state["monitor"] is not None:
            self._monitor = self._watch()
            self._monitor.load_state_dict(state["monitor"])

    def _watch(self) -> PerLayerScheduler:
        """Return a scheduler that only measures."""
        model, optimizer = self._network()
        penalty = getattr(self._agent, "penalty", None)
        return PerLayerScheduler(
            model, optimizer, penalty=penalty, adjust=False, seeds=self._seeds, layers=self._layers
        )

    def _measure(self, obs: Any, targets: Any, task: int, step: int) -> Iterator[IndicatorRecord | Undefined]:
        try:
            model, optimizer = self._network()
            network = Network(model, self._layers)
            inputs, wanted = _tensors(network, obs, targets)
            at = Snapshot(
                network,
                optimizer,
                self._loss_fn,
                getattr(self._agent, "penalty", None),
                inputs,
                wanted,
                self._seeds,
                hessian=any(name in CURVATURE for name in self._indicators),
            )
        except Exception as error:
            for indicator in self._indicators:
                yield self._note(indicator, error)
            self._indicators = []
            return
        for indicator in list(self._indicators):
            try:
                with untouched(indicator, model):
                    found = measure_of(indicator)(at)
            except TouchedError:
                raise
            except Exception as error:  # what cannot be measured must not end a run
                self._indicators.remove(indicator)
                yield self._note(indicator, error)
                continue
            self._measured.add(step)
            for layer, value in found.items():
                values = value.reshape(-1).tolist()
                yield from self._records(task, step, layer, indicator, values)

    def _records(
        self,
        task: int,
        step: int,
        layer: str,
        indicator: str,
        values: Sequence[float],
        keep: Sequence[bool] | None = None,
    ) -> Iterator[IndicatorRecord]:
        """Yield a record per seed, of those that are kept, by default the finite ones."""
        kept = map(math.isfinite, values) if keep is None else keep
        for seed, value, whether in zip(self._seeds, values, kept, strict=True):
            if whether:
                yield IndicatorRecord(self._name, seed, task, step, layer, indicator, value)

    def _note(self, indicator: str, error: Exception) -> Undefined:
        text = " ".join(str(error).split())
        reason = text if isinstance(error, ClbenchError) else f"{type(error).__name__}: {text}"
        return Undefined(self._name, indicator, reason)

    @property
    def _loss_fn(self) -> LossFunction:
        loss_fn: LossFunction = getattr(self._agent, "loss_fn", F.cross_entropy)
        return loss_fn

    @property
    def _layers(self) -> LayerChoice:
        """Which parameters are a layer: what the run says, or the agent; its `layers` may be something else, too."""
        choice = getattr(self._agent, "layers", None) if self._choice is None else self._choice
        return choice if is_layer_choice(choice) else None

    def _network(self) -> tuple[Model, Optimizer]:
        optimizer: Any = getattr(self._agent, "optimizer", None)
        networks = getattr(self._agent, "networks", None)
        model: Model | None = networks if isinstance(networks, Stacked) else None
        if model is None and not getattr(self._agent, "vectorized", False):
            found = getattr(self._agent, "model", None)
            model = found if isinstance(found, nn.Module) else None
        if model is None or optimizer is None:
            raise ClbenchError("the agent shows no model and optimizer")
        return model, optimizer


def _tensors(network: Network, obs: Any, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
    device = network.device
    return torch.as_tensor(obs, device=device), torch.as_tensor(targets, device=device)


def _same(one: Optimizer, other: Optimizer) -> bool:
    """Tell whether two are the same optimizers, be it in new lists."""
    pairs = zip_longest(list_optimizers(one), list_optimizers(other))
    return all(own is theirs for own, theirs in pairs)
