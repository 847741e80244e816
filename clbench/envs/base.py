"""The shared half of both environments: the stream under way, the batch shown last, and scores of predictions."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces

from clbench.agent import AgentSpec, HiddenAgentSpec
from clbench.errors import OptionError, PredictionError, StepOrderError
from clbench.forking import survive_forks
from clbench.specs import StreamSpec
from clbench.streams import Batch, Stream

Info = dict[str, Any]
survive_forks()

POSITION = ("task", "epoch", "step_in_task", "boundary")


class StreamState:
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
        told = data.input_shape, data.num_classes, spec.batch_size
        lengths = spec.num_tasks, spec.epochs_per_task, self.stream_spec.steps_per_task
        if spec.hides_boundaries:
            self.agent_spec = cast(AgentSpec, HiddenAgentSpec(*told, device=agent_device))
        else:
            self.agent_spec = AgentSpec(*told, *lengths, device=agent_device)
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
        """The streams under way."""
        if self._stream is None:
            raise StepOrderError("no stream is running: call reset(seed=...) first")
        return self._stream

    @property
    def done(self) -> bool:
        return self.stream.done

    def render(self) -> None:
        raise OptionError("a stream has no pictures to render")

    def position(self) -> Info:
        """Return where the stream is, whether agents are told or not: task, epoch and step, from 0."""
        stream = self.stream
        return {
            "task": stream.task,
            "epoch": stream.epoch,
            "step_in_task": stream.step_in_task,
            "boundary": not stream.done and stream.step_in_task == 0,
        }

    def info(self) -> Info:
        """Return the position as far as agents are told."""
        return {} if self.stream_spec.hides_boundaries else self.position()

    def state_dict(self, rows: slice = slice(None)) -> dict[str, Any]:
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
            raise OptionError(f"the state is of {len(seeds)} seeds, the environment has {num_seeds}")
        if len({(state["task"], state["step_in_task"]) for state in states}) > 1:
            raise OptionError("the states are of different positions")
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
        """Move to the next batch; return its `info`, at the end that of the last batch."""
        last, self._batch = self.info(), None
        self.stream.advance()
        if not self.stream.done:
            return self.info()
        return {**last, "boundary": False} if last else last


class Classification:
    """Predictions of one of `num_classes` labels, scored by accuracy.

    Predictions are integer labels of the targets' shape, or floating logits with one more dimension of size
    `num_classes`, of which the greatest counts (the first of equal ones).
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def score(self, predictions: object, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return accuracies and what is unusable, of the shape `(S,)` or `()`, for targets `(S, B)` or `(B,)`.

        Predictions are unusable where a label lies outside `[0, num_classes)` or a logit is not finite.

        Raises:
            PredictionError: they have the wrong shape or dtype, or cannot be read.
        """
        try:
            labels, unusable = self.labels(predictions, targets)
        except NotImplementedError as error:  # a kind of tensor that PyTorch can hardly compute with
            raise PredictionError(f"predictions cannot be read: {str(error).splitlines()[0]}") from error
        return (labels == targets).float().mean(dim=-1), unusable

    def labels(self, predictions: object, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = _as_tensor(predictions).detach()
        dtype = str(values.dtype).removeprefix("torch.")
        shape, is_float = values.shape, values.is_floating_point()
        if not is_float and not values.is_complex() and values.dtype != torch.bool:
            values = values.long()  # some integer types lack the operations below
        if values.device != targets.device:
            values = values.to(targets.device)
        if shape == targets.shape and values.dtype == torch.int64:
            low, high = torch.aminmax(values.flatten(targets.ndim - 1), dim=-1)
            return values, (low < 0) | (high >= self.num_classes)
        if shape == (*targets.shape, self.num_classes) and is_float:
            finite = torch.isfinite(values).flatten(targets.ndim - 1).all(dim=-1)
            return values.argmax(dim=-1), ~finite
        raise PredictionError(
            f"predictions must be integer labels of shape {tuple(targets.shape)} or floating logits of shape "
            f"{(*targets.shape, self.num_classes)}; got {dtype} {tuple(shape)}"
        )

    def fault(self, predictions: object) -> str:
        if _as_tensor(predictions).is_floating_point():
            return "predictions hold logits that are NaN or infinite"
        return f"predictions hold labels outside [0, {self.num_classes})"


def _as_tensor(predictions: object) -> torch.Tensor:
    return predictions if isinstance(predictions, torch.Tensor) else torch.from_numpy(_as_array(predictions))


def _as_array(predictions: object) -> np.ndarray:
    try:
        array = np.asarray(predictions)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"they are of dtype {array.dtype}")
        # PyTorch needs native byte order, no long doubles, and writable memory.
        dtype = {"i": np.int64, "u": np.int64, "f": np.float64}.get(array.dtype.kind)
        odd = array.dtype.kind == "u" or array.dtype.itemsize > 8 or not array.dtype.isnative
        return array.astype(dtype) if odd and dtype else np.require(array, requirements="W")
    except (TypeError, ValueError) as error:
        raise PredictionError(f"predictions must be an array or a tensor of numbers ({error})") from error
