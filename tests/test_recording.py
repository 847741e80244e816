"""`clbench.record`: loops by hand leave run folders."""

import io
import json

import gymnasium
import pytest
import torch

import clbench
from clbench.errors import InUseError, OptionError, StepOrderError
from clbench.results import RunFolder
from clbench.scoring import score

SMALL = {"num_tasks": 3, "epochs_per_task": 2, "num_samples": 600, "batch_size": 100}


class Agent:
    """A small network in plain PyTorch."""

    def __init__(self, spec, seed):
        torch.manual_seed(seed)
        self.model = torch.nn.Linear(spec.input_shape[0], spec.num_classes)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def act(self, obs):
        self.logits = self.model(torch.as_tensor(obs))
        return self.logits

    def learn(self, targets):
        loss = torch.nn.functional.cross_entropy(self.logits, torch.as_tensor(targets))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def play(env, agent, steps=None, **reset):
    """Run an episode, or its first steps."""
    obs, _ = env.reset(**reset)
    done, taken = False, 0
    while not done and taken != steps:
        obs, _, done, _, info = env.step(agent.act(obs))
        agent.learn(info["targets"])
        taken += 1


def make(tmp_path, **changes):
    return clbench.record(clbench.make("RandomLabelMNIST-v0", **{**SMALL, **changes}), tmp_path, agent="mine")


def accuracies(results):
    return results.tasks[["seed", "task", "accuracy", "final_epoch_accuracy"]].to_numpy().tolist()


@pytest.mark.usefixtures("inline")
def test_the_score_equals_that_of_evaluate_to_the_bit(tmp_path):
    env = make(tmp_path / "recorded")
    for seed in (0, 1):
        play(env, Agent(env.agent_spec, seed), seed=seed)
    env.close()
    evaluation = clbench.evaluate(Agent, seeds=2, **SMALL, indicators="none", out=tmp_path / "evaluated")

    recorded = clbench.load_results(env.folder)
    assert accuracies(recorded) == accuracies(clbench.load_results(evaluation.folder))
    (expected,) = evaluation.scores
    actual = score("mine", RunFolder(env.folder).read_tasks(), SMALL["num_tasks"], chance=0.1)
    assert vars(actual) == {**vars(expected), "agent": "mine"}
    assert recorded.runs.status.tolist() == ["complete"]
    assert recorded.runs.seeds.tolist() == [2]


def test_the_run_says_that_it_was_recorded_by_hand_and_what_it_was(tmp_path):
    env = clbench.record(
        clbench.make("PermutedMNIST-v0", num_tasks=1, epochs_per_task=1, num_samples=512),
        out=tmp_path,
        agent="mine",
        arguments={"width": 3},
    )
    play(env, Agent(env.agent_spec, 5), seed=5)
    env.close()
    manifest = RunFolder(env.folder).read_manifest()
    assert manifest.recorded == "by hand"
    assert manifest.config.agent.arguments == {"width": 3}
    assert manifest.config.seeds == (5,)
    assert manifest.config.stream == env.stream_spec
    assert manifest.config.protocol == "quick"
    assert dict(manifest.config.overrides) == {"num_tasks": 1, "epochs_per_task": 1, "num_samples": 512}
    assert manifest.data.num_classes == 10
    assert manifest.timing.steps_per_second > 0
    assert not (env.folder / "state").exists()
    assert str(tmp_path) not in json.dumps(manifest.to_json())


def test_a_stream_of_a_protocol_has_no_overrides(tmp_path):
    env = clbench.record(clbench.make("RandomLabelMNIST-v0"), out=tmp_path, agent="mine")
    play(env, Agent(env.agent_spec, 0), steps=1)
    env.close()
    config = RunFolder(env.folder).read_manifest().config
    assert (config.protocol, dict(config.overrides)) == ("quick", {})


def test_an_episode_that_is_left_stays_as_unfinished(tmp_path):
    env = make(tmp_path)
    steps = env.agent_spec.steps_per_task
    play(env, Agent(env.agent_spec, 0), steps=steps + 1)  # seed 0: the first task only
    play(env, Agent(env.agent_spec, 1))  # seed 1, to its end
    tasks = clbench.load_results(env.folder).tasks
    assert tasks.groupby("seed").task.apply(list).to_dict() == {0: [0], 1: [0, 1, 2]}
    assert RunFolder(env.folder).read_manifest().status == "running"
    env.close()
    assert RunFolder(env.folder).read_manifest().status == "interrupted"


