"""The values that `fill.py` writes into README and guides, from the runs kept under `docs/` or from the code.

Tasks are numbered from 0, as in the files. A scale is "quick" or "standard", the first part of the name of a folder of
`docs/reproduction`, or that name.
"""

import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from clbench import PROTOCOLS, indicators
from clbench.evaluation.report import LOSS_WORTH_SAYING, percent, table
from clbench.loading import load_agent
from clbench.reproduce.figures import FIGURES
from clbench.reproduce.statistics import falls_ahead
from clbench.results import RunFolder, frame
from clbench.scheduling import Constants
from clbench.scoring import Score, score
from clbench.specs import RunSpec

DOCS = Path(__file__).resolve().parent
BATCH_SIZE = 256
FULL = "full-mnist/RandomLabelMNIST-v0-"
LEARNERS = {"agents.crelu": "CReLU", "agents.l2": "L2", "agents.wasserstein": "Wasserstein"}
WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
ORDINALS = [
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
]
ACCURACY, STEP_SIZE = "task accuracy", "step_size"

VALUES: dict[str, Callable[..., str]] = {}
"""What a marker may call, by name."""


def value(function: Callable[..., str]) -> Callable[..., str]:
    """Make a function known to markers."""
    VALUES[function.__name__] = function
    return function


def decimal(number: float, digits: int) -> str:
    """Return a number with so many decimals, or raise `ValueError` if there is none.

    >>> decimal(-0.0004, 2), decimal(2046.0, 0)
    ('0.00', '2,046')
    """
    if not math.isfinite(number):
        raise ValueError("it was not measured")
    return f"{round(number, digits) + 0.0:,.{digits}f}"


def between(numbers: "pd.Series[float] | list[float]", digits: int = 0, scale: float = 1.0) -> str:
    """Return "3 to 31", the least and the greatest of some numbers."""
    return f"{decimal(scale * min(numbers), digits)} to {decimal(scale * max(numbers), digits)}"


# Kept runs


@cache
def kept(run: str) -> tuple[dict[str, Any], RunSpec, pd.DataFrame, pd.DataFrame]:
    """Return run.json, spec, tasks and indicators of a finished run under `docs/results`."""
    folder = RunFolder(DOCS / "results" / run)
    facts = folder.read_run()
    if facts["status"] != "complete":
        raise ValueError(f"the run '{run}' is not complete")
    records = folder.read_indicators()
    measured = frame(records, type(records[0])) if records else pd.DataFrame()
    return facts, RunSpec.from_json(facts["spec"]), frame(folder.read_tasks()), measured


def scores_of(run: str) -> list[Score]:
    """Return the scores of a run's agents, best first."""
    _, spec, _, _ = kept(run)
    records = RunFolder(DOCS / "results" / run).read_tasks()
    found = [score(agent.name, records, spec.stream.num_tasks) for agent in spec.agents]
    return sorted(filter(None, found), key=lambda one: -one.average_task_accuracy.mean)


@value
def scores(run: str) -> str:
    """Return what the command prints when the run is done: its table, and who has lost accuracy."""
    facts, spec, _, _ = kept(run)
    found = scores_of(run)
    speeds = facts["timing"]["steps_per_second"]
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(table(SimpleNamespace(scores=found, spec=spec, steps_per_second=speeds)))
    console.print()
    for one in found:
        if one.share_lost >= LOSS_WORTH_SAYING:
            console.print(f"{one.agent} lost {percent(one.share_lost)} of its first-task accuracy.")
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return "\n".join(["```", *lines, "```"])


@value
def mean_score(run: str, name: str, digits: int = 3) -> str:
    """Return a score of a run with one agent."""
    (one,) = scores_of(run)
    return decimal(getattr(one, name).mean, digits)


@value
def task_accuracy(run: str, task: int | None = None, digits: int = 2) -> str:
    """Return a task's accuracy, mean over seeds, of a run with one agent; without `task` that of each, in a row."""
    means = kept(run)[2].groupby("task")["accuracy"].mean()
    return ", ".join(decimal(one, digits) for one in (means if task is None else means[[task]]))


