"""Muon, steps orthogonalised by Newton-Schulz iterations (Jordan et al., 2024), its author's code."""

import torch
from torch import nn

from benchmarks.peers.checkout import Project
from benchmarks.peers.peer import Peer
from clbench import AgentSpec


class Agent(Peer):
    """Their optimizer: Muon for the hidden layers' weights, its own Adam for the last layer and all biases."""

    project = Project(
        "Muon", "https://github.com/KellerJordan/Muon", "857d1adc159e098212f828d927460782d3da59e9"
    )
    learner = "muon.SingleDeviceMuonWithAuxAdam"

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        checkout: str | None = None,
        step_size: float = 1e-3,
        muon_step_size: float = 2e-2,
        width: int = 256,
        scheduler: str = "none",
        every: int = 40,
    ) -> None:
        super().__init__(spec, seed)
        (muon,) = self.project.load(checkout, "muon")
        self.model = nn.Sequential(
            nn.Linear(spec.input_shape[0], width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, spec.num_classes),
        ).to(self.device)
        hidden = [self.model[0].weight, self.model[2].weight]
        others = [self.model[0].bias, self.model[2].bias, *self.model[4].parameters()]
        self.optimizer = report_second_moments(
            muon.SingleDeviceMuonWithAuxAdam(
                [
                    {"params": hidden, "use_muon": True, "lr": muon_step_size},
                    {"params": others, "use_muon": False, "lr": step_size, "betas": (0.9, 0.95)},
                ]
            )
        )
        self.schedule(scheduler, every)


def report_second_moments(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let it report its Adam's moments: `clbench.indicators.ReportsSecondMoments`."""
    (adam,) = (group for group in optimizer.param_groups if not group["use_muon"])
    optimizer.betas, optimizer.eps = adam["betas"], adam["eps"]

    def second_moments() -> dict[torch.Tensor, torch.Tensor]:
        return {value: state["exp_avg_sq"] for value, state in optimizer.state.items() if "step" in state}

    optimizer.second_moments = second_moments
    # Muon's parameters have steps, and no second moment.
    optimizer.steps = lambda: {value: state.get("step", 1) for value, state in optimizer.state.items()}
    return optimizer
