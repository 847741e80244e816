"""Checks of a loss, a batch and a model: whether samples have gradients, and linear layers their closed form.

For a linear layer with input a_i and gradient d_i of sample i's loss at its output, the gradient of its weight is
d_i a_i^T and that of its bias d_i.
"""

import torch
from torch import nn

from clbench.errors import OptionError, UndefinedError
from clbench.indicators.autograd import ancestors
from clbench.indicators.module_kinds import BATCH_NORMS
from clbench.indicators.networks import LossFunction, Network, at_least_float32
from clbench.indicators.stacked import Tensors


def tolerance(value: torch.Tensor) -> float:
    """Return the relative difference that rounding may cause between numbers of this type."""
    return {torch.float64: 1e-6, torch.float32: 2e-3}.get(value.dtype, 3e-2)


def closed_form_holds(layer: str, gradients: Tensors, outer: torch.Tensor, inner: torch.Tensor) -> bool:
    """Return whether a linear layer's gradients are means of d_i a_i^T and of d_i, `outer` and `inner`.

    They are not if the weight is also used elsewhere, or if rows are not samples. Products of both with one vector are
    compared (Freivalds' check), which costs next to nothing.
    """
    for kind in ("weight", "bias"):
        gradient = gradients.get(f"{layer}.{kind}".lstrip("."))
        if gradient is None:
            continue
        limit, gradient = tolerance(gradient), at_least_float32(gradient)
        if kind == "weight":
            vector = torch.arange(inner.shape[-1], device=inner.device).to(inner).cos()
            sums, expected = outer.mT @ (inner @ vector).unsqueeze(-1), (gradient @ vector).unsqueeze(-1)
        else:
            sums, expected = outer.sum(dim=-2), gradient
        scale = expected.abs().max() + outer.abs().mean()
        if ((sums / outer.shape[-2] - expected).abs().max() > limit * scale).item():
            return False
    return True


def check_batch_normalisation(model: nn.Module) -> None:
    """Raise `UndefinedError` if a batch normalisation makes samples depend on each other."""
    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORMS) and (module.training or module.running_mean is None):
            raise UndefinedError(
                f"per-sample gradients are not defined: '{name}' ({type(module).__name__}) normalises by the "
                "batch's own statistics, so that a sample's loss depends on the others. Measure with "
                "model.eval(), use nn.LayerNorm or nn.GroupNorm, or schedule by volatility only"
            )


def check_mean(loss_fn: LossFunction, outputs: torch.Tensor, targets: torch.Tensor, samples: int) -> None:
    """Raise `OptionError` unless the loss of some samples is the mean of their own losses."""
    outputs, targets = outputs[:samples], targets[:samples]

    def loss(part: slice) -> torch.Tensor:
        return loss_fn(outputs[part].clone(), targets[part].clone())

    with torch.no_grad():
        try:
            together = loss(slice(None))
            each = torch.stack([loss(slice(index, index + 1)) for index in range(len(outputs))])
        except (RuntimeError, ValueError) as error:
            raise OptionError(f"loss_fn must accept any part of a batch; it raised: {error}") from error
    rough = 1e-4 if torch.finfo(each.dtype).bits >= 32 else 3e-2
    if torch.isfinite(together) and not torch.isclose(together, each.mean(), rtol=rough, atol=1e-6):
        raise OptionError(
            f"loss_fn gives {float(together):.4g} for samples whose single losses have the mean "
            f"{float(each.mean()):.4g}; the definitions need that mean: use reduction='mean', "
            "and no class weights, masks or ignored targets"
        )


def check_parameters_are_borrowed(network: Network, outputs: torch.Tensor) -> None:
    """Raise `UndefinedError` if outputs depend on a parameter of the module, now returned, instead of a lent one."""
    names = {id(value): name for name, value in network.module.named_parameters()}
    for node in ancestors(outputs.grad_fn):
        name = names.get(id(getattr(node, "variable", None)))
        if name is not None:
            raise UndefinedError(
                f"'{name}' is used outside its module, for example by a function that holds the tensor, so its "
                "gradient cannot be measured: access it through the module in forward"
            )
