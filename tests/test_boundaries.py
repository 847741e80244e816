"""Hidden boundaries: what agents are told, who is refused, and that nothing else changes."""

import copy
import dataclasses
import json
import pickle

import gymnasium
import numpy as np
import pytest
import torch

import clbench
from agents import l2, reset, vanilla
from clbench.agent import HiddenAgentSpec
from clbench.commands.main import main_of
from clbench.errors import ContractError, OptionError, UnknownNameError, UsageError
from clbench.results import RunFolder
from tests.cases import IDS, SHORT, short_env, short_vec

TINY = {**SHORT, "seeds": 2, "device": "cpu", "indicators": "none"}
LENGTHS = ("num_tasks", "epochs_per_task", "steps_per_task")
FLAGS = ["--tasks", "2", "--epochs", "2", "--images", "300", "--batch-size", "100", "--seeds", "1"]


class Diary:
    """A plain agent that writes down what it is told and shown."""

    told = []

    def __init__(self, spec, seed):
        self.spec, self.labels = spec, np.arange(spec.batch_size) % spec.num_classes
        self.told.append(spec)

    def begin_task(self, task):
        self.told.append(task)

    def act(self, obs):
        self.told.append(float(obs.sum()))
        return self.labels

    def learn(self, targets):
        self.told.append(int(targets.sum()))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Needy(Diary):
    @classmethod
    def needs_boundaries(cls, arguments):
        return "it counts tasks"


class Counts(Diary):
    """Reads what is not there."""

    def __init__(self, spec, seed):
        super().__init__(spec, seed)
        self.steps = spec.num_tasks * spec.steps_per_task


# Environments.


@pytest.mark.parametrize("make", [short_env, lambda **kw: short_vec(2, **kw)])
def test_info_has_targets_only(make):
    env, told = make(boundaries="hidden"), make()
    obs, info = env.reset(seed=3)
    assert (info, np.array_equal(obs, told.reset(seed=3)[0])) == ({}, True)
    labels = np.zeros(env.action_space.shape, dtype=np.int64)
    for step in range(12):
        assert env.position()["step_in_task"] == step % 6
        (obs, reward, ended, _, info), twin = env.step(labels), told.step(labels)
        assert list(info) == ["targets"]
        assert np.array_equal(info["targets"], twin[4]["targets"])
        assert np.array_equal(obs, twin[0])
        assert (np.array_equal(reward, twin[1]), np.array_equal(ended, twin[2])) == (True, True)
    env.reset(seed=3)
    env.step(labels)
    state = env.state_dict()
    restored = make(boundaries="hidden")
    assert restored.restore(state)[1] == {}
    assert restored.position()["step_in_task"] == 1


@pytest.mark.parametrize("mode", [None, "sync"])
def test_gymnasium_can_hide_them_too(mode):
    id = f"clbench/{IDS[0]}"
    envs = gymnasium.make_vec(id, num_envs=2, vectorization_mode=mode, boundaries="hidden", **SHORT)
    assert envs.reset(seed=0)[1] == {}
    assert gymnasium.make(id, boundaries="hidden", **SHORT).reset(seed=0)[1] == {}


@pytest.mark.parametrize("make", [short_env, lambda **kw: short_vec(2, **kw)])
def test_the_spec_tells_no_length(make):
    spec, told = make(boundaries="hidden").agent_spec, make().agent_spec
    assert dataclasses.asdict(spec).keys() == dataclasses.asdict(told).keys() - set(LENGTHS)
    assert (spec.boundaries, told.boundaries) == ("hidden", "told")
    for name in LENGTHS:
        assert not hasattr(spec, name)
        assert name not in repr(spec)
        with pytest.raises(AttributeError, match=rf"'{name}'.*\bhidden\b"):
            getattr(spec, name)
    with pytest.raises(AttributeError, match="'input_shap'"):
        _ = spec.input_shap
    for name in ("input_shape", "num_classes", "batch_size", "device"):
        assert getattr(spec, name) == getattr(told, name)
    for twin in (copy.deepcopy(spec), pickle.loads(pickle.dumps(spec)), dataclasses.replace(spec)):
        assert (twin == spec, hash(twin) == hash(spec)) == (True, True)
    assert spec != told


@pytest.mark.parametrize(
    ("value", "error"), [("hiden", UnknownNameError), ("", UnknownNameError), (True, OptionError)]
)
def test_other_choices_are_refused(value, error, capsys):
    with pytest.raises(error, match=r"boundaries"):
        short_env(boundaries=value)
    if error is UnknownNameError:
        assert main_of("evaluate", ["agents.vanilla", "--boundaries", value]) == 2
        assert "boundaries" in capsys.readouterr().err


