"""A stream as a `gymnasium.vector.VectorEnv`: S seeds in lockstep, torch tensors on a device."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from clbench.agent import AgentSpec
from clbench.envs.predictions import accuracy, as_labels, unusable
from clbench.envs.single import describe, opens_task, place_of, restored, under_way
from clbench.errors import DeviceError, OptionError, StepOrderError
from clbench.machine import seen
from clbench.registration import lookup, resolve
from clbench.seeding import check_seed
from clbench.specs import check_count
from clbench.streams import Batch, Stream


class StreamVectorEnv(VectorEnv[torch.Tensor, torch.Tensor, torch.Tensor]):
    """Predict, then learn, on the streams of S independent seeds in lockstep.

    As `StreamEnv`, with a leading dimension S and tensors on `device`: observations `(S, B, *shape)`
    float32, predictions `(S, B)` labels or `(S, B, C)` logits, rewards `(S,)` float32, targets `(S, B)`
    int64. All seeds are at the same place, so `task`, `epoch`, `step_in_task` and `boundary` are single
    numbers, and `terminated` `(S,)` is a NumPy array: the host knows the end without asking the device.

    Nothing is copied to the host. On a device other than the CPU, unusable predictions (NaN, labels out
    of range) are therefore noted on the device and reported at the task's end; on the CPU at once.

    Args:
        stream: registered id.
        num_envs: `S`.
        device: where tensors live.
        **overrides: as for `clbench.make`.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}

    def __init__(self, stream: str, num_envs: int = 1, device: str = "cpu", **overrides: Any) -> None:
        self.num_envs = check_count("num_envs", num_envs)
        self.device = check_device(device)
        self._stream_class = lookup(stream).load()
        spec = resolve(stream, overrides)
        data = self._stream_class.shared_data(spec, self.device)
        self.stream_spec = self._stream_class.resolve(spec, len(data))
        self.agent_spec = AgentSpec.of(self.stream_spec, data.input_shape, data.num_classes, str(self.device))
        batch = self.stream_spec.batch_size
        low, high = data.bounds
        self.single_observation_space = spaces.Box(low, high, (batch, *data.input_shape), np.float32)
        self.single_action_space = spaces.MultiDiscrete(np.full(batch, data.num_classes))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._stream: Stream | None = None
        self._batch: Batch | None = None

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Start S streams: of the seeds listed, or of seed, seed + 1, ..., or of drawn ones.

        Returns:
            Observations `(S, B, *shape)` and `info`, which has no targets yet.
        """
        if options:
            raise OptionError(f"reset knows no options; got {options!r}")
        if seed is None:
            seeds = [int(drawn) for drawn in self.np_random.integers(2**31, size=self.num_envs)]
        elif isinstance(seed, (int, np.integer)):
            super().reset(seed=check_seed(seed))
            seeds = [int(seed) + index for index in range(self.num_envs)]
        else:
            seeds = [check_seed(one) for one in seed]
            if len(seeds) != self.num_envs:
                raise OptionError(f"{len(seeds)} seeds for {self.num_envs} environments: give one for each")
            super().reset(seed=seeds[0])
        self._stream = self._stream_class(self.stream_spec, seeds, self.device)
        self._batch = self._stream.batch()
        self._first_bad = torch.full((self.num_envs,), -1, dtype=torch.int64, device=self.device)
        return self._batch.inputs, {**place_of(self._stream), "boundary": True}

    def step(self, actions: Any) -> tuple[torch.Tensor, torch.Tensor, Any, Any, dict[str, Any]]:
        """Score predictions for the batches last shown, reveal their targets, show the next ones.

        Args:
            actions: integer labels `(S, B)` or floating logits `(S, B, C)`.

        Returns:
            Observations, rewards `(S,)`, terminated `(S,)`, truncated `(S,)` (never), info.

        Raises:
            PredictionError: predictions of the wrong shape, dtype or range, or not finite.
            StepOrderError: before `reset`, or after the end.
        """
        stream, batch = self._stream, self._batch
        if stream is None:
            raise StepOrderError("step was called before reset: call envs.reset(seed=...) first")
        if batch is None:
            raise StepOrderError("the streams have ended: call envs.reset(seed=...) to start others")
        rewards, place = self.score(actions, batch.targets), place_of(stream)
        if not seen(self.device.type) and stream.step_in_task + 1 == stream.spec.steps_per_task:
            self._report(actions, stream)
        stream.advance()
        if stream.done:
            self._batch = None
            observations = torch.zeros_like(batch.inputs)
        else:
            self._batch = stream.batch()
            observations, place = self._batch.inputs, place_of(stream)
        info = {**place, "boundary": opens_task(stream), "targets": batch.targets}
        ended = np.full(self.num_envs, stream.done)
        return observations, rewards, ended, np.zeros_like(ended), info

    def state_dict(self) -> dict[str, Any]:
        """Return seeds, the position of the streams under way, and which predictions were unusable."""
        return {**self.stream.state_dict(), "first_bad": self._first_bad.clone()}

    def restore(self, state: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """Take up the position in `state`; return what `reset` or `step` returned there, without targets.

        Raises:
            OptionError: the state is of another number of seeds, or lies outside this stream.
        """
        self._stream = restored(self._stream_class, self.stream_spec, state, self.num_envs, self.device)
        self._first_bad = state["first_bad"].to(self.device, copy=True)
        return self.present()

    @property
    def can_replay(self) -> bool:
        """Whether batches can be formed by replaying a recorded step."""
        return self._stream_class.can_replay

    @property
    def stream(self) -> Stream:
        """The streams under way."""
        return under_way(self._stream)

    def place(self) -> dict[str, Any]:
        """Return where the streams are, as `info` has it."""
        return {**place_of(self.stream), "boundary": opens_task(self.stream)}

    def present(self) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return what `reset` or `step` returned at the present position, without targets."""
        stream = self.stream
        self._batch = None if stream.done else stream.batch()
        shape = (self.num_envs, *(self.single_observation_space.shape or ()))
        if self._batch is None:
            return torch.zeros(shape, dtype=torch.float32, device=self.device), self.place()
        return self._batch.inputs, self.place()

    def score(self, actions: Any, targets: torch.Tensor) -> torch.Tensor:
        """Return the rewards `(S,)` of predictions; remember, or on a CPU refuse, what is unusable."""
        stream = self.stream
        labels, bad = as_labels(actions, targets, self.agent_spec.num_classes)
        if seen(self.device.type):
            if bad.any():
                self._refuse(actions, stream, int(bad.nonzero()[0]), stream.step_in_task)
        else:
            self._first_bad.copy_(torch.where(bad & (self._first_bad < 0), stream.clock, self._first_bad))
        return accuracy(labels, targets)

    def _report(self, actions: Any, stream: Stream) -> None:
        """Raise if predictions of the task that ends now were unusable."""
        steps = self._first_bad.tolist()
        self._first_bad.fill_(-1)
        for index, step in enumerate(steps):
            if step >= 0:
                self._refuse(actions, stream, index, step)

    def _refuse(self, actions: Any, stream: Stream, index: int, step: int) -> NoReturn:
        place = f"seed {stream.seeds[index]}, {describe(stream.spec, stream.task, step)}"
        raise unusable(actions, place, self.agent_spec.num_classes, index)


def check_device(name: str) -> torch.device:
    """Return the device called `name`, or raise `DeviceError` if this machine lacks it."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"'{name}' is not a device: it must be cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                "cuda was asked for, but PyTorch sees no CUDA device here: use --device cpu or auto"
            )
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise DeviceError(
                f"'{name}' was asked for, but there are only {torch.cuda.device_count()} CUDA devices"
            )
        return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("mps was asked for, but PyTorch sees no Apple GPU here: use --device cpu or auto")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"'{name}' is not supported: it must be cpu, cuda, cuda:N or mps")
    return device
