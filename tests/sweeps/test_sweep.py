"""Sweeps on this machine: in worker processes or, quicker, the same jobs in this one."""

import errno
import re
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import clbench
from clbench import machine
from clbench.engine.execution import run_jobs
from clbench.engine.keyed_store import KeyedStore
from clbench.engine.local import LocalPool, quickest, spread
from clbench.engine.pool import use_pool
from clbench.engine.progress import Progress, RunProgress
from clbench.engine.run import load_data
from clbench.engine.session import Options
from clbench.errors import OptionError
from clbench.records import TaskRecord
from clbench.results import RunFolder
from clbench.results.manifest import SweepCell
from clbench.sweeps.cells import read_sweep
from clbench.sweeps.estimate import estimate_left
from clbench.sweeps.store import create_folder
from tests.inline import InThisProcess
from tests.processes import ends, wait_until, worker_processes
from tests.sweeps.cases import FAILING, GRID, LONGER, STEPS, TINY, finished_tasks, frame, write_toml

SWEEP = {**TINY, "grid": [GRID]}


def times(folder):
    """Return when each file of a run was written."""
    names = ("run.json", "tasks.csv")
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, forked_workers):
    """A sweep of two cells through worker processes."""
    return clbench.sweep(SWEEP, out=tmp_path_factory.mktemp("whole"), workers=2)


def test_each_cell_is_a_run_folder(whole):
    assert whole.failures == {}
    assert sorted(path.name for path in whole.folder.iterdir() if path.is_file()) == [
        ".lock", "ranking.csv", "sensitivity-step_size.png", "sweep.json",
    ]  # fmt: skip
    runs = whole.results.runs
    assert set(runs["status"]) == {"complete"}
    assert sorted(runs["arguments.step_size"]) == [1e-3, 1e-2]
    assert len(whole.results.tasks) == 2 * 3 * 2
    for run in runs["run"]:
        manifest = RunFolder(whole.folder.parent / run).read_manifest()
        assert manifest.config.threads == 1
        assert manifest.sweep == SweepCell(name="tiny", varied=("arguments.step_size",))
        assert manifest.batched_runs == 1


def test_a_run_gives_what_its_jobs_give_alone(whole):
    run = next(run for run in whole.sweep.runs if run.label == "agents.vanilla step_size=0.01")
    load_data(run)
    (job,) = run.resolved().jobs()
    records = [event for _, event in run_jobs([job]) if isinstance(event, TaskRecord)]
    alone = {(record.seed, record.task): record.accuracy for record in records}
    table = frame(whole.results).query("`arguments.step_size` == 0.01")
    assert dict(zip(zip(table["seed"], table["task"], strict=True), table["accuracy"], strict=True)) == alone


MANY = {
    **SWEEP,
    "grid": [
        {"agent": ["agents.vanilla", "agents.l2", "agents.reset"], "arguments": {"step_size": [1e-3, 1e-2]}}
    ],
}


@pytest.mark.usefixtures("small_networks")
def test_runs_in_a_batch_give_what_they_give_apart(tmp_path, inline):
    batched = clbench.sweep(MANY, out=tmp_path / "batched", workers=2)
    apart = clbench.sweep(MANY, out=tmp_path / "apart", workers=6)
    assert frame(batched.results).equals(frame(apart.results))
    for result, size in ((batched, 3), (apart, 1)):
        assert [run.manifest.batched_runs for run in result.results.stored] == [size] * 6


def test_batches_are_of_one_stream_and_keep_all_workers_busy():
    def sizes(sweep, workers):
        return [len(batch) for batch in quickest(read_sweep({**TINY, **sweep}).runs, workers)]

    ten = {"agent": "agents.vanilla", "arguments": {"step_size": [0.1 / 2**n for n in range(10)]}}
    assert sizes({"grid": [ten]}, 2) == [3, 3, 2, 2]  # of three networks each, at most nine in a batch
    assert sizes({"grid": [ten]}, 1) == [3, 3, 2, 2]
    assert sizes({"grid": [ten], "seeds": 1}, 2) == [5, 5]
    assert sizes({"grid": [ten], "seeds": 1}, 4) == [3, 3, 2, 2]
    assert sizes({"grid": [ten]}, 6) == [1] * 10
    streams = {**ten, "env": ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]}
    assert sizes({"grid": [streams]}, 2) == [3, 3, 2, 2] * 2


