"""Which runs exist, and running the rest."""

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import clbench

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
    """A run that figures need; requests of the same run have the same `key`. Its status may be "missing"."""

    key: str
    label: str
    request: Request
    seeds: int
    steps: int
    status: str
    folder: Path

    @property
    def is_complete(self) -> bool:
        return self.status == "complete"


def find_runs(
    requests: Mapping[Name, Request], folder: Path, workers: int | None = None, measure: bool = False
) -> tuple[dict[Name, Run], str]:
    """Return the run of each request, with its state in `folder`, and in words what is left to do.

    With `measure`, the speed of agents of which no run is finished is measured now; nothing else is started.
    """
    sweep = _sweep(requests.values(), folder)
    plan = clbench.plan_sweep(sweep, out=folder.parent, workers=workers, measure=measure)
    runs = {
        name: Run(cell.key, cell.label, request, cell.seeds, cell.steps, cell.status, cell.folder)
        for (name, request), cell in zip(requests.items(), plan.cells, strict=True)
    }
    return runs, str(plan.left)


def run_missing(
    runs: Iterable[Run], folder: Path, workers: int | None, accept_changes: bool
) -> Mapping[str, str]:
    sweep = _sweep((run.request for run in runs), folder)
    return clbench.sweep(
        sweep, out=folder.parent, workers=workers, accept_changes=accept_changes, progress=True
    ).failures


def provenance(run: Run) -> dict[str, Any]:
    results = clbench.load_results(run.folder)
    manifest = results.stored[0].manifest
    config, hardware, git = manifest.config, manifest.hardware, manifest.git or {}
    return {
        "run": run.folder.name,
        "agent": config.agent.name,
        "arguments": json.dumps(dict(config.agent.arguments)),
        "stream": config.stream.id,
        "protocol": config.protocol,
        "changed": json.dumps(dict(config.overrides)),
        "num_samples": config.stream.num_samples,
        "source": config.stream.source,
        "seeds": " ".join(map(str, config.seeds)),
        "device": config.device,
        "processor": hardware.get("accelerator") or hardware.get("processor"),
        "cores": f"{hardware.get('cores', '?')} cores",
        "started": manifest.started,
        "seconds": round(float(results.tasks.groupby("seed")["seconds"].sum().max()), 3),
        "processes": manifest.workers,
        "in_lockstep": manifest.batched_runs,
        "command": " ".join(manifest.command),
        "commit": git.get("commit"),
        "uncommitted": git.get("dirty"),
        "torch": manifest.versions.get("torch"),
        "data_sha256": manifest.data.sha256,
        "agent_sha256": manifest.agent_source.sha256,
    }


def _sweep(requests: Iterable[Request], folder: Path) -> dict[str, Any]:
    return {"name": folder.absolute().name, "cell": list(requests)}
