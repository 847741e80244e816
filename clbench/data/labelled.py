"""Labelled data in memory, and saved for other processes to map."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from clbench.errors import DataError, WriteError


@dataclass(frozen=True, eq=False)
class LabelledData:
    """A labelled data set that all seeds of a process share and nobody changes.

    Attributes:
        inputs: `(N, *shape)` float32, normalised as learners see them.
        labels: `(N,)` int64 in `[0, num_classes)`.
        source: what run folders and errors call the data.
        checksum: SHA-256 in hexadecimal of the source's content; "" for that of inputs and labels.

    >>> data = LabelledData(torch.tensor([[0.5], [0.7]]), torch.tensor([1, 0]), num_classes=2)
    >>> len(data), data.input_shape, data.bounds
    (2, (1,), (0.5, 0.699...))
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    num_classes: int
    source: str = "custom"
    checksum: str = ""
    _copies: dict[torch.device, "LabelledData"] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.inputs.dtype != torch.float32:
            raise DataError(f"inputs must be float32, not {self.inputs.dtype}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.inputs.shape[:1]:
            raise DataError(
                f"labels must be int64 of shape ({len(self.inputs)},), one for each input; "
                f"they are {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        if len(self) == 0 or not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            raise DataError(f"labels must lie in [0, {self.num_classes}), with at least one label")
        if not self.checksum:
            object.__setattr__(self, "checksum", sha256(self.inputs, self.labels))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape[1:])

    @cached_property
    def bounds(self) -> tuple[float, float]:
        low, high = torch.aminmax(self.inputs)
        return float(low), float(high)

    def to(self, device: torch.device) -> "LabelledData":
        """Return the data on `device`, copied there on the first call only."""
        if self.inputs.device == device:
            return self
        if device not in self._copies:
            inputs, labels = self.inputs.to(device), self.labels.to(device)
            self._copies[device] = dataclasses.replace(self, inputs=inputs, labels=labels)
        return self._copies[device]

    def save(self, folder: Path) -> None:
        """Write the data into `folder`, for `open` to map."""
        facts = {name: getattr(self, name) for name in ("num_classes", "source", "checksum")}
        try:
            np.save(folder / "inputs.npy", self.inputs.cpu().numpy())
            np.save(folder / "labels.npy", self.labels.cpu().numpy())
            (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        except OSError as error:
            raise WriteError(f"cannot write {folder} for the workers: {error.strerror or error}") from error

    @classmethod
    def open(cls, folder: Path) -> "LabelledData":
        """Map data that `save` wrote; all processes that do so share its memory."""
        # Mode "c" is a private mapping: PyTorch wants writable memory, and nobody writes.
        inputs, labels = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("inputs", "labels"))
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return cls(torch.from_numpy(inputs), torch.from_numpy(labels), **facts)


def sha256(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()
