"""What decisions were taken on: a growing table of tensors, kept on the device."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "step_size",
    "effective_step_size",
    "noise_bound",
    "volatility_bound",
    "combined_bound",
    "sharpness",
    "normalized_sharpness",
    "volatility",
    "gradient_noise",
    "gradient_squares",
    "factor",
)
BOUNDS = ("noise_bound", "volatility_bound", "combined_bound")


class History:
    """Decisions: where they were taken and, by column, layer and network, numbers `(C, L, S)`.

    Attributes:
        layers: names, `L`.
        expected: how many decisions there is room for from the start; with more the table moves in memory.
        places: of each decision: the step from the start, the task, and the step within the task (1-based).
    """

    def __init__(self, layers: Sequence[str], expected: int = 0) -> None:
        self.layers, self.expected = list(layers), max(expected, 16)
        self.places: list[tuple[int, int, int]] = []
        self._rows: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def room(self) -> int:
        """How many decisions the table can hold where it is."""
        return 0 if self._rows is None else len(self._rows)

    def append(self, place: tuple[int, int, int], values: Mapping[str, torch.Tensor]) -> None:
        """Add a decision: for each column, `(L, S)`."""
        row = torch.stack([values[name].to(values["effective_step_size"]) for name in COLUMNS])
        if self._rows is None:
            self._rows = row.new_empty((self.expected, *row.shape))
            self._next = torch.zeros(1, dtype=torch.int64, device=row.device)
        elif len(self) == len(self._rows):
            self._rows = torch.cat([self._rows, torch.empty_like(self._rows)])
        # A state may come from another device.
        self._rows, self._next = self._rows.to(row), self._next.to(row.device)
        self._rows.index_copy_(0, self._next, row[None])
        self._next += 1
        self.places.append(place)

    def table(self) -> torch.Tensor:
        """Return all decisions, `(T, C, L, S)`."""
        if self._rows is None or not self.places:
            return torch.empty((0, len(COLUMNS), len(self.layers), 0), dtype=torch.float32, device="cpu")
        return self._rows[: len(self)]

    def column(self, name: str) -> torch.Tensor:
        """Return one column of all decisions, `(T, L, S)`."""
        return self.table()[:, COLUMNS.index(name)]

    def clear(self) -> None:
        """Forget all decisions."""
        self.places = []
        if self._rows is not None:
            self._next.zero_()

    def frame(self, single: bool) -> "pd.DataFrame":
        """Return a row per decision, network and layer; without the column `network` if there is one only."""
        import pandas as pd

        keys = ["step", "task", "step_in_task", *([] if single else ["network"]), "layer"]
        rows = []
        for place, decision in zip(self.places, self._lists(), strict=True):
            for network, of_layers in enumerate(decision):
                for layer, values in zip(self.layers, of_layers, strict=True):
                    rows.append((*place, *(() if single else (network,)), layer, *values))
        return pd.DataFrame(rows, columns=[*keys, *COLUMNS])

    def _lists(self) -> list[list[list[list[float]]]]:
        """Return numbers by decision, network, layer and column."""
        lists: list[list[list[list[float]]]] = self.table().permute(0, 3, 2, 1).tolist() if len(self) else []
        return lists

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all decisions."""
        return {"places": list(self.places), "rows": self.table().clone() if self.places else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave, also that of clbench 0.1."""
        self.places, self._rows = [tuple(place) for place in state["places"]], None
        if state["rows"] is not None:
            rows = _without_stand_ins(state["rows"])
            room = rows.new_empty((max(0, self.expected - len(rows)), *rows.shape[1:]))
            self._rows = torch.cat([rows, room])
            self._next = torch.tensor([len(rows)], device=rows.device)


def _without_stand_ins(rows: torch.Tensor) -> torch.Tensor:
    """Return decisions `(T, C, L, S)` with NaN for the bounds of dead layers and `inf` for none.

    In the states of clbench 0.1 these are 0 (that by volatility any number) and the largest one.
    """
    rows, most = rows.clone(), min(torch.finfo(kind).max for kind in (rows.dtype, torch.float32))
    dead = rows[:, COLUMNS.index("gradient_squares")] == 0
    for name in BOUNDS:
        bound = rows[:, COLUMNS.index(name)]
        bound[bound >= most] = torch.inf
        bound[dead] = torch.nan
    return rows
