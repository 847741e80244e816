"""The base of all streams: positions, epoch order, batches, S seeds in lockstep."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from clbench.data import LabelledData, load_images
from clbench.data.sources import CACHE, Key, image_key
from clbench.errors import OptionError, StepOrderError
from clbench.jsondata import to_json
from clbench.seeding import check_seed, generator
from clbench.specs import StreamSpec


@dataclass(frozen=True)
class Task:
    """One task of one seed: a fixed labelled data set.

    Attributes:
        rows: `(N,)` int64, row numbers in the data; `N` is the spec's num_samples in every task.
        targets: `(N,)` int64, what to predict for each row.
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

    Everything random is a pure function of (spec, seed, task, epoch), drawn on the CPU by separate generators: the
    same seed gives the same bits on any device, together with any other seeds, and whatever the global random state
    is. So task and step are all that a position consists of.

    Args:
        spec: of the stream.
        seeds: one root seed per stream in lockstep.
        device: where batches are needed.

    Raises:
        OptionError: the spec asks for more examples than there are, or a seed is not valid.
    """

    options: ClassVar[Mapping[str, Any]] = {}
    """The options of this kind of stream besides those of StreamSpec, with their defaults."""

    can_replay: ClassVar[bool] = False
    """Whether a task's transform does the same operations on the device for every batch, without reading or drawing a
    number: on a CUDA device, steps are then recorded and replayed. True for any stream without transforms."""

    custom_data: ClassVar[bool] = False
    """Whether the class defines `load_data`, so that image sources do not apply; set when it is defined."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        cls.custom_data = cls.custom_data or "load_data" in vars(cls)

    def __init__(self, spec: StreamSpec, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.spec = self.resolve(spec)
        self.data = self.shared_data(self.spec).to(self.device)
        self.seeds = tuple(check_seed(seed) for seed in seeds)
        count = self.spec.examples_per_task
        self._rows = [generator(seed, "subsample").permutation(len(self.data))[:count] for seed in self.seeds]
        # Tensors keep their memory, so that a CUDA graph can replay `batch` and `advance_on_device`.
        shape = (2, len(self.seeds), count)
        self._epoch_rows, self._epoch_targets = torch.empty(shape, dtype=torch.int64, device=self.device)
        self._first_window = torch.arange(self.spec.batch_size, device=self.device)
        self._window = self._first_window.clone()
        self.clock = torch.zeros((), dtype=torch.int64, device=self.device)
        self.task, self.step_in_task = 0, 0
        self._tasks: list[Task] = []
        self._go_to(0, 0)

    # For authors of streams to define and use.

    def draw_task(self, rng: np.random.Generator, rows: np.ndarray, previous: Task | None) -> Task:
        """Return the next task of one seed.

        Args:
            rng: this task's generator; draw from nothing else.
            rows: `(N,)` the seed's subsample of `self.data`, the same for all its tasks.
            previous: the task before, None for the first.
        """
        raise NotImplementedError(f"{type(self).__name__} must define draw_task(rng, rows, previous)")

    @classmethod
    def load_data(cls, spec: StreamSpec) -> LabelledData:
        """Return the data to stream; by default the images of the spec's source."""
        return load_images(spec.source, spec.data_dir)

    @classmethod
    def chance_level(cls, spec: StreamSpec) -> float:
        """Return the accuracy of guessing, at least 0 and below 1; by default one over the number of classes."""
        return 1 / cls.shared_data(spec).num_classes

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Raise `OptionError` if a value in `options` is not possible; names are checked already."""

    def true_labels(self, rows: np.ndarray) -> np.ndarray:
        """Return the labels of the data at `rows`, as a new int64 array."""
        labels: np.ndarray = self.data.labels.cpu().numpy()[rows]
        return labels

    # For the rest of clbench.

    @classmethod
    def data_key(cls, spec: StreamSpec) -> Key:
        """Return the key in `clbench.data.sources.CACHE` of the data that `load_data` gives."""
        if not cls.custom_data:
            return image_key(spec.source, spec.data_dir)
        return (cls, json.dumps(to_json(spec.options), sort_keys=True), spec.source, spec.data_dir or "")

    @classmethod
    def shared_data(cls, spec: StreamSpec) -> LabelledData:
        """Return `load_data(spec)`, loaded on the process's first call only."""
        return CACHE.get(cls.data_key(spec), lambda: cls.load_data(spec))

    @classmethod
    def chance(cls, spec: StreamSpec) -> float:
        """Return `chance_level` of a resolved spec, checked."""
        chance: object = cls.chance_level(spec)
        if not isinstance(chance, int | float | np.floating) or not 0 <= chance < 1:
            raise OptionError(
                f"{cls.__name__}.chance_level gave {chance!r}: it must be at least 0 and below 1"
            )
        return float(chance)

    @classmethod
    def resolve(cls, spec: StreamSpec) -> StreamSpec:
        """Return the spec with all options and a known `num_samples`."""
        spec = replace(spec, options={**cls.options, **spec.options})
        data = cls.shared_data(spec)
        resolved = spec.resolve(len(data), data.source)
        cls.chance(resolved)  # an impossible one is refused before anything starts
        return resolved

    @property
    def done(self) -> bool:
        return self.task == self.spec.num_tasks

    @property
    def epoch(self) -> int:
        return self.step_in_task // self.spec.steps_per_epoch

    def batch(self) -> Batch:
        if self.done:
            raise StepOrderError("the stream has ended: no batch is left")
        rows = self._epoch_rows.index_select(1, self._window)
        targets = self._epoch_targets.index_select(1, self._window)
        # index_select copies whole rows: several times faster than indexing.
        inputs = self.data.inputs.index_select(0, rows.flatten()).view(*rows.shape, *self.data.input_shape)
        if any(task.transform for task in self._tasks):
            pairs = zip(self._tasks, inputs, strict=True)
            inputs = torch.stack([task.transform(x) if task.transform else x for task, x in pairs])
        return Batch(inputs, targets)

    def advance(self) -> None:
        self.advance_on_device()
        self.advance_on_host()

    def advance_on_device(self) -> None:
        """Do the device's half of `advance`, which can be replayed."""
        self._window += self.spec.batch_size
        self.clock += 1

    def advance_on_host(self) -> None:
        """Do the host's half of `advance`, after the device's."""
        self.step_in_task += 1
        if self.step_in_task == self.spec.steps_per_task:
            self.task, self.step_in_task = self.task + 1, 0
            if self.done:
                return
            self._tasks = self._draw_tasks(self.task, self._tasks)
        if self.step_in_task % self.spec.steps_per_epoch == 0:
            self._lay_out_epoch()

    def state_dict(self) -> dict[str, Any]:
        return {"seeds": list(self.seeds), "task": self.task, "step_in_task": self.step_in_task}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        task, step = state["task"], state["step_in_task"]
        if tuple(state["seeds"]) != self.seeds:
            raise OptionError(f"the state has seeds {state['seeds']}, this stream {list(self.seeds)}")
        inside = 0 <= task < self.spec.num_tasks and 0 <= step < self.spec.steps_per_task
        if not inside and (task, step) != (self.spec.num_tasks, 0):
            raise OptionError(f"task {task}, step {step} lies outside this stream")
        self._go_to(task, step)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies share the data, and rebuild everything else from the position.
        return (_restored, (type(self), self.spec, self.device, self.state_dict()))

    def _go_to(self, task: int, step_in_task: int) -> None:
        self.task, self.step_in_task = task, step_in_task
        self._tasks = []
        for index in range(min(task + 1, self.spec.num_tasks)):
            self._tasks = self._draw_tasks(index, self._tasks)
        if not self.done:
            self._lay_out_epoch()

    def _draw_tasks(self, index: int, previous: Sequence[Task]) -> list[Task]:
        count, tasks = self.spec.examples_per_task, []
        for row, seed in enumerate(self.seeds):
            rng = generator(seed, "task", index)
            task = self.draw_task(rng, self._rows[row], previous[row] if previous else None)
            for name, values in (("rows", task.rows), ("targets", task.targets)):
                if np.shape(values) != (count,):
                    raise OptionError(
                        f"{type(self).__name__}.draw_task gave {name} of shape {np.shape(values)}; "
                        f"every task has num_samples={count} examples"
                    )
            tasks.append(task)
        return tasks

    def _lay_out_epoch(self) -> None:
        count = self.spec.examples_per_task
        orders = {
            seed: generator(seed, "order", self.task, self.epoch).permutation(count)
            for seed in dict.fromkeys(self.seeds)
        }
        self._copy(self._epoch_rows, [task.rows for task in self._tasks], orders)
        self._copy(self._epoch_targets, [task.targets for task in self._tasks], orders)
        start = self.step_in_task % self.spec.steps_per_epoch * self.spec.batch_size
        torch.add(self._first_window, start, out=self._window)
        self.clock.fill_(self.step_in_task)

    def _copy(
        self, epoch: torch.Tensor, values: Sequence[np.ndarray], orders: Mapping[int, np.ndarray]
    ) -> None:
        pinned = self.device.type == "cuda"
        host = torch.empty(epoch.shape, dtype=epoch.dtype, device="cpu", pin_memory=pinned)
        for row, (seed, of_seed) in enumerate(zip(self.seeds, values, strict=True)):
            host[row].numpy()[:] = np.asarray(of_seed)[orders[seed]]
        epoch.copy_(host, non_blocking=True)  # from pinned memory: the host does not wait


def _restored(kind: type[Stream], spec: StreamSpec, device: torch.device, state: Mapping[str, Any]) -> Stream:
    stream = kind(spec, state["seeds"], device)
    stream.load_state_dict(state)
    return stream
