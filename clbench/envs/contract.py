"""The contract that every environment keeps, as a check that the author of a stream can run."""

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

from clbench.envs.base import POSITION
from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv
from clbench.errors import ContractError
from clbench.seeding import generator, global_states, set_global_states
from clbench.specs import StreamSpec

Predict = Callable[[], np.ndarray]
Env = gymnasium.Env[Any, Any]
Trace = list[tuple[str, str]]


def check_env(env: Env, seed: int = 0) -> None:
    """Check that an environment keeps the contract; raise at the first clause it breaks.

    The whole stream is run several times: make it short, with few images and epochs and at least two tasks.

    Clauses: Gymnasium's `check_env` passes without a warning; spaces are a finite float32 Box and a MultiDiscrete;
    inputs come first, and targets only after the prediction; the reward is the accuracy; tasks, epochs and steps count
    up without gaps, and `boundary` marks each new task (where boundaries are hidden, `info` has none of these); the
    stream ends after the last task, and only `reset` is possible then; returned arrays never change afterwards; the
    same seed gives the same bits whatever is predicted and whatever the global random state is, which stays as it is;
    another seed gives another stream; copies continue from the original's position; seeds in lockstep are the single
    streams.

    Args:
        env: from `clbench.make`, possibly wrapped.
        seed: root seed.

    Raises:
        ContractError: a clause is broken; the text names it and what was observed.

    >>> from clbench import make
    >>> check_env(make("PermutedMNIST-v0", num_tasks=2, epochs_per_task=2, num_samples=600))
    """
    ours = env.unwrapped
    if not isinstance(ours, StreamEnv):
        raise ContractError(f"{ours} is not a stream's environment: pass one from clbench.make")
    _check_gymnasium(env)
    _check_spaces(env)
    _check_order(env, ours)
    classes, zeros, labels = ours.agent_spec.num_classes, _zeros(env), generator(seed, "predictions")
    constant = _walk(env, ours, seed, lambda: zeros)
    with _other_global_state():
        varied = _walk(env, ours, seed, lambda: labels.integers(classes, size=len(zeros)))
    _require(constant == varied, "the same seed gives the same stream", _first_difference(constant, varied))
    other = _walk(env, ours, seed + 1, lambda: zeros)
    _require(constant != other, "another seed gives another stream", f"seeds {seed} and {seed + 1} are equal")
    _check_copies(env, seed)
    _check_lockstep(ours, seed, constant)


def _zeros(env: Env) -> np.ndarray:
    return np.zeros(env.action_space.shape or (), dtype=np.int64)


def _require(kept: bool, clause: str, observed: str) -> None:
    if not kept:
        raise ContractError(f"contract broken: {clause}; {observed}")


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
    box, labels = env.observation_space, env.action_space
    clause = "spaces are a finite float32 Box and a MultiDiscrete"
    if not isinstance(box, spaces.Box) or box.dtype != np.float32:
        raise ContractError(f"contract broken: {clause}; observations lie in {box}")
    if not isinstance(labels, spaces.MultiDiscrete) or labels.nvec.ndim != 1:
        raise ContractError(f"contract broken: {clause}; predictions lie in {labels}")
    finite = bool(np.isfinite(box.low).all() and np.isfinite(box.high).all())
    _require(finite, clause, "the Box is not bounded")
    inputs, predictions = box.shape[0], len(labels.nvec)
    _require(inputs == predictions, clause, f"{inputs} inputs but {predictions} predictions")


def _check_order(env: Env, ours: StreamEnv) -> None:
    fresh = copy.deepcopy(env)
    StreamEnv.__init__(fresh.unwrapped, ours.stream_class, ours.stream_spec)  # type: ignore[arg-type]
    _require_raises(fresh, "step is refused before reset")


def _require_raises(env: Env, clause: str) -> None:
    try:
        env.step(_zeros(env))
    except Exception:
        return
    raise ContractError(f"contract broken: {clause}; it was not")


