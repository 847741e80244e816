"""What is measured: one network, or S stacked ones."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from clbench.errors import OptionError, UndefinedError
from clbench.indicators.kernels import Kinds, kinds_in, plain_kernels
from clbench.indicators.layers import WHOLE, LayerChoice, grouped, trained_parameters, unwrapped

Tensors = dict[str, torch.Tensor]
Measures = dict[str, torch.Tensor]
"""A value per layer and one for `WHOLE`: scalars for one network, `(S,)` for stacked ones."""

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Penalty = Callable[[Tensors], torch.Tensor | None]


class Stacked:
    """S networks of one architecture: their weights stacked along a first axis.

    Args:
        model: the architecture; its own weights are not looked at. Its train or eval mode counts.
        parameters: `(S, ...)` tensors by name, as `torch.func.stack_module_state` makes them.
        buffers: ditto; by default the model's own, for all alike.

    Raises:
        OptionError: names or shapes are not those of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, torch.Tensor],
        buffers: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        own = dict(model.named_parameters())
        if list(own) != list(parameters):
            raise OptionError(f"stacked parameters {list(parameters)} are not the model's {list(own)}")
        self.count = len(next(iter(parameters.values()), ()))
        if buffers is None:
            buffers = {name: value.expand(self.count, *value.shape) for name, value in model.named_buffers()}
        for name, value in [*own.items(), *model.named_buffers()]:
            stack = parameters[name] if name in own else buffers[name]
            if stack.shape != (self.count, *value.shape):
                raise OptionError(
                    f"'{name}' is stacked as {tuple(stack.shape)}, not {(self.count, *value.shape)}"
                )
        self.model, self.parameters, self.buffers = model, dict(parameters), dict(buffers)

    @property
    def batched(self) -> bool:
        """Whether the networks are best computed all at once, by `torch.vmap`."""
        return self.count > 1 and next(iter(self.parameters.values())).device.type not in LOOPED


Model = nn.Module | Stacked

LOOPED = {"cpu"}
"""Device types on which S networks are measured one by one: S matrix products are faster there than one
batched one, and S networks give the bits that each gives alone."""


