"""What is read from optimizers, against the steps that they really take."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from clbench.errors import OptionError, UndefinedError
from clbench.indicators import (
    aggregated_step_size,
    effective_step_size,
    normalized_sharpness,
)
from clbench.indicators.optimizers import parameter_states, with_weight_decay
from clbench.indicators.parameter_state import class_name
from clbench.scheduling import FullNetworkScheduler, PerLayerScheduler
from tests.cases import batch, network, stack

ADAMS = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")
DIVIDING = (*ADAMS, "amsgrad", "RMSprop", "centered RMSprop", "Adagrad", "slowing Adagrad")
NEEDS_MUON = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
PLAIN = ("SGD", pytest.param("Muon", marks=NEEDS_MUON))
OPTIONS: dict[str, dict[str, Any]] = {
    "amsgrad": {"kind": "Adam", "amsgrad": True},
    "centered RMSprop": {"kind": "RMSprop", "centered": True},
    "slowing Adagrad": {"kind": "Adagrad", "lr_decay": 0.1, "initial_accumulator_value": 0.3},
}
ETA = 0.02


def made(name, parameters, **options):
    """One of the optimizers of the table."""
    chosen = {"kind": name, "lr": ETA, **OPTIONS.get(name, {}), **options}
    return getattr(torch.optim, chosen.pop("kind"))(parameters, **chosen)


def small(seed=0):
    """One layer in double precision."""
    torch.manual_seed(seed)
    return nn.Linear(4, 3).double()


def train(model, optimizers, steps, seed=0, keep=None):
    """Give each parameter random gradients; return all gradients, and how far the last step went."""
    generator, gradients = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        gradients.append({})
        for name, value in model.named_parameters():
            value.grad = None
            if keep is None or name in keep:
                value.grad = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
                gradients[-1][name] = value.grad.clone()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.step()
    return gradients, {name: before[name] - value.detach() for name, value in model.named_parameters()}


def averaged(optimizer, gradients):
    """The average gradient that the last step took, by its definition; `gradients` are all up to it."""
    (group,) = optimizer.param_groups
    kind, count = type(optimizer), len(gradients)
    if "betas" not in group:
        return gradients[-1]
    beta = group["betas"][0]
    plain = sum((1 - beta) * beta ** (count - 1 - at) * value for at, value in enumerate(gradients))
    if kind in (torch.optim.Adam, torch.optim.AdamW):
        return plain
    if kind is not torch.optim.NAdam:
        return plain / (1 - beta**count)
    mu = [beta * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"])) for step in range(1, count + 2)]
    done = math.prod(mu[:-1])
    return (1 - mu[-2]) * gradients[-1] / (1 - done) + mu[-1] * plain / (1 - done * mu[-1])


def factor(state):
    """What the average gradient is multiplied by, element by element."""
    if state.second_moment is None:
        return torch.as_tensor(state.step_size * state.scale)
    return state.step_size * state.scale / (state.correction * (state.second_moment.sqrt() + state.eps))


@settings(deadline=None)
@given(
    name=st.sampled_from(DIVIDING),
    steps=st.integers(1, 12),
    lr=st.floats(1e-4, 0.5),
    eps=st.floats(1e-10, 1e-2),
    betas=st.tuples(st.floats(0, 0.95), st.floats(0.5, 0.9999)),
)
def test_a_step_is_the_factor_times_the_average_gradient(name, steps, lr, eps, betas):
    model = small()
    decays = {"betas": betas, "weight_decay": 0.0} if name in (*ADAMS, "amsgrad") else {}
    optimizer = made(name, model.parameters(), lr=lr, eps=eps, **decays)
    gradients, moved = train(model, optimizer, steps)
    for key, state in parameter_states(model, optimizer).items():
        expected = factor(state) * averaged(optimizer, [one[key] for one in gradients])
        torch.testing.assert_close(moved[key], expected, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("name", DIVIDING)
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_both_reductions_are_of_the_factor(name, steps):
    model = small()
    optimizer = made(name, model.parameters())
    train(model, optimizer, steps)
    state = parameter_states(model, optimizer)["weight"]
    found = effective_step_size(model, optimizer, "mean")
    torch.testing.assert_close(found["weight"], factor(state).mean().double())
    if state.second_moment is not None:
        root = state.second_moment.mean().sqrt()
        expected = ETA * state.scale / (state.correction * (root + state.eps))
        torch.testing.assert_close(effective_step_size(model, optimizer)["weight"], expected)
        # Weight and bias are two layers of this one.
        moments = torch.cat(
            [one.second_moment.flatten() for one in parameter_states(model, optimizer).values()]
        )
        expected = ETA * state.scale / (moments.mean().sqrt() + state.eps)
        torch.testing.assert_close(aggregated_step_size(model, optimizer)["whole network"], expected)


def test_with_no_momentum_it_is_step_over_gradient():
    for name in ADAMS:
        model = small()
        optimizer = made(name, model.parameters(), betas=(0.0, 0.99), weight_decay=0.0)
        gradients, moved = train(model, optimizer, 9)
        expected = (moved["weight"] / gradients[-1]["weight"]).mean()
        torch.testing.assert_close(effective_step_size(model, optimizer, "mean")["weight"], expected)


def test_radam_before_rectification_goes_by_its_step_size():
    model = small()
    optimizer = made("RAdam", model.parameters())
    train(model, optimizer, 5)
    assert all(float(value) == ETA for value in effective_step_size(model, optimizer).values())
    assert all(float(value) == ETA for value in aggregated_step_size(model, optimizer).values())
    train(model, optimizer, 1)
    assert all(float(value) != ETA for value in effective_step_size(model, optimizer).values())


@pytest.mark.parametrize("name", PLAIN)
def test_without_a_second_moment_it_is_the_step_size_at_all_times(name):
    model = nn.Linear(4, 3, bias=False).double()
    optimizer = made(name, model.parameters())
    for _ in range(3):
        assert all(float(value) == ETA for value in effective_step_size(model, optimizer).values())
        assert all(float(value) == 1 for value in aggregated_step_size(model, optimizer).values())
        train(model, optimizer, 1)
    with pytest.raises(OptionError, match=rf"\b{name}\b.*\bAdamW\b"):
        PerLayerScheduler(model, optimizer)


@pytest.mark.parametrize("name", DIVIDING)
def test_there_is_no_value_before_the_first_update(name):
    model = network("mlp")
    optimizer = made(name, model.parameters())
    for measure in (effective_step_size, aggregated_step_size):
        assert all(value.isnan() for value in measure(model, optimizer).values())
    train(model, optimizer, 1)
    for measure in (effective_step_size, aggregated_step_size):
        assert all(value.isfinite() and value > 0 for value in measure(model, optimizer).values())


@pytest.mark.parametrize("name", DIVIDING)
@pytest.mark.parametrize("reset", ["step", "step, as a number", "state"])
def test_a_layer_that_was_reset_counts_as_new(name, reset):
    model = network("mlp")
    optimizer = made(name, model.parameters())
    train(model, optimizer, 7)
    rest = nn.ModuleDict({"fc1": model.fc1, "out": model.out})
    expected = effective_step_size(rest, optimizer), aggregated_step_size(rest, optimizer)
    for value in model.fc2.parameters():
        state = optimizer.state[value]
        if reset == "step":
            state["step"].zero_()
        elif reset == "state":
            del optimizer.state[value]
        else:
            state["step"] = 0
    found = effective_step_size(model, optimizer)
    assert found.pop("fc2").isnan()
    torch.testing.assert_close(found, expected[0])
    found = aggregated_step_size(model, optimizer)
    fresh = found.pop("fc2")
    if name in ("RAdam", "slowing Adagrad"):  # whose schedule starts anew for what is new
        found.pop("whole network"), expected[1].pop("whole network")
    else:
        torch.testing.assert_close(fresh, found["fc1"])
    torch.testing.assert_close(found, expected[1])


def test_after_a_reset_of_all_nothing_is_known():
    model = network("mlp")
    optimizer = made("Adam", model.parameters())
    scheduler = PerLayerScheduler(model, optimizer, every=1)
    train(model, optimizer, 4)
    inputs, targets = batch()
    assert scheduler.step(F.cross_entropy, inputs, targets)
    for state in optimizer.state.values():
        state["step"].zero_()
    assert normalized_sharpness(model, optimizer, F.cross_entropy, inputs, targets)["fc1"].isnan()
    assert not scheduler.step(F.cross_entropy, inputs, targets)


def test_a_scheduler_leaves_alone_what_was_reset():
    model = network("mlp")
    optimizer = made("Adam", model.parameters())
    scheduler = PerLayerScheduler(model, optimizer, every=1, gamma=1e-9, floor=0.0)
    train(model, optimizer, 4)
    for value in model.fc2.parameters():
        optimizer.state[value]["step"].zero_()
    scheduler.step(F.cross_entropy, *batch())
    assert dict(zip(scheduler.history["layer"], scheduler.history["factor"], strict=True)) == {
        "fc1": 0.99,
        "fc2": 1.0,
        "out": 0.99,
    }
    assert (scheduler.history["normalized_sharpness"] != 0).all()


@pytest.mark.parametrize("name", DIVIDING)
def test_parameters_without_a_gradient_do_not_count(name):
    model = network("mlp")
    optimizer = made(name, model.parameters())
    train(model, optimizer, 6, keep=["fc1.weight", "fc1.bias", "out.bias"])
    found = effective_step_size(model, optimizer)
    alone = effective_step_size(model.fc1, optimizer)
    assert found["fc2"].isnan()
    torch.testing.assert_close(found["fc1"], alone["weight"])
    torch.testing.assert_close(found["whole network"], alone["weight"])
    assert found["out"].isfinite()  # of its bias, the only one that was updated


def test_an_empty_parameter_does_not_count():
    model = network("mlp")
    model.register_parameter("empty", nn.Parameter(torch.zeros(0, dtype=torch.float64)))
    optimizer = made("Adam", model.parameters())
    train(model, optimizer, 2)
    found = effective_step_size(model, optimizer)
    assert "empty" not in found
    assert all(value.isfinite() for value in found.values())
    assert all(value.isfinite() for value in aggregated_step_size(model, optimizer).values())


def test_half_precision_is_measured_in_float32():
    model = network("mlp", dtype=torch.bfloat16)
    optimizer = made("Adam", model.parameters())
    train(model, optimizer, 3)
    found = effective_step_size(model, optimizer)
    moments = [optimizer.state[model.fc1.weight]["exp_avg_sq"].double() / (1 - 0.999**3)]
    expected = ETA / ((1 - 0.9**3) * float(moments[0].mean().sqrt()))
    assert float(found["fc1"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "name", ["Adam", "amsgrad", "NAdam", "RAdam", "Adamax", "RMSprop", "slowing Adagrad"]
)
@pytest.mark.parametrize("reduction", ["rms", "mean"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 1), (1, 4), (4,)])
def test_elements_may_count_their_own_steps(name, reduction, shape):
    """As methods have it that reset units: here the state is that of an optimizer with one count each."""
    model, counts = (
        small(),
        torch.tensor([0, 2, 9, 30, 1, 0, 7, 4, 3, 5, 8, 6])[: math.prod(shape)].view(shape),
    )
    optimizer = made(name, model.parameters())
    train(model, optimizer, 5)
    state = optimizer.state[model.weight]
    factors, moments = [], []
    for place in range(12):
        count = int(counts.expand(3, 4).flatten()[place])
        if count:
            state["step"] = torch.tensor(float(count))
            one = parameter_states(model, optimizer)["weight"]
            own = None if one.second_moment is None else one.second_moment.flatten()[place]
            moments += [] if own is None else [own]
            factors.append((one, own))
    root = torch.stack(moments).mean().sqrt()
    expected = torch.stack(
        [
            torch.tensor(ETA * one.scale, dtype=torch.float64)
            if own is None
            else ETA * one.scale / (one.correction * ((root if reduction == "rms" else own.sqrt()) + one.eps))
            for one, own in factors
        ]
    ).mean()
    state["step"] = counts
    torch.testing.assert_close(effective_step_size(model, optimizer, reduction)["weight"], expected)
    # Over all of the network.
    bias = parameter_states(model, optimizer)["bias"].second_moment
    mean = torch.cat([torch.stack(moments), *([] if bias is None else [bias])]).mean()
    if name in ("Adam", "NAdam", "amsgrad"):
        torch.testing.assert_close(
            aggregated_step_size(model, optimizer)["weight"], ETA / (mean.sqrt() + 1e-8)
        )


def test_equal_counts_of_elements_are_one_count():
    model = small()
    optimizer = made("Adam", model.parameters())
    train(model, optimizer, 5)
    measures = [lambda: effective_step_size(model, optimizer), lambda: aggregated_step_size(model, optimizer)]
    expected = [measure() for measure in measures]
    for value in model.parameters():
        optimizer.state[value]["step"] = torch.full_like(value, 5.0)
    torch.testing.assert_close([measure() for measure in measures], expected)
    for value in model.parameters():
        optimizer.state[value]["step"] = torch.zeros_like(value)
    assert all(value.isnan() for measure in measures for value in measure().values())
    optimizer.state[model.weight]["step"] = torch.ones(7)
    with pytest.raises(OptionError, match=r"\(7,\).*\(3, 4\)"):
        effective_step_size(model, optimizer)


def matrices_and_rest(model, first, second):
    """Two optimizers: one of all matrices, one of the rest."""
    values = list(model.parameters())
    return [
        made(first, [value for value in values if value.ndim == 2]),
        made(second, [value for value in values if value.ndim != 2], lr=3 * ETA),
    ]


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_optimizers_may_train_a_model(kind):
    model, twin = network("mlp"), network("mlp")
    optimizers = [
        made("Adam", [*model.fc1.parameters(), *model.out.parameters()]),
        made("Adam", model.fc2.parameters()),
    ]
    one = made("Adam", twin.parameters())
    train(model, optimizers, 3)
    train(twin, one, 3)
    for measure in (effective_step_size, aggregated_step_size):
        torch.testing.assert_close(measure(model, kind(optimizers)), measure(twin, one))
    for pair in ([optimizers[0]], [*optimizers, optimizers[1]], []):
        with pytest.raises(OptionError, match=r"'fc2\.weight'|\[\]"):
            effective_step_size(model, pair)


@pytest.mark.parametrize("plain", PLAIN)
def test_some_layers_may_have_no_second_moment(plain):
    model = network("mlp")
    optimizers = matrices_and_rest(model, plain, "Adam")
    train(model, optimizers, 3)
    assert all(float(value) == ETA for value in effective_step_size(model, optimizers).values())
    found = aggregated_step_size(model, optimizers)
    assert all(found[layer] == 1 for layer in ("fc1", "fc2", "out"))
    moments = [
        optimizers[1].state[layer.bias]["exp_avg_sq"] / (1 - 0.999**3)
        for layer in (model.fc1, model.fc2, model.out)
    ]
    adam = 3 * ETA / (torch.cat(moments).mean().sqrt() + 1e-8)
    sizes = [sum(value.numel() for value in model.parameters() if value.ndim == n) for n in (2, 1)]
    torch.testing.assert_close(found["whole network"], (sizes[0] + sizes[1] * adam) / sum(sizes))
    scheduler = PerLayerScheduler(model, optimizers, every=1, gamma=1e-9, floor=0.0)
    assert scheduler.step(F.cross_entropy, *batch())
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    assert rates == [pytest.approx([0.99 * ETA] * 3), pytest.approx([0.99 * 3 * ETA] * 3)]


@pytest.mark.parametrize("name", DIVIDING)
@pytest.mark.parametrize("kind", [PerLayerScheduler, FullNetworkScheduler])
def test_schedulers_multiply_the_step_sizes_of_any(name, kind):
    model = network("mlp")
    optimizer = made(name, model.parameters(), lr=torch.tensor(ETA) if name in ("Adam", "AdamW") else ETA)
    scheduler = kind(model, optimizer, every=2, gamma=1e-9, floor=0.0, cool=0.5)
    for step in range(4):
        inputs, targets = batch(seed=step)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        scheduler.step(F.cross_entropy, inputs, targets)
        optimizer.step()
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx(
        [ETA / 4] * (3 if kind is PerLayerScheduler else 1)
    )
    half = len(scheduler.history) // 2
    assert scheduler.history["step_size"].tolist() == pytest.approx([ETA] * half + [ETA / 2] * half)


COUPLED = {name: name != "AdamW" for name in (*DIVIDING, "SGD")}


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_weight_decay_is_part_of_the_loss(name):
    model = network("mlp")
    optimizer = made(name, model.parameters(), weight_decay=0.3)
    penalty = with_weight_decay(model, optimizer, None)
    expected = 0.15 * sum(value.square().sum() for value in model.parameters())
    if not COUPLED[name]:
        assert penalty is None
    else:
        torch.testing.assert_close(penalty(dict(model.named_parameters())), expected)
    for option in ("NAdam", "RAdam"):
        apart = made(option, model.parameters(), weight_decay=0.3, decoupled_weight_decay=True)
        assert with_weight_decay(model, apart, None) is None


@NEEDS_MUON
def test_weight_decay_of_several_optimizers_is_that_of_each():
    model = network("mlp")
    optimizers = [
        made("Muon", [value for value in model.parameters() if value.ndim == 2], weight_decay=0.3),
        made("Adam", [value for value in model.parameters() if value.ndim == 1], weight_decay=0.1),
    ]
    penalty = with_weight_decay(model, optimizers, None)
    expected = 0.05 * sum(value.square().sum() for value in model.parameters() if value.ndim == 1)
    torch.testing.assert_close(penalty(dict(model.named_parameters())), expected)


class Own(torch.optim.Optimizer):
    """Adam once more, as others write it."""

    betas, eps = (0.9, 0.999), 1e-8

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": ETA})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for value in group["params"]:
                state = self.state[value]
                if not state:
                    state.update(count=0, mean=torch.zeros_like(value), square=torch.zeros_like(value))
                state["count"] += 1
                state["mean"].lerp_(value.grad, 0.1)
                state["square"].lerp_(value.grad.square(), 0.001)
                first, second = (1 - beta ** state["count"] for beta in self.betas)
                value.sub_(
                    group["lr"] / first * state["mean"] / ((state["square"] / second).sqrt() + self.eps)
                )


class ByParameter(Own):
    """It reports by tensor."""

    def second_moments(self):
        return {value: state["square"] for value, state in self.state.items()}

    def steps(self):
        return {value: state["count"] for value, state in self.state.items()}


class ByName:
    """It is no `torch.optim.Optimizer`, and reports by name; second moments are corrected."""

    eps = 1e-8

    def __init__(self, model):
        self.model, self.inner = model, Own(model.parameters())
        self.step_sizes = {name: ETA / (1 - 0.9**3) for name, _ in model.named_parameters()}

    def step(self):
        self.inner.step()

    @property
    def second_moments(self):
        own = {name: self.inner.state[value] for name, value in self.model.named_parameters()}
        return {name: state["square"] / (1 - 0.999 ** state["count"]) for name, state in own.items() if state}


@pytest.mark.parametrize("kind", [ByParameter, ByName])
def test_an_optimizer_of_ones_own_reports(kind):
    model, twin = network("mlp"), network("mlp")
    own = kind(model if kind is ByName else model.parameters())
    adam = made("Adam", twin.parameters())
    assert all(value.isnan() for value in effective_step_size(model, own).values())
    train(model, own, 3)
    train(twin, adam, 3)
    torch.testing.assert_close(effective_step_size(model, own), effective_step_size(twin, adam))
    if kind is ByParameter:
        torch.testing.assert_close(aggregated_step_size(model, own), aggregated_step_size(twin, adam))
    scheduler = PerLayerScheduler(model, own, every=1, gamma=1e-9, floor=0.0)
    before = parameter_states(model, own)
    scheduler.step(F.cross_entropy, *batch())
    after = parameter_states(model, own)
    for name, state in after.items():
        assert state.step_size == pytest.approx(0.99 * before[name].step_size)


class Reports:
    """It says what it is told to."""

    def __init__(self, **said):
        vars(self).update(said)


def test_what_is_reported_is_read_as_documented():
    model = small()
    moments = {name: torch.full_like(value, 4.0) for name, value in model.named_parameters()}
    said = {"second_moments": lambda: moments, "step_sizes": lambda: 0.1}
    assert effective_step_size(model, Reports(**said))["weight"] == pytest.approx(0.05)
    assert effective_step_size(model, Reports(**said, eps=2.0))["weight"] == pytest.approx(0.025)
    assert effective_step_size(model, Reports(**said, steps=0))["weight"].isnan()
    counts = {"weight": torch.tensor([[1], [0], [3]]), "bias": 0}
    moments["weight"][1] = 7.0
    found = effective_step_size(model, Reports(**said, steps=lambda: counts))
    assert found["weight"] == pytest.approx(0.05)
    assert found["bias"].isnan()
    for shared in (4.0, torch.tensor(4.0), torch.full((3, 1), 4.0)):  # one for a tensor, or for each unit
        reported = Reports(second_moments={"weight": shared, "bias": moments["bias"]}, step_sizes=0.1)
        assert effective_step_size(model, reported)["weight"] == pytest.approx(0.05)
    rated = Reports(**{**said, "step_sizes": {model.weight: 0.1, "bias": 0.2}})
    assert effective_step_size(model, rated)["bias"] == pytest.approx(0.1)
    plain = Reports(second_moments=lambda: None, step_sizes=0.3)
    assert effective_step_size(model, plain)["weight"] == pytest.approx(0.3)
    assert aggregated_step_size(model, plain)["weight"] == 1
    halves = [
        Reports(second_moments={"weight": moments["weight"]}, step_sizes=0.1),
        made("SGD", [model.bias]),
    ]
    assert effective_step_size(model, halves)["bias"] == pytest.approx(ETA)


@pytest.mark.parametrize("kept", [{"m": 1.0, "t": 1}, {"exp_avg_sq": torch.ones(3, 4)}, {"step": 1}])
def test_a_subclass_that_keeps_another_state_is_named(kept):
    """It inherits from Adam and has another rule: it must not pass for an Adam without updates."""
    model = small()
    subclass = type("Adam", (torch.optim.Adam,), {"__module__": "theirs"})(model.parameters())
    assert effective_step_size(model, subclass)["weight"].isnan()
    subclass.state[model.weight] = kept
    with pytest.raises(OptionError, match=r"\btheirs\.Adam\b.*\bexp_avg_sq\b.*second_moments\(\)"):
        effective_step_size(model, subclass)


@pytest.mark.parametrize(
    "steps", [3, torch.tensor(3), torch.tensor([[0], [0], [2]])], ids=["int", "one", "rows"]
)
def test_one_optimizer_may_have_second_moments_of_some_parameters_only(steps):
    """As Muon with its own Adam does: where steps are counted, a missing second moment is none."""
    model = small()
    moments = {model.bias: torch.full_like(model.bias, 4.0)}
    said = {"second_moments": moments, "step_sizes": {"weight": 0.3, "bias": 0.1}}
    mixed = Reports(**said, steps={model.weight: steps, model.bias: 3})
    halves = [Reports(second_moments=moments, step_sizes=0.1), made("SGD", [model.weight], lr=0.3)]
    for measure in (effective_step_size, aggregated_step_size):
        torch.testing.assert_close(measure(model, mixed), measure(model, halves))
    assert effective_step_size(model, mixed)["weight"] == pytest.approx(0.3)
    for none in ({}, {"steps": 3}, {"steps": {model.weight: 0, model.bias: 3}}):  # no update by itself
        assert effective_step_size(model, Reports(**said, **none))["weight"].isnan()


def test_what_is_reported_of_stacked_networks():
    networks = stack([network("mlp", seed) for seed in range(2)])
    values = networks.parameters
    moments = {name: torch.full_like(value, 4.0) for name, value in values.items()}
    sizes = torch.tensor([[0.1, 0.2]] * 3, dtype=torch.float64)
    said = {"second_moments": moments, "step_sizes": sizes}
    torch.testing.assert_close(effective_step_size(networks, Reports(**said))["fc1"], sizes[0] / 2)
    for steps in (torch.tensor([3, 0]), {name: torch.tensor([3, 0]) for name in values}):
        own = Reports(**said, steps=steps)
        for measure in (effective_step_size, aggregated_step_size):
            found = measure(networks, own)
            assert all(value[0] == pytest.approx(0.05) for value in found.values())
            assert all(value[1].isnan() for value in found.values())
    counts = {name: torch.ones(value.shape) for name, value in values.items()}
    counts["fc1.weight"][1] = 0
    found = effective_step_size(networks, Reports(**said, steps=counts))
    assert found["fc1"].tolist() == [pytest.approx(0.05), pytest.approx(math.nan, nan_ok=True)]
    assert found["whole network"].tolist() == pytest.approx([0.05, 0.1])
    with pytest.raises(OptionError, match=r"\bAdam\b.*\b2 networks\b"):
        PerLayerScheduler(networks, made("Adam", values.values()))


def test_what_is_not_known_is_named_with_the_way_out():
    model = small()
    unknown = type("Adam", (Own,), {"__module__": "upgd"})(model.parameters())
    assert class_name(unknown) == "upgd.Adam"
    with pytest.raises(OptionError, match=r"\bupgd\.Adam\b.*second_moments\(\)"):
        effective_step_size(model, unknown)
    with pytest.raises(OptionError, match=r"\btorch\.optim\.Adadelta\b"):
        PerLayerScheduler(model, torch.optim.Adadelta(model.parameters()))
    subclass = type("Adam", (torch.optim.Adam,), {"__module__": "upgd"})(model.parameters(), lr=ETA)
    train(model, subclass, 1)
    assert effective_step_size(model, subclass)["weight"].isfinite()
    moments = {"weight": model.weight, "bias": model.bias}
    with pytest.raises(OptionError, match=r"\bReports\b.*'weight'.*step_sizes\(\)"):
        effective_step_size(model, Reports(second_moments=moments))
    with pytest.raises(OptionError, match=r"\bbetas\b.*\bsteps\b"):
        effective_step_size(model, Reports(second_moments=moments, step_sizes=0.1, betas=(0.9, 0.99)))
    with pytest.raises(OptionError, match=r"\bReports\b.*\bstep_sizes\b.*\badjust=False\b"):
        PerLayerScheduler(model, Reports(second_moments=moments, step_sizes=0.1))
    assert PerLayerScheduler(model, Reports(second_moments=moments, step_sizes=0.1), adjust=False)
    named = Reports(
        second_moments=moments, step_sizes=0.1, param_groups=[{"params": [*model.parameters()], "alpha": 1}]
    )
    with pytest.raises(OptionError, match=r"\bReports\b.*\bstep_sizes\b.*\blr\b"):
        PerLayerScheduler(model, named)
    with pytest.raises(OptionError, match=r"\(4, 3\).*\(3, 4\)"):
        effective_step_size(
            model, Reports(second_moments={"weight": model.weight.T, "bias": 1.0}, step_sizes=0.1)
        )
    complex_model = nn.Linear(4, 3, dtype=torch.complex64)
    with pytest.raises(UndefinedError, match=r"'weight'.*\bcomplex\b"):
        effective_step_size(complex_model, made("Adam", complex_model.parameters()))


def test_what_is_kept_in_a_state_before_the_first_step_is_no_other_rule():
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    optimizer.state[model.weight]["mask"] = torch.ones_like(model.weight)
    assert effective_step_size(model, optimizer)["weight"].isnan()
