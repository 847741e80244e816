"""A figure's numbers as one tidy frame: a row per cell, seed, time, layer and indicator. Pure but for `gather`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.errors import DataError
from clbench.indicators import WHOLE
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import columns, load_results

if TYPE_CHECKING:
    import pandas as pd

ACCURACY = "task accuracy"
Key = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Frames:
    """What the finished cells of a figure recorded.

    Attributes:
        by: columns that tell the cells apart.
        tasks: `by`, `run` (the folder's name), and the columns of tasks.csv.
        indicators: ditto, of indicators.csv.
    """

    by: tuple[str, ...]
    tasks: "pd.DataFrame"
    indicators: "pd.DataFrame"


def gather(by: tuple[str, ...], folders: Mapping[Key, Path]) -> Frames:
    """Return what the run folders of cells hold; empty frames if there are none."""
    import pandas as pd

    if not folders:
        return Frames(
            by, *(pd.DataFrame(columns=[*by, "run", *columns(one)]) for one in (TaskRecord, IndicatorRecord))
        )
    results = load_results(*folders.values())
    keys = {path.as_posix(): key for key, path in folders.items()}

    def labelled(frame: "pd.DataFrame") -> "pd.DataFrame":
        frame = frame.copy()
        for place, name in enumerate(by):
            frame.insert(place, name, [keys[run][place] for run in frame["run"]])
        frame["run"] = [Path(run).name for run in frame["run"]]
        return frame

    return Frames(by, labelled(results.tasks), labelled(results.indicators))


def per_task(
    frames: Frames, indicators: Collection[str] | None = None, layers: Collection[str] | None = None
) -> "pd.DataFrame":
    """Return task accuracy and each indicator's median over what was recorded in a task.

    Args:
        frames: of a figure's runs.
        indicators: names; None for all.
        layers: names; None for all.

    Returns:
        Columns: those of `frames.by`, then run, seed, task, time (tasks done), layer, indicator, value.
    """
    found = _chosen(frames, indicators, layers)
    keys = [*frames.by, "run", "seed", "task", "layer", "indicator"]
    found = found.groupby(keys, sort=False)["value"].median().reset_index()
    found["time"] = found["task"] + 1.0
    return _joined(frames, found)


def along_tasks(frames: Frames, indicators: Collection[str], num_tasks: int) -> "pd.DataFrame":
    """Return task accuracy and every record of indicators in the first tasks; columns as of `per_task`."""
    found = _chosen(frames, indicators, None)
    found = found[found["task"] < num_tasks].merge(
        frames.tasks[["run", "seed", "task", "steps"]], on=["run", "seed", "task"]
    )
    found["time"] = found["task"] + found["step"] / found["steps"]
    return _joined(frames, found)


def _chosen(
    frames: Frames, indicators: Collection[str] | None, layers: Collection[str] | None
) -> "pd.DataFrame":
    found = frames.indicators
    if indicators is not None:
        found = found[found["indicator"].isin(list(indicators))]
    return found if layers is None else found[found["layer"].isin(list(layers))]


def _joined(frames: Frames, found: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    accuracy = frames.tasks.rename(columns={"accuracy": "value"}).assign(
        layer=WHOLE, indicator=ACCURACY, time=frames.tasks["task"] + 1.0
    )
    names = [*frames.by, "run", "seed", "task", "time", "layer", "indicator", "value"]
    filled = [one[names] for one in (accuracy, found) if len(one)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=names)


def select(data: "pd.DataFrame", indicator: str, layer: str | None = None, **labels: str) -> "pd.DataFrame":
    """Return the rows of an indicator in the cells that have these labels; of all layers unless one is named."""
    wanted: dict[str, Any] = {"indicator": indicator, **labels} | ({"layer": layer} if layer else {})
    for name, value in wanted.items():
        data = data[data[name] == value]
    return data


def table(
    data: "pd.DataFrame", indicator: str = ACCURACY, layer: str | None = None, **labels: str
) -> np.ndarray:
    """Return an indicator by seed and task, `(seeds, tasks)`: the median over layers and times, NaN where none is.

    Raises:
        DataError: nothing of the kind was measured.
    """
    found = select(data, indicator, layer, **labels)
    if found.empty:
        which = f" of {', '.join(labels.values())}" if labels else ""
        raise DataError(f"no finished run{which} has {indicator}")
    values = found.pivot_table(index="seed", columns="task", values="value", aggfunc="median")
    everywhere = values.reindex(index=sorted(data["seed"].unique()), columns=sorted(data["task"].unique()))
    numbers: np.ndarray = everywhere.to_numpy(dtype=float)
    return numbers


def by_task(
    data: "pd.DataFrame", indicator: str = ACCURACY, layer: str | None = None, **labels: str
) -> dict[int, Sequence[float]]:
    """Return an indicator by task, a number per seed, as `clbench.plotting.curves.draw` wants it."""
    found = select(data, indicator, layer, **labels).groupby(["task", "seed"])["value"].median()
    return {int(str(task)): own.tolist() for task, own in found.groupby(level="task")}
