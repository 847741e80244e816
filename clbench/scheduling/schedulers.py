"""Schedulers of step sizes: a monitor's measurements, the rule, and the step sizes that it adjusts."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch

from clbench.errors import OptionError
from clbench.indicators.batch_checks import check_batch_normalisation
from clbench.indicators.layers import LayerChoice
from clbench.indicators.networks import Network, Penalty
from clbench.indicators.optimizers import Optimizer, SingleOptimizer, list_optimizers
from clbench.indicators.parameter_state import class_name
from clbench.indicators.reported import step_size_rows
from clbench.indicators.stacked import Model
from clbench.scheduling.history import Decision
from clbench.scheduling.monitor import StepSizeMonitor
from clbench.scheduling.rule import factors

Groups = list[dict[str, Any]]  # parameter groups, as PyTorch's optimizers have them


class PerLayerScheduler(StepSizeMonitor):
    """Keeps each layer's effective step size below its critical step size.

    A `StepSizeMonitor` that also cools, warms or leaves each step size by `clbench.scheduling.factors`.

    Call `step` with the batch before `optimizer.step()`, so that the weights have not been fitted to the batch yet. An
    optimizer with `param_groups` gets a group for each layer: create the scheduler after the optimizer, before other
    schedulers and before loading the optimizer's state.

    Other schedules may multiply step sizes (`torch.optim.lr_scheduler.ExponentialLR`), but those that compute them from
    the initial one (`LambdaLR`, `OneCycleLR`) undo what this one did. Weight decay that is added to the gradient counts
    as part of the loss being trained on.

    Source: Baveja et al., arXiv 2509.19698, Alg. 1.

    Args are those of `StepSizeMonitor`, and `adjust`: False leaves step sizes alone, as a monitor does. Without
    `steps_per_task` there is no warm-up window. A parameter in no layer keeps its step size.

    Raises:
        OptionError: a constant is out of range, or model and optimizer do not belong together.
        UndefinedError: the model has no per-sample gradients, which the bound needs.
    """

    bound: ClassVar[Literal["combined", "noise", "volatility"]] = "combined"
    """Which critical step size is the limit."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        *,
        penalty: Penalty | None = None,
        steps_per_task: int | None = None,
        adjust: bool = True,
        seeds: Sequence[int] | None = None,
        layers: LayerChoice = None,
        keep_all: bool = True,
        **constants: object,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            penalty=penalty,
            steps_per_task=steps_per_task,
            seeds=seeds,
            layers=layers,
            keep_all=keep_all,
            **constants,
        )
        for name in ("warmup", "warmup_fraction", "warm"):
            if name in constants and steps_per_task is None and self.constants.warmup != "off":
                raise OptionError(f"{name} requires steps_per_task, which defines the warm-up window")
        self._step_sizes: StepSizes | None = None
        if adjust:
            if self.bound != "volatility":
                check_batch_normalisation(self.network.module)
            names = {layer: self._blocks[layer] for layer in self.layers}
            self._step_sizes = StepSizes(self.network, optimizer, names, split_groups=self.scope == "layer")

    @property
    def warming(self) -> bool:
        """Whether the warm-up window is open."""
        return self._is_warming(self.step_in_task)

    def _is_warming(self, step: int) -> bool:
        warmup = self.constants.warmup
        if warmup == "off" or self.steps_per_task is None or (warmup == "first-task" and self.task > 0):
            return False
        return step <= self.constants.warmup_fraction * self.steps_per_task

    def kind_of_step(self) -> Hashable:
        kind = super().kind_of_step()
        return None if kind is None else (self._is_warming(self.step_in_task + 1), kind)

    def _act_on(self, decision: Decision) -> Decision:
        if self._step_sizes is None:
            return decision
        alpha, bound = decision.effective_step_size, decision._asdict()[f"{self.bound}_bound"]
        factor = factors(self.constants, alpha, bound, decision.gradient_squares, self.warming)
        self._step_sizes.multiply(self.network, factor)
        return decision._replace(factor=factor)


class FullNetworkScheduler(PerLayerScheduler):
    """One controller for the whole network: one decision, the same factor for all layers (paper, A.3)."""

    scope = "network"


class NoiseOnlyScheduler(PerLayerScheduler):
    """The bound is `alpha_g` alone (paper, A.2)."""

    bound = "noise"


class VolatilityOnlyScheduler(PerLayerScheduler):
    """The bound is `alpha_vol` alone (paper, A.2); works with batch normalisation in training mode."""

    bound = "volatility"


SCHEDULERS: Mapping[str, type[PerLayerScheduler]] = MappingProxyType(
    {
        "per-layer": PerLayerScheduler,
        "full-network": FullNetworkScheduler,
        "noise-only": NoiseOnlyScheduler,
        "volatility-only": VolatilityOnlyScheduler,
    }
)


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
        """Return groups that each hold parameters of one layer; options stay, those of each parameter with it."""
        by_id, split = self._index_by_id(network), []
        for group in groups:
            members: dict[int | None, list[int]] = {}
            for index, value in enumerate(group["params"]):
                members.setdefault(by_id.get(id(value)), []).append(index)
            each = [key for key, option in group.items() if _is_one_each(option, group["params"])]
            for indices in members.values():
                part = {**group, **{key: [group[key][index] for index in indices] for key in each}}
                if isinstance(group["lr"], torch.Tensor):  # several groups may share it
                    part["lr"] = group["lr"].clone()
                split.append(part)
        return split


def _is_one_each(option: object, parameters: Sequence[torch.Tensor]) -> bool:
    """Return whether a group's option has an item for each parameter: itself, its name, or a tensor of its shape."""
    if not isinstance(option, list | tuple) or len(option) != len(parameters):
        return False
    if all(isinstance(item, str) for item in option):
        return len(set(option)) == len(option)
    return all(
        isinstance(item, torch.Tensor) and item.shape == value.shape
        for item, value in zip(option, parameters, strict=True)
    )


def _find(
    network: Network, optimizer: SingleOptimizer
) -> torch.Tensor | MutableMapping[object, Any] | Groups:
    """Return where an optimizer keeps its step sizes: `step_sizes`, or else its parameter groups."""
    sizes: object = getattr(optimizer, "step_sizes", None)
    if isinstance(sizes, torch.Tensor | MutableMapping):
        return sizes
    groups: Groups | None = getattr(optimizer, "param_groups", None)
    if groups is None or any("lr" not in group for group in groups):
        raise OptionError(
            f"the step sizes of {class_name(optimizer)} cannot be adjusted: make `step_sizes` a tensor or dictionary, "
            "or give it `param_groups` with lr; adjust=False only measures"
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
    value = sizes[key]
    if not isinstance(value, torch.Tensor):
        sizes[key] = value * factor.item()
    elif id(value) not in multiplied:
        multiplied.add(id(value))
        value.mul_(factor.to(value))