def _walk(env: Env, ours: StreamEnv, seed: int, predict: Predict) -> Trace:
    """Run the whole stream, checking each step; return a digest of each observation and its targets."""
    spec, before = ours.stream_spec, _global_state()
    obs, info = env.reset(seed=seed)
    _require("targets" not in info, "targets come only after the prediction", "reset reveals some")
    marked = spec.hides_boundaries or info.get("boundary") is True
    _require(marked, "boundary marks each new task", "reset does not set it")
    trace: Trace = []
    returned: deque[tuple[np.ndarray, str]] = deque(maxlen=8)  # the latest: a stream may be long
    total = spec.num_tasks * spec.steps_per_task
    for step in range(total):
        _check_position(spec, info, step)
        _require(obs in env.observation_space, "observations lie in their space", f"step {step}'s does not")
        shown, predictions = _digest(obs), predict()
        returned.append((obs, shown))
        obs, reward, terminated, truncated, info = env.step(predictions)
        targets = _check_targets(info.get("targets"), predictions.shape, ours.agent_spec.num_classes, step)
        accuracy = float((predictions == targets).mean())
        close = abs(float(reward) - accuracy) < 1e-6
        _require(close, "the reward is the accuracy", f"{reward} at step {step}, not {accuracy}")
        ends = terminated == (step + 1 == total) and not truncated
        _require(ends, "the stream ends after the last task", f"not so at step {step}")
        returned.append((targets, _digest(targets)))
        trace.append((shown, _digest(targets)))
        changed = sum(_digest(array) != digest for array, digest in returned)
        _require(changed == 0, "returned arrays never change", f"{changed} arrays did by step {step}")
    _require_raises(env, "step is refused after the end")
    _require(_global_state() == before, "the global random state is left alone", "the stream draws from it")
    return trace


def _check_targets(targets: object, shape: tuple[int, ...], num_classes: int, step: int) -> np.ndarray:
    if not isinstance(targets, np.ndarray) or targets.dtype != np.int64 or targets.shape != shape:
        raise ContractError(
            f"contract broken: targets are int64, one for each input; step {step} reveals {targets!r}"
        )
    inside = bool((targets >= 0).all() and (targets < num_classes).all())
    _require(inside, "targets are classes", f"step {step} has one outside [0, {num_classes})")
    return targets


def _check_position(spec: StreamSpec, info: dict[str, Any], step: int) -> None:
    if spec.hides_boundaries:
        told = [name for name in POSITION if name in info]
        _require(not told, "info tells nothing of hidden boundaries", f"at step {step} it has {told}")
        return
    task, within = divmod(step, spec.steps_per_task)
    epoch = within * spec.epochs_per_task // spec.steps_per_task
    expected = {"task": task, "epoch": epoch, "step_in_task": within, "boundary": within == 0}
    actual = {key: info.get(key) for key in expected}
    observed = f"expected {expected}, info has {actual}"
    _require(actual == expected, "tasks, epochs and steps count up", observed)


def _check_copies(env: Env, seed: int) -> None:
    zeros = _zeros(env)
    env.reset(seed=seed)
    env.step(zeros)
    copies = {"a deep copy": copy.deepcopy(env), "a pickled copy": pickle.loads(pickle.dumps(env))}
    obs, _, _, _, info = env.step(zeros)
    for name, twin in copies.items():
        twin_obs, _, _, _, twin_info = twin.step(zeros)
        same = np.array_equal(obs, twin_obs) and np.array_equal(info["targets"], twin_info["targets"])
        _require(same, "copies continue from the original's position", f"{name} does not")


def _check_lockstep(ours: StreamEnv, seed: int, expected: Trace) -> None:
    vector = StreamVectorEnv(ours.stream_class, ours.stream_spec, num_envs=2)
    obs, _ = vector.reset(seed=[seed + 1, seed])
    actions = torch.zeros(vector.action_space.shape or (), dtype=torch.int64, device="cpu")
    trace: Trace = []
    for _ in expected:
        shown = _digest(obs[1].numpy())
        obs, _, _, _, info = vector.step(actions)
        trace.append((shown, _digest(info["targets"][1].numpy())))
    difference = _first_difference(expected, trace)
    _require(trace == expected, "seeds in lockstep are the single streams", difference)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _first_difference(first: Trace, second: Trace) -> str:
    pairs = enumerate(zip(first, second, strict=False))
    step = next((index for index, (ours, theirs) in pairs if ours != theirs), -1)
    return f"they differ first at step {step}"


def _global_state() -> tuple[object, ...]:
    legacy = np.random.get_state(legacy=True)  # noqa: NPY002
    return (random.getstate(), str(legacy[1].tolist()), legacy[2], torch.get_rng_state().numpy().tobytes())  # type: ignore[index]


@contextmanager
def _other_global_state() -> Iterator[None]:
    states = global_states()
    try:
        random.seed(90210)
        np.random.seed(90210)  # noqa: NPY002
        torch.manual_seed(90210)
        yield
    finally:
        set_global_states(states)
