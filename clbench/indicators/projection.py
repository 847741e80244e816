"""Gradient noise within the Hessian's top directions, and the bound that follows."""

from collections.abc import Sequence

import torch

from clbench.errors import OptionError
from clbench.indicators.bounds import quotient
from clbench.indicators.curvature import seeded_generators
from clbench.indicators.derivatives import Derivatives, dot
from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import LossFunction, Measures, Network, Penalty, total
from clbench.indicators.stacked import Model, Tensors


def rank_projected_step_size(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    rank: int = 10,
    penalty: Penalty | None = None,
    iterations: int = 30,
    seeds: Sequence[int] | None = None,
    layers: LayerChoice = None,
) -> Measures:
    """Return `alpha_g,(r) = B ||P_r g_hat||^2 / sigma^2_(r)`, `P_r` on the top r eigenvectors of the Hessian.

    Eigenvectors come from orthogonal iteration, `rank` products at a time; `sigma^2_(r)` is the noise of the
    projected per-sample gradients. NaN and infinity as in `critical_step_sizes`.

    Source: Baveja et al., arXiv 2509.19698, B.1.

    Args:
        rank: r; at most as many directions as a block has weights.
        iterations: of `rank` products each.

    Returns:
        step sizes, per layer and for the whole network: scalars, or `(S,)`.

    Raises:
        OptionError: `rank` or `iterations` is below 1.
    """
    if rank < 1 or iterations < 1:
        raise OptionError(f"rank={rank} and iterations={iterations} must be at least 1")
    network = Network.of(model, layers)
    derivatives = Derivatives(network, loss_fn, inputs, targets, penalty, hessian=True)
    bounds = {}
    for block, names in network.blocks.items():
        squares = noise = torch.zeros((), device=network.device)
        for vector in _top_directions(derivatives, names, rank, iterations, seeds):
            along = total(
                [network.axis.each(dot, derivatives.gradients[name], vector[name]) for name in names]
            )
            squares = squares + along.square()
            noise = noise + derivatives.slopes(vector).var(dim=-1, correction=0)
        bounds[block] = quotient(derivatives.batch_size * squares, noise)
    return bounds


def _top_directions(
    derivatives: Derivatives, names: Sequence[str], rank: int, iterations: int, seeds: Sequence[int] | None
) -> list[Tensors]:
    """Return orthonormal directions that span the top eigenvectors of a block of parameters."""
    network = derivatives.network
    axis, size = network.axis, sum(network.sizes[name] for name in names)
    like = network.trained[names[0]].detach()
    draws = [
        torch.randn(size, min(rank, size), generator=generator, device="cpu", dtype=torch.float32)
        for generator in seeded_generators(network, seeds)
    ]
    basis = torch.linalg.qr((torch.stack(draws) if network.stacked else draws[0]).to(like)).Q

    def shaped() -> list[Tensors]:
        """Cut the basis's columns, `(n,)` or `(S, n)` each, into tensors shaped like the parameters."""
        sizes = [network.sizes[name] for name in names]
        return [
            {
                name: piece.reshape(network.trained[name].shape)
                for name, piece in zip(names, column.split(sizes, dim=-1), strict=True)
            }
            for column in basis.unbind(dim=-1)
        ]

    for _ in range(iterations):
        products = [
            derivatives.join(derivatives.products({"": names}, {"": vector}))[""] for vector in shaped()
        ]
        columns = [torch.cat([axis.flat(product[name]) for name in names], dim=-1) for product in products]
        basis = torch.linalg.qr(torch.stack(columns, dim=-1)).Q
    return shaped()
