"""Which layers are hidden, by the graph of a forward pass: their pre-activations, and the activations made of them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import Node

from clbench.indicators.autograd import ancestors
from clbench.indicators.calls import find_tensors, watched
from clbench.indicators.module_kinds import (
    HOLDERS,
    is_normalisation,
    is_parametrized,
    outer_paths,
    scales_units,
)
from clbench.indicators.torch_private import BATCH_NORMS, CONVOLUTIONS, INSTANCE_NORMS

SHAPING = ("view", "reshape", "transpose", "permute", "clone", "alias", "squeeze", "tbackward")
CHANNELS_FIRST = (*CONVOLUTIONS, *BATCH_NORMS, *INSTANCE_NORMS, nn.GroupNorm)


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer or a normalisation.

    Attributes:
        path: the module's.
        given: its first input.
        returned: the first tensor of its output.
        given_copy: made during the call, for the input may be overwritten.
        returned_copy: made during the call, for the output may be overwritten.
        source: autograd's node of the input.
        results: autograd's nodes of all output tensors.
    """

    path: str
    given: torch.Tensor
    returned: torch.Tensor
    given_copy: torch.Tensor
    returned_copy: torch.Tensor
    source: Node | None
    results: list[Node]


@dataclass(frozen=True)
class HiddenCall:
    """A hidden layer's call, and where its units are found.

    Attributes:
        path: the layer's module.
        values: index of the call that returns the pre-activations: this one, or that of a normalisation after it.
        activations: index of the call that receives the activations.
    """

    path: str
    values: int
    activations: int


@contextlib.contextmanager
def layer_calls(model: nn.Module) -> Iterator[list[LayerCall]]:
    """Record the calls of a borrowed model's layers and normalisations while the context lasts."""
    calls: list[LayerCall] = []

    def note(path: str, given: torch.Tensor | None, output: object) -> object:
        tensors = list(find_tensors(output))
        if given is not None and tensors:
            copies = given.detach().clone(), tensors[0].detach().clone()
            results = [value.grad_fn for value in tensors if value.grad_fn is not None]
            calls.append(LayerCall(path, given, tensors[0], *copies, given.grad_fn, results))
        return output

    with watched(model, layer_paths(model), note):
        yield calls


def layer_paths(model: nn.Module) -> list[str]:
    """Return the layers and normalisations of a model: modules that compute with parameters they own."""
    paths: dict[str, None] = {}
    for path, module in model.named_modules():
        within = any(outer in paths for outer in outer_paths(path))
        if not path or within or isinstance(module, (*HOLDERS, nn.PReLU)):
            continue
        holders = [module, *(child for child in module.children() if isinstance(child, HOLDERS))]
        owned = [value for holder in holders for value in holder.parameters(recurse=holder is not module)]
        is_leaf = bool(owned) and len(owned) == len(list(module.parameters()))
        if (
            is_leaf
            or isinstance(module, nn.MultiheadAttention)
            or is_parametrized(module)
            or is_normalisation(module)
        ):
            paths[path] = None
    return list(paths)


def hidden_calls(model: nn.Module, calls: Sequence[LayerCall]) -> list[HiddenCall]:
    """Return the hidden layers' calls, in order: those whose output another layer receives.

    Autograd's graph is followed from a layer's input back to the layers whose outputs it was computed from. Where it is
    cut, as by `detach` or in a recomputed block, that is the layer called last. A normalisation that receives the very
    output of one layer gives that layer's pre-activations; any other receives activations, as a layer does.
    """
    made_by: dict[Node, int] = {}  # the layer's call, by autograd's nodes
    values: dict[int, int] = {}
    activations: dict[int, int] = {}
    last: int | None = None
    for index, call in enumerate(calls):
        if call.source is None and call.given.is_floating_point() and last is not None:
            sources, direct = {last}, call.given is calls[values[last]].returned
        else:
            nodes = ancestors(call.source, until=made_by)
            sources = {made_by[node] for node in nodes if node in made_by}
            direct = _is_output(call.source, made_by)
        if not scales_units(model.get_submodule(call.path)):
            values[index] = last = index
            made_by.update(dict.fromkeys(call.results, index))
        elif direct:
            (source,) = sources
            values[source] = index
            made_by.update(dict.fromkeys(call.results, source))
            continue
        for source in sources:
            activations.setdefault(source, index)
    return [HiddenCall(calls[index].path, values[index], activations[index]) for index in sorted(activations)]


def _is_output(node: Node | None, made_by: Mapping[Node, int]) -> bool:
    """Tell whether a node is that of a layer's output itself, perhaps in another shape."""
    while node is not None and node not in made_by:
        inputs = [source for source, _ in node.next_functions]
        shaped = any(word in node.name().lower() for word in SHAPING)
        node = inputs[0] if shaped and len(inputs) == 1 else None
    return node is not None


def unit_rows(module: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Return values as `(N, units)`: each position of a convolution or a sequence is one more sample."""
    moved = value.movedim(1, -1) if isinstance(module, CHANNELS_FIRST) and value.ndim > 2 else value
    return moved.reshape(-1, moved.shape[-1])
