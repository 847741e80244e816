"""What is measured: one network, or S stacked ones, with its trained parameters and their layers."""

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from clbench.errors import OptionError, UndefinedError
from clbench.indicators.layers import WHOLE, LayerChoice, group_parameters, trained_parameters
from clbench.indicators.module_kinds import unwrap
from clbench.indicators.stacked import Axis, Model, Stacked, Tensors

Measures = dict[str, torch.Tensor]  # per layer and for `WHOLE`: scalars, or `(S,)` for stacked networks
LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Penalty = Callable[[Tensors], torch.Tensor | None]


class Network:
    """A model as it is measured.

    Attributes:
        module: the module, or the architecture of stacked networks; parameters have its names.
        inner: the module without its wrappers, which is what runs.
        trained: trained parameters by name, `(S, ...)` if stacked; empty ones are left out.
        layers: names of trained parameters by layer.
    """

    def __init__(self, model: Model, layers: LayerChoice = None) -> None:
        self.model, self.choice = model, layers
        self.module = model.model if isinstance(model, Stacked) else model
        if not isinstance(self.module, nn.Module):
            raise OptionError(
                f"a model of type {type(model).__name__} cannot be measured: pass a torch.nn.Module or a Stacked"
            )
        self.axis = Axis(model.count, model.batched) if isinstance(model, Stacked) else Axis()
        self.inner = unwrap(self.module)
        _check_parameters(dict(self.module.named_parameters()))
        self.trained = self._select_trained()
        if not self.trained:
            raise OptionError("no parameter of the model requires a gradient")
        self.layers = group_parameters(self.module, list(self.trained), layers)

    @classmethod
    def of(cls, model: "Model | Network", layers: LayerChoice = None) -> "Network":
        return model if isinstance(model, Network) else cls(model, layers)

    def current(self) -> "Network":
        """Return the network as it is trained now: a new one if parameters were frozen, unfrozen or replaced."""
        trained = self._select_trained()
        same = trained.keys() == self.trained.keys() and all(
            trained[name] is value for name, value in self.trained.items()
        )
        return self if same else Network(self.model, self.choice)

    def _select_trained(self) -> Tensors:
        parameters = self.parameters
        return {name: parameters[name] for name in trained_parameters(self.module)}

    @property
    def parameters(self) -> Tensors:
        if isinstance(self.model, Stacked):
            return self.model.parameters
        return dict(self.module.named_parameters())

    @property
    def buffers(self) -> Tensors:
        return self.model.buffers if isinstance(self.model, Stacked) else dict(self.module.named_buffers())

    @property
    def stacked(self) -> bool:
        return self.axis.count is not None

    @property
    def count(self) -> int:
        return 1 if self.axis.count is None else self.axis.count

    @property
    def device(self) -> torch.device:
        return next(iter(self.trained.values())).device

    @property
    def blocks(self) -> dict[str, list[str]]:
        """Names of trained parameters by layer, and of all of them for `WHOLE`: the Hessian's diagonal blocks."""
        return {**self.layers, WHOLE: list(self.trained)}

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        return {name: value.numel() // self.count for name, value in self.trained.items()}

    def sum_by_layer(self, values: Mapping[str, torch.Tensor]) -> Measures:
        sums = {layer: total([values[name] for name in names]) for layer, names in self.layers.items()}
        in_layers = {name for names in self.layers.values() for name in names}
        rest = [values[name] for name in self.trained if name not in in_layers]
        return {**sums, WHOLE: total([*sums.values(), *rest])}


def _check_parameters(parameters: Mapping[str, torch.Tensor]) -> None:
    for name, value in parameters.items():
        if is_lazy(value):
            raise UndefinedError(f"'{name}' is uninitialized: run a batch through the model first")
        if value.is_complex():
            raise UndefinedError(f"'{name}' is complex: indicators are defined for real parameters only")
    devices = list(dict.fromkeys(str(value.device) for value in parameters.values()))
    if len(devices) > 1:
        raise UndefinedError(
            f"the model's parameters are on several devices, {', '.join(devices)}: move it to one"
        )


def is_bias(name: str) -> bool:
    """Return whether a parameter is a bias, by its name.

    >>> is_bias("fc1.bias"), is_bias("rnn.bias_ih_l0"), is_bias("fc1.weight")
    (True, True, False)
    """
    return name.rpartition(".")[2].startswith("bias")


def total(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of tensors, added in their order: each network has the same bits however many there are."""
    return functools.reduce(torch.add, values)


def at_least_float32(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor, half-precision numbers as float32: their squares would vanish or overflow."""
    return value.to(dtype_at_least_float32(value))


def dtype_at_least_float32(value: torch.Tensor) -> torch.dtype:
    return torch.float32 if value.dtype in (torch.float16, torch.bfloat16) else value.dtype


def check_tensors(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise OptionError(
                f"{name} must be a tensor, not a {type(value).__name__}: take a layer's value from an "
                "indicator's result, or stack several"
            )
