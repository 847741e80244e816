"""The learners against plain PyTorch: torch.optim.Adam, autograd, loops."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn
from torch.nn import functional as F

from agents import (
    batchnorm,
    crelu,
    deep_linear,
    l2,
    leaky_relu,
    perlayer,
    reset,
    vanilla,
    wasserstein,
)
from agents.adam import StackedAdam, choose_kernel, public_kernel
from agents.networks import MLP
from agents.networks import crelu as crelu_activation
from agents.population import Population
from clbench.agent import AgentSpec
from clbench.errors import OptionError, StepOrderError, UndefinedError, UnknownNameError
from tests.oracles import plain_mlp, train_plainly, wasserstein_penalty

SPEC = AgentSpec(
    input_shape=(64,), num_classes=10, batch_size=32, num_tasks=3, epochs_per_task=2, steps_per_task=6
)
MODULES = (vanilla, reset, crelu, l2, wasserstein, leaky_relu, deep_linear, batchnorm)


def scheduled(owner, kind="per-layer"):
    """The learner with a scheduler that decides often and boldly."""

    class Scheduled(owner):
        def __init__(self, spec, seeds):
            super().__init__(spec, seeds, scheduler=kind, every=2, gamma=0.3, cool=0.8, warm=1.2)

    return Scheduled


NAMES = {module: module.__name__.removeprefix("clbench.") for module in MODULES}
LEARNERS = {NAMES[module]: module.Agent for module in MODULES}
LEARNERS |= {
    f"{NAMES[module]}, scheduled": scheduled(module.Agent) for module in MODULES if module is not batchnorm
}
LEARNERS["agents.batchnorm, scheduled"] = scheduled(batchnorm.Agent, "volatility-only")


def batches(count: int, seeds: int):
    generator = torch.Generator().manual_seed(99)
    for _ in range(count):
        inputs = torch.randn(seeds, SPEC.batch_size, *SPEC.input_shape, generator=generator)
        yield inputs, torch.randint(10, (seeds, SPEC.batch_size), generator=generator)


def train(agent, count=12, seeds=1, boundary_every=6):
    logits, losses = [], []
    for step, (inputs, targets) in enumerate(batches(count, seeds)):
        if step % boundary_every == 0:
            agent.begin_task(step // boundary_every)
        logits.append(agent.act(inputs))
        losses.append(agent.learn(targets))
    return logits, losses


# For values of order one after a dozen updates in double precision.
TIGHT = {"rtol": 1e-8, "atol": 1e-10}


@pytest.mark.parametrize("name", LEARNERS)
def test_three_seeds_in_lockstep_are_three_runs_of_one(name):
    together = LEARNERS[name](SPEC, [3, 1, 8])
    shown, losses = train(together, seeds=3)
    for place, seed in enumerate([3, 1, 8]):
        alone = LEARNERS[name](SPEC, [seed])
        for step, (inputs, targets) in enumerate(batches(12, 3)):
            if step % 6 == 0:
                alone.begin_task(step // 6)
            logits = alone.act(inputs[place : place + 1])
            assert torch.equal(logits[0], shown[step][place]), (seed, step)
            assert torch.equal(alone.learn(targets[place : place + 1])[0], losses[step][place])
        for parameter, value in together.parameters.items():
            assert torch.equal(alone.parameters[parameter][0], value[place]), parameter


def plain_network(seed, activation=None):
    """A plain network of the learners' shape with the initial weights of a seed."""
    return plain_mlp(seed, activation, widths=(*SPEC.input_shape, 256, 256, SPEC.num_classes))


def single_batches(count=12):
    return [(inputs[0], targets[0]) for inputs, targets in batches(count, 1)]


def check_against_plain(agent, network, optimizer, penalty=None, count=12, without=()):
    shown, _ = train(agent, count)
    expected = train_plainly(network, optimizer, single_batches(count), penalty)
    for step, (ours, theirs) in enumerate(zip(shown, expected, strict=True)):
        torch.testing.assert_close(ours[0], theirs, **TIGHT, msg=lambda text, step=step: f"{step}: {text}")
    for (name, ours), theirs in zip(agent.parameters.items(), network.parameters(), strict=True):
        if name not in without:
            torch.testing.assert_close(ours[0], theirs, **TIGHT)


