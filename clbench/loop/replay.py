"""Steps that are recorded once and then replayed: on a GPU as CUDA graphs.

A GPU finishes a step of a small network long before Python has issued the next one; a recorded step is issued at once.
A recording repeats the same operations on the same memory. So steps of different kinds are recorded separately.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch

from clbench.agent import learner
from clbench.envs.vector import StreamVectorEnv
from clbench.loop.environment import Step
from clbench.loop.members import Faults
from clbench.loop.meter import Meter
from clbench.machine import no_reads
from clbench.observing import Observer

Record = Callable[[Callable[[], None]], Callable[[], object]]  # from a step to a function that replays it
REMEDY = ". Set kind_of_step = None in its class to run it step by step"


class ReplayableAgent(Protocol):
    """A vectorised agent whose steps can be replayed; see `clbench.Agent`."""

    def act(self, obs: torch.Tensor) -> torch.Tensor: ...
    def learn(self, targets: torch.Tensor) -> torch.Tensor: ...
    def kind_of_step(self) -> Hashable: ...
    def replayed(self) -> None: ...


def cuda_graph(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        step()

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay


class Replayer:
    """Takes steps by replaying them, where possible; `record` is `cuda_graph`, for example."""

    def __init__(
        self,
        env: StreamVectorEnv,
        agent: ReplayableAgent,
        meter: Meter,
        observers: Sequence[Observer],
        record: Record,
        faults: Faults,
    ) -> None:
        self._env, self._agent, self._meter = env, agent, meter
        self._learn = learner(agent.learn)
        self._observers, self._record, self._faults = observers, record, faults
        self._kinds: dict[Hashable, Callable[[], object] | None] | None = None

    def try_step(self, step: Step) -> bool:
        """Take the coming step, unless it must be taken in the ordinary way; return whether it was taken.

        Ordinary are a task's first and last step, steps that an observer needs, and the first step of each kind, which
        allocates memory. The second step of a kind is recorded.
        """
        if self._kinds is None:
            self._kinds = {}
            return False
        number = step.number + 1
        if step.is_last or any(observer.needs_step(number, last=False) for observer in self._observers):
            return False
        with self._faults.in_agent(step, "cannot be replayed:", REMEDY):
            if not self._replay(self._kinds, step.in_last_epoch):
                return False
        self._env.follow_replay()
        self._meter.add_on_host(True, step.in_last_epoch)
        for observer in self._observers:
            observer.skip_step()
        return True

    def end_task(self) -> None:
        """Forget the recorded steps: the agent may allocate new memory between tasks."""
        self._kinds = None

    def _replay(self, kinds: dict[Hashable, Callable[[], object] | None], in_last_epoch: bool) -> bool:
        kind = (self._agent.kind_of_step(), in_last_epoch)
        if kind not in kinds:
            kinds[kind] = None
            return False
        replay = kinds[kind]
        if replay is None:
            with no_reads():  # the host's share of a step is done while recording it
                replay = kinds[kind] = self._record(lambda: self._take(in_last_epoch))
        else:
            self._agent.replayed()
        replay()
        return True

    def _take(self, in_last_epoch: bool) -> None:
        stream = self._env.stream
        batch = stream.batch()
        reward = self._env.score(self._agent.act(batch.inputs), batch.targets)
        self._meter.add_on_device(reward, self._learn(batch.targets, batch.inputs), in_last_epoch)
        stream.advance_on_device()
