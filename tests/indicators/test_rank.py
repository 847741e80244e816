import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from torch import nn
from torch.nn import functional as F

from clbench.errors import OptionError, UndefinedError
from clbench.indicators import feature_rank, hessian_rank
from tests import oracles
from tests.cases import NETWORKS, batch, network, precision


def least(rows, share=0.99):
    """Least j with which the Fisher matrix's first j eigenvalues reach the share, over the number of rows."""
    values = np.sort(scipy.linalg.svdvals(rows.numpy()) ** 2)[::-1]
    return (np.searchsorted(np.cumsum(values), share * values.sum()) + 1) / len(rows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETWORKS)
def test_hessian_rank_is_that_of_looped_gradients(name, dtype):
    expected = oracles.sample_gradients(network(name), F.cross_entropy, *batch(20))
    found = hessian_rank(network(name, dtype=dtype), F.cross_entropy, *batch(20, dtype=dtype))
    for layer, place in oracles.places(network(name)).items():
        assert float(found[layer]) == pytest.approx(least(expected[:, place]))
    assert float(found["whole network"]) == pytest.approx(least(expected))


def test_only_the_first_samples_count():
    model, (inputs, targets) = network("mlp"), batch(30)
    found = hessian_rank(model, F.cross_entropy, inputs, targets, samples=9)
    assert found == hessian_rank(model, F.cross_entropy, inputs[:9], targets[:9])
    rows = oracles.sample_gradients(model, F.cross_entropy, inputs[:9], targets[:9])
    assert float(found["whole network"]) == pytest.approx(least(rows))
    half = hessian_rank(model, F.cross_entropy, inputs, targets, share=0.5)
    rows = oracles.sample_gradients(model, F.cross_entropy, inputs, targets)
    assert float(half["whole network"]) == pytest.approx(least(rows, 0.5))


def test_vanishing_and_equal_gradients_have_the_least_rank():
    model = nn.Linear(16, 3).double()
    found = hessian_rank(model, lambda outputs, targets: 0 * outputs.mean(), *batch(10))
    assert all(float(value) == 0.1 for value in found.values())
    inputs, targets = batch(1)
    found = hessian_rank(network("mlp"), F.cross_entropy, inputs.repeat(10, 1), targets.repeat(10))
    assert all(float(value) == 0.1 for value in found.values())
    assert hessian_rank(network("mlp"), F.cross_entropy, inputs, targets)["fc1"] == 1


def test_hessian_rank_checks_its_arguments():
    with pytest.raises(OptionError, match=r"\bsamples=0\b.*\b1\b"):
        hessian_rank(network("mlp"), F.cross_entropy, *batch(), samples=0)
    with pytest.raises(OptionError, match=r"\bshare=1\.5\b.*\b1\b"):
        hessian_rank(network("mlp"), F.cross_entropy, *batch(), share=1.5)
    with pytest.raises(UndefinedError, match=r"'1' \(BatchNorm1d\)"):
        hessian_rank(network("batch normalisation, evaluated").train(), F.cross_entropy, *batch())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_feature_rank_is_the_exponential_of_the_entropy(dtype):
    model, (inputs, _) = network("mlp", dtype=dtype), batch(30, dtype=dtype)
    wide = network("mlp")
    first = torch.tanh(wide.fc1(batch(30)[0]))
    features = {"fc1": first, "fc2": torch.tanh(wide.fc2(first))}
    features["whole network"] = features["fc2"]
    found = feature_rank(model, inputs)
    assert list(found) == list(features)
    for layer, values in features.items():
        sizes = scipy.linalg.svdvals(values.detach().numpy())
        expected = np.exp(scipy.stats.entropy(sizes / sizes.sum()))
        torch.testing.assert_close(found[layer], torch.tensor(expected, dtype=dtype), **precision(dtype))


def test_feature_rank_at_its_ends():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Identity(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(4))
    assert float(feature_rank(model, torch.eye(4).double())["0"]) == pytest.approx(4)
    assert float(feature_rank(model, torch.ones(4, 4).double())["0"]) == pytest.approx(1, rel=1e-6)
    assert float(feature_rank(model, torch.zeros(4, 4).double())["0"]) == 1
