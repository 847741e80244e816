"""Cells run on this machine: in worker processes, or quicker, the same jobs in this one."""

import re
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import clbench
from clbench import machine
from clbench.errors import OptionError
from clbench.evaluation.jobs import run_jobs
from clbench.evaluation.pool import use_pool
from clbench.evaluation.session import load_data
from clbench.results import RunFolder
from clbench.sweeping.board import ELSEWHERE, FINISHED, Board
from clbench.sweeping.cells import read_sweep
from clbench.sweeping.estimate import amount_left
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import divided
from clbench.sweeping.local import Local
from clbench.sweeping.stacks import stacked
from tests.inline import InThisProcess
from tests.processes import ends, wait_until, worker_processes
from tests.sweeping.conftest import FAILING, STEPS, TINY, frame

GRID = {"agent": "agents.vanilla", "arguments": {"step_size": [1e-3, 1e-2]}}
SWEEP = {**TINY, "grid": [GRID]}


def snapshot(folder):
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name in ("run.json", "tasks.csv")
    }


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
        facts = RunFolder(whole.folder.parent / run).read_run()
        assert facts["spec"]["threads"] == 1
        assert facts["sweep"] == {"name": "tiny", "varied": ["arguments.step_size"], "stack": 1}


def test_a_cell_is_what_its_jobs_give_alone(whole):
    cell = next(one for one in whole.sweep.cells if one.label == "agents.vanilla step_size=0.01")
    (job,) = load_data(cell.plan)[0].jobs("")
    tasks = [message for _, message in run_jobs([job]) if message["kind"] == "task"]
    alone = {(one["seed"], one["task"]): one["accuracy"] for one in tasks}
    found = frame(whole.results).query("`arguments.step_size` == 0.01")
    assert dict(zip(zip(found["seed"], found["task"], strict=True), found["accuracy"], strict=True)) == alone


MANY = {
    **SWEEP,
    "grid": [
        {"agent": ["agents.vanilla", "agents.l2", "agents.reset"], "arguments": {"step_size": [1e-3, 1e-2]}}
    ],
}


@pytest.mark.usefixtures("small_networks")
def test_cells_in_a_stack_give_what_they_give_apart(tmp_path, inline):
    stacked = clbench.sweep(MANY, out=tmp_path / "stacked", workers=2)
    apart = clbench.sweep(MANY, out=tmp_path / "apart", workers=6)
    assert frame(stacked.results).equals(frame(apart.results))
    for result, size in ((stacked, 3), (apart, 1)):
        facts = [RunFolder(path.parent).read_run() for path in result.folder.glob("*/run.json")]
        assert [one["sweep"]["stack"] for one in facts] == [size] * 6


def test_stacks_are_of_one_stream_and_keep_all_workers_busy(monkeypatch):
    def sizes(sweep, workers):
        return [len(stack) for stack in stacked(read_sweep({**TINY, **sweep}).cells, workers)]

    steps = {"arguments": {"step_size": [0.1 / 2**n for n in range(10)]}}
    ten = {"agent": "agents.vanilla", **steps}
    assert sizes({"grid": [ten]}, 2) == [3, 3, 2, 2]  # of three networks each, at most nine in a stack
    assert sizes({"grid": [ten]}, 1) == [3, 3, 2, 2]
    assert sizes({"grid": [ten], "seeds": 1}, 2) == [5, 5]
    assert sizes({"grid": [ten], "seeds": 1}, 4) == [3, 3, 2, 2]
    assert sizes({"grid": [ten]}, 6) == [1] * 10
    assert (
        sizes({"grid": [{**ten, "env": ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]}]}, 2) == [3, 3, 2, 2] * 2
    )


@pytest.mark.usefixtures("small_networks")
def test_a_stack_that_was_broken_off_goes_on(tmp_path, inline):
    """Its cells have got equally far, but for one, which begins anew."""
    whole = clbench.sweep(MANY, out=tmp_path / "whole", workers=2)

    class Broken(InThisProcess):
        def messages(self):
            for count, found in enumerate(super().messages()):
                yield found
                if count == 12:
                    return

    with use_pool(Broken), pytest.raises(KeyboardInterrupt):
        clbench.sweep(MANY, out=tmp_path / "broken", workers=2)
    begun = sorted(path.parent for path in (tmp_path / "broken" / "tiny").glob("*/state"))
    assert len(begun) == 3
    left = amount_left(read_sweep(MANY).cells, SweepFolder(tmp_path / "broken" / "tiny"), 2, measure=False)
    assert left.begun == 3
    assert re.search(rf"\b{left.cells}\b.*\b3\b.*\b{left.steps}\b", str(left))
    shutil.rmtree(begun[0] / "state")
    again = clbench.sweep(MANY, out=tmp_path / "broken", workers=2)
    assert again.failures == {}
    assert frame(again.results).equals(frame(whole.results))


def test_a_second_call_runs_nothing_and_a_changed_file_what_is_new(whole, monkeypatch, inline):
    before = snapshot(whole.folder)
    again = clbench.sweep(SWEEP, out=whole.folder.parent)
    assert snapshot(whole.folder) == before
    assert frame(again.results).equals(frame(whole.results))
    more = {**SWEEP, "grid": [GRID, {"agent": "agents.l2", "num_tasks": 1}]}
    grown = clbench.sweep(more, out=whole.folder.parent)
    assert before.items() <= snapshot(whole.folder).items()
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


