"""S stacked networks, and how they are computed: everything else is written for one network, and mapped here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

import torch
from torch import nn
from torch.func import vmap

from clbench.errors import OptionError

Tensors = dict[str, torch.Tensor]
Method = Literal["loop", "vmap"]
Value = TypeVar("Value", bound=torch.Tensor | Tensors)
Result = TypeVar("Result")

ALIGNMENT = 64  # bytes: where PyTorch begins a tensor on a CPU


def default_method(device: torch.device) -> Method:
    """Return how S networks are computed on a device.

    On a CPU one by one: S matrix products are faster there than one batched product, and each network has the bits
    that it has alone. Elsewhere all at once, by `torch.vmap`.
    """
    return "loop" if device.type == "cpu" else "vmap"


class Stacked:
    """S networks of one architecture: their weights stacked along a first axis.

    Args:
        model: the architecture, and train or eval mode; its own weights are ignored.
        parameters: `(S, ...)` tensors by name, as `torch.func.stack_module_state` makes them.
        buffers: `(S, ...)` tensors by name; by default each network has the model's.
        method: "loop" computes networks one by one, "vmap" all at once; by default what is faster on their device.

    Raises:
        OptionError: names or shapes are not those of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, torch.Tensor],
        buffers: Mapping[str, torch.Tensor] | None = None,
        method: Method | None = None,
    ) -> None:
        names = [name for name, _ in model.named_parameters()]
        if names != list(parameters):
            raise OptionError(f"stacked parameters {list(parameters)} are not the model's {names}")
        self.count = len(next(iter(parameters.values()), ()))
        if buffers is None:
            buffers = {name: value.expand(self.count, *value.shape) for name, value in model.named_buffers()}
        stacks = {**buffers, **parameters}
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if stacks[name].shape != (self.count, *value.shape):
                raise OptionError(
                    f"'{name}' is stacked as {tuple(stacks[name].shape)}, not {(self.count, *value.shape)}"
                )
        self.model, self.parameters, self.buffers = model, dict(parameters), dict(buffers)
        self.method = method or default_method(next(iter(parameters.values())).device)

    @property
    def batched(self) -> bool:
        return self.count > 1 and self.method == "vmap"


Model = nn.Module | Stacked


@dataclass(frozen=True)
class Axis:
    """The first axis of S networks' tensors, and how a function of one network is mapped over it.

    Attributes:
        count: S; None for one network, whose tensors do not have this axis.
        batched: whether all are computed at once.
    """

    count: int | None = None
    batched: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """`(S,)`, or `()` for one network: the shape of a number per network."""
        return () if self.count is None else (self.count,)

    def each(self, function: Callable[..., Result], *values: torch.Tensor | Tensors) -> Result:
        """Call a function of one network for each; return its result, tensors or dictionaries of them, stacked."""
        if self.count is None:
            return function(*values)
        if self.batched:
            mapped: Result = vmap(function, randomness="different")(*values)
            return mapped
        return stack([function(*(row(value, index) for value in values)) for index in range(self.count)])

    def flat(self, value: torch.Tensor) -> torch.Tensor:
        return value.reshape(*self.shape, -1)

    def expand(self, numbers: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Return a number per network in a shape that broadcasts over a parameter-shaped tensor."""
        return numbers.reshape(self.shape + (1,) * (value.ndim - len(self.shape)))

    def first(self, value: Value) -> Value:
        return value if self.count is None else row(value, 0)


def row(value: Value, index: int) -> Value:
    """Return one network's tensors of stacked ones.

    The last bit of some kernels depends on where in memory a tensor begins: a row that does not begin as a separate
    tensor would is copied.
    """
    if isinstance(value, dict):
        return cast(Value, {name: row(stacked, index) for name, stacked in value.items()})
    selected = value[index]
    aligned = selected.device.type != "cpu" or selected.data_ptr() % ALIGNMENT == 0
    return cast(Value, selected if aligned else selected.clone())


def stack(results: Sequence[Result]) -> Result:
    first = results[0]
    if isinstance(first, dict):
        pairs = ((name, [cast(Tensors, result)[name] for result in results]) for name in first)
        return cast(Result, {name: stack(values) for name, values in pairs})
    return cast(Result, torch.stack(cast(list[torch.Tensor], list(results))))


def cloned(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: value.detach().clone() for name, value in tensors.items()}
