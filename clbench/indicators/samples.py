"""Gradients of single samples, of layers without a closed form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.func import grad, vmap

from clbench.indicators.borrowing import borrowed
from clbench.indicators.derivatives import differentiated, undefined_if_it_fails
from clbench.indicators.networks import LossFunction, Network, Tensors, cloned

CHUNK = 64  # samples whose gradients are in memory together, at most
CHUNK_NUMBERS = 2**26  # numbers that they have together

Reduce = Callable[[torch.Tensor], torch.Tensor]
"""What is made of a parameter's gradient."""


@dataclass(frozen=True)
class Samples:
    """Samples of one network.

    Attributes:
        network: whose architecture it is.
        loss_fn: the mean loss of any number of samples.
        leaves: parameters that gradients are taken by.
        rest: the other parameters, and buffers.
        inputs: `(B, ...)`.
        targets: ditto.
    """

    network: Network
    loss_fn: LossFunction
    leaves: Tensors
    rest: Tensors
    inputs: torch.Tensor
    targets: torch.Tensor

    def gradients(self, reduce: Reduce) -> Tensors:
        """Return what `reduce` makes of each sample's gradient, `(B, ...)` by parameter.

        By `torch.func.vmap`, and by a loop over samples where that cannot go, as in recurrent layers.
        """
        if not self.network.kinds.recurrent:
            try:
                return self._mapped(reduce)
            except Exception:  # whatever a model may say to tensors within `vmap`
                pass  # a loop is right wherever autograd is
        return self._looped(reduce)

    def _mapped(self, reduce: Reduce) -> Tensors:
        def loss(own: Tensors, others: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with borrowed(self.network.module, {**others, **own}):
                return self.loss_fn(self.network.inner(x.unsqueeze(0).clone()), y.unsqueeze(0).clone())

        def reduced(own: Tensors, others: Tensors, x: torch.Tensor, y: torch.Tensor) -> Tensors:
            return {name: reduce(value) for name, value in grad(loss)(own, others, x, y).items()}

        numbers = sum(value.numel() for value in self.leaves.values())
        chunk = max(1, min(CHUNK, CHUNK_NUMBERS // numbers))
        rows = vmap(reduced, in_dims=(None, None, 0, 0), chunk_size=chunk, randomness="different")
        found: Tensors = rows(self.leaves, self.rest, self.inputs, self.targets)
        return found

    def _looped(self, reduce: Reduce) -> Tensors:
        found = []
        for place in range(len(self.inputs)):
            # Anew for each: what a sample leaves behind is not the next one's.
            own = {name: value.requires_grad_() for name, value in cloned(self.leaves).items()}
            one = slice(place, place + 1)
            with torch.enable_grad(), borrowed(self.network.module, {**cloned(self.rest), **own}):
                with undefined_if_it_fails("a single sample's loss"):
                    loss = self.loss_fn(
                        self.network.inner(self.inputs[one].clone()), self.targets[one].clone()
                    )
                gradients = differentiated("a single sample's gradient", loss, list(own.values()))
            found.append({name: reduce(value) for name, value in zip(own, gradients, strict=True)})
        return {name: torch.stack([values[name] for values in found]) for name in self.leaves}
