"""Trains several learners as one; those that specify the same architecture share stacked parameters."""

from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from torch.func import functional_call, vmap
from torch.nn import functional as F

from clbench.agent import AgentSpec
from clbench.errors import StepOrderError
from clbench.indicators import Stacked

from .networks import Architecture, Tensors
from .optimizer import Gradient


class Member(Protocol):
    """What a population needs of a learner."""

    spec: AgentSpec
    seeds: tuple[int, ...]
    generators: list[torch.Generator]

    @property
    def kind_of_step(self) -> Callable[[], Hashable] | None: ...
    def architecture(self) -> Architecture: ...
    def initial_state(self, parameters: Tensors) -> Tensors: ...
    def begin_task(self, task: int) -> None: ...
    def update(self, gradients: list[Gradient], inputs: torch.Tensor, targets: torch.Tensor) -> None: ...
    def replayed(self) -> None: ...


class Population:
    """Acts and learns for learners with S_1, S_2, ... networks, S in all.

    All memory is allocated here and stays in place, so that a step can be recorded and replayed.

    Args:
        members: for the same stream.
        batched: whether to compute networks of one architecture at once by `torch.vmap`; by default not on a CPU, where
            S matrix products are faster than one batched product, by a tenth to a third.

    Attributes:
        networks: of each member, views of its rows of a stack.
        states: of each member, what its `initial_state` returned.
    """

    vectorized = True

    def __init__(self, members: Sequence[Member], batched: bool | None = None) -> None:
        device = torch.device(members[0].spec.device)
        architectures: dict[Architecture, list[Member]] = {}
        for member in members:
            architectures.setdefault(member.architecture(), []).append(member)
        self._rows = _rows(members)
        self._stacks = [
            _Stack(architecture, group, device, device.type != "cpu" if batched is None else batched)
            for architecture, group in architectures.items()
        ]
        self.networks = {member: stack.view(member) for stack in self._stacks for member in stack.rows}
        self.states = {member: member.initial_state(self.networks[member].parameters) for member in members}
        # Steps can be replayed if those of all members can.
        self.kind_of_step = self._kind_of_step if all(member.kind_of_step for member in members) else None
        self._batch: tuple[torch.Tensor, torch.Tensor] | None = None

    def begin_task(self, task: int) -> None:
        for member in self._rows:
            member.begin_task(task)

    def act(self, obs: torch.Tensor) -> torch.Tensor:
        logits: dict[Member, torch.Tensor] = {}
        for stack in self._stacks:
            inputs = [obs[self._rows[member]] for member in stack.rows]
            outputs = stack.forward(inputs[0] if len(inputs) == 1 else torch.cat(inputs))
            logits |= {member: outputs[rows] for member, rows in stack.rows.items()}
        self._batch = obs, torch.cat([logits[member] for member in self._rows])
        return self._batch[1].detach()

    def learn(self, targets: torch.Tensor) -> torch.Tensor:
        if self._batch is None:
            raise StepOrderError("learn was called before act")
        (inputs, logits), self._batch = self._batch, None
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        losses = losses.view(targets.shape).mean(dim=1)
        leaves = [leaf for stack in self._stacks for leaf in stack.leaves]
        gradients = iter(torch.autograd.grad(losses.sum(), leaves))
        for stack in self._stacks:
            by_parameter = stack.by_parameter([next(gradients) for _ in stack.leaves])
            for member, rows in stack.rows.items():
                batch = self._rows[member]
                member.update([gradient[rows] for gradient in by_parameter], inputs[batch], targets[batch])
        return losses.detach()

    def _kind_of_step(self) -> Hashable:
        return tuple(member.kind_of_step and member.kind_of_step() for member in self._rows)

    def replayed(self) -> None:
        for member in self._rows:
            member.replayed()


class _Stack:
    """The networks of members with one architecture.

    Gradients are taken of `leaves`: stacked parameters or, one by one, each parameter of each network.
    """

    def __init__(
        self, architecture: Architecture, members: Sequence[Member], device: torch.device, batched: bool
    ) -> None:
        self.rows = _rows(members)
        generators = [generator for member in members for generator in member.generators]
        self._model, parameters, buffers = architecture.build(generators)
        self._count, self._batched = len(generators), batched and len(generators) > 1
        self._parameters = {name: value.to(device).requires_grad_() for name, value in parameters.items()}
        self._buffers = {name: value.to(device) for name, value in buffers.items()}
        self._networks = [{**self._parameters, **self._buffers}]
        if not self._batched:
            views = [self._views(row) for row in range(self._count)]
            self._networks = [{**parameters, **buffers} for parameters, buffers in views]
        self.leaves = [network[name] for name in parameters for network in self._networks]

    def _views(self, rows: int | slice) -> tuple[Tensors, Tensors]:
        parameters = {name: value.detach()[rows].requires_grad_() for name, value in self._parameters.items()}
        return parameters, {name: value[rows] for name, value in self._buffers.items()}

    def view(self, member: Member) -> Stacked:
        return Stacked(self._model, *self._views(self.rows[member]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self._batched:
            return torch.stack([self._call(*each) for each in zip(self._networks, inputs, strict=True)])
        logits: torch.Tensor = vmap(self._call, randomness="different")(self._networks[0], inputs)
        return logits

    def _call(self, network: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = functional_call(self._model, network, (inputs,))
        return logits

    def by_parameter(self, gradients: list[torch.Tensor]) -> Sequence[Gradient]:
        if self._batched:
            return gradients
        return [gradients[at : at + self._count] for at in range(0, len(gradients), self._count)]


def _rows(members: Sequence[Member]) -> dict[Member, slice]:
    ends = accumulate((len(member.seeds) for member in members), initial=0)
    return {member: slice(*rows) for member, rows in zip(members, pairwise(ends), strict=True)}
