"""Tensors by name, such as the stacked parameters of S networks, `(S, ...)`."""

from collections.abc import Mapping

import torch

Tensors = dict[str, torch.Tensor]


def cloned(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: value.detach().clone() for name, value in tensors.items()}


@torch.no_grad()
def copy_into(tensors: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> None:
    """Overwrite tensors in place: replayed steps know their addresses."""
    for name, value in tensors.items():
        value.copy_(source[name])
