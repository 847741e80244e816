import math

import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn import functional as F

from agents.networks import MLP, crelu
from clbench.errors import UndefinedError
from clbench.indicators import dormant_units, feature_rank, unit_sign_entropy
from tests.cases import batch, network, precision
from tests.kinds import make


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


def silent(values):
    """Share of columns that are zero all over."""
    return float((values == 0).all(dim=0).double().mean())


def channels(values):
    return values.movedim(1, -1).reshape(-1, values.shape[1])


def of_in_place(model, x):
    first = model.fc1(x)
    given = F.threshold(first, 0.5, 0.0)
    second = model.fc2(given)
    clamped = F.hardtanh(second)
    third = model.fc3(clamped)
    return {
        "fc1": (first, given),
        "fc2": (second, clamped),
        "fc3": (third, F.relu(third + clamped)),
    }


def of_normalisations_last(model, x):
    first = model.bn1(model.conv1(x.view(-1, 1, 4, 4)))
    second = model.bn2(model.conv2(F.relu(first)))
    return {
        "conv1": (channels(first), channels(F.relu(first))),
        "conv2": (channels(second), F.relu(second).flatten(1)),
    }


def of_residual(model, x):
    stem = model.stem(x.view(-1, 1, 4, 4))
    block, given = model.block, F.relu(stem)
    first = block.norm1(block.conv1(given))
    second, beside = block.norm2(block.conv2(F.relu(first))), block.downsample(given)
    pooled = F.relu(second + beside).mean(dim=(2, 3))
    return {
        "stem": (channels(stem), channels(given)),
        "block.conv1": (channels(first), channels(F.relu(first))),
        "block.conv2": (channels(second), pooled),
        "block.downsample.0": (channels(beside), pooled),
    }


def of_twice(model, x):
    first = model[0](x)
    second = model[0](torch.tanh(first))
    return {"0": (torch.cat([first, second]), torch.cat([torch.tanh(first), torch.tanh(second)]))}


def of_frozen_backbone(model, x):
    first = model.backbone[0](x)
    second = model.backbone[2](F.relu(first))
    return {"backbone.0": (first, F.relu(first)), "backbone.2": (second, F.relu(second))}


def of_own_normalisation(model, x):
    first = model.fc1(x)
    second = model.norm(model.fc2(model.act(first)))
    return {"fc1": (first, model.act(first)), "fc2": (second, torch.tanh(second))}


def of_transformer(model, x):
    tokens, encoder = x.view(-1, 4, 4) + model.position, model.encoder
    attended = encoder.self_attn(tokens, tokens, tokens)[0]
    middle = encoder.norm1(tokens + attended)
    hidden = encoder.linear1(middle)
    written = encoder.linear2(F.relu(hidden))

    def flat(values):
        return values.reshape(-1, values.shape[-1])

    return {
        "encoder.self_attn": (flat(attended), flat(tokens + attended)),
        "encoder.linear1": (flat(hidden), flat(F.relu(hidden))),
        "encoder.linear2": (flat(written), flat(middle + written)),
    }


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("in place", of_in_place),
        ("normalisations last", of_normalisations_last),
        ("residual", of_residual),
        ("registered twice", of_twice),
        ("frozen backbone", of_frozen_backbone),
        ("backbone without graph", of_frozen_backbone),
        ("own normalisation", of_own_normalisation),
        ("transformer", of_transformer),
    ],
)
def test_units_follow_the_data(name, units):
    """Pre-activations and activations, written out for each network."""
    model, (inputs, _) = make(name), batch(7)
    expected = units(model, inputs)
    signs, dormant = unit_sign_entropy(model, inputs), dormant_units(model, inputs)
    ranks = feature_rank(model, inputs)
    assert set(signs) == set(dormant) == {*expected, "whole network"}
    for layer, (before, after) in expected.items():
        assert float(signs[layer]) == pytest.approx(entropy(before)), layer
        assert float(dormant[layer]) == pytest.approx(silent(after)), layer
        shares = torch.linalg.svdvals(after.detach())
        expected_rank = math.exp(scipy.stats.entropy(shares / shares.sum()))
        assert float(ranks[layer]) == pytest.approx(expected_rank, rel=1e-6), layer