def test_vanilla_is_torch_adam(float64):
    network = plain_network(5)
    check_against_plain(vanilla.Agent(SPEC, [5]), network, torch.optim.Adam(network.parameters(), lr=1e-3))


def test_l2_is_torch_adam_with_weight_decay(float64):
    network = plain_network(5)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=0.1)
    check_against_plain(l2.Agent(SPEC, [5], strength=0.1), network, optimizer)


def test_crelu_is_torch_adam_on_a_wider_network(float64):
    class CReLU(nn.Module):
        def forward(self, x):
            return torch.cat([F.relu(x), F.relu(-x)], dim=1)

    generator = torch.Generator().manual_seed(5)
    layers = [MLP(64, 10, activation=crelu_activation, expansion=2, generator=generator)]
    assert [tuple(layer.weight.shape) for layer in layers[0].children()] == [
        (256, 64),
        (256, 512),
        (10, 512),
    ]
    wider = nn.Sequential(
        *(part for layer in layers[0].children() for part in (copy.deepcopy(layer), CReLU()))
    )[:-1]
    check_against_plain(crelu.Agent(SPEC, [5]), wider, torch.optim.Adam(wider.parameters(), lr=1e-2))


@pytest.mark.parametrize("slope", [0.7, 0.3])
def test_leaky_relu_is_torchs(slope, float64):
    network = plain_network(5, nn.LeakyReLU(slope))
    agent = leaky_relu.Agent(SPEC, [5], slope=slope)
    check_against_plain(agent, network, torch.optim.Adam(network.parameters(), lr=1e-3))


def test_deep_linear_has_no_activation(float64):
    network = plain_network(5, nn.Identity())
    check_against_plain(
        deep_linear.Agent(SPEC, [5]), network, torch.optim.Adam(network.parameters(), lr=1e-3)
    )


def test_batch_normalisation_is_torchs_with_its_running_statistics(float64):
    agent = batchnorm.Agent(SPEC, [5], strength=0.1)
    assert agent.optimizer.layers == ["fc1", "fc2", "out"]
    first, _, second, _, last = plain_network(5)
    network = nn.Sequential(
        first, nn.BatchNorm1d(256), nn.ReLU(), second, nn.BatchNorm1d(256), nn.ReLU(), last
    )
    # The normalisation takes these biases off again: their gradients are nothing but rounding.
    without = ("fc1.bias", "fc2.bias")
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=0.1)
    check_against_plain(agent, network, adam, without=without)
    for (name, ours), theirs in zip(agent.networks.buffers.items(), network.buffers(), strict=True):
        # Means hold those biases, too, each way moved by up to a step size at each of twelve steps.
        tolerance = {"rtol": 0, "atol": 2 * 12 * 1e-3} if "mean" in name else TIGHT
        torch.testing.assert_close(ours[0], theirs, **tolerance)


def test_wasserstein_is_torch_adam_with_the_penalty_by_autograd(float64):
    network = plain_network(5)
    initial = [value.detach().clone() for value in network.parameters()]
    check_against_plain(
        wasserstein.Agent(SPEC, [5], strength=0.1),
        network,
        torch.optim.Adam(network.parameters(), lr=1e-3),
        lambda net: wasserstein_penalty(list(net.parameters()), initial, 0.1),
    )


