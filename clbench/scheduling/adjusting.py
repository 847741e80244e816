"""How step sizes are multiplied where an optimizer keeps them."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Model, Stacked, trainable
from clbench.indicators.optimizers import Optimizer, optimizers_of
from clbench.indicators.parameter_state import kind_of


def check_adjustable(model: Model, optimizer: Optimizer) -> None:
    """Raise `OptionError` unless every optimizer keeps step sizes where they can be multiplied."""
    for one in optimizers_of(optimizer):
        sizes = getattr(one, "step_sizes", None)
        if hasattr(one, "param_groups"):
            if isinstance(model, Stacked) and model.count > 1:
                raise OptionError(
                    f"{kind_of(one)} has one step size for {model.count} networks: give each its own optimizer, "
                    "or keep `step_sizes` `(L, S)`"
                )
        elif not isinstance(sizes, (torch.Tensor, MutableMapping)):
            raise OptionError(
                f"the step sizes of {kind_of(one)} cannot be adjusted: make `step_sizes` a tensor or a dictionary, or "
                "give it `param_groups`; adjust=False only measures"
            )


def multiply_step_sizes(
    model: Model,
    optimizer: Optimizer,
    places: Mapping[str, int],
    layers: Sequence[str],
    factor: torch.Tensor,
) -> None:
    """Multiply step sizes in place.

    Args:
        model: what is trained.
        optimizer: or several.
        places: of parameters' layers in `layers`, by the parameters' names.
        layers: names, for the error.
        factor: `(L, S)`.
    """
    values = trainable(model)
    owners = {id(value): places[name] for name, value in values.items()}
    for one in optimizers_of(optimizer):
        kept: Any = one
        if hasattr(one, "param_groups"):
            for group in kept.param_groups:
                own = sorted({owners[id(value)] for value in group["params"] if id(value) in owners})
                if len(own) > 1:
                    raise OptionError(
                        f"a parameter group holds the layers {', '.join(layers[place] for place in own)}: "
                        "make the scheduler after all groups"
                    )
                for place in own:
                    _multiply(group, "lr", factor[place, 0])
        elif isinstance(kept.step_sizes, MutableMapping):
            for name, value in values.items():
                for key in {name, value} & set(kept.step_sizes):
                    change = factor[places[name]]
                    _multiply(kept.step_sizes, key, change if isinstance(model, Stacked) else change[0])
        else:
            kept.step_sizes *= factor if kept.step_sizes.ndim > 1 else factor[:, 0]


def _multiply(holder: MutableMapping[Any, Any], key: Any, factor: torch.Tensor) -> None:
    """Multiply a number, or a tensor in place."""
    if isinstance(holder[key], torch.Tensor):
        holder[key].mul_(factor.to(holder[key]))
    else:
        holder[key] *= factor.item()
