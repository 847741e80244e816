"""Values of the runs kept under `docs/results`, and of the leaderboard. Tasks are numbered from 0, as in the files."""

import io
import math
from dataclasses import fields
from functools import cache

import pandas as pd
from rich.console import Console

from clbench.data import load_images
from clbench.leaderboard.ranking import board_of
from clbench.leaderboard.submission import read_entry
from clbench.report.console import percent
from clbench.report.tables import SCORES_LEGEND, loss, score_table
from clbench.results import Results, RunManifest, load_results
from clbench.scheduling import Constants
from clbench.scoring import Score, score
from values.base import DOCS, LEARNERS, WORDS, between, decimal, value

FULL = "full-mnist/RandomLabelMNIST-v0-"


@cache
def load(folder: str) -> Results:
    results = load_results(DOCS / "results" / folder)
    if set(results.runs["status"]) != {"complete"}:
        raise ValueError(f"the run '{folder}' is not complete")
    return results


def manifest(folder: str) -> RunManifest:
    return load(folder).stored[0].manifest


def scores_of(folder: str) -> list[Score]:
    computed = []
    for run in load(folder).stored:
        chance = run.manifest.chance
        if math.isnan(chance):  # older runs do not say how many classes there are
            chance = 1 / load_images(run.manifest.data.source).num_classes
        computed.append(score(run.agent, run.read_tasks(), run.manifest.config.stream.num_tasks, chance))
    return sorted(filter(None, computed), key=lambda one: -one.average_task_accuracy.mean)


@value
def scores(run: str) -> str:
    """Return what the command prints when the run is done: its table, and who has lost accuracy."""
    ranked, runs = scores_of(run), load(run).stored
    speeds = {one.agent: one.manifest.timing.steps_per_second for one in runs}
    console = Console(file=io.StringIO(), width=120, color_system=None, soft_wrap=True)
    seeds = {one.agent: len(one.manifest.config.seeds) for one in runs}
    console.print(score_table(ranked, seeds, speeds))
    console.print(SCORES_LEGEND)
    console.print()
    for each in ranked:
        if text := loss(each):
            console.print(text)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return "\n".join(["```", *lines, "```"])


@value
def mean_score(run: str, name: str, digits: int = 3) -> str:
    (one,) = scores_of(run)
    return decimal(getattr(one, name).mean, digits)


@value
def task_accuracy(run: str, task: int | None = None, digits: int = 2) -> str:
    """Return the accuracy of one task or, in a row, of each: means over seeds, of a run with one agent."""
    means = load(run).tasks.groupby("task")["accuracy"].mean()
    return ", ".join(decimal(one, digits) for one in (means if task is None else means[[task]]))


@value
def minutes(run: str, words: bool = False) -> str:
    count = round(manifest(run).timing.seconds / 60)
    return WORDS[count] if words else str(count)


@value
def duration(run: str) -> str:
    whole, rest = divmod(round(manifest(run).timing.seconds), 60)
    return f"{whole} minutes and {rest} seconds"


@value
def first_crossing(run: str) -> str:
    """Return the number, from 1, of the first task in which some layer is above its bound."""
    measured = load(run).indicators
    return str(measured[(measured["indicator"] == "rho") & (measured["value"] > 0)]["task"].min() + 1)


@value
def accuracy_at_first_crossing(run: str, digits: int = 2) -> str:
    return task_accuracy(run, int(first_crossing(run)) - 1, digits)


@value
def seeds_with_gradient_only_in(run: str, layer: str) -> str:
    """Return "two of three": in how many seeds of how many the last task ends with a gradient in that layer alone."""
    measured = load(run).indicators
    last = measured[(measured["task"] == measured["task"].max()) & (measured["indicator"] == "gradient_norm")]
    norms = last.pivot_table(index="seed", columns="layer", values="value").drop(columns="whole network")
    alone = (norms[layer] > 0) & (norms.drop(columns=layer) == 0).all(axis=1)
    return f"{WORDS[alone.sum()]} of {WORDS[len(norms)]}"


@value
def first_task(name: str) -> str:
    """Return a row, without its outer bars, of the table of single tasks on all images."""
    config, measured = manifest(FULL + name).config, load(FULL + name).indicators
    if manifest(FULL + name).data.size != 60_000:
        raise ValueError("it is not of all images")
    agent, (accuracy,) = config.agent, load(FULL + name).tasks["accuracy"]
    defaults = {item.name: item.default for item in fields(Constants)}
    changed = [
        f"`{key}={one}`" for key, one in agent.arguments.items() if key in defaults and one != defaults[key]
    ]
    of_fc1 = measured[(measured["layer"] == "fc1") & (measured["indicator"] == "step_size")]["value"]
    (rho,) = measured[measured["indicator"] == "rho"]["value"]
    cells = [
        f"{LEARNERS[agent.name]}, `{config.protocol}`",
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
        folder = f"full-mnist/{path.name}"
        agent, measured = manifest(folder).config.agent, load(folder).indicators
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
    bounds = bounds_on_all_images()
    gaps = 100 * (1 - bounds["ratio"][bounds["last_of_crelu"] == last_of_crelu])
    return between(gaps) if last_of_crelu else decimal(math.ceil(10 * gaps.max()) / 10, 1)


@value
def noise_bound_of_last_layer() -> str:
    found = bounds_on_all_images()
    return between(found["noise_bound"][found["last_of_crelu"]], 1)


@value
def least_score(stream: str, protocol: str) -> str:
    """Return the least average task accuracy of the leaderboard's rows, rounded down to two decimals."""
    submissions = (DOCS.parent / "leaderboard" / "submissions").glob("*")
    entries = [read_entry(path) for path in submissions]
    means = [
        entry.scores.average_task_accuracy.mean
        for entry in entries
        if board_of(entry)[:2] == (stream, protocol)
    ]
    return decimal(math.floor(100 * min(means)) / 100, 2)