@pytest.mark.usefixtures("small_networks")
def test_an_interrupted_batch_resumes(tmp_path, inline):
    """Its runs are equally far, except for one, which starts over."""
    whole = clbench.sweep(MANY, out=tmp_path / "whole", workers=2)

    class Interrupted(InThisProcess):
        def events(self):
            for count, event in enumerate(super().events()):
                yield event
                if count == 12:
                    return

    with use_pool(Interrupted), pytest.raises(KeyboardInterrupt):
        clbench.sweep(MANY, out=tmp_path / "cut", workers=2)
    started = sorted(path.parent for path in (tmp_path / "cut" / "tiny").glob("*/state"))
    assert len(started) == 3
    left = estimate_left(read_sweep(MANY).runs, KeyedStore(tmp_path / "cut" / "tiny"), 2, measure=False)
    assert left.started == 3
    assert re.search(rf"\b{left.runs}\b.*\b3\b.*\b{left.steps}\b", str(left))
    shutil.rmtree(started[0] / "state")
    again = clbench.sweep(MANY, out=tmp_path / "cut", workers=2)
    assert again.failures == {}
    assert frame(again.results).equals(frame(whole.results))


def test_a_second_call_runs_nothing_and_a_changed_file_what_is_new(whole, inline):
    before = times(whole.folder)
    again = clbench.sweep(SWEEP, out=whole.folder.parent)
    assert times(whole.folder) == before
    assert frame(again.results).equals(frame(whole.results))
    more = {**SWEEP, "grid": [GRID, {"agent": "agents.l2", "num_tasks": 1}]}
    grown = clbench.sweep(more, out=whole.folder.parent)
    assert before.items() <= times(whole.folder).items()
    assert len(grown.results.runs) == 3
    assert '"agents.l2"' in (whole.folder / "sweep.json").read_text(encoding="utf-8")


def test_shards_give_the_same_frame(whole, tmp_path, inline):
    one = clbench.sweep(SWEEP, out=tmp_path, shard=(1, 2))
    assert len(one.results.runs) == 1
    both = clbench.sweep(SWEEP, out=tmp_path, shard=(2, 2))
    expected = frame(whole.results)
    assert frame(both.results).equals(expected[expected["agent"] != "agents.l2"].reset_index(drop=True))
    with pytest.raises(OptionError, match=r"\b3/2\b.*\bI/N\b"):
        clbench.sweep(SWEEP, out=tmp_path, shard=(3, 2))


def test_a_failing_run_does_not_stop_others_and_is_tried_again(tmp_path, inline):
    agent = tmp_path / "failing.py"
    agent.write_text(FAILING, encoding="utf-8")
    what = {**TINY, "cell": [{"agent": str(agent), "seeds": 1}, {"agent": "agents.vanilla", "seeds": 1}]}
    first = clbench.sweep(what, out=tmp_path)
    (label,) = first.failures
    assert "not ready" in first.failures[label]
    (log,) = first.folder.glob("*/failures.log")
    assert "RuntimeError: not ready" in log.read_text(encoding="utf-8")
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert sorted(first.results.runs["status"]) == ["complete", "failed"]
    assert list(first.ranking["agent"]) == ["agents.vanilla"]
    agent.write_text(FAILING + "\n# fixed\n", encoding="utf-8")
    (tmp_path / "ready").touch()
    second = clbench.sweep(what, out=tmp_path)
    assert second.failures == {}
    assert set(second.results.runs["status"]) == {"complete"}
    assert not log.exists()


@pytest.fixture
def single(tmp_path):
    """Carry out a sweep's only run in `folder`, and return what its state is then."""
    sweep, store = read_sweep({**TINY, "cell": [{"agent": "agents.vanilla"}]}), KeyedStore(tmp_path / "tiny")
    create_folder(store, sweep)
    (run,) = sweep.runs

    def carry_out(**options):
        progress = Progress([RunProgress(run.label, run.total_steps)])
        LocalPool(options=Options(**options))([run], store, progress)
        return progress.runs[run.label].state

    carry_out.folder = store.create(run)
    return carry_out


def test_a_run_of_another_process_is_left_to_it(single, tmp_path, inline):
    with single.folder.in_use():
        assert single() == "running elsewhere"
    assert single() == "done"
    assert single() == "done"  # as if another process had been faster
    assert not list(tmp_path.glob("*/*/state"))


def test_a_run_whose_lock_is_about_to_be_released_is_waited_for(single, inline):
    lock = single.folder.in_use()
    lock.__enter__()
    threading.Timer(0.3, lock.__exit__, (None, None, None)).start()
    assert single(patience=60) == "done"


