"""What the adapters have in common: a plain agent with a network and an optimizer."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.checkout import Project
from clbench import AgentSpec
from clbench.errors import UnknownNameError, did_you_mean
from clbench.scheduling import SCHEDULERS, PerLayerScheduler

NONE = "none"


class Peer:
    """Shows batches to another project's code, which trains `model` by `optimizer`.

    Args:
        checkout: folder of the project's checkout; by default its name in `$CLBENCH_PEERS_DIR`.
        scheduler: "none", or a name in `clbench.scheduling.SCHEDULERS`.
        every: steps between the scheduler's decisions.
    """

    project: ClassVar[Project]
    learner: ClassVar[str]  # the project's class or function
    kept: ClassVar[tuple[str, ...]] = ("model", "optimizer")  # attributes with a `state_dict`

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: PerLayerScheduler | None = None
    penalty: Any = None

    def __init__(self, spec: AgentSpec, seed: int) -> None:
        torch.manual_seed(seed)
        self.spec, self.device = spec, torch.device(spec.device)
        self.inputs = torch.empty(0)

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        cls.project.folder(arguments.get("checkout"))

    @classmethod
    def needs_boundaries(cls, arguments: Mapping[str, Any]) -> str:
        return "" if arguments.get("scheduler", NONE) == NONE else "a scheduler asks how long a task is"

    def schedule(self, kind: str, every: int) -> None:
        """Let a scheduler of this kind adjust the optimizer's step sizes."""
        if kind == NONE:
            return
        if kind not in SCHEDULERS:
            raise UnknownNameError(f"no scheduler '{kind}'.{did_you_mean(kind, [NONE, *SCHEDULERS])}")
        steps = self.spec.steps_per_task
        self.scheduler = SCHEDULERS[kind](
            self.model, self.optimizer, penalty=self.penalty, steps_per_task=steps, every=every
        )

    def act(self, obs: np.ndarray) -> torch.Tensor:
        self.inputs = torch.as_tensor(obs, device=self.device)
        self.model.eval()
        with torch.no_grad():
            logits = self.model(self.inputs)
        self.model.train()  # indicators are measured before `learn`, in the mode of training
        return logits

    def learn(self, targets: np.ndarray) -> torch.Tensor | float:
        labels = torch.as_tensor(targets, device=self.device)
        if self.scheduler is not None:
            self.scheduler.step(F.cross_entropy, self.inputs, labels)
        return self.train(self.inputs, labels)

    def train(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | float:
        """Take a step on a batch; return its loss."""
        loss = F.cross_entropy(self.model(inputs), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        state = {name: getattr(self, name).state_dict() for name in self.kept}
        return {**state, "scheduler": self.scheduler and self.scheduler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.kept:
            getattr(self, name).load_state_dict(state[name])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
