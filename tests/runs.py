"""Run folders made by hand, without training, and what is in them."""

import json

from clbench.comparing import Entry
from clbench.records import TaskRecord
from clbench.results import RunFolder, RunManifest
from clbench.results.older import upgrade


def facts(names=("a",), *, status="complete", protocol="quick", seeds=(0, 1, 2), data="0" * 64, **rest):
    """run.json; `stream`, `spec` and `arguments` (of every agent) update parts of it, `code` is its stream's."""
    stream = {
        "id": "RandomLabelMNIST-v0",
        "num_tasks": 4,
        "epochs_per_task": 40,
        "batch_size": 256,
        "num_samples": 5000,
        "source": "embedded",
        "data_dir": None,
        "options": {"relabel_fraction": 1.0},
        **rest.pop("stream", {}),
    }
    arguments = rest.pop("arguments", {})
    spec = {
        "agents": [{"name": name, "arguments": arguments} for name in names],
        "stream": stream,
        "protocol": protocol,
        "overrides": {},
        "seeds": list(seeds),
        "device": "cpu",
        "threads": 1,
        **rest.pop("spec", {}),
    }
    if "code" in rest:
        rest["stream"] = rest.pop("code")
    return {"status": status, "spec": spec, "data": {"source": "embedded", "sha256": data}, **rest}


def manifests(names=("a",), **changes):
    """The manifest of each agent; for `changes` see `facts`."""
    return [RunManifest.from_json(data) for data in upgrade(facts(names, **changes))]


def entries(levels, run="runs/one", **changes):
    """Entries of a comparison with a table of accuracies, by agent and seed a row of tasks."""
    rows = records(levels)
    return [Entry.from_records(run, manifest, rows) for manifest in manifests(tuple(levels), **changes)]


def records(levels):
    """Records of a table of accuracies, by agent and seed a row of tasks."""
    return [
        TaskRecord(agent, seed, task, 10, accuracy, accuracy / 2, 0.1, 1.0)
        for agent, rows in levels.items()
        for seed, row in rows.items()
        for task, accuracy in enumerate(row)
    ]


def write(path, levels, **changes):
    """Write a run folder and return it."""
    path.mkdir(parents=True)
    write_schema_1(path, facts(tuple(levels), **changes))
    folder = RunFolder(path)
    folder.write_tasks(records(levels))
    return folder


def write_schema_1(path, data):
    """Write a run.json of schema 1."""
    (path / "run.json").write_text(json.dumps({"schema_version": 1, **data}), encoding="utf-8")


def manifest_in(path):
    """The manifest in a run folder."""
    return RunFolder(path).read_manifest()


def edit_json(path, change):
    """Let `change` edit the JSON data in a file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