@value
def minutes(run: str, words: bool = False) -> str:
    """Return how many minutes a run took."""
    count = round(kept(run)[0]["timing"]["seconds"] / 60)
    return WORDS[count] if words else str(count)


@value
def duration(run: str) -> str:
    """Return how long a run took, in minutes and seconds."""
    whole, rest = divmod(round(kept(run)[0]["timing"]["seconds"]), 60)
    return f"{whole} minutes and {rest} seconds"


@value
def first_crossing(run: str) -> str:
    """Return the number, from 1, of the first task in which some layer is above its bound."""
    measured = kept(run)[3]
    return str(measured[(measured["indicator"] == "rho") & (measured["value"] > 0)]["task"].min() + 1)


@value
def accuracy_at_first_crossing(run: str, digits: int = 2) -> str:
    """Return the accuracy of that task."""
    return task_accuracy(run, int(first_crossing(run)) - 1, digits)


@value
def seeds_with_gradient_only_in(run: str, layer: str) -> str:
    """Return "two of three": in how many seeds of how many the last task ends with a gradient in that layer alone."""
    measured = kept(run)[3]
    last = measured[(measured["task"] == measured["task"].max()) & (measured["indicator"] == "gradient_norm")]
    norms = last.pivot_table(index="seed", columns="layer", values="value").drop(columns="whole network")
    alone = (norms[layer] > 0) & (norms.drop(columns=layer) == 0).all(axis=1)
    return f"{WORDS[alone.sum()]} of {WORDS[len(norms)]}"


@value
def first_task(name: str) -> str:
    """Return a row, without its outer bars, of the table of single tasks on all images."""
    facts, spec, tasks, measured = kept(FULL + name)
    if facts["data"]["size"] != 60_000:
        raise ValueError("it is not of all images")
    (agent,), (accuracy,) = spec.agents, tasks["accuracy"]
    defaults = {item.name: item.default for item in fields(Constants)}
    changed = [
        f"`{key}={one}`" for key, one in agent.arguments.items() if key in defaults and one != defaults[key]
    ]
    of_fc1 = measured[(measured["layer"] == "fc1") & (measured["indicator"] == STEP_SIZE)]["value"]
    (rho,) = measured[measured["indicator"] == "rho"]["value"]
    cells = [
        f"{LEARNERS[agent.name]}, `{spec.protocol}`",
        ", ".join([str(agent.arguments["scheduler"]), *changed]),
        f"{accuracy:.3f}",
        f"{of_fc1.median():.2e}",
        percent(rho),
        f"[{name}](../results/{FULL}{name}/run.json)",
    ]
    return " | ".join(cells)


def bounds_on_all_images() -> pd.DataFrame:
    """Return of each run that learns, and each layer, the medians of its noise bound and of combined / noise bound."""
    rows = []
    for path in sorted((DOCS / "results" / "full-mnist").glob("*-*")):
        _, spec, _, measured = kept(f"full-mnist/{path.name}")
        (agent,) = spec.agents
        if agent.arguments["warm"] != Constants().warm:
            continue  # the one that dies
        bounds = measured.pivot_table(index=["layer", "step"], columns="indicator", values="value")
        bounds = bounds[["noise_bound", "combined_bound"]].dropna()
        bounds["ratio"] = bounds["combined_bound"] / bounds["noise_bound"]
        medians = bounds.groupby("layer")[["noise_bound", "ratio"]].median().reset_index()
        rows.append(
            medians.assign(last_of_crelu=(agent.name == "agents.crelu") & (medians["layer"] == "out"))
        )
    return pd.concat(rows)


@value
def gap_of_bounds(last_of_crelu: bool = False) -> str:
    """Return by how many percent the combined bound is below the noise bound: at most; or in CReLU's last layer."""
    found = bounds_on_all_images()
    gaps = 100 * (1 - found["ratio"][found["last_of_crelu"] == last_of_crelu])
    return between(gaps) if last_of_crelu else decimal(math.ceil(10 * gaps.max()) / 10, 1)