@pytest.mark.parametrize("id", IDS)
def test_the_contract_holds(id):
    assert clbench.check_env(short_env(id, boundaries="hidden")) is None


class Tells(gymnasium.Wrapper):
    def step(self, action):
        *rest, info = self.env.step(action)
        return (*rest, {**info, "task": self.unwrapped.position()["task"]})


def test_the_contract_finds_out_who_tells():
    with pytest.raises(ContractError, match=r"\bhidden\b.*'task'"):
        clbench.check_env(Tells(short_env(boundaries="hidden")))


def test_a_registration_can_hide_them(streams):
    clbench.register("Hidden-v0", "clbench.streams.permuted:Permuted", boundaries="hidden")
    assert short_env("Hidden-v0").reset(seed=0)[1] == {}
    assert short_env("Hidden-v0", boundaries="told").reset(seed=0)[1]["boundary"]


# Runs.


@pytest.fixture
def diary():
    Diary.told.clear()
    return Diary.told


def tasks(evaluation):
    return evaluation.tasks.drop(columns="seconds").to_dict("list")


def test_a_plain_agent_is_told_nothing_and_shown_the_same(tmp_path, inline, diary):
    told = clbench.evaluate(Diary, **TINY, out=tmp_path)
    first = diary.copy()
    diary.clear()
    hidden = clbench.evaluate(Diary, **TINY, boundaries="hidden", out=tmp_path)
    assert [entry for entry in first if isinstance(entry, int) and entry < 2] == [0, 1] * 2
    shown = [entry for entry in first if isinstance(entry, float) or (isinstance(entry, int) and entry > 1)]
    assert diary[1:13] == shown[:12]
    assert not any(isinstance(entry, int) and entry < 2 for entry in diary)
    assert tasks(told)["accuracy"] == tasks(hidden)["accuracy"]


@pytest.mark.parametrize("together", [False, True])
def test_learners_that_do_not_need_them_give_the_same_bits(tmp_path, inline, small_networks, together):
    arguments = {"scheduler": "per-layer", "every": 2, "warmup": "off"} if together else {}
    settings = {**TINY, "indicators": None, "together": together, "arguments": arguments}
    both = [
        clbench.evaluate(["agents.vanilla", "agents.l2"], **settings, boundaries=choice, out=tmp_path)
        for choice in ("told", "hidden")
    ]
    assert tasks(both[0]) == tasks(both[1])
    frames = [each.indicators.sort_values(list(each.indicators.columns[:6])) for each in both]
    assert len(frames[0]) > 20
    assert np.array_equal(frames[0].value, frames[1].value, equal_nan=True)


def test_hidden_runs_are_recorded_as_such(tmp_path, inline, small_networks, capsys):
    both = [
        clbench.evaluate("agents.vanilla", **TINY, boundaries=choice, out=tmp_path)
        for choice in (None, "told", "hidden")
    ]
    usual, told, hidden = (each.configs[0] for each in both)
    assert usual.key == told.key != hidden.key
    assert usual.identity() == told.identity() != hidden.identity()
    stored = json.loads((both[2].folder / "run.json").read_text(encoding="utf-8"))
    assert stored["config"]["stream"]["boundaries"] == "hidden"
    assert stored["config"]["overrides"].keys() == {
        "num_tasks",
        "epochs_per_task",
        "num_samples",
        "batch_size",
    }
    assert "boundaries hidden" in hidden.describe("")
    assert "boundaries" not in told.describe("")
    runs = clbench.load_results(tmp_path).runs
    assert sorted(runs.boundaries) == ["hidden", "told", "told"]
    assert "boundaries" not in clbench.load_results(both[0].folder).runs
    assert main_of("compare", [str(both[0].folder), str(both[2].folder)]) == 2
    assert "boundaries told / hidden" in capsys.readouterr().err
    assert main_of("compare", [str(both[0].folder), str(both[2].folder), "--mix"]) == 0


def test_older_runs_were_told(tmp_path, inline, small_networks):
    folder = clbench.evaluate("agents.vanilla", **TINY, out=tmp_path).folder
    path = folder / "run.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    del data["config"]["stream"]["boundaries"], data["chance_level"]
    path.write_text(json.dumps(data), encoding="utf-8")
    manifest = RunFolder(folder).read_manifest()
    assert (manifest.config.stream.boundaries, manifest.chance) == ("told", 0.1)


