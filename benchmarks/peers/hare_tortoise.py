"""Hare and Tortoise, a fast network that is reset to its moving average (Lee et al., ICML 2024), its authors' code."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.peers.checkout import Project
from benchmarks.peers.peer import Peer
from clbench import AgentSpec

OFF = -1


class Network(nn.Module):
    """Their network, given flat inputs as images of one row."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x[:, None, None, :])


class Quiet:
    """Stands for their logger, their progress bar, and their schedule, which keeps the step size."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def update_log(self, **values: float) -> None:
        self.losses += [value for name, value in values.items() if name == "train_nll_loss"]

    def log_to_wandb(self, step: int) -> None: ...

    def tqdm(self, loader: Any) -> Any:  # noqa: ANN401
        return loader

    def step(self) -> None: ...

    def get_lr(self) -> list[float]:
        return [0.0]


class Agent(Peer):
    """Their trainer, given one batch at a time: it trains the hare, which predicts, and averages the tortoise.

    The state of AdamW stays from task to task. The trainer never clears gradients, so this does.
    """

    project = Project(
        "Hare-Tortoise",
        "https://github.com/dojeon-ai/Hare-Tortoise",
        "4ec5ebbe809793aeca25809ea4cb8c45058deadf",
    )
    learner = "src.trainers.base.BaseTrainer"
    kept = ("model", "optimizer", "tortoise")

    @classmethod
    def needs_boundaries(cls, arguments: Mapping[str, Any]) -> str:
        return "it resets every so many epochs"

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        checkout: str | None = None,
        step_size: float = 1e-3,
        weight_decay: float = 1e-4,
        momentum: float = 0.999,
        reset_every: int = 10,
        scheduler: str = "none",
        every: int = 40,
    ) -> None:
        super().__init__(spec, seed)
        base, trainers, models = self.project.load(
            checkout, "src.trainers.base", "src.trainers", "src.models"
        )
        base.tqdm = self.quiet = quiet = Quiet()
        self.steps, self.steps_per_reset = 0, reset_every * spec.steps_per_task // spec.epochs_per_task
        backbone = models.BACKBONES["mlp"]((1, 1, spec.input_shape[0]), "bn", [512, 256])
        head = models.HEADS["mlp"]((256, 1, 1), spec.num_classes, "none", "relu", 0.0, [])
        path = self.project.folder(checkout) / "configs/trainer/base.yaml"
        self.config = trainers.DotMap(trainers.OmegaConf.to_container(trainers.OmegaConf.load(path)))
        self.config.update(num_tasks=1, base_epochs=1, base_test_every=OFF, input_data_ratios=[1])
        self.config.update(use_amp=False, ema=momentum)
        net = models.Model(backbone, head)
        self.trainer = base.BaseTrainer(self.config, self.device, [None], None, quiet, net)
        self.model, self.tortoise = Network(self.trainer.model), self.trainer.target_model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), step_size, weight_decay=weight_decay)
        self.trainer._build_optimizer = lambda kind, options: self.optimizer
        self.trainer._build_scheduler = lambda optimizer, options: quiet
        self.schedule(scheduler, every)

    def train(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        self.steps += 1
        due = self.steps % self.steps_per_reset == 0
        self.config.hare_tortoise.reset_every = 1 if due else OFF
        self.trainer.train_loaders = [[(inputs[:, None, None, :], targets)]]
        self.optimizer.zero_grad()
        self.trainer.train(0)
        return self.quiet.losses.pop()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.steps = state["steps"]
