"""Measuring leaves no trace: the user's hooks do not fire, whatever is written is put back, also after an error."""

import functools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clbench import indicators
from clbench.errors import OptionError, TouchedError, UndefinedError
from clbench.indicators.borrowing import untouched
from tests.cases import batch, network

EVERYTHING = {
    "gradient_noise": lambda m: indicators.gradient_noise(m, F.cross_entropy, *batch()),
    "hessian_rank": lambda m: indicators.hessian_rank(m, F.cross_entropy, *batch()),
    "sharpness": lambda m: indicators.sharpness(m, F.cross_entropy, *batch(), iterations=2),
    "rank_projected_step_size": lambda m: indicators.rank_projected_step_size(
        m, F.cross_entropy, *batch(), rank=1, iterations=1
    ),
    "dormant_units": lambda m: indicators.dormant_units(m, batch()[0]),
}


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)).double()


class Counter:
    """A hook that counts its calls and returns nothing."""

    def __init__(self):
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1


def forget(module, *_):
    with torch.no_grad():
        module.weight.zero_()


def hooks(counter):
    """How hooks are registered, by name."""
    seen = []
    return {
        "forward": lambda m: m[0].register_forward_hook(counter),
        "before": lambda m: m[0].register_forward_pre_hook(counter),
        "with kwargs": lambda m: m[0].register_forward_hook(
            lambda m, a, k, o: seen.append(o), with_kwargs=True
        ),
        "always": lambda m: m[0].register_forward_hook(counter, always_call=True),
        "partial": lambda m: m[0].register_forward_hook(functools.partial(lambda n, *a: seen.append(n), 1)),
        "backward": lambda m: m[0].register_full_backward_hook(forget),
        "before backward": lambda m: m[0].register_full_backward_pre_hook(forget),
        "of the model": lambda m: m.register_forward_hook(counter),
        "of a parameter": lambda m: m[0].weight.register_hook(counter),
        "of all modules": lambda m: nn.modules.module.register_module_forward_hook(counter),
    }


@pytest.mark.parametrize("measure", EVERYTHING)
@pytest.mark.parametrize("kind", hooks(None))
def test_hooks_do_not_fire(kind, measure):
    model, counter = mlp(), Counter()
    expected = EVERYTHING[measure](model)
    handle = hooks(counter)[kind](model)
    try:
        found = EVERYTHING[measure](model)
    finally:
        handle.remove()
    assert found == expected
    assert counter.calls == 0
    assert model[0].weight.abs().sum() > 0


@pytest.mark.parametrize("measure", EVERYTHING)
@pytest.mark.parametrize(
    "hook",
    [
        lambda module, given, output: 3 * output,
        lambda module, given, output: F.relu(output),
        lambda module, given, output: output.mul_(2) and None,
        lambda module, given, output: [].append(output) or 2 * output,
    ],
    ids=["scales", "calls", "in place", "after a call"],
)
def test_a_hook_that_may_change_the_output_is_said(hook, measure):
    model = mlp()
    model[0].register_forward_hook(hook)
    with pytest.raises(UndefinedError, match=r"'0' \(Linear\).*hook"):
        EVERYTHING[measure](model)


@pytest.mark.parametrize("measure", EVERYTHING)
def test_all_is_put_back_after_an_error(measure):
    class Failing(nn.Module):
        def forward(self, x):
            raise ValueError("no way")

    model = nn.Sequential(mlp(), Failing())
    before = [(own, own.__dict__, dict(own.__dict__)) for own in model.modules()]
    with pytest.raises(ValueError, match="no way"):
        EVERYTHING[measure](model)
    for own, held, entries in before:
        assert own.__dict__ is held
        assert own.__dict__ == entries


