"""Checks and scores predictions, for both environments."""

import numpy as np
import torch

from clbench.errors import PredictionError


class Classification:
    """Predictions of one of `num_classes` labels, scored by accuracy.

    Predictions are integer labels of the targets' shape, or floating logits with one more dimension of size
    `num_classes`, of which the greatest counts (the first of equal ones).
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def score(self, predictions: object, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return accuracies and what is unusable, of the shape `(S,)` or `()`, for targets `(S, B)` or `(B,)`.

        Predictions are unusable where a label lies outside `[0, num_classes)` or a logit is not finite.
        """
        labels, unusable = self._labels(predictions, targets)
        return (labels == targets).float().mean(dim=-1), unusable

    def _labels(self, predictions: object, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = _as_tensor(predictions).detach()
        dtype = str(values.dtype).removeprefix("torch.")
        shape, is_float = values.shape, values.is_floating_point()
        if not is_float and not values.is_complex() and values.dtype != torch.bool:
            values = values.long()  # some integer types lack the operations below
        if values.device != targets.device:
            values = values.to(targets.device)
        if shape == targets.shape and values.dtype == torch.int64:
            low, high = torch.aminmax(values.flatten(targets.ndim - 1), dim=-1)
            return values, (low < 0) | (high >= self.num_classes)
        if shape == (*targets.shape, self.num_classes) and is_float:
            finite = torch.isfinite(values).flatten(targets.ndim - 1).all(dim=-1)
            return values.argmax(dim=-1), ~finite
        raise PredictionError(
            f"predictions must be integer labels of shape {tuple(targets.shape)} or floating logits of shape "
            f"{(*targets.shape, self.num_classes)}; got {dtype} {tuple(shape)}"
        )

    def fault(self, predictions: object) -> str:
        """Return what is wrong with predictions that `score` found unusable."""
        if _as_tensor(predictions).is_floating_point():
            return "predictions hold logits that are NaN or infinite"
        return f"predictions hold labels outside [0, {self.num_classes})"


def _as_tensor(predictions: object) -> torch.Tensor:
    return predictions if isinstance(predictions, torch.Tensor) else torch.from_numpy(_as_array(predictions))


def _as_array(predictions: object) -> np.ndarray:
    try:
        array = np.asarray(predictions)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"they are of dtype {array.dtype}")
        # PyTorch needs native byte order, no long doubles, and writable memory.
        dtype = {"i": np.int64, "u": np.int64, "f": np.float64}.get(array.dtype.kind)
        odd = array.dtype.kind == "u" or array.dtype.itemsize > 8 or not array.dtype.isnative
        return array.astype(dtype) if odd and dtype else np.require(array, requirements="W")
    except (TypeError, ValueError) as error:
        raise PredictionError(f"predictions must be an array or a tensor of numbers ({error})") from error
