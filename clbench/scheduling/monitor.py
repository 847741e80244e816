"""Measures layers' effective step sizes and their bounds on every K-th step; changes nothing."""

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from clbench.errors import OptionError, UndefinedError
from clbench.indicators.batch_checks import check_batch_normalisation
from clbench.indicators.borrowing import untouched
from clbench.indicators.bounds import CriticalStepSizes, cantelli_cap, critical_step_sizes
from clbench.indicators.curvature import PowerIteration
from clbench.indicators.derivatives import Derivatives
from clbench.indicators.layers import WHOLE, LayerChoice
from clbench.indicators.networks import LossFunction, Measures, Network, Penalty
from clbench.indicators.optimizers import Optimizer, list_optimizers, parameter_states, with_weight_decay
from clbench.indicators.parameter_state import ParameterState
from clbench.indicators.stacked import Model, Stacked
from clbench.indicators.step_size import aggregated_from_states, effective_from_states
from clbench.indicators.volatility import VolatilityTracker
from clbench.scheduling.history import Decision, History, Position
from clbench.scheduling.rule import make_constants

if TYPE_CHECKING:
    import pandas as pd


class StepSizeMonitor:
    """Measures each layer's effective step size and its critical step sizes; changes nothing.

    Every K calls of `step`, for each layer: measure sharpness (one product of a warm-started power iteration), gradient
    noise, gradient and effective step size, and update volatility. A layer without a second moment (Muon's, next to
    Adam) has eta as its effective step size.

    The layers are those at construction: after freezing or unfreezing parameters create a new monitor.

    Source: Baveja et al., arXiv 2509.19698, Alg. 1.

    Args:
        model: a module, or `Stacked` networks.
        optimizer: the optimizer of its parameters, or a list of several with some of them each: any that
            `effective_step_size` knows, at least one with a second moment (SGD and Muon have none).
        penalty: from parameters by name to what is added to the loss; `(S,)` for stacked networks.
        steps_per_task: steps between calls of `begin_task`.
        seeds: seeds of the power iteration's random vectors, one per network; by default 0, 1, ...
        layers: which parameters form a layer, see `clbench.indicators.layer_parameters`.
        keep_all: False keeps only the current task's decisions, so that memory does not grow with the tasks.
        **constants: those of `clbench.scheduling.Constants`.

    Attributes:
        decisions: a `History`.
        layers: names, `L`; `WHOLE` alone if `scope` is "network".
        network: the model as it is measured.
        steps, task, step_in_task: steps from the start, the task from 0, and steps within it.

    Raises:
        OptionError: a constant is out of range, or model and optimizer do not belong together.
    """

    scope: ClassVar[Literal["layer", "network"]] = "layer"
    """Whether each layer is measured, or the network as a whole."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        *,
        penalty: Penalty | None = None,
        steps_per_task: int | None = None,
        seeds: Sequence[int] | None = None,
        layers: LayerChoice = None,
        keep_all: bool = True,
        **constants: object,
    ) -> None:
        self.constants = make_constants(**constants)
        if steps_per_task is not None and steps_per_task < 1:
            raise OptionError(f"steps_per_task={steps_per_task} must be at least 1")
        self.model, self.optimizer, self.steps_per_task = model, optimizer, steps_per_task
        self.network = Network(model, layers)
        states = parameter_states(self.network, optimizer)
        if not any(state.adaptive for state in states.values()):
            kinds = ", ".join(type(single).__name__ for single in list_optimizers(optimizer))
            raise OptionError(
                f"{kinds} has no second moment: use an optimizer with one, such as Adam or AdamW"
            )
        self._blocks = self.network.blocks
        self._closed: Sequence[str] | None = None
        self._has_sample_gradients = False
        with contextlib.suppress(UndefinedError):
            check_batch_normalisation(self.network.module)
            self._has_sample_gradients = True
        self.layers = list(self.network.layers) if self.scope == "layer" else [WHOLE]
        self._penalty = with_weight_decay(self.network, optimizer, penalty)
        self._power = PowerIteration(self.network, self.layers, seeds)
        self._tracker = VolatilityTracker(
            self.constants.volatility, self.constants.window, self.constants.decay
        )
        self.decisions = History(self.layers, -(-(steps_per_task or 0) // self.constants.every))
        self._keep_all = keep_all
        self.steps = self.task = self.step_in_task = 0

    def begin_task(self, task: int | None = None) -> None:
        """Begin a task; before the first task the call may be left out.

        With `steps_per_task` a task also begins by itself once the last one has had its steps.

        Args:
            task: its index, by default the next one.
        """
        self.task = task if task is not None else self.task + 1 if self.steps else 0
        self.step_in_task = 0
        if not self._keep_all:
            self.decisions.clear()

    def step(self, loss_fn: LossFunction, inputs: torch.Tensor, targets: torch.Tensor) -> bool:
        """Count a step; on every K-th measure.

        Args:
            loss_fn: from outputs and targets to the batch's mean loss, without penalty.
            inputs: the batch, `(B, ...)`, or `(S, B, ...)` for stacked networks.
            targets: its targets, `(B, ...)` or `(S, B, ...)`.

        Returns:
            whether it was measured.
        """
        if not self._count():
            return False
        decision = self.measure(loss_fn, inputs, targets)
        if decision is not None:
            self.decisions.append(self._position, self._act_on(decision))
        return decision is not None

    def _act_on(self, decision: Decision) -> Decision:
        return decision  # schedulers adjust step sizes

    def _count(self) -> bool:
        """Return whether a decision is due at this step, which is counted."""
        if self.step_in_task == self.steps_per_task:
            self.begin_task()
        self.steps += 1
        self.step_in_task += 1
        return self.steps % self.constants.every == 0

    @property
    def _position(self) -> Position:
        return Position(self.steps, self.task, self.step_in_task)

    def kind_of_step(self) -> Hashable:
        """Return what distinguishes the next step's operations; None if the step will only be counted.

        Steps of one kind do the same operations on the same memory, from a kind's second step in a task on.
        """
        if (self.steps + 1) % self.constants.every:
            return None
        return self.decisions.capacity, len(self.decisions) == self.decisions.capacity

    def replayed(self) -> None:
        """Count a step whose operations were replayed."""
        if self._count():
            self.decisions.append_replayed(self._position)

    def measure(self, loss_fn: LossFunction, inputs: torch.Tensor, targets: torch.Tensor) -> Decision | None:
        """Measure on a batch, without counting a step. Args are those of `step`.

        Returns:
            what was measured, with a factor of 1; None while no second moment has had an update.
        """
        with untouched("the scheduler", self.model):
            return self._measure(loss_fn, inputs, targets)

    def _measure(self, loss_fn: LossFunction, inputs: torch.Tensor, targets: torch.Tensor) -> Decision | None:
        network = self.network = self.network.current()
        states = parameter_states(network, self.optimizer)
        if not any(state.adaptive and state.updated is not False for state in states.values()):
            return None
        if network.blocks != self._blocks:
            raise OptionError("the set of trained parameters has changed: create a new scheduler")
        point = Derivatives(
            network, loss_fn, inputs, targets, self._penalty, hessian=True, closed=self._closed
        )
        sharpness = self._rows(self._power.update(point))
        normalized = self._rows(aggregated_from_states(network, states)) * sharpness
        volatility = self._tracker.update(normalized)
        squares = self._rows(point.gradient_squares())
        noise = torch.full_like(squares, torch.nan)
        if self._has_sample_gradients:
            noise = self._rows(point.noise())
        self._closed = point.closed
        bounds = self._bounds(squares, noise, volatility, point.batch_size)
        return Decision(
            step_size=self._current_step_sizes(states, squares),
            effective_step_size=self._rows(effective_from_states(network, states)),
            noise_bound=bounds.noise,
            volatility_bound=bounds.volatility,
            combined_bound=bounds.combined,
            sharpness=sharpness,
            normalized_sharpness=normalized,
            volatility=volatility,
            gradient_noise=noise,
            gradient_squares=squares,
            factor=torch.ones_like(squares),
        )

    def _bounds(
        self, squares: torch.Tensor, noise: torch.Tensor, volatility: torch.Tensor, batch_size: int
    ) -> CriticalStepSizes:
        constants, mean, variance = self.constants, self._tracker.mean, self._tracker.variance
        bounds = critical_step_sizes(
            squares, noise, volatility, batch_size, beta=constants.beta, unbiased=constants.unbiased
        )
        if constants.cap_delta and mean is not None and variance is not None:
            cap = cantelli_cap(mean.abs(), variance.sqrt(), constants.cap_delta)
            bounds = CriticalStepSizes(*(torch.minimum(bound, cap) for bound in bounds))
        # A dead layer takes no step that could be bounded, though volatility may remember earlier ones.
        return CriticalStepSizes(*(torch.where(squares == 0, torch.nan, bound) for bound in bounds))

    def _rows(self, values: Measures) -> torch.Tensor:
        """Return values by layer as `(L, S)`."""
        rows = torch.stack([values[layer] for layer in self.layers])
        return rows if rows.ndim == 2 else rows.unsqueeze(1)

    def _current_step_sizes(self, states: Mapping[str, ParameterState], like: torch.Tensor) -> torch.Tensor:
        """Return eta as the optimizer has it, `(L, S)`; for the network as a whole its first layer's."""
        layers = list(self.network.layers.values())
        rows = [
            torch.as_tensor(states[names[0]].step_size, dtype=like.dtype, device=like.device)
            for names in (layers if self.scope == "layer" else layers[:1])
        ]
        return torch.stack([row.reshape(-1).expand(self.network.count) for row in rows])

    @property
    def history(self) -> "pd.DataFrame":
        """A row per decision and layer (and network) with step, step sizes, bounds and measurements.

        A bound is `inf` where nothing bounds. Where a layer is dead (its `gradient_squares` are 0), all three are NaN.
        """
        return self.decisions.frame(single=not isinstance(self.model, Stacked))

    def _identity(self) -> dict[str, object]:
        return {"kind": type(self).__name__, "layers": self.layers, "constants": asdict(self.constants)}

    def state_dict(self) -> dict[str, Any]:
        """Return copies of counters, trackers, vectors and history; step sizes are part of the optimizer's state."""
        return {
            **self._identity(),
            "steps": self.steps,
            "task": self.task,
            "step_in_task": self.step_in_task,
            "power": self._power.state_dict(),
            "tracker": self._tracker.state_dict(),
            "decisions": self.decisions.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict`.

        Raises:
            OptionError: it is from another kind of scheduler, or one with other layers or constants.
        """
        for name, value in self._identity().items():
            if name not in state:
                raise OptionError(f"not a scheduler's state: it has no '{name}'")
            saved = state[name]
            if saved != value:
                if isinstance(value, dict):
                    saved = {key: other for key, other in saved.items() if value.get(key) != other}
                raise OptionError(
                    f"the saved scheduler has other {name}: {saved}. Create this one with the same values"
                )
        self.steps, self.task, self.step_in_task = state["steps"], state["task"], state["step_in_task"]
        self._power.load_state_dict(state["power"])
        self._tracker.load_state_dict(state["tracker"])
        self.decisions.load_state_dict(state["decisions"])
