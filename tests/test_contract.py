"""The checker passes our own streams and finds each fault in broken ones."""

import random

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import clbench
import clbench.errors
from clbench.errors import ContractError
from clbench.streams.random_label import RandomLabel
from tests.cases import IDS, short_env


@pytest.mark.parametrize("id", IDS)
def test_our_streams_keep_the_contract(id):
    before = torch.get_rng_state(), random.getstate()
    assert clbench.check_env(short_env(id)) is None
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


class Broken(gymnasium.Wrapper):
    """A wrapper whose subclasses each break one clause."""


class LeaksTargets(Broken):
    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        return obs, {**info, "targets": np.zeros(100, dtype=np.int64)}


class ForgetsBoundary(Broken):
    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, {**info, "boundary": False}


class MiscountsSteps(Broken):
    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, {**info, "step_in_task": info["step_in_task"] + 1}


class FlattersAgents(Broken):
    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, min(1.0, reward + 0.1), terminated, truncated, info


class NeverEnds(Broken):
    def step(self, action):
        obs, reward, _, truncated, info = self.env.step(action)
        return obs, reward, False, truncated, info


class Truncates(Broken):
    def step(self, action):
        obs, reward, terminated, _, info = self.env.step(action)
        return obs, reward, terminated, True, info


class HidesTargets(Broken):
    def step(self, action):
        *rest, info = self.env.step(action)
        return (*rest, {key: value for key, value in info.items() if key != "targets"})


class NarrowTargets(Broken):
    def step(self, action):
        *rest, info = self.env.step(action)
        return (*rest, {**info, "targets": info["targets"].astype(np.int32)})


class LeavesItsSpace(Broken):
    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        return obs + 100, info


class ChangesWhatItGave(Broken):
    last = None

    def step(self, action):
        obs, *rest = self.env.step(action)
        if self.last is not None:
            self.last += 1e-3
        self.last = obs
        return (obs, *rest)


class DependsOnPredictions(Broken):
    def step(self, action):
        obs, *rest = self.env.step(action)
        return (np.clip(obs + 1e-3 * np.mean(action), -0.4, 2.8).astype(np.float32), *rest)


class IgnoresSeeds(Broken):
    def reset(self, **kwargs):
        return self.env.reset(**{**kwargs, "seed": 0})


class DrawsGlobally(Broken):
    def step(self, action):
        torch.rand(1)
        return self.env.step(action)


class StepsPastTheEnd(Broken):
    def step(self, action):
        try:
            self.last = self.env.step(action)
        except clbench.errors.StepOrderError:
            if not hasattr(self, "last"):
                raise
        return self.last


class UnmarkedStart(Broken):
    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        return obs, {**info, "boundary": False}


class StrangeTargets(Broken):
    def step(self, action):
        *rest, info = self.env.step(action)
        return (*rest, {**info, "targets": np.full(100, 10)})


class StepsBeforeReset(Broken):
    def step(self, action):
        try:
            return self.env.step(action)
        except clbench.errors.StepOrderError:
            if self.env.unwrapped._stream is not None:
                raise
            self.env.reset(seed=0)
            return self.env.step(action)


class ForgetsItsPlace(Broken):
    """Copies start over."""

    def __deepcopy__(self, memo):
        twin = ForgetsItsPlace(short_env())
        if self.env.unwrapped._stream is not None:
            twin.reset(seed=0)
        return twin


class Unbounded(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (100, 784), np.float32)


class WrongActions(Broken):
    def __init__(self, env):
        super().__init__(env)
        self.action_space = spaces.Discrete(10)


@pytest.mark.parametrize(
    ("broken", "clause"),
    [
        (LeaksTargets, r"\btargets\b.*\breset\b"),
        (ForgetsBoundary, "'boundary': True.*'boundary': False"),
        (MiscountsSteps, r"'step_in_task': 1\b.*'step_in_task': 2\b"),
        (FlattersAgents, r"\breward\b.*\bstep 0\b"),
        (NeverEnds, r"\bends?\b.*\bstep 11\b"),
        (Truncates, r"\bends?\b.*\bstep 0\b"),
        (HidesTargets, r"\btargets\b.*\bint64\b.*\bNone\b"),
        (NarrowTargets, r"(?s)\btargets\b.*\bint64\b.*\bint32\b"),
        (LeavesItsSpace, r"\bobservations?\b.*\bstep 0\b"),
        (ChangesWhatItGave, r"\b1 arrays?\b.*\bstep 1\b"),
        (DependsOnPredictions, r"\bseed\b.*\bstep 1\b"),
        (IgnoresSeeds, r"\bseeds 0 and 1\b"),
        (DrawsGlobally, r"\bglobal\b"),
        (StepsPastTheEnd, r"\bstep\b.*\bend\b"),
        (UnmarkedStart, r"\bboundary\b.*\breset\b"),
        (StrangeTargets, r"\btargets\b.*\bstep 0\b.*\[0, 10\)"),
        (StepsBeforeReset, r"\bstep\b.*\breset\b"),
        (ForgetsItsPlace, r"\bcop(y|ies)\b"),
        (Unbounded, r"\bfloat32\b.*\bBox\b(?!.*Discrete\(10\))"),
        (WrongActions, r"\bMultiDiscrete\b.* Discrete\(10\)"),
    ],
)
def test_broken_environments_are_found_out(broken, clause):
    with pytest.raises(ContractError, match=clause):
        clbench.check_env(broken(short_env()))


class GlobalLabels(RandomLabel):
    """Draws its labels from the global random state."""

    def draw_task(self, rng, rows, previous):
        task = super().draw_task(rng, rows, previous)
        task.targets[:] = np.random.randint(10, size=len(rows))
        return task


class LoudTransform(RandomLabel):
    """Transforms inputs out of their bounds."""

    def draw_task(self, rng, rows, previous):
        task = super().draw_task(rng, rows, previous)
        return clbench.Task(task.rows, task.targets, lambda inputs: inputs * 100)


class CompanyMatters(RandomLabel):
    """Depends on how many seeds run in lockstep."""

    def draw_task(self, rng, rows, previous):
        task = super().draw_task(rng, rows, previous)
        task.targets[:] = (task.targets + len(self.seeds)) % 10
        return task


@pytest.mark.parametrize(
    ("stream", "clause"),
    [
        (GlobalLabels, r"\bcheck_env\b|\bseed\b.*\bstep \d|\bglobal\b"),
        (LoudTransform, r"\bcheck_env\b"),
        (CompanyMatters, r"\bseeds\b.*\bstep 0\b"),
    ],
)
def test_broken_streams_are_found_out(streams, stream, clause):
    clbench.register("Broken-v0", stream)
    with pytest.raises(ContractError, match=clause):
        clbench.check_env(short_env("Broken-v0"))
