"""The indicators that can be measured during a run, by name, and the snapshot they are computed from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch

from clbench.indicators import (
    aggregated_step_size,
    dormant_units,
    effective_step_size,
    feature_rank,
    hessian_rank,
    unit_sign_entropy,
    weight_norm,
)
from clbench.indicators.curvature import ITERATIONS, TOLERANCE, PowerIteration
from clbench.indicators.derivatives import Derivatives
from clbench.indicators.gradients import norm_ratios, norms
from clbench.indicators.networks import LossFunction, Measures, Network, Penalty
from clbench.indicators.optimizers import Optimizer, with_weight_decay
from clbench.indicators.stacked import Model
from clbench.loading import load_indicator

# Version of the indicators' definitions. Since 2 a bound is NaN where a layer is dead and `inf` where nothing bounds,
# and neither counts as violated.
DEFINITIONS = 2


@dataclass(frozen=True)
class Snapshot:
    """A network (or S stacked ones), its optimizer and a batch; what several indicators need is computed once."""

    network: Network
    optimizer: Optimizer
    loss_fn: LossFunction
    penalty: Penalty | None
    inputs: torch.Tensor  # (B, ...), or (S, B, ...) for stacked networks
    targets: torch.Tensor
    seeds: Sequence[int]  # of random vectors, one per network
    hessian: bool  # whether curvature will be asked for

    @property
    def model(self) -> Model:
        return self.network.model

    @cached_property
    def point(self) -> Derivatives:
        penalty = with_weight_decay(self.network, self.optimizer, self.penalty)
        return Derivatives(
            self.network, self.loss_fn, self.inputs, self.targets, penalty, hessian=self.hessian
        )

    @cached_property
    def sharpness(self) -> Measures:
        power = PowerIteration(self.network, list(self.network.blocks), self.seeds)
        return power.converge(self.point, ITERATIONS, TOLERANCE)

    @cached_property
    def normalized_sharpness(self) -> Measures:
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
BOUNDS = "critical_step_sizes"
ALL = (*INDICATORS, BOUNDS)
DEFAULT = tuple(name for name in INDICATORS if name not in CURVATURE)  # all that takes next to no time


def find_indicator(name: str) -> Callable[[Snapshot], Measures]:
    """Return the function of an indicator: a name in `INDICATORS`, or a user's "module:function" of a `Snapshot`."""
    return INDICATORS[name] if name in INDICATORS else load_indicator(name)
