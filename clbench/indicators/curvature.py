"""Curvature: the Hessian's top eigenvalue by power iteration."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from clbench.errors import OptionError
from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import (
    LossFunction,
    Measures,
    Model,
    Network,
    Penalty,
    Tensors,
    row,
    total,
)
from clbench.indicators.optimizers import Optimizer
from clbench.indicators.passes import Pass
from clbench.indicators.step_size import aggregated_step_size
from clbench.machine import can_read

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
    layers: LayerChoice = None,
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
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        `loss / weight^2`: scalars, or `(S,)`.
    """
    if iterations < 1:
        raise OptionError(f"iterations={iterations} must be at least 1")
    network = Network.of(model, layers)
    power = PowerIteration(network, list(network.blocks), seeds)
    point = Pass(network, loss_fn, inputs, targets, penalty, hessian=True)
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
    layers: LayerChoice = None,
) -> Measures:
    """Return `alpha_agg * lambda`: sharpness as the optimizer feels it; for SGD sharpness itself.

    Source: Baveja et al., arXiv 2509.19698; compare the preconditioned sharpness of Cohen et al.,
    "Adaptive Gradient Methods at the Edge of Stability", 2022, which weighs each direction by itself.

    Args and returns are those of `sharpness` and `aggregated_step_size`; the unit is 1.
    """
    steps = aggregated_step_size(model, optimizer, layers)
    found = sharpness(model, loss_fn, inputs, targets, penalty, iterations, tolerance, seeds, layers)
    return {block: steps[block] * value for block, value in found.items()}


class PowerIteration:
    """Power iteration that goes on from its last vectors, for blocks of the Hessian.

    A block whose product is zero or not finite starts afresh from its random vector, else it would
    stay where it is for ever. Random vectors come from generators of their own.

    Args:
        model: a module, or `Stacked` ones, or as `Network` already; gives shapes.
        blocks: layers, or `WHOLE`.
        seeds: of the random vectors, one per network; by default 0, 1, ...
    """

    def __init__(
        self, model: Model | Network, blocks: Sequence[str], seeds: Sequence[int] | None = None
    ) -> None:
        network = Network.of(model)
        self.names = {block: network.blocks[block] for block in blocks}
        values = {name: value[0] if network.stacked else value for name, value in network.trained.items()}
        draws = []
        for seed in range(network.count) if seeds is None else seeds:
            generator = torch.Generator(device="cpu").manual_seed(seed)
            draws.append(
                {
                    name: torch.randn(value.shape, generator=generator, device="cpu", dtype=torch.float32).to(
                        value.device, value.dtype
                    )
                    for name, value in values.items()
                }
            )
        if len(draws) != network.count:
            raise OptionError(f"{len(draws)} seeds were given for {network.count} networks")
        many = network.batched
        if many:
            draws = [{name: torch.stack([own[name] for own in draws]) for name in draws[0]}]
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
        for vectors in (self._start, self.vectors):
            for block, parts in vectors.items():
                vectors[block] = _laid_out(parts, len(point.parts))
        found = {}
        products = point.products_of(self.names, self.vectors)
        for block, names in self.names.items():
            quotients = []
            for place, (part, product) in enumerate(zip(point.parts, products[block], strict=True)):
                vector, start = self.vectors[block][place], self._start[block][place]
                pieces = [part.dot(vector[name], product[name]) for name in names]
                quotients.append(total(pieces))
                norm = total([part.square(value) for value in product.values()]).sqrt()
                usable = torch.isfinite(norm) & (norm > 0)
                if part.many or not can_read(norm.device):
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
        with contextlib.ExitStack() as stack:
            if len(point.parts) == 1:  # of several, each needs the module in turn
                stack.enter_context(point.parts[0].running())
            return self._converge(point, iterations, tolerance)

    def _converge(self, point: Pass, iterations: int, tolerance: float) -> Measures:
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
            given = _laid_out(state[block], len(parts))
            self.vectors[block] = [
                {name: own[name].to(value).clone() for name, value in parts[place].items()}
                for place, own in enumerate(given)
            ]


def _laid_out(parts: Sequence[Tensors], count: int) -> list[Tensors]:
    """Return vectors of S networks as so many parts as a pass has: S, or all in one."""
    if len(parts) == count:
        return list(parts)
    if count == 1:
        return [{name: torch.stack([own[name] for own in parts]) for name in parts[0]}]
    return [row(parts[0], place) for place in range(count)]


def _unit(vector: Tensors, many: bool) -> Tensors:
    """Return a vector over its norm, or S vectors over theirs."""
    squares = [
        value.square().reshape(len(value), -1).sum(dim=1) if many else value.square().sum()
        for value in vector.values()
    ]
    norm = total(squares).sqrt()
    return {name: (value / _over(norm, value)).to(value) for name, value in vector.items()}


def _over(number: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Shape a scalar or `(S,)` so that it spreads over `value`."""
    return number.reshape(number.shape + (1,) * (value.ndim - number.ndim))
