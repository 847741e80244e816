"""Learners in one stack against the same learners alone."""

import pytest
import torch
from torch.nn import functional as F

from agents import batchnorm, crelu, deep_linear, l2, leaky_relu, perlayer, reset, vanilla, wasserstein
from agents.learner import Learner
from clbench.errors import OptionError
from tests.test_agents import SPEC, TIGHT, batches


class ReLU6(vanilla.Agent):
    """On few inputs, what vanilla does."""

    def make_network(self, generator):
        return self.make_mlp(generator, activation=F.relu6)


class Random(vanilla.Agent):
    """Drops inputs at random."""

    def make_network(self, generator):
        return self.make_mlp(generator, activation=F.dropout)


MEMBERS = [
    (vanilla.Agent, {}),
    (crelu.Agent, {}),
    (l2.Agent, {"step_size": 3e-3}),
    (batchnorm.Agent, {}),
    (reset.Agent, {"step_size": 1e-2}),
    (perlayer.Agent, {"every": 3, "gamma": 0.3, "cool": 0.9, "warm": 1.1}),
    (leaky_relu.Agent, {"slope": 0.3}),
    (wasserstein.Agent, {}),
    (leaky_relu.Agent, {"slope": 0.7}),
    (ReLU6, {}),
    (deep_linear.Agent, {"scheduler": "full-network", "every": 4}),
]


def members():
    return [owner(SPEC, [3, 1], **arguments) for owner, arguments in MEMBERS]


def train(agent, count, copies):
    """Losses of twelve steps, over two tasks, on the same batches for every learner."""
    losses = []
    for step, (inputs, targets) in enumerate(batches(12, 2)):
        if step % 6 == 0:
            agent.begin_task(step // 6)
        agent.act(inputs.repeat(copies, 1, 1))
        losses.append(agent.learn(targets.repeat(copies, 1)))
    return torch.stack(losses)


def tensors(tree):
    return [value for value in torch.utils._pytree.tree_flatten(tree)[0] if isinstance(value, torch.Tensor)]


def test_learners_in_a_stack_learn_as_they_do_alone():
    """Losses and states, on a CPU bit for bit."""
    together = members()
    losses = train(Learner.together(together), 12, len(together))
    for place, (alone, stacked) in enumerate(zip(members(), together, strict=True)):
        assert torch.equal(losses[:, 2 * place : 2 * place + 2], train(alone, 12, 1))
        for ours, theirs in zip(tensors(stacked.state_dict()), tensors(alone.state_dict()), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_learners_in_a_batched_stack_learn_as_they_do_alone(float64, monkeypatch):
    """As on a GPU, up to rounding."""
    monkeypatch.setattr("clbench.indicators.stacked.default_method", lambda device: "vmap")
    together = members()
    losses = train(Learner.together(together), 12, len(together))
    for place, alone in enumerate(members()):
        torch.testing.assert_close(losses[:, 2 * place : 2 * place + 2], train(alone, 12, 1), **TIGHT)


def test_only_networks_that_do_the_same_share_memory():
    """Those of vanilla, l2, reset, perlayer and Wasserstein; not where slopes or activations differ."""
    together = members()
    Learner.together(together)
    memory = [next(iter(learner.parameters.values())).untyped_storage().data_ptr() for learner in together]
    assert len({memory[place] for place in (0, 2, 4, 5, 7)}) == 1
    assert len(set(memory)) == 7


def test_leaky_networks_of_one_slope_share_memory():
    pair = [leaky_relu.Agent(SPEC, [3], slope=0.3, step_size=rate) for rate in (1e-3, 1e-2)]
    Learner.together(pair)
    assert len({one.parameters["fc1.weight"].untyped_storage().data_ptr() for one in pair}) == 1


def test_a_network_that_draws_at_random_learns():
    torch.manual_seed(0)
    agent = Random(SPEC, [3])
    losses = [agent.learn(targets) for inputs, targets in batches(4, 1) if agent.act(inputs) is not None]
    assert torch.isfinite(torch.stack(losses)).all()


def test_a_state_from_a_stack_goes_on_alone():
    together = members()
    stack = Learner.together(together)
    train(stack, 12, len(together))
    rest = train(stack, 12, len(together))
    again = members()
    stack = Learner.together(again)
    train(stack, 12, len(again))
    for place, (alone, stacked) in enumerate(zip(members(), again, strict=True)):
        alone.load_state_dict(stacked.state_dict())
        assert torch.equal(train(alone, 12, 1), rest[:, 2 * place : 2 * place + 2])


def test_a_learner_that_learns_in_its_own_way_is_refused():
    class Own(vanilla.Agent):
        def learn(self, targets):
            return super().learn(targets) * 2

    with pytest.raises(OptionError, match=r"\btest_stack\b"):
        Learner.together([vanilla.Agent(SPEC, [0]), Own(SPEC, [0])])
