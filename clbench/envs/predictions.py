"""Predictions are checked and scored here, for both faces of the environment."""

from typing import Any

import numpy as np
import torch

from clbench.errors import PredictionError


def as_labels(predictions: Any, targets: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted labels, and where predictions are unusable.

    Labels are integers of the targets' shape. Logits are floating, with one more dimension of size C;
    the greatest is the label (the first of equal ones).

    Args:
        predictions: labels or logits, a tensor or whatever `numpy.asarray` takes.
        targets: `(B,)` or `(S, B)`, int64.
        num_classes: `C`.

    Returns:
        Labels of the targets' shape, and `(S,)` (or `()`) bool: true where a seed's predictions hold a
        label outside `[0, C)` or a logit that is not finite.

    Raises:
        PredictionError: wrong shape or dtype.
    """
    predictions = _as_tensor(predictions).detach()
    found = str(predictions.dtype).removeprefix("torch.")
    shape, is_float = predictions.shape, predictions.is_floating_point()
    if not is_float and not predictions.is_complex() and predictions.dtype != torch.bool:
        predictions = predictions.long()  # not all integer types can do what follows
    if predictions.device != targets.device:
        predictions = predictions.to(targets.device)
    if shape == targets.shape and predictions.dtype == torch.int64:
        low, high = torch.aminmax(predictions.flatten(targets.ndim - 1), dim=-1)
        return predictions, (low < 0) | (high >= num_classes)
    if shape == (*targets.shape, num_classes) and is_float:
        finite = torch.isfinite(predictions).flatten(targets.ndim - 1).all(dim=-1)
        return predictions.argmax(dim=-1), ~finite
    raise PredictionError(
        f"predictions must be integer labels of shape {tuple(targets.shape)} or floating logits of shape "
        f"{(*targets.shape, num_classes)}; got {found} {tuple(shape)}"
    )


def accuracy(labels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the share of right labels over the last dimension, float32 `(S,)` or `()`."""
    return (labels == targets).float().mean(dim=-1)


def unusable(predictions: Any, place: str, num_classes: int, index: int = 0) -> PredictionError:
    """Return the error for predictions that `as_labels` found unusable at `place`, of the seed number `index`."""
    floating = _as_tensor(predictions).is_floating_point()
    fault = "hold logits that are NaN or infinite" if floating else f"hold labels outside [0, {num_classes})"
    error = PredictionError(f"predictions {fault} ({place})")
    error.placed, error.index = True, index
    return error


def _as_tensor(predictions: Any) -> torch.Tensor:
    return predictions if isinstance(predictions, torch.Tensor) else torch.from_numpy(_as_array(predictions))


def _as_array(predictions: Any) -> np.ndarray:
    try:
        array = np.asarray(predictions)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"they are of dtype {array.dtype}")
        # PyTorch wants native byte order, no long doubles, and memory that could be written.
        wide = {"i": np.int64, "u": np.int64, "f": np.float64}.get(array.dtype.kind)
        odd = array.dtype.kind == "u" or array.dtype.itemsize > 8 or not array.dtype.isnative
        return array.astype(wide) if odd and wide else np.require(array, requirements="W")
    except (TypeError, ValueError) as error:
        raise PredictionError(f"predictions must be an array or a tensor of numbers ({error})") from error
