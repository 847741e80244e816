"""The contract that every environment keeps, as a check that a stream's author can run."""

import copy
import hashlib
import pickle
import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from clbench.errors import ContractError
from clbench.seeding import generator

Predict = Callable[[int], np.ndarray]
Env = gymnasium.Env[Any, Any]
Trace = list[tuple[str, str]]


def check_env(env: Env, seed: int = 0) -> None:
    """Check that an environment keeps the contract; raise at the first clause it breaks.

    The whole stream is walked several times: make it short, with few images and epochs and at least two tasks.

    Clauses: Gymnasium's own `check_env` passes without a warning; spaces are a finite float32 Box and a
    MultiDiscrete; inputs come first and targets only after the prediction; the reward is the share of
    right predictions; tasks, epochs and steps count up without a gap and `boundary` marks each new task;
    the stream ends after the last task, and nothing but `reset` is possible then; what was handed out
    is never changed; the same seed gives the same bits whatever is predicted and whatever the global
    random state is, which is left alone; another seed gives another stream; copies go on where the original
    stood; seeds in lockstep are the single streams.

    Args:
        env: from `clbench.make`, perhaps wrapped.
        seed: root seed to walk with.

    Raises:
        ContractError: names the clause and what was found.

    >>> from clbench import make
    >>> check_env(make("PermutedMNIST-v0", num_tasks=2, epochs_per_task=2, num_samples=600))
    """
    _check_gymnasium(env)
    _check_spaces(env)
    _check_order(env)
    labels = generator(seed, "predictions")
    num_classes = env.unwrapped.agent_spec.num_classes  # type: ignore[attr-defined]
    zeros = _zeros(env)
    constant = _walk(env, seed, lambda step: zeros)
    with _other_global_state():
        varied = _walk(env, seed, lambda step: labels.integers(num_classes, size=len(zeros)))
    _require(constant == varied, "the same seed gives the same stream", _first_difference(constant, varied))
    other = _walk(env, seed + 1, lambda step: zeros)
    _require(constant != other, "another seed gives another stream", f"seeds {seed} and {seed + 1} are equal")
    _check_copies(env, seed)
    _check_lockstep(env, seed, constant)


def _zeros(env: Env) -> np.ndarray:
    return np.zeros(env.action_space.shape or (), dtype=np.int64)


def _require(kept: bool, clause: str, found: str) -> None:
    if not kept:
        raise ContractError(f"contract broken: {clause}; {found}")


def _check_gymnasium(env: Env) -> None:
    from gymnasium.utils.env_checker import check_env as gymnasium_check

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            gymnasium_check(env.unwrapped, skip_close_check=True)
        except Exception as error:
            raise ContractError(
                f"contract broken: Gymnasium's check_env passes without a warning; {error}"
            ) from error


def _check_spaces(env: Env) -> None:
    box, labels, clause = (
        env.observation_space,
        env.action_space,
        "spaces are a finite float32 Box and a MultiDiscrete",
    )
    _require(isinstance(box, spaces.Box) and box.dtype == np.float32, clause, f"observations lie in {box}")
    _require(
        isinstance(labels, spaces.MultiDiscrete) and labels.nvec.ndim == 1, clause, f"predictions in {labels}"
    )
    assert isinstance(box, spaces.Box)
    assert isinstance(labels, spaces.MultiDiscrete)
    finite = bool(np.isfinite(box.low).all() and np.isfinite(box.high).all())
    _require(finite, clause, "the Box is not bounded")
    _require(
        len(labels.nvec) == box.shape[0], clause, f"{box.shape[0]} inputs but {len(labels.nvec)} predictions"
    )


def _check_order(env: Env) -> None:
    fresh = copy.deepcopy(env)
    fresh.unwrapped.__init__(**env.unwrapped.spec.kwargs)  # type: ignore[misc, union-attr]
    _require_raises(fresh, "step is refused before reset")


def _require_raises(env: Env, clause: str) -> None:
    try:
        env.step(_zeros(env))
    except Exception:
        return
    raise ContractError(f"contract broken: {clause}; it was not")


