"""Curvature: the Hessian's top eigenvalue by power iteration."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import (
    WHOLE,
    LossFunction,
    Measures,
    Model,
    Penalty,
    Stacked,
    Tensors,
    batched,
    layers,
    total,
    trainable,
)
from clbench.indicators.optimizers import Optimizer
from clbench.indicators.passes import Pass
from clbench.indicators.step_size import aggregated_step_size
from clbench.machine import seen

ITERATIONS = 100
TOLERANCE = 1e-6


def sharpness(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty | None = None,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    seeds: Sequence[int] | None = None,
) -> Measures:
    """Return the top eigenvalue of the Hessian of the batch loss, penalty included.

    Power iteration on Hessian-vector products from a random vector; the value is the Rayleigh quotient.
    It finds the eigenvalue of largest magnitude, which may be negative. Of each layer's diagonal block, and of
    the whole network. 0 where the Hessian vanishes.

    Source: Baveja et al., arXiv 2509.19698 (100 iterations).

    Args:
        model: a module, or `Stacked` ones.
        loss_fn: from outputs and targets to the batch's mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        penalty: from parameters by name to what is added to the loss; `(S,)` for stacked networks.
        iterations: products at most.
        tolerance: stop when no value moves by more than this share of it; 0 never stops early.
        seeds: of the random vectors, one per network; by default 0, 1, ...

    Returns:
        `loss / weight^2`: scalars, or `(S,)`.
    """
    if iterations < 1:
        raise OptionError(f"iterations={iterations} must be at least 1")
    blocks = [*layers(model), WHOLE]
    power = PowerIteration(model, blocks, seeds)
    point = Pass(model, loss_fn, inputs, targets, penalty, hessian=True)
    return power.converge(point, iterations, tolerance)


def normalized_sharpness(
    model: Model,
    optimizer: Optimizer,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    penalty: Penalty | None = None,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    seeds: Sequence[int] | None = None,
) -> Measures:
    """Return `alpha_agg * lambda`: sharpness as the optimizer feels it; for SGD sharpness itself.

    Source: Baveja et al., arXiv 2509.19698; compare the preconditioned sharpness of Cohen et al.,
    "Adaptive Gradient Methods at the Edge of Stability", 2022, which weighs each direction by itself.

    Args and returns are those of `sharpness` and `aggregated_step_size`; the unit is 1.
    """
    steps = aggregated_step_size(model, optimizer)
    found = sharpness(model, loss_fn, inputs, targets, penalty, iterations, tolerance, seeds)
    return {block: steps[block] * value for block, value in found.items()}


class PowerIteration:
    """Power iteration that goes on from its last vectors, for blocks of the Hessian.

    A block whose product is zero or not finite starts afresh from its random vector, else it would
    stay where it is for ever. Random vectors come from generators of their own.

    Args:
        model: a module, or `Stacked` ones; gives shapes.
        blocks: layers, or `WHOLE`.
        seeds: of the random vectors, one per network; by default 0, 1, ...
    """

    def __init__(self, model: Model, blocks: Sequence[str], seeds: Sequence[int] | None = None) -> None:
        self.names = {
            block: list(trainable(model)) if block == WHOLE else layers(model)[block] for block in blocks
        }
        count = model.count if isinstance(model, Stacked) else 1
        values = trainable(model)
        shapes = {
            name: value.shape[1:] if isinstance(model, Stacked) else value.shape
            for name, value in values.items()
        }
        device, dtype = next(iter(values.values())).device, next(iter(values.values())).dtype
        draws = []
        for seed in range(count) if seeds is None else seeds:
            generator = torch.Generator().manual_seed(seed)
            draws.append(
                {
                    name: torch.randn(shape, generator=generator).to(device, dtype)
                    for name, shape in shapes.items()
                }
            )
        if len(draws) != count:
            raise OptionError(f"{len(draws)} seeds were given for {count} networks")
        many = batched(model)
        if many:
            draws = [{name: torch.stack([own[name] for own in draws]) for name in shapes}]
        self._start = {
            block: [_unit({name: own[name] for name in names}, many) for own in draws]
            for block, names in self.names.items()
        }
        # They stay where they are in memory: an update can be replayed.
        self.vectors = {
            block: [{name: value.clone() for name, value in own.items()} for own in parts]
            for block, parts in self._start.items()
        }

    def update(self, point: Pass) -> Measures:
        """Take one product per block; return Rayleigh quotients at the vectors so far."""
        found = {}
        for block, names in self.names.items():
            products = point.products(names, self.vectors[block])
            quotients = []
            for place, (part, product) in enumerate(zip(point.parts, products, strict=True)):
                vector, start = self.vectors[block][place], self._start[block][place]
                pieces = [part.dot(vector[name], product[name]) for name in names]
                quotients.append(total(pieces))
                norm = total([part.square(value) for value in product.values()]).sqrt()
                usable = torch.isfinite(norm) & (norm > 0)
                if part.many or not seen(norm.device.type):
                    new = {
                        name: torch.where(_over(usable, value), value / _over(norm, value), start[name])
                        for name, value in product.items()
                    }
                else:  # looking saves a pass over memory
                    new = {name: value / norm for name, value in product.items()} if usable else start
                torch._foreach_copy_(list(self.vectors[block][place].values()), list(new.values()))
            found[block] = point.collect(quotients)
        return found

    def converge(self, point: Pass, iterations: int, tolerance: float) -> Measures:
        """Take products until each quotient moves by no more than `tolerance` of it, at most `iterations`.

        Each number stands once it does: what other blocks or networks still need does not touch it.
        """
        found = self.update(point)
        moving = {block: torch.ones_like(value, dtype=torch.bool) for block, value in found.items()}
        for _ in range(iterations - 1):
            for block, value in self.update(point).items():
                steps = (value - found[block]).abs() > tolerance * value.abs()
                found[block] = torch.where(moving[block], value, found[block])
                moving[block] = moving[block] & steps
            if tolerance > 0 and not torch.stack(list(moving.values())).any():
                break
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the vectors."""
        return {
            block: [{name: value.clone() for name, value in own.items()} for own in parts]
            for block, parts in self.vectors.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        for block, parts in self.vectors.items():
            for place, own in enumerate(parts):
                parts[place] = {
                    name: state[block][place][name].to(value).clone() for name, value in own.items()
                }


def _unit(vector: Tensors, many: bool) -> Tensors:
    """Return a vector over its norm, or S vectors over theirs."""
    squares = [
        value.square().flatten(1).sum(dim=1) if many else value.square().sum() for value in vector.values()
    ]
    norm = total(squares).sqrt()
    return {name: value / _over(norm, value) for name, value in vector.items()}


def _over(number: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Shape a scalar or `(S,)` so that it spreads over `value`."""
    return number.reshape(number.shape + (1,) * (value.ndim - number.ndim))
