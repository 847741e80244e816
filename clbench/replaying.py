"""Steps that are recorded once and then replayed: on a GPU as CUDA graphs.

A GPU is done with a step of a small network long before Python has asked for the next one. A recorded step, though, is
asked for at once. What is recorded must do the same operations on the same memory each time; steps that differ, by
their kind, are recorded apart.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch

from clbench.meter import Meter

Record = Callable[[Callable[[], None]], Callable[[], Any]]
"""From a step to what replays it; the recording itself does nothing."""


def cuda_graph(step: Callable[[], None], device: torch.device) -> Callable[[], Any]:
    """Record a step's work on a CUDA device; return what does it again."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        step()

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay


class Replays:
    """The recorded steps of one task.

    The first step of each kind is not for it: whatever is made or found out once, is then. The second is recorded.

    Args:
        env: a `StreamVectorEnv`.
        agent: a vectorised agent that has `kind_of_step` and `replayed`.
        meter: sums up the task.
        record: such as `cuda_graph`.
    """

    def __init__(self, env: Any, agent: Any, meter: Meter, record: Record) -> None:
        self._env, self._agent, self._meter, self._record = env, agent, meter, record
        self._steps: dict[Hashable, Callable[[], Any] | None] = {}

    def take(self, final: bool) -> bool:
        """Take the next step, if it can be replayed; say whether it was taken.

        Args:
            final: whether it is in the task's last epoch.
        """
        kind = (self._agent.kind_of_step(), final)
        if kind not in self._steps:
            self._steps[kind] = None
            return False
        replay = self._steps[kind]
        if replay is None:
            # What the host does in a step, it does while recording it.
            replay = self._steps[kind] = self._record(lambda: self._step(final))
        else:
            self._agent.replayed()
        replay()
        self._env.stream.count()
        self._meter.count(True, final)
        return True

    def _step(self, final: bool) -> None:
        stream = self._env.stream
        batch = stream.batch()
        reward = self._env.score(self._agent.act(batch.inputs), batch.targets)
        self._meter.sum(reward, self._agent.learn(batch.targets), final)
        stream.turn()
