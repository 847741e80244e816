"""A stream as a `gymnasium.vector.VectorEnv`: S seeds in lockstep, torch tensors on a device."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from clbench.checks import check_count
from clbench.envs.base import Info, StreamState
from clbench.envs.rewards import Rewards
from clbench.errors import DeviceError, OptionError, PredictionError
from clbench.machine import can_read
from clbench.seeding import check_seed
from clbench.specs import StreamSpec
from clbench.streams import Stream


class StreamVectorEnv(StreamState, VectorEnv[torch.Tensor, torch.Tensor, torch.Tensor]):
    """Predict, then learn, on the streams of S independent seeds in lockstep.

    As `StreamEnv`, with a leading dimension S and tensors on `device`: observations `(S, B, *shape)` float32,
    predictions `(S, B)` labels or `(S, B, C)` logits, rewards `(S,)` float32 (NumPy can compute with these), targets
    `(S, B)` int64. All seeds are at the same position, so `task`, `epoch`, `step_in_task` and `boundary` are single
    values; `terminated` `(S,)` is a NumPy array.

    Nothing is copied to the host. On a device other than the CPU, unusable predictions (NaN, labels out of range) are
    therefore noted on the device and reported at the end of the task; on the CPU at once.

    `clbench.make_vec` makes one from a registered id.
    """

    lockstep = True
    metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}

    def __init__(
        self, stream_class: type[Stream], spec: StreamSpec, num_envs: int = 1, device: str = "cpu"
    ) -> None:
        self.num_envs, self.device = check_count("num_envs", num_envs), check_device(device)
        self.single_observation_space, self.single_action_space = self._set_up(
            stream_class, spec, self.device, str(self.device)
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._first_unusable = torch.full((num_envs,), -1, dtype=torch.int64, device=self.device)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: Info | None = None
    ) -> tuple[torch.Tensor, Info]:
        """Start S streams: of the seeds listed, or of seed, seed + 1, ..., or of drawn ones."""
        if seed is None:
            seeds = [int(drawn) for drawn in self.np_random.integers(2**31, size=self.num_envs)]
        elif isinstance(seed, (int, np.integer)):
            seeds = [check_seed(seed) + index for index in range(self.num_envs)]
        else:
            seeds = [check_seed(root) for root in seed] if isinstance(seed, Iterable) else [check_seed(seed)]
            if len(seeds) != self.num_envs:
                raise OptionError(f"{len(seeds)} seeds for {self.num_envs} environments: give one each")
        if seed is not None:
            super().reset(seed=seeds[0])
        self._start(seeds, options)
        self._first_unusable.fill_(-1)
        return self.observation(), self.info()

    def step(self, actions: object) -> tuple[torch.Tensor, torch.Tensor, Any, Any, Info]:
        """Score predictions for the batches shown last, reveal their targets, show the next ones."""
        targets, stream = self._asked().targets, self.stream
        rewards = self.score(actions, targets)
        if stream.step_in_task + 1 == stream.spec.steps_per_task:
            self._report_unusable(actions)
        info = {**self._advance(), "targets": targets}
        terminated = np.full(self.num_envs, stream.done)
        return self.observation(), rewards.as_subclass(Rewards), terminated, np.zeros_like(terminated), info

    def __enter__(self) -> "StreamVectorEnv":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def state_dict(self, rows: slice = slice(None)) -> dict[str, Any]:
        return {**super().state_dict(rows), "first_unusable": self._first_unusable[rows].clone()}

    def restore(self, *states: Mapping[str, Any]) -> tuple[torch.Tensor, Info]:
        """Go to the position in `states`, which together have S seeds; return what `reset` or `step` returned there."""
        self._restore(states, self.num_envs)
        self._first_unusable.copy_(torch.cat([state["first_unusable"] for state in states]))
        return self.observation(), self.info()

    def observation(self) -> torch.Tensor:
        batch = self._shown()
        if batch is None:
            shape = (self.num_envs, *(self.single_observation_space.shape or ()))
            return torch.zeros(shape, dtype=torch.float32, device=self.device)
        return batch.inputs

    def score(self, actions: object, targets: torch.Tensor) -> torch.Tensor:
        """Return the rewards `(S,)` of predictions; unusable ones are noted, and reported if the host can read them."""
        rewards, unusable = self._scoring.score(actions, targets)
        reading = can_read(self.device)
        if not reading or unusable.any():
            first = self._first_unusable
            first.copy_(torch.where(unusable & (first < 0), self.stream.clock, first))
            if reading:
                self._report_unusable(actions)
        return rewards

    def follow_replay(self) -> None:
        """Catch up with a step whose operations on the device were replayed."""
        self.stream.advance_on_host()
        self._batch = None

    def _report_unusable(self, actions: object) -> None:
        steps = self._first_unusable.tolist()
        self._first_unusable.fill_(-1)
        for row, step in enumerate(steps):
            if step >= 0:
                stream = self.stream
                location = self.stream_spec.locate([stream.seeds[row]], stream.task, step)
                raise PredictionError(f"{self._scoring.fault(actions)} ({location})", row=row)


def check_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"'{name}' is not a device: it must be cpu, cuda, cuda:N or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"'{name}' is not supported: it must be cpu, cuda, cuda:N or mps")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("PyTorch sees no Apple GPU for 'mps' here: use --device cpu or auto")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("PyTorch sees no CUDA device for 'cuda' here: use --device cpu or auto")
        count = torch.cuda.device_count()
        index = torch.cuda.current_device() if device.index is None else device.index
        if index >= count:
            raise DeviceError(f"no device '{name}': PyTorch sees {count} CUDA devices, starting at cuda:0")
        return torch.device("cuda", index)
    return device
