"""What optimizers of S stacked networks share: step sizes by layer and network, moments, counts."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from .networks import Tensors, copy_into

Gradient = torch.Tensor | Sequence[torch.Tensor]  # of one parameter of S networks: `(S, ...)`, or S tensors


class StackedOptimizer:
    """Updates stacked parameters; a subclass names its `MOMENTS` and defines `update`.

    All tensors stay in place, so that a step can be recorded in a graph and replayed.

    Args:
        parameters: `(S, ...)` by name; updated in place.
        step_size: initial step size of all layers and networks.
        layers: names of each layer's parameters, as `clbench.indicators.layer_parameters` gives them; those in none
            share a last row. By default a layer is the module that has a parameter.

    Attributes:
        names: names of parameters by layer.
        step_sizes: `(L, S)`; write to it to change them.
        updates: `(S,)` float32, updates done.
        moments: by kind, tensors shaped like the parameters by name.
    """

    MOMENTS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, parameters: Tensors, step_size: float, layers: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.parameters = {name: value.detach() for name, value in parameters.items()}
        self.names: dict[str, list[str]] = {name: list(names) for name, names in (layers or {}).items()}
        if layers is None:
            for name in parameters:
                self.names.setdefault(name.rpartition(".")[0] or name, []).append(name)
        self.layers = list(self.names)
        in_layers = {name for names in self.names.values() for name in names}
        rest = [name for name in parameters if name not in in_layers]
        rows = [*self.names.values(), rest] if rest else list(self.names.values())
        first = next(iter(self.parameters.values()))
        self._step_size, self._started = step_size, False
        self.step_sizes = first.new_full((len(rows), len(first)), step_size)
        self.updates = torch.zeros(len(first), device=first.device, dtype=torch.float32)
        self.moments = {
            kind: {name: torch.zeros_like(value) for name, value in self.parameters.items()}
            for kind in self.MOMENTS
        }
        updated = (self.parameters, *self.moments.values())
        self._groups = [
            (layer, row, names, [[tensors[name][row] for name in names] for tensors in updated])
            for layer, names in enumerate(rows)
            for row in range(len(first))
        ]

    @property
    def steps(self) -> int | torch.Tensor:
        """Updates done: 0, and after the first one `(S,)`."""
        return self.updates if self._started else 0

    @property
    def second_moments(self) -> Tensors | None:
        """What gradients are divided by, before bias correction; None if the optimizer does not divide."""
        return self.moments.get("second")

    @torch.no_grad()
    def step(self, gradients: Sequence[Gradient]) -> None:
        """Update all parameters, given their gradients in the same order."""
        self._started = True
        self.updates += 1
        by_name = dict(zip(self.parameters, gradients, strict=True))
        for layer, row, names, (parameters, *moments) in self._groups:
            gradient = [by_name[name][row].contiguous() for name in names]
            self.update(self.step_sizes[layer, row], self.updates[row], parameters, gradient, *moments)

    def update(self, step_size: torch.Tensor, updates: torch.Tensor, *tensors: list[torch.Tensor]) -> None:
        """Update one layer of one network in place.

        Args:
            step_size: a number.
            updates: a number, this update included.
            *tensors: lists of the layer's parameters, of their gradients, and of their moments, kind by kind.
        """
        raise NotImplementedError

    @property
    def tensors(self) -> Tensors:
        """All that a checkpoint needs: step sizes, counts and moments."""
        moments = {
            f"{kind}.{name}": self.moments[kind][name] for kind in self.MOMENTS for name in self.parameters
        }
        return {"step_sizes": self.step_sizes, "updates": self.updates, **moments}

    def restore(self, tensors: Tensors) -> None:
        copy_into(self.tensors, tensors)
        self._started = bool(self.updates.any())

    def reset(self) -> None:
        self._started = False
        for value in self.tensors.values():
            value.zero_()
        self.step_sizes.fill_(self._step_size)
