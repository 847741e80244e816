"""What an agent offers to be measured, read in one place."""

from itertools import zip_longest

import torch
from torch import nn
from torch.nn import functional as F

from clbench.errors import ClbenchError
from clbench.indicators import LayerChoice, Stacked
from clbench.indicators.layers import is_layer_choice
from clbench.indicators.networks import LossFunction, Network, Penalty
from clbench.indicators.optimizers import Optimizer, list_optimizers
from clbench.indicators.stacked import Model
from clbench.scheduling import StepSizeMonitor


class AgentView:
    """Reads the attributes by which an agent can be measured, all of them optional: see `clbench.Agent`.

    They are read for each measurement, since an agent may replace them at any time. A model, networks or a scheduler of
    another type count as missing. `layers` replace the agent's.
    """

    def __init__(self, agent: object, layers: LayerChoice = None) -> None:
        self._agent, self._layers = agent, layers

    @property
    def scheduler(self) -> StepSizeMonitor | None:
        scheduler: object = getattr(self._agent, "scheduler", None)
        return scheduler if isinstance(scheduler, StepSizeMonitor) else None

    @property
    def loss_fn(self) -> LossFunction:
        loss_fn: LossFunction = getattr(self._agent, "loss_fn", F.cross_entropy)
        return loss_fn

    @property
    def penalty(self) -> Penalty | None:
        penalty: Penalty | None = getattr(self._agent, "penalty", None)
        return penalty

    @property
    def layers(self) -> LayerChoice:
        choice = getattr(self._agent, "layers", None) if self._layers is None else self._layers
        return choice if is_layer_choice(choice) else None

    def network(self) -> tuple[Model, Optimizer]:
        """Return the model and its optimizer.

        Raises:
            ClbenchError: the agent does not have them.
        """
        optimizer: Optimizer | None = getattr(self._agent, "optimizer", None)
        networks: object = getattr(self._agent, "networks", None)
        if optimizer is not None and isinstance(networks, Stacked):
            return networks, optimizer
        model: object = getattr(self._agent, "model", None)
        vectorized: object = getattr(self._agent, "vectorized", False)
        if optimizer is not None and isinstance(model, nn.Module) and not vectorized:
            return model, optimizer
        raise ClbenchError("the agent has no `model` and `optimizer` to measure")


def tensors(network: Network, obs: object, targets: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch as tensors on the network's device."""
    return torch.as_tensor(obs, device=network.device), torch.as_tensor(targets, device=network.device)


def is_monitored(monitor: StepSizeMonitor, model: Model, optimizer: Optimizer) -> bool:
    """Return whether a monitor measures this model and these optimizers, be it in a new list."""
    pairs = zip_longest(list_optimizers(monitor.optimizer), list_optimizers(optimizer))
    return monitor.model is model and all(ours is theirs for ours, theirs in pairs)
