"""Names that PyTorch keeps private, each with a public fallback."""

from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import batchnorm, conv, instancenorm

Classes = tuple[type[nn.Module], ...]


def _base_class(module: ModuleType, name: str, public: Classes) -> Classes:
    """Return the private base class of `public` classes, which also covers users' subclasses of it."""
    return (getattr(module, name),) if hasattr(module, name) else public


BATCH_NORMS = _base_class(
    batchnorm, "_BatchNorm", (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
)
INSTANCE_NORMS = _base_class(
    instancenorm, "_InstanceNorm", (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
)
CONVOLUTIONS = _base_class(
    conv,
    "_ConvNd",
    (
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
    ),
)
WEIGHT_NORM: Any = getattr(torch, "_weight_norm", None)
"""What weight normalisation calls; None in a PyTorch without it, where nothing has to be replaced."""


def version(value: torch.Tensor) -> int:
    """Return how many times a tensor was written to in place; always 0 where that is not counted."""
    return 0 if value.is_inference() else int(getattr(value, "_version", 0))
