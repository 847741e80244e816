"""Worker processes: what ends them, and what happens when they die."""

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import clbench
from clbench.api import carry_out
from clbench.engine.events import Failed, Finished, Note, Output, Started
from clbench.engine.pool import Pool, _Exited, use_pool
from clbench.engine.progress import Progress
from clbench.engine.requests import Request
from clbench.records import Progress as JobProgress
from tests.engine.agents import PLAIN
from tests.engine.jobs import FAILS, STREAM, events_by_job, job, lockstep, of_kind, one_by_one, without_starts
from tests.inline import InThisProcess
from tests.processes import ends, run_python, worker_processes
from tests.runs import manifest_in

pytestmark = pytest.mark.process


@pytest.mark.usefixtures("forked_workers")
def test_a_job_that_ends_its_process_does_not_take_the_others_with_it(tmp_path):
    (tmp_path / "exits.py").write_text(
        FAILS.replace('raise RuntimeError("out of ideas")', "import os; os._exit(3)"), encoding="utf-8"
    )
    jobs = lockstep(tmp_path / "a", ["agents.vanilla", str(tmp_path / "exits.py")])
    with contextlib.closing(Pool([dict(enumerate(jobs))], workers=1)) as pool:
        events = list(pool.events())
    notes = of_kind(events, Note)
    assert len(notes) == 2
    for note, each in zip(notes, jobs, strict=True):
        assert each.config.agent.name in note.text
        assert "exit code 3" in note.text
    by_job = events_by_job(events, without=(JobProgress, Note, Output, Started))
    alone = one_by_one(lockstep(tmp_path / "b", ["agents.vanilla"]))[0]
    assert list(dict.fromkeys(by_job[0])) == without_starts(alone)  # what was saved comes again
    for part in ("exits.py", "seeds 2, 5", "exit code 3"):
        assert part in by_job[1][-1].error


@pytest.mark.usefixtures("forked_workers")
def test_the_tests_stand_in_for_a_pool_gives_the_same_events(tmp_path):
    """In lockstep, and alone after one has failed."""
    path = tmp_path / "fails.py"
    path.write_text(FAILS, encoding="utf-8")
    events = []
    for kind in (Pool, InThisProcess):
        jobs = lockstep(tmp_path / kind.__name__, ["agents.perlayer", str(path), "agents.l2"])
        with contextlib.closing(kind([dict(zip((3, 5, 8), jobs, strict=True))], workers=1)) as pool:
            events.append(events_by_job(pool.events()))
    last = {index: type(of_job[-1]) for index, of_job in events[0].items()}
    assert last == {3: Finished, 5: Failed, 8: Finished}
    assert events[0] == events[1]


def test_closing_ends_all_processes(tmp_path, spawned_workers):
    (tmp_path / "mine.py").write_text(PLAIN, encoding="utf-8")
    clbench.load_images().save(tmp_path)
    stream = replace(STREAM, num_samples=5_000, epochs_per_task=40)
    jobs = [
        job(str(tmp_path / "mine.py"), seeds=(seed,), stream=stream, data=str(tmp_path)) for seed in (0, 1)
    ]
    with contextlib.closing(Pool(({index: each} for index, each in enumerate(jobs)), workers=2)) as pool:
        events = pool.events()
        while not isinstance(next(events)[1], JobProgress):
            pass
        assert len(worker_processes(os.getpid())) == 2
    assert not worker_processes(os.getpid())


def test_an_exception_ends_all_workers(tmp_path, spawned_workers, monkeypatch):
    class Failing(Progress):
        def update(self, run):
            if run.state == "running":
                raise RuntimeError("no display")

    monkeypatch.setattr("clbench.api.progress_display", lambda shown: Failing)
    request = Request(agents="agents.vanilla", seeds=1, device="cpu")
    with pytest.raises(RuntimeError, match="no display") as kept:
        carry_out(request, tmp_path, shown=False)
    assert kept.tb is not None
    assert not worker_processes(os.getpid())
    assert manifest_in(next(tmp_path.iterdir())).status == "failed"


@pytest.mark.parametrize("last", [Finished(), Failed("out of ideas")])
def test_what_a_job_printed_may_arrive_after_its_end(last, tmp_path, capsys):
    """Standard error is read by a thread of its own, and may be late."""

    class Late(InThisProcess):
        def events(self):
            for batch in self._batches:
                yield from ((number, event) for number in batch for event in (last, Output("hello")))

    request = Request(agents=["agents.vanilla", "agents.l2"], seeds=1, device="cpu")
    with use_pool(Late):
        carry_out(request, tmp_path, shown=False)
    statuses = [manifest_in(path.parent).status for path in tmp_path.rglob("run.json")]
    assert statuses == ["complete" if isinstance(last, Finished) else "failed"] * 2
    assert capsys.readouterr().err.count("hello") == 2


def test_a_worker_that_is_just_ending_is_asked_to_stop(start_python):
    pool = Pool([], workers=1)
    ended = start_python("-c", "", stdin=subprocess.PIPE)
    ended.communicate()
    pool._running[0] = ended
    pool.stop()
    pool._inbox.put(_Exited(0, {}))
    assert list(pool.events()) == []


def test_workers_look_for_modules_where_their_parent_does(tmp_path, monkeypatch):
    """Also in a folder with a colon in its name; what is no text, such as a `Path`, Python passes over."""
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "agent_of_mine.py").write_text(PLAIN, encoding="utf-8")
    monkeypatch.setattr("sys.path", [str(folder), tmp_path, *sys.path])
    with contextlib.closing(Pool([{0: job("agent_of_mine")}], workers=1)) as pool:
        events = list(pool.events())
    assert of_kind(events, Finished)
    assert not of_kind(events, Failed)


def test_what_an_agent_starts_ends_with_its_worker(tmp_path):
    (tmp_path / "starts.py").write_text(
        PLAIN.replace(
            'print("hello',
            "from subprocess import Popen\n"
            '        self.child = Popen(["sleep", "600"])\n'
            '        print("child", self.child.pid, "',
        ),
        encoding="utf-8",
    )
    flags = ["starts.py", "--tasks", "1", "--epochs", "1", "--seeds", "1"]
    done = run_python("-m", "clbench.evaluate", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ends(int(re.search(r"child (\d+)", done.stdout + done.stderr)[1]))
