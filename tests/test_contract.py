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
        except clbench.errors.StepOrderError as error:
            if "before reset" not in str(error):
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
        (LeaksTargets, "targets come only after the prediction"),
        (ForgetsBoundary, "tasks, epochs and steps count up"),
        (MiscountsSteps, "tasks, epochs and steps count up"),
        (FlattersAgents, "the reward is the share of right predictions"),
        (NeverEnds, "the stream ends after the last task"),
        (Truncates, "the stream ends after the last task"),
        (HidesTargets, "targets are int64"),
        (NarrowTargets, "targets are int64"),
        (LeavesItsSpace, "observations lie in their space"),
        (ChangesWhatItGave, "what was handed out is never changed"),
        (DependsOnPredictions, "the same seed gives the same stream"),
        (IgnoresSeeds, "another seed gives another stream"),
        (DrawsGlobally, "the global random state is left alone"),
        (StepsPastTheEnd, "step is refused after the end"),
        (UnmarkedStart, "boundary marks each new task"),
        (StrangeTargets, "targets are classes"),
        (StepsBeforeReset, "step is refused before reset"),
        (ForgetsItsPlace, "copies go on where the original stood"),
        (Unbounded, "spaces are a finite float32 Box"),
        (WrongActions, "spaces are a finite float32 Box"),
    ],
)
def test_broken_environments_are_found_out(broken, clause):
    with pytest.raises(ContractError, match=f"contract broken: {clause}"):
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
        (GlobalLabels, "Gymnasium's check_env|the same seed gives the same stream|global random state"),
        (LoudTransform, "Gymnasium's check_env"),
        (CompanyMatters, "seeds in lockstep are the single streams"),
    ],
)
def test_broken_streams_are_found_out(streams, stream, clause):
    clbench.register("Broken-v0", stream)
    with pytest.raises(ContractError, match=clause):
        clbench.check_env(short_env("Broken-v0"))
