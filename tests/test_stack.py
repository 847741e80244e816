"""Learners built together against the same learners alone."""

import pytest
import torch
from torch.nn import functional as F

from agents import batchnorm, crelu, deep_linear, l2, leaky_relu, perlayer, reset, vanilla, wasserstein
from agents.learner import Learner
from agents.population import Population
from clbench.agent import MemberSpec
from clbench.errors import OptionError
from tests.test_agents import SPEC, TIGHT, batches


class ReLU6(vanilla.Agent):
    """On few inputs, what vanilla does."""

    def architecture(self):
        return self.mlp(activation=F.relu6)


class Random(vanilla.Agent):
    """Drops inputs at random."""

    def architecture(self):
        return self.mlp(activation=F.dropout)


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


def build():
    """What acts for all, and the learners."""
    return Learner.together(SPEC, [MemberSpec(owner, [3, 1], arguments) for owner, arguments in MEMBERS])


def alone():
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
    population, learners = build()
    losses = train(population, 12, len(learners))
    for index, (single, member) in enumerate(zip(alone(), learners, strict=True)):
        assert torch.equal(losses[:, 2 * index : 2 * index + 2], train(single, 12, 1))
        for ours, theirs in zip(tensors(member.state_dict()), tensors(single.state_dict()), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_learners_in_a_batched_stack_learn_as_they_do_alone(float64, monkeypatch):
    """As on a GPU, up to rounding."""
    monkeypatch.setattr("clbench.indicators.stacked.default_method", lambda device: "vmap")
    learners, singles = alone(), alone()
    population = Population(learners, batched=True)
    for learner in learners:
        learner.population = population
    losses = train(population, 12, len(learners))
    for index, single in enumerate(singles):
        single.population = Population([single], batched=True)
        torch.testing.assert_close(losses[:, 2 * index : 2 * index + 2], train(single, 12, 1), **TIGHT)


def memory(learner):
    return next(iter(learner.parameters.values())).untyped_storage().data_ptr()


def test_only_networks_of_equal_architecture_share_memory():
    """Those of vanilla, l2, reset, perlayer and Wasserstein; not where slopes or activations differ."""
    addresses = [memory(learner) for learner in build()[1]]
    assert len({addresses[index] for index in (0, 2, 4, 5, 7)}) == 1
    assert len(set(addresses)) == 7


def test_leaky_networks_of_one_slope_share_memory():
    members = [MemberSpec(leaky_relu.Agent, [3], {"slope": 0.3, "step_size": rate}) for rate in (1e-3, 1e-2)]
    assert len({memory(learner) for learner in Learner.together(SPEC, members)[1]}) == 1


def test_a_network_that_draws_at_random_learns():
    torch.manual_seed(0)
    agent = Random(SPEC, [3])
    losses = [agent.learn(targets) for inputs, targets in batches(4, 1) if agent.act(inputs) is not None]
    assert torch.isfinite(torch.stack(losses)).all()


def test_a_checkpoint_of_a_stack_resumes_alone():
    population, learners = build()
    train(population, 12, len(learners))
    states = [learner.state_dict() for learner in learners]
    rest = train(population, 12, len(learners))
    for index, (single, state) in enumerate(zip(alone(), states, strict=True)):
        single.load_state_dict(state)
        assert torch.equal(train(single, 12, 1), rest[:, 2 * index : 2 * index + 2])


class OwnLearn(vanilla.Agent):
    def learn(self, targets):
        return super().learn(targets) * 2


class UsesNetworks(vanilla.Agent):
    def __init__(self, spec, seeds):
        super().__init__(spec, seeds)
        self.start = {name: value.detach().clone() for name, value in self.parameters.items()}


@pytest.mark.parametrize("owner", [OwnLearn, UsesNetworks])
def test_a_learner_that_can_only_run_alone_is_refused(owner):
    train(owner(SPEC, [0, 1]), 12, 1)
    with pytest.raises(OptionError, match=r"\btest_stack\b"):
        Learner.together(SPEC, [MemberSpec(vanilla.Agent, [0], {}), MemberSpec(owner, [0], {})])


def test_a_constructor_may_set_attributes_in_any_order():
    class Late(vanilla.Agent):
        def __init__(self, spec, seeds, width=8, **arguments):
            super().__init__(spec, seeds, **arguments)
            self.width = width

        def architecture(self):
            return self.mlp(hidden=(self.width,))

    for learner in (Late(SPEC, [0]), Learner.together(SPEC, [MemberSpec(Late, [0], {})])[1][0]):
        assert learner.parameters["out.weight"].shape == (1, 10, 8)
