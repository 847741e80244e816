"""Ways to compute a forward pass that has right second derivatives, and that `torch.vmap` can map."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Kinds:
    """What a model has that needs other kernels.

    Attributes:
        recurrent: recurrent layers.
        normalising: weights that PyTorch normalises.
    """

    recurrent: bool
    normalising: bool


def kinds_in(model: nn.Module) -> Kinds:
    """Return what a model has."""
    modules = list(model.modules())
    return Kinds(
        any(isinstance(module, nn.RNNBase) for module in modules),
        any(_normalises_weights(module) for module in modules),
    )


@contextlib.contextmanager
def plain_kernels(kinds: Kinds) -> Iterator[None]:
    """Avoid fused attention and cuDNN's recurrent layers, which have no second derivative, and `torch._weight_norm`."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if kinds.recurrent:
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if kinds.normalising:
            stack.enter_context(_WrittenOut())
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # of `vmap`
        yield


class _Instead(TorchFunctionMode):
    """Does something else than PyTorch's functions."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.call(function, args, kwargs or {})

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what a function gives."""
        return function(*args, **kwargs)


class Mappable(_Instead):
    """Refuse what `torch.vmap` maps wrongly: the gradient of an embedding with a padding index, but for the first."""

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what a function gives, or raise."""
        place = {F.embedding: 2, F.embedding_bag: 10, torch.embedding: 2}.get(function)
        padding = None
        if place is not None:
            padding = args[place] if len(args) > place else kwargs.get("padding_idx")
        if padding is not None and (padding >= 0 or function is not torch.embedding):
            raise NotImplementedError("torch.vmap maps embeddings with a padding index wrongly")
        return super().call(function, args, kwargs)


class _WrittenOut(_Instead):
    """Weight normalisation as it is defined: the derivative of `torch._weight_norm`'s own derivative is wrong.

    `torch.autograd.gradgradcheck` shows that, in PyTorch 2.14 at least.
    """

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what a function gives, weight normalisation by its formula."""
        if function is torch._weight_norm:
            direction, size, dim = (*args, 0)[:3]
            return direction * (size / torch.norm_except_dim(direction, 2, dim))
        return super().call(function, args, kwargs)


def _normalises_weights(module: nn.Module) -> bool:
    """Tell whether a module's weight is normalised by PyTorch, in the newer way or the older."""
    if isinstance(module, ParametrizationList):
        return any(type(one).__name__ == "_WeightNorm" for one in module)
    return any(type(hook).__name__ == "WeightNorm" for hook in module._forward_pre_hooks.values())
