"""Effective ranks, of the empirical Fisher matrix and of hidden features, and a bound from the top directions only."""

from collections.abc import Sequence

import torch

from clbench.errors import OptionError
from clbench.indicators.bounds import quotient
from clbench.indicators.curvature import seeded_generators
from clbench.indicators.derivatives import Derivatives, dot
from clbench.indicators.layers import WHOLE, LayerChoice
from clbench.indicators.networks import LossFunction, Measures, Network, Penalty, total
from clbench.indicators.stacked import Model, Tensors
from clbench.indicators.units import ModuleUnits, measure_units


def hessian_rank(
    model: Model | Network,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    samples: int = 100,
    share: float = 0.99,
    layers: LayerChoice = None,
) -> Measures:
    """Return the effective rank of the empirical Fisher matrix, as a share of the samples.

    The Gram matrix of the first `m` samples' gradients (true targets, data loss) has the Fisher matrix's
    non-zero spectrum: the least `j` with which the first `j` eigenvalues reach `share` of the trace, over `m`.
    It stands for the Hessian's rank in Lewandowski et al. (2023) and Baveja et al., arXiv 2509.19698. It is
    not the stable rank (sum over largest) that other projects report.

    Args:
        samples: `m`, or all of a smaller batch.
        share: of the trace.

    Returns:
        (0, 1], per layer and for the whole network: scalars, or `(S,)`; `1/m` where all gradients vanish.

    Raises:
        OptionError: `samples` or `share` is out of range.
    """
    if samples < 1 or not 0 < share <= 1:
        raise OptionError(f"samples={samples} must be at least 1, and share={share} above 0 and at most 1")
    network = Network.of(model, layers)
    axis = len(network.axis.shape)
    inputs, targets = (value.narrow(axis, 0, min(samples, value.shape[axis])) for value in (inputs, targets))
    grams = Derivatives(network, loss_fn, inputs, targets).grams()
    return {layer: _rank(gram, share) for layer, gram in grams.items()}


def _rank(gram: torch.Tensor, share: float) -> torch.Tensor:
    spectrum = torch.linalg.eigvalsh(gram.double().cpu()).clamp_min(0).flip(-1)
    reached = spectrum.cumsum(dim=-1) >= share * spectrum.sum(dim=-1, keepdim=True) * (1 - 1e-12)
    least: torch.Tensor = reached.to(torch.int8).argmax(dim=-1) + 1
    return (least.double() / gram.shape[-1]).to(gram)


def feature_rank(model: Model | Network, inputs: torch.Tensor, layers: LayerChoice = None) -> Measures:
    """Return the effective rank of hidden activations on a batch.

    `exp(-sum p ln p)`, `p` the singular values of the `(B, width)` activations divided by their sum (Roy and
    Vetterli, "The effective rank", 2007; Kumar et al., "Implicit Under-Parameterization", 2021, and Lyle et
    al., 2022, use the number of singular values above a threshold instead).

    Returns:
        [1, width], per hidden layer; for the whole network that of the last hidden layer: scalars, or `(S,)`.
        1 where all activations are zero.
    """

    def ranks(units: Sequence[ModuleUnits]) -> Measures:
        last = {module.layer: module.after for module in units if module.layer is not None}
        layers = {layer: _effective_rank(values) for layer, values in last.items()}
        return {**layers, WHOLE: _effective_rank(units[-1].after)}

    return measure_units(model, inputs, ranks, layers)


def _effective_rank(values: torch.Tensor) -> torch.Tensor:
    sizes = torch.linalg.svdvals(values)
    shares = sizes / sizes.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
    entropy: torch.Tensor = torch.special.entr(shares).sum(dim=-1)
    return entropy.exp()


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
        dtype = derivatives.gradients[names[0]].dtype
        squares = noise = torch.zeros((), device=network.device, dtype=dtype)
        for vector in _top_directions(derivatives, names, rank, iterations, seeds):
            gradients = derivatives.gradients
            along = total([network.axis.each(dot, gradients[name], vector[name]) for name in names])
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
        shapes = {name: network.trained[name].shape for name in names}
        columns = [zip(names, column.split(sizes, dim=-1), strict=True) for column in basis.unbind(dim=-1)]
        return [{name: piece.reshape(shapes[name]) for name, piece in column} for column in columns]

    for _ in range(iterations):
        shares = [derivatives.products({"": names}, {"": vector}) for vector in shaped()]
        products = [derivatives.join(share)[""] for share in shares]
        columns = [torch.cat([axis.flat(product[name]) for name in names], dim=-1) for product in products]
        basis = torch.linalg.qr(torch.stack(columns, dim=-1)).Q
    return shaped()
