"""Agents as other people write them: their errors, what they draw, what they call things."""

import random
import re

import numpy as np
import pytest
import torch
from torch import nn

import clbench
from clbench.engine.events import Failed, Finished, Note
from clbench.engine.execution import run_jobs
from clbench.engine.timing import step_times
from clbench.errors import AgentError, LoadError, StepOrderError
from clbench.indicators import Stacked
from clbench.loading import load_agent
from clbench.loop.weights import Weights
from clbench.observing import Observer
from clbench.records import TaskRecord, Undefined
from clbench.tracebacks import raised_at
from tests.engine.jobs import job, of_kind
from tests.runs import manifest_in

AGENT = '''
import random

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy


class Agent:
    """Gives labels and no loss."""

    def __init__(self, spec, seed):
        self.net = nn.Linear(*spec.input_shape, spec.num_classes)
        self.opt = torch.optim.SGD(self.net.parameters(), lr=0.1)
        pass  # __init__

    def begin_task(self, task):
        pass  # begin_task

    def act(self, obs):
        pass  # act
        self.obs = obs
        return self.net(torch.as_tensor(obs)).argmax(dim=1)

    def learn(self, targets):
        self.opt.zero_grad()
        cross_entropy(self.net(torch.as_tensor(self.obs)), torch.as_tensor(targets)).backward()
        self.opt.step()
        pass  # learn

    def state_dict(self):
        pass  # state_dict
        return {}

    def load_state_dict(self, state):
        pass
'''


def write(tmp_path, **changes):
    """Write the agent with lines in place of the comments named; return its path."""
    source = AGENT
    for name, line in changes.items():
        source = source.replace(f"pass  # {name}", line)
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    return path


def run(path, **named):
    return [event for _, event in run_jobs([job(str(path), **named)])]


def line_of(path, text):
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("method", "line"),
    [
        *((name, "raise KeyError('k')") for name in ("__init__", "begin_task", "act", "learn")),
        ("learn", "cross_entropy(torch.zeros(2, 3), torch.tensor([0, 7]))"),  # raised far inside of PyTorch
        ("act", "np.ones(2) @ np.ones(3)"),
        ("act", "raise SystemExit"),
    ],
)
def test_an_error_names_the_line_of_the_users_code(tmp_path, method, line):
    path = write(tmp_path, **{method: line})
    (failed,) = of_kind(enumerate(run(path)), Failed)
    assert f"mine.py:{line_of(path, line)}, in {method}: {line}" in failed.error
    assert "\n" not in failed.error


def test_the_line_is_in_run_json_and_in_the_error(tmp_path, inline, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, learn="raise ValueError('bad')")
    place = f"mine.py:{line_of(path, 'bad')}, in learn: raise ValueError('bad')"
    with pytest.raises(AgentError) as caught:
        clbench.evaluate(str(path), num_tasks=1, epochs_per_task=1, num_samples=300, seeds=1, out="out")
    assert place in str(caught.value)
    (failure,) = manifest_in(caught.value.evaluation.folder).failures
    assert place in failure.error
    assert str(tmp_path) not in failure.error


def test_errors_in_state_dict_and_in_indicators_name_the_line(tmp_path):
    path = write(tmp_path, state_dict="raise KeyError('k')")
    with open(path, "a", encoding="utf-8") as file:
        file.write(
            "    model = property(lambda self: self.net)\n    optimizer = property(lambda self: self.opt)\n"
        )
        file.write("\n\ndef mine(snapshot):\n    return 1 / 0\n")
    events = run(path, checkpoints=str(tmp_path / "checkpoints"), measure=[f"{path}:mine"])
    (note,) = of_kind(enumerate(events), Note)
    assert f"mine.py:{line_of(path, 'KeyError')}, in state_dict" in note.text
    (undefined,) = of_kind(enumerate(events), Undefined)
    assert f"mine.py:{line_of(path, '1 / 0')}, in mine: return 1 / 0" in undefined.reason


def test_clbenchs_own_lines_are_not_shown():
    with pytest.raises(clbench.ClbenchError) as caught:
        clbench.make("RandomLabelMNIST-v0", num_tasks=-1)
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # without this file's line
    assert raised_at(caught.value) == ""


def test_a_syntax_error_has_a_line():
    with pytest.raises(SyntaxError) as caught:
        compile("a b", "some.py", "exec")
    assert re.match(r", at some\.py:1: a b$", raised_at(caught.value))


@pytest.mark.parametrize("signature", ["targets, obs", "obs, targets", "targets, *, obs=None", "labels, obs"])
def test_learn_may_take_the_observation(tmp_path, signature):
    path = write(tmp_path, learn="assert obs is self.obs and targets.shape == obs.shape[:1]")
    source = path.read_text().replace("learn(self, targets)", f"learn(self, {signature})")
    path.write_text(source.replace("targets", "labels") if "labels" in signature else source)
    assert run(path)[-1] == Finished()


