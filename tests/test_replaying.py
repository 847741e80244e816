import functools

import numpy as np
import pytest
import torch

import clbench
from agents import batchnorm, l2, perlayer, reset, vanilla, wasserstein
from agents.population import Population
from clbench.agent import MemberSpec
from clbench.errors import AgentError
from clbench.loop import Loop, Member
from clbench.loop.replay import cuda_graph
from clbench.machine import no_reads
from clbench.observing import Observer
from clbench.records import Progress
from tests.recording import record

STREAM = {"num_tasks": 2, "epochs_per_task": 3, "num_samples": 400, "batch_size": 50}
LEARNERS = {
    "vanilla": (vanilla.Agent, {}),
    "reset": (reset.Agent, {}),
    "l2": (l2.Agent, {}),
    "wasserstein": (wasserstein.Agent, {}),
    "batchnorm": (batchnorm.Agent, {}),
    "perlayer": (perlayer.Agent, {"every": 3, "warmup_fraction": 0.5}),
    "perlayer, never warm": (perlayer.Agent, {"every": 2, "warmup": "off", "volatility": "ema"}),
    "l2, full network": (l2.Agent, {"scheduler": "full-network", "every": 4, "cap_delta": 0.1}),
}


@pytest.fixture(autouse=True)
def as_on_a_gpu(small_networks, monkeypatch):
    """The host looks at nothing, and leaves sorting to PyTorch."""
    monkeypatch.setattr(wasserstein, "by_rank", wasserstein.by_sorting)
    with no_reads():
        yield


def alone(env, member):
    learner = member.agent(env.agent_spec, member.seeds, **member.arguments)
    return learner, [learner]


def outcome(names, record, env_id="RandomLabelMNIST-v0", device="cpu", every=None, indicators=(), kinds=None):
    """Events of a lockstep run of learners, and their states at the end."""
    env = clbench.make_vec(env_id, 2 * len(names), device=device, **STREAM)
    members = [MemberSpec(owner, [3, 5], arguments) for owner, arguments in map(LEARNERS.get, names)]
    agent, learners = (
        vanilla.Agent.together(env.agent_spec, members) if len(members) > 1 else alone(env, *members)
    )
    parts = [
        Member(
            name, learner, (3, 5), Observer(learner, name, (3, 5), indicators, every) if indicators else None
        )
        for name, learner in zip(names, learners, strict=True)
    ]
    loop = Loop(env, agent, parts, interval=1e9, record=record)
    events = [
        (place, vars(event) | {"seconds": 0}) for place, event in loop if not isinstance(event, Progress)
    ]
    return events, [learner.state_dict() for learner in learners]


def counting(calls):
    """`record`, counting what is recorded and replayed."""

    def counted(step):
        calls["recorded"] = calls.get("recorded", 0) + 1
        replay = record(step)

        def again():
            calls["replayed"] = calls.get("replayed", 0) + 1
            replay()

        return again

    return counted


def leaves(tree):
    return list(torch.utils._pytree.tree_flatten(tree)[0])


def assert_alike(ours, theirs, **tolerance):
    for own, other in zip(leaves(ours), leaves(theirs), strict=True):
        if isinstance(own, (torch.Tensor, float)):
            torch.testing.assert_close(own, other, equal_nan=True, check_device=False, **tolerance)
        else:
            assert own == other


@pytest.mark.parametrize(
    ("name", "batched"),
    [*((name, False) for name in LEARNERS), ("batchnorm", True), ("wasserstein", True), ("perlayer", True)],
)
def test_replayed_steps_are_the_steps(name, batched, monkeypatch):
    """Records and final states are those of a run step by step, bit for bit."""
    if batched:
        monkeypatch.setattr("clbench.indicators.stacked.default_method", lambda device: "vmap")
        monkeypatch.setattr("agents.learner.Population", functools.partial(Population, batched=True))
    calls = {}
    ours = outcome([name], counting(calls))
    assert calls["replayed"] > 24  # of 48 steps
    assert_alike(ours, outcome([name], None), rtol=0, atol=0)


def test_a_task_of_more_decisions_than_the_last_one(monkeypatch):
    """Fifty steps, a decision at every third: sixteen in the first task, seventeen in the second."""
    monkeypatch.setitem(STREAM, "num_samples", 500)
    monkeypatch.setitem(STREAM, "epochs_per_task", 5)
    monkeypatch.setitem(LEARNERS, "perlayer", (perlayer.Agent, {"every": 3}))
    assert_alike(*(outcome(["perlayer"], how) for how in (record, None)), rtol=0, atol=0)


class Counts(vanilla.Agent):
    """Adds something to the gradient that the host counts."""

    kind_of_step = None
    steps = 0

    def penalty_gradients(self):
        self.steps += 1
        return [0.001 * self.steps * value.detach() for value in self.parameters.values()]


def test_a_stack_with_one_that_cannot_be_recorded_is_not(monkeypatch):
    monkeypatch.setitem(LEARNERS, "counts", (Counts, {}))
    calls = {}
    ours = outcome(["vanilla", "counts"], counting(calls))
    assert not calls
    assert_alike(ours, outcome(["vanilla", "counts"], None), rtol=0, atol=0)