def test_a_failing_cell_stops_no_other_and_is_tried_again(tmp_path, inline):
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
    agent.write_text(FAILING + "\n# mended\n", encoding="utf-8")
    (tmp_path / "ready").touch()
    second = clbench.sweep(what, out=tmp_path)
    assert second.failures == {}
    assert set(second.results.runs["status"]) == {"complete"}
    assert not log.exists()


def test_a_cell_that_another_process_runs_is_left_to_it(tmp_path, inline):
    sweep = read_sweep({**TINY, "cell": [{"agent": "agents.vanilla"}]})
    folder = SweepFolder(tmp_path / "tiny")
    folder.keep(sweep)
    board = Board({cell.label: 1 for cell in sweep.cells}, [])
    with folder.make(sweep.cells[0]).in_use():
        Local()(sweep, sweep.cells, folder, board)
    assert list(board.states.values()) == [ELSEWHERE]
    Local()(sweep, sweep.cells, folder, board)
    assert list(board.states.values()) == [FINISHED]
    Local()(sweep, sweep.cells, folder, board)  # as if another process had been faster
    assert not list(tmp_path.glob("*/*/state"))


def test_a_cell_whose_holder_is_about_to_go_is_waited_for(tmp_path, inline):
    sweep = read_sweep({**TINY, "cell": [{"agent": "agents.vanilla"}]})
    folder = SweepFolder(tmp_path / "tiny")
    folder.keep(sweep)
    board = Board({cell.label: 1 for cell in sweep.cells}, [])
    held = folder.make(sweep.cells[0]).in_use()
    held.__enter__()
    threading.Timer(0.3, held.__exit__, (None, None, None)).start()
    Local(patience=60)(sweep, sweep.cells, folder, board)
    assert list(board.states.values()) == [FINISHED]


def test_a_changed_agent_is_refused_for_a_cell_that_has_got_somewhere(tmp_path, inline, capsys):
    agent = tmp_path / "mine.py"
    agent.write_text(
        FAILING.replace('"ready").exists()', '"ready").exists() and self.size'), encoding="utf-8"
    )
    (tmp_path / "ready").touch()
    what = {**TINY, "seeds": 1, "cell": [{"agent": str(agent)}]}
    done = clbench.sweep(what, out=tmp_path)
    agent.write_text(agent.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    clbench.sweep(what, out=tmp_path)
    assert re.search(r"mine\.py\b.*\b1\b", capsys.readouterr().err)  # how many of its cells ran other code
    (run,) = done.results.runs["run"]
    folder = RunFolder(tmp_path / run)
    folder.write_run({**folder.read_run(), "status": "failed"})
    folder.states(0).save(1, {"steps": 1})
    refused = clbench.sweep(what, out=tmp_path)
    (why,) = refused.failures.values()
    assert "mine.py" in why
    assert "--accept-changes" in why


def test_interrupted_and_finished_by_a_second_call(tmp_path, launch, monkeypatch, inline):
    longer = {**TINY, "num_tasks": 10, "epochs_per_task": 4, "num_samples": 500, "seeds": 1}
    lines = [f"{key} = {value!r}" for key, value in longer.items()]
    (tmp_path / "tiny.toml").write_text(
        "\n".join([*lines, '[[cell]]\nagent = "agents.vanilla"\n']), encoding="utf-8"
    )
    process = launch("clbench.sweep", "tiny.toml", "--out", "cut", "--quiet", cwd=tmp_path)
    wait_until(
        lambda: any(
            len(path.read_text(encoding="utf-8").splitlines()) > 1
            for path in tmp_path.glob("cut/tiny/*/tasks.csv")
        ),
        process=process,
    )
    workers = worker_processes(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].endswith(" python -m clbench.sweep tiny.toml --out cut --quiet")
    assert workers
    assert all(ends(pid) for pid in workers)
    (begun,) = clbench.load_results(tmp_path / "cut").runs.to_dict("records")
    assert begun["status"] == "interrupted"
    monkeypatch.chdir(tmp_path)
    gone_on = clbench.sweep("tiny.toml", out="cut").results
    assert "resumed" in RunFolder(Path(begun["run"])).read_run()
    assert (tmp_path / "cut" / "tiny" / "sweep.toml").read_text(encoding="utf-8") == (
        tmp_path / "tiny.toml"
    ).read_text(encoding="utf-8")
    whole = clbench.sweep("tiny.toml", out="whole").results
    assert gone_on.tasks["accuracy"].tolist() == whole.tasks["accuracy"].tolist()
    assert len(whole.tasks) == 10


def test_never_more_processes_than_cores_of_one_thread_each(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    cells = read_sweep({**TINY, "grid": [STEPS], "cell": [{"agent": "agents.l2", "seeds": 2}]}).cells
    assert Local().workers_for(cells) == 4
    for few in (1, 2, 5):
        found = divided(cells[:few], 4)
        assert {cell.plan.division.threads for cell in found} == {1}
        assert all(cell.plan.division.workers <= 4 for cell in found)
        assert sum(len(cell.plan.jobs("")) for cell in found) >= min(4, 3 * few)
    plan = cells[0].plan
    elsewhere = replace(cells[0], plan=replace(plan, spec=replace(plan.spec, device="cuda")))
    assert Local().workers_for([elsewhere, *cells]) == 1
    assert Local(3).workers_for([elsewhere, *cells]) == 3