@pytest.mark.parametrize("module", [l2, wasserstein])
def test_penalties_and_their_gradients_by_brute_force(module):
    agent = module.Agent(SPEC, [0, 1], strength=0.3)
    generator = torch.Generator().manual_seed(1)
    start = {name: value.detach().double() for name, value in agent.parameters.items()}
    moved = {
        name: (value + 0.1 * torch.randn(value.shape, generator=generator)).requires_grad_()
        for name, value in start.items()
    }
    if module is wasserstein:
        agent.population.states[agent] = {name: value.double() for name, value in agent.state.items()}
    penalty = agent.penalty(moved)
    gradients = torch.autograd.grad(penalty.sum(), list(moved.values()))
    for place in range(2):
        own = [value[place].detach().clone().requires_grad_() for value in moved.values()]
        if module is wasserstein:
            expected = wasserstein_penalty(own, [value[place] for value in start.values()], 0.3)
        else:
            expected = 0.3 / 2 * sum((value**2).sum() for value in own)
        torch.testing.assert_close(penalty[place], expected, rtol=1e-10, atol=0)
        for gradient, brute in zip(gradients, torch.autograd.grad(expected, own), strict=True):
            torch.testing.assert_close(gradient[place], brute, rtol=1e-10, atol=1e-12)


def test_wasserstein_gradient_in_closed_form(float64):
    """2 lambda (theta - sort(theta_0)[rank of theta])."""
    agent = wasserstein.Agent(SPEC, [0], strength=0.3)
    moved = {name: torch.randn_like(value).requires_grad_() for name, value in agent.parameters.items()}
    gradients = torch.autograd.grad(agent.penalty(moved).sum(), list(moved.values()))
    for (name, value), gradient in zip(moved.items(), gradients, strict=True):
        flat = value.detach().flatten()
        ranks = flat.argsort().argsort()
        expected = 2 * 0.3 * (flat - agent.state[name][0][ranks])
        torch.testing.assert_close(gradient.flatten(), expected, **TIGHT)


@pytest.mark.parametrize("module", [l2, wasserstein])
def test_gradients_of_penalties_are_those_of_autograd(module):
    agent = module.Agent(SPEC, [0, 1], strength=0.3)
    train(agent, 3, seeds=2)
    expected = torch.autograd.grad(agent.penalty(agent.parameters).sum(), list(agent.parameters.values()))
    for ours, theirs in zip(agent.penalty_gradients(), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_another_penalty_than_the_parents_has_gradients_of_its_own():
    class Lasso(l2.Agent):
        def penalty(self, parameters):
            """Of weights alone; linear, so that autograd's gradient is an expanded number."""
            return self.strength * parameters["fc1.weight"].flatten(1).sum(dim=1)

    agent, plain = Lasso(SPEC, [0, 1], strength=0.3), vanilla.Agent(SPEC, [0, 1])
    first, *others = agent.penalty_gradients()
    assert (first == 0.3).all()
    assert not any(other.any() for other in others)
    for one in (agent, plain):
        train(one, 1, seeds=2)
    assert not torch.equal(agent.parameters["fc1.weight"], plain.parameters["fc1.weight"])
    assert torch.equal(agent.parameters["out.weight"], plain.parameters["out.weight"])


def check_ranks(values):
    """`by_rank` gives each value its place in a stable sort."""
    places = torch.arange(values.shape[1], dtype=torch.float32).expand(values.shape).contiguous()
    expected = values.sort(dim=1, stable=True).indices.argsort(dim=1)
    assert torch.equal(wasserstein.by_rank(values, places), expected.float())
    assert torch.equal(wasserstein.by_rank(values.double(), places), expected.float())


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0]),
    )
)
def test_sorting_by_digits_is_a_stable_sort(values):
    check_ranks(torch.from_numpy(values))


def test_sorting_by_digits_of_weights_that_move():
    values = torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        values = (values + 1e-3 * torch.randn_like(values)).round(decimals=4)  # with ties
        check_ranks(values)