def test_a_changed_agent_is_refused_for_a_run_with_checkpoints(tmp_path, inline, capsys):
    agent = tmp_path / "mine.py"
    agent.write_text(
        FAILING.replace('"ready").exists()', '"ready").exists() and self.size'), encoding="utf-8"
    )
    (tmp_path / "ready").touch()
    what = {**TINY, "seeds": 1, "cell": [{"agent": str(agent)}]}
    done = clbench.sweep(what, out=tmp_path)
    agent.write_text(agent.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    clbench.sweep(what, out=tmp_path)
    assert re.search(r"mine\.py\b.*\b1\b", capsys.readouterr().err)  # how many of its runs are of other code
    (run,) = done.results.runs["run"]
    folder = RunFolder(tmp_path / run)
    folder.write_manifest(replace(folder.read_manifest(), status="failed"))
    folder.checkpoints(0).save(1, {"steps": 1})
    refused = clbench.sweep(what, out=tmp_path)
    (why,) = refused.failures.values()
    assert "mine.py" in why
    assert "--accept-changes" in why


def test_interrupted_and_completed_by_a_second_call(tmp_path, launch, monkeypatch, inline):
    file = write_toml(
        tmp_path / "tiny.toml", {**LONGER, "num_tasks": 10}, '[[cell]]\nagent = "agents.vanilla"\n'
    )
    call = (file, "--out", "cut", "--quiet")
    process = launch("clbench.sweep", *call, cwd=tmp_path)
    wait_until(lambda: any(map(finished_tasks, tmp_path.glob("cut/tiny/*/"))), process=process)
    workers = worker_processes(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    (line,) = err.splitlines()
    assert line.endswith(f" clbench sweep {' '.join(call)}")
    assert workers
    assert all(ends(pid) for pid in workers)
    (run,) = clbench.load_results(tmp_path / "cut").stored
    assert run.manifest.status == "interrupted"
    monkeypatch.chdir(tmp_path)
    resumed = clbench.sweep(file, out="cut").results
    assert run.folder.read_manifest().resumed
    copy = (tmp_path / "cut" / "tiny" / "sweep.toml").read_text(encoding="utf-8")
    assert copy == Path(file).read_text(encoding="utf-8")
    whole = clbench.sweep(file, out="whole").results
    assert resumed.tasks["accuracy"].tolist() == whole.tasks["accuracy"].tolist()
    assert len(whole.tasks) == 10


ALL_IMAGES = {
    **{"name": "all", "protocol": "standard", "source": "embedded", "seeds": 1, "num_tasks": 1},
    **{"epochs_per_task": 1, "batch_size": 2500, "indicators": "none", "device": "cpu"},
    "cell": [{"agent": "agents.vanilla"}],
}


def test_a_run_on_all_images_is_found_again(tmp_path, inline):
    """Its key is of what was requested; how many images there are is not known before they are loaded."""
    first = clbench.sweep(ALL_IMAGES, out=tmp_path)
    assert first.results.runs["num_samples"].tolist() == [5000]
    assert list(first.ranking["agent"]) == ["agents.vanilla"]
    before = times(first.folder)
    clbench.sweep(ALL_IMAGES, out=tmp_path)
    assert times(first.folder) == before


def test_a_run_that_cannot_be_closed_fails_in_its_folder(tmp_path, inline, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "no figures")

    with monkeypatch.context() as patch:
        patch.setattr("clbench.engine.session.draw", fail)
        done = clbench.sweep(ALL_IMAGES, out=tmp_path)
    assert "no figures" in done.failures["agents.vanilla"]
    (run,) = done.results.stored
    assert run.manifest.status == "failed"
    (log,) = done.folder.glob("*/failures.log")
    assert log.parent == run.folder.path
    run.folder.write_manifest(replace(run.folder.read_manifest(), versions={"torch": "1.0"}))
    again = clbench.sweep(ALL_IMAGES, out=tmp_path)  # nothing is left but the figures
    assert again.failures == {}
    assert set(again.results.runs["status"]) == {"complete"}
    assert not log.exists()
    assert re.search(r"^note: agents\.vanilla: .*\btorch was 1\.0\b", capsys.readouterr().err, re.MULTILINE)


def test_never_more_processes_than_cores_of_one_thread_each(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    runs = read_sweep({**TINY, "grid": [STEPS], "cell": [{"agent": "agents.l2", "seeds": 2}]}).runs
    assert LocalPool().workers_for(runs) == 4
    for few in (1, 2, 5):
        found = spread(runs[:few], 4)
        assert {run.config.threads for run in found} == {1}
        assert all(run.parallelism.workers <= 4 for run in found)
        assert sum(len(run.jobs()) for run in found) >= min(4, 3 * few)
    on_gpu = replace(runs[0], config=replace(runs[0].config, device="cuda"))
    assert LocalPool().workers_for([on_gpu, *runs]) == 1
    assert LocalPool(workers=3).workers_for([on_gpu, *runs]) == 3
