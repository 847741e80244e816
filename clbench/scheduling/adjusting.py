"""How step sizes are multiplied where an optimizer keeps them."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import Network
from clbench.indicators.optimizers import Optimizer, list_optimizers
from clbench.indicators.parameter_state import class_name
from clbench.indicators.reported import step_size_rows


def check_adjustable(network: Network, optimizer: Optimizer) -> None:
    """Raise `OptionError` unless every optimizer keeps step sizes where they can be multiplied."""
    for one in list_optimizers(optimizer):
        sizes = getattr(one, "step_sizes", None)
        if isinstance(sizes, (torch.Tensor, MutableMapping)):
            continue
        if hasattr(one, "param_groups"):
            if network.stacked and network.count > 1:
                raise OptionError(
                    f"{class_name(one)} has one step size for {network.count} networks: give each its own optimizer, "
                    "or keep `step_sizes` `(L, S)`"
                )
        else:
            raise OptionError(
                f"the step sizes of {class_name(one)} cannot be adjusted: make `step_sizes` a tensor or a dictionary, "
                "or give it `param_groups`; adjust=False only measures"
            )


def multiply_step_sizes(
    network: Network,
    optimizer: Optimizer,
    places: Mapping[str, int],
    layers: Sequence[str],
    factor: torch.Tensor,
) -> None:
    """Multiply step sizes in place.

    Args:
        network: what is trained.
        optimizer: or several.
        places: of parameters' layers in `layers`, by the parameters' names.
        layers: names, for the error.
        factor: `(L, S)`.
    """
    values = network.trained
    owners = {id(values[name]): place for name, place in places.items()}
    done: set[int] = set()
    for one in list_optimizers(optimizer):
        kept: Any = one
        if isinstance(getattr(kept, "step_sizes", None), MutableMapping):
            for name, value in ((name, values[name]) for name in places):
                for key in {name, value} & set(kept.step_sizes):
                    change = factor[places[name]]
                    _multiply(kept.step_sizes, key, change if network.stacked else change[0], done)
        elif isinstance(getattr(kept, "step_sizes", None), torch.Tensor):
            for row, names in enumerate(step_size_rows(network, kept)):
                for place in _the_one(layers, {places[name] for name in names if name in places}):
                    kept.step_sizes[row] *= factor[place] if kept.step_sizes.ndim > 1 else factor[place, 0]
        else:
            for group in kept.param_groups:
                own = {owners[id(value)] for value in group["params"] if id(value) in owners}
                for place in _the_one(layers, own):
                    _multiply(group, "lr", factor[place, 0], done)


def _the_one(layers: Sequence[str], own: set[int]) -> list[int]:
    """Return the place of the layer that a step size is of, if any; raise if it is of several."""
    if len(own) > 1:
        raise OptionError(
            f"the layers {', '.join(layers[place] for place in sorted(own))} share a step size: make the scheduler "
            "after all groups, and let its layers be those of the optimizer"
        )
    return list(own)


def _multiply(holder: MutableMapping[Any, Any], key: Any, factor: torch.Tensor, done: set[int]) -> None:
    """Multiply a number, or a tensor in place; one that is there several times is multiplied once."""
    value = holder[key]
    if not isinstance(value, torch.Tensor):
        holder[key] = value * factor.item()
    elif id(value) not in done:
        done.add(id(value))
        value.mul_(factor.to(value))