def test_reset_is_a_fresh_network_with_fresh_optimizer_state(float64):
    agent = reset.Agent(SPEC, [0, 1])
    agent.begin_task(0)
    first = {name: value.detach().clone() for name, value in agent.parameters.items()}
    train(agent, 6, seeds=2)
    agent.optimizer.step_sizes.mul_(0.5)
    agent.begin_task(1)
    assert agent.optimizer.steps == 0
    assert torch.all(agent.optimizer.step_sizes == torch.tensor(1e-3))
    for kind in agent.optimizer.moments.values():
        assert all(not value.any() for value in kind.values())
    for name, value in agent.parameters.items():
        if name.endswith("bias"):
            assert not value.any()
        else:
            assert not torch.equal(value, first[name])
            bound = (6 / value.shape[2]) ** 0.5
            assert 0.97 * bound < float(value.detach().abs().max()) <= bound
    # And it learns on exactly as a new plain network with these weights does.
    network = plain_network(0)
    for layer, plain in zip(("fc1", "fc2", "out"), network[::2], strict=True):
        plain.load_state_dict(
            {kind: agent.parameters[f"{layer}.{kind}"][0].detach() for kind in ("weight", "bias")}
        )
    data = [(inputs[:1], targets[:1]) for inputs, targets in batches(4, 2)]
    expected = train_plainly(
        network, torch.optim.Adam(network.parameters(), lr=1e-3), [(x[0], y[0]) for x, y in data]
    )
    for (inputs, targets), logits in zip(batches(4, 2), expected, strict=True):
        torch.testing.assert_close(agent.act(inputs)[0], logits, **TIGHT)
        agent.learn(targets)


def test_reset_keeps_its_first_network_for_the_first_task():
    agent, plain = reset.Agent(SPEC, [7]), vanilla.Agent(SPEC, [7])
    agent.begin_task(0)
    assert all(torch.equal(agent.parameters[name], plain.parameters[name]) for name in plain.parameters)


@pytest.mark.parametrize(
    ("owner", "plain"),
    [(reset.CReLU, crelu.Agent), (reset.L2, l2.Agent), (reset.Wasserstein, wasserstein.Agent)],
)
def test_learners_that_forget_are_what_they_were_in_the_first_task_and_new_in_the_second(owner, plain):
    agent, other = owner(SPEC, [0, 1]), plain(SPEC, [0, 1])
    for one in (agent, other):
        one.begin_task(0)
        train(one, 6, seeds=2)
    first = {name: value.detach().clone() for name, value in agent.parameters.items()}
    assert all(torch.equal(first[name], other.parameters[name]) for name in first)
    agent.begin_task(1)
    assert agent.optimizer.steps == 0
    for name, value in agent.parameters.items():
        assert not torch.equal(value, first[name])
        if name.endswith("bias"):
            assert not value.any()


def test_wasserstein_that_forgets_keeps_to_its_new_weights_where_the_old_ones_were_kept():
    agent = reset.Wasserstein(SPEC, [0])
    places = {name: value.data_ptr() for name, value in agent.state.items()}
    train(agent, 3, seeds=1)
    agent.begin_task(1)
    assert agent.penalty(agent.parameters) == 0
    assert places == {name: value.data_ptr() for name, value in agent.state.items()}


