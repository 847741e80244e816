"""What was measured at each decision: a growing table of tensors on the device."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    import pandas as pd


class Decision(NamedTuple):
    """What was measured at a decision, and the factor that it led to: `(L, S)` each, layers by networks.

    Bounds are `inf` where nothing bounds, and NaN where the layer is dead.
    """

    step_size: torch.Tensor  # eta as the optimizer has it
    effective_step_size: torch.Tensor
    noise_bound: torch.Tensor
    volatility_bound: torch.Tensor
    combined_bound: torch.Tensor
    sharpness: torch.Tensor
    normalized_sharpness: torch.Tensor
    volatility: torch.Tensor  # of normalised sharpness
    gradient_noise: torch.Tensor  # sigma^2
    gradient_squares: torch.Tensor  # ||g_hat||^2
    factor: torch.Tensor


COLUMNS = Decision._fields


class Position(NamedTuple):
    step: int  # from the start, counted from 1
    task: int  # from 0
    step_in_task: int  # from 1


class History:
    """Decisions: their positions and a table of numbers `(T, C, L, S)`, `C` being the columns of `Decision`.

    With more decisions than `expected` the table moves in memory.
    """

    def __init__(self, layers: Sequence[str], expected: int = 0) -> None:
        self.layers, self._expected = list(layers), max(expected, 16)
        self.positions: list[Position] = []
        self._rows: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def capacity(self) -> int:
        """How many decisions the table can hold without moving in memory."""
        return 0 if self._rows is None else len(self._rows)

    def append(self, position: Position, decision: Decision) -> None:
        row = torch.stack([column.to(decision.effective_step_size) for column in decision])
        if self._rows is None:
            self._rows = row.new_empty((self._expected, *row.shape))
            self._next = torch.zeros(1, dtype=torch.int64, device=row.device)
        elif len(self) == len(self._rows):
            self._rows = torch.cat([self._rows, torch.empty_like(self._rows)])
        # A loaded state may be on another device.
        self._rows, self._next = self._rows.to(row), self._next.to(row.device)
        self._rows.index_copy_(0, self._next, row[None])
        self._next += 1
        self.append_replayed(position)

    def append_replayed(self, position: Position) -> None:
        """Add a decision whose numbers are already in the table, as a replayed CUDA graph leaves them."""
        self.positions.append(position)

    def table(self) -> torch.Tensor:
        """Return all decisions, `(T, C, L, S)`."""
        if self._rows is None or not self.positions:
            return torch.empty((0, len(COLUMNS), len(self.layers), 0), dtype=torch.float32, device="cpu")
        return self._rows[: len(self)]

    def column(self, name: str) -> torch.Tensor:
        return self.table()[:, COLUMNS.index(name)]

    def clear(self) -> None:
        self.positions = []
        if self._rows is not None:
            self._next.zero_()

    def frame(self, single: bool) -> "pd.DataFrame":
        """Return a row per decision, network and layer; with `single`, without the column `network`."""
        import pandas as pd

        rows = []
        for position, networks in zip(self.positions, self.table().permute(0, 3, 2, 1).tolist(), strict=True):
            for network, layers in enumerate(networks):
                for layer, values in zip(self.layers, layers, strict=True):
                    rows.append((*position, *([] if single else [network]), layer, *values))
        keys = [*Position._fields, *([] if single else ["network"]), "layer"]
        frame: pd.DataFrame = pd.DataFrame(rows, columns=[*keys, *COLUMNS])
        return frame

    def state_dict(self) -> dict[str, Any]:
        positions = [tuple(position) for position in self.positions]  # a state holds plain tuples only
        return {"positions": positions, "rows": self.table().clone() if positions else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.positions, self._rows = [Position(*position) for position in state["positions"]], None
        if state["rows"] is not None:
            rows: torch.Tensor = state["rows"]
            spare = rows.new_empty((max(0, self._expected - len(rows)), *rows.shape[1:]))
            self._rows = torch.cat([rows, spare])
            self._next = torch.tensor([len(rows)], device=rows.device)