class Network:
    """A model as it is measured: its trained parameters, and which layers they belong to.

    Args:
        model: a module, or `Stacked` ones.
        layers: see `clbench.indicators.layer_parameters`.

    Attributes:
        model: as given.
        module: the module, or the one whose architecture stacked ones have; parameters' names are its.
        inner: the module without its wrappers, which is what is run.
        trained: the parameters that are trained, by name: the module's own, or stacked ones. Empty ones are left out.
        layers: their names by layer.
        choice: of layers, as given.

    Raises:
        OptionError: there is nothing to measure, or `layers` is not possible.
        UndefinedError: parameters have no value yet, are complex, or lie on several devices.
    """

    def __init__(self, model: Model, layers: LayerChoice = None) -> None:
        self.model, self.choice = model, layers
        self.module = model.model if isinstance(model, Stacked) else model
        if not isinstance(self.module, nn.Module):
            raise OptionError(
                f"a {type(model).__name__} cannot be measured: give a torch.nn.Module, or Stacked ones"
            )
        self.inner = unwrapped(self.module)
        own = dict(self.module.named_parameters())
        _check_parameters(own)
        trained = trained_parameters(self.module)
        if not trained:
            raise OptionError(
                "the model has no parameter that requires a gradient: there is nothing to measure"
            )
        self.trained: Tensors = (
            {name: model.parameters[name] for name in trained}
            if isinstance(model, Stacked)
            else dict(trained)
        )
        self.layers = grouped(self.module, list(trained), layers)

    @classmethod
    def of(cls, model: "Model | Network", layers: LayerChoice = None) -> "Network":
        """Return the network that a model is; one that is a network already stays what it is."""
        return model if isinstance(model, Network) else cls(model, layers)

    def current(self) -> "Network":
        """Return the network as it is trained now: itself, unless parameters were frozen, unfrozen or replaced."""
        own: Mapping[str, torch.Tensor] = trained_parameters(self.module)
        if isinstance(self.model, Stacked):
            own = {name: self.model.parameters[name] for name in own}
        same = own.keys() == self.trained.keys() and all(
            own[name] is value for name, value in self.trained.items()
        )
        return self if same else Network(self.model, self.choice)

    @property
    def stacked(self) -> bool:
        """Whether it is S stacked networks, whose values have a first axis."""
        return isinstance(self.model, Stacked)

    @property
    def count(self) -> int:
        """S, or 1."""
        return self.model.count if isinstance(self.model, Stacked) else 1

    @property
    def batched(self) -> bool:
        """Whether the networks are measured all at once, by `torch.vmap`."""
        return isinstance(self.model, Stacked) and self.model.batched

    @functools.cached_property
    def kinds(self) -> Kinds:
        """What of it needs other kernels."""
        return kinds_in(self.module)

    def plain_kernels(self) -> contextlib.AbstractContextManager[None]:
        """Use kernels that have second derivatives, and that `torch.vmap` can map."""
        return plain_kernels(self.kinds)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(iter(self.trained.values())).device

    @property
    def parameters(self) -> Tensors:
        """All parameters, trained or not: the module's own, or stacked ones."""
        return (
            self.model.parameters if isinstance(self.model, Stacked) else dict(self.module.named_parameters())
        )

    @property
    def buffers(self) -> Tensors:
        """Ditto of buffers."""
        return self.model.buffers if isinstance(self.model, Stacked) else dict(self.module.named_buffers())

    @property
    def blocks(self) -> dict[str, list[str]]:
        """Names of trained parameters by layer, and of all of them for `WHOLE`."""
        return {**self.layers, WHOLE: list(self.trained)}

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers each trained parameter of one network has."""
        return {name: value.numel() // self.count for name, value in self.trained.items()}

    def sums(self, values: Mapping[str, torch.Tensor]) -> Measures:
        """Sum values of parameters to values of layers and of the whole network."""
        found = {layer: total([values[name] for name in names]) for layer, names in self.layers.items()}
        counted = {name for names in self.layers.values() for name in names}
        rest = [values[name] for name in self.trained if name not in counted]
        return {**found, WHOLE: total([*found.values(), *rest])}

    def each(self, reduce: Callable[[torch.Tensor], torch.Tensor], value: torch.Tensor) -> torch.Tensor:
        """Reduce a parameter-shaped tensor to a number for each network, a scalar or `(S,)`.

        Args:
            reduce: from a tensor of one network to a scalar.
            value: shaped like a parameter.
        """
        if not self.stacked:
            return reduce(value)
        return torch.vmap(reduce)(value) if self.batched else torch.stack([reduce(own) for own in value])


def _check_parameters(parameters: Mapping[str, torch.Tensor]) -> None:
    """Raise unless these can be measured."""
    for name, value in parameters.items():
        if is_lazy(value):
            raise UndefinedError(f"'{name}' has no value yet: run a batch through the model first")
        if value.is_complex():
            raise UndefinedError(f"'{name}' is complex: indicators are defined for real parameters only")
    devices = list(dict.fromkeys(str(value.device) for value in parameters.values()))
    if len(devices) > 1:
        raise UndefinedError(
            f"the model's parameters lie on several devices, {', '.join(devices)}: move it to one"
        )


def is_bias(name: str) -> bool:
    """Tell whether a parameter is a bias, by its name.

    >>> is_bias("fc1.bias"), is_bias("rnn.bias_ih_l0"), is_bias("fc1.weight")
    (True, True, False)
    """
    return name.rpartition(".")[2].startswith("bias")


def row(stack: Mapping[str, torch.Tensor], place: int) -> Tensors:
    """Return one network's tensors of stacked ones."""
    return {name: value[place] for name, value in stack.items()}


def cloned(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return copies without a graph."""
    return {name: value.detach().clone() for name, value in tensors.items()}


def total(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of tensors, added in their order: the same bits however many networks they are of."""
    return functools.reduce(torch.add, values)


def wide(value: torch.Tensor) -> torch.Tensor:
    """Return half-precision numbers as float32: their squares would vanish or overflow."""
    return value.to(wide_dtype(value))


def wide_dtype(value: torch.Tensor) -> torch.dtype:
    """Return the dtype that `wide` gives."""
    return torch.float32 if value.dtype in (torch.float16, torch.bfloat16) else value.dtype


def check_tensors(**values: object) -> None:
    """Raise `OptionError` unless all are tensors."""
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise OptionError(
                f"{name} must be a tensor, not a {type(value).__name__}: of what an indicator answers, take a layer's "
                "value, or stack them"
            )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `OptionError` unless `value` is one of `choices`."""
    if value not in choices:
        raise OptionError(f"{name}={value!r} is not one of {', '.join(choices)}")
