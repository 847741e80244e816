"""A few samples run apart from their batch, to see whether they are on their own."""

from dataclasses import dataclass

import torch

from clbench.errors import UndefinedError
from clbench.indicators.borrowing import borrowed, random_states_kept
from clbench.indicators.closed_form import tolerance
from clbench.indicators.derivatives import differentiated, nodes_before
from clbench.indicators.networks import LossFunction, Network, Tensors, cloned


@dataclass(frozen=True)
class Few:
    """A few samples of a batch.

    Attributes:
        network: whose architecture it is.
        loss_fn: the mean loss of any number of samples.
        leaves: names of the parameters that gradients are taken by.
        state: parameters and buffers of one network.
        inputs: `(n, ...)`.
        targets: ditto.
    """

    network: Network
    loss_fn: LossFunction
    leaves: list[str]
    state: Tensors
    inputs: torch.Tensor
    targets: torch.Tensor

    def gradients(self, outputs: torch.Tensor) -> Tensors | None:
        """Return the gradients of their mean loss; None for a network that draws at random or cannot take so few.

        Args:
            outputs: of the whole batch, whose first samples these are.

        Raises:
            UndefinedError: what comes out is not what comes out of the batch, or a parameter is used that is not the
                module's own, so that no gradient of it could be had.
        """
        with random_states_kept(self.inputs.device), self.network.plain_kernels():
            try:
                again = self._run()[0].detach()
                found, leaves, loss = self._run()
            except Exception:  # whatever a model may say to a small batch
                return None
            if not torch.equal(again, found) or not torch.isfinite(found).all():
                return None
            difference = (found - outputs[: len(found)]).abs().max()
            if difference > tolerance(found) * (outputs.abs().max() + torch.finfo(found.dtype).tiny):
                raise UndefinedError(
                    "per-sample gradients are not defined: what the model gives for a sample depends on the others in "
                    "its batch, as with a normalisation by the batch's statistics"
                )
            check_parameters(self.network, loss)
            return dict(zip(leaves, differentiated("the gradient", loss, list(leaves.values())), strict=True))

    def _run(self) -> tuple[torch.Tensor, Tensors, torch.Tensor]:
        """Return outputs, leaves and loss, all anew."""
        state = cloned(self.state)
        leaves = {name: state[name].requires_grad_() for name in self.leaves}
        with torch.enable_grad(), borrowed(self.network.module, state):
            outputs = self.network.inner(self.inputs.clone())
            return outputs, leaves, self.loss_fn(outputs, self.targets.clone())


def check_parameters(network: Network, outputs: torch.Tensor) -> None:
    """Raise if outputs were made with a module's own parameter, in place of the one that the module was lent.

    Call it when the module is no longer borrowed.

    Raises:
        UndefinedError: see above.
    """
    own = {id(value): name for name, value in network.module.named_parameters()}
    for node in nodes_before(outputs.grad_fn):
        name = own.get(id(getattr(node, "variable", None)))
        if name is not None:
            raise UndefinedError(
                f"'{name}' is used past its module, as by a function that holds the tensor, so that its gradient "
                "cannot be measured: let forward take it from the module"
            )