def test_lockstep_agents_may_take_the_observation(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from agents import vanilla\n\n\nclass Agent(vanilla.Agent):\n"
        "    def act(self, obs):\n        self.obs = obs\n        return super().act(obs)\n\n"
        "    def learn(self, targets, obs):\n        assert obs is self.obs\n        return super().learn(targets)\n"
    )
    for profile in (False, True):
        assert run(path, seeds=(0, 1), profile=profile)[-1] == Finished()


def test_global_generators_are_seeded(tmp_path):
    draws = "self.net.bias.data = torch.randn(10) + float(np.random.rand()) + random.random()"
    path = write(tmp_path, __init__=draws, learn="self.net.bias.data += torch.randn(10) * np.random.rand()")

    def accuracies(seed):
        return [event.accuracy for event in run(path, seeds=(seed,)) if isinstance(event, TaskRecord)]

    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = accuracies(2**70 + 1)
    after = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2] == after[2]
    random.random(), torch.rand(3), np.random.rand(3)
    assert accuracies(2**70 + 1) == first != accuracies(2)


@pytest.mark.parametrize(
    "break_them",
    [
        "self.net.weight.data[0, 0] = float('nan')",
        "self.net, self.opt = [nn.Linear(784, 10) for _ in '12'], None; self.net[1].bias.data.fill_(np.inf)",
        "self.opt.param_groups[0]['params'] += [torch.full((2,), np.nan, requires_grad=True)]",
    ],
)
def test_broken_weights_are_noticed_without_a_loss(tmp_path, break_them):
    path = write(tmp_path, learn=break_them)
    if "net[1]" in break_them:
        path.write_text(
            path.read_text().replace("self.net(", "nn.Linear(784, 10)(").replace("self.opt.", "#")
        )
    *_, failed = run(path, seeds=(3,))
    assert isinstance(failed, Failed)
    assert re.search(r"(net|opt)\b.*seed 3, task 1\b", failed.error)


def test_which_of_stacked_networks_is_broken():
    class Three:
        networks = Stacked(nn.Linear(2, 2), {"weight": torch.ones(3, 2, 2), "bias": torch.zeros(3, 2)})

    weights = Weights(Three())
    assert weights.broken() is None
    Three.networks.parameters["bias"][2, 1] = torch.inf
    assert weights.broken() == ("networks.bias", 2)


def test_a_number_per_stacked_network_may_be_broken():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    agent = type("Agent", (), {"networks": Stacked(Scale(), {"scale": torch.tensor([1.0, torch.nan])})})()
    assert Weights(agent).broken() == ("networks.scale", 1)


@pytest.mark.parametrize("make", [np.ones, torch.ones])
def test_matrices_that_are_no_parameters_count_if_they_were_finite(make):
    agent = type("Agent", (), {})()
    agent.weights, agent.bests = make((2, 2)), make((2, 2)) * np.nan
    weights = Weights(agent)
    assert weights.broken() is None
    agent.weights = make((2, 2))  # replaced, and then broken
    agent.weights[1, 0] = np.nan
    assert weights.broken() == ("weights", 0)


def test_a_property_that_raises_ends_no_run():
    class Agent:
        @property
        def model(self):
            raise RuntimeError("not built yet")

    assert Weights(Agent()).broken() is None


def test_frozen_and_unused_weights_do_not_count():
    class Agent(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask = nn.Parameter(torch.full((2,), -torch.inf), requires_grad=False)
            self.register_buffer("best", torch.tensor(torch.nan))
            self.lazy = nn.LazyLinear(3)
            self.history = [torch.nan, "text", {}]

    assert Weights(Agent()).broken() is None
    assert Weights(object()).broken() is None


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"net": nn.Linear(2, 2), "opt": "torch.optim.SGD"}, ["`model`", "`optimizer`", "`net`", "`opt`"]),
        ({"model": nn.Linear(2, 2), "optim": "torch.optim.SGD"}, ["`optimizer`", "`optim`"]),
        ({"weights": [0.0]}, ["`model`", "`optimizer`"]),
    ],
)
def test_a_network_under_other_names_is_pointed_out_once(attributes, named):
    agent = type("Agent", (), {})()
    for name, value in attributes.items():
        module = next((each for each in attributes.values() if isinstance(each, nn.Module)), None)
        setattr(agent, name, torch.optim.SGD(module.parameters()) if value == "torch.optim.SGD" else value)
    observer = Observer(agent, "mine", [0], ["weight_norm", "critical_step_sizes"], None)
    batch = np.zeros((1, 2), np.float32), np.zeros(1, int)
    undefined = [*observer.begin_task(), *observer.observe(*batch, 0, 1, last=True)]
    assert [each.indicator for each in undefined] == ["critical_step_sizes", "weight_norm"]
    assert len({each.reason for each in undefined}) == 1
    assert re.findall(r"`\w+`", undefined[0].reason) == named


def test_a_run_without_indicators_says_so_once(tmp_path, inline, capsys, monkeypatch):
    from clbench.commands.main import main

    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    command = ["evaluate", "mine.py", "--tasks", "1", "--epochs", "1", "--images", "300", "--seeds", "1"]
    for more in ([], ["--indicators", "all"]):
        assert not main([*command, *more])
        notes = [line for line in capsys.readouterr().err.splitlines() if "`net`" in line]
        assert len(notes) == 1


