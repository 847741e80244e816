"""Continual backpropagation (Dohare et al., Nature 632, 2024), its authors' code."""

from typing import Any

import torch
from torch import nn

from benchmarks.peers.checkout import Project
from benchmarks.peers.peer import Peer
from clbench import AgentSpec

UNITS = ("util", "bias_corrected_util", "ages", "mean_feature_act", "accumulated_num_features_to_replace")


class Network(nn.Module):
    """Their network, whose only pass is called `predict` and returns activations, too."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.predict(x)[0]


class Agent(Peer):
    """Their learner with its Adam, which counts the steps of every weight since it was last replaced."""

    project = Project(
        "loss-of-plasticity",
        "https://github.com/shibhansh/loss-of-plasticity",
        "63c35f3c758bbb713dd42c72d43dc192fde0d109",
    )
    learner = "lop.algos.cbp.ContinualBackprop"

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        checkout: str | None = None,
        step_size: float = 1e-3,
        replacement_rate: float = 1e-4,
        decay_rate: float = 0.99,
        maturity_threshold: int = 100,
        util_type: str = "contribution",
        width: int = 256,
        scheduler: str = "none",
        every: int = 40,
    ) -> None:
        super().__init__(spec, seed)
        algorithm, networks = self.project.load(checkout, "lop.algos.cbp", "lop.nets.deep_ffnn")
        net = networks.DeepFFNN(spec.input_shape[0], width, spec.num_classes).to(self.device)
        self.model = Network(net)
        self.backprop = algorithm.ContinualBackprop(
            net,
            step_size,
            loss="nll",
            opt="adam",
            replacement_rate=replacement_rate,
            decay_rate=decay_rate,
            device=self.device,
            maturity_threshold=maturity_threshold,
            util_type=util_type,
            accumulate=True,
        )
        self.optimizer = report_second_moments(self.backprop.opt)
        self.schedule(scheduler, every)

    def train(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss, _ = self.backprop.learn(inputs, targets)
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "units": {name: getattr(self.backprop.gnt, name) for name in UNITS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, values in state["units"].items():
            moved = [value.to(self.device) if isinstance(value, torch.Tensor) else value for value in values]
            setattr(self.backprop.gnt, name, moved)


def report_second_moments(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let an `AdamGnT` report what it divides by: `clbench.indicators.ReportsSecondMoments`.

    Its step is `eta (1 - beta2^t) m / (sqrt(v) + eps)`: the bias of `m` is not corrected, and that of `v` not as
    Adam's is.
    """

    def second_moments() -> dict[torch.Tensor, torch.Tensor]:
        moments = {}
        for group in optimizer.param_groups:
            for value in group["params"]:
                if state := optimizer.state.get(value):
                    root = state["exp_avg_sq"].sqrt() + group["eps"]
                    moments[value] = (root / (1 - group["betas"][1] ** state["step"])).square()
        return moments

    optimizer.second_moments = second_moments
    optimizer.steps = lambda: {value: state["step"] for value, state in optimizer.state.items()}
    return optimizer
