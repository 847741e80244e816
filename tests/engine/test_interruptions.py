"""Runs that are killed, interrupted, or stopped by a full disk."""

import errno
import functools
import json
import os
import re
import resource
import shlex
import signal
from pathlib import Path

import pytest

import clbench
from agents.perlayer import Agent as PerLayer
from clbench.api import carry_out
from clbench.commands.main import main_of
from clbench.engine.interrupting import SIGNALS, interruptible
from clbench.engine.pool import Pool, use_pool
from clbench.engine.requests import Request
from clbench.errors import AgentError, InUseError, ResumeError, WriteError
from clbench.files import MAIN
from clbench.jsondata import to_json
from clbench.results import RunFolder
from clbench.specs import StreamSpec
from tests.cases import SHORT
from tests.engine.agents import DROPOUT
from tests.engine.jobs import job
from tests.inline import in_this_process
from tests.processes import ends, reset_sigint, run_python, wait_until, worker_processes
from tests.runs import manifest_in

STREAM = StreamSpec("RandomLabelMNIST-v0", num_tasks=12, epochs_per_task=4, num_samples=600, batch_size=100)
TINY = {**SHORT, "seeds": 1, "device": "cpu"}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def dropout(tmp_path):
    path = tmp_path / "dropout.py"
    path.write_text(DROPOUT, encoding="utf-8")
    return path


