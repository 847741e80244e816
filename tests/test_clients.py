"""Other libraries' environments and checkers, which take a stream as it is; skipped where they are not installed."""

import numpy as np
import pytest
import torch

import clbench
from tests.cases import short_env

pytestmark = pytest.mark.clients
ID = "clbench/RandomLabelMNIST-v0"


@pytest.fixture
def sb3():
    return pytest.importorskip("stable_baselines3")


@pytest.fixture
def torchrl():
    pytest.importorskip("torchrl")
    return pytest.importorskip("torchrl.envs")


@pytest.mark.filterwarnings("ignore:Your observation")  # it knows images and vectors, not batches of them
def test_stable_baselines_finds_no_fault(sb3):
    from stable_baselines3.common.env_checker import check_env

    check_env(short_env())


def test_stable_baselines_vector_environment_is_the_single_ones(sb3):
    from stable_baselines3.common.vec_env import DummyVecEnv

    envs = DummyVecEnv([short_env, short_env])
    envs.seed(3)
    twins = [short_env(), short_env()]
    shown = np.stack([twin.reset(seed=3 + index)[0] for index, twin in enumerate(twins)])
    assert np.array_equal(envs.reset(), shown)
    labels = np.ones((2, 100), dtype=np.int64)
    obs, rewards, ended, infos = envs.step(labels)
    steps = [twin.step(own) for twin, own in zip(twins, labels, strict=True)]
    assert np.array_equal(obs, np.stack([step[0] for step in steps]))
    assert rewards.tolist() == pytest.approx([step[1] for step in steps])
    assert not ended.any()
    for info, step in zip(infos, steps, strict=True):
        assert np.array_equal(info["targets"], step[4]["targets"])


def test_ppo_of_stable_baselines_learns_on_a_stream(sb3, tmp_path):
    from stable_baselines3.common.logger import configure

    small = {"num_samples": 64, "batch_size": 8}
    model = sb3.PPO(
        "MlpPolicy", short_env(**small), n_steps=16, batch_size=8, n_epochs=1, device="cpu", seed=0
    )
    model.set_logger(configure(str(tmp_path), []))
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(32)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True))
    action, _ = model.predict(model.get_env().reset())
    assert action.shape == (1, 8)


def test_torchrl_finds_no_fault(torchrl):
    torchrl.check_env_specs(torchrl.GymWrapper(short_env()))


@pytest.mark.parametrize("boundaries", ["told", "hidden"])
def test_torchrl_makes_a_stream_by_its_id(torchrl, boundaries):
    # Its own `batch_size` is another one.
    short = {"num_tasks": 2, "epochs_per_task": 2, "num_samples": 512}
    env = torchrl.GymEnv(ID, **short, boundaries=boundaries)
    torchrl.check_env_specs(env)
    env.set_seed(0, static_seed=True)
    twin = clbench.make("RandomLabelMNIST-v0", **short)
    twin.reset(seed=0)  # as `set_seed` does
    assert np.array_equal(env.reset()["observation"].numpy(), twin.reset()[0])
    assert len(env.rollout(3)) == 3


def test_torchrl_is_told_which_option_a_stream_does_not_have(torchrl):
    with pytest.raises(TypeError, match=r"'num_task'.*'num_tasks'"):
        torchrl.GymEnv(ID, num_task=3)