def test_the_command_hides_them(tmp_path, inline, small_networks, capsys):
    arguments = ["agents.vanilla", *FLAGS, "--boundaries", "hidden", "--out", str(tmp_path)]
    assert main_of("evaluate", arguments) == 0
    assert "boundaries hidden" in capsys.readouterr().out


def test_sweeps_vary_them(tmp_path, inline, small_networks):
    grid = {"agent": ["agents.vanilla"], "boundaries": ["told", "hidden"]}
    swept = clbench.sweep({**SHORT, "seeds": 1, "device": "cpu", "grid": [grid]}, out=tmp_path)
    assert not swept.failures
    assert sorted(swept.results.runs.boundaries) == ["hidden", "told"]
    assert len(swept.ranking) == 2
    accuracies = swept.results.tasks.groupby("run").accuracy.apply(tuple)
    assert accuracies.nunique() == 1


def test_a_hidden_run_resumes(tmp_path, inline, small_networks, monkeypatch):
    settings = {**TINY, "seeds": 1, "boundaries": "hidden"}
    whole = clbench.evaluate("agents.l2", **settings, out=tmp_path / "whole")
    learn, steps = l2.Agent.learn, []

    def fail_late(agent, targets):
        steps.append(None)
        if len(steps) == 9:
            raise RuntimeError("interrupted")
        return learn(agent, targets)

    monkeypatch.setattr(l2.Agent, "learn", fail_late)
    with pytest.raises(clbench.ClbenchError) as caught:
        clbench.evaluate("agents.l2", **settings, out=tmp_path / "parts")
    monkeypatch.setattr(l2.Agent, "learn", learn)
    resumed = clbench.resume(caught.value.evaluation.folder)
    assert tasks(resumed) == tasks(whole)
    assert resumed.configs == whole.configs


def test_loops_by_hand_are_recorded(tmp_path):
    accuracies = []
    for choice in ("told", "hidden"):
        env = clbench.record(short_env(boundaries=choice), tmp_path, agent="mine")
        env.reset(seed=0)
        done = False
        while not done:
            _, _, done, _, info = env.step(np.ones(100, dtype=int))
        env.close()
        assert ("task" in info) == (choice == "told")
        results = clbench.load_results(env.folder)
        assert results.runs.status.tolist() == ["complete"]
        accuracies.append(results.tasks.accuracy.tolist())
    assert accuracies[0] == accuracies[1]
    assert results.runs.boundaries.tolist() == ["hidden"]


# Who needs them.


@pytest.mark.parametrize(
    ("agent", "arguments"),
    [
        ("agents.reset", {}),
        ("agents.reset:L2", {}),
        ("agents.perlayer", {}),
        ("agents.l2", {"scheduler": "noise-only", "warmup": "first-task"}),
        (Needy, {}),
    ],
)
def test_agents_that_need_them_are_refused_before_anything_starts(tmp_path, agent, arguments):
    name = agent if isinstance(agent, str) else agent.__qualname__
    with pytest.raises(UsageError, match=rf"{name}.*boundaries='hidden'"):
        clbench.evaluate(agent, **TINY, arguments=arguments, boundaries="hidden", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_learner_that_is_constructed_by_hand_is_called_as_on_the_command_line():
    with pytest.raises(OptionError, match=r"^agents\.reset needs"):
        reset.Agent(HiddenAgentSpec((4,), 2, 8), [0])


def test_the_command_and_sweeps_refuse_them_too(tmp_path, capsys):
    arguments = ["agents.reset", *FLAGS, "--boundaries", "hidden", "--out", str(tmp_path)]
    assert main_of("evaluate", arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "agents.reset" in line
    with pytest.raises(UsageError, match=r"agents\.reset.*boundaries='hidden'"):
        clbench.plan_sweep({"cell": [{"agent": "agents.reset", "boundaries": "hidden"}]}, out=tmp_path)


def test_learners_refuse_a_spec_without_what_they_need():
    spec = short_vec(1, boundaries="hidden").agent_spec
    with pytest.raises(OptionError, match=r"agents\.reset"):
        reset.Agent(spec, [0])
    with pytest.raises(OptionError, match="warmup"):
        vanilla.Agent(spec, [0], scheduler="per-layer")
    obs = torch.zeros(1, 100, 784)
    assert vanilla.Agent(spec, [0]).act(obs).shape == (1, 100, 10)


def test_an_agent_that_reads_a_length_is_named(tmp_path, inline):
    with pytest.raises(clbench.ClbenchError, match=r"Counts.*'num_tasks'.*\bhidden\b"):
        clbench.evaluate(Counts, **TINY, boundaries="hidden", out=tmp_path)
