"""Looking into a forward pass: what modules are given and what they return."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clbench.errors import UndefinedError

Calls = dict[str, list[tuple[torch.Tensor, torch.Tensor]]]
"""For each module, the first input and the output of each of its calls."""


@contextlib.contextmanager
def watched(
    model: nn.Module, names: Sequence[str], probes: Mapping[str, torch.Tensor] | None = None
) -> Iterator[Calls]:
    """Record the calls of modules while the context lasts.

    Args:
        model: where the modules are.
        names: the modules' names.
        probes: tensors to add to modules' outputs.
    """
    calls: Calls = {}
    handles = []
    for name in names:

        def note(_: nn.Module, args: tuple[Any, ...], output: Any, name: str = name) -> Any:
            if probes is not None and name in probes:
                output = output + probes[name]
            if args and isinstance(args[0], torch.Tensor) and isinstance(output, torch.Tensor):
                calls.setdefault(name, []).append((args[0], output))
            return output

        handles.append(model.get_submodule(name).register_forward_hook(note))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Put the global random states back afterwards: of the CPU, and of `device`."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    elif device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        yield  # a recorded pass draws from a state that its graph looks after
    else:
        index = torch.get_device_module(device).current_device() if device.index is None else device.index
        with torch.random.fork_rng(devices=[index], device_type=device.type):
            yield


def plain_linear_layers(model: nn.Module) -> list[str]:
    """Return names of linear layers that share no parameter with another module.

    Only `nn.Linear` itself: a subclass may compute something else.
    """
    owners = Counter(id(value) for _, value in model.named_parameters(remove_duplicate=False))
    return [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and all(owners[id(value)] == 1 for value in module.parameters())
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
