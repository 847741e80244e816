"""How runs get on: what a monitor counts, and what the views show."""

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from clbench.engine.events import Failed, Finished, Started
from clbench.engine.monitor import RunMonitor
from clbench.engine.parallelism import Parallelism
from clbench.engine.progress import Progress, RunProgress, clock
from clbench.engine.run import Run
from clbench.records import Progress as JobProgress
from clbench.records import TaskRecord
from clbench.report.views import FEW, PATIENCE, LiveProgress, PlainProgress
from clbench.results import RunFolder, RunManifest
from clbench.specs import StreamSpec
from clbench.tracking import Trackers
from tests.engine.jobs import job

STREAM = StreamSpec("A-v0", num_tasks=4, epochs_per_task=5, num_samples=2_560)  # 50 steps per task


def monitor(folder, show=Progress, shards=((0, 1), (2,))):
    """The monitor of a run of some seeds, and what shows its progress."""
    jobs = [job("my_agent", seeds=seeds, stream=STREAM) for seeds in shards]
    manifest = RunManifest(status="running", config=jobs[0].config)
    progress = show([])
    run = RunFolder(folder)
    trackers = Trackers((), run, manifest, pytest.fail)
    watched = Run(
        config=jobs[0].config, agent=object, label="my_agent", env="A-v0", parallelism=Parallelism(workers=2)
    )
    return RunMonitor(watched, jobs, run, trackers, progress, {}), progress


def finished(seed, accuracy, task=0):
    return TaskRecord("my_agent", seed, task, 50, accuracy, accuracy, 0.1, 1.0)


def test_a_monitor_counts_steps_of_all_seeds(tmp_path):
    watch, _ = monitor(tmp_path)
    run = watch.snapshot()
    assert run.total == 3 * 50 * 4
    assert (run.state, run.seconds_left) == ("waiting", None)
    for index in (0, 1):
        watch.take(index, Started())
    watch.take(0, JobProgress(0, 20, 0.25))
    run = watch.snapshot()
    assert (run.steps, run.task, run.state, run.accuracy) == (40, 0, "running", 0.25)
    watch.take(1, finished(2, 0.75))
    run = watch.snapshot()
    assert run.steps == 90
    assert run.accuracy == pytest.approx(0.5)  # the mean over jobs
    for seed, accuracy in ((0, 0.25), (1, 0.5)):
        watch.take(0, finished(seed, accuracy))
    run = watch.snapshot()
    assert run.accuracy == pytest.approx(0.5)  # the mean over seeds
    assert run.tasks_finished == 1
    assert run.last_accuracy == pytest.approx(0.5)
    time.sleep(0.01)
    watch.take(0, JobProgress(1, 75, 0.5))
    run = watch.snapshot()
    assert run.steps == 200
    assert run.task == 0
    assert run.seconds_left == pytest.approx(400 / run.steps_per_second)


def test_records_of_jobs_may_come_in_any_order(tmp_path):
    watch, _ = monitor(tmp_path, shards=((0, 1), (2, 3)))
    for index, seed, accuracy in ((0, 0, 0.2), (1, 2, 0.6), (0, 1, 0.4), (1, 3, 0.8)):
        watch.take(index, finished(seed, accuracy))
    assert watch.snapshot().accuracy == pytest.approx(0.5)
    assert [record.seed for record in RunFolder(tmp_path).read_tasks()] == [0, 1, 2, 3]


def test_one_failed_job_fails_the_run(tmp_path):
    watch, _ = monitor(tmp_path)
    watch.take(0, Started())
    watch.take(0, Failed("out of ideas"))
    watch.take(1, Started())
    watch.take(1, Finished())
    assert watch.snapshot().state == "failed"


