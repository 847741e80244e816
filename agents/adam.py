"""Adam for S stacked networks, with a step size for each layer of each network."""

import functools
from collections.abc import Callable

import torch
from torch.optim.adam import adam

from .optimizer import StackedOptimizer

CONSTANTS = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}


class StackedAdam(StackedOptimizer):
    """Adam: theta <- theta - eta * m_hat / (sqrt(v_hat) + eps), as `torch.optim.Adam`, with eta by layer and network.

    `betas` are the decays of the first and second moment.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    MOMENTS = ("first", "second")
    betas, eps = (0.9, 0.999), 1e-8

    def update(self, step_size: torch.Tensor, updates: torch.Tensor, *tensors: list[torch.Tensor]) -> None:
        kernel, counts, (beta1, beta2) = choose_kernel(), [updates] * len(tensors[0]), self.betas
        kernel(*tensors, [], counts, lr=step_size, beta1=beta1, beta2=beta2, eps=self.eps, **CONSTANTS)


def public_kernel(*lists: list[torch.Tensor], **constants: object) -> None:
    """Do what `torch._fused_adam_` does by a documented function, which adds 1 to the counts of updates itself."""
    *tensors, counts = lists
    function: Callable[..., object] = adam
    function(*tensors, [count - 1 for count in counts], fused=True, **constants)


@functools.cache
def choose_kernel() -> Callable[..., object]:
    """Return `torch._fused_adam_`, which takes least time, or `public_kernel` if this PyTorch has no such function."""
    *tensors, counts = [[torch.ones(1, device="cpu", dtype=torch.float32)] for _ in range(5)]
    private: Callable[..., object] = getattr(torch, "_fused_adam_", public_kernel)
    try:
        private(*tensors, [], counts, lr=counts[0], beta1=0.9, beta2=0.999, eps=1e-8, **CONSTANTS)
    except (AttributeError, TypeError, RuntimeError):
        return public_kernel
    return private
