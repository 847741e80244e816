"""What is measured: one network, or S stacked ones, and their layers."""

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from clbench.errors import OptionError

Tensors = dict[str, torch.Tensor]
Measures = dict[str, torch.Tensor]
"""A value per layer and one for `WHOLE`: scalars for one network, `(S,)` for stacked ones."""

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Penalty = Callable[[Tensors], torch.Tensor | None]

WHOLE = "whole network"
"""The key of the whole network; no module can have this name."""


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


def batched(model: Model) -> bool:
    """Tell whether the networks are measured all at once, by `torch.vmap`."""
    return isinstance(model, Stacked) and model.batched


def trainable(model: Model) -> Tensors:
    """Return the parameters that are trained, by name: the module's own, or stacked ones.

    Raises:
        OptionError: there are none.
    """
    module = model.model if isinstance(model, Stacked) else model
    own: Tensors = {name: value for name, value in module.named_parameters() if value.requires_grad}
    if not own:
        raise OptionError("the model has no parameter that requires a gradient: there is nothing to measure")
    return {name: model.parameters[name] for name in own} if isinstance(model, Stacked) else own


def layers(model: Model) -> dict[str, list[str]]:
    """Return names of trained parameters by layer, in the model's order.

    A layer is a top-level module that owns trained parameters; a parameter of the model itself is one too.
    `DataParallel`, `DistributedDataParallel` and `torch.compile` are seen through.

    >>> layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    {'0': ['0.weight', '0.bias'], '2': ['2.weight', '2.bias']}
    """
    found: dict[str, list[str]] = {}
    for name in trainable(model):
        found.setdefault(layer_of(name), []).append(name)
    return found


def layer_modules(model: Model) -> dict[str, str]:
    """Return the modules' names of those layers that are modules."""
    module = model.model if isinstance(model, Stacked) else model
    known = {name for name, _ in module.named_modules()}
    found = {}
    for layer, names in layers(model).items():
        path = names[0][: names[0].index(f"{layer}.") + len(layer)] if f"{layer}." in names[0] else ""
        if path in known and path:
            found[layer] = path
    return found


WRAPPERS = ("module.", "_orig_mod.")


def layer_of(parameter: str) -> str:
    """Return the layer that a parameter belongs to, by its name; wrappers are seen through.

    >>> layer_of("fc1.0.weight"), layer_of("module.fc1.weight"), layer_of("_orig_mod.fc1.weight")
    ('fc1', 'fc1', 'fc1')
    """
    while parameter.startswith(WRAPPERS) and parameter.count(".") > 1:
        parameter = parameter.partition(".")[2]
    return parameter.partition(".")[0]


def is_bias(name: str) -> bool:
    """Tell whether a parameter is a bias, by its name.

    >>> is_bias("fc1.bias"), is_bias("rnn.bias_ih_l0"), is_bias("fc1.weight")
    (True, True, False)
    """
    return name.rpartition(".")[2].startswith("bias")


def by_layer(model: Model, values: Mapping[str, torch.Tensor]) -> Measures:
    """Sum values of parameters to values of layers and of the whole network."""
    sums = {layer: total([values[name] for name in names]) for layer, names in layers(model).items()}
    return {**sums, WHOLE: total(list(sums.values()))}


def total(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of tensors, added in their order: the same bits however many networks they are of."""
    return functools.reduce(torch.add, values)


def counts(model: Model) -> dict[str, int]:
    """Return how many trained numbers each layer and the whole network of one network has."""
    share = model.count if isinstance(model, Stacked) else 1
    sizes = {name: value.numel() // share for name, value in trainable(model).items()}
    found = {layer: sum(sizes[name] for name in names) for layer, names in layers(model).items()}
    return {**found, WHOLE: sum(sizes.values())}


def per_network(
    model: Model, reduce: Callable[[torch.Tensor], torch.Tensor], value: torch.Tensor
) -> torch.Tensor:
    """Reduce a parameter-shaped tensor to a number for each network.

    Args:
        model: says whether `value` is stacked.
        reduce: from a tensor of one network to a scalar.
        value: shaped like a parameter.
    """
    if not isinstance(model, Stacked):
        return reduce(value)
    return torch.vmap(reduce)(value) if batched(model) else torch.stack([reduce(own) for own in value])


def wide(value: torch.Tensor) -> torch.Tensor:
    """Return half-precision numbers as float32: their squares would vanish or overflow."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


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
