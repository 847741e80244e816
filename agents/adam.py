"""Adam for S stacked networks, with a step size for each layer and each seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]


class StackedAdam:
    """Adam over stacked parameters: one `(S, ...)` tensor for each parameter of a network.

    theta <- theta - eta * m_hat / (sqrt(v_hat) + eps), as `torch.optim.Adam`, but eta is a number for
    each layer and seed: `step_sizes[l, s]`.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

    Args:
        parameters: stacked parameters by name; updated in place.
        step_size: the step size that all layers and seeds start with.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.

    Attributes:
        layers: top-level modules that own parameters, in order.
        step_sizes: `(L, S)`; write to it to change them.
        steps: updates done.
    """

    def __init__(
        self,
        parameters: Tensors,
        step_size: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.parameters, self.betas, self.eps = parameters, betas, eps
        self.layers: Sequence[str] = list(dict.fromkeys(name.split(".")[0] for name in parameters))
        first = next(iter(parameters.values()))
        self.step_sizes = torch.full(
            (len(self.layers), len(first)), step_size, device=first.device, dtype=first.dtype
        )
        self.first_moments = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.second_moments = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.steps = 0
        self._scratch = {name: torch.empty_like(value) for name, value in parameters.items()}

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor | Sequence[torch.Tensor]]) -> None:
        """Update all parameters, given their gradients in the same order.

        A gradient is stacked `(S, ...)`, or S tensors that lie apart (saves stacking them).
        With c1 = 1 - beta1^t and c2 = sqrt(1 - beta2^t), the update eta * (m / c1) / (sqrt(v) / c2 + eps)
        is computed as (eta c2 / c1) * m / (sqrt(v) + eps c2): the same, in fewer passes over memory.
        """
        self.steps += 1
        beta1, beta2 = self.betas
        correction1 = 1 - beta1**self.steps
        correction2 = (1 - beta2**self.steps) ** 0.5
        rates = self.step_sizes * (-correction2 / correction1)
        for (name, parameter), gradient in zip(self.parameters.items(), gradients, strict=True):
            first, second, update = self.first_moments[name], self.second_moments[name], self._scratch[name]
            whole = isinstance(gradient, torch.Tensor)
            pieces: Any = [(first, second, gradient)] if whole else zip(first, second, gradient, strict=True)
            for m, v, g in pieces:
                m.lerp_(g, 1 - beta1)
                v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            torch.sqrt(second, out=update).add_(self.eps * correction2)
            torch.div(first, update, out=update)
            rate = rates[self.layers.index(name.split(".")[0])]
            parameter.addcmul_(update, rate.view(-1, *[1] * (parameter.ndim - 1)))

    def state_dict(self) -> dict[str, Any]:
        """Return copies of step sizes, moments and step count."""
        return {
            "steps": self.steps,
            "step_sizes": self.step_sizes.clone(),
            "first_moments": {name: value.clone() for name, value in self.first_moments.items()},
            "second_moments": {name: value.clone() for name, value in self.second_moments.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.steps = state["steps"]
        self.step_sizes.copy_(state["step_sizes"])
        for kind in ("first_moments", "second_moments"):
            for name, value in getattr(self, kind).items():
                value.copy_(state[kind][name])
