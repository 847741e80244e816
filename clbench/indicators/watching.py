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
    """A module's call: its first input and its output.

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

        def note(
            _: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any, name: str = name
        ) -> Any:
            if probes is not None and name in probes:
                output = output + probes[name]
            given = next(tensors_in((args, named)), None)
            if given is not None and isinstance(output, torch.Tensor):
                calls.setdefault(name, []).append(Call(given, output, output._version))
            return output

        handles.append(model.get_submodule(name).register_forward_hook(note, with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of what a module is given or gives: in tuples, lists and mappings, too."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


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
