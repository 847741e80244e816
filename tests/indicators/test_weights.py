import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clbench.errors import OptionError
from clbench.indicators import gradient_norm, gradient_parameter_ratio, weight_norm
from tests import oracles
from tests.cases import NETWORKS, batch, network, precision


def pieces(model, vector):
    return {layer: vector[place] for layer, place in oracles.places(model).items()} | {
        "whole network": vector
    }


def rms(vector):
    return vector.square().mean().sqrt()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETWORKS)
def test_norms_are_those_of_flat_vectors(name, dtype):
    model, (inputs, targets) = network(name, dtype=dtype), batch(dtype=dtype)
    plain = network(name)
    weights = pieces(plain, oracles.flat_parameters(plain)[0])
    gradients = pieces(plain, oracles.gradient(plain, F.cross_entropy, *batch()))
    expected = {
        "weight": (weight_norm(model), {k: v.norm() for k, v in weights.items()}),
        "weight rms": (weight_norm(model, "rms"), {k: rms(v) for k, v in weights.items()}),
        "gradient": (
            gradient_norm(model, F.cross_entropy, inputs, targets),
            {k: v.norm() for k, v in gradients.items()},
        ),
        "gradient rms": (
            gradient_norm(model, F.cross_entropy, inputs, targets, kind="rms"),
            {k: rms(v) for k, v in gradients.items()},
        ),
        "ratio": (
            gradient_parameter_ratio(model, F.cross_entropy, inputs, targets),
            {k: gradients[k].norm() / weights[k].norm() for k in weights},
        ),
    }
    for found, values in expected.values():
        assert list(found) == list(values)
        for layer, value in values.items():
            torch.testing.assert_close(found[layer], value.to(dtype), **precision(dtype))


def test_the_gradient_is_that_of_the_loss_as_trained():
    model, (inputs, targets) = network("mlp"), batch()
    found = gradient_norm(
        model,
        F.cross_entropy,
        inputs,
        targets,
        lambda own: own["fc1.weight"].pow(4).sum() + own["out.bias"].sum(),
    )

    def penalty(theta):
        return theta[: 8 * 16].pow(4).sum() + theta[-3:].sum()

    for layer, vector in pieces(
        model, oracles.gradient(model, F.cross_entropy, inputs, targets, penalty)
    ).items():
        torch.testing.assert_close(found[layer], vector.norm(), **precision(torch.float64))


def test_nothing_over_nothing_is_nothing():
    model = nn.Linear(16, 3).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    found = gradient_parameter_ratio(model, F.cross_entropy, *batch())
    assert all(value == 0 for value in found.values())
    found = gradient_norm(model, lambda outputs, targets: 0 * outputs.mean(), *batch())
    assert all(value == 0 for value in found.values())


def test_arguments_are_checked():
    with pytest.raises(OptionError, match=r"\bkind='l1'.*\beuclidean, rms\b"):
        weight_norm(network("mlp"), "l1")
    frozen = network("mlp").requires_grad_(False)
    with pytest.raises(OptionError, match=r"\bgradient\b"):
        weight_norm(frozen)
