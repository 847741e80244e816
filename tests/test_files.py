"""Agents, streams and indicators in files: one module each, neighbours of their own, names that every process finds."""

import copy
import json
import pickle
import sys
import typing
from pathlib import Path

import click
import pytest

import clbench
from clbench.errors import LoadError, RegistrationError, ResumeError, UnknownNameError
from clbench.loading import load_agent, load_indicator
from clbench.provenance import files_of, sha256, source_of
from clbench.registration import STREAMS, lookup

AGENT = """
import numpy

class Agent:
    def __init__(self, spec, seed):
        self.size = spec.batch_size

    def act(self, obs):
        return numpy.zeros(self.size, int)

    def learn(self, targets): ...

    def late(self):
        import late
        return late.VALUE

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...
"""
TINY = """
import clbench

class Tiny(clbench.Stream):
    def draw_task(self, rng, rows, previous):
        return clbench.Task(rows, rng.integers(self.data.num_classes, size=len(rows)))

clbench.register("Tiny-v0", Tiny, num_tasks=2)

def energy(at):
    return 0.0
"""
SHORT = {
    "seeds": 1,
    "num_tasks": 2,
    "epochs_per_task": 1,
    "num_samples": 512,
    "device": "cpu",
    "indicators": "none",
}


@pytest.fixture
def write(tmp_path, monkeypatch, streams):
    """A function that writes files below the working folder; what is imported is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)

    def write(texts=(), **more):
        for name, text in {**dict(texts), **more}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


# One module


def test_a_file_is_imported_once_however_it_is_named(write, tmp_path, monkeypatch):
    write(tiny=TINY + AGENT + "\nclbench.count = getattr(clbench, 'count', 0) + 1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link.py").symlink_to("tiny.py")
    (tmp_path / "elsewhere").mkdir()
    names = [
        "tiny.py",
        "./tiny.py",
        str(tmp_path / "tiny.py"),
        "elsewhere/../tiny.py",
        "~/tiny.py",
        "link.py",
        "tiny",
    ]
    agents = {load_agent(name) for name in names}
    made = {lookup(f"{name}:Tiny-v0").load() for name in names} | {lookup("tiny.py").load()}
    energies = {load_indicator(f"{name}:energy") for name in names}
    assert [len(agents), len(made), len(energies)] == [1, 1, 1]
    assert clbench.count == 1
    del clbench.count


def test_a_file_that_the_program_has_imported_is_not_imported_again(write, tmp_path, monkeypatch):
    write(tiny_of_mine=TINY + AGENT)
    monkeypatch.syspath_prepend(tmp_path)
    import tiny_of_mine

    assert load_agent("tiny_of_mine.py") is tiny_of_mine.Agent
    assert lookup("tiny_of_mine.py:Tiny-v0").load() is tiny_of_mine.Tiny


def test_a_file_that_is_executed_again_registers_its_streams_again(write, tmp_path):
    """As the script that the user runs may be, and be loaded by its file."""
    write(tiny=TINY)
    lookup("tiny.py")
    del sys.modules[STREAMS["Tiny-v0"].module]
    again = lookup("tiny.py")
    assert getattr(sys.modules[again.module], "Tiny") is again.load()  # noqa: B009
    write(other=TINY)
    with pytest.raises(LoadError, match=r"'other\.py'.*'Tiny-v0'"):
        lookup("other.py")
    with pytest.raises(RegistrationError, match="'Tiny-v0'"):
        clbench.register("Tiny-v0", again.load())


# Streams by file


def test_agent_and_stream_in_one_file(write, tmp_path, inline):
    write(tiny=TINY + AGENT)
    evaluation = clbench.evaluate("tiny.py", env=f"{tmp_path}/tiny.py:Tiny-v0", out="out", **SHORT)
    (run,) = evaluation.runs
    assert run.env == "tiny.py:Tiny-v0"
    assert (run.agent_source.class_, run.stream_source.class_) == ("tiny:Agent", "tiny:Tiny")
    assert run.stream_source.sha256 == run.agent_source.sha256 is not None
    sweep = {"env": "tiny.py", "agent": "tiny.py", "arguments": {}, **SHORT, "cell": [{}]}
    assert not clbench.sweep(sweep, out="out").failures


@pytest.mark.process
def test_agent_and_stream_in_one_file_in_worker_processes(write, tmp_path):
    write(tiny=TINY + AGENT, clbench="raise ImportError('not this one')", random="1 / 0")
    evaluation = clbench.evaluate("tiny.py", env="tiny.py:Tiny-v0", out="out", **SHORT)
    assert len(evaluation.records) == 2


def test_environments_of_a_file(write):
    write(tiny=TINY)
    short = {"epochs_per_task": 1, "num_samples": 512}
    assert clbench.make("tiny.py:Tiny-v0", **short).agent_spec.num_tasks == 2
    assert clbench.make_vec("tiny.py", 3, **short).num_envs == 3
    assert clbench.make("tiny.py:clbench/Tiny-v0").spec.id == "clbench/Tiny-v0"


IN_NEW_PROCESSES = """
import sys, gymnasium, clbench
if __name__ == "__main__":
    name = sys.argv[1]
    clbench.make(name)
    settings = {"num_tasks": 1, "epochs_per_task": 1, "num_samples": 512, "vectorization_mode": "async"}
    envs = gymnasium.make_vec("clbench/Tiny-v0", 2, vector_kwargs={"context": "spawn"}, **settings)
    assert envs.reset(seed=[0, 1])[0].shape == (2, 256, 784)
    envs.close()
