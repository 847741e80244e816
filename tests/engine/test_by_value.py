"""Classes of a notebook or a script, which worker processes cannot import, run in them all the same."""

import os
import sys
import threading
import types

import pytest
import torch
from torch import nn

import clbench
from clbench.engine.by_value import pack, unpack
from clbench.engine.requests import Request, check_request
from clbench.errors import LoadError, OptionError
from tests.cases import SHORT
from tests.processes import run_python

KEYS = ["seed", "task", "accuracy", "loss"]
WIDTH = 8
TINY = {**SHORT, "seeds": 2, "device": "cpu", "indicators": "none"}

SCRIPT = """
import os, sys
import torch
import clbench

WIDTH = 10

class Typed:
    def __init__(self, spec, seed):
        self.model = torch.nn.Linear(spec.input_shape[0], WIDTH)
        print(f"in process {os.getpid()}")

    def act(self, obs):
        return self.model(torch.as_tensor(obs))

    def learn(self, targets): ...

if __name__ == "__main__":
    settings = dict(num_tasks=1, epochs_per_task=1, num_samples=256, seeds=2, device="cpu", indicators="none")
    evaluation = clbench.evaluate(Typed, **settings, workers=2, out=sys.argv[1])
    print("parent", os.getpid(), evaluation.configs[0].agent.name, len(evaluation.tasks))
"""

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr("clbench.engine.requests.cores", lambda: 2)


def network(spec):
    return nn.Sequential(nn.Linear(spec.input_shape[0], WIDTH), nn.ReLU(), nn.Linear(WIDTH, spec.num_classes))


class Typed:
    def __init__(self, spec, seed, step_size=0.01):
        torch.manual_seed(seed)
        self.model = network(spec)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=step_size)
        print(f"in process {os.getpid()}")

    def act(self, obs):
        self.logits = self.model(torch.as_tensor(obs))
        return self.logits

    def learn(self, targets):
        loss = nn.functional.cross_entropy(self.logits, torch.as_tensor(targets))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


@pytest.fixture
def typed(monkeypatch):
    """The class as if it had been typed into a notebook."""
    monkeypatch.setattr(Typed, "__module__", "__main__")
    return Typed


def processes(text):
    return {int(line.split()[-1]) for line in text.splitlines() if "in process" in line}


def numbers(evaluation):
    return evaluation.tasks[KEYS].sort_values(KEYS[:2]).values.tolist()


def test_each_seed_has_a_process_and_the_results_of_this_one(typed, two_cores, tmp_path, monkeypatch, capfd):
    spread = clbench.evaluate(typed, **TINY, out=tmp_path)
    pids = processes("".join(capfd.readouterr()))
    assert len(pids) == 2
    assert os.getpid() not in pids
    monkeypatch.setattr("clbench.engine.requests.cores", lambda: 1)  # as many threads
    here = clbench.evaluate(typed, **TINY, workers=1, out=tmp_path)
    assert processes("".join(capfd.readouterr())) == {os.getpid()}
    assert numbers(spread) == numbers(here)
    assert (spread.runs[0].workers, here.runs[0].workers) == (2, 1)


@pytest.mark.process
def test_a_class_of_a_script_runs_in_real_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = run_python("script.py", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    parent = done.stdout.splitlines()[-1].split()
    assert parent[2:] == ["__main__:Typed", "2"]
    workers = processes(done.stdout + done.stderr)
    assert len(workers) == 2
    assert int(parent[1]) not in workers


def test_what_cannot_be_copied_runs_here_with_a_note(two_cores, tmp_path, capfd):
    lock = threading.Lock()

    class Locked(Typed):
        def learn(self, targets):
            with lock:
                return super().learn(targets)

    clbench.evaluate(Locked, **TINY, out=tmp_path)
    said = "".join(capfd.readouterr())
    assert processes(said) == {os.getpid()}
    (note,) = [line for line in said.splitlines() if "lock" in line]
    assert note.startswith("note: ")
    assert "Locked" in note
    with pytest.raises(OptionError, match="Locked"):  # a sweep finds its cells again by their names
        clbench.sweep({**TINY, "agent": Locked, "grid": [{}]}, out=tmp_path)
    Locked.__module__ = "__main__"
    with pytest.raises(LoadError, match=r"Locked'.*lock"):
        clbench.sweep({**TINY, "agent": Locked, "grid": [{}]}, out=tmp_path)


def test_an_interrupted_run_resumes_in_processes(typed, two_cores, tmp_path, monkeypatch, capfd):
    class Once(typed):
        def learn(self, targets):
            if os.path.exists(marker):
                raise RuntimeError("not today")
            return super().learn(targets)

    marker = str(tmp_path / "marker")
    (tmp_path / "marker").touch()
    with pytest.raises(clbench.ClbenchError, match="not today"):
        clbench.evaluate(Once, **TINY, out=tmp_path / "out")
    os.remove(marker)
    (folder,) = (tmp_path / "out").iterdir()
    name = check_request(Request(agents=Once))[0].config.agent.name
    assert name.startswith("__main__:") or "<locals>" in name
    capfd.readouterr()
    resumed = clbench.resume(folder, agents=[Once])
    assert os.getpid() not in processes("".join(capfd.readouterr()))
    assert numbers(resumed) == numbers(clbench.evaluate(typed, **TINY, out=tmp_path / "whole"))


def test_streams_and_sweeps_of_a_notebook(typed, two_cores, tmp_path, streams, capfd):
    class Blobs(clbench.Stream):
        __module__ = "__main__"

        @classmethod
        def load_data(cls, spec):
            rng = torch.Generator().manual_seed(0)
            labels = torch.arange(200) % 4
            return clbench.LabelledData(torch.randn(200, 6, generator=rng) + labels[:, None], labels, 4)

        def draw_task(self, rng, rows, previous):
            return clbench.Task(rows, rng.permutation(4)[self.data.labels.numpy()[rows]])

    clbench.register("Blobs-v0", Blobs)
    tiny = {**TINY, "num_samples": None, "batch_size": 50}
    evaluation = clbench.evaluate([typed, "agents.vanilla"], "Blobs-v0", **tiny, out=tmp_path)
    assert len(evaluation.tasks) == 8
    assert os.getpid() not in processes("".join(capfd.readouterr()))
    del tiny["num_samples"]
    grid = {"arguments": {"step_size": [0.1, 0.01]}}
    done = clbench.sweep({**tiny, "agent": typed, "env": "Blobs-v0", "grid": [grid]}, out=tmp_path, workers=2)
    assert done.failures == {}
    assert len(done.ranking) == 2
    ours = evaluation.tasks[evaluation.tasks.agent == "__main__:Typed"].accuracy.tolist()
    theirs = done.results.tasks.merge(done.results.runs[["run", "arguments.step_size"]], on="run")
    assert sorted(theirs[theirs["arguments.step_size"] == 0.01].accuracy) == sorted(ours)


@pytest.mark.parametrize("main", ["__main__", "__mp_main__"])
def test_a_main_module_has_another_name_in_a_process_that_it_has_started(main, monkeypatch):
    module = types.ModuleType(main)
    exec("class Agent:\n    def act(self, obs): return WIDTH\nWIDTH = 3\n", vars(module))
    monkeypatch.setitem(sys.modules, main, module)
    packed = pack(module.Agent)
    monkeypatch.setitem(sys.modules, main, types.ModuleType(main))
    assert unpack(packed)().act(None) == 3


def test_a_class_that_can_be_imported_goes_by_its_name():
    assert pack(nn.Linear) == ""

    class Local:
        value = WIDTH

    assert unpack(pack(Local)).value == WIDTH
