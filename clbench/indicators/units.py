"""Measures of hidden units on a batch: the entropy of their signs, and the share that is dormant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from clbench.errors import OptionError, UndefinedError
from clbench.indicators.borrowing import borrowed, keep_random_states
from clbench.indicators.calls import find_tensors, watched
from clbench.indicators.hidden import LayerCall, hidden_units, layer_paths
from clbench.indicators.hooks import check_can_be_borrowed
from clbench.indicators.kernels import plain_kernels
from clbench.indicators.layers import WHOLE, LayerChoice, group_parameters
from clbench.indicators.module_kinds import outer_paths
from clbench.indicators.networks import Measures, Network, at_least_float32, check_tensors
from clbench.indicators.stacked import Axis, Model, Tensors, cloned


def unit_sign_entropy(model: Model | Network, inputs: torch.Tensor, layers: LayerChoice = None) -> Measures:
    """Return the entropy of the signs of hidden pre-activations, mean over units.

    With `p` the share of the batch on which a unit's pre-activation is positive, `-p ln p - (1-p) ln(1-p)`. A
    layer's pre-activations are the output of its module, or of a normalisation that receives that output. A
    convolution's units are its channels, and each position is one more sample; those of recurrent layers and attention
    are the outputs. A layer is hidden if another one receives its output; frozen layers count as well. A model without
    hidden layers raises `UndefinedError`.

    Source: Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity", 2023;
    Baveja et al., arXiv 2509.19698.

    Returns:
        nats in [0, ln 2], per hidden layer and for the units of all: scalars, or `(S,)`. A dead or constant
        unit has 0.
    """

    def entropy(module: ModuleUnits) -> torch.Tensor:
        share = (module.before > 0).to(module.before.dtype).mean(dim=0)
        entropies: torch.Tensor = torch.special.entr(share) + torch.special.entr(1 - share)
        return entropies

    return _unit_means(model, inputs, entropy, layers)


def dormant_units(model: Model | Network, inputs: torch.Tensor, layers: LayerChoice = None) -> Measures:
    """Return the share of hidden units whose activation is zero on the whole batch.

    A layer's activations are what the next layer, or a normalisation before it, receives that is computed from its
    output; with CReLU that is twice as many units. A model without hidden layers raises `UndefinedError`.

    Source: the strict sense of Lyle et al., "Understanding Plasticity in Neural Networks", 2023, and Dohare et al.,
    Nature 2024. Sokar et al. (2023) also count units far below their layer's mean.

    Returns:
        share in [0, 1], per hidden layer and for the units of all: scalars, or `(S,)`; 1 for a dead layer.
    """

    def dormant(module: ModuleUnits) -> torch.Tensor:
        return (module.after == 0).all(dim=0).to(module.after.dtype)

    return _unit_means(model, inputs, dormant, layers)


@dataclass(frozen=True)
class ModuleUnits:
    """A hidden module's units on a batch: `N` is `B` times the positions of a convolution or sequence, times calls."""

    layer: str | None  # that it belongs to
    before: torch.Tensor  # pre-activations, (N, units)
    after: torch.Tensor  # activations, (N, units)


def measure_units(
    model: Model | Network,
    inputs: torch.Tensor,
    reduce: Callable[[Sequence[ModuleUnits]], Measures],
    layers: LayerChoice = None,
) -> Measures:
    """Run the model, and reduce each network's hidden modules to scalars; frozen ones count as well."""
    network = Network.of(model, layers)
    check_can_be_borrowed(network.module)
    check_tensors(inputs=inputs)
    if inputs.ndim < 1 + network.stacked or not inputs.numel():
        raise OptionError(f"inputs {tuple(inputs.shape)} contain no batch")
    module_layers = _module_layers(network)

    def measure(state: Tensors, x: torch.Tensor) -> Measures:
        copies, calls = cloned(state), list[LayerCall]()
        for name in network.trained:  # the graph tells which layers are hidden
            copies[name].requires_grad_()
        if x.is_floating_point():
            x = x.detach().requires_grad_()

        def note(path: str, given: torch.Tensor, output: object) -> object:
            if outputs := list(find_tensors(output)):
                calls.append(LayerCall(path, given, outputs))
            return output

        paths = layer_paths(network.module)
        with borrowed(network.module, copies), watched(network.module, paths, note):
            network.inner(x.clone())
        return reduce(_collect(network, calls, module_layers))

    with torch.enable_grad(), keep_random_states(inputs.device), plain_kernels(network.module):
        looped = Axis(network.axis.count)  # the graph of a mapped pass does not tell what is hidden
        return looped.each(measure, {**network.parameters, **network.buffers}, inputs)


def _collect(network: Network, calls: Sequence[LayerCall], layers: Mapping[str, str]) -> list[ModuleUnits]:
    hidden = hidden_units(network.module, calls)
    if not hidden:
        called = {call.path for call in calls}
        silent = [path for path in layer_paths(network.module) if path not in called]
        never = f" ({', '.join(silent)}: never called as a module)" if silent else ""
        raise UndefinedError(f"the model has no hidden layer{never}: its units cannot be measured")
    modules: dict[str, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
    for path, *units in hidden:
        for rows, values in zip(modules.setdefault(path, ([], [])), units, strict=True):
            if len(values) and (not rows or rows[0].shape[-1] == values.shape[-1]):
                rows.append(at_least_float32(values))
    return [
        ModuleUnits(layers.get(path), torch.cat(before), torch.cat(after))
        for path, (before, after) in modules.items()
        if before and after  # others received no sample
    ]


def _module_layers(network: Network) -> dict[str, str]:
    parameters = [name for name, value in network.module.named_parameters() if value.numel()]
    paths = set(layer_paths(network.module))
    layer_names: dict[str, str] = {}
    for layer, names in group_parameters(network.module, parameters, network.choice).items():
        for name in names:
            if path := next((path for path in reversed(outer_paths(name)) if path in paths), None):
                layer_names.setdefault(path, layer)
    return layer_names


def _unit_means(
    model: Model | Network,
    inputs: torch.Tensor,
    measure: Callable[[ModuleUnits], torch.Tensor],
    choice: LayerChoice,
) -> Measures:
    def means(units: Sequence[ModuleUnits]) -> Measures:
        values = [measure(module) for module in units]
        layers: dict[str, list[torch.Tensor]] = {}
        for module, value in zip(units, values, strict=True):
            if module.layer is not None:
                layers.setdefault(module.layer, []).append(value)
        layers[WHOLE] = values
        return {layer: torch.cat(pieces).mean() for layer, pieces in layers.items()}

    return measure_units(model, inputs, means, choice)
