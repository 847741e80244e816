"""The environments of the loop, and the steps of their tasks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from clbench.agent import AgentSpec
from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv

Environment = StreamEnv | StreamVectorEnv


class Step(NamedTuple):
    """A step of a task; `task` and `number` count from 0."""

    task: int
    number: int
    is_first: bool
    is_last: bool
    in_last_epoch: bool

    @classmethod
    def at(cls, position: Mapping[str, Any], spec: AgentSpec) -> "Step":
        number = position["step_in_task"]
        return cls(
            position["task"],
            number,
            is_first=position["boundary"],
            is_last=number + 1 == spec.steps_per_task,
            in_last_epoch=position["epoch"] + 1 == spec.epochs_per_task,
        )
