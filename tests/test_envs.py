"""Both faces of the environment, and the scoring of predictions."""

import copy
import pickle
import re
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check

import clbench
from clbench.envs.base import Classification
from clbench.envs.single import StreamEnv
from clbench.envs.vector import check_device
from clbench.errors import DeviceError, OptionError, PredictionError, StepOrderError
from clbench.machine import no_reads
from clbench.specs import StreamSpec
from clbench.streams.random_label import RandomLabel
from tests.cases import IDS, SHORT, short_env, short_vec


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("make", [clbench.make, lambda id, **kw: gymnasium.make(f"clbench/{id}", **kw)])
def test_gymnasium_finds_no_fault(id, make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(make(id, **SHORT))


def test_observation_is_inputs_only_and_targets_follow():
    env = short_env()
    obs, info = env.reset(seed=0)
    assert obs.shape == (100, 784)
    assert info == {"task": 0, "epoch": 0, "step_in_task": 0, "boundary": True}
    _, reward, terminated, truncated, info = env.step(np.zeros(100, dtype=np.int64))
    assert reward == pytest.approx(np.mean(info["targets"] == 0))
    assert isinstance(reward, float)
    assert (terminated, truncated) == (False, False)
    assert info["targets"].dtype == np.int64


def test_places_and_boundaries_of_a_whole_stream():
    env = short_env()
    _, info = env.reset(seed=0)
    places, boundaries, ends = [], [], []
    done = False
    while not done:
        places.append((info["task"], info["epoch"], info["step_in_task"]))
        obs, _, done, _, info = env.step(np.zeros(100, dtype=np.int64))
        boundaries.append(info["boundary"])
        ends.append(done)
    assert places == [(task, step // 3, step) for task in range(2) for step in range(6)]
    assert boundaries == [False] * 5 + [True] + [False] * 6
    assert ends == [False] * 11 + [True]
    assert (info["task"], info["epoch"], info["step_in_task"]) == (1, 1, 5)
    assert not obs.any()
    assert obs in env.observation_space


def test_perfect_predictions_score_one():
    twin, env = short_env(), short_env()
    twin.reset(seed=0)
    env.reset(seed=0)
    targets = twin.step(np.zeros(100, dtype=np.int64))[4]["targets"]
    assert env.step(targets)[1] == 1.0


def test_logits_are_scored_by_their_greatest():
    twin, env = short_env(), short_env()
    twin.reset(seed=0)
    env.reset(seed=0)
    targets = torch.from_numpy(twin.step(np.zeros(100, dtype=np.int64))[4]["targets"])
    assert env.step(torch.nn.functional.one_hot(targets, 10).float())[1] == 1.0


def test_reset_without_seed_draws_one_from_the_environment():
    env, twin = short_env(), short_env()
    first = env.reset(seed=7)[0]
    second = env.reset()[0]
    assert not np.array_equal(first, second)
    twin.reset(seed=7)
    assert np.array_equal(twin.reset()[0], second)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_copies_go_on_where_the_original_stood(steps):
    env = short_env("PermutedMNIST-v0")
    env.reset(seed=2)
    labels = np.zeros(100, dtype=np.int64)
    for _ in range(steps):
        env.step(labels)
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    obs, *_, info = env.step(labels)
    for twin in twins:
        twin_obs, *_, twin_info = twin.step(labels)
        assert np.array_equal(obs, twin_obs)
        assert np.array_equal(info["targets"], twin_info["targets"])


def test_step_before_reset_and_after_the_end():
    for env in (short_env(), short_vec(2)):
        labels = np.zeros(env.action_space.shape, dtype=np.int64)
        with pytest.raises(StepOrderError, match=r"\bstep\b.*\breset\(seed="):
            env.step(labels)
        env.reset(seed=0)
        for _ in range(12):
            env.step(labels)
        with pytest.raises(StepOrderError, match=r"\bend.*\breset\(seed="):
            env.step(labels)
        env.reset(seed=0)
        env.step(labels)


@pytest.mark.parametrize("env", [short_env, lambda: short_vec(2)])
def test_reset_knows_no_options(env):
    with pytest.raises(OptionError, match="'task': 3"):
        env().reset(seed=0, options={"task": 3})


@pytest.mark.parametrize(
    ("predictions", "fault"),
    [
        (np.zeros(99, dtype=np.int64), r"\bint64 \(99,\)"),
        (np.zeros((100, 9)), r"\(100, 10\).*\bfloat64 \(100, 9\)"),
        (np.zeros(100), r"\(100,\).*\bfloat64 \(100,\)"),
        (np.zeros(100, dtype=bool), r"\bbool\b"),
        (np.zeros((100, 10), dtype=np.int64), r"\bint64 \(100, 10\)"),
        (np.full(100, 10), r"\blabels\b.*\[0, 10\).*seed 3\b.*task 1\b.*step 1\b"),
        (np.full(100, -1), r"\blabels\b.*\[0, 10\)"),
        (np.full((100, 10), np.nan), r"\blogits\b.*\bNaN\b"),
        (np.full((100, 10), np.inf), r"\blogits\b.*\bNaN\b"),
        (["a"] * 100, r"\bpredictions\b.*<U1"),
        (None, r"\bpredictions\b.*\bobject\b"),
        ([[1], [1, 2]], r"\bpredictions\b(?!.*\bdtype\b)"),
        (5, r"\bint64 \(\)"),
        (np.zeros(100, dtype=complex), r"\bcomplex128\b"),
    ],
)
def test_wrong_predictions_are_named(predictions, fault):
    env = short_env()
    env.reset(seed=3)
    with pytest.raises(PredictionError, match=fault):
        env.step(predictions)
    env.step(np.zeros(100, dtype=np.int64))  # nothing is lost: the batch can still be answered


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint16, np.uint64, np.int64, ">i4"])
def test_labels_of_any_integer_type_count(dtype):
    env, twin = short_env(), short_env()
    env.reset(seed=0)
    twin.reset(seed=0)
    assert env.step(np.ones(100, dtype=dtype))[1] == twin.step(np.ones(100, dtype=np.int64))[1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_logits_of_any_floating_type_count(dtype):
    env, twin = short_env(), short_env()
    env.reset(seed=0)
    twin.reset(seed=0)
    logits = np.eye(10)[np.arange(100) % 10]
    assert env.step(logits.astype(dtype))[1] == twin.step(np.arange(100) % 10)[1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_tensors_of_labels_count(dtype):
    env = short_env()
    env.reset(seed=0)
    assert 0 <= env.step(torch.ones(100, dtype=dtype))[1] <= 1


def test_read_only_predictions_count():
    env = short_env()
    env.reset(seed=0)
    labels = np.ones(100, dtype=np.int64)
    labels.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= env.step(labels)[1] <= 1


def test_labels_and_accuracy_of_many_seeds():
    logits = torch.tensor([[[0.0, 2.0], [3.0, 1.0]], [[0.0, float("nan")], [1.0, 0.0]]])
    targets = torch.tensor([[1, 1], [0, 0]])
    accuracy, unusable = Classification(2).score(logits, targets)
    assert unusable.tolist() == [False, True]
    assert Classification(2).labels(logits, targets)[0][0].tolist() == [1, 0]
    assert accuracy[0] == 0.5


# Vector face.


@pytest.mark.parametrize("id", IDS)
def test_vector_is_the_singles_in_lockstep(id):
    seeds = [4, 0, 11]
    envs, singles = short_vec(3, id), [short_env(id) for _ in seeds]
    observations, info = envs.reset(seed=seeds)
    shown = [env.reset(seed=seed) for env, seed in zip(singles, seeds, strict=True)]
    assert info == shown[0][1]
    rng = np.random.default_rng(0)
    for _ in range(12):
        for place, (obs, _) in enumerate(shown):
            assert np.array_equal(observations[place].numpy(), obs)
        predictions = rng.integers(10, size=(3, 100))
        observations, rewards, terminated, truncated, info = envs.step(torch.from_numpy(predictions))
        steps = [env.step(own) for env, own in zip(singles, predictions, strict=True)]
        shown = [(step[0], step[4]) for step in steps]
        assert rewards.tolist() == pytest.approx([step[1] for step in steps])
        assert terminated.tolist() == [step[2] for step in steps]
        assert not truncated.any()
        for place, step in enumerate(steps):
            assert np.array_equal(info["targets"][place].numpy(), step[4]["targets"])
        assert {key: info[key] for key in steps[0][4] if key != "targets"} == {
            key: value for key, value in steps[0][4].items() if key != "targets"
        }


def test_vector_seeds():
    envs = short_vec(3)
    counted = envs.reset(seed=5)[0].clone()
    assert torch.equal(envs.reset(seed=[5, 6, 7])[0], counted)
    drawn = envs.reset()[0]
    assert not torch.equal(drawn, counted)
    with pytest.raises(OptionError, match=r"\b2 seeds\b.*\b3\b"):
        envs.reset(seed=[0, 1])


@pytest.mark.parametrize("seed", [np.int64(5), np.uint8(5), np.array(5)[()]])
def test_numpys_whole_numbers_are_seeds(seed):
    assert np.array_equal(short_env().reset(seed=seed)[0], short_env().reset(seed=5)[0])
    expected = short_vec(2).reset(seed=[5, 6])[0]
    for seeds in (seed, np.array([5, 6]), (seed, 6), range(5, 7)):
        assert torch.equal(short_vec(2).reset(seed=seeds)[0], expected)


@pytest.mark.parametrize("seed", [3.0, -1, True, "3", [None, None], torch.tensor([1, 2])])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(OptionError, match=r"\bseed\b"):
        short_vec(2).reset(seed=seed)
    with pytest.raises(OptionError, match=r"\bseed\b"):
        short_env().reset(seed=seed)


@pytest.mark.parametrize(
    "predictions",
    [
        torch.zeros(100, dtype=torch.int64, device="meta"),
        torch.zeros(100, 10).to(torch.float8_e4m3fn),
        np.zeros(100, dtype="datetime64[s]"),
        np.zeros(100, dtype=object),
        {"labels": 1},
        torch.zeros(100),
    ],
)
def test_odd_predictions_are_refused(predictions):
    env = short_env()
    env.reset(seed=0)
    with pytest.raises(PredictionError, match=r"\bpredictions\b"):
        env.step(predictions)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_with_gradients_count(dtype):
    env = short_env()
    env.reset(seed=0)
    assert 0 <= env.step(torch.zeros(100, 10, dtype=dtype, requires_grad=True))[1] <= 1


def test_vector_spaces_and_metadata():
    envs = short_vec(3)
    assert envs.observation_space.shape == (3, 100, 784)
    assert envs.single_observation_space.shape == (100, 784)
    assert envs.action_space.shape == (3, 100)
    assert envs.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.DISABLED
    assert envs.spec.id == "clbench/RandomLabelMNIST-v0"
    obs, _ = envs.reset(seed=0)
    assert obs.numpy() in envs.observation_space


def test_vector_names_the_seed_that_went_wrong():
    envs = short_vec(3)
    envs.reset(seed=[4, 5, 6])
    logits = torch.zeros(3, 100, 10)
    envs.step(logits)
    logits[1, 7, 3] = torch.nan
    with pytest.raises(PredictionError, match=r"\bNaN\b.*seed 5\b.*task 1\b.*step 2\b"):
        envs.step(logits)
    for _ in range(6):  # nothing is lost: the batch can still be answered, and the task ends in peace
        envs.step(torch.zeros(3, 100, 10))


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, "3"])
def test_vector_counts_are_checked(num_envs):
    with pytest.raises(OptionError, match=re.escape(f"num_envs={num_envs!r} ")):
        short_vec(num_envs)


@pytest.mark.parametrize(("name", "fault"), [("gpu", r"'gpu'.*\bcuda:N\b"), ("meta", r"'meta'.*\bcuda:N\b")])
def test_unknown_devices_are_refused(name, fault):
    with pytest.raises(DeviceError, match=fault):
        check_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_absent_cuda_is_refused():
    with pytest.raises(DeviceError, match=r"\bcuda\b.*--device cpu\b"):
        short_vec(2, device="cuda")


def report_at_the_tasks_end(device):
    envs = short_vec(2, device=device)
    obs, _ = envs.reset(seed=0)
    assert obs.device.type == device
    logits = torch.zeros(2, 100, 10, device=device)
    logits[1] = torch.nan
    envs.step(logits)
    for _ in range(4):
        envs.step(torch.zeros(2, 100, 10, device=device))
    with pytest.raises(PredictionError, match=r"seed 1\b.*task 1\b.*step 1\b"):
        envs.step(torch.zeros(2, 100, 10, device=device))


def test_faults_that_are_not_read_at_once_are_reported_at_the_tasks_end():
    with no_reads():
        report_at_the_tasks_end("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_vector_on_a_gpu_reports_faults_at_the_tasks_end():
    report_at_the_tasks_end("cuda")


def test_states_of_some_seeds_are_joined():
    whole, others = short_vec(3), short_vec(3)
    whole.reset(seed=[4, 5, 6])
    labels = torch.zeros(3, 100, dtype=torch.int64)
    for _ in range(2):
        obs, *_ = whole.step(labels)
    first, rest = whole.state_dict(slice(0, 1)), whole.state_dict(slice(1, 3))
    restored, info = others.restore(rest, first)
    assert torch.equal(restored, obs[[1, 2, 0]])
    assert info == whole.position()
    whole.step(labels)
    with pytest.raises(OptionError, match=r"\bpositions\b"):
        others.restore(first, whole.state_dict(slice(1, 3)))
    with pytest.raises(OptionError, match=r"\b2 seeds\b.*\b3\b"):
        others.restore(rest)


def test_options_left_out_of_a_spec_have_their_defaults():
    spec = StreamSpec("RandomLabelMNIST-v0", num_samples=300, batch_size=100)
    assert StreamEnv(RandomLabel, spec).stream_spec.options == {"relabel_fraction": 1.0}
