"""Runs that are broken off and gone on with."""

import errno
import functools
import itertools
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clbench
from agents.perlayer import Agent as PerLayer
from agents.reset import Agent as Reset
from clbench.errors import AgentError, DataError, InUseError, ResumeError, StateError, WriteError
from clbench.evaluation.api import carry_out
from clbench.evaluation.cli import main
from clbench.evaluation.jobs import Job, can_resume
from clbench.evaluation.plan import make_plan
from clbench.evaluation.pool import Pool, use_pool
from clbench.evaluation.progress import Silent
from clbench.observing import DEFINITIONS, Observer
from clbench.records import Checkpoint, Progress, TaskRecord
from clbench.results import RunFolder, States
from clbench.specs import AgentEntry, StreamSpec, plain
from clbench.state import from_bytes, to_bytes
from tests.cases import SHORT, short_env, short_vec
from tests.inline import in_this_process
from tests.loops import Run
from tests.processes import ends, heed_interrupts, wait_until, worker_processes

STREAM = StreamSpec("RandomLabelMNIST-v0", num_tasks=12, epochs_per_task=4, num_samples=600, batch_size=100)
MEASURED = ("gradient_noise", "dormant_units", "critical_step_sizes")
DROPOUT = '''
import torch
from torch import nn
from clbench import PerLayerScheduler


class Agent:
    """Draws from the process's own generators, too; shows its network."""

    def __init__(self, spec, seed, step_size=1e-3):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=step_size)
        self.scheduler = PerLayerScheduler(self.model, self.optimizer, every=5)

    def act(self, obs):
        self.inputs = torch.as_tensor(obs)
        self.logits = self.model(self.inputs)
        return self.logits

    def learn(self, targets):
        targets = torch.as_tensor(targets)
        loss = nn.functional.cross_entropy(self.logits, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.scheduler.step(nn.functional.cross_entropy, self.inputs, targets)
        self.optimizer.step()
        return loss

    def state_dict(self):
        return {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "scheduler")}

    def load_state_dict(self, state):
        for name, own in state.items():
            getattr(self, name).load_state_dict(own)
'''
FORGETFUL = """
class Agent:
    def __init__(self, spec, seed):
        self.size = spec.batch_size

    def act(self, obs):
        import numpy
        return numpy.zeros(self.size, int)

    def learn(self, targets):
        pass
"""


@pytest.fixture
def dropout(tmp_path):
    path = tmp_path / "dropout.py"
    path.write_text(DROPOUT, encoding="utf-8")
    return path


# In this process, stopped at any step.


def plain_run(path, stop=lambda: False):
    from clbench.loading import load_agent

    env = short_env(num_tasks=3)
    agent = load_agent(str(path))(env.agent_spec, 4)
    return Run(env, agent, name="a", seeds=[4], observer=Observer(agent, "a", [4], MEASURED, 4), stop=stop)


def vector_run(owner, stop=lambda: False, **arguments):
    env = short_vec(2, num_tasks=3)
    agent = owner(env.agent_spec, [4, 7], **arguments)
    return Run(
        env, agent, name="a", seeds=[4, 7], observer=Observer(agent, "a", [4, 7], MEASURED, 4), stop=stop
    )


RUNS = {
    "plain": plain_run,
    "scheduled": lambda path, stop: vector_run(PerLayer, stop, every=2),
    "watched": lambda path, stop: vector_run(Reset, stop),
}


