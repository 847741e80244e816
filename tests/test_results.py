import contextlib
import errno
import json
import math
import os
import re
import stat
import threading
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import DataError, InUseError, OutputError, WriteError
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder, columns, frame
from tests.runs import manifests
from tests.test_manifest import MANIFEST

RECORDS = st.lists(
    st.builds(
        TaskRecord,
        agent=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20),
        seed=st.integers(0, 2**40),
        task=st.integers(0, 800),
        steps=st.integers(1, 10**6),
        accuracy=st.floats(0, 1),
        final_epoch_accuracy=st.floats(0, 1),
        loss=st.floats(0, 1e6),
        seconds=st.floats(0, 1e6),
    ),
    max_size=5,
)


INDICATORS = st.lists(
    st.builds(
        IndicatorRecord,
        agent=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20),
        seed=st.integers(0, 2**40),
        task=st.integers(0, 800),
        step=st.integers(1, 10**6),
        layer=st.sampled_from(["fc1", "whole network"]),
        indicator=st.text(st.characters(whitelist_categories=("Ll",)), min_size=1),
        value=st.floats(allow_nan=False, allow_infinity=False, width=32),
    ),
    max_size=5,
)


def test_columns_are_those_of_the_schema():
    assert columns(TaskRecord) == [
        "agent",
        "seed",
        "task",
        "steps",
        "accuracy",
        "final_epoch_accuracy",
        "loss",
        "seconds",
    ]


def test_columns_of_indicators_are_those_of_the_schema():
    wanted = ["agent", "seed", "task", "step", "layer", "indicator", "value"]
    assert columns(IndicatorRecord) == wanted


@settings(deadline=None)  # the first example loads pandas
@given(records=INDICATORS)
def test_indicators_come_back_to_float32(tmp_path_factory, records):
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), "r")
    assert folder.read_indicators() == []
    folder.write_indicators(records)
    found = folder.read_indicators()
    assert [replace(one, value=0) for one in found] == [replace(one, value=0) for one in records]
    for ours, theirs in zip(found, records, strict=True):
        assert np.float32(ours.value) == np.float32(theirs.value)
    assert list(frame(found, IndicatorRecord).columns) == columns(IndicatorRecord)


@given(records=RECORDS)
def test_records_come_back_to_the_bit(tmp_path_factory, records):
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), "r")
    folder.write_tasks(records)
    assert folder.read_tasks() == records


def test_a_missing_loss_is_an_empty_cell(tmp_path):
    folder = RunFolder.create(tmp_path, "r")
    folder.write_tasks([TaskRecord("a", 0, 0, 1, 0.5, 0.5, math.nan, 1.0)])
    assert "0.5,0.5,,1.0" in (folder.path / "tasks.csv").read_text(encoding="utf-8")
    assert math.isnan(folder.read_tasks()[0].loss)


def test_run_folders_are_numbered_and_never_reused(tmp_path):
    names = [RunFolder.create(tmp_path / "deep", "Env-v0-quick").path.name for _ in range(3)]
    assert names == ["Env-v0-quick-1", "Env-v0-quick-2", "Env-v0-quick-3"]
    (tmp_path / "deep" / "Env-v0-quick-41").mkdir()
    assert RunFolder.create(tmp_path / "deep", "Env-v0-quick").path.name == "Env-v0-quick-42"
    assert RunFolder.create(tmp_path / "deep", "Env-v0-paper").path.name == "Env-v0-paper-1"


def test_runs_that_start_together_get_folders_of_their_own(tmp_path):
    folders = []
    threads = [
        threading.Thread(target=lambda: folders.append(RunFolder.create(tmp_path, "r").path))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 16


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=re.escape(f"'{tmp_path / 'taken'}'")):
        RunFolder.create(tmp_path / "taken", "r")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    folder = RunFolder.create(tmp_path, "r")
    folder.write_manifest(replace(MANIFEST, status="running"))

    class Unsaveable:
        def savefig(self, path, format):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match=r"/curves\.png'.*No space left"):
        folder.write_figure("curves", Unsaveable())
    assert not (folder.path / "curves.png").exists()
    with pytest.raises(TypeError):
        folder.write_manifest(replace(MANIFEST, env=object()))
    assert folder.read_manifest().status == "running"


def test_files_are_ordinary_files(tmp_path):
    folder = RunFolder.create(tmp_path, "r")
    folder.write_manifest(replace(MANIFEST, env="Zürich"))
    path = folder.path / "run.json"
    assert stat.S_IMODE(path.stat().st_mode) & 0o444
    text = path.read_text(encoding="utf-8")
    assert "Zürich" in text
    assert list(json.loads(text))[:3] == ["schema_version", "status", "config"]