@pytest.mark.parametrize("measure", EVERYTHING)
def test_inputs_and_random_states_are_left(measure):
    class Noisy(nn.Module):
        """It draws from every global state, from one of its own, and writes to its inputs."""

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 3)
            self.own = torch.Generator().manual_seed(0)

        def forward(self, x):
            scale = 1 + 0.1 * (random.random() + np.random.rand() + float(torch.rand((), generator=self.own)))
            return self.fc(torch.tanh(F.dropout(x, 0.1) * scale))

    model = nn.Sequential(Noisy(), nn.Linear(3, 3)).double()
    before = (torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    own = model[0].own.get_state()
    EVERYTHING[measure](model)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert torch.equal(model[0].own.get_state(), own)


def unmeasurable():
    """Networks that cannot be measured, with what the error names."""
    lazy = nn.Sequential(nn.LazyLinear(3))
    scripted = nn.Sequential(torch.jit.trace(nn.Linear(16, 3).double(), batch()[0]))
    imaginary = nn.Sequential(nn.Linear(16, 3, dtype=torch.complex64))
    return {
        "lazy": (lazy, "0.weight"),
        "scripted": (scripted, "scripted"),
        "complex": (imaginary, "0.weight"),
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["lazy", "scripted", "complex"])
@pytest.mark.parametrize("measure", EVERYTHING)
def test_what_cannot_be_measured_is_one_clear_line(measure, kind):
    model, culprit = unmeasurable()[kind]
    with pytest.raises(UndefinedError, match=culprit) as caught:
        EVERYTHING[measure](model)
    assert "\n" not in str(caught.value)


def test_frozen_all_over_there_is_nothing_to_measure():
    with pytest.raises(OptionError, match=r"\bmodel\b"):
        indicators.weight_norm(mlp().requires_grad_(False))


def written(model):
    with torch.no_grad():
        model[0].weight.add_(1)


def replaced(model):
    model[0].weight = nn.Parameter(model[0].weight.detach())


def plain(model):
    """What `functional_call` once left of a module with two names."""
    model[0]._parameters["weight"] = model[0].weight.detach()


def counted(model):
    model.train()
    model(batch()[0])


@pytest.mark.parametrize("change", [written, replaced, plain, counted, lambda model: model.train()])
def test_the_guard_sees_every_change(change):
    model = network("batch normalisation, evaluated")
    with pytest.raises(TouchedError, match="meddling"), untouched("meddling", model):
        change(model)


def test_the_guard_lets_reading_pass():
    model = network("batch normalisation, evaluated")
    with untouched("reading", model):
        for measure in EVERYTHING.values():
            measure(model)


def test_hooks_that_write_to_what_they_are_given_are_said():
    def items(module, given, output):
        output[:, 0] = 0

    def weight(module, given):
        module.weight = nn.Parameter(module.weight / 2)

    def added(module, given, output):
        output += 1

    for kind, hook in (("forward", items), ("forward_pre", weight), ("forward", added)):
        model = mlp()
        getattr(model[0], f"register_{kind}_hook")(hook)
        with pytest.raises(UndefinedError, match=hook.__name__):
            EVERYTHING["sharpness"](model)


def test_hooks_that_keep_what_they_see_are_left_out():
    kept, counts = {}, {"calls": 0}

    def keep(module, given, output):
        kept["last"] = output.detach()
        counts["calls"] += 1

    model = mlp()
    model[0].register_forward_hook(keep)
    model[2].register_forward_hook(lambda module, given, output: print(output.shape))
    EVERYTHING["sharpness"](model)
    assert not kept
    assert counts["calls"] == 0


class Written(nn.Module):
    """It writes to its inputs, its submodules, and to a module that it holds without registering it."""

    def __init__(self):
        super().__init__()
        self.fc, self.act, self.out = nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)
        self.held = [nn.BatchNorm1d(16).double()]

    def forward(self, x):
        x.mul_(2)
        self.act = nn.Tanh()
        self.extra = nn.Identity()
        with torch.no_grad():
            self.held[0](x)
        self.fc.weight *= 1
        return self.out(self.act(self.fc(x)))


@pytest.mark.parametrize("measure", EVERYTHING)
def test_what_forward_writes_to_is_left(measure, monkeypatch):
    torch.manual_seed(0)
    model, given = Written().double(), batch()
    model.fc.weight.requires_grad_(False)
    act, before = model.act, [value.clone() for value in given]
    monkeypatch.setitem(globals(), "batch", lambda *_: given)
    EVERYTHING[measure](model)
    assert all(torch.equal(value, old) for value, old in zip(given, before, strict=True))
    assert model.act is act
    assert "extra" not in dict(model.named_modules())
    assert model.held[0].num_batches_tracked == 0


class Past(nn.Module):
    """It uses a weight that a function holds."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 3)
        weight = self.fc.weight
        self.run = lambda x: F.linear(x, weight)

    def forward(self, x):
        return self.fc(x) + self.run(x)


class Centred(nn.Module):
    """It takes the batch's mean away: samples depend on each other."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.fc(x)
        return x - x.mean(dim=0)


def test_a_parameter_used_past_its_module_is_named():
    with pytest.raises(UndefinedError, match=r"'fc\.weight'"):
        indicators.gradient_norm(Past(), F.cross_entropy, *batch(dtype=torch.float32))


def test_samples_that_depend_on_each_other_have_no_noise():
    model = Centred().double()
    for measure in ("gradient_noise", "hessian_rank", "rank_projected_step_size"):
        with pytest.raises(UndefinedError, match="per-sample"):
            EVERYTHING[measure](model)
    assert float(EVERYTHING["sharpness"](model)["fc"]) > 0


class Ended:
    """An object that does something when it ends."""

    def __init__(self):
        self.ended = []

    def __del__(self):
        self.ended.append(1)


class Kept(dict):
    """A dictionary of the user's own kind."""


class Holding(nn.Module):
    """It holds all sorts of things, and writes to some."""

    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(16, 5), nn.Linear(5, 3)
        self.array, self.kept, self.ended = np.zeros(2), Kept(scale=2.0), Ended()
        self.generator, self.marker, self.own = np.random.default_rng(0), object(), random.Random(0)
        self.marked = self.marker

    def forward(self, x):
        self.array += 1
        self.kept["calls"] = self.kept.get("calls", 0) + 1
        self.generator.random()
        self.own.random()
        assert self.marked is self.marker
        return self.out(torch.tanh(self.kept["scale"] * self.fc(x)))


@pytest.mark.parametrize("measure", EVERYTHING)
def test_what_a_module_holds_is_left(measure):
    model = Holding().double()
    before = model.generator.bit_generator.state, model.own.getstate()
    EVERYTHING[measure](model)
    assert (model.array == 0).all()
    assert model.kept == {"scale": 2.0}
    assert model.ended.ended == []
    assert (model.generator.bit_generator.state, model.own.getstate()) == before


def written_and_failed(model):
    written(model)
    raise ValueError("too late")


def test_the_guard_sees_changes_before_an_error():
    model = mlp()
    with pytest.raises(TouchedError), untouched("meddling", model):
        written_and_failed(model)


def test_a_piece_of_a_parameter_is_named():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 3)
            self.half = self.fc.weight[:2]

        def forward(self, x):
            return self.fc(x) + F.pad(x @ self.half.T, (0, 1))

    with pytest.raises(UndefinedError, match=r"'fc\.weight'"):
        indicators.gradient_norm(Half(), F.cross_entropy, *batch(dtype=torch.float32))
