"""Adam for S stacked networks, with a step size for each layer and each seed."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]


class StackedAdam:
    """Adam over stacked parameters: one `(S, ...)` tensor for each parameter of a network.

    theta <- theta - eta * m_hat / (sqrt(v_hat) + eps), as `torch.optim.Adam`, but eta is a number for
    each layer and seed: `step_sizes[l, s]`.

    All that a step depends on lies in tensors that stay where they are, the count of updates too: recorded in a
    graph, it can be replayed.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

    Args:
        parameters: stacked parameters by name; updated in place.
        step_size: the step size that all layers and seeds start with.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        layers: names of each layer's parameters, as `clbench.indicators.layer_parameters` gives them; those in none
            share a last row. By default a layer is the module that owns a parameter.

    Attributes:
        layers: names, in order.
        names: names of parameters by layer.
        step_sizes: `(L, S)`; write to it to change them.
        updates: `(S,)` float32, updates done.
        started: whether there was one.
    """

    STATE = ("step_sizes", "updates")
    MOMENTS = ("first_moments", "second_moments")

    def __init__(
        self,
        parameters: Tensors,
        step_size: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        layers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.parameters, self.betas, self.eps = parameters, betas, eps
        self.names: dict[str, list[str]] = {name: list(own) for name, own in (layers or {}).items()}
        if layers is None:
            for name in parameters:
                self.names.setdefault(name.rpartition(".")[0] or name, []).append(name)
        self.layers: Sequence[str] = list(self.names)
        counted = {name for names in self.names.values() for name in names}
        rest = [name for name in parameters if name not in counted]
        self._rows = [*self.names.values(), *([rest] if rest else [])]
        first = next(iter(parameters.values()))
        count, device = len(first), first.device
        self.step_sizes = torch.full((len(self._rows), count), step_size, device=device, dtype=first.dtype)
        self.updates, self.started = torch.zeros(count, device=device, dtype=torch.float32), False
        self.first_moments = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.second_moments = {name: torch.zeros_like(value) for name, value in parameters.items()}

    @property
    def steps(self) -> int | torch.Tensor:
        """Updates done: 0, and once there was one `(S,)`."""
        return self.updates if self.started else 0

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor | Sequence[torch.Tensor]]) -> None:
        """Update all parameters, given their gradients in the same order.

        A gradient is stacked `(S, ...)`, or S tensors that lie apart (saves stacking them). PyTorch's fused kernel
        passes over memory once; each layer of each network is a call of its own, for it takes one step size.
        """
        self.started = True
        self.updates += 1
        beta1, beta2 = self.betas
        own = dict(zip(self.parameters, gradients, strict=True))
        for layer, names in enumerate(self._rows):
            for place, step_size in enumerate(self.step_sizes[layer]):
                torch._fused_adam_(
                    [self.parameters[name].detach()[place] for name in names],
                    [own[name][place].contiguous() for name in names],
                    [self.first_moments[name][place] for name in names],
                    [self.second_moments[name][place] for name in names],
                    [],
                    [self.updates[place]] * len(names),
                    lr=step_size,
                    beta1=beta1,
                    beta2=beta2,
                    weight_decay=0.0,
                    eps=self.eps,
                    amsgrad=False,
                    maximize=False,
                )

    def part(self, parameters: Tensors, rows: slice) -> "StackedAdam":
        """Return the optimizer of some networks only, in the same memory; `parameters` are theirs."""
        own = copy.copy(self)
        own.parameters, own.step_sizes, own.updates = parameters, self.step_sizes[:, rows], self.updates[rows]
        for kind in self.MOMENTS:
            setattr(own, kind, {name: value[rows] for name, value in getattr(self, kind).items()})
        return own

    @torch.no_grad()
    def restart(self, step_size: float) -> None:
        """Forget all updates and step sizes, in the same memory."""
        self.started = False
        self.step_sizes.fill_(step_size)
        self.updates.zero_()
        for kind in self.MOMENTS:
            torch._foreach_zero_(list(getattr(self, kind).values()))

    def state_dict(self) -> dict[str, Any]:
        """Return copies of step sizes, moments and step count."""
        moments = {
            kind: {name: value.clone() for name, value in getattr(self, kind).items()}
            for kind in self.MOMENTS
        }
        return {
            "started": self.started,
            **{name: getattr(self, name).clone() for name in self.STATE},
            **moments,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.started = state["started"]
        for name in self.STATE:
            getattr(self, name).copy_(state[name])
        for kind in self.MOMENTS:
            for name, value in getattr(self, kind).items():
                value.copy_(state[kind][name])
