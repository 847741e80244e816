"""Adam for S stacked networks, with a step size for each layer of each network."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch.optim.adam import adam

from .optimizer import StackedOptimizer
from .tensors import Tensors


class Kernel(NamedTuple):
    """What updates lists of tensors by Adam, and whether it adds 1 to the counts of updates itself."""

    call: Callable[..., object]
    counts: bool


PUBLIC = Kernel(functools.partial(adam, fused=True), counts=True)
CONSTANTS = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}


class StackedAdam(StackedOptimizer):
    """Adam: theta <- theta - eta * m_hat / (sqrt(v_hat) + eps), as `torch.optim.Adam`, with eta by layer and network.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

    Args:
        parameters: as for `StackedOptimizer`.
        step_size: eta, as for `StackedOptimizer`.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        layers: as for `StackedOptimizer`.
    """

    MOMENTS = ("first", "second")

    def __init__(
        self,
        parameters: Tensors,
        step_size: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        layers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(parameters, step_size, layers)
        self.betas, self.eps, self._kernel = betas, eps, choose_kernel()

    def update(self, step_size: torch.Tensor, updates: torch.Tensor, *tensors: list[torch.Tensor]) -> None:
        """Update one layer of one network, by a kernel that passes over memory once."""
        count = len(tensors[0])
        counts = [updates - 1 for _ in range(count)] if self._kernel.counts else [updates] * count
        beta1, beta2 = self.betas
        self._kernel.call(
            *tensors, [], counts, lr=step_size, beta1=beta1, beta2=beta2, eps=self.eps, **CONSTANTS
        )


@functools.cache
def choose_kernel() -> Kernel:
    """Return PyTorch's private kernel, which takes least time, or `PUBLIC` if this PyTorch has no such one."""
    tensors = [[torch.ones(1, device="cpu", dtype=torch.float32)] for _ in range(5)]
    private = getattr(torch, "_fused_adam_", PUBLIC.call)
    try:
        private(*tensors[:4], [], tensors[4], lr=tensors[4][0], beta1=0.9, beta2=0.999, eps=1e-8, **CONSTANTS)
    except (TypeError, RuntimeError):
        return PUBLIC
    return PUBLIC if private is PUBLIC.call else Kernel(private, counts=False)
