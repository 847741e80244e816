"""What an optimizer knows of each parameter: step size, second moment, corrections."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Model, Penalty, Stacked, Tensors, layers, total, trainable


class StackedAdamLike(Protocol):
    """An Adam of one's own over stacked parameters, with a step size for each layer and network.

    Attributes:
        step_sizes: `(L, S)`, layers in the model's order.
        second_moments: `(S, ...)` by parameter, not bias-corrected.
        steps: updates done; from the first one on it may be a tensor `(S,)`, for each network its own.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
    """

    step_sizes: torch.Tensor
    second_moments: dict[str, torch.Tensor]
    betas: tuple[float, float]
    eps: float

    @property
    def steps(self) -> int | torch.Tensor:
        """See above."""


Optimizer = torch.optim.Optimizer | StackedAdamLike


@dataclass(frozen=True)
class Knowledge:
    """What an optimizer knows of one parameter.

    Attributes:
        step_size: eta, a number or `(S,)`.
        second_moment: bias-corrected v_hat, shaped like the parameter; None before the first update, and
            for SGD.
        correction: 1 - beta1^t.
        eps: added to the root of the second moment.
    """

    step_size: float | torch.Tensor
    second_moment: torch.Tensor | None
    correction: float | torch.Tensor
    eps: float


def knowledge(model: Model, optimizer: Optimizer) -> dict[str, Knowledge]:
    """Return what the optimizer knows of each trained parameter.

    Raises:
        OptionError: it is neither of Adam's family nor SGD, or does not train one of the model's parameters.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        wanted = [*StackedAdamLike.__annotations__, "steps"]
        if not all(hasattr(optimizer, name) for name in wanted):
            raise OptionError(
                f"a {type(optimizer).__name__} is no optimizer: it lacks some of {', '.join(wanted)}"
            )
        return _of_stacked(model, optimizer)
    if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)):
        raise OptionError(
            f"{type(optimizer).__name__} has no effective step size here: Adam, AdamW and SGD have"
        )
    groups = {id(value): group for group in optimizer.param_groups for value in group["params"]}
    found = {}
    for name, value in trainable(model).items():
        if id(value) not in groups:
            raise OptionError(f"the optimizer does not train the model's parameter '{name}'")
        found[name] = _of_torch(groups[id(value)], optimizer.state.get(value, {}))
    return found


def _of_torch(group: Mapping[str, Any], state: Mapping[str, Any]) -> Knowledge:
    moment = state.get("max_exp_avg_sq", state.get("exp_avg_sq"))
    if moment is None:
        return Knowledge(group["lr"], None, 1.0, group.get("eps", 0.0))
    beta1, beta2 = group["betas"]
    steps = float(state["step"])
    return Knowledge(group["lr"], moment / (1 - beta2**steps), 1 - beta1**steps, group["eps"])


def _of_stacked(model: Model, optimizer: StackedAdamLike) -> dict[str, Knowledge]:
    steps, found = optimizer.steps, {}
    started = isinstance(steps, torch.Tensor) or steps > 0
    for place, names in enumerate(layers(model).values()):
        for name in names:
            eta, moment = optimizer.step_sizes[place], optimizer.second_moments[name]
            first, second = (_left(beta, steps, moment) for beta in optimizer.betas)
            if started:
                each = (-1, *[1] * (moment.ndim - 1))
                found[name] = Knowledge(eta, moment / second.view(each), first, optimizer.eps)
            else:
                found[name] = Knowledge(eta, None, 1.0, optimizer.eps)
    return found


def _left(beta: float, steps: int | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return 1 - beta^t, as a tensor like another."""
    if isinstance(steps, torch.Tensor):
        return -torch.expm1(steps * math.log(beta)).to(like)
    return like.new_tensor(1 - beta**steps)


def with_weight_decay(model: Model, optimizer: Optimizer, penalty: Penalty | None) -> Penalty | None:
    """Return the penalty plus decay/2 ||theta||^2 for what the optimizer decays through the gradient.

    That is the weight decay of Adam and SGD, but not of AdamW.
    """
    decays = _coupled_weight_decay(optimizer)
    own = {name: decays[id(value)] for name, value in trainable(model).items() if id(value) in decays}
    if not own:
        return penalty

    def both(parameters: Tensors) -> torch.Tensor:
        if isinstance(model, Stacked):
            squares = [
                decay / 2 * parameters[name].square().flatten(1).sum(dim=1) for name, decay in own.items()
            ]
        else:
            squares = [decay / 2 * parameters[name].square().sum() for name, decay in own.items()]
        decayed = total(squares)
        more = None if penalty is None else penalty(parameters)
        return decayed if more is None else decayed + more

    return both


def _coupled_weight_decay(optimizer: Optimizer) -> dict[int, float]:
    """Return the weight decay that is added to gradients, by the parameters' ids."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        return {}
    return {
        id(value): float(group["weight_decay"])
        for group in optimizer.param_groups
        for value in group["params"]
        if group.get("weight_decay")
        and not group.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW))
    }
