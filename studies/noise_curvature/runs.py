"""Which runs exist, running the rest: the only file of the study that knows more of clbench than its public names."""

import json
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import clbench
from clbench.observing import ALL
from clbench.results import RunFolder, fact
from clbench.sweeping.cells import key_of, read_sweep
from clbench.sweeping.estimate import amount_left, steps_of
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import divided
from clbench.sweeping.local import Local

ALL_INDICATORS: tuple[str, ...] = ALL
PROVENANCE = (
    *("command", "commit", "processor", "cores", "device", "torch", "started"),
    *("seconds", "processes", "in_lockstep"),
)
"""What the report shows of where and when runs were made."""

Request = dict[str, Any]
"""A run as a `[[cell]]` table of a sweep file asks for it."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Run:
    """A run that figures need, finished or not.

    Attributes:
        key: short hash of what is run; requests of the same run have the same key.
        label: agent and settings in words.
        request: what asks for it.
        seeds: how many it has.
        status: "missing", or the status in its run.json.
        folder: where it is, or will be.
    """

    key: str
    label: str
    request: Request
    seeds: int
    status: str
    folder: Path

    @property
    def is_complete(self) -> bool:
        """Whether all of it has been run."""
        return self.status == "complete"


def find_runs(requests: Mapping[Name, Request], folder: Path) -> dict[Name, Run]:
    """Return the run of each request, with its state in `folder`; start nothing."""
    keys = {name: key_of(request) for name, request in requests.items()}
    unique = {keys[name]: request for name, request in requests.items()}
    runs_folder, runs = SweepFolder(folder), {}
    for cell in read_sweep(_sweep(unique.values(), folder)).cells:
        facts, existing = runs_folder.facts(cell), runs_folder.find(cell)
        runs[cell.key] = Run(
            key=cell.key,
            label=cell.label,
            request=unique[cell.key],
            seeds=len(cell.plan.spec.seeds),
            status=str(facts["status"]) if facts else "missing",
            folder=existing.path if existing else folder / cell.folder_name,
        )
    return {name: runs[key] for name, key in keys.items()}


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Return the runs, each once."""
    return list({run.key: run for run in runs}.values())


def estimate_work(runs: Collection[Run], folder: Path, workers: int | None, measure: bool) -> tuple[int, str]:
    """Return the steps of all runs, and in words how many are left and how long they take.

    With `measure`, the speed of agents of which no run is finished is measured now.
    """
    cells = read_sweep(_sweep((run.request for run in runs), folder)).cells
    number = Local(workers).workers_for(cells)
    left = amount_left(divided(cells, number), SweepFolder(folder), number, measure)
    return sum(map(steps_of, cells)), str(left)


def run_missing(
    runs: Iterable[Run], folder: Path, workers: int | None, accept_changes: bool
) -> Mapping[str, str]:
    """Return why runs failed, by label, after running all that are not finished."""
    asked = _sweep((run.request for run in runs), folder)
    result = clbench.sweep(
        asked, out=folder.parent, workers=workers, accept_changes=accept_changes, progress=True
    )
    return result.failures


def provenance(run: Run) -> dict[str, Any]:
    """Return what was run, when, where and how long it took: a row of a figure's table of runs."""
    facts = RunFolder(run.folder).read_run()
    spec = facts["spec"]
    (agent,) = spec["agents"]
    seconds = clbench.load_results(run.folder).tasks.groupby("seed")["seconds"].sum()
    return {
        "run": run.folder.name,
        "agent": agent["name"],
        "arguments": json.dumps(agent["arguments"]),
        "stream": spec["stream"]["id"],
        "protocol": spec["protocol"],
        "changed": json.dumps(spec["overrides"]),
        "num_samples": spec["stream"]["num_samples"],
        "source": spec["stream"]["source"],
        "seeds": " ".join(map(str, spec["seeds"])),
        "device": spec["device"],
        "processor": fact(facts, "hardware", "accelerator", default=fact(facts, "hardware", "processor")),
        "cores": f"{fact(facts, 'hardware', 'cores', default='?')} cores",
        "started": fact(facts, "started"),
        "seconds": round(float(seconds.max()), 3),
        "processes": fact(facts, "division", "workers"),
        "in_lockstep": fact(facts, "sweep", "stack", default=1),
        "command": " ".join(fact(facts, "command", default=())),
        "commit": fact(facts, "git", "commit"),
        "uncommitted": fact(facts, "git", "dirty"),
        "torch": fact(facts, "versions", "torch"),
        "data_sha256": fact(facts, "data", "sha256"),
        "agent_sha256": fact(facts, "agents", agent["name"], "sha256"),
    }


def _sweep(requests: Iterable[Request], folder: Path) -> dict[str, Any]:
    """Return the sweep whose runs lie in `folder`."""
    return {"name": folder.absolute().name, "cell": list(requests)}
