"""What hidden units do on a batch: their signs, and whether they are silent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.func import vmap

from clbench.errors import OptionError, UndefinedError
from clbench.indicators.borrowing import borrowed, random_states_kept
from clbench.indicators.flow import Recorder, Seen, Unit, hidden_units, rows, watched_paths
from clbench.indicators.hooks import check_can_be_borrowed
from clbench.indicators.layers import WHOLE, LayerChoice, grouped
from clbench.indicators.networks import Measures, Model, Network, Tensors, check_tensors, cloned, row, wide


def unit_sign_entropy(model: Model | Network, inputs: torch.Tensor, layers: LayerChoice = None) -> Measures:
    """Return the entropy of the signs of hidden pre-activations, mean over units.

    With `p` the share of the batch on which a unit's pre-activation is positive, `-p ln p - (1-p) ln(1-p)`. A
    layer's pre-activations are what its module returns, or the normalisation that is given that. A convolution's units
    are its channels, their positions so many more samples; of recurrent layers and attention they are those of the
    output. Hidden is a layer whose output another one is given; frozen ones count as well.

    Source: Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity", 2023;
    Baveja et al., arXiv 2509.19698.

    Args:
        model: a module, or `Stacked` ones.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        layers: which modules are a layer, see `layer_parameters`.

    Returns:
        nats in [0, ln 2], per hidden layer and for the units of all: scalars, or `(S,)`. A dead or constant
        unit has 0.

    Raises:
        UndefinedError: the model has no hidden layer.
    """

    def entropy(values: torch.Tensor) -> torch.Tensor:
        share = (values > 0).to(values.dtype).mean(dim=0)
        return torch.special.entr(share) + torch.special.entr(1 - share)

    def entropies(units: Units) -> Measures:
        of_layers = {layer: [entropy(one) for one in values] for layer, values in units.before.items()}
        return _means(of_layers, [entropy(one) for one in units.rest[0]])

    return over_hidden(model, inputs, entropies, layers)


def dormant_units(model: Model | Network, inputs: torch.Tensor, layers: LayerChoice = None) -> Measures:
    """Return the share of hidden units whose activation is zero on the whole batch.

    A layer's activations are what is given to the next layer, or to a normalisation before it, that is made of its
    output; with CReLU that is twice as many units. This is the strict sense of Lyle et al. ("Understanding Plasticity
    in Neural Networks", 2023) and Dohare et al. (Nature 2024); Sokar et al. (2023) also count units that are merely far
    below their layer's mean.

    Args:
        model: a module, or `Stacked` ones.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        layers: which modules are a layer, see `layer_parameters`.

    Returns:
        share in [0, 1], per hidden layer and for the units of all: scalars, or `(S,)`; 1 for a dead layer.

    Raises:
        UndefinedError: the model has no hidden layer.
    """

    def silent(values: torch.Tensor) -> torch.Tensor:
        return (values == 0).all(dim=0).to(values.dtype)

    def shares(units: Units) -> Measures:
        of_layers = {layer: [silent(one) for one in values] for layer, values in units.after.items()}
        return _means(of_layers, [silent(one) for one in units.rest[1]])

    return over_hidden(model, inputs, shares, layers)


@dataclass(frozen=True)
class Units:
    """What the hidden units of one network do on a batch.

    Attributes:
        before: pre-activations by layer, `(N, units)` for each of its modules; N is B times a convolution's or a
            sequence's positions, and times its calls.
        after: activations, ditto.
        rest: both for modules that belong to no layer.
        last: activations of the last hidden module.
    """

    before: dict[str, list[torch.Tensor]]
    after: dict[str, list[torch.Tensor]]
    rest: tuple[list[torch.Tensor], list[torch.Tensor]]
    last: torch.Tensor


def over_hidden(
    model: Model | Network,
    inputs: torch.Tensor,
    reduce: Callable[[Units], Measures],
    layers: LayerChoice = None,
) -> Measures:
    """Run the model, and reduce its hidden layers' pre-activations and activations, network by network.

    Args:
        model: a module, or `Stacked` ones.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        reduce: from one network's units to scalars.
        layers: see `layer_parameters`; frozen layers count as well.

    Returns:
        scalars, or `(S,)`.

    Raises:
        UndefinedError: the model has no hidden layer.
    """
    network = Network.of(model, layers)
    check_can_be_borrowed(network.module)
    check_tensors(inputs=inputs)
    if inputs.ndim < 1 + network.stacked or not inputs.numel():
        raise OptionError(f"inputs {tuple(inputs.shape)} hold no batch: there is nothing to measure on")
    names = _layer_names(network)
    state = {**network.parameters, **network.buffers}

    def run(own: Tensors, x: torch.Tensor) -> list[Seen]:
        recorder = Recorder()
        if x.is_floating_point():
            x = x.detach().requires_grad_()
        with borrowed(network.module, own):
            recorder.watch(network.module)
            network.inner(x.clone())
        return recorder.calls

    def with_graph(own: Tensors) -> Tensors:
        copies = cloned(own)
        for name in network.trained:
            copies[name].requires_grad_()
        return copies

    def look(own: Tensors, x: torch.Tensor) -> Measures:
        calls = run(with_graph(own), x)
        return reduce(_units(network, calls, hidden_units(network.module, calls), names))

    with torch.enable_grad(), random_states_kept(inputs.device), network.plain_kernels():
        if not network.stacked:
            return _detached(look(state, inputs))
        if network.batched:
            hidden = hidden_units(network.module, run(with_graph(row(state, 0)), inputs[0]))
            try:
                found: Measures = vmap(
                    lambda own, x: reduce(_units(network, run(own, x), hidden, names)), randomness="different"
                )(cloned(state), inputs)
                return _detached(found)
            except Exception:  # whatever a model may say to tensors within `vmap`
                pass  # one by one
        each = [_detached(look(row(state, place), x)) for place, x in enumerate(inputs)]
        return {name: torch.stack([own[name] for own in each]) for name in each[0]}


def _units(
    network: Network, calls: Sequence[Seen], hidden: Sequence[Unit], names: Mapping[str, str]
) -> Units:
    """Collect hidden units by layer and module."""
    if not hidden:
        silent = [path for path in watched_paths(network.module) if all(call.path != path for call in calls)]
        never = f" ({', '.join(silent)}: never called as a module)" if silent else ""
        raise UndefinedError(f"the model has no hidden layer{never}: its units cannot be measured")
    of_modules: dict[str, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
    for unit in hidden:
        before, after = of_modules.setdefault(unit.path, ([], []))
        for call, value, kept in (
            (calls[unit.values], calls[unit.values].returned_then, before),
            (calls[unit.activations], calls[unit.activations].given_then, after),
        ):
            flat = wide(rows(network.module.get_submodule(call.path), value))
            if len(flat) and (not kept or kept[0].shape[-1] == flat.shape[-1]):
                kept.append(flat)
    of_modules = {path: own for path, own in of_modules.items() if own[0] and own[1]}  # others saw no sample
    units = Units({}, {}, ([], []), wide(torch.cat(list(of_modules.values())[-1][1])))
    for path, (before, after) in of_modules.items():
        layer = names.get(path)
        own = (units.before.setdefault(layer, []), units.after.setdefault(layer, [])) if layer else units.rest
        own[0].append(torch.cat(before))
        own[1].append(torch.cat(after))
    return units


def _layer_names(network: Network) -> dict[str, str]:
    """Return the layer that each module belongs to, frozen ones too."""
    everything = [name for name, value in network.module.named_parameters() if value.numel()]
    watched = set(watched_paths(network.module))
    found: dict[str, str] = {}
    for layer, names in grouped(network.module, everything, network.choice).items():
        for name in names:
            path = name
            while path and path not in watched:
                path = path.rpartition(".")[0]
            if path:
                found.setdefault(path, layer)
    return found


def _detached(found: Measures) -> Measures:
    return {name: value.detach() for name, value in found.items()}


def _means(of_layers: Mapping[str, Sequence[torch.Tensor]], rest: Sequence[torch.Tensor]) -> Measures:
    """Return means over units, by layer and in all."""
    joined = {layer: torch.cat(list(values), dim=-1) for layer, values in of_layers.items()}
    return {
        **{layer: value.mean(dim=-1) for layer, value in joined.items()},
        WHOLE: torch.cat([*joined.values(), *rest], dim=-1).mean(dim=-1),
    }
