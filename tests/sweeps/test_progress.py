"""How several runs get on: counted, and shown as a live table or plain lines."""

import io
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from clbench import records
from clbench.config import AgentConfig, RunConfig
from clbench.engine import progress as module
from clbench.engine.events import Started
from clbench.engine.job import Job
from clbench.engine.manifests import Earlier
from clbench.engine.monitor import RunMonitor
from clbench.engine.progress import Progress, RunFailure, RunProgress
from clbench.engine.run import Run
from clbench.report import views
from clbench.report.views import FEW, ROWS, LiveProgress, PlainProgress, progress_display
from clbench.specs import StreamSpec

STREAM = StreamSpec("RandomLabelMNIST-v0", num_tasks=2, epochs_per_task=5, num_samples=100, batch_size=50)
CONFIG = RunConfig(agent=AgentConfig(name="a"), stream=STREAM, protocol="quick", seeds=(0, 1))
JOB = Job(config=CONFIG, reference="a", vectorized=True)  # 2 seeds x 20 steps


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def waiting(*labels):
    return [RunProgress(label, total=40) for label in labels]


def three():
    """Three runs, the last one complete."""
    return [*waiting("one", "two"), RunProgress("three", total=40, state="done", steps=40)]


def running(label, steps=10, **changes):
    run = RunProgress(label, total=40, state="running", steps=2 * steps, task=1, num_tasks=2, accuracy=0.25)
    return replace(run, **changes)


def test_counts_rate_and_time_left(clock):
    progress = Progress(three())
    run = Run(config=CONFIG, agent=object, label="one", env="A-v0")
    monitor = RunMonitor(run, [JOB], MagicMock(), MagicMock(), progress, {0: Earlier((), 5, "")})
    monitor.show()
    assert progress.seconds_left is None
    clock[0] += 2
    monitor.take(0, Started())
    monitor.take(0, records.Progress(task=1, steps=10, accuracy=0.25))
    run = progress.runs["one"]
    assert (run.state, run.steps, run.task, run.num_tasks, run.accuracy) == ("running", 20, 1, 2, 0.25)
    assert (run.seconds, run.steps_per_second, run.seconds_left) == (0, 0, None)  # since it started
    # 2 seeds x 5 steps in 2 s; those of an earlier session do not count.
    assert progress.steps_per_second == 5
    assert progress.seconds_left == (20 + 40) / 5
    assert progress.summary.split(" · ")[:5] == ["1 done", "1 running", "1 waiting", "0 failed", "5 steps/s"]
    assert "0:00:12" in progress.summary
    clock[0] += 2
    monitor.take(0, records.Progress(task=1, steps=15, accuracy=0.25))
    run = progress.runs["one"]
    assert (run.seconds, run.steps_per_second, run.seconds_left) == (2, 10, 1)
    progress.set_state("one", "waiting")  # its worker was lost
    assert progress.summary.split(" · ")[:3] == ["1 done", "2 waiting", "0 failed"]
    monitor.show()
    progress.set_state("one", "done")
    progress.fail("two", "why", "trace")
    assert progress.failures == {"two": RunFailure("why", "trace")}
    assert progress.summary.split(" · ")[:3] == ["2 done", "1 failed", "5 steps/s"]
    assert "0:00:00" in progress.summary


def test_few_runs_have_a_line_for_each_task_and_at_the_end(capsys):
    display = PlainProgress(three())
    display.update(running("one"))
    assert capsys.readouterr().out == ""
    display.update(running("one", 15, tasks_finished=1, last_accuracy=0.5, steps_per_second=10.0))
    display.update(running("one", 16, tasks_finished=1, last_accuracy=0.5))
    assert capsys.readouterr().out.split() == [
        "one", "task", "1/2", "accuracy", "0.50", "10", "steps/s", "0:00:01", "left",
    ]  # fmt: skip
    display.output("one", "hello")
    display.note("mind")
    assert capsys.readouterr().err == "one: hello\nnote: mind\n"
    display.fail("one", "why")
    display.set_state("two", "running elsewhere")
    assert capsys.readouterr().out.splitlines() == ["one  failed", "two  running elsewhere"]


def test_many_runs_have_a_line_at_the_end_with_the_counts(clock, capsys):
    display = PlainProgress(waiting(*map(str, range(FEW + 1))))
    clock[0] += 1
    display.update(running("0", 15, tasks_finished=1))
    assert capsys.readouterr().out == ""
    display.fail("0", "why")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["0", "failed"]
    assert f"0 done · {FEW} waiting · 1 failed" in line
    assert display.summary in line


@pytest.fixture
def screen(monkeypatch):
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=True, highlight=False)
    monkeypatch.setattr(views, "make_console", lambda: console)
    return text


def test_a_live_table_of_all_runs_if_they_are_few(screen):
    display = progress_display(shown=True)(three())
    assert isinstance(display, LiveProgress)
    display.update(running("one"))
    display.output("one", "hello")
    display.note("mind")
    display.close()
    for text in ("one: hello", "note: mind", "2/2", "0.25", "1 done · 1 running · 1 waiting · 0 failed"):
        assert text in screen.getvalue()


def test_a_live_table_of_running_runs_if_they_are_many(screen):
    many = [str(number) for number in range(ROWS + 11)]
    display = LiveProgress(waiting(*many))
    for label in many[1:]:
        display.update(running(label))
    display.close()
    assert "10 more" in screen.getvalue()


def test_what_shows_progress(capsys):
    assert progress_display(shown=True) is PlainProgress  # not on a terminal
    assert progress_display(shown=False) is Progress
