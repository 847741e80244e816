"""The environments of the loop, and the steps of their tasks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv
from clbench.specs import StreamSpec

Environment = StreamEnv | StreamVectorEnv


class Step(NamedTuple):
    """A step of a task; `task` and `number` count from 0."""

    task: int
    number: int
    is_first: bool
    is_last: bool
    in_last_epoch: bool

    @classmethod
    def at(cls, position: Mapping[str, Any], spec: StreamSpec) -> "Step":
        number = position["step_in_task"]
        return cls(
            position["task"],
            number,
            is_first=position["boundary"],
            is_last=number + 1 == spec.steps_per_task,
            in_last_epoch=position["epoch"] + 1 == spec.epochs_per_task,
        )


def task_beginner(env: Environment, agent: object) -> Callable[[int], object]:
    """Return what to call with its index when a task begins: the agent's `begin_task`, if boundaries are told."""
    begin: Callable[[int], object] = getattr(agent, "begin_task", _ignore)
    return _ignore if env.stream_spec.hides_boundaries else begin


def _ignore(task: int) -> None:
    pass
