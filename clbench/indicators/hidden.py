"""Which layers are hidden, by the graph of a forward pass: their pre-activations, and the activations made of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.autograd.graph import Node

from clbench.indicators.autograd import ancestors
from clbench.indicators.module_kinds import (
    BATCH_NORMS,
    CONVOLUTIONS,
    HOLDERS,
    INSTANCE_NORMS,
    is_normalisation,
    is_parametrized,
    outer_paths,
    scales_units,
)

SHAPING = ("view", "reshape", "transpose", "permute", "clone", "alias", "squeeze", "tbackward")
CHANNELS_FIRST = (*CONVOLUTIONS, *BATCH_NORMS, *INSTANCE_NORMS, nn.GroupNorm)


class LayerCall:
    """A call of a layer or a normalisation: first input and output, their copies, and autograd's nodes of both."""

    def __init__(self, path: str, given: torch.Tensor, outputs: list[torch.Tensor]) -> None:
        self.path, self.given, self.output = path, given, outputs[0]
        self.source = given.grad_fn
        self.results = [value.grad_fn for value in outputs if value.grad_fn is not None]
        # Tensors may be overwritten later.
        self.received, self.returned = given.detach().clone(), self.output.detach().clone()


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
        is_unit = isinstance(module, nn.MultiheadAttention) or is_parametrized(module)
        if is_leaf or is_unit or is_normalisation(module):
            paths[path] = None
    return list(paths)


def hidden_units(
    model: nn.Module, calls: Sequence[LayerCall]
) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Return hidden layers' calls: the layer's path, its pre-activations and its activations, `(N, units)` each.

    Hidden are layers whose output another layer receives. Autograd's graph is followed from a layer's input back to the
    layers whose outputs it was computed from. Where it is cut, as by `detach` or in a recomputed block, that is the
    layer called last. A normalisation that receives the very output of one layer gives that layer's pre-activations;
    any other receives activations, as a layer does.
    """
    made_by: dict[Node, int] = {}  # the layer's call, by autograd's nodes
    values: dict[int, LayerCall] = {}  # the call that returns pre-activations, by the layer's call
    activations: dict[int, LayerCall] = {}  # the call that receives activations
    last: int | None = None
    for index, call in enumerate(calls):
        if call.source is None and call.given.is_floating_point() and last is not None:
            sources, direct = {last}, call.given is values[last].output
        else:
            nodes = ancestors(call.source, until=made_by)
            sources = {made_by[node] for node in nodes if node in made_by}
            direct = _is_output(call.source, made_by)
        if scales_units(model.get_submodule(call.path)):
            if direct:
                (source,) = sources
                values[source] = call
                made_by.update(dict.fromkeys(call.results, source))
                continue
        else:
            values[index], last = call, index
            made_by.update(dict.fromkeys(call.results, index))
        for source in sources:
            activations.setdefault(source, call)

    def rows(call: LayerCall, values: torch.Tensor) -> torch.Tensor:
        return _unit_rows(model.get_submodule(call.path), values)

    return [
        (calls[index].path, rows(source, source.returned), rows(receiver, receiver.received))
        for index, receiver in sorted(activations.items())
        for source in [values[index]]
    ]


def _is_output(node: Node | None, made_by: Mapping[Node, int]) -> bool:
    """Return whether a node is that of a layer's output itself, perhaps in another shape."""
    while node is not None and node not in made_by:
        inputs = [source for source, _ in node.next_functions]
        shaped = any(word in node.name().lower() for word in SHAPING)
        node = inputs[0] if shaped and len(inputs) == 1 else None
    return node is not None


def _unit_rows(module: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Return values as `(N, units)`: each position of a convolution or a sequence is one more sample."""
    moved = value.movedim(1, -1) if isinstance(module, CHANNELS_FIRST) and value.ndim > 2 else value
    return moved.reshape(-1, moved.shape[-1])
