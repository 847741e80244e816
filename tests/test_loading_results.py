import hashlib
import json
import math
from pathlib import Path

import pandas as pd
import pytest

import clbench
from clbench.errors import DataError
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder, columns
from tests.runs import edit_json, write, write_schema_1
from tests.test_comparing import A, B

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def test_a_row_per_run_and_agent(tmp_path):
    write(
        tmp_path / "deep" / "one",
        {"a": A, "b": B},
        arguments={"step_size": 0.1, "scheduler": "per-layer"},
        spec={"overrides": {"num_tasks": 4, "source": "embedded"}},
        agents={"a": {"sha256": "aa"}, "b": {"sha256": "bb"}},
        versions={"clbench": "0.1.0", "torch": "2.15.0"},
        timing={"steps_per_second": {"a": 10.5}},
        started="2026-11-22T16:04:32+00:00",
    )
    one, two = clbench.load_results(tmp_path).runs.to_dict("records")
    assert math.isnan(two["steps_per_second"])
    assert one == {
        "run": (tmp_path / "deep" / "one").as_posix(),
        "agent": "a",
        "stream": "RandomLabelMNIST-v0",
        "protocol": "quick",
        "changed": "num_tasks, source",
        "num_tasks": 4,
        "epochs_per_task": 40,
        "num_samples": 5000,
        "batch_size": 256,
        "source": "embedded",
        "seeds": 3,
        "device": "cpu",
        "status": "complete",
        "scheduler": "per-layer",
        "arguments": '{"step_size": 0.1, "scheduler": "per-layer"}',
        "agent_sha256": "aa",
        "data_sha256": "0" * 64,
        "steps_per_second": 10.5,
        "clbench": "0.1.0",
        "torch": "2.15.0",
        "started": "2026-11-22T16:04:32+00:00",
    }
    assert (two["agent"], two["agent_sha256"]) == ("b", "bb")


def test_what_a_sweep_varied_has_columns_of_its_own(tmp_path):
    varied = ["agent", "num_tasks", "arguments.step_size", "options.relabel_fraction", "arguments.strength"]
    write(tmp_path / "one", {"a": A}, arguments={"step_size": 0.1}, sweep={"name": "s", "varied": varied[:3]})
    write(tmp_path / "two", {"b": B}, arguments={"strength": 2}, sweep={"name": "s", "varied": varied})
    runs = clbench.load_results(tmp_path).runs
    assert list(runs.columns[-3:]) == varied[2:]
    assert runs["options.relabel_fraction"].tolist() == [1.0, 1.0]
    assert runs["arguments.step_size"].fillna(0).tolist() == [0.1, 0]
    assert runs["arguments.strength"].fillna(0).tolist() == [0, 2]


def test_tables_have_a_column_for_the_run(tmp_path):
    folder = write(tmp_path / "one", {"a": A})
    write(tmp_path / "two", {"b": B})
    folder.write_indicators([IndicatorRecord("a", 0, 1, 5, "fc1", "step_size", 0.25)])
    found = clbench.load_results(tmp_path / "one", str(tmp_path / "two"))
    assert list(found.tasks.columns) == ["run", *columns(TaskRecord)]
    assert found.tasks.run.unique().tolist() == [(tmp_path / name).as_posix() for name in ("one", "two")]
    expected = pd.read_csv(tmp_path / "two" / "tasks.csv")
    pd.testing.assert_frame_equal(
        found.tasks[found.tasks.agent == "b"].drop(columns="run").reset_index(drop=True), expected
    )
    assert list(found.indicators.columns) == ["run", *columns(IndicatorRecord)]
    assert found.indicators.values.tolist() == [
        [(tmp_path / "one").as_posix(), "a", 0, 1, 5, "fc1", "step_size", 0.25]
    ]
    assert found.indicators is found.indicators


