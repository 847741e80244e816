"""What optimizers say of each parameter of a model, and the weight decay that they add to gradients."""

from collections.abc import Sequence
from typing import TypeAlias

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Model, Network, Penalty, Tensors, total
from clbench.indicators.parameter_state import ParameterState, groups_of, kind_of
from clbench.indicators.reported import ReportsSecondMoments, StackedAdamLike, reported_states
from clbench.indicators.torch_optimizers import DECOUPLED, KNOWN, known_states

OneOptimizer: TypeAlias = torch.optim.Optimizer | StackedAdamLike | ReportsSecondMoments
Optimizer: TypeAlias = OneOptimizer | Sequence[OneOptimizer]
"""What trains a model: an optimizer, or several, each some of the parameters."""


def optimizers_of(optimizer: Optimizer) -> list[OneOptimizer]:
    """Return the optimizers: the one, or each of several.

    Raises:
        OptionError: there are none.
    """
    found: list[OneOptimizer] = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]  # type: ignore[list-item]
    if not found:
        raise OptionError("optimizer=[] trains nothing: hand over the optimizers of the model's parameters")
    return found


def parameter_states(model: Model | Network, optimizer: Optimizer) -> dict[str, ParameterState]:
    """Return what the optimizer, or one of several, says of each trained parameter.

    Raises:
        OptionError: an optimizer is not known, or not exactly one trains a parameter of the model.
    """
    network = Network.of(model)
    found: dict[str, ParameterState] = {}
    for one in optimizers_of(optimizer):
        for name, state in _states_by(network, one).items():
            if name in found:
                raise OptionError(f"two optimizers train the model's parameter '{name}': leave it to one")
            found[name] = state
    for name in network.trained:
        if name not in found:
            raise OptionError(
                f"no optimizer trains the model's parameter '{name}': hand over all optimizers, as a list, or freeze it"
            )
    return {name: found[name] for name in network.trained}


def _states_by(network: Network, optimizer: OneOptimizer) -> dict[str, ParameterState]:
    if hasattr(optimizer, "second_moments"):
        return reported_states(network, optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        for kinds, read in KNOWN.items():
            if isinstance(optimizer, kinds):
                return known_states(network, optimizer, read)
    known = sorted({kind.__name__ for kinds in KNOWN for kind in kinds})
    raise OptionError(
        f"{kind_of(optimizer)} is not known: give it `second_moments()`, and `step_sizes` unless it has param_groups "
        f"(clbench.indicators.ReportsSecondMoments), or take {', '.join(known)} of torch.optim"
    )


def with_weight_decay(
    model: Model | Network, optimizer: Optimizer, penalty: Penalty | None
) -> Penalty | None:
    """Return the penalty plus decay/2 ||theta||^2 for what the optimizer decays through the gradient.

    That is the weight decay of SGD and the Adam family, unless it is decoupled as that of AdamW and Muon; and of other
    optimizers, where a group says `decoupled_weight_decay=False`.
    """
    network = Network.of(model)
    decays = _coupled_weight_decay(optimizer)
    own = {name: decays[id(value)] for name, value in network.trained.items() if id(value) in decays}
    if not own:
        return penalty

    def both(parameters: Tensors) -> torch.Tensor:
        if network.stacked:
            squares = [
                decay / 2 * parameters[name].square().reshape(network.count, -1).sum(dim=1)
                for name, decay in own.items()
            ]
        else:
            squares = [decay / 2 * parameters[name].square().sum() for name, decay in own.items()]
        decayed = total(squares)
        more = None if penalty is None else penalty(parameters)
        return decayed if more is None else decayed + more

    return both


def _is_decoupled(optimizer: OneOptimizer) -> bool:
    """Tell whether an optimizer decays weights apart from the gradient, as those that are not known mostly do."""
    known = any(isinstance(optimizer, kinds) for kinds in KNOWN)
    return not known or isinstance(optimizer, DECOUPLED)


def _coupled_weight_decay(optimizer: Optimizer) -> dict[int, float]:
    """Return the weight decay that is added to gradients, by the parameters' ids."""
    return {
        place: float(group["weight_decay"])
        for one in optimizers_of(optimizer)
        if hasattr(one, "param_groups")
        for place, group in groups_of(one).items()
        if group.get("weight_decay") and not group.get("decoupled_weight_decay", _is_decoupled(one))
    }
