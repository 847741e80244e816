"""S stacked networks are S single ones, on both ways to measure them; and nothing is ever changed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agents.networks import MLP
from clbench import indicators
from clbench.errors import OptionError
from clbench.indicators import Stacked
from tests.cases import NETWORKS, batch, network, precision, stack


def moved(parameters):
    """A penalty on stacked networks, its Hessian different at every weight."""
    return sum(value.flatten(1).pow(4).sum(dim=1) for value in parameters.values())


def moved_alone(parameters):
    return sum(value.pow(4).sum() for value in parameters.values())


MEASURES = {
    "gradient_noise": lambda m, x, y, p: indicators.gradient_noise(m, F.cross_entropy, x, y),
    "hessian_rank": lambda m, x, y, p: indicators.hessian_rank(m, F.cross_entropy, x, y),
    "sharpness": lambda m, x, y, p: indicators.sharpness(
        m, F.cross_entropy, x, y, p, iterations=20, tolerance=0, seeds=SEEDS[: getattr(m, "count", 1)]
    ),
    "gradient_norm": lambda m, x, y, p: indicators.gradient_norm(m, F.cross_entropy, x, y, p),
    "gradient_parameter_ratio": lambda m, x, y, p: indicators.gradient_parameter_ratio(
        m, F.cross_entropy, x, y, p
    ),
    "weight_norm": lambda m, x, y, p: indicators.weight_norm(m),
    "unit_sign_entropy": lambda m, x, y, p: indicators.unit_sign_entropy(m, x),
    "dormant_units": lambda m, x, y, p: indicators.dormant_units(m, x),
    "feature_rank": lambda m, x, y, p: indicators.feature_rank(m, x),
    "rank_projected": lambda m, x, y, p: indicators.rank_projected_step_size(
        m, F.cross_entropy, x, y, rank=2, penalty=p, iterations=3, seeds=SEEDS[: getattr(m, "count", 1)]
    ),
}
SEEDS = [5, 5, 5]


METHODS = pytest.mark.parametrize("method", ["loop", "vmap"])


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", NETWORKS)
@METHODS
def test_stacked_networks_are_single_ones(name, measure, method):
    models = [network(name, seed) for seed in range(3)]
    batches = [batch(seed=seed) for seed in range(3)]
    inputs, targets = (torch.stack(values) for values in zip(*batches, strict=True))
    found = MEASURES[measure](stack(models, method), inputs, targets, moved)
    for place, (model, (x, y)) in enumerate(zip(models, batches, strict=True)):
        expected = MEASURES[measure](model, x, y, moved_alone)
        assert list(found) == list(expected)
        for layer, value in expected.items():
            assert found[layer].shape == (3,)
            if method == "loop":
                torch.testing.assert_close(found[layer][place], value, rtol=1e-12, atol=0)
            else:
                torch.testing.assert_close(found[layer][place], value, **precision(torch.float64))


@pytest.mark.parametrize("measure", MEASURES)
def test_company_does_not_change_a_bit(measure):
    """In float32 at the backbone's width: a network among three gives the bits that it gives alone."""
    models = [MLP(784, 10, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    batches = [batch(64, seed, torch.float32, features=784, classes=10) for seed in range(3)]
    inputs, targets = (torch.stack(values) for values in zip(*batches, strict=True))
    together = MEASURES[measure](stack(models), inputs, targets, moved)
    alone = MEASURES[measure](stack(models[1:2]), inputs[1:2], targets[1:2], moved)
    for layer, value in alone.items():
        assert torch.equal(together[layer][1:2], value)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("method", [None, "loop", "vmap"])
def test_nothing_is_changed(measure, method):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Linear(16, 8), nn.Dropout(0.3)),
        nn.ReLU(),
        nn.Linear(8, 6),
        nn.BatchNorm1d(6),
        nn.Linear(6, 3),
    ).double()
    if measure in ("gradient_noise", "hessian_rank", "rank_projected"):
        model[3].eval()
    for value in model.parameters():
        value.grad = torch.randn_like(value)
    inputs, targets = batch(16)
    if method:
        parameters = {name: torch.stack([value.detach()] * 2) for name, value in model.named_parameters()}
        buffers = {name: torch.stack([value] * 2) for name, value in model.named_buffers()}
        subject = Stacked(model, parameters, buffers, method)
        inputs, targets = torch.stack([inputs] * 2), torch.stack([targets] * 2)
    else:
        parameters, buffers, subject = {}, {}, model

    def everything():
        return {
            **{f"own {name}": value.detach().clone() for name, value in model.named_parameters()},
            **{f"grad {name}": value.grad.clone() for name, value in model.named_parameters()},
            **{f"buffer {name}": value.clone() for name, value in model.named_buffers()},
            **{f"stacked {name}": value.clone() for name, value in {**parameters, **buffers}.items()},
            "random": torch.random.get_rng_state(),
        }

    modes = [module.training for module in model.modules()]
    grads = [value.requires_grad for value in [*model.parameters(), *parameters.values()]]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    before = copy.deepcopy(everything())
    MEASURES[measure](subject, inputs, targets, moved if method else moved_alone)
    after = everything()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert modes == [module.training for module in model.modules()]
    assert grads == [value.requires_grad for value in [*model.parameters(), *parameters.values()]]
    assert hooks == [len(module._forward_hooks) for module in model.modules()]


def test_they_work_where_gradients_are_off():
    model, (inputs, targets) = network("mlp"), batch()
    expected = indicators.sharpness(model, F.cross_entropy, inputs, targets)
    with torch.no_grad():
        assert indicators.sharpness(model, F.cross_entropy, inputs, targets) == expected


def test_what_does_not_fit_is_refused():
    model = network("mlp")
    parameters = {name: value.detach()[None] for name, value in model.named_parameters()}
    with pytest.raises(OptionError, match=r"\['fc1\.bias', .*\['fc1\.weight', 'fc1\.bias', "):
        Stacked(model, dict(list(parameters.items())[1:]))
    with pytest.raises(OptionError, match=r"'fc1\.weight'.*\(1, 16\).*\(1, 8, 16\)"):
        Stacked(model, {**parameters, "fc1.weight": torch.zeros(1, 16)})
    stacked = Stacked(model, parameters)
    inputs, targets = batch()
    with pytest.raises(OptionError, match=r"\b12\b.*\b1\b"):
        indicators.gradient_noise(stacked, F.cross_entropy, inputs, targets)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("measure", MEASURES)
def test_a_gpu_gives_what_the_cpu_gives(measure):
    models = [network("mlp", seed) for seed in range(3)]
    batches = [batch(seed=seed) for seed in range(3)]
    inputs, targets = (torch.stack(values) for values in zip(*batches, strict=True))
    stacked = stack(models)
    expected = MEASURES[measure](stacked, inputs, targets, moved)
    there = Stacked(
        copy.deepcopy(models[0]).cuda(), {name: value.cuda() for name, value in stacked.parameters.items()}
    )
    found = MEASURES[measure](there, inputs.cuda(), targets.cuda(), moved)
    for layer, value in expected.items():
        torch.testing.assert_close(found[layer].cpu(), value, **precision(torch.float64))
