"""Schedulers of step sizes: measure every K steps, apply the rule, keep the history."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from clbench.errors import OptionError, UndefinedError, UnknownNameError, did_you_mean
from clbench.indicators.batch_checks import check_batch_normalisation
from clbench.indicators.borrowing import untouched
from clbench.indicators.bounds import CriticalStepSizes, cantelli_cap, critical_step_sizes
from clbench.indicators.curvature import PowerIteration
from clbench.indicators.derivatives import Derivatives
from clbench.indicators.layers import WHOLE, LayerChoice
from clbench.indicators.networks import (
    LossFunction,
    Measures,
    Network,
    Penalty,
)
from clbench.indicators.optimizers import Optimizer, list_optimizers, parameter_states, with_weight_decay
from clbench.indicators.parameter_state import ParameterState
from clbench.indicators.stacked import Model, Stacked
from clbench.indicators.step_size import aggregated_from_states, effective_from_states
from clbench.indicators.volatility import VolatilityTracker
from clbench.scheduling.adjusting import check_adjustable, multiply_step_sizes
from clbench.scheduling.history import History
from clbench.scheduling.rule import Constants, factors

if TYPE_CHECKING:
    import pandas as pd


class PerLayerScheduler:
    """Keeps each layer's effective step size below its critical step size.

    Every K calls of `step`, for each layer by itself: measure sharpness (one product of a warm-started power
    iteration), gradient noise, gradient and effective step size; update volatility; then cool, warm or leave
    the step size (`clbench.scheduling.factors`).

    Layers stay those of the start: after freezing or unfreezing parameters make a new scheduler. Other schedules may
    multiply step sizes (`torch.optim.lr_scheduler.ExponentialLR`), but those that set them anew from the first one
    (`LambdaLR`, `OneCycleLR`) undo what this one did.

    Call `step` with the batch before `optimizer.step()`: the batch then is one that these weights have not yet
    been fitted to. An optimizer with `param_groups` gets a group for each layer, so make the scheduler
    after the optimizer, before other schedulers and before loading the optimizer's state. Weight decay that is added
    to the gradient counts as part of the loss as trained.

    A layer without a second moment (Muon's, beside Adam) has eta for its effective step size.

    Source: Baveja et al., arXiv 2509.19698, Alg. 1.

    Args:
        model: a module, or `Stacked` networks.
        optimizer: on its parameters, or a list of several, each of some of them: what `effective_step_size` takes,
            but one must have a second moment (SGD and Muon have none).
        penalty: from parameters by name to what is added to the loss; `(S,)` for stacked networks.
        steps_per_task: steps between calls of `begin_task`; without it there is no warm-up window.
        adjust: False only measures.
        seeds: of power iteration's random vectors, one per network; by default 0, 1, ...
        layers: which parameters are a layer, see `clbench.indicators.layer_parameters`; what is in none keeps its step
            size, unless the whole network has one controller.
        **constants: those of `clbench.scheduling.Constants`.

    Attributes:
        decisions: `History` of all decisions.
        network: the model as it is measured.

    Raises:
        OptionError: a constant is out of range, or model and optimizer do not go together.
        UndefinedError: the model has no per-sample gradients, which the bound needs.
    """

    bound = "combined"
    per_layer = True

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        *,
        penalty: Penalty | None = None,
        steps_per_task: int | None = None,
        adjust: bool = True,
        seeds: Sequence[int] | None = None,
        layers: LayerChoice = None,
        **constants: Any,
    ) -> None:
        self.constants = _constants(constants)
        for name in ("warmup", "warmup_fraction", "warm"):
            if name in constants and steps_per_task is None and self.constants.warmup != "off":
                raise OptionError(f"{name} needs steps_per_task: without it there is no warm-up window")
        self.model, self.optimizer, self.steps_per_task, self.adjust = (
            model,
            optimizer,
            steps_per_task,
            adjust,
        )
        if steps_per_task is not None and steps_per_task < 1:
            raise OptionError(f"steps_per_task={steps_per_task} must be at least 1")
        self.network = network = Network(model, layers)
        known = parameter_states(network, optimizer)  # complains if they do not go together
        if not any(one.adaptive for one in known.values()):
            kinds = ", ".join(type(one).__name__ for one in list_optimizers(optimizer))
            raise OptionError(
                f"{kinds} has no second moment to schedule by: use one that has, such as Adam or AdamW"
            )
        if adjust:
            check_adjustable(network, optimizer)
        self._blocks = network.blocks
        self._closed: Sequence[str] | None = None
        self._noisy = _has_sample_gradients(network, required=adjust and self.bound != "volatility")
        self.layers = list(network.layers) if self.per_layer else [WHOLE]
        self._penalty = with_weight_decay(network, optimizer, penalty)
        self._power = PowerIteration(network, self.layers, seeds)
        self._tracker = VolatilityTracker(
            self.constants.volatility, self.constants.window, self.constants.decay
        )
        self.decisions = History(self.layers, -(-(steps_per_task or 0) // self.constants.every))
        self.steps = self.task = self.step_in_task = 0
        if adjust and self.per_layer:
            for one in list_optimizers(optimizer):
                if hasattr(one, "param_groups"):
                    _group_by_layer(network, one)

    def begin_task(self, task: int | None = None) -> None:
        """Say that a new task begins; before the first there is no need to.

        With `steps_per_task` a task also begins by itself when the last one has had its steps.

        Args:
            task: its index, for those who call it as agents are called; tasks are counted here.
        """
        if self.steps:
            self.task += 1
        self.step_in_task = 0

    @property
    def warming(self) -> bool:
        """Whether the warm-up window is open."""
        return self._warms(self.step_in_task)

    def _warms(self, step: int) -> bool:
        warmup = self.constants.warmup
        if warmup == "off" or self.steps_per_task is None or (warmup == "first-task" and self.task > 0):
            return False
        return step <= self.constants.warmup_fraction * self.steps_per_task

    def kind_of_step(self) -> Hashable:
        """Tell what the task's next step will be: None for one that only counts, else how it decides.

        Steps of a kind do the same operations on the same memory, from a kind's second step in a task on.
        """
        if (self.steps + 1) % self.constants.every:
            return None
        return (
            self._warms(self.step_in_task + 1),
            self.decisions.room,
            len(self.decisions) == self.decisions.room,
        )

    def replayed(self) -> None:
        """Count a step whose operations were replayed."""
        self._count()
        if self.steps % self.constants.every == 0:
            self.decisions.places.append(self._place)

    @property
    def _place(self) -> tuple[int, int, int]:
        return self.steps, self.task, self.step_in_task

    def _count(self) -> None:
        if self.step_in_task == self.steps_per_task:
            self.begin_task()
        self.steps += 1
        self.step_in_task += 1

    def step(self, loss_fn: LossFunction, inputs: torch.Tensor, targets: torch.Tensor) -> bool:
        """Count a step; on every K-th measure and adjust. Return whether it did.

        Args:
            loss_fn: from outputs and targets to the batch's mean loss, without penalty.
            inputs: the batch, `(B, ...)`, or `(S, B, ...)` for stacked networks.
            targets: ditto.
        """
        self._count()
        if self.steps % self.constants.every:
            return False
        with untouched("the scheduler", self.model):
            measured = self._measure(loss_fn, inputs, targets)
        if measured is None:
            return False
        bound = measured[f"{self.bound}_bound"]
        factor = factors(
            self.constants, measured["effective_step_size"], bound, measured["gradient_squares"], self.warming
        )
        if not self.adjust:
            factor = torch.ones_like(factor)
        self.decisions.append(self._place, {**measured, "factor": factor})
        if self.adjust:
            self._apply(factor)
        return True

    def _measure(
        self, loss_fn: LossFunction, inputs: torch.Tensor, targets: torch.Tensor
    ) -> dict[str, torch.Tensor] | None:
        """Return the columns of a decision, `(L, S)` each; None while no second moment has had an update."""
        network = self.network = self.network.current()
        known = parameter_states(network, self.optimizer)
        if not any(one.adaptive and one.updated is not False for one in known.values()):
            return None
        if network.blocks != self._blocks:
            raise OptionError("other parameters are trained than at the start: make a new scheduler")
        point = Derivatives(
            network, loss_fn, inputs, targets, self._penalty, hessian=True, closed=self._closed
        )
        sharpness = self._rows(self._power.update(point))
        normalized = self._rows(aggregated_from_states(network, known)) * sharpness
        volatility = self._tracker.update(normalized)
        squares = self._rows(point.gradient_squares())
        noise = self._rows(point.noise()) if self._noisy else torch.full_like(squares, torch.nan)
        self._closed = point.closed
        bounds = critical_step_sizes(
            squares,
            noise,
            volatility,
            point.batch_size,
            beta=self.constants.beta,
            unbiased=self.constants.unbiased,
        )
        if self.constants.cap_delta:
            assert self._tracker.mean is not None
            assert self._tracker.variance is not None
            cap = cantelli_cap(
                self._tracker.mean.abs(), self._tracker.variance.sqrt(), self.constants.cap_delta
            )
            bounds = CriticalStepSizes(*(torch.minimum(bound, cap) for bound in bounds))
        # What takes no step has no bound on it, though volatility may remember how it was before.
        bounds = CriticalStepSizes(*(torch.where(squares == 0, torch.nan, bound) for bound in bounds))
        return {
            "step_size": self._step_sizes(known, squares),
            "effective_step_size": self._rows(effective_from_states(network, known)),
            "noise_bound": bounds.noise,
            "volatility_bound": bounds.volatility,
            "combined_bound": bounds.combined,
            "sharpness": sharpness,
            "normalized_sharpness": normalized,
            "volatility": volatility,
            "gradient_noise": noise,
            "gradient_squares": squares,
        }

    def _rows(self, values: Measures) -> torch.Tensor:
        rows = torch.stack([values[layer] for layer in self.layers])
        return rows if rows.ndim == 2 else rows.unsqueeze(1)

    def _step_sizes(self, known: Mapping[str, ParameterState], like: torch.Tensor) -> torch.Tensor:
        """Return eta as it is, `(L, S)`; for the whole network that of its first layer."""
        firsts = [names[0] for names in self._blocks.values()][: len(self.layers)]
        rows = [
            torch.as_tensor(known[name].step_size, dtype=like.dtype, device=like.device) for name in firsts
        ]
        return torch.stack([row.reshape(-1).expand(self.network.count) for row in rows])

    def _apply(self, factor: torch.Tensor) -> None:
        places = {name: place for place, layer in enumerate(self.layers) for name in self._blocks[layer]}
        multiply_step_sizes(self.network, self.optimizer, places, self.layers, factor)

    @property
    def history(self) -> "pd.DataFrame":
        """A row per decision and layer (and network) with step, step sizes, bounds and measurements.

        A bound is `inf` where nothing bounds. Where a layer is dead (its `gradient_squares` are 0), all three are NaN.
        """
        return self.decisions.frame(single=not isinstance(self.model, Stacked))

    def state_dict(self) -> dict[str, Any]:
        """Return copies of counters, trackers, vectors and history; step sizes are in the optimizer's."""
        return {
            "kind": type(self).__name__,
            "layers": list(self.layers),
            "constants": asdict(self.constants),
            "steps": self.steps,
            "task": self.task,
            "step_in_task": self.step_in_task,
            "power": self._power.state_dict(),
            "tracker": self._tracker.state_dict(),
            "decisions": self.decisions.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Raises:
            OptionError: it is from another kind of scheduler, or one with other layers or constants.
        """
        own: dict[str, Any] = {
            "kind": type(self).__name__,
            "layers": list(self.layers),
            "constants": asdict(self.constants),
        }
        for name, value in own.items():
            if name not in state:
                raise OptionError(f"this is no scheduler's state: it has no '{name}'")
            if state[name] != value:
                theirs: Any = state[name]
                if name == "constants":
                    theirs = {key: one for key, one in theirs.items() if value.get(key) != one}
                raise OptionError(f"the state's scheduler has other {name}: {theirs}. Make this one alike")
        self.steps, self.task, self.step_in_task = state["steps"], state["task"], state["step_in_task"]
        self._power.load_state_dict(state["power"])
        self._tracker.load_state_dict(state["tracker"])
        self.decisions.load_state_dict(state["decisions"])


class FullNetworkScheduler(PerLayerScheduler):
    """One controller for the whole network: one decision, the same factor for all layers (paper, A.3)."""

    per_layer = False


class NoiseOnlyScheduler(PerLayerScheduler):
    """The bound is `alpha_g` alone (paper, A.2)."""

    bound = "noise"


class VolatilityOnlyScheduler(PerLayerScheduler):
    """The bound is `alpha_vol` alone (paper, A.2); works with batch normalisation in training mode."""

    bound = "volatility"


SCHEDULERS: Mapping[str, type[PerLayerScheduler]] = MappingProxyType(
    {
        "per-layer": PerLayerScheduler,
        "full-network": FullNetworkScheduler,
        "noise-only": NoiseOnlyScheduler,
        "volatility-only": VolatilityOnlyScheduler,
    }
)


def _constants(given: Mapping[str, Any]) -> Constants:
    names = [item.name for item in fields(Constants)]
    for name in given:
        if name not in names:
            raise UnknownNameError(f"a scheduler has no constant '{name}'.{did_you_mean(name, names)}")
    return Constants(**given)


def _has_sample_gradients(network: Network, required: bool) -> bool:
    try:
        check_batch_normalisation(network.module)
    except UndefinedError:
        if required:
            raise
        return False
    return True


def _group_by_layer(network: Network, optimizer: Any) -> None:
    """Split the optimizer's parameter groups so that none holds parameters of two layers; state stays."""
    owner = {id(network.trained[name]): layer for layer, names in network.layers.items() for name in names}
    groups = []
    for group in optimizer.param_groups:
        parts: dict[str | None, list[int]] = {}
        for index, value in enumerate(group["params"]):
            parts.setdefault(owner.get(id(value)), []).append(index)
        for indices in parts.values():
            part = {**group, "params": [group["params"][index] for index in indices]}
            if "param_names" in group:
                part["param_names"] = [group["param_names"][index] for index in indices]
            if isinstance(group["lr"], torch.Tensor):  # several groups may share it
                part["lr"] = group["lr"].clone()
            groups.append(part)
    optimizer.param_groups[:] = groups
