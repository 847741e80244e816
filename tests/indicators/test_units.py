import math

import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn import functional as F

from agents.networks import MLP, crelu
from clbench.errors import UndefinedError
from clbench.indicators import dormant_units, unit_sign_entropy
from tests.cases import batch, network, precision


def entropy(values):
    """Mean over columns of the entropy of their signs, by SciPy."""
    shares = (values > 0).double().mean(dim=0).tolist()
    return sum(scipy.stats.entropy([share, 1 - share]) for share in shares) / len(shares)


def relu_network(dtype=torch.float64):
    model = network("mlp", dtype=dtype)
    model.activation = F.relu
    return model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_entropy_is_scipys(dtype):
    model, (inputs, _) = relu_network(), batch(30)
    first = model.fc1(inputs)
    second = model.fc2(F.relu(first))
    found = unit_sign_entropy(relu_network(dtype), inputs.to(dtype))
    expected = {"fc1": entropy(first), "fc2": entropy(second)}
    expected["whole network"] = (8 * expected["fc1"] + 6 * expected["fc2"]) / 14
    assert list(found) == list(expected)
    for layer, value in expected.items():
        torch.testing.assert_close(found[layer], torch.tensor(value, dtype=dtype), **precision(dtype))
        assert 0 <= found[layer] <= math.log(2)


def test_dormant_units_are_counted():
    model, (inputs, _) = relu_network(), batch(30)
    with torch.no_grad():
        model.fc1.weight[:3] = 0
        model.fc1.bias[:3] = -1
    first = F.relu(model.fc1(inputs))
    second = F.relu(model.fc2(first))
    silent = [int((values.abs().sum(dim=0) == 0).sum()) for values in (first, second)]
    found = dormant_units(model, inputs)
    assert silent[0] >= 3
    assert float(found["fc1"]) == pytest.approx(silent[0] / 8)
    assert float(found["fc2"]) == pytest.approx(silent[1] / 6)
    assert float(found["whole network"]) == pytest.approx(sum(silent) / 14)


def test_a_dead_network_is_silent_and_without_entropy():
    model, (inputs, _) = relu_network(), batch()
    with torch.no_grad():
        for layer in (model.fc1, model.fc2):
            layer.weight.zero_()
            layer.bias.fill_(-1)
    assert all(value == 1 for value in dormant_units(model, inputs).values())
    assert all(value == 0 for value in unit_sign_entropy(model, inputs).values())


def test_crelu_has_twice_the_units():
    """Of the two halves of a unit that is never positive, one is silent."""
    model = MLP(16, 3, hidden=(4,), activation=crelu, expansion=2).double()
    with torch.no_grad():
        model.fc1.weight.zero_()
        model.fc1.bias.copy_(torch.tensor([-1.0, 1.0, 1.0, 0.0]))
    assert float(dormant_units(model, batch()[0])["fc1"]) == (1 + 1 + 1 + 2) / 8


def test_a_convolutions_units_are_its_channels():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.deep, self.out = nn.Conv2d(1, 5, 3), nn.Conv2d(5, 4, 2), nn.Linear(4, 3)

        def forward(self, x):
            x = F.relu(self.deep(F.relu(self.conv(x.view(-1, 1, 4, 4)))))
            return self.out(x.flatten(1))

    torch.manual_seed(0)
    model, (inputs, _) = Net().double(), batch(9)
    with torch.no_grad():
        model.conv.weight[2] = 0
        model.conv.bias[2] = -1
    before = model.conv(inputs.view(-1, 1, 4, 4)).movedim(1, -1).reshape(-1, 5)
    assert float(unit_sign_entropy(model, inputs)["conv"]) == pytest.approx(entropy(before))
    silent = (before <= 0).all(dim=0).double().mean()
    assert float(dormant_units(model, inputs)["conv"]) == pytest.approx(float(silent))


def test_a_model_without_hidden_layers_has_no_units():
    for measure in (unit_sign_entropy, dormant_units):
        with pytest.raises(UndefinedError, match=r"\bhidden\b"):
            measure(nn.Sequential(nn.Linear(16, 3)).double(), batch()[0])
