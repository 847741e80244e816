"""A stream as a `gymnasium.Env`: one seed, NumPy arrays."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch

from clbench.envs.base import Info, StreamState
from clbench.errors import PredictionError
from clbench.seeding import check_seed
from clbench.specs import StreamSpec
from clbench.streams import Stream

Arrays = np.ndarray[Any, np.dtype[Any]]


class StreamEnv(StreamState, gymnasium.Env[Arrays, Arrays]):
    """Predict, then learn, on one stream.

    The observation is a batch of inputs `(B, *shape)` float32. The action is a prediction for each: labels `(B,)`, or
    logits `(B, C)`. The reward is the accuracy. Only then does `info` reveal `targets` `(B,)`, those of the batch just
    predicted.

    `info` also has the position of the returned observation: `task`, `epoch`, `step_in_task` (all from 0) and
    `boundary`, true when it opens a new task. After the last batch `terminated` is true, the observation is zeros, and
    the position remains that of the last batch. Where boundaries are hidden, `info` has no position.

    Source: prequential evaluation; Gama et al., "On evaluating stream learning algorithms", 2013.

    `clbench.make` makes one from a registered id. `agent_device` is for the learner: arrays stay on the host.
    """

    lockstep = False
    metadata = {"render_modes": []}

    def __init__(self, stream_class: type[Stream], spec: StreamSpec, agent_device: str = "cpu") -> None:
        self.observation_space, self.action_space = self._set_up(
            stream_class, spec, torch.device("cpu"), agent_device
        )

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Arrays, Info]:
        """Start the stream of `seed`; without a seed, of one drawn from the environment's generator."""
        super().reset(seed=None if seed is None else check_seed(seed))
        self._start([int(self.np_random.integers(2**31)) if seed is None else seed], options)
        return self.observation(), self.info()

    def step(self, action: object) -> tuple[Arrays, float, bool, bool, Info]:
        """Score predictions for the batch shown last, reveal its targets, show the next batch."""
        targets, stream = self._asked().targets[0], self.stream
        score, unusable = self._scoring.score(action, targets)
        if unusable:
            location = self.stream_spec.locate(stream.seeds, stream.task, stream.step_in_task)
            raise PredictionError(f"{self._scoring.fault(action)} ({location})", row=0)
        info = {**self._advance(), "targets": targets.numpy()}
        return self.observation(), float(score), stream.done, False, info

    def restore(self, *states: Mapping[str, Any]) -> tuple[Arrays, Info]:
        """Go to the position in the state given; return what `reset` or `step` returned there, without targets."""
        self._restore(states, 1)
        return self.observation(), self.info()

    def observation(self) -> Arrays:
        batch = self._shown()
        if batch is None:
            return np.zeros(self.observation_space.shape or (), np.float32)
        return batch.inputs[0].numpy()
