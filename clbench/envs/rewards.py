"""Rewards that NumPy can compute with, as Gymnasium's vector wrappers do."""

from typing import Any

import numpy as np
import torch


class Rewards(torch.Tensor):
    """A tensor that may stand beside NumPy arrays: `array += rewards`, which a plain tensor refuses.

    The result is an array; from a GPU the values are copied to the host.
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:  # noqa: ANN401
        arrays = [each.numpy(force=True) if isinstance(each, torch.Tensor) else each for each in inputs]
        return getattr(ufunc, method)(*arrays, **named)
