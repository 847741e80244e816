"""How a sweep gets on, counted and shown."""

import io

import pytest
from rich.console import Console

from clbench.evaluation.jobs import Job
from clbench.evaluation.progress import Tally
from clbench.specs import AgentEntry, StreamSpec
from clbench.sweeping import board as module
from clbench.sweeping.board import (
    FAILED,
    FINISHED,
    RUNNING,
    WAITING,
    Board,
    LineBoard,
    LiveBoard,
    Standing,
)

STREAM = StreamSpec("RandomLabelMNIST-v0", num_tasks=2, epochs_per_task=5, num_samples=100, batch_size=50)
JOB = Job(AgentEntry("a"), True, (0, 1), STREAM, "cpu", 1)  # 2 seeds x 20 steps
SIZES = {"one": 40, "two": 40, "three": 40}


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def standing(steps, before=0):
    own = Tally("a", [JOB])
    own.begin_with(0, JOB, before, done=False)
    if steps > before:
        own.take(0, JOB, {"kind": "started"})
        own.take(0, JOB, {"kind": "glimpse", "steps": steps, "task": 1, "accuracy": 0.25})
    return Standing.of(own)


def test_counts_rate_and_time_left(clock):
    board = Board(SIZES, ["three"])
    board.update("one", standing(5, before=5))
    assert board.seconds_left is None
    clock[0] += 2
    board.update("one", standing(10, before=5))
    assert board.steps_per_second == 5  # 2 seeds x 5 steps in 2 s; those of an earlier session do not count
    assert board.seconds_left == (20 + 40) / 5
    counts = [f"1 {FINISHED}", f"1 {RUNNING}", f"1 {WAITING}", f"0 {FAILED}"]
    assert board.summary.split(" · ")[:5] == [*counts, "5 steps/s"]
    assert "0:00:12" in board.summary
    board.wait("one")  # its worker was lost
    assert board.summary.split(" · ")[:3] == [f"1 {FINISHED}", f"2 {WAITING}", f"0 {FAILED}"]
    board.update("one", standing(10, before=5))
    board.end("one", FINISHED)
    board.end("two", FAILED, "why")
    assert board.failures == {"two": "why"}
    assert board.summary.split(" · ")[:3] == [f"2 {FINISHED}", f"1 {FAILED}", "5 steps/s"]
    assert "0:00:00" in board.summary


def test_a_line_for_each_cell_that_ends(clock, capsys):
    board = LineBoard(SIZES, [])
    clock[0] += 1
    board.update("one", standing(10))
    board.output("one", "hello")
    board.note("mind")
    assert capsys.readouterr().err == "one: hello\nnote: mind\n"
    board.end("one", FAILED, "why")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["one", FAILED]
    assert f"0 {FINISHED} · 2 {WAITING} · 1 {FAILED}" in line
    assert board.summary in line


def test_a_live_table_of_running_cells(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        module, "make_console", lambda: Console(file=screen, width=120, force_terminal=True, highlight=False)
    )
    board = LiveBoard(SIZES, ["three"])
    board.update("one", standing(10))
    board.output("one", "hello")
    board.note("mind")
    board.close()
    shown = screen.getvalue()
    assert "one: hello" in shown
    assert "note: mind" in shown
    assert "2/2" in shown
    assert "0.25" in shown
    assert f"1 {FINISHED} · 1 {RUNNING} · 1 {WAITING} · 0 {FAILED}" in shown
    many = {str(number): 40 for number in range(30)}
    board = LiveBoard(many, [])
    for label in many:
        board.update(label, standing(10))
    board.close()
    assert "10 more" in screen.getvalue()
