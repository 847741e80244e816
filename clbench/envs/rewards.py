"""Rewards that NumPy can compute with, as Gymnasium's vector wrappers do."""

from typing import Any

import numpy as np
import torch


class Rewards(torch.Tensor):
    """A tensor that may stand beside NumPy arrays: `array += rewards`, which a plain tensor refuses.

    The result is an array; from a GPU the values are copied to the host. Parts of it are such tensors, too; what
    PyTorch computes from it is a plain one.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        inherited: Any = super().__torch_function__
        result = inherited(func, types, args, kwargs)
        plain = isinstance(result, Rewards) and func is not torch.Tensor.__getitem__
        return result.as_subclass(torch.Tensor) if plain else result

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:  # noqa: ANN401
        arrays = [each.numpy(force=True) if isinstance(each, torch.Tensor) else each for each in inputs]
        return getattr(ufunc, method)(*arrays, **named)