@value
def noise_bound_of_last_layer() -> str:
    """Return the noise bound of CReLU's last layer, from run to run."""
    found = bounds_on_all_images()
    return between(found["noise_bound"][found["last_of_crelu"]], 1)


@value
def least_score(stream: str, protocol: str) -> str:
    """Return the least average task accuracy of the leaderboard's rows, rounded down to two decimals."""
    paths = (DOCS.parent / "leaderboard" / "submissions").glob("*/submission.json")
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    found = [
        row["scores"]["average_task_accuracy"]["mean"]
        for row in rows
        if (row["stream"]["id"], row["protocol"]) == (stream, protocol)
    ]
    return decimal(math.floor(100 * min(found)) / 100, 2)


# Speed


@cache
def benchmark() -> dict[str, Any]:
    """Return what `python -m benchmarks` has measured."""
    found: dict[str, Any] = json.loads((DOCS / "benchmarks" / "cpu.json").read_text(encoding="utf-8"))
    return found


@value
def ratio(what: str, setting: str = "S=1, 1 thread", clock: str = "wall", digits: int = 2) -> str:
    """Return how many times as long something takes as what it is compared with."""
    return decimal(ratio_of(what, setting, clock), digits)


@value
def share(what: str, digits: int) -> str:
    """Return such a ratio in percent."""
    return f"{decimal(100 * ratio_of(what, 'S=1, 1 thread', 'wall'), digits)} %"


def ratio_of(what: str, setting: str, clock: str) -> float:
    """Return the ratio of a row of the benchmark."""
    sought = (what, setting, clock)
    for row in benchmark()["rows"]:
        if (row["what"], row["setting"], row["clock"]) == sought:
            return float(row["ratio"])
    raise LookupError(f"nothing was measured as {', '.join(sought)}")


@value
def operators(*names: str) -> str:
    """Return the share of PyTorch's operators in a step's CPU time."""
    return percent(sum(benchmark()["operators"][f"aten::{name}"] for name in names))


@value
def peak_memory() -> str:
    """Return the memory of all processes of a run, in MiB."""
    return f"{benchmark()['memory']['peak_mib']:,} MiB"


@value
def processor() -> str:
    """Return what speed was measured on."""
    return str(benchmark()["hardware"]["processor"])


# The code


@value
def default(agent: str, name: str) -> str:
    """Return a constant of a learner's constructor, as `--set` takes it."""
    return f"`{name}={short(signature(load_agent(agent)).parameters[name].default)}`"


def short(number: object) -> str:
    """Return a default in short.

    >>> short(0.001), short(0.7), short("per-layer")
    ('1e-3', '0.7', 'per-layer')
    """
    if isinstance(number, float) and number > 0 and math.log10(number).is_integer() and number < 0.1:
        return f"1e{round(math.log10(number))}"
    return str(number)


@value
def constant(name: str, code: bool = True) -> str:
    """Return the default of one of the scheduler's constants."""
    number = getattr(Constants(), name)
    shown = json.dumps(number) if isinstance(number, str) else repr(number)
    return f"`{shown}`" if code else shown


@value
def option(indicator: str, name: str, as_percent: bool = False) -> str:
    """Return the default of an option of an indicator."""
    number = signature(getattr(indicators, indicator)).parameters[name].default
    return percent(number) if as_percent else repr(number)


@value
def protocol(name: str) -> str:
    """Return three cells of the table of protocols: images, tasks and epochs, steps per task."""
    one = PROTOCOLS[name]
    images = f"{one.num_samples:,}" + (" embedded" if one.source == "embedded" else "")
    steps = one.num_samples // BATCH_SIZE * one.epochs_per_task
    return f"{images} | {one.num_tasks} x {one.epochs_per_task} | {steps:,}"


@value
def number_of_claims() -> str:
    """Return how many claims are judged."""
    return str(sum(len(figure.claims) for figure in FIGURES.values()))


# The reproduction


@cache
def file(name: str, scale: str) -> pd.DataFrame:
    """Return a file of the reproduction."""
    found = sorted((DOCS / "reproduction").glob(f"{scale}*/{name}.csv"))
    if len(found) != 1:
        raise LookupError(f"{len(found)} files {scale}*/{name}.csv in docs/reproduction, not one")
    return pd.read_csv(found[0])


