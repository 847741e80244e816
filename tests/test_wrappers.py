"""Gymnasium's wrappers around streams: which work, and with which numbers."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from gymnasium.wrappers import vector

import clbench
from clbench.envs.rewards import Rewards
from clbench.errors import OptionError
from tests.cases import SHORT, short_env, short_vec

LABELS = np.arange(100) % 10
SINGLE = {
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 1),
    "FlattenObservation": wrappers.FlattenObservation,
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 2),
    "NormalizeObservation": wrappers.NormalizeObservation,
    "RescaleObservation": lambda env: wrappers.RescaleObservation(env, np.float32(0), np.float32(1)),
    "ReshapeObservation": lambda env: wrappers.ReshapeObservation(env, (100, 28, 28)),
    "TransformObservation": lambda env: wrappers.TransformObservation(env, np.negative, None),
    "TransformAction": lambda env: wrappers.TransformAction(env, lambda labels: labels, None),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.5),
    "ClipReward": lambda env: wrappers.ClipReward(env, 0, 1),
    "NormalizeReward": wrappers.NormalizeReward,
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda reward: reward),
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 20),
    "Autoreset": wrappers.Autoreset,
    "PassiveEnvChecker": wrappers.PassiveEnvChecker,
    "OrderEnforcing": wrappers.OrderEnforcing,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
}
EVERYWHERE = {
    "RecordEpisodeStatistics": vector.RecordEpisodeStatistics,
    "NormalizeReward": vector.NormalizeReward,
    "TransformReward": lambda envs: vector.TransformReward(envs, lambda rewards: 2 * rewards),
    "TransformObservation": lambda envs: vector.TransformObservation(envs, lambda obs: 2 * obs),
    "TransformAction": lambda envs: vector.TransformAction(envs, lambda labels: labels),
    "FlattenObservation": vector.FlattenObservation,
}
SYNC_ONLY = {
    "NormalizeObservation": vector.NormalizeObservation,
    "RescaleObservation": lambda envs: vector.RescaleObservation(envs, np.float32(0), np.float32(1)),
    "DictInfoToList": vector.DictInfoToList,
    "VectorizeTransformObservation": lambda envs: vector.VectorizeTransformObservation(
        envs, wrappers.FlattenObservation
    ),
}


def sync(**named):
    return gymnasium.make_vec("clbench/RandomLabelMNIST-v0", 2, vectorization_mode="sync", **SHORT, **named)


def walk(env, labels, seed, steps=12):
    """Rewards, ends and the last observation and info."""
    env.reset(seed=seed)
    taken = [env.step(labels) for _ in range(steps)]
    rewards, ends = [np.asarray(step[1]) for step in taken], [np.asarray(step[2]) for step in taken]
    return np.stack(rewards), np.stack(ends), taken[-2][0], taken[-1][4]


@pytest.mark.parametrize("name", SINGLE)
def test_wrappers_of_one_environment(name):
    env = SINGLE[name](short_env())
    rewards, ends, _, info = walk(env, LABELS, 0)
    assert ends.tolist() == [False] * 11 + [True]
    assert info["targets"].shape == (100,)
    if name in ("TimeLimit", "PassiveEnvChecker", "OrderEnforcing", "Autoreset", "FlattenObservation"):
        assert np.array_equal(rewards, walk(short_env(), LABELS, 0)[0])


def test_a_time_limit_of_gymnasiums():
    env = gymnasium.make("clbench/RandomLabelMNIST-v0", max_episode_steps=3, **SHORT)
    env.reset(seed=0)
    assert [env.step(LABELS)[3] for _ in range(3)] == [False, False, True]
    assert env.unwrapped.stream_spec.num_tasks == 2


@pytest.mark.parametrize("name", EVERYWHERE)
def test_vector_wrappers_give_the_same_on_tensors_as_on_arrays(name):
    labels = np.stack([LABELS, LABELS[::-1]])
    ours = walk(EVERYWHERE[name](short_vec(2)), torch.from_numpy(labels.copy()), [3, 5])
    theirs = walk(EVERYWHERE[name](sync()), labels, [3, 5])
    assert np.allclose(ours[0], theirs[0], rtol=1e-5)
    assert np.array_equal(ours[1], theirs[1])
    assert np.allclose(ours[2], theirs[2])
    assert np.array_equal(ours[3]["targets"], theirs[3]["targets"])
    if name == "RecordEpisodeStatistics":
        plain = walk(short_vec(2), torch.from_numpy(labels.copy()), [3, 5])[0]
        assert ours[3]["episode"]["r"] == pytest.approx(plain.sum(axis=0))
        assert ours[3]["episode"]["l"].tolist() == [12, 12]


@pytest.mark.parametrize("name", SYNC_ONLY)
def test_vector_wrappers_of_arrays(name):
    labels = np.stack([LABELS, LABELS])
    rewards, ends, *_ = walk(SYNC_ONLY[name](sync()), labels, [3, 5])
    assert np.array_equal(rewards, walk(sync(), labels, [3, 5])[0])
    assert ends.tolist() == [[False, False]] * 11 + [[True, True]]


def test_rewards_are_tensors_that_arrays_take():
    envs = short_vec(2)
    envs.reset(seed=0)
    rewards = envs.step(torch.zeros(2, 100, dtype=torch.int64))[1]
    assert isinstance(rewards, torch.Tensor)
    assert rewards.dtype == torch.float32
    values = rewards.tolist()
    total = np.ones(2)
    total += rewards
    assert total.tolist() == pytest.approx([1 + value for value in values])
    assert np.sqrt(rewards).tolist() == pytest.approx(np.sqrt(values).tolist())
    assert np.add.reduce(rewards) == pytest.approx(sum(values))
    assert torch.stack([rewards, rewards]).mean().item() == pytest.approx(np.mean(values))
    into = Rewards([1.0, 2.0])
    into += rewards
    assert into.tolist() == pytest.approx([1 + values[0], 2 + values[1]])


@pytest.mark.parametrize("mode", ["human", "rgb_array", "ansi", ""])
def test_there_is_nothing_to_render(mode):
    for make in (short_env, lambda **kw: short_vec(2, **kw), sync):
        with pytest.raises(OptionError, match=f"render_mode='{mode}'"):
            make(render_mode=mode)
    with pytest.raises(OptionError, match="render_mode="):
        gymnasium.make("clbench/RandomLabelMNIST-v0", render_mode=mode)


@pytest.mark.parametrize("make", [short_env, lambda **kw: short_vec(2, **kw), sync])
def test_no_render_mode_is_accepted(make):
    env = make(render_mode=None)
    assert env.render_mode is None
    env.reset(seed=0)
    with pytest.raises(OptionError, match="render"):
        env.render()
    env.close()
    env.close()


@pytest.mark.parametrize("make", [short_env, lambda: short_vec(2)])
def test_environments_are_closed_by_with(make, tmp_path):
    with make() as env:
        env.reset(seed=0)
    with clbench.record(make(), tmp_path, agent="mine") as recorded:
        recorded.reset(seed=0)
    assert clbench.load_results(tmp_path).runs.status.tolist() == ["interrupted"]


def test_what_pytorch_computes_from_rewards_is_a_plain_tensor():
    envs = short_vec(2)
    obs, _ = envs.reset(seed=0)
    _, rewards, *_ = envs.step(torch.zeros(obs.shape[:2], dtype=torch.int64))
    assert type(rewards[:1]) is type(rewards)
    assert {type(rewards + 1), type(torch.stack([rewards])), type(rewards.mean())} == {torch.Tensor}
