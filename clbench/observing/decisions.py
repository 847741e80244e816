"""What is recorded of a scheduler's decisions: trajectories, and what share of them was above a bound."""

import math
from collections.abc import Iterator, Sequence

import torch

from clbench.indicators import WHOLE, predicted_loss_of_trainability
from clbench.scheduling.history import History

TRAJECTORIES = (
    "step_size",
    "effective_step_size",
    "noise_bound",
    "volatility_bound",
    "combined_bound",
    "volatility",
)
POINTS_PER_TASK = 20  # of a trajectory; a task of `standard` has 585 decisions


Measurement = tuple[int, str, str, list[float | None]]
"""Step of a task (from 1), layer, indicator, and a value per seed; None is not recorded."""


def finite(values: torch.Tensor) -> list[float | None]:
    """Return values, None where they are not finite."""
    return [value if math.isfinite(value) else None for value in values.reshape(-1).tolist()]


def trajectories(decisions: History, indices: Sequence[int], first_step: int) -> Iterator[Measurement]:
    """Yield trajectories of the decisions at `indices`, thinned; bounds also where `inf` or where a layer is dead."""
    if len(indices) > POINTS_PER_TASK:
        shares = [index / (POINTS_PER_TASK - 1) for index in range(POINTS_PER_TASK)]
        indices = [indices[round(share * (len(indices) - 1))] for share in shares]
    dead = decisions.column("gradient_squares") == 0
    for name in TRAJECTORIES:
        column = decisions.column(name)
        defined = torch.isfinite(column)
        if name.endswith("_bound"):
            defined |= (column == torch.inf) | dead
        values, recorded = column.tolist(), defined.tolist()
        for index in indices:
            step = decisions.positions[index].step - first_step
            for layer, row, mask in zip(decisions.layers, values[index], recorded[index], strict=True):
                numbers = [value if known else None for value, known in zip(row, mask, strict=True)]
                yield step, layer, name, numbers


def shares(decisions: History, indices: Sequence[int], step: int) -> Iterator[Measurement]:
    """Yield the shares of decisions at which layers were dead or above a bound, and the predicted loss."""

    def column(name: str) -> torch.Tensor:
        return decisions.column(name)[list(indices)].cpu()

    dead = (column("gradient_squares") == 0).double().mean(dim=0)
    for layer, share in zip(decisions.layers, dead, strict=True):
        yield step, layer, "dead_decisions", finite(share)
    effective = column("effective_step_size")
    for kind in ("combined", "noise", "volatility"):
        bound = column(f"{kind}_bound")
        known = ~(torch.isnan(bound) | torch.isnan(effective))
        above = (known & (effective > bound)).sum(dim=0).double() / known.sum(dim=0)
        for layer, share in zip(decisions.layers, above, strict=True):
            yield step, layer, f"{kind}_violations", finite(share)
        rho = predicted_loss_of_trainability(effective, bound)
        yield step, WHOLE, "rho" if kind == "combined" else f"rho_{kind}", finite(rho)