@pytest.mark.stress
@pytest.mark.parametrize("kind", ["vectorised", "plain"])
def test_killed_many_times_at_random_moments(kind, dropout, tmp_path, stress_seed):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    shared = {
        "stream": STREAM,
        "measure": ("gradient_noise", "critical_step_sizes"),
        "every": 7,
        "checkpoints": str(checkpoints),
    }
    if kind == "vectorised":
        killed = job("agents.perlayer", seeds=(0, 3), arguments={"every": 5}, vectorized=True, **shared)
    else:
        killed = job(str(dropout), seeds=(3,), vectorized=False, **shared)
    (tmp_path / "job.json").write_text(json.dumps(to_json(killed)), encoding="utf-8")
    done = run_python("-m", "tests.killing", str(tmp_path / "job.json"), str(stress_seed), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["same"]
    assert outcome["count"] > 100
    assert outcome["kills"] >= 3
    assert outcome["files"] <= 2


def test_a_whole_evaluation_killed_interrupted_and_resumed(dropout, launch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = ("agents.perlayer", "dropout.py")
    flags = [
        *names, "--set", "step_size=2e-3", "--tasks", "30", "--epochs", "3",
        "--images", "600", "--batch-size", "100", "--seeds", "1", "--device", "cpu",
    ]  # fmt: skip
    with in_this_process():
        assert main_of("evaluate", [*flags, "--out", "whole"]) == 0
    group = Path("cut") / "RandomLabelMNIST-v0-quick-1"
    tables = [tmp_path / group / name / "tasks.csv" for name in names]

    def rows():
        """The rows of the shorter table."""
        texts = [path.read_text(encoding="utf-8") if path.exists() else "" for path in tables]
        return min(len(text.splitlines()) for text in texts)

    command, said = ["clbench.evaluate", *flags, "--out", "cut"], ""
    for number in (signal.SIGKILL, signal.SIGINT):
        process, before = launch(*command, cwd=tmp_path), rows()
        wait_until(lambda before=before: rows() > before + 2, process=process)
        workers = worker_processes(process.pid)
        assert workers
        capsys.readouterr()
        assert main_of("resume", [str(group)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert f"'{group}" in line
        with pytest.raises(InUseError, match=f"'{re.escape(str(group))}"):
            clbench.resume(group)
        process.send_signal(number)
        _, said = process.communicate(timeout=180)
        assert process.returncode == (130 if number == signal.SIGINT else -9)
        assert all(ends(pid) for pid in workers)
        command = ["clbench.evaluate", "--resume", str(group)]
    assert f"clbench resume {group}" in said.splitlines()[-1]
    with in_this_process():
        assert main_of("resume", [str(group)]) == 0
    out, err = capsys.readouterr()
    (line,) = err.splitlines()  # and none of a seed that starts over
    assert "critical_step_sizes" in line
    assert re.search(r"^agents\.perlayer +done\b", out, re.MULTILINE)

    cut, whole = tmp_path / group, tmp_path / "whole" / group.name
    assert files_below(cut) == files_below(whole)
    for name in names:
        indicators = [(folder / name / "indicators.csv").read_bytes() for folder in (cut, whole)]
        assert indicators[0] == indicators[1]
        tasks = [(folder / name / "tasks.csv").read_text(encoding="utf-8") for folder in (cut, whole)]
        assert without_seconds(tasks[0]) == without_seconds(tasks[1])
        manifest = manifest_in(cut / name)
        assert manifest.status == "complete"
        assert len(manifest.resumed) == 2
        assert manifest.timing.steps_per_second > 0


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def without_seconds(text):
    return [line.rpartition(",")[0] for line in text.splitlines()]


@pytest.mark.parametrize("agents", ["agents.vanilla", ["agents.vanilla", "agents.l2"]])
@pytest.mark.process
def test_what_was_killed_while_it_drew_only_draws(tmp_path, monkeypatch, agents):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, in_this_process():
        patch.setattr("clbench.engine.session.curves", killed)
        with pytest.raises(KeyboardInterrupt, match=r"clbench resume \S*RandomLabelMNIST"):
            clbench.evaluate(agents, **TINY, out=tmp_path)
    (folder,) = tmp_path.iterdir()
    if isinstance(agents, str):
        assert manifest_in(folder).status == "interrupted"
    tables = {path: path.read_bytes() for path in folder.rglob("tasks.csv")}
    with use_pool(functools.partial(Pool, start=killed)):  # no worker is needed
        clbench.resume(folder)
    assert {path: path.read_bytes() for path in folder.rglob("tasks.csv")} == tables
    assert {run.status for run in clbench.load_results(folder).runs.itertuples()} == {"complete"}
    assert (folder / "curves.png").exists()
    assert (folder / "scores.csv").exists()
    assert not list(folder.rglob("state"))
    with pytest.raises(ResumeError, match=re.escape(f"'{folder}'")):
        clbench.resume(folder)


def test_what_was_interrupted_before_it_started_has_no_advice_to_resume_it(tmp_path, inline, monkeypatch):
    def interrupted(runs):
        raise KeyboardInterrupt

    monkeypatch.setattr("clbench.api.progress_display", lambda shown: interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        carry_out(
            Request(agents="agents.vanilla", seeds=1, overrides=SHORT, device="cpu"), tmp_path, shown=False
        )
    assert caught.value.args == ()


class InNoModule(PerLayer):
    pass


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("main", MAIN)
def test_classes_that_only_this_process_has(tmp_path, monkeypatch, inline, main):
    expected = clbench.evaluate("agents.perlayer", **{**TINY, "seeds": 2}, out=tmp_path / "whole")
    monkeypatch.setattr(InNoModule, "__module__", main)
    monkeypatch.setattr(InNoModule, "learn", disturbed(PerLayer.learn, {8: "error", 11: "signal"}))
    with pytest.raises(AgentError, match=r"InNoModule.*RuntimeError: not today"):
        clbench.evaluate(InNoModule, **{**TINY, "seeds": 2}, out=tmp_path / "cut")
    (folder,) = (tmp_path / "cut").iterdir()
    with pytest.raises(ResumeError, match=r"InNoModule.*clbench\.resume\(.*agents="):
        clbench.resume(folder)
    with pytest.raises(KeyboardInterrupt, match=re.escape(f"resume {shlex.quote(str(folder))}")):
        clbench.resume(folder, agents=[InNoModule])
    _, checkpoint = RunFolder(folder).checkpoints(0).newest()
    assert checkpoint["steps"] % 6  # saved after the step in progress, in the middle of a task
    evaluation = clbench.resume(folder, agents=[InNoModule])
    assert evaluation.tasks["accuracy"].tolist() == expected.tasks["accuracy"].tolist()


def disturbed(learn, calls):
    """`learn`, but at those calls, counted over all agents, it fails or the process is sent SIGTERM."""
    count = iter(range(10**9))

    def wrapped(self, targets):
        happens = calls.get(next(count))
        if happens == "error":
            raise RuntimeError("not today")
        if happens == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self, targets)

    return wrapped


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_to_stop_and_the_second_stops_at_once(number):
    asked, before = [], {each: signal.getsignal(each) for each in SIGNALS}
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for background jobs
        with interruptible(lambda: asked.append(True)) as interruption:
            os.kill(os.getpid(), number)
            assert (asked, interruption.signal) == ([True], number)
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                os.kill(os.getpid(), number)
                signal.pause()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert asked == [True]


def test_ignored_signals_stay_ignored():
    """As with `nohup`."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interruptible() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal is None
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.process
def test_a_full_disk_ends_the_run_and_keeps_what_was_finished(tmp_path):
    """Files may not grow over 17 MiB: tables and the embedded images fit, six networks' states do not."""
    flags = ["agents.vanilla", "--tasks", "3", "--epochs", "2", "--images", "300", "--batch-size", "100"]

    def limit():
        reset_sigint()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (17 << 20, 17 << 20))

    more = ["--device", "cpu", "--seeds", "5,4,3,2,1,0", "--workers", "1"]
    done = run_python("-m", "clbench.evaluate", *flags, *more, cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 1, done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert ".state'" in error
    assert os.strerror(errno.EFBIG) in error
    assert re.search(r"(?<!/)results/RandomLabelMNIST-v0-quick-1", error)  # where finished tasks are kept
    folder = tmp_path / "results" / "RandomLabelMNIST-v0-quick-1"
    assert len(RunFolder(folder).read_tasks()) == 6
    assert not list(folder.rglob("*.partial"))
    assert manifest_in(folder).status == "failed"


def test_a_folder_that_can_no_longer_be_written(tmp_path, monkeypatch, inline):
    """After the first task no file can be replaced; the tables of before are whole."""
    replace, calls = os.replace, []

    def read_only(source, target):
        calls.append(Path(target).name)
        if calls.count("tasks.csv") > 2:
            raise OSError(30, "Read-only file system")
        replace(source, target)

    monkeypatch.setattr("clbench.results.files.os.replace", read_only)
    with pytest.raises(WriteError, match=r"/tasks\.csv'.*Read-only file system"):
        clbench.evaluate("agents.vanilla", **TINY, out=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert [record.task for record in RunFolder(folder).read_tasks()] == [0]
    assert not list(folder.glob("*.partial"))  # a worker ended while it saves a checkpoint may leave one
    monkeypatch.undo()
    assert len(clbench.resume(folder).tasks) == 2
