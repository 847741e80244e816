"""Submissions made from nothing, for tests: whole runs of the quick protocol without any learning."""

import hashlib
import json
from pathlib import Path

import numpy as np

from clbench.config import AgentConfig, RunConfig
from clbench.leaderboard.checking import IMAGES
from clbench.leaderboard.submission import DATA, SUBMISSION_VERSION, TASKS, About, Cost, Submission
from clbench.records import TaskRecord
from clbench.registration import resolve
from clbench.results import RunFolder, RunManifest
from clbench.results.manifest import CodeSource, DataSource
from clbench.specs import PROTOCOLS

SOURCE = (
    '"""A learner."""\n\n\nclass Agent:\n    def act(self, obs): ...\n\n    def learn(self, targets): ...\n'
)


def stream_spec(id="RandomLabelMNIST-v0", protocol="quick"):
    rules = PROTOCOLS[protocol]
    return resolve(
        id,
        {
            "num_tasks": rules.num_tasks,
            "epochs_per_task": rules.epochs_per_task,
            "num_samples": rules.num_samples,
            "source": rules.source,
        },
    )


def records(agent, level=0.5, seeds=3, spec=None, chance=0):
    """Records of a possible run: accuracies around a level, each a share of the task's predictions."""
    spec = spec or stream_spec()
    rng = np.random.default_rng(chance)
    total, last = spec.steps_per_task * spec.batch_size, spec.steps_per_epoch * spec.batch_size
    return [
        TaskRecord(
            agent, seed, task, spec.steps_per_task,
            round((level + 0.01 * rng.random()) * total) / total, round(level * last) / last, 1.25, 9.5,
        )
        for seed in range(seeds)
        for task in range(spec.num_tasks)
    ]  # fmt: skip


def submission(name, agent, source, spec, protocol="quick", **about):
    """What submission.json says of a learner's run."""
    size, checksum = IMAGES[spec.source]
    run = RunManifest(
        status="complete",
        config=RunConfig(
            agent=AgentConfig(name=agent, arguments={"step_size": 0.001}),
            stream=spec,
            protocol=protocol,
            seeds=(0, 1, 2),
        ),
        agent_source=CodeSource(
            class_=f"{agent.partition('.')[0]}:Agent",
            file=agent.partition(":")[0],
            sha256=hashlib.sha256(source.encode()).hexdigest(),
        ),
        data=DataSource(source=spec.source, size=size, num_classes=10, sha256=checksum),
        command=("python", "-m", "clbench.evaluate", agent, "--set", "step_size=0.001"),
        started="2026-11-22T21:12:18+00:00",
        versions={"clbench": "0.1.0", "torch": "2.15.0"},
        hardware={"platform": "Linux", "processor": "none", "cores": 2},
    )
    return Submission(
        schema_version=SUBMISSION_VERSION,
        name=name,
        run=run,
        cost=Cost(relative_to_vanilla=1.25, rounds=9),
        about=About(**about),
    )


def write_submission(folder, name, level=0.5, id="RandomLabelMNIST-v0", protocol="quick", **about):
    """Write a submission that passes its check; return its folder."""
    spec = stream_spec(id, protocol)
    agent = f"{name.replace('-', '_')}.py:Agent"
    source = SOURCE.replace("A learner", f"Learner {name}")
    data = submission(name, agent, source, spec, protocol, **about)
    place = Path(folder) / "submissions" / name
    place.mkdir(parents=True)
    RunFolder(place).write_tasks(records(agent, level, spec=spec, chance=sum(name.encode())))
    (place / DATA).write_text(data.to_json(), encoding="utf-8")
    (place / data.file).write_text(source, encoding="utf-8")
    return place


def edit(place, change):
    """Change submission.json by a function of its data."""
    data = json.loads((place / DATA).read_text(encoding="utf-8"))
    change(data)
    (place / DATA).write_text(json.dumps(data), encoding="utf-8")


def edit_tasks(place, old, new, count=1):
    """Replace text in tasks.csv."""
    path = place / TASKS
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")
