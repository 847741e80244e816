"""Where optimizers keep step sizes, and how they are multiplied there."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Network
from clbench.indicators.optimizers import Optimizer, SingleOptimizer, list_optimizers
from clbench.indicators.parameter_state import class_name
from clbench.indicators.reported import step_size_rows

Groups = list[dict[str, Any]]  # parameter groups, as PyTorch's optimizers have them


class StepSizes:
    """The step sizes of a network's layers, in one optimizer or several."""

    def __init__(
        self, network: Network, optimizer: Optimizer, layers: Mapping[str, Sequence[str]], split_groups: bool
    ) -> None:
        self._optimizers, self._layers = list_optimizers(optimizer), list(layers)
        self._layer_index = {name: index for index, names in enumerate(layers.values()) for name in names}
        holders = [_find(network, single) for single in self._optimizers]
        for holder in holders if split_groups else ():
            if isinstance(holder, list):
                holder[:] = self._split(network, holder)

    def multiply(self, network: Network, factor: torch.Tensor) -> None:
        """Multiply the step sizes in place by factors `(L, S)`; the network is given as it is now."""
        multiplied: set[int] = set()
        by_id = self._index_by_id(network)
        for optimizer in self._optimizers:
            sizes = _find(network, optimizer)
            if isinstance(sizes, torch.Tensor):
                rows = step_size_rows(network, optimizer)
                for row, layer in self._owners([map(self._layer_index.get, names) for names in rows]):
                    sizes[row] *= factor[layer] if sizes.ndim > 1 else factor[layer, 0]
            elif isinstance(sizes, MutableMapping):
                for name, index in self._layer_index.items():
                    for key in (name, network.trained[name]):
                        if key in sizes:
                            change = factor[index] if network.stacked else factor[index, 0]
                            _multiply(sizes, key, change, multiplied)
            else:
                members = [[by_id.get(id(value)) for value in group["params"]] for group in sizes]
                for group, layer in self._owners(members):
                    _multiply(sizes[group], "lr", factor[layer, 0], multiplied)

    def _index_by_id(self, network: Network) -> dict[int, int]:
        return {id(network.trained[name]): index for name, index in self._layer_index.items()}

    def _owners(self, members: Iterable[Iterable[int | None]]) -> Iterator[tuple[int, int]]:
        """Yield index and layer of each step size in a layer, given the layers (or None) of its parameters."""
        for index, layers in enumerate(members):
            known = sorted({layer for layer in layers if layer is not None})
            if len(known) > 1:
                raise OptionError(
                    f"the layers {', '.join(self._layers[layer] for layer in known)} share a step size: create the "
                    "scheduler after all parameter groups, with the optimizer's layers"
                )
            for layer in known:
                yield index, layer

    def _split(self, network: Network, groups: Groups) -> Groups:
        """Return groups that each hold parameters of one layer; options stay."""
        by_id, split = self._index_by_id(network), []
        for group in groups:
            members: dict[int | None, list[int]] = {}
            for index, value in enumerate(group["params"]):
                members.setdefault(by_id.get(id(value)), []).append(index)
            for indices in members.values():
                part = {**group, "params": [group["params"][index] for index in indices]}
                if "param_names" in group:
                    part["param_names"] = [group["param_names"][index] for index in indices]
                if isinstance(group["lr"], torch.Tensor):  # several groups may share it
                    part["lr"] = group["lr"].clone()
                split.append(part)
        return split


def _find(
    network: Network, optimizer: SingleOptimizer
) -> torch.Tensor | MutableMapping[object, Any] | Groups:
    """Return where an optimizer keeps its step sizes: `step_sizes`, or else its parameter groups."""
    sizes: object = getattr(optimizer, "step_sizes", None)
    if isinstance(sizes, torch.Tensor | MutableMapping):
        return sizes
    groups: Groups | None = getattr(optimizer, "param_groups", None)
    if groups is None:
        raise OptionError(
            f"the step sizes of {class_name(optimizer)} cannot be adjusted: make `step_sizes` a tensor or dictionary, "
            "or give it `param_groups`; adjust=False only measures"
        )
    if network.stacked and network.count > 1:
        raise OptionError(
            f"{class_name(optimizer)} has one step size for {network.count} networks: give each network a separate "
            "optimizer, or make `step_sizes` a tensor `(L, S)`"
        )
    return groups


def _multiply(
    sizes: MutableMapping[Any, Any], key: object, factor: torch.Tensor, multiplied: set[int]
) -> None:
    """Replace a number; multiply a tensor in place, once even if it is held under several keys."""
    value = sizes[key]
    if not isinstance(value, torch.Tensor):
        sizes[key] = value * factor.item()
    elif id(value) not in multiplied:
        multiplied.add(id(value))
        value.mul_(factor.to(value))
