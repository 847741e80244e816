"""The shared half of both environments: the stream under way, and the batch shown last."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from clbench.agent import AgentSpec
from clbench.envs.predictions import Classification
from clbench.errors import OptionError, StepOrderError
from clbench.specs import StreamSpec
from clbench.streams import Batch, Stream

Info = dict[str, Any]


class StreamState:
    """Where the streams of an environment are.

    Attributes:
        lockstep: whether batches have a first dimension of seeds.
        stream_class: kind of stream.
        stream_spec: resolved.
        agent_spec: for constructing agents.
        device: of batches.
    """

    lockstep: bool
    stream_class: type[Stream]
    stream_spec: StreamSpec
    agent_spec: AgentSpec
    device: torch.device

    def _set_up(
        self, stream_class: type[Stream], spec: StreamSpec, device: torch.device, agent_device: str
    ) -> tuple[spaces.Box, spaces.MultiDiscrete]:
        """Resolve the spec for its data; return the spaces of one seed's observations and actions."""
        self.stream_class, self.device = stream_class, device
        self.stream_spec = stream_class.resolve(spec)
        data = stream_class.shared_data(self.stream_spec)
        self.agent_spec = AgentSpec(
            data.input_shape,
            data.num_classes,
            spec.batch_size,
            spec.num_tasks,
            spec.epochs_per_task,
            self.stream_spec.steps_per_task,
            agent_device,
        )
        self._scoring = Classification(data.num_classes)
        self._stream: Stream | None = None
        self._batch: Batch | None = None
        batch_size, (low, high) = spec.batch_size, data.bounds
        return (
            spaces.Box(low, high, (batch_size, *data.input_shape), np.float32),
            spaces.MultiDiscrete(np.full(batch_size, data.num_classes)),
        )

    @property
    def stream(self) -> Stream:
        """The streams under way.

        Raises:
            StepOrderError: there is none yet.
        """
        if self._stream is None:
            raise StepOrderError("no stream is running: call reset(seed=...) first")
        return self._stream

    @property
    def done(self) -> bool:
        """Whether the streams have ended."""
        return self.stream.done

    def position(self) -> Info:
        """Return the position of the streams, as it is in `info`."""
        stream = self.stream
        return {
            "task": stream.task,
            "epoch": stream.epoch,
            "step_in_task": stream.step_in_task,
            "boundary": not stream.done and stream.step_in_task == 0,
        }

    def state_dict(self, rows: slice = slice(None)) -> dict[str, Any]:
        """Return seeds and position of the streams under way.

        Args:
            rows: of which seeds.
        """
        state = self.stream.state_dict()
        return {**state, "seeds": state["seeds"][rows]}

    def _start(self, seeds: Sequence[int], options: Info | None) -> None:
        if options:
            raise OptionError(f"reset takes no options; got {options!r}")
        self._stream = self.stream_class(self.stream_spec, seeds, self.device)
        self._batch = None

    def _restore(self, states: Sequence[Mapping[str, Any]], num_seeds: int) -> None:
        first, seeds = states[0], [seed for state in states for seed in state["seeds"]]
        if len(seeds) != num_seeds:
            raise OptionError(f"the state has {len(seeds)} seeds, the environment {num_seeds}")
        if any(
            state["task"] != first["task"] or state["step_in_task"] != first["step_in_task"]
            for state in states
        ):
            raise OptionError("the states are at different positions")
        stream = self.stream_class(self.stream_spec, seeds, self.device)
        stream.load_state_dict({**first, "seeds": seeds})
        self._stream, self._batch = stream, None

    def _shown(self) -> Batch | None:
        """Return the batch at the present position, None at the end; the same one until the next step."""
        if self._batch is None and not self.stream.done:
            self._batch = self.stream.batch()
        return self._batch

    def _asked(self) -> Batch:
        """Return the batch that the next step answers."""
        if self._stream is None:
            raise StepOrderError("step was called before reset: call reset(seed=...) first")
        batch = self._shown()
        if batch is None:
            raise StepOrderError("the stream has ended: call reset(seed=...) to start another")
        return batch

    def _advance(self) -> Info:
        """Move to the next batch; return its position, at the end that of the last batch."""
        last, self._batch = self.position(), None
        self.stream.advance()
        return {**last, "boundary": False} if self.stream.done else self.position()
