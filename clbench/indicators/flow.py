"""Which layers a forward pass goes through: what they give, and who is given that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from clbench.indicators.derivatives import nodes_before
from clbench.indicators.layers import HOLDERS, above, is_normalisation, is_parametrized, scales_units
from clbench.indicators.watching import tensors_in

SHAPING = ("view", "reshape", "transpose", "permute", "clone", "alias", "squeeze", "tbackward")
CHANNELS_FIRST = (_ConvNd, _BatchNorm, _InstanceNorm, nn.GroupNorm)


@dataclass
class Seen:
    """A call of a layer or a normalisation.

    Attributes:
        path: the module's.
        given: its first input, and `returned` the first tensor of its output; `given_then` and `returned_then` are
            copies made at once, for either may be overwritten.
        before: autograd's node of what was given, and `after` those of all that was returned.
    """

    path: str
    given: torch.Tensor
    returned: torch.Tensor
    given_then: torch.Tensor
    returned_then: torch.Tensor
    before: Any
    after: list[Any]


@dataclass(frozen=True)
class Unit:
    """A layer's call whose units are hidden.

    Attributes:
        path: the layer's module.
        values: which call gives the pre-activations: its own, or that of the normalisation that follows.
        activations: which call is given the activations.
    """

    path: str
    values: int
    activations: int


@dataclass
class Recorder:
    """Records the calls of layers and normalisations, in order."""

    calls: list[Seen] = field(default_factory=list)

    def watch(self, model: nn.Module) -> None:
        """Record from now on; the model is borrowed, and forgets it afterwards."""
        for path in watched_paths(model):

            def note(
                _: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any, path: str = path
            ) -> None:
                given, found = next(tensors_in((args, named)), None), list(tensors_in(output))
                if given is not None and found:
                    then = given.detach().clone(), found[0].detach().clone()
                    after = [value.grad_fn for value in found if value.grad_fn is not None]
                    self.calls.append(Seen(path, given, found[0], *then, given.grad_fn, after))

            model.get_submodule(path).register_forward_hook(note, with_kwargs=True)


def watched_paths(model: nn.Module) -> list[str]:
    """Return the layers and normalisations of a model: modules that compute with parameters of their own."""
    found: dict[str, None] = {}
    for path, module in model.named_modules():
        within = any(outer in found for outer in above(path))
        if not path or within or isinstance(module, (*HOLDERS, nn.PReLU)):
            continue
        holders = [module, *(child for child in module.children() if isinstance(child, HOLDERS))]
        own = [value for holder in holders for value in holder.parameters(recurse=holder is not module)]
        leaf = bool(own) and len(own) == len(list(module.parameters()))
        if (
            leaf
            or isinstance(module, nn.MultiheadAttention)
            or is_parametrized(module)
            or is_normalisation(module)
        ):
            found[path] = None
    return list(found)


def hidden_units(model: nn.Module, calls: Sequence[Seen]) -> list[Unit]:
    """Return the hidden layers' calls, in order: those that another layer comes after.

    Followed is autograd's graph, from what a layer is given back to the layers whose outputs that was made of; where
    it is cut, as by `detach` or in a recomputed block, the layer called last. A normalisation of one layer's very
    output gives that layer's pre-activations; any other is given activations, as a layer is.
    """
    made_by: dict[Any, int] = {}  # by autograd's nodes, the call of the layer
    values: dict[int, int] = {}
    activations: dict[int, int] = {}
    last: int | None = None
    for place, call in enumerate(calls):
        if call.before is None and call.given.is_floating_point() and last is not None:
            sources, direct = {last}, call.given is calls[values[last]].returned
        else:
            sources, direct = _sources(call.before, made_by), _is_output(call.before, made_by)
        if scales_units(model.get_submodule(call.path)):
            if direct:
                (source,) = sources
                values[source] = place
                made_by.update(dict.fromkeys(call.after, source))
                continue
        else:
            values[place] = last = place
            made_by.update(dict.fromkeys(call.after, place))
        for source in sources:
            activations.setdefault(source, place)
    return [Unit(calls[place].path, values[place], activations[place]) for place in sorted(activations)]


def _sources(node: Any, made_by: Mapping[Any, int]) -> set[int]:
    """Return the calls whose outputs a node of autograd's graph was made of, the nearest on each way."""
    return {made_by[one] for one in nodes_before(node, until=made_by) if one in made_by}


def _is_output(node: Any, made_by: Mapping[Any, int]) -> bool:
    """Tell whether a node is that of a layer's output itself, perhaps in another shape."""
    while node is not None and node not in made_by:
        inputs = [before for before, _ in node.next_functions]
        shaped = any(word in node.name().lower() for word in SHAPING)
        node = inputs[0] if shaped and len(inputs) == 1 else None
    return node is not None


def rows(module: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Return values as `(N, units)`: positions of a convolution or a sequence are so many samples."""
    moved = value.movedim(1, -1) if isinstance(module, CHANNELS_FIRST) and value.ndim > 2 else value
    return moved.reshape(-1, moved.shape[-1])