def test_runs_without_rows_leave_dtypes_alone(tmp_path):
    write(tmp_path / "empty", {"a": {}}, status="running")
    empty = clbench.load_results(tmp_path)
    assert empty.runs.status.tolist() == ["running"]
    assert list(empty.tasks.columns) == ["run", *columns(TaskRecord)]
    assert len(empty.indicators) == 0
    write(tmp_path / "one", {"a": A})
    assert clbench.load_results(tmp_path).tasks.task.dtype == "int64"


def test_a_run_named_twice_is_there_once(tmp_path, monkeypatch):
    write(tmp_path / "results" / "one", {"a": A})
    monkeypatch.chdir(tmp_path)
    found = clbench.load_results("results/one", tmp_path, "results", Path("results") / ".." / "results/one")
    assert found.runs.run.tolist() == ["results/one"]
    assert clbench.load_results().runs.run.tolist() == ["results/one"]


def test_folders_without_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"'results'(?!.*run\.json).*clbench evaluate"):
        clbench.load_results()
    (tmp_path / "results").mkdir()
    with pytest.raises(DataError, match=r"'results'.*run\.json.*clbench evaluate"):
        clbench.load_results("results")


def test_damaged_and_later_runs(tmp_path):
    folder = write(tmp_path / "one", {"a": A})
    edit_json(folder.path / "run.json", lambda data: data["spec"]["stream"].pop("num_tasks"))
    with pytest.raises(DataError, match=r"/one'.*run\.json.*num_tasks'"):
        clbench.load_results(tmp_path)
    write_schema_1(folder.path, {"status": "complete", "spec": "none"})
    with pytest.raises(DataError, match=r"/one'.*run\.json"):
        clbench.load_results(tmp_path)
    (tmp_path / "one" / "run.json").write_text(json.dumps({"schema_version": 99}), encoding="utf-8")
    with pytest.raises(DataError, match=r"/one'.*\b99\b.*\b2\b"):
        clbench.load_results(tmp_path)


def test_a_damaged_table_is_told_when_it_is_read(tmp_path):
    write(tmp_path / "one", {"a": A})
    (tmp_path / "one" / "tasks.csv").write_text("agent,seed\na,0\n", encoding="utf-8")
    found = clbench.load_results(tmp_path)
    assert len(found.runs) == 1
    with pytest.raises(DataError, match=r"/tasks\.csv'.*line 1.*'task'"):
        found.tasks  # noqa: B018


def test_kept_runs_load():
    found = clbench.load_results(RESULTS, RESULTS / "RandomLabelMNIST-v0-quick-1")
    quick = found.runs[found.runs.protocol == "quick"]
    assert quick.agent.tolist() == [
        *("agents.vanilla", "agents.reset", "agents.crelu", "agents.l2", "agents.wasserstein"),
        *("agents.vanilla", "agents.perlayer"),
    ]
    assert set(found.runs.status) == {"complete"}
    last = found.runs[found.runs.agent == "agents.perlayer"].iloc[0]
    assert (last.scheduler, last.num_samples) == ("per-layer", 5000)
    means = found.tasks[found.tasks.run == last.run].groupby("seed").accuracy.mean()
    kept = RunFolder(RESULTS / "RandomLabelMNIST-v0-quick-3").read_tasks()
    assert means[0] == pytest.approx(sum(one.accuracy for one in kept if one.seed == 0) / 15)
    assert set(found.indicators.run) <= set(found.runs.run)


# Of the frames that version 0.1 made of the kept runs, with the paths below docs/results.
DIGESTS = {
    "runs": "185b2283920d5ecb7517d883feb5a962b130212c44a4f5f249acf9e2743b43d6",
    "tasks": "644e46046c313537728e076df581d7639bca41e78acda8b7d3dc100065502d98",
    "indicators": "52a39cf0bbe28ab7c2442c3b06ee16e009bbb25a8325473df56e39b116d986f3",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_kept_runs_load_as_they_always_did(name):
    table = getattr(clbench.load_results(RESULTS), name)
    table["run"] = [Path(run).relative_to(RESULTS).as_posix() for run in table["run"]]
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    digest = hashlib.sha256(json.dumps([list(table.columns), rows]).encode()).hexdigest()
    assert digest == DIGESTS[name]
