"""Looking into a forward pass: what modules are given and what they return."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clbench.errors import UndefinedError


@dataclass
class Call:
    """A module's call: its first input and its output, or the first tensor of it.

    Attributes:
        given: the input.
        returned: the output.
        version: of the output; it differs later if an operation wrote to the output.
    """

    given: torch.Tensor
    returned: torch.Tensor
    version: int

    @property
    def overwritten(self) -> bool:
        """Whether the output is no longer what the module returned."""
        return self.returned._version != self.version


Calls = dict[str, list[Call]]
"""For each module its calls."""


@contextlib.contextmanager
def watched(
    model: nn.Module, names: Sequence[str], probes: Mapping[str, torch.Tensor] | None = None
) -> Iterator[Calls]:
    """Record the calls of modules while the context lasts.

    Args:
        model: where the modules are; borrowed.
        names: the modules' names.
        probes: tensors to add to modules' outputs.
    """
    calls: Calls = {}
    handles = []
    for name in names:

        def note(_: nn.Module, args: tuple[Any, ...], output: Any, name: str = name) -> Any:
            if probes is not None and name in probes:
                output = output + probes[name]
            returned = first_tensor(output)
            if args and isinstance(args[0], torch.Tensor) and returned is not None:
                calls.setdefault(name, []).append(Call(args[0], returned, returned._version))
            return output

        handles.append(model.get_submodule(name).register_forward_hook(note))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(output: Any) -> torch.Tensor | None:
    """Return a module's output, or the first tensor of what it gave: of recurrent layers and attention the features."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, torch.Tensor) else None


def plain_linear_layers(model: nn.Module) -> list[str]:
    """Return names of trained linear layers that share no parameter with another module.

    Only `nn.Linear` itself: a subclass may compute something else.
    """
    owners = Counter(id(value) for module in model.modules() for value in module.parameters(recurse=False))
    return [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and all(owners[id(value)] == 1 for value in module.parameters())
        and any(value.requires_grad for value in module.parameters())
    ]


def check_per_sample(model: nn.Module) -> None:
    """Raise if samples do not have gradients of their own.

    Raises:
        UndefinedError: a batch normalisation uses the batch's statistics.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise UndefinedError(
                f"per-sample gradients are not defined: '{name}' ({type(module).__name__}) normalises by the "
                "batch's own statistics, so that a sample's loss depends on the others. Measure with "
                "model.eval(), use nn.LayerNorm or nn.GroupNorm, or schedule by volatility only"
            )
