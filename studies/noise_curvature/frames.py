"""A figure's numbers as one tidy frame: a row per run, seed, time, layer and indicator. Pure except for `gather`."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from clbench import load_results
from clbench.errors import DataError
from clbench.indicators import WHOLE
from clbench.scoring import last_tenth

ACCURACY = "task accuracy"
NO_BOUND = 1e30
"""In tables of clbench 0.1 a bound above it, the largest float32 or its median with another, meant no bound."""

Key = tuple[str, ...]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frames:
    """The finished runs of a figure: the rows of tasks.csv and indicators.csv, after the columns `by` and `run`."""

    by: tuple[str, ...]
    tasks: pd.DataFrame
    indicators: pd.DataFrame


def gather(by: tuple[str, ...], folders: Mapping[Key, Path]) -> Frames:
    results = load_results(*folders.values())
    keys = {path.as_posix(): key for key, path in folders.items()}

    def labelled(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        for position, name in enumerate(by):
            frame.insert(position, name, [keys[run][position] for run in frame["run"]])
        frame["run"] = [Path(run).name for run in frame["run"]]
        return frame

    return Frames(by, labelled(results.tasks), labelled(results.indicators))


def per_task(
    frames: Frames, indicators: Collection[str] | None = None, layers: Collection[str] | None = None
) -> pd.DataFrame:
    """Return task accuracy and each indicator's median over what was recorded in a task; None stands for all.

    The columns are those of `frames.by`, then run, seed, task, time (tasks done), layer, indicator, value.
    """
    records = _chosen(frames, indicators, layers)
    keys = [*frames.by, "run", "seed", "task", "layer", "indicator"]
    medians = records.groupby(keys, sort=False)["value"].median().reset_index()
    medians["time"] = medians["task"] + 1.0
    return _with_accuracy(frames, medians)


def along_tasks(frames: Frames, indicators: Collection[str], num_tasks: int) -> pd.DataFrame:
    """Return task accuracy and every record of indicators in the first tasks; columns as in `per_task`."""
    records = _chosen(frames, indicators, None)
    records = records[records["task"] < num_tasks].merge(
        frames.tasks[["run", "seed", "task", "steps"]], on=["run", "seed", "task"]
    )
    records["time"] = records["task"] + records["step"] / records["steps"]
    return _with_accuracy(frames, records)


def _chosen(
    frames: Frames, indicators: Collection[str] | None, layers: Collection[str] | None
) -> pd.DataFrame:
    records = frames.indicators
    if indicators is not None:
        records = records[records["indicator"].isin(list(indicators))]
    return records if layers is None else records[records["layer"].isin(list(layers))]


def _with_accuracy(frames: Frames, records: pd.DataFrame) -> pd.DataFrame:
    accuracy = frames.tasks.rename(columns={"accuracy": "value"}).assign(
        layer=WHOLE, indicator=ACCURACY, time=frames.tasks["task"] + 1.0
    )
    names = [*frames.by, "run", "seed", "task", "time", "layer", "indicator", "value"]
    filled = [frame[names] for frame in (accuracy, records) if len(frame)]
    data: pd.DataFrame = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=names)
    return data


def select(data: pd.DataFrame, indicator: str, **labels: str) -> pd.DataFrame:
    for name, value in {"indicator": indicator, **labels}.items():
        data = data[data[name] == value]
    return data


def table(data: pd.DataFrame, indicator: str = ACCURACY, **labels: str) -> Array:
    """Return an indicator by seed and task, `(seeds, tasks)`: the median over layers and times, NaN if not measured."""
    rows = select(data, indicator, **labels)
    if rows.empty:
        which = ", ".join(label for name, label in labels.items() if name != "layer")
        raise DataError(f"no finished run{f' of {which}' if which else ''} has {indicator}")
    values = rows.pivot_table(index="seed", columns="task", values="value", aggfunc="median")
    seeds, tasks = (sorted(data[name].unique()) for name in ("seed", "task"))
    return np.asarray(values.reindex(index=seeds, columns=tasks).to_numpy(dtype=float))


def final(data: pd.DataFrame, indicator: str = ACCURACY, **labels: str) -> Array:
    return last_tenth(table(data, indicator, **labels))


def by_task(data: pd.DataFrame, indicator: str = ACCURACY, **labels: str) -> dict[int, Sequence[float]]:
    """Return an indicator by task, a number per seed: what a line with its interval is drawn from."""
    medians = select(data, indicator, **labels).groupby(["task", "seed"])["value"].median()
    return {int(str(task)): values.tolist() for task, values in medians.groupby(level="task")}


def modernized(data: pd.DataFrame) -> pd.DataFrame:
    """Return a table of clbench 0.1, long or wide, with `inf` where no bound applies, and NaN for dead layers.

    There a bound was the largest float32 where nothing bounds, and 0 where the layer is dead. The shares `rho` and
    `*_violations` stay as recorded: they count a dead layer as above its noise bound and its combined bound. A dead
    layer's volatility bound stays too, as such a table does not tell which layers were dead.
    """
    data = data.copy()
    for name in ("noise_bound", "combined_bound", "volatility_bound"):
        column = "value" if "indicator" in data else name
        if column in data:
            rows = data["indicator"] == name if "indicator" in data else data[name].notna()
            values = data.loc[rows, column]
            if name != "volatility_bound":
                values = values.mask(values == 0)
            data.loc[rows, column] = values.mask(values > NO_BOUND, math.inf)
    return data