def rows(name: str, scale: str, indicator: str = ACCURACY, **where: str) -> pd.DataFrame:
    """Return the rows of a figure's file with this indicator and these labels, in the order of time."""
    found = file(name, scale)
    for column, label in {"indicator": indicator, **where}.items():
        found = found[found[column] == label]
    if found.empty:
        raise LookupError("no such rows")
    return found.sort_values("time", kind="stable")


def claimed(name: str, scale: str) -> "pd.Series[Any]":
    """Return the row of a claim in claims.csv."""
    claims = pd.read_csv(DOCS / "reproduction" / "claims.csv")
    found = claims[(claims["claim"] == name) & (claims["protocol"].str.partition(",")[0] == scale)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} claims of that name at {scale}")
    return found.iloc[0]


@value
def claim(name: str, scale: str = "quick", digits: int = 2, minus: bool = False) -> str:
    """Return the number of ours of a claim; with `minus` its negative, for "so much less"."""
    ours = claimed(name, scale)["ours"]
    return decimal(-ours if minus else ours, digits)


@value
def published(name: str, scale: str = "quick") -> str:
    """Return the published value of a claim."""
    return str(claimed(name, scale)["published"])


@value
def in_note(name: str, scale: str = "quick", digits: int = 2) -> str:
    """Return the number at the end of a claim's note, such as "in the first task 0.194"."""
    found = re.search(r"(-?\d+(?:\.\d+)?)$", str(claimed(name, scale)["note"]))
    if not found:
        raise LookupError("its note has no number at its end")
    return decimal(float(found[1]), digits)


@value
def predictor(number: str, indicator: str, digits: int = 2) -> str:
    """Return a number of an indicator, of `predictors-summary.csv`."""
    return decimal(file("predictors-summary", "quick").set_index("indicator").loc[indicator, number], digits)


@value
def falls_of(learner: str) -> str:
    """Return how many tasks before a fall are of the configurations of a learner."""
    found = file("predictors", "quick")
    found = found[found["configuration"].str.startswith(learner)].sort_values("task")
    runs = found.groupby(["configuration", "seed"])[ACCURACY]
    return decimal(sum(np.nansum(falls_ahead(one.to_numpy())) for _, one in runs), 0)


@value
def reason(
    number: str, learner: str, setting: str, images: str = "60,000", digits: int = 2, minus: str | None = None
) -> str:
    """Return a number of a setting, of `reasons-summary.csv`; with `minus`, less that of the setting `minus`.

    Those of 5,000 images are of all tasks of `quick`, the others of one task of `standard`.
    """
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
    """Return the accuracy of each task, mean over seeds, in a row."""
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
    found = rows("9-10", "quick", STEP_SIZE, learner=learner, variant="per layer", layer="fc1")
    ends = found.pivot_table(index="seed", columns="task", values="value", aggfunc="last")
    return ends.div(found.groupby("seed")["value"].first(), axis=0)


@value
def cooled(learner: str) -> str:
    """Return by how many percent the first layer is cooled in the end, in those seeds where it is."""
    left = cooling(learner).iloc[:, -1]
    return between(1 - left[left < COOLED], scale=100)


@value
def seeds_cooled(learner: str) -> str:
    """Return in how many seeds that is, in a word."""
    return WORDS[int((cooling(learner).iloc[:, -1] < COOLED).sum())]


@value
def first_cooled() -> str:
    """Return in which task, of all learners' first layers, one is first cooled."""
    first = min(
        int((cooling(one) < COOLED).any().idxmax()) for one in LEARNERS.values() if seeds_cooled(one) != "no"
    )
    return ORDINALS[first + 1]


COOLED = 0.99
"""Step sizes below this share of the first one count as cooled: the factor of one decision."""


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
    begun = pd.to_datetime(runs["started"]).map(lambda at: at.timestamp())
    total = until = 0.0
    for start, end in sorted(zip(begun, begun + runs["seconds"], strict=True)):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return WORDS[round(total / 3600)]
