"""Recording what modules receive and return in a forward pass."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import nn

# From a module's name, its first input tensor, and its output, to the output that takes its place.
OnCall = Callable[[str, torch.Tensor, object], object]
Calls = dict[str, list[tuple[torch.Tensor, torch.Tensor]]]  # inputs and outputs by module


@contextlib.contextmanager
def watched(model: nn.Module, names: Sequence[str], on_call: OnCall) -> Iterator[None]:
    """Call a function at each call of the named modules of a borrowed model while the context lasts."""
    with contextlib.ExitStack() as stack:
        for name in names:

            def hook(_: nn.Module, args: object, kwargs: object, output: object, name: str = name) -> object:
                given = next(find_tensors((args, kwargs)), None)
                return output if given is None else on_call(name, given, output)

            stack.callback(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True).remove)
        yield


@contextlib.contextmanager
def recorded(model: nn.Module, names: Sequence[str], probes: Mapping[str, torch.Tensor]) -> Iterator[Calls]:
    """Record the calls of named modules of a borrowed model, `probes` added to their outputs."""
    calls: Calls = {}

    def note(name: str, given: torch.Tensor, output: object) -> object:
        if isinstance(output, torch.Tensor):
            if name in probes:
                output = output + probes[name]
            calls.setdefault(name, []).append((given, output))
        return output

    with watched(model, names, note):
        yield calls


def find_tensors(value: object) -> Iterator[torch.Tensor]:
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
