"""What all streams share: position, epoch order, batches, S seeds in lockstep."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from clbench.data import LabelledData, load_images
from clbench.data.sources import load_once
from clbench.errors import OptionError, StepOrderError
from clbench.seeding import check_seed, generator
from clbench.specs import StreamSpec, plain


@dataclass(frozen=True)
class Task:
    """One task of one seed: a fixed labelled data set.

    Attributes:
        rows: `(N,)` int64, which examples of the data; `N` is the spec's num_samples in every task.
        targets: `(N,)` int64, what to predict for each.
        transform: applied to each batch of inputs `(B, *shape)`; must keep shape, dtype and bounds.
    """

    rows: np.ndarray
    targets: np.ndarray
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True)
class Batch:
    """One step of all seeds: inputs `(S, B, *shape)` float32 and targets `(S, B)` int64."""

    inputs: torch.Tensor
    targets: torch.Tensor


class Stream:
    """A stream of tasks for S seeds in lockstep; subclass it and define `draw_task`.

    Everything random is a pure function of (spec, seed, task, epoch), drawn on the CPU by generators
    of the stream's own: the same seed gives the same bits on any device, in any company of seeds,
    whatever the global random state is. So a position is three numbers.

    Args:
        spec: what to stream.
        seeds: one root seed per stream in lockstep.
        device: where batches are wanted.

    Raises:
        OptionError: the spec asks for more images than there are, or a seed is not one.
    """

    options: ClassVar[Mapping[str, Any]] = {}
    """The options of this kind of stream beside StreamSpec's own, with their defaults."""

    can_replay: ClassVar[bool] = False
    """Whether a task's transform does the same operations on the device for every batch, without looking at a number
    or drawing one: on a CUDA device steps are then recorded and replayed. Streams without transforms can say so."""

    def __init__(self, spec: StreamSpec, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.data = self.shared_data(spec, self.device)
        self.spec = self.resolve(spec, len(self.data))
        self.seeds = tuple(check_seed(seed) for seed in seeds)
        self._rows = [
            generator(seed, "subsample").permutation(len(self.data))[: self.spec.num_samples]
            for seed in self.seeds
        ]
        self.task = self.step_in_task = 0
        self._tasks: list[Task] = []
        # The epoch and the place in it stay where they are in memory: a graph can replay `batch` and `turn`.
        assert self.spec.num_samples is not None
        shape = (2, len(self.seeds), self.spec.num_samples)
        self._epoch_rows, self._epoch_targets = torch.empty(shape, dtype=torch.int64, device=self.device)
        self._first_window = torch.arange(self.spec.batch_size, device=self.device)
        self._window = self._first_window.clone()
        self.clock = torch.zeros((), dtype=torch.int64, device=self.device)
        self._load_position(0, 0)

    # What a stream's author defines.

    def draw_task(self, rng: np.random.Generator, rows: np.ndarray, previous: Task | None) -> Task:
        """Return the next task of one seed.

        Args:
            rng: this task's own generator; draw from nothing else.
            rows: `(N,)` the seed's subsample of `self.data`, the same for all its tasks.
            previous: the task before, None for the first.
        """
        raise NotImplementedError(f"{type(self).__name__} must define draw_task(rng, rows, previous)")

    @classmethod
    def load_data(cls, spec: StreamSpec) -> LabelledData:
        """Return the data to stream; by default the images of the spec's source."""
        return load_images(spec.source, spec.data_dir)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Raise `OptionError` if a value in `options` is not possible; names are checked already."""

    def true_labels(self, rows: np.ndarray) -> np.ndarray:
        """Return the labels that the data has at `rows`, as a new int64 array."""
        labels: np.ndarray = self.data.labels.cpu().numpy()[rows]
        return labels

    # What the rest of clbench uses.

    @classmethod
    def has_own_data(cls) -> bool:
        """Tell whether the class defines `load_data`, so that sources do not concern it."""
        return cls.load_data.__func__ is not Stream.load_data.__func__  # type: ignore[attr-defined]

    @classmethod
    def data_key(cls, spec: StreamSpec) -> tuple[object, ...]:
        """Name the data that `load_data` gives, so that a process holds it once."""
        if not cls.has_own_data():
            return ("images", spec.source, spec.data_dir or "")
        return (cls, json.dumps(plain(spec.options), sort_keys=True), spec.source, spec.data_dir or "")

    @classmethod
    def shared_data(cls, spec: StreamSpec, device: torch.device) -> LabelledData:
        """Return `load_data(spec)` on `device`, loaded on the process's first call only."""
        key = cls.data_key(spec)
        data = load_once(key, lambda: cls.load_data(spec))
        return load_once((*key, str(device)), lambda: data.to(device))

    @classmethod
    def resolve(cls, spec: StreamSpec, available: int) -> StreamSpec:
        """Return `spec` with `num_samples` settled for data of `available` examples."""
        wanted = available if spec.num_samples is None else spec.num_samples
        if wanted > available:
            raise OptionError(
                f"num_samples={wanted:,} is more than the {available:,} "
                + (
                    "examples of the stream's own data"
                    if cls.has_own_data()
                    else f"images of the source '{spec.source}'"
                )
            )
        return dataclasses.replace(spec, num_samples=wanted)

    @property
    def done(self) -> bool:
        """Whether the last batch of the last task lies behind."""
        return self.task == self.spec.num_tasks

    @property
    def epoch(self) -> int:
        """Epoch within the task, from 0."""
        return self.step_in_task // self.spec.steps_per_epoch

    def batch(self) -> Batch:
        """Return the batch at the present position, in new memory."""
        if self.done:
            raise StepOrderError("the stream has ended: no batch is left")
        rows, targets = (
            epoch.index_select(1, self._window) for epoch in (self._epoch_rows, self._epoch_targets)
        )
        # index_select copies whole rows: several times faster than indexing.
        inputs = self.data.inputs.index_select(0, rows.flatten()).view(*rows.shape, *self.data.input_shape)
        transforms = [task.transform for task in self._tasks]
        if any(transforms):
            inputs = torch.stack([turn(x) if turn else x for turn, x in zip(transforms, inputs, strict=True)])
        return Batch(inputs, targets)

    def advance(self) -> None:
        """Move on to the next batch, epoch or task."""
        self.turn()
        self.count()

    def turn(self) -> None:
        """Do the device's half of `advance`."""
        self._window += self.spec.batch_size
        self.clock += 1

    def count(self) -> None:
        """Do the host's half of `advance`, once the device's is on its way."""
        self.step_in_task += 1
        if self.step_in_task == self.spec.steps_per_task:
            self.task, self.step_in_task = self.task + 1, 0
            if self.done:
                return
            self._tasks = self._draw_tasks(self.task, self._tasks)
        if self.step_in_task % self.spec.steps_per_epoch == 0:
            self._shuffle()

    def state_dict(self) -> dict[str, Any]:
        """Return the position, as plain JSON data."""
        return {"seeds": list(self.seeds), "task": self.task, "step_in_task": self.step_in_task}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the position in `state`: all batches from there on are those it would have given.

        Raises:
            OptionError: the state is of other seeds, or lies outside this stream.
        """
        task, step = state["task"], state["step_in_task"]
        if tuple(state["seeds"]) != self.seeds:
            raise OptionError(f"this state is of seeds {state['seeds']}, this stream of {list(self.seeds)}")
        inside = 0 <= task < self.spec.num_tasks and 0 <= step < self.spec.steps_per_task
        if not inside and (task, step) != (self.spec.num_tasks, 0):
            raise OptionError(f"task {task}, step {step} lies outside this stream")
        self._load_position(task, step)

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "device": self.device, **self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, state["spec"], state["seeds"], state["device"])
        self.load_state_dict(state)

    def _load_position(self, task: int, step_in_task: int) -> None:
        self.task, self.step_in_task = task, step_in_task
        tasks: list[Task] | None = None
        for index in range(min(task + 1, self.spec.num_tasks)):
            tasks = self._draw_tasks(index, tasks)
        assert tasks is not None
        self._tasks = tasks
        if not self.done:
            self._shuffle()

    def _draw_tasks(self, index: int, before: Sequence[Task] | None) -> list[Task]:
        tasks = []
        for place, seed in enumerate(self.seeds):
            previous = before[place] if before else None
            task = self.draw_task(generator(seed, "task", index), self._rows[place], previous)
            for name in ("rows", "targets"):
                shape = np.shape(getattr(task, name))
                if shape != (self.spec.num_samples,):
                    raise OptionError(
                        f"{type(self).__name__}.draw_task gave {name} of shape {shape}; "
                        f"every task has num_samples={self.spec.num_samples} examples"
                    )
            tasks.append(task)
        return tasks

    def _shuffle(self) -> None:
        """Lay out the present epoch: rows and targets `(S, N)` in its own random order."""
        assert self.spec.num_samples is not None
        orders = {
            seed: generator(seed, "order", self.task, self.epoch).permutation(self.spec.num_samples)
            for seed in dict.fromkeys(self.seeds)
        }
        for kind, epoch in (("rows", self._epoch_rows), ("targets", self._epoch_targets)):
            pinned = self.device.type == "cuda"
            laid_out = torch.empty(epoch.shape, dtype=torch.int64, device="cpu", pin_memory=pinned)
            for place, (seed, task) in enumerate(zip(self.seeds, self._tasks, strict=True)):
                laid_out[place].numpy()[:] = np.asarray(getattr(task, kind))[orders[seed]]
            epoch.copy_(laid_out, non_blocking=True)  # from pinned memory: nobody waits
        start = self.step_in_task % self.spec.steps_per_epoch * self.spec.batch_size
        torch.add(self._first_window, start, out=self._window)
        self.clock.fill_(self.step_in_task)