def events(run):
    """What a run yields but for the time it took."""
    found = []
    for event in run:
        if not isinstance(event, (Progress, Checkpoint)):
            values = {key: value for key, value in vars(event).items() if key != "seconds"}
            found.append((type(event).__name__, repr(values)))
    return found


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("kind", RUNS)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(stops=st.lists(st.integers(1, 17), min_size=1, max_size=3, unique=True))
def test_a_run_stopped_at_any_steps_goes_on_as_if_never_stopped(kind, stops, dropout):
    whole = events(RUNS[kind](dropout, lambda: False))
    found, state = [], None
    for stop in [*sorted(stops), 10**9]:
        count = iter(range(state["steps"] + 1 if state else 1, 10**9))
        run = RUNS[kind](dropout, lambda count=count, stop=stop: next(count) == stop)
        if state is not None:
            torch.rand(3)  # whatever else the process draws
            run.load_state_dict(from_bytes(to_bytes(state)))
        found += events(run)
        state = run.state_dict()
    assert found == whole


def test_savepoints_come_after_each_task_and_where_it_stops():
    env = short_vec(1)
    agent = Reset(env.agent_spec, [0])
    asked = iter([False, False, True])
    run = Run(env, agent, name="a", seeds=[0], interval=1e9, stop=lambda: next(asked))
    assert list(run) == [Checkpoint(3, stopped=True)]
    rest = Run(env, agent, name="a", seeds=[0], interval=1e9)
    rest.load_state_dict(run.state_dict())
    assert [type(one) for one in rest] == [TaskRecord, Checkpoint, TaskRecord, Checkpoint]


# Killed.


