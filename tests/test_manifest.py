"""What a run is and what its run.json records: to JSON and back, and from schema 1."""

import json
from dataclasses import replace

import pytest

from clbench.config import AgentConfig, RunConfig
from clbench.errors import DataError
from clbench.jsondata import from_json
from clbench.results import RunFolder, find_runs
from clbench.results.manifest import CodeSource, Failure, RunManifest, Session, SweepCell, Timing
from clbench.specs import StreamSpec
from tests import runs
from tests.test_comparing import A, B

CONFIG = RunConfig(
    agent=AgentConfig(name="agents.l2", arguments={"step_size": 0.1, "sizes": [1, 2]}),
    stream=StreamSpec("RandomLabelMNIST-v0", num_samples=5000, options={"relabel_fraction": 0.5}),
    protocol="quick",
    overrides={"relabel_fraction": 0.5},
    seeds=(0, 3),
    indicators=("sharpness",),
    layers={"body": ["fc1", "fc2"]},
)
MANIFEST = RunManifest(
    status="failed",
    config=CONFIG,
    env="module:RandomLabelMNIST-v0",
    workers=2,
    agent_source=CodeSource(class_="agents.l2:Agent", file="agents/l2.py", sha256="ab"),
    command=("python", "-m", "clbench.evaluate"),
    git={"commit": "abc", "dirty": True},
    sweep=SweepCell(name="s", varied=("arguments.step_size",), numbered={"arguments.file": "a (2)"}),
    resumed=(Session(steps={"0": 6}, accepted_changes=("data",)),),
    timing=Timing(seconds=2.5, steps_per_second=3.0),
    failures=(Failure(seeds=(3,), error="no"),),
    undefined_indicators={"sharpness": "why"},
)


def test_a_manifest_comes_back_from_json():
    data = json.loads(json.dumps(MANIFEST.to_json()))
    assert data["schema_version"] == 2
    assert RunManifest.from_json(data) == MANIFEST
    assert RunManifest.from_json({**data, "of a later version": 1}) == MANIFEST


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": AgentConfig(name="agents.l2", arguments={"step_size": 0.2, "sizes": [1, 2]})},
        {"agent": replace(CONFIG.agent, location="/elsewhere/l2.py")},
        {"stream": replace(CONFIG.stream, num_tasks=2)},
        {"seeds": (0,)},
        {"indicators": ()},
        {"indicator_sources": {"mine.py:f": "ab"}},
    ],
)
def test_the_key_says_what_a_run_is(changes):
    assert replace(CONFIG, **changes).key != CONFIG.key
    assert len(CONFIG.key) == 8


def test_the_key_does_not_depend_on_where_and_how_fast():
    moved = replace(CONFIG, device="cuda", threads=4, stream=replace(CONFIG.stream, data_dir="/data"))
    assert moved.key == CONFIG.key
    assert RunConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))).key == CONFIG.key


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda data: data.pop("status"), "status"),
        (lambda data: data.update(status="done"), "status.*complete.*'done'"),
        (lambda data: data["config"]["stream"].pop("num_tasks"), "config.stream.num_tasks"),
        (lambda data: data["config"].update(seeds=[0, "1"]), r"config.seeds\[1\].*'1'"),
        (lambda data: data["timing"].update(seconds="1"), "timing.seconds.*number"),
        (lambda data: data.update(config=None), "config"),
        (lambda data: data["config"].update(layers=0.5), "layers"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, change, named):
    data = MANIFEST.to_json()
    change(data)
    (tmp_path / "run.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match=f"'{tmp_path}'.*run.json.*{named}"):
        RunFolder(tmp_path).read_manifest()


def test_unknown_fields_are_refused_if_asked():
    assert from_json(AgentConfig, {"name": "a", "x": 1}) == AgentConfig(name="a")
    with pytest.raises(ValueError, match="'x'"):
        from_json(AgentConfig, {"name": "a", "x": 1}, exact=True)


def test_paths_of_this_machine_are_restored_only_to_resume(tmp_path):
    agent = AgentConfig(name="l2.py", location="/home/me/l2.py", arguments={"weights": "/home/me/w.pt"})
    config = replace(CONFIG, agent=agent, stream=replace(CONFIG.stream, data_dir="/home/me/data"))
    folder, manifest = RunFolder(tmp_path), replace(MANIFEST, config=config, status="running")
    folder.write_manifest(manifest)
    assert "/home" not in (tmp_path / "run.json").read_text(encoding="utf-8")
    shown = folder.read_manifest().config
    assert (shown.agent.location, shown.agent.arguments["weights"], shown.stream.data_dir) == (
        "",
        "w.pt",
        "DIR",
    )
    assert folder.read_manifest(private_paths=True) == manifest
    folder.write_manifest(replace(manifest, status="complete"))
    folder.delete_state()
    assert folder.read_manifest(private_paths=True).config == shown


def test_a_run_of_several_agents_is_read_as_a_run_of_each(tmp_path):
    folder = runs.write(
        tmp_path / "one",
        {"a": A, "b": B},
        division={"parts": 3, "workers": 2, "threads": 1, "together": True},
        agents={"a": {"class": "a:Agent", "sha256": "aa"}, "b": {"class": "b:Agent", "sha256": "bb"}},
        failures=[{"agent": "b", "seeds": [1], "error": "no"}],
        undefined_indicators={"a": {"sharpness": "why"}},
        timing={"seconds": 4, "steps_per_second": {"a": 1.5, "b": 2.5}},
    )
    a, b = find_runs(tmp_path)
    assert [run.agent for run in (a, b)] == ["a", "b"]
    assert {record.agent for record in b.read_tasks()} == {"b"}
    assert (b.manifest.jobs, b.manifest.workers, b.manifest.batched_runs) == (3, 2, 2)
    assert b.manifest.agent_source == CodeSource(class_="b:Agent", sha256="bb")
    assert (a.manifest.failures, b.manifest.failures) == ((), (Failure(seeds=(1,), error="no"),))
    assert (a.manifest.undefined_indicators, b.manifest.undefined_indicators) == ({"sharpness": "why"}, {})
    assert b.manifest.timing == Timing(seconds=4, steps_per_second=2.5)
    with pytest.raises(DataError, match="several agents: a, b"):
        folder.read_manifest()


def test_a_group_has_a_run_folder_for_each_agent(tmp_path):
    group = RunFolder.create(tmp_path, "Env-v0-quick")
    assert group.create_runs(["agents.l2"]) == [group]
    names = ["b/mine.py:Agent", "agents.l2", "b_mine.py_Agent"]
    folders = group.create_runs(names)
    assert [one.path.name for one in folders] == ["b_mine.py_Agent", "agents.l2", "b_mine.py_Agent-2"]
    for position, (folder, name) in enumerate(zip(folders, names, strict=True)):
        config = replace(CONFIG, agent=AgentConfig(name=name))
        folder.write_manifest(replace(MANIFEST, config=config, position=position))
    other = RunFolder.create(tmp_path, "Env-v0-paper")
    other.write_manifest(MANIFEST)
    found = find_runs(tmp_path)
    assert [run.agent for run in found] == ["agents.l2", *names]
    assert found[1].name == f"{group.path.as_posix()}/b_mine.py_Agent"
    assert [run.agent for run in find_runs(group.path, other.path)] == [*names, "agents.l2"]