def test_an_installed_agents_line_is_the_one_that_clbench_called(tmp_path):
    folder = tmp_path / "site-packages" / "theirs"
    folder.mkdir(parents=True)
    path = write(folder, act="deep()")
    path.write_text("def deep():\n    raise KeyError('k')\n\n" + path.read_text())
    (failed,) = of_kind(enumerate(run(path)), Failed)
    assert f"mine.py:{line_of(path, '  deep()')}, in act: deep()" in failed.error


def test_a_line_is_named_even_if_the_working_folder_is_gone(tmp_path, monkeypatch):
    path = write(tmp_path, act="raise KeyError('k')")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    (failed,) = of_kind(enumerate(run(path)), Failed)
    assert f"mine.py:{line_of(path, 'KeyError')}" in failed.error


def test_steps_of_an_agent_that_takes_the_observation_are_timed(tmp_path):
    path = write(tmp_path, learn="assert obs is self.obs")
    path.write_text(path.read_text().replace("learn(self, targets)", "learn(self, targets, obs)"))
    config = job(str(path)).config
    times = step_times(config.stream, load_agent(str(path)), {}, (0,), "cpu")
    with pytest.raises(StepOrderError):  # the stream ends first
        next(times)


class Slotted:
    __slots__ = ("weights",)

    def __init__(self, weights):
        self.weights = weights


@pytest.mark.parametrize(
    ("hold", "name"),
    [
        (lambda weights: {"w": weights}, "core['w']"),
        (lambda weights: [[weights]], "core[0][0]"),
        (Slotted, "core.weights"),
        (lambda weights: {"net": Slotted(weights)}, "core['net'].weights"),
    ],
)
@pytest.mark.parametrize("make", [lambda: np.ones(3), lambda: torch.ones(3), lambda: nn.Linear(1, 3)])
def test_weights_are_found_wherever_they_are_kept(hold, name, make):
    agent, weights = type("Agent", (), {})(), make()
    agent.core, agent.itself = hold(weights), agent
    watched = Weights(agent)
    assert watched.broken() is None
    (weights.weight.data if isinstance(weights, nn.Module) else weights)[1] = np.nan
    assert watched.broken()[0].startswith(name)


@pytest.mark.parametrize("decorated", [True, False])
def test_an_agent_whose_needs_cannot_be_asked_for_is_named(tmp_path, decorated):
    path = write(tmp_path)
    with open(path, "a", encoding="utf-8") as file:
        file.write("    @classmethod\n" if decorated else "\n")
        file.write("    def needs_boundaries(cls, arguments):\n        return 1 / 0\n")
    request = {"num_tasks": 1, "epochs_per_task": 1, "num_samples": 300, "seeds": 1, "out": tmp_path}
    with pytest.raises(LoadError, match=r"\bmine\.py\b.*\bneeds_boundaries\b"):
        clbench.evaluate(str(path), boundaries="hidden", **request)


def test_submodules_of_an_agent_are_pointed_out():
    class Agent(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 2)

    observer = Observer(Agent(), "mine", [0], ["weight_norm"], None)
    batch = np.zeros((1, 2), np.float32), np.zeros(1, int)
    (undefined,) = observer.observe(*batch, 0, 1, last=True)
    assert "`net`" in undefined.reason


@pytest.mark.parametrize("agents", [3, None, object(), [3], {"a": 3}])
def test_what_is_no_agent_is_named(agents):
    with pytest.raises(LoadError):
        clbench.evaluate(agents)


def test_agents_may_be_paths(tmp_path, inline):
    path = write(tmp_path)
    short = {"num_tasks": 1, "epochs_per_task": 1, "num_samples": 300, "seeds": 1, "indicators": "none"}
    for agents in (path, [path], {"mine": path}):
        assert clbench.evaluate(agents, out=tmp_path / "out", **short).failures == ()


@pytest.mark.parametrize("taken", ["x, y", "targets, obs, info", "", "targets, *, weights"])
def test_a_learn_that_cannot_be_called_is_refused_before_the_start(tmp_path, taken):
    path = write(tmp_path)
    path.write_text(
        path.read_text().replace("learn(self, targets)", f"learn({', '.join(filter(None, ['self', taken]))})")
    )
    with pytest.raises(LoadError, match=r"mine\.py.*\blearn\("):
        load_agent(str(path))


@pytest.mark.parametrize("taken", ["*, targets, obs", "targets, steps=3", "*args", "y, **more"])
def test_other_ways_to_take_the_targets(tmp_path, taken):
    path = write(tmp_path)
    source = path.read_text().replace("learn(self, targets)", f"learn(self, {taken})")
    name = {"*args": "args[0]", "y, **more": "y"}.get(taken, "targets")
    path.write_text(source.replace("torch.as_tensor(targets)", f"torch.as_tensor({name})"))
    assert run(path)[-1] == Finished()
