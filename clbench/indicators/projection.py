"""Gradient noise within the Hessian's top directions, and the bound that follows."""

from collections.abc import Sequence

import torch

from clbench.errors import OptionError
from clbench.indicators.bounds import quotient
from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import (
    LossFunction,
    Measures,
    Model,
    Network,
    Penalty,
    Tensors,
    total,
)
from clbench.indicators.passes import Pass


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
        model: a module, or `Stacked` ones.
        loss_fn: from outputs and targets to the batch's mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        rank: r; at most as many directions as a block has weights.
        penalty: from parameters by name to what is added to the loss; `(S,)` for stacked networks.
        iterations: of `rank` products each.
        seeds: of the first directions, one per network; by default 0, 1, ...
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        step sizes, per layer and for the whole network: scalars, or `(S,)`.

    Raises:
        OptionError: `rank` or `iterations` is below 1.
        UndefinedError: the model has a batch normalisation in training mode.
    """
    if rank < 1 or iterations < 1:
        raise OptionError(f"rank={rank} and iterations={iterations} must be at least 1")
    network = Network.of(model, layers)
    point = Pass(network, loss_fn, inputs, targets, penalty, hessian=True)
    found = {}
    for block, names in network.blocks.items():
        pieces = []
        for part, basis in zip(
            point.parts, _top_directions(point, names, rank, iterations, seeds), strict=True
        ):
            squares = torch.zeros((), device=inputs.device, dtype=part.trained[names[0]].dtype)
            noise = squares
            for vector in basis:
                ours = total([part.dot(part.trained[name], vector[name]) for name in names])
                slopes = part.slopes(loss_fn, vector)
                squares = squares + ours.square()
                noise = noise + slopes.var(dim=-1, correction=0)
            pieces.append(quotient(point.batch_size * squares, noise))
        found[block] = point.collect(pieces)
    return found


def _top_directions(
    point: Pass,
    names: Sequence[str],
    rank: int,
    iterations: int,
    seeds: Sequence[int] | None,
) -> list[list[Tensors]]:
    """Return, part by part, orthonormal directions that span the top eigenvectors of a block of parameters."""
    count = point.network.count
    roots = list(range(count)) if seeds is None else list(seeds)
    if len(roots) != count:
        raise OptionError(f"{len(roots)} seeds were given for {count} networks")
    share = count if point.parts[0].many else 1
    size = sum(point.parts[0].leaves[name].numel() for name in names) // share
    templates = [{name: part.leaves[name] for name in names} for part in point.parts]
    bases = []
    for place, part in enumerate(point.parts):
        own = roots if part.many else roots[place : place + 1]
        draws = [
            torch.randn(
                size,
                min(rank, size),
                generator=torch.Generator(device="cpu").manual_seed(seed),
                device="cpu",
                dtype=torch.float32,
            )
            for seed in own
        ]
        bases.append(torch.linalg.qr(torch.stack(draws).to(templates[place][names[0]].detach())).Q)
    for _ in range(iterations):
        columns = []
        for column in range(bases[0].shape[-1]):
            vectors = [
                _shaped(basis[..., column], template, names, part.many)
                for basis, template, part in zip(bases, templates, point.parts, strict=True)
            ]
            columns.append(point.products(names, vectors))
        bases = [
            torch.linalg.qr(
                torch.stack([_flat(products[place], names, part.many) for products in columns], dim=-1)
            ).Q
            for place, part in enumerate(point.parts)
        ]
    return [
        [_shaped(basis[..., column], template, names, part.many) for column in range(basis.shape[-1])]
        for basis, template, part in zip(bases, templates, point.parts, strict=True)
    ]


def _flat(vector: Tensors, names: Sequence[str], many: bool) -> torch.Tensor:
    return torch.cat([vector[name].reshape(len(vector[name]) if many else 1, -1) for name in names], dim=1)


def _shaped(flat: torch.Tensor, template: Tensors, names: Sequence[str], many: bool) -> Tensors:
    """Cut `(S, N)`, or `(1, N)` for a network alone, into tensors shaped like those of `template`."""
    sizes = [template[name][0].numel() if many else template[name].numel() for name in names]
    return {
        name: piece.reshape(template[name].shape)
        for name, piece in zip(names, flat.split(sizes, dim=1), strict=True)
    }
