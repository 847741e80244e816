"""Values of the paper's reproduction, `docs/reproduction`.

Tasks are numbered from 0, as in the files. A scale is "quick" or "standard", the first part of a folder's name.
"""

import re
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from clbench.report.console import percent
from studies.noise_curvature.frames import modernized
from studies.noise_curvature.predicting import rank_indicators
from studies.noise_curvature.statistics import falls_ahead
from values.base import DOCS, LEARNERS, WORDS, between, decimal, value

ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
ACCURACY, STEP_SIZE = "task accuracy", "step_size"


COOLED = 0.99
"""Step sizes below this share of the first one count as cooled: the factor of one decision."""


@cache
def file(name: str, scale: str) -> pd.DataFrame:
    found = sorted((DOCS / "reproduction").glob(f"{scale}*/{name}.csv"))
    if len(found) != 1:
        raise LookupError(f"{len(found)} files {scale}*/{name}.csv in docs/reproduction, not one")
    return pd.read_csv(found[0])


def rows(name: str, scale: str, indicator: str = ACCURACY, **where: str) -> pd.DataFrame:
    table = file(name, scale)
    for column, label in {"indicator": indicator, **where}.items():
        table = table[table[column] == label]
    if table.empty:
        raise LookupError("no such rows")
    return table.sort_values("time", kind="stable")


def claimed(name: str, scale: str) -> "pd.Series[Any]":
    claims = pd.read_csv(DOCS / "reproduction" / "claims.csv")
    matching = claims[(claims["claim"] == name) & (claims["protocol"].str.partition(",")[0] == scale)]
    if len(matching) != 1:
        raise LookupError(f"{len(matching)} claims of that name at {scale}")
    return matching.iloc[0]


@value
def claim(name: str, scale: str = "quick", digits: int = 2, minus: bool = False) -> str:
    ours = claimed(name, scale)["ours"]
    return decimal(-ours if minus else ours, digits)


@value
def published(name: str, scale: str = "quick") -> str:
    return str(claimed(name, scale)["published"])


@value
def in_note(name: str, scale: str = "quick", digits: int = 2) -> str:
    match = re.search(r"(-?\d+(?:\.\d+)?)$", str(claimed(name, scale)["note"]))
    if not match:
        raise LookupError("its note has no number at its end")
    return decimal(float(match[1]), digits)


@value
def predictor(number: str, indicator: str, digits: int = 2) -> str:
    return decimal(file("predictors-summary", "quick").set_index("indicator").loc[indicator, number], digits)


def mostly_dead() -> "pd.Series[bool]":
    """Return which tasks of `predictors.csv` have most layers dead at most decisions: their median bound was 0."""
    return modernized(file("predictors", "quick"))["combined_bound"].isna() & (
        file("predictors", "quick")["combined_bound"].notna()
    )


@value
def dead_tasks() -> str:
    """Return how many those are, of how many tasks with bounds."""
    return f"{mostly_dead().sum()} of {file('predictors', 'quick')['combined_bound'].notna().sum():,}"


@value
def predictor_without_dead_tasks(number: str, indicator: str, digits: int = 2) -> str:
    """Return a number of an indicator as if it were not known in those tasks."""
    table = file("predictors", "quick")[["configuration", "run", "seed", "task", ACCURACY, indicator]]
    table = table.assign(**{indicator: table[indicator].mask(mostly_dead())})
    return decimal(
        rank_indicators(table, [], resamples=1).set_index("indicator").loc[indicator, number], digits
    )


@value
def falls_of(learner: str) -> str:
    """Return how many tasks before a fall are of the configurations of a learner."""
    table = file("predictors", "quick")
    table = table[table["configuration"].str.startswith(learner)].sort_values("task")
    runs = table.groupby(["configuration", "seed"])[ACCURACY]
    return decimal(sum(np.nansum(falls_ahead(one.to_numpy())) for _, one in runs), 0)


@value
def reason(
    number: str, learner: str, setting: str, images: str = "60,000", digits: int = 2, minus: str | None = None
) -> str:
    """Return a number of a setting, of `reasons-summary.csv`: of all tasks of `quick`, or of one task of `standard`."""
    found = file("reasons-summary", "quick" if images == "5,000" else "standard")
    found = found.set_index(["learner", "images", "setting"])[number]
    less = found[learner, f"{images} images", minus] if minus else 0.0
    return decimal(found[learner, f"{images} images", setting] - less, digits)


@value
def accuracy(
    name: str, scale: str, task: int, minus: int | None = None, digits: int = 2, **where: str
) -> str:
    """Return the accuracy in a task, mean over seeds; with `minus`, less that in the task `minus`."""
    means = rows(name, scale, **where).groupby("task")["value"].mean()
    return decimal(means[task] - (0.0 if minus is None else means[minus]), digits)


@value
def accuracies(name: str, scale: str, digits: int = 2, **where: str) -> str:
    means = rows(name, scale, **where).groupby("task")["value"].mean()
    return ", ".join(decimal(one, digits) for one in means)


@value
def spread(name: str, scale: str, digits: int = 2, **where: str) -> str:
    """Return by how much accuracy varies from task to task: the greatest less the least."""
    means = rows(name, scale, **where).groupby("task")["value"].mean()
    return decimal(means.max() - means.min(), digits)


@value
def warmed(learner: str) -> str:
    """Return by how much a warm-up raises the first layer's step size, mean over the tasks after the first."""
    sizes = rows("5", "standard", STEP_SIZE, learner=learner, layer="fc1").groupby("task")["value"]
    return percent((sizes.last() / sizes.first() - 1)[1:].mean())


def cooling(learner: str) -> pd.DataFrame:
    """Return the first layer's step size at each task's end relative to the first decision's: a row per seed."""
    sizes = rows("9-10", "quick", STEP_SIZE, learner=learner, variant="per layer", layer="fc1")
    ends = sizes.pivot_table(index="seed", columns="task", values="value", aggfunc="last")
    return ends.div(sizes.groupby("seed")["value"].first(), axis=0)


@value
def cooled(learner: str) -> str:
    """Return by how many percent the first layer is cooled in the end, in those seeds where it is."""
    left = cooling(learner).iloc[:, -1]
    return between(1 - left[left < COOLED], scale=100)


@value
def seeds_cooled(learner: str) -> str:
    return WORDS[int((cooling(learner).iloc[:, -1] < COOLED).sum())]


@value
def first_cooled() -> str:
    """Return in which task, of all learners' first layers, one is first cooled."""
    first = min(
        int((cooling(one) < COOLED).any().idxmax()) for one in LEARNERS.values() if seeds_cooled(one) != "no"
    )
    return ORDINALS[first]


@value
def bounds_of_fig3() -> str:
    """Return by how many percent the combined bound is below the noise bound, over tasks and seeds of Fig. 3."""
    noise, combined = (
        rows("3", "quick", f"{kind}_bound").set_index(["seed", "task"])["value"]
        for kind in ("noise", "combined")
    )
    return between(1 - combined / noise, scale=100)


@value
def hours(scale: str) -> str:
    """Return how many hours all runs of a scale took, in a word; of those that ran at once the time counts once."""
    paths = sorted((DOCS / "reproduction" / scale).glob("*-runs.csv"))
    runs = pd.concat([pd.read_csv(path) for path in paths]).dropna(subset="run").drop_duplicates("run")
    started = pd.to_datetime(runs["started"]).map(lambda at: at.timestamp())
    total = until = 0.0
    for start, end in sorted(zip(started, started + runs["seconds"], strict=True)):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return WORDS[round(total / 3600)]
