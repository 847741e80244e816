"""Which parameters are a layer, by default and by choice; and that everything goes by it."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clbench import indicators
from clbench.errors import OptionError, UnknownNameError
from clbench.indicators import WHOLE, layer_parameters
from clbench.indicators.optimizers import with_weight_decay
from clbench.scheduling import FullNetworkScheduler, PerLayerScheduler
from tests.cases import batch, stack
from tests.kinds import make


class Net(nn.Module):
    """Two blocks and a head, with a normalisation first and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(16))
        self.norm0 = nn.LayerNorm(16)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Linear(16, 5), nn.LayerNorm(5)), nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4))
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm0(x + self.token)
        for block in self.blocks:
            x = torch.tanh(block(x))
        return self.head(x)


def net():
    torch.manual_seed(0)
    return Net().double()


def weights(*paths):
    return [f"{path}.{kind}" for path in paths for kind in ("weight", "bias")]


def test_a_normalisation_before_all_layers_counts_with_the_first():
    assert layer_parameters(net()) == {
        "token": ["token"],
        "blocks.0.0": weights("norm0", "blocks.0.0", "blocks.0.1"),
        "blocks.1.0": weights("blocks.1.0", "blocks.1.1"),
        "head": weights("head"),
    }


class Lists(nn.Module):
    """Layers and their normalisations in lists of their own, and weights in one."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(2, 2, 1) for _ in range(2))
        self.bns = nn.ModuleList(nn.BatchNorm1d(2) for _ in range(2))
        self.gains = nn.ParameterList([torch.ones(1), torch.ones(1)])


def prenormalised():
    """Two blocks, each with its normalisation before its layer."""
    return nn.Sequential(*(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3)) for _ in range(2)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            Lists,
            {
                "convs.0": weights("convs.0", "bns.0"),
                "convs.1": weights("convs.1", "bns.1"),
                "gains.0": ["gains.0"],
                "gains.1": ["gains.1"],
            },
        ),
        (prenormalised, {"0.1": weights("0.0", "0.1"), "1.1": weights("1.0", "1.1")}),
        (lambda: nn.Sequential(nn.LayerNorm(3)), {"0": weights("0")}),
        (
            lambda: nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())),
            {"0": weights("0", "1.0")},
        ),
    ],
    ids=["lists", "before", "alone", "apart"],
)
def test_what_a_normalisation_counts_with(make, expected):
    found = layer_parameters(make())
    assert {layer: sorted(names) for layer, names in found.items()} == {
        layer: sorted(names) for layer, names in expected.items()
    }


def test_a_choice_that_is_frozen_is_said():
    model = net()
    model.head.requires_grad_(False)
    with pytest.raises(OptionError, match=r"'head'.*frozen"):
        layer_parameters(model, "head")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (1, ["token", "blocks", "head"]),
        (2, ["token", "blocks.0", "blocks.1", "head"]),
        ("head", ["head"]),
        ("blocks.*", ["blocks.0", "blocks.1"]),
        (["blocks.1", "head"], ["blocks.1", "head"]),
        ({"body": ["token", "blocks"], "top": "head"}, ["body", "top"]),
    ],
    ids=str,
)
def test_layers_can_be_chosen(choice, expected):
    found = layer_parameters(net(), choice)
    assert list(found) == expected
    names = [name for names in found.values() for name in names]
    assert len(names) == len(set(names))


def test_a_chosen_layer_has_all_that_is_in_it():
    assert layer_parameters(net(), {"body": "blocks"})["body"] == weights(
        "norm0", "blocks.0.0", "blocks.0.1", "blocks.1.0", "blocks.1.1"
    )


@pytest.mark.parametrize("choice", [0, -1, True, 1.5, [], {}, [1], {"a": []}, {"a": 1}], ids=repr)
def test_what_is_no_choice_is_refused(choice):
    with pytest.raises(OptionError, match="layers="):
        layer_parameters(net(), choice)


def test_a_pattern_that_matches_nothing_is_named():
    with pytest.raises(UnknownNameError, match=r"'haed'.*'head'"):
        layer_parameters(net(), ["blocks", "haed"])


def test_no_layer_is_called_as_the_whole_network():
    with pytest.raises(OptionError, match=WHOLE):
        layer_parameters(net(), {WHOLE: "head"})


class Flat(nn.DataParallel):
    """A wrapper that needs no GPU."""


@pytest.mark.parametrize(
    "wrap", [Flat, functools.partial(torch.compile, backend="eager")], ids=["parallel", "compiled"]
)
def test_wrappers_are_seen_through(wrap):
    model = wrap(net())
    assert list(layer_parameters(model)) == list(layer_parameters(net()))
    found = indicators.gradient_noise(model, F.cross_entropy, *batch())
    for layer, value in indicators.gradient_noise(net(), F.cross_entropy, *batch()).items():
        torch.testing.assert_close(found[layer], value)


MEASURES = {
    "gradient_norm": lambda m, x, y, **k: indicators.gradient_norm(m, F.cross_entropy, x, y, **k),
    "gradient_parameter_ratio": lambda m, x, y, **k: indicators.gradient_parameter_ratio(
        m, F.cross_entropy, x, y, **k
    ),
    "gradient_noise": lambda m, x, y, **k: indicators.gradient_noise(m, F.cross_entropy, x, y, **k),
    "hessian_rank": lambda m, x, y, **k: indicators.hessian_rank(m, F.cross_entropy, x, y, **k),
    "sharpness": lambda m, x, y, **k: indicators.sharpness(m, F.cross_entropy, x, y, iterations=3, **k),
    "rank_projected_step_size": lambda m, x, y, **k: indicators.rank_projected_step_size(
        m, F.cross_entropy, x, y, rank=2, iterations=3, **k
    ),
    "weight_norm": lambda m, x, y, **k: indicators.weight_norm(m, **k),
    "unit_sign_entropy": lambda m, x, y, **k: indicators.unit_sign_entropy(m, x, **k),
    "dormant_units": lambda m, x, y, **k: indicators.dormant_units(m, x, **k),
    "feature_rank": lambda m, x, y, **k: indicators.feature_rank(m, x, **k),
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("stacked", [False, True])
def test_the_choice_does_not_touch_the_whole_network(measure, stacked):
    """And a layer of one module is what it was."""
    model, (inputs, targets) = net(), batch()
    if stacked:
        model, inputs, targets = stack([net(), net()]), torch.stack([inputs] * 2), torch.stack([targets] * 2)
    by_default = MEASURES[measure](model, inputs, targets)
    chosen = MEASURES[measure](model, inputs, targets, layers={"second": "blocks.1", "top": "head"})
    units = measure in ("unit_sign_entropy", "dormant_units", "feature_rank")
    assert set(chosen) == {"second", WHOLE} | (set() if units else {"top"})
    torch.testing.assert_close(chosen[WHOLE], by_default[WHOLE])
    if measure not in ("sharpness", "rank_projected_step_size"):
        torch.testing.assert_close(chosen["second"], by_default["blocks.1.0"])


def train(model, optimizer, scheduler, steps):
    for seed in range(steps):
        inputs, targets = batch(seed=seed)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        scheduler.step(F.cross_entropy, inputs, targets)
        optimizer.step()


def trained_by(scheduler_class, **options):
    """A network after some steps with a scheduler that always cools, and its step sizes by parameter."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = scheduler_class(model, optimizer, every=1, gamma=1e-9, floor=0, cool=0.5, **options)
    train(model, optimizer, scheduler, 3)
    step_sizes = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    return scheduler, {name: step_sizes[id(value)] for name, value in model.named_parameters()}