@pytest.mark.stress
@pytest.mark.parametrize("kind", ["vectorised", "plain"])
def test_killed_many_times_at_random_moments(kind, dropout, tmp_path, stress_seed):
    many = kind == "vectorised"
    entry = AgentEntry("agents.perlayer", {"every": 5}) if many else AgentEntry(str(dropout))
    states = tmp_path / "states"
    states.mkdir()
    job = Job(
        entry, many, (0, 3) if many else (3,), STREAM, "cpu", 1, states=str(states),
        indicators=("gradient_noise", "critical_step_sizes"), indicators_every=7,
    )  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(plain(job)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", str(tmp_path / "job.json"), str(stress_seed)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["same"]
    assert found["count"] > 100
    assert found["kills"] >= 3
    assert found["files"] <= 2


def test_a_whole_run_killed_interrupted_and_resumed(dropout, launch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [
        "agents.perlayer", "dropout.py", "--set", "step_size=2e-3", "--tasks", "30", "--epochs", "3",
        "--images", "600", "--batch-size", "100", "--seeds", "1", "--device", "cpu",
    ]  # fmt: skip
    with in_this_process():
        assert main([*flags, "--out", "whole"]) == 0
    folder = Path("cut") / "RandomLabelMNIST-v0-quick-1"
    table = tmp_path / folder / "tasks.csv"

    def rows():
        return len(table.read_text(encoding="utf-8").splitlines()) if table.exists() else 0

    command, said = [*flags, "--out", "cut"], ""
    for number in (signal.SIGKILL, signal.SIGINT):
        process, before = launch("clbench.evaluate", *command, cwd=tmp_path), rows()
        wait_until(lambda before=before: rows() > before + 3, process=process)
        workers = worker_processes(process.pid)
        assert workers
        capsys.readouterr()
        assert main(["--resume", str(folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert f"'{folder}'" in line
        with pytest.raises(InUseError, match=re.escape(f"'{folder}'")):
            clbench.resume(folder)
        process.send_signal(number)
        _, said = process.communicate(timeout=180)
        assert process.returncode == (130 if number == signal.SIGINT else -9)
        assert all(ends(pid) for pid in workers)
        command = ["--resume", str(folder)]
    assert f"python -m clbench.evaluate --resume {folder}" in said.splitlines()[-1]
    with in_this_process():
        assert main(command) == 0
    out, err = capsys.readouterr()
    (line,) = err.splitlines()  # and none of a seed that starts anew
    assert "critical_step_sizes" in line
    assert re.search(r"^agents\.perlayer +done\b", out, re.MULTILINE)
    expected = tmp_path / "whole" / folder.name
    assert (tmp_path / folder / "indicators.csv").read_bytes() == (expected / "indicators.csv").read_bytes()
    ours, theirs = ([line.rpartition(",")[0] for line in (place / "tasks.csv").read_text(encoding="utf-8").splitlines()]
                    for place in (tmp_path / folder, expected))  # fmt: skip
    assert ours == theirs
    assert {path.name for path in (tmp_path / folder).iterdir()} == {path.name for path in expected.iterdir()}
    facts = RunFolder(tmp_path / folder).read_run()
    assert facts["status"] == "complete"
    assert len(facts["resumed"]) == 2
    assert facts["timing"]["steps_per_second"]["dropout.py"] > 0


# Refusals, on a run that failed half-way.

FAILING = DROPOUT.replace(
    "        targets = torch.as_tensor(targets)\n",
    "        self.steps = getattr(self, 'steps', 0) + 1\n"
    "        if self.steps == 9:\n            raise RuntimeError('out of ideas')\n"
    "        targets = torch.as_tensor(targets)\n",
).replace(
    "    def load_state_dict(self, state):\n",
    "    def load_state_dict(self, state):\n        self.steps = 9\n",
)


@pytest.fixture(scope="module")
def failed_once(tmp_path_factory):
    """A folder with an agent and a run of it that failed half-way."""
    place = tmp_path_factory.mktemp("failed")
    (place / "failing.py").write_text(FAILING, encoding="utf-8")
    flags = ["--tasks", "2", "--epochs", "2", "--images", "300", "--batch-size", "100", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch, in_this_process():
        patch.chdir(place)
        assert main(["failing.py", "--seeds", "1", *flags, "--quiet"]) == 1
    return place


@pytest.fixture
def failed(failed_once, tmp_path, monkeypatch, inline, capsys):
    place = tmp_path / "copy"
    shutil.copytree(failed_once, place)
    monkeypatch.chdir(place)
    return next((place / "results").iterdir())


def refused(capsys, *arguments):
    assert main(["--resume", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_changed_agent_is_refused_unless_told(failed, capsys):
    newest = RunFolder(failed).states(0).newest()
    assert newest is not None
    assert newest[1]["steps"] == 6
    with Path("failing.py").open("a", encoding="utf-8") as file:
        file.write("\n# better now\n")
    line = refused(capsys, failed)
    assert "failing.py" in line
    assert "--accept-changes" in line
    with pytest.raises(ResumeError, match=r"failing\.py"):
        clbench.resume(failed)
    assert main(["--resume", str(failed), "--accept-changes", "--quiet"]) == 0
    facts = RunFolder(failed).read_run()
    assert facts["resumed"][0]["accepted_changes"] == ["failing.py"]
    assert facts["resumed"][0]["steps"] == {"0": 6}
    assert len(RunFolder(failed).read_tasks()) == 2
    line = refused(capsys, failed)
    assert f"'{failed}'" in line
    assert facts["status"] in line
    with pytest.raises(ResumeError, match=re.escape(f"'{failed}'")):
        clbench.resume(failed)


def test_a_changed_spec_is_refused_unless_told(failed, capsys):
    path = failed / "run.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["spec"]["stream"]["num_tasks"] = 3
    path.write_text(json.dumps(facts), encoding="utf-8")
    line = refused(capsys, failed)
    for part in (f"'{failed}'", "run.json", "stream", "--accept-changes"):
        assert part in line
    with pytest.raises(ResumeError, match=r"run\.json.*\bstream\b"):
        clbench.resume(failed)
    assert main(["--resume", str(failed), "--accept-changes", "--quiet"]) == 0
    assert len(RunFolder(failed).read_tasks()) == 3
    assert RunFolder(failed).read_run()["resumed"][0]["accepted_changes"] == ["stream of job 0"]


def test_the_time_of_a_killed_session_is_that_of_its_tasks(failed):
    path, states = failed / "run.json", RunFolder(failed).states(0)
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["status"] = "running"
    del facts["timing"]  # which is written at the end only
    path.write_text(json.dumps(facts), encoding="utf-8")
    _, state = states.newest()
    for record in state["records"]:
        if record["kind"] == "task":
            record["seconds"] = 1000.0
    states.save(state["steps"], state)
    assert main(["--resume", str(failed), "--accept-changes", "--quiet"]) == 0
    assert 1000 < RunFolder(failed).read_run()["timing"]["seconds"] < 2000


def test_other_images_are_refused(failed, capsys):
    path = failed / "run.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["data"]["sha256"] = "f" * 64
    path.write_text(json.dumps(facts), encoding="utf-8")
    line = refused(capsys, failed)
    for part in ("embedded", "ffffffff", "--data-dir"):
        assert part in line
    with pytest.raises(DataError, match=r"embedded.*ffffffff.*--data-dir"):
        clbench.resume(failed)


def test_a_damaged_newest_state_falls_back_to_the_one_before(tmp_path):
    states = States(tmp_path)
    for steps in (6, 12, 18):
        states.save(steps, {"steps": steps})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000012.state", "000000000018.state"]
    newest = tmp_path / "000000000018.state"
    newest.write_bytes(newest.read_bytes()[:-1])
    found = states.newest()
    assert found is not None
    assert found[1] == {"steps": 12}
    (tmp_path / "000000000012.state").write_bytes(b"nonsense")
    assert states.newest() is None
    assert States(tmp_path / "nothing").newest() is None


def test_a_damaged_state_costs_a_task_not_the_run(failed, capsys):
    (path,) = (failed / "state" / "job-0").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    assert main(["--resume", str(failed), "--quiet"]) == 1  # from the start: it fails at the same step
    assert RunFolder(failed).read_run()["resumed"][0]["steps"] == {}
    assert re.search(r"failing\.py.*\bstep 3\b", capsys.readouterr().err)


@pytest.mark.process
def test_a_run_killed_while_it_draws_only_draws(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, in_this_process():
        patch.setattr("clbench.evaluation.session.curves", killed)
        with pytest.raises(
            KeyboardInterrupt, match=r"python -m clbench\.evaluate --resume \S*RandomLabelMNIST"
        ):
            clbench.evaluate("agents.vanilla", **SHORT, seeds=1, device="cpu", out=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert RunFolder(folder).read_run()["status"] == "interrupted"
    tables = (folder / "tasks.csv").read_bytes()
    with use_pool(functools.partial(Pool, start=killed)):  # no worker is needed
        clbench.resume(folder)
    assert (folder / "tasks.csv").read_bytes() == tables
    assert RunFolder(folder).read_run()["status"] == "complete"
    assert (folder / "curves.png").exists()
    assert not (folder / "state").exists()


def test_a_run_interrupted_before_it_began_has_no_advice_to_resume_it(tmp_path, inline):
    class Interrupted(Silent):
        def begin(self, spec):
            raise KeyboardInterrupt

    made = make_plan("agents.vanilla", "RandomLabelMNIST-v0", "quick", 1, SHORT, {}, "cpu", None)
    with pytest.raises(KeyboardInterrupt) as caught:
        carry_out(made, tmp_path, Interrupted())
    assert caught.value.args == ()


def test_other_versions_are_told(failed, capsys):
    path = failed / "run.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(facts), encoding="utf-8")
    assert main(["--resume", str(failed), "--quiet"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    now = RunFolder(failed).read_run()["resumed"][0]["versions"]["torch"]
    for part in ("torch", "1.0", now):
        assert part in line
    assert "numpy" not in line


def test_a_run_of_older_definitions_goes_on_and_says_so(failed, capsys):
    path, states = failed / "run.json", RunFolder(failed).states(0)
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["indicator_definitions"] = 1
    path.write_text(json.dumps(facts), encoding="utf-8")
    _, state = states.newest()
    where = {"agent": "failing.py", "seed": 0, "task": 0, "step": 6, "layer": "fc1"}
    state["records"].append({"kind": "indicator", **where, "indicator": "noise_bound", "value": 0.0})
    states.save(state["steps"], state)
    assert main(["--resume", str(failed), "--quiet"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"\b{DEFINITIONS}\b.*\b1\b", line)
    facts = RunFolder(failed).read_run()
    assert (facts["status"], facts["indicator_definitions"]) == ("complete", 1)
    assert facts["resumed"][0]["indicator_definitions"] == DEFINITIONS
    text = (failed / "indicators.csv").read_text(encoding="utf-8")
    assert "failing.py,0,0,6,fc1,noise_bound," in text.splitlines()  # dead, as it is written today


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], ["'nowhere'", "run.json"]),
        (["RUN", "--tasks", "3"], ["--tasks", "--resume"]),
        (["RUN", "agents.l2"], ["'agents.l2'", "--resume"]),
        (["RUN", "--set", "a=1"], ["--set", "--resume"]),
        (["RUN", "--workers", "0"], ["workers=0", "1"]),
    ],
)
def test_usage(failed, capsys, arguments, named):
    arguments = [str(failed) if one == "RUN" else one for one in arguments]
    line = refused(capsys, *arguments)
    assert not [part for part in named if part not in line], line


def test_accepting_changes_needs_a_run(capsys):
    assert main(["agents.l2", "--accept-changes"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "--accept-changes" in line
    assert "--resume" in line


def test_runs_of_before_there_were_states(failed, capsys):
    path = failed / "run.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    del facts["division"]
    path.write_text(json.dumps(facts), encoding="utf-8")
    line = refused(capsys, failed)
    assert f"'{failed}'" in line
    with pytest.raises(ResumeError, match=re.escape(f"'{failed}'")):
        clbench.resume(failed)


def test_an_agent_without_states_is_told_so_and_starts_its_seed_anew(tmp_path, monkeypatch, inline, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forgetful.py").write_text(FORGETFUL, encoding="utf-8")
    result = clbench.evaluate("forgetful.py", **SHORT, seeds=1, device="cpu")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    for part in ("forgetful.py", " state_dict", "load_state_dict"):
        assert part in line
    assert not (result.folder / "state").exists()


def test_an_agent_whose_state_cannot_be_kept(tmp_path, monkeypatch, inline, capsys):
    monkeypatch.chdir(tmp_path)
    text = FORGETFUL + "    def state_dict(self):\n        return {'me': self}\n    load_state_dict = None\n"
    (tmp_path / "odd.py").write_text(
        text.replace("load_state_dict = None", "def load_state_dict(self, s): ..."), encoding="utf-8"
    )
    clbench.evaluate("odd.py", **SHORT, seeds=1, device="cpu")
    (line,) = capsys.readouterr().err.splitlines()  # said once
    assert line.startswith("note: ")
    for part in ("odd.py", "seed 0", "state['loop']['agent']['me']", "Agent"):
        assert part in line


def test_weights_alone_are_no_state():
    """What an agent inherits from `nn.Module` knows nothing of its optimizer."""

    class Inheriting(torch.nn.Module):
        def act(self, obs): ...
        def learn(self, targets): ...

    class Own(Inheriting):
        def state_dict(self): ...
        def load_state_dict(self, state): ...

    assert not can_resume(Inheriting)
    assert can_resume(Own)
    assert can_resume(PerLayer)


@pytest.mark.process
def test_a_stop_meets_a_worker_that_is_just_ending(start_python):
    pool = Pool([], workers=1)
    ended = start_python("-c", "", stdin=subprocess.PIPE)
    ended.communicate()
    pool._running[0] = ended
    pool.stop()
    pool._inbox.put((0, None))
    assert list(pool.messages()) == []


class InNoModule(PerLayer):
    pass


@pytest.mark.usefixtures("small_networks")
def test_classes_that_only_this_process_has(tmp_path, monkeypatch, inline):
    expected = clbench.evaluate("agents.perlayer", **SHORT, seeds=2, device="cpu", out=tmp_path / "whole")
    monkeypatch.setattr(InNoModule, "__module__", "__main__")
    monkeypatch.setattr(InNoModule, "learn", disturbed(PerLayer.learn, {8: "error", 11: "signal"}))
    with pytest.raises(AgentError, match=r"InNoModule.*RuntimeError: not today"):
        clbench.evaluate(InNoModule, **SHORT, seeds=2, device="cpu", out=tmp_path / "cut")
    (folder,) = (tmp_path / "cut").iterdir()
    with pytest.raises(ResumeError, match=r"InNoModule.*clbench\.resume\(.*agents="):
        clbench.resume(folder)
    with pytest.raises(KeyboardInterrupt, match=re.escape(f"--resume {shlex.quote(str(folder))}")):
        clbench.resume(folder, agents=[InNoModule])
    _, state = RunFolder(folder).states(0).newest()
    assert state["steps"] % 6  # kept after the step in progress, in the middle of a task
    evaluation = clbench.resume(folder, agents=[InNoModule])
    assert evaluation.tasks["accuracy"].tolist() == expected.tasks["accuracy"].tolist()


def disturbed(learn, calls):
    """`learn`, but at those calls, counted over all agents, it fails or the process is sent SIGTERM."""
    count = itertools.count()

    def wrapped(self, targets):
        happens = calls.get(next(count))
        if happens == "error":
            raise RuntimeError("not today")
        if happens == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self, targets)

    return wrapped


# Disks.


@pytest.mark.process
def test_a_full_disk_ends_the_run_and_keeps_what_was_finished(tmp_path):
    """Files may not grow over 17 MiB: tables and the embedded images fit, six networks' states do not."""
    flags = [
        "agents.vanilla",
        "--tasks",
        "3",
        "--epochs",
        "2",
        "--images",
        "300",
        "--batch-size",
        "100",
        "--device",
        "cpu",
    ]

    def limit():
        heed_interrupts()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (17 << 20, 17 << 20))

    done = subprocess.run(
        [sys.executable, "-m", "clbench.evaluate", *flags, "--seeds", "5,4,3,2,1,0", "--workers", "1"],
        capture_output=True, text=True, check=False, cwd=tmp_path, preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert ".state'" in error
    assert os.strerror(errno.EFBIG) in error
    assert re.search(r"(?<!/)results/RandomLabelMNIST-v0-quick-1", error)  # where finished tasks are kept
    folder = tmp_path / "results" / "RandomLabelMNIST-v0-quick-1"
    assert len(RunFolder(folder).read_tasks()) == 6
    assert not list(folder.rglob("*.partial"))
    assert RunFolder(folder).read_run()["status"] == "failed"


def test_a_folder_that_can_no_longer_be_written(tmp_path, monkeypatch, inline):
    """After the first task every replacement of a file fails; the tables of before are whole."""
    replace, calls = os.replace, []

    def read_only(source, target):
        calls.append(Path(target).name)
        if calls.count("tasks.csv") > 2:
            raise OSError(30, "Read-only file system")
        replace(source, target)

    monkeypatch.setattr("clbench.results.files.os.replace", read_only)
    with pytest.raises(WriteError, match=r"/tasks\.csv'.*Read-only file system"):
        clbench.evaluate("agents.vanilla", **SHORT, seeds=1, device="cpu", out=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert [one.task for one in RunFolder(folder).read_tasks()] == [0]
    assert not list(folder.glob("*.partial"))  # a worker ended in the middle of a state may leave its own
    monkeypatch.undo()
    assert len(clbench.resume(folder).tasks) == 2


def test_a_state_that_cannot_be_read_is_an_error_of_its_own():
    with pytest.raises(StateError, match=r"\bversion\b"):
        from_bytes(b"clbench-state-0 x\nx")
