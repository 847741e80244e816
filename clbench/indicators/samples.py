"""Gradients of single samples of one network, without a closed form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.func import grad, vmap

from clbench.errors import UndefinedError
from clbench.indicators.autograd import differentiate, undefined_if_it_fails
from clbench.indicators.batch_checks import check_parameters_are_borrowed, tolerance
from clbench.indicators.borrowing import borrowed, keep_random_states
from clbench.indicators.kernels import is_recurrent, plain_kernels
from clbench.indicators.networks import LossFunction, Network
from clbench.indicators.stacked import Tensors, cloned, stack

CHUNK = 64  # samples whose gradients are in memory together, at most
CHUNK_NUMBERS = 2**26  # numbers that they have together

Reduce = Callable[[torch.Tensor], torch.Tensor]  # from a parameter's gradient to what is needed of it


@dataclass(frozen=True)
class Batch:
    """A batch, and the function that gives the mean loss of any number of its samples."""

    loss_fn: LossFunction
    inputs: torch.Tensor
    targets: torch.Tensor

    def __getitem__(self, index: int | slice) -> "Batch":
        return Batch(self.loss_fn, self.inputs[index], self.targets[index])

    def run(self, network: Network) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a network's outputs and mean loss; the module must be borrowed."""
        outputs = network.inner(self.inputs.clone())
        return outputs, self.loss_fn(outputs, self.targets.clone())


def sample_gradients(
    network: Network, leaves: Tensors, rest: Tensors, batch: Batch, reduce: Reduce
) -> Tensors:
    """Return what `reduce` makes of each sample's gradients by `leaves`, `(B, ...)` by parameter.

    By `torch.func.vmap`, or a loop over samples where that fails, as in recurrent layers. Other parameters and buffers
    are in `rest`.
    """
    if not is_recurrent(network.module):
        try:
            return _mapped_gradients(network, leaves, rest, batch, reduce)
        except Exception:  # whatever a model may say to tensors within `vmap`
            pass  # a loop is right wherever autograd is
    return _looped_gradients(network, leaves, rest, batch, reduce)


def _mapped_gradients(
    network: Network, leaves: Tensors, rest: Tensors, batch: Batch, reduce: Reduce
) -> Tensors:
    def loss(leaves: Tensors, rest: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with borrowed(network.module, {**rest, **leaves}):
            return Batch(batch.loss_fn, x.unsqueeze(0), y.unsqueeze(0)).run(network)[1]

    def reduced(leaves: Tensors, rest: Tensors, x: torch.Tensor, y: torch.Tensor) -> Tensors:
        return {name: reduce(value) for name, value in grad(loss)(leaves, rest, x, y).items()}

    numbers = sum(value.numel() for value in leaves.values())
    chunk = max(1, min(CHUNK, CHUNK_NUMBERS // numbers))
    rows = vmap(reduced, in_dims=(None, None, 0, 0), chunk_size=chunk, randomness="different")
    gradients: Tensors = rows(leaves, rest, batch.inputs, batch.targets)
    return gradients


def _looped_gradients(
    network: Network, leaves: Tensors, rest: Tensors, batch: Batch, reduce: Reduce
) -> Tensors:
    rows = []
    for index in range(len(batch.inputs)):
        # Copies for each sample: what it leaves behind must not reach the next one.
        copies = {name: value.requires_grad_() for name, value in cloned(leaves).items()}
        with torch.enable_grad(), borrowed(network.module, {**cloned(rest), **copies}):
            with undefined_if_it_fails("a single sample's loss"):
                _, loss = batch[index : index + 1].run(network)
            gradients = differentiate("a single sample's gradient", loss, list(copies.values()))
        rows.append({name: reduce(value) for name, value in zip(copies, gradients, strict=True)})
    return stack(rows)


def gradients_apart(network: Network, state: Tensors, batch: Batch, outputs: torch.Tensor) -> Tensors | None:
    """Return gradients of a few samples' mean loss when they run apart from the batch that `outputs` are of.

    None if the network draws at random or cannot take so few samples.

    Raises:
        UndefinedError: outputs differ from those within the batch, or a parameter is used past its module.
    """

    def run() -> tuple[torch.Tensor, Tensors, torch.Tensor]:
        copies = cloned(state)
        leaves = {name: copies[name].requires_grad_() for name in network.trained}
        with torch.enable_grad(), borrowed(network.module, copies):
            apart, loss = batch.run(network)
        return apart, leaves, loss

    with keep_random_states(batch.inputs.device), plain_kernels(network.module):
        try:
            again = run()[0].detach()
            apart, leaves, loss = run()
        except Exception:  # whatever a model may say to a small batch
            return None
        if not torch.equal(again, apart) or not torch.isfinite(apart).all():
            return None
        difference = (apart - outputs[: len(apart)]).abs().max()
        if difference > tolerance(apart) * (outputs.abs().max() + torch.finfo(apart.dtype).tiny):
            raise UndefinedError(
                "per-sample gradients are not defined: the model's output for a sample depends on the others in "
                "its batch, as with normalisation by batch statistics"
            )
        check_parameters_are_borrowed(network, loss)
        gradients = differentiate("the gradient", loss, list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True))