"""


@pytest.mark.parametrize("name", ["tiny.py:Tiny-v0", "entry.py", "tiny:Tiny-v0"])
def test_environments_of_a_file_in_new_processes(write, start_python, name):
    write(tiny=TINY, entry="import tiny\n", program=IN_NEW_PROCESSES)
    assert start_python("program.py", name).wait(60) == 0


def test_a_stream_that_a_file_does_not_register_is_named(write):
    write(tiny=TINY, empty="", both=TINY.replace("Tiny-v0", "A-v0") + "\nclbench.register('B-v0', Tiny)\n")
    for id, fault in (
        ("tiny.py:Tny-v0", r"'tiny\.py'.*'Tny-v0'.*'Tiny-v0'"),
        ("tny.py:Tiny-v0", r"'tny\.py'.*'tiny\.py'"),
        ("empty.py", r"'empty\.py'"),
        ("both.py", r"'both\.py'.*A-v0, B-v0"),
    ):
        with pytest.raises(UnknownNameError, match=fault):
            lookup(id)


def test_a_file_that_registers_the_streams_of_its_neighbour(write):
    write(entry="import impl\n", impl=TINY)
    assert lookup("entry.py").id == "Tiny-v0"


# Neighbours


@pytest.mark.parametrize(
    "form", ["import helper", "from helper import VALUE", "from helper import *", "import deep.helper"]
)
def test_each_folder_has_its_own_helper(write, form):
    late = "import helper\nVALUE = helper.VALUE\n"
    for name in "ab":
        texts = {
            "agent": f"{form}\n{AGENT}",
            "helper": f"VALUE = {name!r}\n",
            "late": late,
            "deep/helper": "",
        }
        write({f"{name}/{file}": text for file, text in texts.items()})
    agents = [load_agent(f"{name}/agent.py") for name in "ab"]
    assert [agent.late(None) for agent in agents] == ["a", "b"]
    assert [sorted(source_of(agent)["neighbours"])[-1] for agent in agents] == ["late.py", "late.py"]


def test_packages_and_what_is_below_the_working_folder(write):
    packaged = "from .near import A\nfrom pkg.near import B\nimport beside, pkg.sub.far\nC = pkg.sub.far.C\n"
    write(
        {
            "pkg/__init__": "",
            "pkg/agent": packaged + AGENT,
            "pkg/near": "A = B = 1",
            "pkg/beside": "",
            "pkg/sub/__init__": "",
            "pkg/sub/far": "from .. import near\nC = near.A",
            "loose/agent": f"from loose.near import A\nfrom lib import net\n{AGENT}",
            "loose/near": "A = 2",
            "lib/net": "",
        }
    )
    packaged, loose = load_agent("pkg/agent.py"), load_agent("loose/agent.py")
    assert sys.modules[packaged.__module__].C == 1
    assert sys.modules[loose.__module__].A == 2
    below = ["__init__", "beside", "near", "sub/__init__", "sub/far"]
    assert set(source_of(packaged)["neighbours"]) == {f"pkg/{name}.py" for name in below}
    assert set(source_of(loose)["neighbours"]) == {"lib/net.py", "loose/near.py"}


@pytest.mark.parametrize(
    "name", ["random", "torch", "test", "agents", "clbench", "my-agent", "2nd", "v1.2", "käse", "class"]
)
def test_any_file_name(write, tmp_path, name):
    body = f"import random, torch, clbench\nrandom.random, torch.tensor, clbench.make\n{AGENT}"
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / f"{name}.py").write_text(body, encoding="utf-8")
    agent = load_agent(f"a folder/{name}.py")
    assert source_of(agent)["class"] == f"{name}:Agent"
    assert pickle.loads(pickle.dumps(agent)) is agent


def test_classes_of_a_file_are_ordinary_classes(write):
    text = "import dataclasses\n@dataclasses.dataclass\nclass Conf:\n    size: 'int' = 3\n"
    write(mine=text + AGENT)
    conf = sys.modules[load_agent("mine.py").__module__].Conf
    assert typing.get_type_hints(conf) == {"size": int}
    assert pickle.loads(pickle.dumps(conf(4))) == copy.deepcopy(conf(4)) == conf(4)


NAMED = "import importlib\nVALUE = importlib.import_module({!r}).VALUE\n"


@pytest.mark.parametrize("name", ["helper", "deep.helper"])
def test_each_folder_has_its_own_helper_by_name(write, name):
    """And a file that lays out the module path anew is loaded as well."""
    rebuilt = "import sys\nsys.path[:] = [entry for entry in sys.path if 'a' not in entry.split('/')]\n"
    for folder in "ab":
        changed = {f"{folder}/agent": NAMED.format(name) + rebuilt + AGENT}
        write({**changed, f"{folder}/{name.replace('.', '/')}": f"VALUE = {folder!r}\n"})
    before = list(sys.path)
    agents = [load_agent(f"{folder}/agent.py") for folder in "ab"]
    assert [sys.modules[agent.__module__].VALUE for agent in agents] == ["a", "b"]
    assert sys.path == before
    assert not {"helper", "deep", "deep.helper"} & set(sys.modules)


@pytest.mark.process
def test_a_new_process_finds_neighbours_by_name(write, start_python):
    write({"a/agent": NAMED.format("helper") + AGENT, "a/helper": "VALUE = 10"})
    module = load_agent("a/agent.py").__module__
    started = start_python("-c", f"import clbench.files, {module} as found; assert found.VALUE == 10")
    assert started.wait(60) == 0


LOADER = """
from torch.utils.data import DataLoader, Dataset
import helper