def test_an_unfinished_seed_may_be_begun_again_and_a_finished_one_may_not(tmp_path):
    env = make(tmp_path)
    play(env, Agent(env.agent_spec, 0), steps=env.agent_spec.steps_per_task, seed=0)
    play(env, Agent(env.agent_spec, 0), seed=0)
    assert RunFolder(env.folder).read_manifest().status == "complete"
    with pytest.raises(OptionError, match="seed 0"):
        env.reset(seed=0)
    with pytest.raises(StepOrderError):
        env.step([0] * SMALL["batch_size"])  # the refused reset has started nothing
    env.close()


def test_each_reset_without_a_seed_takes_the_next(tmp_path):
    env = make(tmp_path, num_tasks=1, epochs_per_task=1)
    play(env, Agent(env.agent_spec, 1), seed=1)
    play(env, Agent(env.agent_spec, 0))
    play(env, Agent(env.agent_spec, 2))
    assert RunFolder(env.folder).read_manifest().config.seeds == (1, 0, 2)


def test_a_reset_without_a_step_begins_no_seed(tmp_path):
    env = make(tmp_path, num_tasks=1, epochs_per_task=1)
    env.reset()
    play(env, Agent(env.agent_spec, 0))
    env.close()
    assert RunFolder(env.folder).read_manifest().config.seeds == (0,)


def test_seeds_in_lockstep_are_recorded_as_one_by_one(tmp_path):
    class Constant:
        def act(self, obs):
            return torch.zeros(obs.shape[:2], dtype=torch.int64)

        def learn(self, targets):
            pass

    together = clbench.record(clbench.make_vec("RandomLabelMNIST-v0", 2, **SMALL), tmp_path, agent="mine")
    obs, _ = together.reset(seed=3)
    for _ in range(SMALL["num_tasks"] * together.agent_spec.steps_per_task):
        obs, *_ = together.step(Constant().act(obs))
    apart = make(tmp_path)
    for seed in (3, 4):
        obs, _ = apart.reset(seed=seed)
        done = False
        while not done:
            obs, _, done, _, _ = apart.step([0] * SMALL["batch_size"])
    assert accuracies(clbench.load_results(together.folder)) == accuracies(clbench.load_results(apart.folder))
    together.close(), apart.close()


def test_a_recorder_holds_its_folder(tmp_path):
    env = make(tmp_path)
    env.reset()
    with pytest.raises(InUseError), RunFolder(env.folder).in_use():
        pass
    env.close()
    with RunFolder(env.folder).in_use():
        pass


def test_what_is_not_a_stream_is_refused(tmp_path):
    with pytest.raises(OptionError, match="CartPole"):
        clbench.record(gymnasium.make("CartPole-v1"), tmp_path, agent="mine")
    with pytest.raises(OptionError, match="agent"):
        clbench.record(clbench.make("RandomLabelMNIST-v0", **SMALL), tmp_path, agent="")
    assert not list(tmp_path.iterdir())


def test_progress_and_the_folder_are_printed(tmp_path, capsys):
    env = make(tmp_path)
    play(env, Agent(env.agent_spec, 0), steps=env.agent_spec.steps_per_task)
    first = RunFolder(env.folder).read_tasks()[0].accuracy
    assert capsys.readouterr().out == f"mine  seed 0  task 1/3  accuracy {first:.2f}\n"
    play(env, Agent(env.agent_spec, 0), seed=0)
    *_, last = capsys.readouterr().out.splitlines()
    mean = sum(record.accuracy for record in RunFolder(env.folder).read_tasks()) / 3
    assert last == f"mine  done  average accuracy {mean:.3f}  {env.folder}/"
    env.reset()
    env.close()
    assert capsys.readouterr().out.startswith("mine  interrupted")


def test_silent_if_asked_and_whatever_standard_output_knows(tmp_path, capsys, monkeypatch):
    env = clbench.make("RandomLabelMNIST-v0", **SMALL)
    for progress in (False, True):
        recorded = clbench.record(env, tmp_path, agent="gr\u00f6\u00dfe", progress=progress)
        stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
        monkeypatch.setattr("sys.stdout", stdout)
        play(recorded, Agent(env.agent_spec, 0), steps=env.unwrapped.agent_spec.steps_per_task, seed=0)
        recorded.close()
        assert bool(stdout.buffer.getvalue()) == progress


def test_a_loop_that_was_killed_is_shown_as_interrupted(tmp_path):
    """Its lock is gone with its process, what run.json says is not."""
    env = make(tmp_path)
    play(env, Agent(env.agent_spec, 0), steps=1)
    assert clbench.load_results(env.folder).runs.status.tolist() == ["running"]
    env._recorder._lock.close()
    assert RunFolder(env.folder).read_manifest().status == "running"
    assert clbench.load_results(env.folder).runs.status.tolist() == ["interrupted"]
