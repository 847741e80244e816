"""Recording what modules receive and return in a forward pass."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from clbench.indicators.torch_private import version

OnCall = Callable[[str, torch.Tensor | None, object], object]
"""From a module's name, its first input tensor, and its output, to the output that takes its place."""


@contextlib.contextmanager
def watched(model: nn.Module, names: Sequence[str], on_call: OnCall) -> Iterator[None]:
    """Call a function at each call of some modules while the context lasts.

    Args:
        model: a borrowed module.
        names: modules in it.
        on_call: what to call.
    """
    with contextlib.ExitStack() as stack:
        for name in names:

            def hook(
                module: nn.Module,
                args: tuple[object, ...],
                kwargs: dict[str, object],
                output: object,
                name: str = name,
            ) -> object:
                return on_call(name, next(find_tensors((args, kwargs)), None), output)

            stack.callback(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True).remove)
        yield


@dataclass(frozen=True)
class Call:
    """A linear layer's call.

    Attributes:
        given: its input.
        returned: its output, or a tensor that was added to it.
        version: of the output when it was returned.
    """

    given: torch.Tensor
    returned: torch.Tensor
    version: int

    @property
    def overwritten(self) -> bool:
        """Whether an operation has written to the output."""
        return version(self.returned) != self.version


@contextlib.contextmanager
def recorded(
    model: nn.Module, names: Sequence[str], probes: Mapping[str, torch.Tensor] | None = None
) -> Iterator[dict[str, list[Call]]]:
    """Record the calls of modules that return a tensor, by name, while the context lasts.

    Args:
        model: a borrowed module.
        names: modules in it.
        probes: tensors to add to modules' outputs.
    """
    calls: dict[str, list[Call]] = {}

    def note(name: str, given: torch.Tensor | None, output: object) -> object:
        if isinstance(output, torch.Tensor):
            if probes is not None and name in probes:
                output = output + probes[name]
            if given is not None:
                calls.setdefault(name, []).append(Call(given, output, version(output)))
        return output

    with watched(model, names, note):
        yield calls


def find_tensors(value: object) -> Iterator[torch.Tensor]:
    """Yield the tensors in a module's arguments or output: in tuples, lists and mappings, too."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from find_tensors(item)


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