def test_a_scheduler_has_a_step_size_for_each_chosen_layer():
    scheduler, step_sizes = trained_by(PerLayerScheduler, layers=["blocks.0", "head"])
    assert scheduler.layers == ["blocks.0", "head"]
    assert set(scheduler.history.layer) == {"blocks.0", "head"}
    for name, step_size in step_sizes.items():
        chosen = name.startswith(("blocks.0", "head", "norm0"))
        assert step_size == pytest.approx(1e-3 / 4 if chosen else 1e-3), name


def test_the_whole_network_is_all_that_is_trained():
    _, step_sizes = trained_by(FullNetworkScheduler, layers=["head"])
    assert list(step_sizes.values()) == [pytest.approx(1e-3 / 4)] * len(step_sizes)


def test_a_schedulers_state_is_of_its_layers():
    scheduler, _ = trained_by(PerLayerScheduler)
    with pytest.raises(OptionError, match=r"\blayers\b"):
        trained_by(PerLayerScheduler, layers=1)[0].load_state_dict(scheduler.state_dict())


def test_units_of_a_chosen_layer_are_those_of_all_its_modules():
    model, (inputs, _) = make("wrapped"), batch()
    apart = indicators.dormant_units(model, inputs)
    together = indicators.dormant_units(model, inputs, layers=1)
    assert set(together) == {"net", WHOLE}
    torch.testing.assert_close(together["net"], (5 * apart["net.0"] + 4 * apart["net.2"]) / 9)
    torch.testing.assert_close(together["net"], apart[WHOLE])


def test_groups_that_share_a_step_size_as_a_tensor_are_apart():
    model = net()
    groups = [{"params": [model.head.weight]}, {"params": [model.head.bias]}]
    optimizer = torch.optim.Adam(groups, lr=torch.tensor(1e-3, dtype=torch.float64), foreach=False)
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    scheduler = PerLayerScheduler(model, optimizer, every=1, gamma=1e-9, floor=0, cool=0.5)
    train(model, optimizer, scheduler, 2)
    assert [float(group["lr"]) for group in optimizer.param_groups] == [5e-4, 5e-4]


def test_an_unknown_optimizers_weight_decay_is_not_the_losss():
    class Own(torch.optim.SGD):
        """Known: its decay is coupled."""

    class Other(torch.optim.Optimizer):
        """Not known."""

        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.1, "weight_decay": 0.1})

    model = net()
    assert with_weight_decay(model, Own(model.parameters(), lr=0.1, weight_decay=0.1), None) is not None
    other = Other(model.parameters())
    assert with_weight_decay(model, other, None) is None
    other.param_groups[0]["decoupled_weight_decay"] = False
    assert with_weight_decay(model, other, None) is not None