@pytest.mark.parametrize("view", [PlainProgress, LiveProgress])
def test_views_show_task_accuracy_rate_and_time(view, tmp_path, monkeypatch, capsys):
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=True, highlight=False, markup=False)
    monkeypatch.setattr("clbench.report.views.make_console", lambda: console)
    watch, _ = monitor(tmp_path, shards=((0,),))
    progress = view([watch.snapshot()])
    watch._progress = progress
    watch.show()
    watch.take(0, Started())
    time.sleep(0.01)
    watch.take(0, finished(0, 0.25))
    progress.output("my_agent", "a line [with] brackets")
    progress.note("a note [with] brackets")
    progress.set_state("my_agent", "done")
    progress.close()
    printed = capsys.readouterr()
    shown = printed.out if view is PlainProgress else text.getvalue()
    for part in ("my_agent", "accuracy", "0.25", "steps/s", "done"):
        assert part in shown
    said = printed.err if view is PlainProgress else shown
    assert "my_agent: a line [with] brackets" in said
    assert "note: a note [with] brackets" in said


def test_clock():
    assert clock(3_725) == "1:02:05"


@pytest.fixture
def seconds(monkeypatch):
    """A clock that stands still."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_the_time_left_counts_seeds_that_wait_for_a_worker(tmp_path, seconds):
    """Three seeds on two workers, 200 steps each, 20 steps a second: the third takes as long again, alone."""
    watch, _ = monitor(tmp_path, shards=((0,), (1,), (2,)))
    for index in (0, 1):
        watch.take(index, Started())
    for index in (0, 1):
        seconds[0] += 2.5
        watch.take(index, JobProgress(1, 100, 0.5))
    assert watch.snapshot().seconds_left == pytest.approx(5 + 10)
    seconds[0] += 5
    for index in (0, 1):
        watch.take(index, JobProgress(3, 200, 0.5))
        watch.take(index, Finished())
    watch.take(2, Started())
    assert watch.snapshot().seconds_left == pytest.approx(10)
    seconds[0] += 5
    watch.take(2, JobProgress(2, 100, 0.5))
    assert watch.snapshot().seconds_left == pytest.approx(5)


def test_plain_progress_does_not_wait_for_seeds_that_wait(tmp_path, seconds, capsys):
    watch, _ = monitor(tmp_path, shards=((0,), (1,), (2,)))
    watch._progress = PlainProgress([watch.snapshot()])
    watch.show()
    for index in (0, 1):
        watch.take(index, Started())
    for index in (0, 1):
        seconds[0] += 1
        watch.take(index, finished(index, 0.25))
    assert capsys.readouterr().out == ""
    watch.take(0, JobProgress(1, 100, 0.25))
    assert capsys.readouterr().out.split()[:5] == ["my_agent", "25", "%", "accuracy", "0.25"]
    watch.take(0, JobProgress(1, 101, 0.25))
    assert capsys.readouterr().out == ""
    seconds[0] += PATIENCE
    watch.take(0, JobProgress(1, 102, 0.25))
    assert capsys.readouterr().out.split()[0] == "my_agent"


def test_many_runs_have_totals_now_and_then(seconds, capsys):
    runs = [RunProgress(label=str(number), total=40) for number in range(FEW + 1)]
    progress = PlainProgress(runs)
    progress.update(replace(runs[0], state="running", steps=1))
    assert capsys.readouterr().out == ""
    seconds[0] += PATIENCE
    progress.update(replace(runs[0], state="running", steps=2))
    assert capsys.readouterr().out.splitlines() == [progress.summary]


def test_the_last_line_has_the_average_and_the_last_task(tmp_path, capsys):
    watch, _ = monitor(tmp_path, shards=((0,),))
    watch._progress = PlainProgress([watch.snapshot()])
    watch.take(0, Started())
    for task, accuracy in enumerate((0.75, 0.5, 0.25, 0.125)):
        watch.take(0, finished(0, accuracy, task))
    watch._progress.set_state("my_agent", "done")
    last = capsys.readouterr().out.splitlines()[-1]
    assert "average accuracy 0.406" in last
    assert "last task 0.125" in last
