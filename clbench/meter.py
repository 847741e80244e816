"""What is summed up over a task: right predictions and losses, kept on the device."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from clbench.records import TaskRecord


class LossError(Exception):
    """A reported loss is unusable: which seed (by place) and step of the task, where known."""

    def __init__(self, fault: str, index: int | None = None, step: int | None = None) -> None:
        super().__init__(fault)
        self.index, self.step = index, step


class Meter:
    """Sums over one task; the device's half of `add` can be replayed."""

    SUMS = ("right", "right_finally", "loss", "first_bad", "place")
    COUNTS = ("steps", "final_steps", "losses")

    def __init__(self, seeds: int, device: str) -> None:
        # Apple's GPUs have no float64.
        dtype = torch.float32 if device.startswith("mps") else torch.float64
        self.right, self.right_finally, self.loss = torch.zeros(3, seeds, dtype=dtype, device=device)
        self.first_bad = torch.full((seeds,), -1, dtype=torch.int64, device=device)
        self.place = torch.zeros((), dtype=torch.int64, device=device)
        self.steps = self.final_steps = self.losses = 0
        self.started = time.perf_counter()

    def add(self, reward: Any, loss: Any, final: bool) -> None:
        """Take a step's reward and loss, each a number or `(S,)`; `final` in the task's last epoch."""
        self.sum(reward, loss, final)
        self.count(loss is not None, final)

    def sum(self, reward: Any, loss: Any, final: bool) -> None:
        """Do the device's half of `add`."""
        self.right += reward
        if final:
            self.right_finally += reward
        if loss is not None:
            loss = self._as_tensor(loss)
            self.loss += loss
            bad = ~torch.isfinite(loss) & (self.first_bad < 0)
            self.first_bad.copy_(torch.where(bad, self.place, self.first_bad))
        self.place += 1

    def count(self, reported: bool, final: bool) -> None:
        """Do the host's half of `add`."""
        self.steps += 1
        self.final_steps += final
        self.losses += reported

    def _as_tensor(self, loss: Any) -> torch.Tensor:
        try:
            loss = torch.as_tensor(loss, dtype=self.loss.dtype, device=self.loss.device).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise LossError(f"is no number but {type(loss).__name__}") from error
        if loss.shape not in ((), self.loss.shape):
            raise LossError(f"has shape {tuple(loss.shape)}: it must be a number or one for each seed")
        return loss

    def check_losses(self) -> None:
        """Raise `LossError` for the first loss that was not finite."""
        for index, step in enumerate(self.first_bad.tolist()):
            if step >= 0:
                raise LossError("is NaN or infinite", index, step)

    def state_dict(self, rows: slice) -> dict[str, Any]:
        """Return copies of the sums of some places, the counts, and the seconds so far."""
        tensors = {name: getattr(self, name) for name in self.SUMS}
        own = {name: (value[rows] if value.ndim else value).clone() for name, value in tensors.items()}
        counts = {name: getattr(self, name) for name in self.COUNTS}
        return {**own, **counts, "seconds": time.perf_counter() - self.started}

    def load_state_dict(self, state: Mapping[str, Any], rows: slice) -> None:
        """Take up what `state_dict` gave of the same places."""
        for name in self.SUMS:
            own = getattr(self, name)
            (own[rows] if own.ndim else own).copy_(state[name])
        for name in self.COUNTS:
            setattr(self, name, state[name])
        self.started = time.perf_counter() - state["seconds"]

    def mean_accuracy(self, rows: slice) -> float:
        """Return the accuracy so far, mean over some places."""
        return float(self.right[rows].mean() / self.steps)

    def records(self, name: str, seeds: Sequence[int], task: int, rows: slice) -> Iterator[TaskRecord]:
        """Yield the task's records of the seeds at some places."""
        right, finally_right, loss = self.right[rows], self.right_finally[rows], self.loss[rows]
        losses = loss / self.losses if self.losses else torch.full_like(loss, torch.nan)
        columns = torch.stack([right / self.steps, finally_right / self.final_steps, losses]).tolist()
        seconds = time.perf_counter() - self.started
        for seed, accuracy, final, own in zip(seeds, *columns, strict=True):
            yield TaskRecord(name, seed, task, self.steps, accuracy, final, own, seconds)
