"""L2 Init, regularisation towards the initial weights (Kumar et al., 2023), its authors' code."""

from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.peers.checkout import Project
from benchmarks.peers.peer import Peer
from clbench import AgentSpec


class Agent(Peer):
    """Their agent, which owns network, optimizer and loss."""

    project = Project(
        "L2_Init", "https://github.com/skumar9876/L2_Init", "3f86d26ff06c20a39c556dfc43a3ecd844d5c55e"
    )
    learner = "agents.agents.L2InitAgent"

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        checkout: str | None = None,
        step_size: float = 1e-3,
        strength: float = 1e-2,
        width: int = 100,
        scheduler: str = "none",
        every: int = 40,
    ) -> None:
        super().__init__(spec, seed)
        agents, nets = self.project.load(checkout, "agents.agents", "nets")
        self.strength = strength

        def network() -> torch.nn.Module:
            return nets.MLP(spec.input_shape[0], num_classes=spec.num_classes, hidden_size=width)

        optimizer = SimpleNamespace(name="Adam", lr=step_size)
        self.agent = agents.L2InitAgent(
            network, optimizer, F.cross_entropy, self.device, strength, sample_init_values=False
        )
        self.model, self.optimizer = self.agent.model, self.agent.optimizer
        self.schedule(scheduler, every)

    def penalty(self, parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        initial = self.agent.init_params_dict
        squares = [(parameters[name] - value).square().sum() for name, value in initial.items()]
        return self.strength / 2 * torch.stack(squares).sum()

    def train(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        _, metrics = self.agent.step(inputs, targets)
        return metrics["curr_train_loss"]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "initial": self.agent.init_params_dict}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, value in state["initial"].items():
            self.agent.init_params_dict[name].copy_(value)