def test_private_files_last_as_long_as_checkpoints(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.in_use():
        assert folder.read_private("a") == {}
        folder.write_private("a", {"b": 1})
        assert folder.read_private("a") == {"b": 1}
        folder.delete_state()
    assert folder.read_private("a") == {}


def test_a_folder_in_use_is_locked(tmp_path):
    refused = pytest.raises(InUseError, match=re.escape(f"'{tmp_path}'"))
    with RunFolder(tmp_path).in_use(), refused, RunFolder(tmp_path).in_use():
        pass


def test_a_reader_that_probes_the_lock_refuses_nobody(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.in_use():
        pass
    probe = FileLock(tmp_path / "state" / "lock", thread_local=False)
    probe.acquire()
    timer = threading.Timer(0.05, probe.release)
    timer.start()
    with folder.in_use():
        timer.join()


def test_a_run_that_is_completed_while_another_process_waits(tmp_path):
    folder = RunFolder(tmp_path)
    stack = contextlib.ExitStack()
    stack.enter_context(folder.in_use())
    stack.callback(folder.delete_state)
    timer = threading.Timer(0.05, stack.close)
    timer.start()
    with folder.in_use(patience=5):
        timer.join()


@pytest.mark.parametrize(("host", "status"), [("here", "interrupted"), ("elsewhere", "running")])
def test_only_the_machine_of_a_run_tells_that_it_was_interrupted(host, status, tmp_path, monkeypatch):
    """Locks may not reach other machines."""
    folder, (manifest,) = RunFolder(tmp_path), manifests(status="running")
    monkeypatch.setattr("platform.node", lambda: "here")
    with folder.in_use():
        assert folder.current_status(manifest) == "running"
    monkeypatch.setattr("platform.node", lambda: host)
    assert folder.current_status(manifest) == status


def test_reading_what_is_no_run(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"'{tmp_path}'") + r".*run\.json"):
        RunFolder(tmp_path).read_manifest()
    (tmp_path / "run.json").write_text('{"schema_version": 99}', encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"'{tmp_path}'") + r".*\b99\b.*\b2\b"):
        RunFolder(tmp_path).read_manifest()


def test_a_run_json_that_is_no_table(tmp_path):
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"'{tmp_path}'") + r".*run\.json"):
        RunFolder(tmp_path).read_manifest()


HEADER = "agent,seed,task,steps,accuracy,final_epoch_accuracy,loss,seconds\n"
ROW = "a,0,0,10,0.5,0.5,0.1,1.0\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1.*'agent'"),
        (HEADER.replace("task,", ""), "line 1.*'task'"),
        (HEADER + ROW + ROW.replace("10", "ten"), "line 3.*steps 'ten'"),
        (HEADER + ROW.replace("0.1", "low"), "line 2.*loss 'low'"),
        (HEADER + ROW + ROW[:-8], r"line 3.*\b7\b.*\b8\b"),
        (HEADER + ROW.replace("1.0", "1.0,2"), r"line 2.*\b9\b.*\b8\b"),
        (HEADER + "x" * 200_000, r"line 2(?!.*\b8\b)"),
    ],
)
def test_a_damaged_table_is_told_with_its_line(tmp_path, text, fault):
    (tmp_path / "tasks.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"/tasks\.csv'.*{fault}"):
        RunFolder(tmp_path).read_tasks()


def test_a_table_that_is_missing_or_no_text(tmp_path):
    with pytest.raises(DataError, match=rf"/tasks\.csv'.*{re.escape(os.strerror(errno.ENOENT))}"):
        RunFolder(tmp_path).read_tasks()
    (tmp_path / "indicators.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"/indicators\.csv'.*UTF-8"):
        RunFolder(tmp_path).read_indicators()


def test_unknown_columns_and_blank_lines_are_passed_over(tmp_path):
    (tmp_path / "tasks.csv").write_text("new," + HEADER + "x," + ROW + "\n", encoding="utf-8")
    assert RunFolder(tmp_path).read_tasks() == [TaskRecord("a", 0, 0, 10, 0.5, 0.5, 0.1, 1.0)]


def test_frame_has_the_columns_of_the_file():
    records = [TaskRecord("a", 0, task, 1, 0.5, 0.5, 0.1, 1.0) for task in range(3)]
    table = frame(records)
    assert list(table.columns) == columns(TaskRecord)
    assert table["task"].tolist() == [0, 1, 2]
    assert list(frame([]).columns) == columns(TaskRecord)
