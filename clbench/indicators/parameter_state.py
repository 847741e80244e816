"""An optimizer's state of one parameter, as the formula of a step reads it."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Network, dtype_at_least_float32

Group: TypeAlias = dict[str, Any]  # one of an optimizer's `param_groups`
Number: TypeAlias = float | torch.Tensor  # `(S,)` for stacked networks, or shaped like the parameter


@dataclass(frozen=True)
class ParameterState:
    """An optimizer's state of one parameter.

    The average gradient is multiplied by `step_size * scale / (correction * (sqrt(second_moment) + eps))`, and by
    `step_size * scale` where there is no second moment. `updated` and `divided` are tensors where elements differ.
    """

    step_size: Number  # eta as it is set
    adaptive: bool = True  # False for an optimizer that has no second moment: SGD, Muon
    updated: bool | torch.Tensor = True
    second_moment: torch.Tensor | None = None  # v_hat, bias-corrected, shaped like the parameter
    divided: bool | torch.Tensor = True  # whether the second moment counts: not in RAdam before rectification
    scale: Number = 1.0  # the optimizer's schedule
    correction: Number = 1.0  # 1 - beta1^t of Adam
    eps: Number = 0.0


def class_name(optimizer: object) -> str:
    """Return module and name of an optimizer's class; PyTorch's under their public names.

    >>> class_name(torch.optim.Adadelta([torch.zeros(1)]))
    'torch.optim.Adadelta'
    """
    kind = type(optimizer)
    public = getattr(torch.optim, kind.__name__, None) is kind
    return f"{'torch.optim' if public else kind.__module__}.{kind.__qualname__}"


def groups_by_id(optimizer: object) -> dict[int, Group]:
    groups = getattr(optimizer, "param_groups", ())
    return {id(value): group for group in groups for value in group["params"]}


def has_updates(steps: Number) -> bool | torch.Tensor:
    """Return whether there was an update; for each element, if elements count steps and any has had one."""
    updated = steps > 0
    return updated if isinstance(updated, torch.Tensor) and bool(updated.any()) else updated is True


def broadcast_steps(network: Network, value: torch.Tensor, steps: Number) -> Number:
    """Return a parameter's number of updates as a float, or shaped like the parameter."""
    if not isinstance(steps, torch.Tensor) or steps.numel() == 1:
        return float(steps)
    if steps.shape == network.axis.shape:
        steps = network.axis.expand(steps, value)
    return broadcast("steps", steps, value)


def broadcast(what: str, number: Number, value: torch.Tensor) -> torch.Tensor:
    """Return a parameter's number or tensor in its shape, in float32 or better."""
    tensor = torch.as_tensor(number, device=value.device).detach().to(dtype_at_least_float32(value))
    try:
        return tensor.expand(value.shape)
    except RuntimeError:
        raise OptionError(
            f"{what} of shape {tuple(tensor.shape)} do not fit a parameter of shape {tuple(value.shape)}: "
            "they must broadcast to it"
        ) from None