def _walk(env: Env, seed: int, predict: Predict) -> Trace:
    """Walk the whole stream, checking each step; return a digest of each observation and its targets."""
    facts = env.unwrapped.agent_spec  # type: ignore[attr-defined]
    before = _global_state()
    obs, info = env.reset(seed=seed)
    _require("targets" not in info, "targets come only after the prediction", "reset reveals some")
    _require(info.get("boundary") is True, "boundary marks each new task", "reset does not set it")
    trace: Trace = []
    handed_out: deque[tuple[np.ndarray, str]] = deque(maxlen=8)  # the latest: a stream may be long
    total = facts.num_tasks * facts.steps_per_task
    for step in range(total):
        _check_place(facts, info, step)
        _require(obs in env.observation_space, "observations lie in their space", f"step {step}'s does not")
        shown, predictions = _digest(obs), predict(step)
        handed_out.append((obs, shown))
        obs, reward, terminated, truncated, info = env.step(predictions)
        targets = info.get("targets")
        good = (
            isinstance(targets, np.ndarray)
            and targets.dtype == np.int64
            and targets.shape == predictions.shape
        )
        _require(good, "targets are int64, one for each input", f"step {step} reveals {targets!r}")
        assert isinstance(targets, np.ndarray)
        inside = bool((targets >= 0).all() and (targets < facts.num_classes).all())
        _require(inside, "targets are classes", f"step {step} has one outside [0, {facts.num_classes})")
        right = float((predictions == targets).mean())
        close = abs(float(reward) - right) < 1e-6
        _require(
            close, "the reward is the share of right predictions", f"{reward} at step {step}, not {right}"
        )
        last = step + 1 == total
        _require(
            terminated == last and not truncated,
            "the stream ends after the last task",
            f"not so at step {step}",
        )
        handed_out.append((targets, _digest(targets)))
        trace.append((shown, _digest(targets)))
        changed = sum(_digest(array) != digest for array, digest in handed_out)
        _require(
            changed == 0, "what was handed out is never changed", f"{changed} arrays were by step {step}"
        )
    _require_raises(env, "step is refused after the end")
    _require(_global_state() == before, "the global random state is left alone", "the stream draws from it")
    return trace


def _check_place(facts: Any, info: dict[str, Any], step: int) -> None:
    task, within = divmod(step, facts.steps_per_task)
    epoch = within * facts.epochs_per_task // facts.steps_per_task
    expected = {"task": task, "epoch": epoch, "step_in_task": within, "boundary": within == 0}
    found = {key: info.get(key) for key in expected}
    _require(found == expected, "tasks, epochs and steps count up", f"expected {expected}, info has {found}")


def _check_copies(env: Env, seed: int) -> None:
    zeros = _zeros(env)
    env.reset(seed=seed)
    env.step(zeros)
    copies = {"a deep copy": copy.deepcopy(env), "a pickled copy": pickle.loads(pickle.dumps(env))}
    obs, _, _, _, info = env.step(zeros)
    for name, twin in copies.items():
        twin_obs, _, _, _, twin_info = twin.step(zeros)
        same = np.array_equal(obs, twin_obs) and np.array_equal(info["targets"], twin_info["targets"])
        _require(same, "copies go on where the original stood", f"{name} does not")


def _check_lockstep(env: Env, seed: int, expected: Trace) -> None:
    from clbench.envs.vector import StreamVectorEnv

    assert env.unwrapped.spec is not None
    vector = StreamVectorEnv(num_envs=2, **env.unwrapped.spec.kwargs)
    obs, _ = vector.reset(seed=[seed + 1, seed])
    found: Trace = []
    for _ in expected:
        shown = _digest(obs[1].numpy())
        actions = torch.zeros(vector.action_space.shape or (), dtype=torch.int64, device="cpu")
        obs, _, _, _, info = vector.step(actions)
        found.append((shown, _digest(info["targets"][1].numpy())))
    _require(
        found == expected, "seeds in lockstep are the single streams", _first_difference(expected, found)
    )


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _first_difference(one: Trace, other: Trace) -> str:
    step = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), -1)
    return f"they differ first at step {step}"


def _global_state() -> tuple[object, ...]:
    legacy = np.random.get_state(legacy=True)  # noqa: NPY002
    return (random.getstate(), str(legacy[1].tolist()), legacy[2], torch.get_rng_state().numpy().tobytes())  # type: ignore[index]


@contextmanager
def _other_global_state() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        random.seed(90210)
        np.random.seed(90210)  # noqa: NPY002
        torch.manual_seed(90210)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
