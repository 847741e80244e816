"""A stream as a `gymnasium.Env`: one seed, NumPy arrays."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from clbench.agent import AgentSpec
from clbench.envs.predictions import accuracy, as_labels, unusable
from clbench.errors import OptionError, StepOrderError
from clbench.registration import lookup, resolve
from clbench.seeding import check_seed
from clbench.specs import StreamSpec
from clbench.streams import Batch, Stream

Arrays = np.ndarray[Any, np.dtype[Any]]


class StreamEnv(gymnasium.Env[Arrays, Arrays]):
    """Predict, then learn, on one stream.

    The observation is a batch of inputs `(B, *shape)` float32. The action is a prediction for each:
    labels `(B,)`, or logits `(B, C)`. The reward is the share of right ones. Only then does `info`
    reveal `targets` `(B,)`, those of the batch just predicted.

    `info` also places the observation returned: `task`, `epoch`, `step_in_task` (all from 0) and
    `boundary`, true when it opens a new task. After the last batch `terminated` is true, the
    observation is zeros, and the place stays where it was.

    Source: prequential evaluation; Gama et al., "On evaluating stream learning algorithms", 2013.

    Args:
        stream: registered id.
        agent_device: device that `agent_spec` tells a learner to use; arrays stay on the host.
        **overrides: as for `clbench.make`.
    """

    metadata = {"render_modes": []}

    def __init__(self, stream: str, agent_device: str = "cpu", **overrides: Any) -> None:
        self._stream_class = lookup(stream).load()
        spec = resolve(stream, overrides)
        data = self._stream_class.shared_data(spec, torch.device("cpu"))
        self.stream_spec: StreamSpec = self._stream_class.resolve(spec, len(data))
        self.agent_spec = AgentSpec.of(self.stream_spec, data.input_shape, data.num_classes, agent_device)
        batch = self.stream_spec.batch_size
        low, high = data.bounds
        self.observation_space = spaces.Box(low, high, (batch, *data.input_shape), np.float32)
        self.action_space = spaces.MultiDiscrete(np.full(batch, data.num_classes))
        self._stream: Stream | None = None
        self._batch: Batch | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Start the stream of `seed`; without a seed, of one drawn from the environment's generator.

        Returns:
            The first batch of inputs `(B, *shape)` and `info`, which has no targets yet.
        """
        if options:
            raise OptionError(f"reset knows no options; got {options!r}")
        super().reset(seed=None if seed is None else check_seed(seed))
        stream_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self._stream = self._stream_class(self.stream_spec, [stream_seed])
        self._batch = self._stream.batch()
        return self._observation(), {**self._place(), "boundary": True}

    def step(self, action: Any) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Score predictions for the batch last shown, reveal its targets, show the next batch.

        Args:
            action: integer labels `(B,)` or floating logits `(B, C)`.

        Returns:
            Observation, reward (accuracy), terminated, truncated (never), info.

        Raises:
            PredictionError: predictions of the wrong shape, dtype or range, or not finite.
            StepOrderError: before `reset`, or after the end.
        """
        stream, batch = self._stream, self._batch
        if stream is None:
            raise StepOrderError("step was called before reset: call env.reset(seed=...) first")
        if batch is None:
            raise StepOrderError("the stream has ended: call env.reset(seed=...) to start another")
        targets = batch.targets[0]
        labels, bad = as_labels(action, targets, self.agent_spec.num_classes)
        if bad:
            where = f"seed {stream.seeds[0]}, {describe(stream.spec, stream.task, stream.step_in_task)}"
            raise unusable(action, where, self.agent_spec.num_classes)
        reward = float(accuracy(labels, targets))
        place = self._place()
        stream.advance()
        self._batch = None if stream.done else stream.batch()
        if self._batch is not None:
            place = self._place()
        info = {**place, "boundary": opens_task(stream), "targets": targets.numpy()}
        return self._observation(), reward, stream.done, False, info

    def state_dict(self) -> dict[str, Any]:
        """Return the seed and the position of the stream under way, as plain data."""
        return under_way(self._stream).state_dict()

    def restore(self, state: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
        """Take up the position in `state`; return what `reset` or `step` returned there, without targets.

        Raises:
            OptionError: the state is not of one seed, or lies outside this stream.
        """
        self._stream = restored(self._stream_class, self.stream_spec, state, 1)
        self._batch = None if self._stream.done else self._stream.batch()
        return self._observation(), {**self._place(), "boundary": opens_task(self._stream)}

    def _observation(self) -> Arrays:
        if self._batch is None:
            return np.zeros(self.observation_space.shape or (), np.float32)
        return self._batch.inputs[0].numpy()

    def _place(self) -> dict[str, int]:
        assert self._stream is not None
        return place_of(self._stream)


def restored(
    stream_class: type[Stream],
    spec: StreamSpec,
    state: Mapping[str, Any],
    count: int,
    device: torch.device | str = "cpu",
) -> Stream:
    """Return the stream that `state` is of, at its position, for an environment of `count` seeds."""
    if len(state["seeds"]) != count:
        raise OptionError(f"this state is of {len(state['seeds'])} seeds, the environment has {count}")
    stream = stream_class(spec, state["seeds"], device)
    stream.load_state_dict(state)
    return stream


def under_way(stream: Stream | None) -> Stream:
    """Return a stream that was started, or complain."""
    if stream is None:
        raise StepOrderError("no stream is under way: call reset(seed=...) first")
    return stream


def opens_task(stream: Stream) -> bool:
    """Tell whether the present batch is a task's first."""
    return not stream.done and stream.step_in_task == 0


def place_of(stream: Stream) -> dict[str, int]:
    """Return where a stream is, as environments report it."""
    return {"task": stream.task, "epoch": stream.epoch, "step_in_task": stream.step_in_task}


def describe(spec: StreamSpec, task: int, step: int) -> str:
    """Return a place in words, counted from 1.

    >>> describe(StreamSpec("A-v0", num_tasks=15, num_samples=256), 2, 16)
    'task 3 of 15, step 17 of 40'
    """
    return f"task {task + 1} of {spec.num_tasks}, step {step + 1} of {spec.steps_per_task}"
