"""Sums over a task, kept on the device: correct predictions and losses."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from clbench.records import TaskRecord


class LossError(Exception):
    """A reported loss is unusable; `row` and `step` of the task say which one, where known."""

    def __init__(self, fault: str, row: int | None = None, step: int | None = None) -> None:
        super().__init__(fault)
        self.row, self.step = row, step


class Meter:
    """Sums of `seeds` rows over one task; the device's half of `add` can be replayed."""

    SUMS = ("right", "right_finally", "loss", "first_bad", "device_steps")
    COUNTS = ("steps", "final_steps", "losses")

    def __init__(self, seeds: int, device: str) -> None:
        # Apple's GPUs have no float64.
        dtype = torch.float32 if device.startswith("mps") else torch.float64
        self.right, self.right_finally, self.loss = torch.zeros(3, seeds, dtype=dtype, device=device)
        self.first_bad = torch.full((seeds,), -1, dtype=torch.int64, device=device)
        self.device_steps = torch.zeros((), dtype=torch.int64, device=device)
        self.restart()

    def restart(self) -> None:
        for sums in (self.right, self.right_finally, self.loss, self.device_steps):
            sums.zero_()
        self.first_bad.fill_(-1)
        self.steps = self.final_steps = self.losses = 0
        self.started = time.perf_counter()

    def add(self, reward: float | torch.Tensor, loss: object, final: bool) -> None:
        """Add a step's reward and loss (None if not reported), each a number or `(S,)`; `final` in the last epoch."""
        self.add_on_device(reward, loss, final)
        self.add_on_host(loss is not None, final)

    def add_on_device(self, reward: float | torch.Tensor, loss: object, final: bool) -> None:
        """Do the device's half of `add`."""
        if isinstance(reward, torch.Tensor):
            reward = reward.as_subclass(torch.Tensor)  # sums are plain
        self.right += reward
        if final:
            self.right_finally += reward
        if loss is not None:
            losses = self._as_tensor(loss)
            self.loss += losses
            bad = ~torch.isfinite(losses) & (self.first_bad < 0)
            self.first_bad.copy_(torch.where(bad, self.device_steps, self.first_bad))
        self.device_steps += 1

    def add_on_host(self, reported: bool, final: bool) -> None:
        """Do the host's half of `add`."""
        self.steps += 1
        self.final_steps += final
        self.losses += reported

    def _as_tensor(self, loss: object) -> torch.Tensor:
        try:
            losses = torch.as_tensor(loss, dtype=self.loss.dtype, device=self.loss.device).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise LossError(f"is not a number but {type(loss).__name__}") from error
        if losses.shape not in ((), self.loss.shape):
            raise LossError(f"has shape {tuple(losses.shape)}: it must be a number or one for each seed")
        return losses

    def check_losses(self) -> None:
        for row, step in enumerate(self.first_bad.tolist()):
            if step >= 0:
                raise LossError("is NaN or infinite", row, step)

    def state_dict(self, rows: slice) -> dict[str, Any]:
        sums = {name: getattr(self, name) for name in self.SUMS}
        copies = {name: (value[rows] if value.ndim else value).clone() for name, value in sums.items()}
        counts = {name: getattr(self, name) for name in self.COUNTS}
        return {**copies, **counts, "seconds": time.perf_counter() - self.started}

    def load_state_dict(self, state: Mapping[str, Any], rows: slice) -> None:
        for name in self.SUMS:
            sums = getattr(self, name)
            (sums[rows] if sums.ndim else sums).copy_(state[name])
        for name in self.COUNTS:
            setattr(self, name, state[name])
        self.started = time.perf_counter() - state["seconds"]

    def mean_accuracy(self, rows: slice) -> float:
        return float(self.right[rows].mean() / self.steps)

    def records(self, name: str, seeds: Sequence[int], task: int, rows: slice) -> Iterator[TaskRecord]:
        right, finally_right, loss = self.right[rows], self.right_finally[rows], self.loss[rows]
        losses = loss / self.losses if self.losses else torch.full_like(loss, torch.nan)
        columns = torch.stack([right / self.steps, finally_right / self.final_steps, losses]).tolist()
        seconds = time.perf_counter() - self.started
        for seed, accuracy, final_accuracy, mean_loss in zip(seeds, *columns, strict=True):
            yield TaskRecord(name, seed, task, self.steps, accuracy, final_accuracy, mean_loss, seconds)