def test_initial_weights_are_kaiming_uniform_and_biases_zero():
    agent = vanilla.Agent(SPEC, [0])
    for name, value in agent.parameters.items():
        if name.endswith("bias"):
            assert not value.any()
            continue
        bound = (6 / value.shape[2]) ** 0.5
        flat = value.detach().flatten()
        assert float(flat.abs().max()) <= bound
        assert float(flat.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
        assert float(flat.mean()) == pytest.approx(0, abs=0.05 * bound)


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = vanilla.Agent(SPEC, [4, 2]).parameters["fc1.weight"]
    torch.manual_seed(2)
    two = vanilla.Agent(SPEC, [2]).parameters["fc1.weight"]
    assert torch.equal(one[1], two[0])
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize("name", LEARNERS)
def test_batched_path_agrees_with_the_loop(name, float64, monkeypatch):
    """The path that accelerators take, run on the CPU."""
    loop = LEARNERS[name](SPEC, [0, 1])
    expected, _ = train(loop, seeds=2)
    monkeypatch.setattr("clbench.indicators.stacked.default_method", lambda device: "vmap")
    batched = LEARNERS[name](SPEC, [0, 1])
    batched.population = Population([batched], batched=True)
    shown, _ = train(batched, seeds=2)
    for ours, theirs in zip(shown, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **TIGHT)


@pytest.mark.parametrize("name", LEARNERS)
def test_training_taken_up_from_a_state_goes_on_the_same(name):
    agent = LEARNERS[name](SPEC, [0, 1])
    train(agent, 7, seeds=2)
    state = agent.state_dict()
    twin = LEARNERS[name](SPEC, [0, 1])
    twin.load_state_dict(state)
    agent.begin_task(1)
    twin.begin_task(1)
    for inputs, targets in batches(3, 2):
        assert torch.equal(agent.act(inputs), twin.act(inputs))
        agent.learn(targets)
        twin.learn(targets)


def test_construction_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    for learner in LEARNERS.values():
        learner(SPEC, [0, 1])
    assert torch.equal(torch.get_rng_state(), before)


def test_learning_reduces_the_loss():
    agent = vanilla.Agent(SPEC, [0])
    inputs, targets = next(batches(1, 1))
    losses = []
    for _ in range(30):
        agent.act(inputs)
        losses.append(float(agent.learn(targets)))
    assert losses[-1] < 0.2 * losses[0]


def test_learn_before_act():
    with pytest.raises(StepOrderError, match=r"\blearn\b.*\bact\b"):
        vanilla.Agent(SPEC, [0]).learn(torch.zeros(1, 32, dtype=torch.int64))


@pytest.mark.parametrize("step_size", [0, -1e-3, float("nan"), float("inf")])
def test_step_size_must_be_above_zero(step_size):
    with pytest.raises(OptionError, match=rf"\bstep_size={step_size}\b.*\b0\b"):
        vanilla.Agent(SPEC, [0], step_size=step_size)


def test_schedulers_and_their_constants_are_chosen_by_arguments():
    assert vanilla.Agent(SPEC, [0]).scheduler is None
    assert perlayer.Agent(SPEC, [0]).scheduler.constants.warm == 1.001
    assert perlayer.Agent(SPEC, [0], warm=1.01).scheduler.constants.warm == 1.01
    with pytest.raises(UnknownNameError, match="'perlayer'.*'per-layer'"):
        l2.Agent(SPEC, [0], scheduler="perlayer")
    with pytest.raises(OptionError, match=r"\bwarm=1\.01\b.*\bper-layer\b"):
        l2.Agent(SPEC, [0], warm=1.01)
    with pytest.raises(UnknownNameError, match="'gama'.*'gamma'"):
        l2.Agent(SPEC, [0], scheduler="per-layer", gama=1)
    with pytest.raises(UnknownNameError, match="'gama'.*'gamma'"):
        l2.Agent(SPEC, [0], gama=1)
    with pytest.raises(UndefinedError, match=r"\bscheduler=per-layer\b.*\bvolatility-only\b"):
        batchnorm.Agent(SPEC, [0], scheduler="per-layer")


def test_a_new_task_forgets_decisions_and_reopens_the_window():
    agent = LEARNERS["agents.vanilla, scheduled"](SPEC, [0])
    train(agent, 6)
    assert len(agent.scheduler.decisions) == 3
    agent.begin_task(1)
    assert len(agent.scheduler.decisions) == 0
    assert (agent.scheduler.task, agent.scheduler.step_in_task) == (1, 0)


def test_reset_puts_the_step_sizes_back():
    agent = LEARNERS["agents.reset, scheduled"](SPEC, [0, 1])
    train(agent, 6, seeds=2)
    assert (agent.optimizer.step_sizes != 1e-3).any()
    agent.begin_task(1)
    assert torch.all(agent.optimizer.step_sizes == torch.tensor(1e-3))


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (l2.Agent, "strength", -1),
        (wasserstein.Agent, "strength", -1),
        (reset.L2, "strength", -1),
        (l2.Agent, "strength", float("nan")),
        (leaky_relu.Agent, "slope", float("inf")),
        (reset.CReLU, "step_size", 0),
    ],
)
def test_values_outside_their_range_are_refused(owner, name, value):
    with pytest.raises(OptionError, match=rf"\b{name}={value}\b"):
        owner(SPEC, [0], **{name: value})


