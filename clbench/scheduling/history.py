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


class History:
    """Decisions: where they were taken and, by column, layer and network, numbers `(C, L, S)`.

    Attributes:
        layers: names, `L`.
        places: of each decision: the step from the start, the task, and the step within the task (1-based).
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = list(layers)
        self.places: list[tuple[int, int, int]] = []
        self._rows: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.places)

    def append(self, place: tuple[int, int, int], values: Mapping[str, torch.Tensor]) -> None:
        """Add a decision: for each column, `(L, S)`."""
        row = torch.stack([values[name].to(values["effective_step_size"]) for name in COLUMNS])
        if self._rows is not None:
            self._rows = self._rows.to(row)  # a state may come from another device
        if self._rows is None:
            self._rows = row.new_empty((16, *row.shape))
        elif len(self) == len(self._rows):
            self._rows = torch.cat([self._rows, torch.empty_like(self._rows)])
        self._rows[len(self)] = row
        self.places.append(place)

    def table(self) -> torch.Tensor:
        """Return all decisions, `(T, C, L, S)`."""
        if self._rows is None:
            return torch.empty(0, len(COLUMNS), len(self.layers), 0)
        return self._rows[: len(self)]

    def column(self, name: str) -> torch.Tensor:
        """Return one column of all decisions, `(T, L, S)`."""
        return self.table()[:, COLUMNS.index(name)]

    def clear(self) -> None:
        """Forget all decisions."""
        self.places, self._rows = [], None

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
        return {"places": list(self.places), "rows": None if self._rows is None else self.table().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.places = [tuple(place) for place in state["places"]]
        self._rows = None if state["rows"] is None else state["rows"].clone()
