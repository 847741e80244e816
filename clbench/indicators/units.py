"""What hidden units do on a batch: their signs, and whether they are silent."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from clbench.errors import UndefinedError
from clbench.indicators.networks import WHOLE, Measures, Model, Stacked, Tensors, batched, layer_modules, wide
from clbench.indicators.watching import random_state_kept, watched

CHANNELS_FIRST = (_ConvNd, _BatchNorm, _InstanceNorm, nn.GroupNorm)


def unit_sign_entropy(model: Model, inputs: torch.Tensor) -> Measures:
    """Return the entropy of the signs of hidden pre-activations, mean over units.

    With `p` the share of the batch on which a unit's pre-activation is positive, `-p ln p - (1-p) ln(1-p)`. A
    layer's pre-activations are what its module returns: a normalisation that is a module of its own has units of
    its own. A convolution's units are its channels, their positions so many more samples.

    Source: Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity", 2023;
    Baveja et al., arXiv 2509.19698.

    Args:
        model: a module, or `Stacked` ones.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.

    Returns:
        nats in [0, ln 2], per hidden layer and for the units of all: scalars, or `(S,)`. A dead or constant
        unit has 0.

    Raises:
        UndefinedError: the model has no hidden layer.
    """

    def entropies(before: Tensors, _: Tensors) -> Measures:
        found = {}
        for layer, values in before.items():
            share = (values > 0).to(values.dtype).mean(dim=0)
            found[layer] = torch.special.entr(share) + torch.special.entr(1 - share)
        return _means(found)

    return over_hidden(model, inputs, entropies)


def dormant_units(model: Model, inputs: torch.Tensor) -> Measures:
    """Return the share of hidden units whose activation is zero on the whole batch.

    A layer's activations are what the next layer is given; with CReLU that is twice as many units. This is
    the strict sense of Lyle et al. ("Understanding Plasticity in Neural Networks", 2023) and Dohare et al.
    (Nature 2024); Sokar et al. (2023) also count units that are merely far below their layer's mean.

    Args:
        model: a module, or `Stacked` ones.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.

    Returns:
        share in [0, 1], per hidden layer and for the units of all: scalars, or `(S,)`; 1 for a dead layer.

    Raises:
        UndefinedError: the model has no hidden layer.
    """

    def silent(_: Tensors, after: Tensors) -> Measures:
        return _means({layer: (values == 0).all(dim=0).to(values.dtype) for layer, values in after.items()})

    return over_hidden(model, inputs, silent)


def over_hidden(
    model: Model, inputs: torch.Tensor, reduce: Callable[[Tensors, Tensors], Measures]
) -> Measures:
    """Run the model, and reduce its hidden layers' pre-activations and activations, network by network.

    Args:
        model: a module, or `Stacked` ones.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        reduce: from one network's pre-activations and activations, `(N, units)` by layer, to scalars; N is B
            times a convolution's or a sequence's positions.

    Returns:
        scalars, or `(S,)`.

    Raises:
        UndefinedError: the model has no hidden layer.
    """
    module = model.model if isinstance(model, Stacked) else model
    paths = layer_modules(model)

    def look(state: Tensors, x: torch.Tensor) -> Measures:
        with watched(module, list(paths.values())) as seen:
            functional_call(module, state, (x,))
        calls = {layer: seen[path] for path in seen for layer in paths if paths[layer] == path}
        order = list(calls)
        if len(order) < 2:
            raise UndefinedError("the model has no hidden layer: its units cannot be measured")
        before = {
            name: _rows(module, paths[name], [output for _, output in calls[name]]) for name in order[:-1]
        }
        after = {
            name: _rows(module, paths[name], [given for given, _ in calls[following]])
            for name, following in pairwise(order)
        }
        return reduce(before, after)

    if isinstance(model, Stacked):
        state = {**model.parameters, **model.buffers}
    else:
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    state = {name: value.detach().clone() for name, value in state.items()}
    with torch.no_grad(), random_state_kept(inputs.device):
        if not isinstance(model, Stacked):
            return look(state, inputs)
        if batched(model):
            found: Measures = vmap(look, randomness="different")(state, inputs)
            return found
        each = [
            look({name: value[place] for name, value in state.items()}, x) for place, x in enumerate(inputs)
        ]
        return {name: torch.stack([own[name] for own in each]) for name in each[0]}


def _rows(module: nn.Module, name: str, values: list[torch.Tensor]) -> torch.Tensor:
    """Return values of all calls as `(N, units)`."""
    parts = [
        part
        for part in module.get_submodule(name).modules()
        if next(part.parameters(False), None) is not None
    ]
    channels_first = isinstance(parts[-1] if parts else module, CHANNELS_FIRST)
    flat = []
    for value in values:
        moved = value.movedim(1, -1) if channels_first and value.ndim > 2 else value
        flat.append(moved.reshape(-1, moved.shape[-1]))
    return wide(torch.cat(flat))


def _means(values: Tensors) -> Measures:
    return {
        **{layer: value.mean(dim=-1) for layer, value in values.items()},
        WHOLE: torch.cat(list(values.values()), dim=-1).mean(dim=-1),
    }
