"""Curvature: the Hessian's top eigenvalue by power iteration."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from clbench.errors import OptionError
from clbench.indicators.derivatives import Derivatives, dot
from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import LossFunction, Measures, Network, Penalty, total
from clbench.indicators.optimizers import Optimizer
from clbench.indicators.stacked import Model, Tensors, cloned, stack
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

    Power iteration on Hessian-vector products from a random vector; the value is the Rayleigh quotient. It finds the
    eigenvalue of largest magnitude, which may be negative, of each layer's diagonal block and of the whole network's
    Hessian. 0 where the Hessian vanishes.

    Source: Baveja et al., arXiv 2509.19698 (100 iterations).

    Args:
        iterations: products at most.
        tolerance: stop when no value moves by more than this share of it; 0 never stops early.

    Returns:
        `loss / weight^2`: scalars, or `(S,)`.

    Raises:
        OptionError: `iterations` is below 1.
    """
    if iterations < 1:
        raise OptionError(f"iterations={iterations} must be at least 1")
    network = Network.of(model, layers)
    power = PowerIteration(network, list(network.blocks), seeds)
    derivatives = Derivatives(network, loss_fn, inputs, targets, penalty, hessian=True)
    return power.converge(derivatives, iterations, tolerance)


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
    """Return `alpha_agg * lambda`: sharpness relative to the optimizer's steps; for SGD sharpness itself.

    Source: Baveja et al., arXiv 2509.19698; compare the preconditioned sharpness of Cohen et al.,
    "Adaptive Gradient Methods at the Edge of Stability", 2022, which weighs each direction by itself.

    Arguments and results are those of `sharpness` and `aggregated_step_size`; the unit is 1.
    """
    steps = aggregated_step_size(model, optimizer, layers)
    tops = sharpness(model, loss_fn, inputs, targets, penalty, iterations, tolerance, seeds, layers)
    return {block: steps[block] * value for block, value in tops.items()}


class PowerIteration:
    """Power iteration that continues from its last vectors, for diagonal blocks of the Hessian.

    A block whose product is zero or not finite restarts from its random vector: otherwise it would never change
    again. Random vectors come from separate generators.

    Args:
        model: a module, or `Stacked` ones.
        blocks: layers, or `WHOLE`.
        seeds: of random vectors, one per network; by default 0, 1, ...

    Attributes:
        vectors: by block and parameter, shaped like the network's parameters.

    Raises:
        OptionError: there are not as many seeds as networks.
    """

    def __init__(
        self, model: Model | Network, blocks: Sequence[str], seeds: Sequence[int] | None = None
    ) -> None:
        network = Network.of(model)
        self.names = {block: network.blocks[block] for block in blocks}
        draws = [
            _draw(network.axis.first(network.trained), generator)
            for generator in seeded_generators(network, seeds)
        ]
        vectors = stack(draws) if network.stacked else draws[0]
        self._start = {
            block: network.axis.each(_normalised, {name: vectors[name] for name in names})
            for block, names in self.names.items()
        }
        # They keep their place in memory: an update can be replayed.
        self.vectors = {block: cloned(start) for block, start in self._start.items()}

    def update(self, derivatives: Derivatives) -> Measures:
        """Take one product per block; return Rayleigh quotients at the vectors before it."""
        axis = derivatives.graph_axis
        quotients: list[Measures] = []
        # Reading a number saves a pass over memory, where the host need not wait for it.
        readable = not axis.batched and can_read(derivatives.network.device)
        for index, products in enumerate(derivatives.products(self.names, self.vectors)):
            quotients.append({})
            for block, product in products.items():
                vector, start = (derivatives.select(of[block], index) for of in (self.vectors, self._start))
                quotients[index][block], moved = axis.each(partial(_step, readable), vector, product, start)
                derivatives.store(moved, self.vectors[block], index)
        return derivatives.join(quotients)

    def converge(self, derivatives: Derivatives, iterations: int, tolerance: float) -> Measures:
        """Take products until each quotient moves by no more than `tolerance` of it, at most `iterations`.

        A quotient that has converged is final: products that other blocks or networks still need do not change it.

        Returns:
            Rayleigh quotients by block: scalars, or `(S,)`.
        """
        with derivatives.lent():
            quotients = self.update(derivatives)
            moving = {block: torch.ones_like(value, dtype=torch.bool) for block, value in quotients.items()}
            for _ in range(iterations - 1):
                for block, value in self.update(derivatives).items():
                    steps = (value - quotients[block]).abs() > tolerance * value.abs()
                    quotients[block] = torch.where(moving[block], value, quotients[block])
                    moving[block] = moving[block] & steps
                if tolerance > 0 and not torch.stack(list(moving.values())).any():
                    break
        return quotients

    def state_dict(self) -> dict[str, Tensors]:
        return {block: cloned(vectors) for block, vectors in self.vectors.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        for block, vectors in self.vectors.items():
            for name, vector in vectors.items():
                vector.copy_(state[block][name])


def _step(readable: bool, vector: Tensors, product: Tensors, start: Tensors) -> tuple[torch.Tensor, Tensors]:
    quotient = total([dot(vector[name], value) for name, value in product.items()])
    norm = total([dot(value, value) for value in product.values()]).sqrt()
    usable = torch.isfinite(norm) & (norm > 0)
    if readable:
        return quotient, {name: value / norm for name, value in product.items()} if usable else start
    return quotient, {name: torch.where(usable, value / norm, start[name]) for name, value in product.items()}


def seeded_generators(network: Network, seeds: Sequence[int] | None) -> list[torch.Generator]:
    """Return a random generator per network, on the CPU whatever its device; by default of seeds 0, 1, ..."""
    chosen = range(network.count) if seeds is None else seeds
    if len(chosen) != network.count:
        raise OptionError(f"{len(chosen)} seeds were given for {network.count} networks")
    return [torch.Generator(device="cpu").manual_seed(seed) for seed in chosen]


def _draw(like: Tensors, generator: torch.Generator) -> Tensors:
    return {
        name: torch.randn(value.shape, generator=generator, device="cpu", dtype=torch.float32).to(value)
        for name, value in like.items()
    }


def _normalised(vectors: Tensors) -> Tensors:
    norm = total([value.square().sum() for value in vectors.values()]).sqrt()
    return {name: (value / norm).to(value) for name, value in vectors.items()}
