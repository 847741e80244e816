"""ReDo, the recycling of dormant neurons (Sokar et al., ICML 2023), in timoklein's code."""

import contextlib
import io
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.checkout import Project
from benchmarks.peers.peer import Peer
from clbench import AgentSpec


class Network(nn.Module):
    """A multilayer perceptron. All its modules are layers, in order, as their function expects."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(inputs, width), nn.Linear(width, width)
        self.q = nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Agent(Peer):
    """Adam, and every `period` steps their function, which resets dormant units and their moments."""

    project = Project("redo", "https://github.com/timoklein/redo", "3c0e2a9661ad85ca80523fd205da5eed8eb7b859")
    learner = "src.redo.run_redo"

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        checkout: str | None = None,
        step_size: float = 1e-3,
        tau: float = 0.025,
        period: int = 100,
        width: int = 256,
        scheduler: str = "none",
        every: int = 40,
    ) -> None:
        super().__init__(spec, seed)
        (self.redo,) = self.project.load(checkout, "src.redo")
        self.tau, self.period, self.steps = tau, period, 0
        self.model = Network(spec.input_shape[0], width, spec.num_classes).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=step_size)
        self.schedule(scheduler, every)

    def train(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = super().train(inputs, targets)
        self.steps += 1
        if self.steps % self.period == 0:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints each time
                self.redo.run_redo(inputs, self.model, self.optimizer, self.tau, True, False)
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.steps = state["steps"]
