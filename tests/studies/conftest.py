"""Frames made by hand, in which the answers are known."""

from types import SimpleNamespace

import pandas as pd
import pytest

from clbench import PROTOCOLS
from clbench.indicators import WHOLE
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder
from studies.noise_curvature.claims import judge
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.frames import ACCURACY
from studies.noise_curvature.runs import find_runs
from studies.noise_curvature.scale import Scale
from tests.runs import write_schema_1


def rows(values, indicator=ACCURACY, layer=WHOLE, run="a-0", **labels):
    """Long rows of a `(seeds, tasks)` table."""
    return pd.DataFrame(
        [
            {**labels, "run": run, "seed": seed, "task": task, "time": task + 1.0, "layer": layer,
             "indicator": indicator, "value": float(value)}
            for seed, own in enumerate(values)
            for task, value in enumerate(own)
        ]
    )  # fmt: skip


def judged_row(claim, data, protocol="quick", missing=""):
    """A row of claims.csv, with its columns as attributes."""
    return SimpleNamespace(**judge(claim, data, protocol, "x.csv", missing).row)


def joined(*parts):
    return pd.concat(parts, ignore_index=True)


def find(figure, scale, folder):
    """The runs that a figure needs, by key."""
    return find_runs(figure.requests(scale), folder)[0]


def finish(figure, folder, accuracy, scale=None):
    """Finish runs of a figure without training, each task as accurate as `accuracy` has it by key; return all runs."""
    scale = scale or Scale()
    for key, run in find(figure, scale, folder).items():
        if key in accuracy:
            _finish(run, accuracy[key])
    return find(figure, scale, folder)


def _finish(run, accuracy):
    run.folder.mkdir(parents=True, exist_ok=True)
    kept, name, protocol = RunFolder(run.folder), run.request["agent"], PROTOCOLS[run.request["protocol"]]
    seeds, tasks = range(run.seeds), range(protocol.num_tasks)
    stream = {
        "id": run.request["env"],
        "num_tasks": len(tasks),
        "epochs_per_task": run.request["epochs_per_task"],
        "batch_size": 256,
        "num_samples": protocol.num_samples,
        "source": protocol.source,
        "data_dir": None,
        "options": {},
    }
    write_schema_1(
        kept.path,
        {
            "status": "complete",
            "spec": {
                "agents": [{"name": name, "arguments": run.request["arguments"]}],
                "stream": stream,
                "protocol": protocol.name,
                "overrides": {},
                "seeds": list(seeds),
                "device": "cpu",
                "workers": 1,
                "threads": 1,
                "indicators": [],
            },
            "timing": {"seconds": 12.0, "steps_per_second": {name: 1.0}},
            "hardware": {"processor": "abacus", "cores": 2},
            "command": ["python", "-m", "clbench.reproduce", "2"],
            "started": "2026-01-01T00:00:00+00:00",
            "versions": {"torch": "2"},
            "git": {"commit": "0123456789", "dirty": False},
            "division": {"workers": 1},
            "agents": {name: {"sha256": None}},
            "stream": {"sha256": None},
            "data": {"sha256": None},
        },
    )
    times = [(seed, task) for seed in seeds for task in tasks]
    kept.write_tasks([TaskRecord(name, s, t, 8, accuracy, 0.5, 0.1, 1.0) for s, t in times])
    kept.write_indicators([IndicatorRecord(name, s, t, 8, "fc1", "volatility", 1 + t) for s, t in times])


@pytest.fixture
def claims():
    """Judge a figure's claims in data: verdicts by name, and values."""

    def judged(figure, data, protocol="quick"):
        rows = [judged_row(claim, data, protocol) for claim in FIGURES[figure].claims]
        return {row.claim: row for row in rows}

    return judged
