"""Whether the closed form of per-sample gradients holds: for a loss, and for a linear layer."""

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import LossFunction, Tensors, wide


def tolerance(value: torch.Tensor) -> float:
    """Return the relative difference between numbers of this type that rounding explains."""
    return {torch.float64: 1e-6, torch.float32: 2e-3}.get(value.dtype, 3e-2)


def agrees(layer: str, gradients: Tensors, outer: torch.Tensor, inner: torch.Tensor) -> bool:
    """Tell whether a linear layer's gradients are means of d_i a_i^T and of d_i, as the closed form has it.

    They are not where the weight is also used elsewhere, or where rows are not samples. Compared are the matrices'
    products with one vector (Freivalds' check), at the cost of next to nothing.

    Args:
        layer: the module's name.
        gradients: of the samples' mean loss, by parameter.
        outer: d, gradients of each sample's loss at the layer's output, `(B, out)` or `(S, B, out)`.
        inner: a, the layer's inputs, `(B, in)` or `(S, B, in)`.
    """
    for kind in ("weight", "bias"):
        gradient = gradients.get(f"{layer}.{kind}".lstrip("."))
        if gradient is None:
            continue
        limit, gradient = tolerance(gradient), wide(gradient)
        if kind == "weight":
            vector = torch.arange(inner.shape[-1], device=inner.device).to(inner).cos()
            ours, theirs = outer.mT @ (inner @ vector).unsqueeze(-1), (gradient @ vector).unsqueeze(-1)
        else:
            ours, theirs = outer.sum(dim=-2), gradient
        scale = theirs.abs().max() + outer.abs().mean()
        if ((ours / outer.shape[-2] - theirs).abs().max() > limit * scale).item():
            return False
    return True


def check_mean(loss_fn: LossFunction, outputs: torch.Tensor, targets: torch.Tensor, samples: int) -> None:
    """Raise unless the loss of some samples is the mean of their own losses.

    Raises:
        OptionError: see above.
    """
    out, wanted = outputs[:samples], targets[:samples]
    with torch.no_grad():
        try:
            together = loss_fn(out.clone(), wanted.clone())
            each = torch.stack(
                [loss_fn(out[i : i + 1].clone(), wanted[i : i + 1].clone()) for i in range(len(out))]
            )
        except (RuntimeError, ValueError) as error:
            raise OptionError(f"loss_fn must take any part of a batch; it raised: {error}") from error
    rough = 1e-4 if torch.finfo(each.dtype).bits >= 32 else 3e-2
    if torch.isfinite(together) and not torch.isclose(together, each.mean(), rtol=rough, atol=1e-6):
        raise OptionError(
            f"loss_fn gives {float(together):.4g} for samples whose own losses have the mean "
            f"{float(each.mean()):.4g}; the definitions need that mean: give reduction='mean', "
            "and no class weights, masks or ignored targets"
        )
