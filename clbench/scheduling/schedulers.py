"""Schedulers of step sizes: a monitor's measurements, the rule, and the step sizes that it adjusts."""

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal

import torch

from clbench.errors import OptionError
from clbench.indicators.batch_checks import check_batch_normalisation
from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import LossFunction, Penalty
from clbench.indicators.optimizers import Optimizer
from clbench.indicators.stacked import Model
from clbench.scheduling.history import Decision
from clbench.scheduling.monitor import StepSizeMonitor
from clbench.scheduling.rule import factors
from clbench.scheduling.step_sizes import StepSizes


class PerLayerScheduler(StepSizeMonitor):
    """Keeps each layer's effective step size below its critical step size.

    A `StepSizeMonitor` that also cools, warms or leaves each step size by `clbench.scheduling.factors`.

    Call `step` with the batch before `optimizer.step()`, so that the weights have not been fitted to the batch yet. An
    optimizer with `param_groups` gets a group for each layer: create the scheduler after the optimizer, before other
    schedulers and before loading the optimizer's state.

    Other schedules may multiply step sizes (`torch.optim.lr_scheduler.ExponentialLR`), but those that compute them from
    the initial one (`LambdaLR`, `OneCycleLR`) undo what this one did. Weight decay that is added to the gradient counts
    as part of the loss being trained on.

    Source: Baveja et al., arXiv 2509.19698, Alg. 1.

    Args are those of `StepSizeMonitor`, and `adjust`: False leaves step sizes alone, as a monitor does. Without
    `steps_per_task` there is no warm-up window. A parameter in no layer keeps its step size.

    Raises:
        OptionError: a constant is out of range, or model and optimizer do not belong together.
        UndefinedError: the model has no per-sample gradients, which the bound needs.
    """

    bound: ClassVar[Literal["combined", "noise", "volatility"]] = "combined"
    """Which critical step size is the limit."""

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
        keep_all: bool = True,
        **constants: object,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            penalty=penalty,
            steps_per_task=steps_per_task,
            seeds=seeds,
            layers=layers,
            keep_all=keep_all,
            **constants,
        )
        for name in ("warmup", "warmup_fraction", "warm"):
            if name in constants and steps_per_task is None and self.constants.warmup != "off":
                raise OptionError(f"{name} requires steps_per_task, which defines the warm-up window")
        self._step_sizes: StepSizes | None = None
        if adjust:
            if self.bound != "volatility":
                check_batch_normalisation(self.network.module)
            names = {layer: self._blocks[layer] for layer in self.layers}
            self._step_sizes = StepSizes(self.network, optimizer, names, split_groups=self.scope == "layer")

    @property
    def warming(self) -> bool:
        """Whether the warm-up window is open."""
        return self._is_warming(self.step_in_task)

    def _is_warming(self, step: int) -> bool:
        warmup = self.constants.warmup
        if warmup == "off" or self.steps_per_task is None or (warmup == "first-task" and self.task > 0):
            return False
        return step <= self.constants.warmup_fraction * self.steps_per_task

    def kind_of_step(self) -> Hashable:
        """Return what distinguishes the next step's operations; None if the step will only be counted."""
        kind = super().kind_of_step()
        return None if kind is None else (self._is_warming(self.step_in_task + 1), kind)

    def step(self, loss_fn: LossFunction, inputs: torch.Tensor, targets: torch.Tensor) -> bool:
        """Count a step; on every K-th measure, and adjust the step sizes. Args are those of `StepSizeMonitor.step`.

        Returns:
            whether it was measured.
        """
        if not self._count():
            return False
        decision = self.measure(loss_fn, inputs, targets)
        if decision is None:
            return False
        if self._step_sizes is not None:
            decision = decision._replace(factor=self._factor(decision))
            self._step_sizes.multiply(self.network, decision.factor)
        self.decisions.append(self._position, decision)
        return True

    def _factor(self, decision: Decision) -> torch.Tensor:
        bounds = {
            "combined": decision.combined_bound,
            "noise": decision.noise_bound,
            "volatility": decision.volatility_bound,
        }
        alpha, squares = decision.effective_step_size, decision.gradient_squares
        return factors(self.constants, alpha, bounds[self.bound], squares, self.warming)


class FullNetworkScheduler(PerLayerScheduler):
    """One controller for the whole network: one decision, the same factor for all layers (paper, A.3)."""

    scope = "network"


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
