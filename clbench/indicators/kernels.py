"""Ways to compute a forward pass that has correct second derivatives, and that `torch.vmap` can map."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]

WEIGHT_NORM = getattr(torch, "_weight_norm", None)  # private; a PyTorch without it needs no replacement


@contextlib.contextmanager
def plain_kernels(model: nn.Module) -> Iterator[None]:
    """Avoid kernels of a model without correct second derivatives.

    These are fused attention, cuDNN's recurrent layers, and `torch._weight_norm`.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if is_recurrent(model):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if any(_normalises_weights(module) for module in model.modules()):
            stack.enter_context(Replaced({WEIGHT_NORM: _defined_weight_norm}))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # of `vmap`
        yield


def is_recurrent(model: nn.Module) -> bool:
    return any(isinstance(module, nn.RNNBase) for module in model.modules())


class Replaced(TorchFunctionMode):
    def __init__(self, replacements: Mapping[Any, Function]) -> None:
        super().__init__()
        self._replacements = replacements

    def __torch_function__(
        self,
        function: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        return self._replacements.get(function, function)(*args, **(kwargs or {}))


def unmappable_refused() -> Replaced:
    """Refuse what `torch.vmap` maps wrongly: the gradient of an embedding with a padding index after the first."""

    def checked(function: Function, position: int) -> Function:
        def call(*args: object, **kwargs: object) -> object:
            padding = args[position] if len(args) > position else kwargs.get("padding_idx")
            if isinstance(padding, int) and (padding >= 0 or function is not torch.embedding):
                raise NotImplementedError("torch.vmap maps embeddings with a padding index wrongly")
            return function(*args, **kwargs)

        return call

    embeddings: dict[Any, int] = {F.embedding: 2, F.embedding_bag: 10, torch.embedding: 2}
    return Replaced({function: checked(function, position) for function, position in embeddings.items()})


def _defined_weight_norm(direction: torch.Tensor, size: torch.Tensor, dim: int = 0) -> torch.Tensor:
    """Return normalised weights, by the formula: the second derivative of `torch._weight_norm` is wrong.

    `torch.autograd.gradgradcheck` shows that, in PyTorch 2.14 at least.
    """
    return direction * (size / torch.norm_except_dim(direction, 2, dim))


def _normalises_weights(module: nn.Module) -> bool:
    if isinstance(module, ParametrizationList):
        return any(type(item).__name__ == "_WeightNorm" for item in module)
    return any(type(hook).__name__ == "WeightNorm" for hook in module._forward_pre_hooks.values())
