"""Utility-based perturbed gradient descent (Elsayed and Mahmood, ICLR 2024), its authors' code."""

from torch import nn

from benchmarks.peers.checkout import Project
from benchmarks.peers.peer import Peer
from clbench import AgentSpec


class Agent(Peer):
    """Their optimizer, with a utility per weight, on a network of the sizes of theirs.

    It is not shown as one that `clbench.indicators` could read: a step is eta times the gradient times a gate per
    weight, which is no second moment.
    """

    project = Project(
        "upgd", "https://github.com/mohmdelsayed/upgd", "b75e90ad4b09c28971ac9dbb902a8fd86709b28c"
    )
    learner = "core.optim.weight_upgd.first_order.FirstOrderGlobalUPGD"

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        checkout: str | None = None,
        step_size: float = 1e-2,
        beta_utility: float = 0.999,
        sigma: float = 1e-3,
        weight_decay: float = 0.0,
        width: int = 300,
        scheduler: str = "none",
        every: int = 40,
    ) -> None:
        super().__init__(spec, seed)
        (optimizers,) = self.project.load(checkout, "core.optim.weight_upgd.first_order")
        self.model = nn.Sequential(
            nn.Linear(spec.input_shape[0], width),
            nn.ReLU(),
            nn.Linear(width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, spec.num_classes),
        ).to(self.device)
        self.optimizer = optimizers.FirstOrderGlobalUPGD(
            self.model.named_parameters(),
            lr=step_size,
            weight_decay=weight_decay,
            beta_utility=beta_utility,
            sigma=sigma,
        )
        self.schedule(scheduler, every)