def test_a_stream_that_does_not_say_so_is_not_recorded(monkeypatch):
    monkeypatch.setattr("clbench.streams.permuted.Permuted.can_replay", False)
    calls = {}
    outcome(["vanilla"], counting(calls), "PermutedMNIST-v0")
    assert not calls


def test_a_permuted_stream_too():
    assert_alike(*(outcome(["vanilla"], how, "PermutedMNIST-v0") for how in (record, None)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["vanilla", "perlayer"])
def test_steps_that_are_looked_at_are_not_replayed(name):
    """Indicators every few steps, and bounds by a scheduler that only measures."""
    calls, wanted = {}, {"indicators": ("weight_norm", "critical_step_sizes"), "every": 7}
    ours = outcome([name], counting(calls), **wanted)
    assert calls["replayed"] > 20
    assert_alike(ours, outcome([name], None, **wanted), rtol=0, atol=0)


def test_several_learners_in_one_stack_are_replayed():
    names = ["vanilla", "perlayer", "reset", "wasserstein"]
    assert_alike(*(outcome(names, how) for how in (record, None)), rtol=0, atol=0)


def test_a_run_taken_up_in_the_middle_of_a_task_is_replayed():
    env = clbench.make_vec("RandomLabelMNIST-v0", 1, **STREAM)
    asked = iter([False] * 10 + [True])
    agent = vanilla.Agent(env.agent_spec, [4])
    part = Member("a", agent, (4,))
    first = Loop(env, agent, [part], stop=lambda: next(asked))
    events = list(first)
    assert events[-1][1].stopped
    calls = {}
    rest = Loop(env, agent, [part], record=counting(calls))
    rest.load_state_dict(first.state_dict())
    found = [vars(event) for _, event in rest if hasattr(event, "loss")]
    assert calls["replayed"] > 20
    other = vanilla.Agent(env.agent_spec, [4])
    whole = [
        vars(event) for _, event in Loop(env, other, [Member("a", other, (4,))]) if hasattr(event, "loss")
    ]
    assert [one | {"seconds": 0} for one in found] == [one | {"seconds": 0} for one in whole]


class Looks(vanilla.Agent):
    """Looks at its loss at every step."""

    def learn(self, targets):
        loss = super().learn(targets)
        self.worst = float(loss.max())
        return loss


def test_an_agent_that_cannot_be_recorded_is_told_so(monkeypatch):
    monkeypatch.setitem(LEARNERS, "looks", (Looks, {}))
    with pytest.raises(AgentError, match=r"\blooks\b.*seeds 3, 5\b.*task 1\b.*step 3\b.*\bkind_of_step\b"):
        outcome(["looks"], record)
    monkeypatch.setattr(Looks, "kind_of_step", None)
    assert_alike(outcome(["looks"], record)[1], outcome(["vanilla"], None)[1], rtol=0, atol=0)


def test_an_unusable_prediction_is_placed_at_its_step(monkeypatch):
    """What went wrong in a replayed step is reported when the task ends, with the step."""

    class Breaks(vanilla.Agent):
        def learn(self, targets):
            loss = super().learn(targets)
            with torch.no_grad():
                self.parameters["out.bias"].mul_(1e4)
            return loss

    monkeypatch.setitem(LEARNERS, "breaks", (Breaks, {}))
    messages = []
    for how in (record, None):
        with pytest.raises(AgentError, match=r"\bbreaks\b.*seed 3\b.*task 1\b.*step \d+\b") as caught:
            outcome(["breaks"], how)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_cuda
@pytest.mark.parametrize("name", LEARNERS)
def test_a_graph_does_what_a_gpu_does_step_by_step(name):
    graphs = functools.partial(cuda_graph, device=torch.device("cuda"))
    ours, theirs = outcome([name], graphs, device="cuda"), outcome([name], None, device="cuda")
    assert_alike(ours, theirs, rtol=1e-4, atol=1e-5)


@needs_cuda
@pytest.mark.parametrize("name", LEARNERS)
def test_a_gpu_agrees_with_the_cpu(name):
    """A short run by CUDA graphs: records and final weights are the CPU's up to rounding."""
    graphs = functools.partial(cuda_graph, device=torch.device("cuda"))
    ours, theirs = outcome([name], graphs, device="cuda"), outcome([name], None)
    for (_, own), (_, other) in zip(ours[0], theirs[0], strict=True):
        assert own.keys() == other.keys()
        for key, value in own.items():
            assert value == (pytest.approx(other[key], abs=0.02) if isinstance(value, float) else other[key])
    for own, other in zip(ours[1], theirs[1], strict=True):
        assert_alike(own["parameters"], other["parameters"], rtol=1e-2, atol=1e-3)


@needs_cuda
def test_streams_are_identical_on_a_gpu():
    host, device = (
        clbench.make_vec("PermutedMNIST-v0", 2, device=name, **STREAM) for name in ("cpu", "cuda")
    )
    shown = [env.reset(seed=[1, 2])[0] for env in (host, device)]
    for _ in range(48):
        assert torch.equal(shown[0], shown[1].cpu())
        labels = np.zeros((2, 50), dtype=int)
        (own, *_, own_info), (other, *_, other_info) = (env.step(labels) for env in (host, device))
        assert torch.equal(own_info["targets"], other_info["targets"].cpu())
        shown = [own, other]
