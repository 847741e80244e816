import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from clbench.errors import OptionError, UndefinedError
from clbench.indicators import gradient_noise
from tests import oracles
from tests.cases import NETWORKS, batch, network, precision


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_spread_of_looped_gradients(name, dtype):
    model, (inputs, targets) = network(name, dtype=dtype), batch(dtype=dtype)
    expected = oracles.noise(network(name), F.cross_entropy, *batch())
    found = gradient_noise(model, F.cross_entropy, inputs, targets)
    assert list(found) == list(expected)
    for layer, value in expected.items():
        torch.testing.assert_close(found[layer], value.to(dtype), **precision(dtype))


def test_other_losses_count_as_well():
    model, (inputs, _) = network("mlp"), batch()
    targets = torch.randn(12, 3, dtype=torch.float64)
    found = gradient_noise(model, F.mse_loss, inputs, targets)
    for layer, value in oracles.noise(model, F.mse_loss, inputs, targets).items():
        torch.testing.assert_close(found[layer], value, **precision(torch.float64))


def test_frozen_parameters_do_not_count():
    model, (inputs, targets) = network("mlp"), batch()
    model.fc1.weight.requires_grad_(False)
    expected = oracles.noise(model, F.cross_entropy, inputs, targets)
    found = gradient_noise(model, F.cross_entropy, inputs, targets)
    assert list(found) == ["fc1", "fc2", "out", "whole network"]
    for layer, value in expected.items():
        torch.testing.assert_close(found[layer], value, **precision(torch.float64))


def test_a_subclass_of_linear_has_no_closed_form():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x) + self.weight.sum()

    torch.manual_seed(0)
    model = nn.Sequential(Doubled(16, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    expected = oracles.noise(model, F.cross_entropy, *batch())
    found = gradient_noise(model, F.cross_entropy, *batch())
    for layer, value in expected.items():
        torch.testing.assert_close(found[layer], value, **precision(torch.float64))


def test_linear_layers_on_sequences():
    class OverTime(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.out(torch.tanh(self.embed(x.view(-1, 4, 4))).mean(dim=1))

    torch.manual_seed(0)
    model = OverTime().double()
    found = gradient_noise(model, F.cross_entropy, *batch())
    for layer, value in oracles.noise(model, F.cross_entropy, *batch()).items():
        torch.testing.assert_close(found[layer], value, **precision(torch.float64))


def test_batch_normalisation_in_training_is_refused():
    model = network("batch normalisation, evaluated").train()
    with pytest.raises(
        UndefinedError, match=r"'1' \(BatchNorm1d\) normalises .* Measure with model.eval\(\)"
    ):
        gradient_noise(model, F.cross_entropy, *batch())


def test_a_sum_over_the_batch_is_refused():
    with pytest.raises(OptionError, match="sums over the batch"):
        gradient_noise(network("mlp"), nn.CrossEntropyLoss(reduction="sum"), *batch())


def test_a_loss_per_sample_is_refused():
    with pytest.raises(OptionError, match=r"must give one number, the batch's mean; it gave \(12,\)"):
        gradient_noise(network("mlp"), nn.CrossEntropyLoss(reduction="none"), *batch())


def test_a_batch_of_one_has_none():
    found = gradient_noise(network("mlp"), F.cross_entropy, *batch(size=1))
    assert all(value == 0 for value in found.values())


def test_equal_samples_have_none():
    inputs, targets = batch(size=1)
    found = gradient_noise(network("mlp"), F.cross_entropy, inputs.repeat(8, 1), targets.repeat(8))
    for value in found.values():
        assert 0 <= value < 1e-14


@pytest.mark.parametrize(("given_shape", "text"), [((0, 16), "batch is empty"), ((3, 16), "same batch size")])
def test_unusable_batches_are_refused(given_shape, text):
    with pytest.raises(OptionError, match=text):
        gradient_noise(
            network("mlp"),
            F.cross_entropy,
            torch.zeros(given_shape).double(),
            batch()[1][:0] if not given_shape[0] else batch()[1],
        )


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(12)), scale=st.floats(0.01, 100))
def test_order_does_not_matter_and_scale_is_squared(order, scale):
    model, (inputs, targets) = network("convolution"), batch()
    plain = gradient_noise(model, F.cross_entropy, inputs, targets)
    changed = gradient_noise(
        model,
        lambda out, wanted: scale * F.cross_entropy(out, wanted),
        inputs[list(order)],
        targets[list(order)],
    )
    for layer, value in plain.items():
        torch.testing.assert_close(changed[layer], scale**2 * value, rtol=1e-9, atol=0)
