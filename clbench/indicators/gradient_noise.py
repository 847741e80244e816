"""Gradient noise: how far samples' gradients are from their mean."""

import torch

from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import LossFunction, Measures, Model, Network
from clbench.indicators.passes import Pass


def gradient_noise(
    model: Model,
    loss_fn: LossFunction,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    layers: LayerChoice = None,
) -> Measures:
    """Return `sigma^2 = (1/B) sum_i ||g_i - g_bar||^2` of the data loss, exact within the batch.

    For a linear layer with input `a_i` and loss gradient `d_i` at its output, `||g_i||^2 = ||d_i||^2 (||a_i||^2 + 1)`,
    so that `sigma^2 = mean ||g_i||^2 - ||g_bar||^2` takes one backward pass (Goodfellow, "Efficient per-example
    gradient computations", 2015). Other layers: `torch.func.vmap` over `torch.func.grad`, or a loop over samples where
    that cannot go. The mean divides by
    `B`, not `B - 1`; a batch of one has noise 0, and so has a network whose gradients vanish. Being a difference, noise
    of less than about a millionth of the mean `||g_i||^2` is lost to rounding in float32.

    Source: Baveja et al., arXiv 2509.19698, Sec. 3.

    Args:
        model: a module, or `Stacked` ones.
        loss_fn: from outputs and targets to the batch's mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        layers: which parameters are a layer, see `layer_parameters`.

    Returns:
        `gradient^2`, per layer and for the whole network: scalars, or `(S,)`.

    Raises:
        UndefinedError: the model has a batch normalisation in training mode.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> inputs, targets = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]])
    >>> gradient_noise(model, torch.nn.functional.mse_loss, inputs, targets)  # gradients -2 and -6
    {'weight': tensor(4.), 'whole network': tensor(4.)}
    """
    return Pass(Network.of(model, layers), loss_fn, inputs, targets).noise()
