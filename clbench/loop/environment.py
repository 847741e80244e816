"""What the loop needs of an environment."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch

from clbench.agent import AgentSpec
from clbench.envs.single import Arrays


class Environment(Protocol):
    """A `StreamEnv` or a `StreamVectorEnv`, or a wrapper with the same attributes."""

    device: torch.device
    lockstep: bool

    @property
    def agent_spec(self) -> AgentSpec: ...
    @property
    def done(self) -> bool: ...
    def reset(self, *, seed: int) -> object: ...
    def observation(self) -> Arrays | torch.Tensor: ...
    def position(self) -> dict[str, Any]: ...
    def step(self, action: object) -> tuple[object, float | torch.Tensor, object, object, dict[str, Any]]: ...
    def state_dict(self, rows: slice) -> dict[str, Any]: ...
    def restore(self, *states: Mapping[str, Any]) -> object: ...


class Step(NamedTuple):
    """A step of a task; `task` and `number` count from 0."""

    task: int
    number: int
    is_first: bool
    is_last: bool
    in_last_epoch: bool

    @classmethod
    def at(cls, position: Mapping[str, Any], spec: AgentSpec) -> "Step":
        """Return the step that answers the observation at a position."""
        number = position["step_in_task"]
        return cls(
            position["task"],
            number,
            is_first=position["boundary"],
            is_last=number + 1 == spec.steps_per_task,
            in_last_epoch=position["epoch"] + 1 == spec.epochs_per_task,
        )
