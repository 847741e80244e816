"""What an optimizer, or several, knows about each parameter of a model, and weight decay added to gradients."""

from collections.abc import Sequence
from typing import TypeAlias, cast

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Network, Penalty, total
from clbench.indicators.parameter_state import ParameterState, class_name, groups_by_id
from clbench.indicators.reported import ReportsSecondMoments, reported_states
from clbench.indicators.stacked import Model, Tensors
from clbench.indicators.torch_optimizers import DECOUPLED, KNOWN, known_states

SingleOptimizer: TypeAlias = torch.optim.Optimizer | ReportsSecondMoments
Optimizer: TypeAlias = SingleOptimizer | Sequence[SingleOptimizer]
"""What trains a model: an optimizer, or several, each some of the parameters."""


def list_optimizers(optimizer: Optimizer) -> list[SingleOptimizer]:
    if isinstance(optimizer, list | tuple):
        if not optimizer:
            raise OptionError("optimizer=[] is empty: pass the optimizers of the model's parameters")
        return list(optimizer)
    return [cast(SingleOptimizer, optimizer)]


def parameter_states(model: Model | Network, optimizer: Optimizer) -> dict[str, ParameterState]:
    """Return each trained parameter's state in its optimizer; exactly one must train it."""
    network = Network.of(model)
    states: dict[str, ParameterState] = {}
    for single in list_optimizers(optimizer):
        for name, state in _states(network, single).items():
            if name in states:
                raise OptionError(f"two optimizers train the model's parameter '{name}': give it to only one")
            states[name] = state
    for name in network.trained:
        if name not in states:
            raise OptionError(
                f"no optimizer trains the model's parameter '{name}': pass all optimizers as a list, or freeze it"
            )
    return {name: states[name] for name in network.trained}


def _states(network: Network, optimizer: SingleOptimizer) -> dict[str, ParameterState]:
    if hasattr(optimizer, "second_moments"):
        return reported_states(network, optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        for kinds, (moments, read) in KNOWN.items():
            if isinstance(optimizer, kinds):
                return known_states(network, optimizer, moments, read)
    known = sorted({kind.__name__ for kinds in KNOWN for kind in kinds})
    raise OptionError(
        f"{class_name(optimizer)} is not supported: give it `second_moments()`, and `step_sizes` unless it has "
        f"param_groups (clbench.indicators.ReportsSecondMoments), or use {', '.join(known)} of torch.optim"
    )


def with_weight_decay(
    model: Model | Network, optimizer: Optimizer, penalty: Penalty | None
) -> Penalty | None:
    """Return the penalty plus decay/2 ||theta||^2 for weights that the optimizer decays through the gradient.

    That is the weight decay of SGD and the Adam family, unless it is decoupled as that of AdamW and Muon; and of other
    optimizers, where a group says `decoupled_weight_decay=False`.
    """
    network = Network.of(model)
    decays = {
        key: float(group["weight_decay"])
        for single in list_optimizers(optimizer)
        for key, group in groups_by_id(single).items()
        if group.get("weight_decay") and not group.get("decoupled_weight_decay", _is_decoupled(single))
    }
    decayed = {name: decays[id(value)] for name, value in network.trained.items() if id(value) in decays}
    if not decayed:
        return penalty

    def both(parameters: Tensors) -> torch.Tensor:
        squares = {name: network.axis.flat(parameters[name].square()).sum(dim=-1) for name in decayed}
        decay = total([factor / 2 * squares[name] for name, factor in decayed.items()])
        added = None if penalty is None else penalty(parameters)
        return decay if added is None else decay + added

    return both


def _is_decoupled(optimizer: SingleOptimizer) -> bool:
    """Return whether an optimizer decays weights apart from the gradient, as unknown ones mostly do."""
    known = any(isinstance(optimizer, kinds) for kinds in KNOWN)
    return not known or isinstance(optimizer, DECOUPLED)
