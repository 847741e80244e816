"""Learners in lockstep: networks of one architecture in one stack of parameters, whoever's they are."""

from collections.abc import Hashable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from clbench.errors import StepOrderError
from clbench.indicators import Stacked

from .adam import StackedAdam, Tensors

if TYPE_CHECKING:
    from .learner import Learner


class Stack:
    """Predicts and learns for learners with S networks each; each network's arithmetic is its own.

    Everything that lasts stays where it is in memory, so that a step can be recorded and replayed.

    Args:
        learners: of the same stream. Those whose networks are of one architecture share their memory from here on.
    """

    vectorized = True

    def __init__(self, learners: Sequence["Learner"]) -> None:
        self._learners, self._rows, at = list(learners), {}, 0
        for learner in learners:
            self._rows[learner] = slice(at, at + len(learner.seeds))
            at += len(learner.seeds)
        self._blocks: list[Block] = []
        rest = list(learners)
        while rest:
            alike = [one for one in rest if _same_architecture(rest[0], one)]
            self._blocks.append(Block(alike))
            rest = [one for one in rest if one not in alike]
        # Steps can be replayed if those of all learners can.
        can = all(one.kind_of_step is not None for one in learners)
        self.kind_of_step = self._kind_of_step if can else None
        self._inputs: torch.Tensor | None = None
        self._logits: torch.Tensor | None = None

    def begin_task(self, task: int) -> None:
        """Let every learner begin a task."""
        for learner in self._learners:
            learner.begin_task(task)

    def act(self, obs: torch.Tensor) -> torch.Tensor:
        """Return logits `(S, B, C)` for inputs `(S, B, D)`, and keep them to learn from."""
        self._inputs, self._logits = obs, self.forward(obs)
        return self._logits.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits `(S, B, C)` of all networks for their inputs `(S, B, D)`."""
        found: dict[Learner, torch.Tensor] = {}
        for block in self._blocks:
            rows = [self._rows[learner] for learner in block.learners]
            own = inputs[rows[0]] if len(rows) == 1 else torch.cat([inputs[one] for one in rows])
            pieces = block.forward(own).split([len(learner.seeds) for learner in block.learners])
            found.update(zip(block.learners, pieces, strict=True))
        return torch.cat([found[learner] for learner in self._learners])

    def learn(self, targets: torch.Tensor) -> torch.Tensor:
        """Take one step on the batch last predicted; return its mean cross-entropy `(S,)`."""
        if self._logits is None or self._inputs is None:
            raise StepOrderError("learn was called before act: there is nothing to learn from")
        inputs, logits, self._inputs, self._logits = self._inputs, self._logits, None, None
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        losses = losses.view(targets.shape).mean(dim=1)
        leaves = [block.leaves for block in self._blocks]
        found = iter(torch.autograd.grad(losses.sum(), [leaf for own in leaves for leaf in own]))
        gradients = [block.gradients([next(found) for _ in block.leaves]) for block in self._blocks]
        for learner, rows in self._rows.items():
            if learner.scheduler is not None:
                learner.scheduler.step(F.cross_entropy, inputs[rows], targets[rows])
        for block, own in zip(self._blocks, gradients, strict=True):
            block.optimizer.step(own)
            for learner in block.learners:
                learner.optimizer.started = True
        return losses.detach()

    def _kind_of_step(self) -> Hashable:
        return tuple(one.kind_of_step() for one in self._learners)

    def replayed(self) -> None:
        """Take note of a step whose operations were replayed."""
        for learner in self._learners:
            learner.replayed()


class Block:
    """The networks of learners of one architecture, in one stack.

    Attributes:
        learners: in order.
        leaves: what gradients are taken of: stacked parameters or, on a CPU, each network's own.
        optimizer: of all of them.
    """

    def __init__(self, learners: Sequence["Learner"]) -> None:
        first, self.learners = learners[0], list(learners)
        self._model, self.parameters, self.buffers = first.model, first.parameters, first.buffers
        self.optimizer = first.optimizer
        if len(learners) > 1:
            self._join()
        self._count = len(next(iter(self.parameters.values())))
        # On a CPU, S matrix products are faster than one batched product: by a tenth to a third.
        self._looped = not Stacked(first.model, self.parameters, self.buffers).batched
        # There, views of the same memory, a set per network.
        places = range(self._count) if self._looped else ()
        self._own = [
            {name: value[place].detach().requires_grad_() for name, value in self.parameters.items()}
            for place in places
        ]
        self._own_buffers = [{name: value[place] for name, value in self.buffers.items()} for place in places]
        self.leaves = (
            [own[name] for name in self.parameters for own in self._own]
            if self._looped
            else list(self.parameters.values())
        )

    def _join(self) -> None:
        """Put the learners' networks and optimizers into one memory, of which each keeps its part."""
        self.parameters = _joined([learner.parameters for learner in self.learners], requires_grad=True)
        self.buffers = _joined([learner.buffers for learner in self.learners])
        first = self.learners[0]
        self.optimizer = StackedAdam(self.parameters, first.step_size, layers=first.optimizer.names)
        at = 0
        for learner in self.learners:
            rows = slice(at, at := at + len(learner.seeds))
            parameters = {n: value[rows].detach().requires_grad_() for n, value in self.parameters.items()}
            buffers = {name: value[rows] for name, value in self.buffers.items()}
            own = self.optimizer.part(parameters, rows)
            own.restart(learner.step_size)
            learner.settle(parameters, buffers, own)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits `(S, B, C)`."""
        if not self._looped:
            return vmap(self._call)(self.parameters, self.buffers, inputs)
        each = zip(self._own, self._own_buffers, inputs, strict=True)
        return torch.stack([self._call(own, buffers, x) for own, buffers, x in each])

    def _call(self, parameters: Tensors, buffers: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = functional_call(self._model, {**parameters, **buffers}, (inputs,))
        return logits

    def gradients(self, found: Sequence[torch.Tensor]) -> list[Any]:
        """Return gradients for each parameter, stacked or network by network, the learners' penalties' included."""
        gradients = [found[at : at + self._count] for at in range(0, len(found), self._count)]
        at = 0
        for learner in self.learners:
            rows = slice(at, at := at + len(learner.seeds))
            for place, penalty in enumerate(learner.penalty_gradients() or ()):
                own = list(gradients[place][rows] if self._looped else [found[place][rows]])
                with torch.no_grad():  # autograd may have made them as views, which older PyTorch guards
                    torch._foreach_add_(own, list(penalty) if self._looped else [penalty])
        return gradients if self._looped else list(found)


def _joined(parts: Sequence[Tensors], requires_grad: bool = False) -> Tensors:
    return {
        name: torch.cat([part[name].detach() for part in parts]).requires_grad_(requires_grad)
        for name in parts[0]
    }


def _same_architecture(one: "Learner", other: "Learner") -> bool:
    """Tell whether two learners' networks are alike but for their weights; where that is in doubt, they are not."""
    if one is other:
        return True
    pairs = zip_longest(one.model.named_modules(), other.model.named_modules())
    alike = all(own and theirs and own[0] == theirs[0] and _alike(own[1], theirs[1]) for own, theirs in pairs)
    alike = alike and one.optimizer.names == other.optimizer.names
    shapes = [[value.shape[1:] for value in it.parameters.values()] for it in (one, other)]
    return alike and shapes[0] == shapes[1]


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Tell whether two modules are of one kind with the same settings: what they hold beside weights is equal."""
    held = [
        {
            name: value
            for name, value in vars(it).items()
            if name not in ("_parameters", "_buffers", "_modules")
        }
        for it in (one, other)
    ]
    try:
        return type(one) is type(other) and bool(held[0] == held[1])
    except Exception:  # of some things one cannot say whether they are equal
        return False