class Data(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        import late
        return helper.VALUE + late.VALUE

def read():
    return list(DataLoader(Data(), batch_size=None, num_workers=1, multiprocessing_context="spawn"))
"""


@pytest.mark.process
def test_a_spawned_worker_of_a_data_loader_finds_the_file(write):
    write({"a/agent": LOADER + AGENT, "a/helper": "VALUE = 10", "a/late": "VALUE = 3"}, helper="VALUE = 100")
    agent = load_agent("a/agent.py")
    assert sys.modules[agent.__module__].read() == [13, 13]


def test_a_broken_neighbour_is_named(write):
    write(mine=f"import helper.gone\n{AGENT}", helper="", bad=f"import broken\n{AGENT}", broken="1 / 0")
    with pytest.raises(LoadError, match=r"'mine\.py'.*ModuleNotFoundError.*'helper\.gone'"):
        load_agent("mine.py")
    with pytest.raises(LoadError, match=r"'bad\.py'.*ZeroDivisionError.*broken\.py:1\b"):
        load_agent("bad.py")


# Our learners, and a package of the user's called `agents`


@pytest.mark.parametrize("init", [{}, {"agents/__init__": ""}])
def test_agents_of_ours_and_of_the_users(write, init):
    mine = "from agents.helper import VALUE\nfrom agents.learner import Learner\nclass Agent(Learner): ...\n"
    write({"agents/mine": mine, "agents/helper": "VALUE = 1", "agents/l2": AGENT, **init})
    for order in (["agents.l2", "agents.mine"], ["agents.mine", "agents.l2"]):
        assert {name: load_agent(name).__module__.startswith("clbench.agents.") for name in order} == {
            "agents.l2": True,
            "agents.mine": False,
        }
    ours = load_agent("agents.l2")
    assert load_agent("clbench.agents.l2") is ours
    assert load_agent("agents/l2.py") is not ours
    assert issubclass(load_agent("agents.mine"), load_agent("agents.learner:Learner"))


def test_our_learners_have_one_module_each():
    import agents.l2
    import clbench.agents.l2

    assert agents.l2 is clbench.agents.l2
    assert source_of(agents.l2.Agent)["class"] == "agents.l2:Agent"


# Checksums


def test_installed_packages_do_not_count(write, tmp_path):
    write(
        mine=f"import click, torch\nfrom clbench import errors\nimport helper\n{AGENT}", helper="import mine"
    )
    assert set(files_of(tmp_path / "mine.py")) == {"mine.py", "helper.py"}
    write(named="import importlib\nhelper = importlib.import_module('helper')\n" + AGENT)
    assert set(source_of(load_agent("named.py"))["neighbours"]) == {"helper.py", "mine.py"}
    assert set(files_of(Path(click.__file__))) == {"__init__.py"}


@pytest.mark.parametrize("folder", ["home/lib/site-packages/theirs", "usr/lib/python3/dist-packages/theirs"])
def test_packages_of_a_user_and_of_debian_are_installed(write, folder):
    write({f"{folder}/agent": f"import helper\n{AGENT}", f"{folder}/helper": ""})
    agent = load_agent(f"{folder}/agent.py")
    assert set(files_of(Path(f"{folder}/agent.py"))) == {"agent.py"}
    assert not source_of(agent)["neighbours"]


FAILING = AGENT.replace(
    "def learn(self, targets): ...", "def learn(self, targets):\n        import late\n        late.check()"
)
GATE = """
import pathlib
steps = []
def check():
    steps.append(1)
    assert len(steps) < 4 or pathlib.Path('open').exists()
"""


@pytest.mark.parametrize("what", ["late.py", "late_too.py", "streams_of_mine.py", "indicators_of_mine.py"])
def test_a_run_is_not_resumed_after_a_neighbour_changed(write, tmp_path, inline, what):
    write(
        mine=FAILING,
        late=f"import late_too\n{GATE}",
        late_too="",
        tiny="import streams_of_mine\n",
        streams_of_mine=TINY,
        measures="from indicators_of_mine import energy",
        indicators_of_mine="def energy(at): return 0.0",
    )
    settings = {**SHORT, "indicators": f"{tmp_path}/measures.py:energy"}
    with pytest.raises(clbench.ClbenchError) as caught:
        clbench.evaluate("mine.py", env=f"{tmp_path}/tiny.py", out="out", **settings)
    folder = caught.value.evaluation.folder
    (tmp_path / "open").touch()
    file = tmp_path / what
    before = file.read_text(encoding="utf-8")
    file.write_text(f"{before}\n# changed\n", encoding="utf-8")
    with pytest.raises(
        ResumeError, match=rf"{what if 'indicators' not in what else 'measures.py'}.*--accept-changes"
    ):
        clbench.resume(folder)
    file.write_text(before, encoding="utf-8")
    assert clbench.resume(folder).runs[0].status == "complete"
    assert str(tmp_path) not in (folder / "run.json").read_text(encoding="utf-8")


def test_a_run_that_recorded_no_neighbours_is_resumed(write, tmp_path, inline, monkeypatch):
    write(
        mine=FAILING,
        late=GATE,
        measures="import beside_it\ndef energy(at): return 0.0",
        beside_it="",
    )
    settings = {**SHORT, "indicators": "measures.py:energy"}
    alone = {"measures.py:energy": sha256(tmp_path / "measures.py")}
    with monkeypatch.context() as patch:
        patch.setattr("clbench.engine.requests.indicator_sources", lambda names: alone)
        with pytest.raises(clbench.ClbenchError) as caught:
            clbench.evaluate("mine.py", out="out", **settings)
    folder = caught.value.evaluation.folder
    data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del data["agent_source"]["neighbours"], data["stream_source"]["neighbours"]
    (folder / "run.json").write_text(json.dumps(data), encoding="utf-8")
    (tmp_path / "open").touch()
    assert clbench.resume(folder).runs[0].status == "complete"


def test_our_learners_are_ours_in_a_users_file_too(tmp_path, monkeypatch):
    """Even beside a package of the user's with a learner of that name; what ours does not have is theirs."""
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "l2.py").write_text("THEIRS = True\n", encoding="utf-8")
    (folder / "own.py").write_text("THEIRS = True\n", encoding="utf-8")
    lines = "from agents.l2 import Agent as L2\nfrom agents import own\n\n\nclass Agent(L2):\n    own = own.THEIRS\n"
    (tmp_path / "uses.py").write_text(lines, encoding="utf-8")
    agent = load_agent(str(tmp_path / "uses.py"))
    assert agent.own
    assert agent.__mro__[1].__module__ == "clbench.agents.l2"
    assert [file.name for file in files_of(tmp_path / "uses.py").values()] == ["uses.py", "own.py"]