def test_arguments_and_their_defaults_are_inherited():
    assert reset.CReLU.keyword_arguments["step_size"] == crelu.Agent(SPEC, [0]).step_size == 1e-2
    assert reset.L2(SPEC, [0], strength=0.5).strength == 0.5
    assert perlayer.Agent.keyword_arguments["scheduler"] == "per-layer"
    assert "strength" not in vanilla.Agent.keyword_arguments


SHAPES = {"fc1.weight": (3, 4, 5), "fc1.bias": (3, 4), "out.weight": (3, 2, 4)}


def stacked_tensors(generator, dtype=torch.float32):
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, {"rtol": 1e-12, "atol": 1e-14}), (torch.float32, {"rtol": 1e-5, "atol": 1e-5})],
)
def test_stacked_adam_has_a_step_size_for_each_layer_and_seed(dtype, tolerance):
    """Against torch.optim.Adam given the same gradients, with one parameter group per layer and seed."""
    generator = torch.Generator().manual_seed(0)
    stacked = stacked_tensors(generator, dtype)
    plain = {name: [nn.Parameter(value[s].clone()) for s in range(3)] for name, value in stacked.items()}
    sizes = torch.tensor([[1e-3, 1e-2, 5e-2], [2e-3, 3e-2, 1e-1]], dtype=dtype)
    ours = StackedAdam(stacked, 1e-3)
    assert ours.layers == ["fc1", "out"]
    ours.step_sizes.copy_(sizes)
    theirs = torch.optim.Adam(
        [
            {"params": [plain[name][s]], "lr": float(sizes[layer, s])}
            for layer, names in enumerate((["fc1.weight", "fc1.bias"], ["out.weight"]))
            for name in names
            for s in range(3)
        ]
    )
    for step in range(20):
        gradients = list(stacked_tensors(generator, dtype).values())
        for values, gradient in zip(plain.values(), gradients, strict=True):
            for s, value in enumerate(values):
                value.grad = gradient[s].clone()
        theirs.step()
        ours.step(gradients if step % 2 else [list(gradient) for gradient in gradients])
    for name, values in plain.items():
        torch.testing.assert_close(stacked[name], torch.stack([v.detach() for v in values]), **tolerance)


def test_a_pytorch_without_the_private_kernel_gives_the_same_numbers(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    ours = stacked_tensors(generator)
    theirs = {name: value.clone() for name, value in ours.items()}
    private = StackedAdam(ours, 1e-2)
    monkeypatch.setattr("agents.adam.choose_kernel", lambda: public_kernel)
    public = StackedAdam(theirs, 1e-2)
    for _ in range(5):
        gradients = list(stacked_tensors(generator).values())
        for optimizer in (private, public):
            optimizer.step(gradients)
    for own, other in ((ours, theirs), (private.tensors, public.tensors)):
        for name, value in own.items():
            assert torch.equal(value, other[name]), name


def test_the_kernel_is_chosen_by_a_probe(monkeypatch):
    def refuse(*_, **__):
        raise TypeError("other arguments")

    assert choose_kernel.__wrapped__() is torch._fused_adam_
    monkeypatch.setattr(torch, "_fused_adam_", refuse)
    assert choose_kernel.__wrapped__() is public_kernel
    monkeypatch.delattr(torch, "_fused_adam_")
    assert choose_kernel.__wrapped__() is public_kernel


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LEARNERS)
def test_a_gpu_agrees_with_the_cpu(name, float64):
    from dataclasses import replace

    host, device = LEARNERS[name](SPEC, [0, 1]), LEARNERS[name](replace(SPEC, device="cuda"), [0, 1])
    for step, (inputs, targets) in enumerate(batches(8, 2)):
        if step % 6 == 0:
            host.begin_task(step // 6)
            device.begin_task(step // 6)
        torch.testing.assert_close(device.act(inputs.cuda()).cpu(), host.act(inputs), **TIGHT)
        host.learn(targets)
        device.learn(targets.cuda())
