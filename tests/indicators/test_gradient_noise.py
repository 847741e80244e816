import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from clbench.errors import OptionError, UndefinedError
from clbench.indicators import gradient_noise, hessian_rank, sharpness
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


class Patches(nn.Module):
    """A linear layer on four patches of each sample, as so many rows."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Linear(4, 5), nn.Linear(20, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.embed(x.reshape(-1, 4))).view(len(x), -1))


class Autoencoder(nn.Module):
    """The weight of `enc` is also used, transposed, as a decoder."""

    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(16, 3)

    def forward(self, x):
        code = torch.tanh(self.enc(x))
        return code + F.linear(code, self.enc.weight.t())[:, :3]


class Turned(nn.Module):
    """Its first layer sees the samples in another order."""

    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(16, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.fc(x.flip(0)).flip(0)))


class Tabled(nn.Module):
    """A linear layer on a table with as many rows as there are samples."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Linear(4, 16), nn.Linear(16, 3)
        self.register_buffer("rows", torch.linspace(-1, 1, 48).view(12, 4))

    def forward(self, x):
        return self.out(torch.tanh(x * self.table(self.rows).mean(dim=0)))


class Slightly(nn.Module):
    """Another use of a weight, a hundredth of the first."""

    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.fc(x)) + 0.01 * x @ self.fc.weight)


@pytest.mark.parametrize(
    "make", [Patches, Autoencoder, Turned, Tabled, Slightly], ids=lambda make: make.__name__
)
@pytest.mark.parametrize("measure", [gradient_noise, hessian_rank])
def test_where_the_closed_form_does_not_hold_it_is_not_used(make, measure):
    torch.manual_seed(0)
    model = make().double()
    found = measure(model, F.cross_entropy, *batch())
    if measure is gradient_noise:
        for layer, value in oracles.noise(model, F.cross_entropy, *batch()).items():
            torch.testing.assert_close(found[layer], value, **precision(torch.float64))
    else:
        rows = oracles.sample_gradients(model, F.cross_entropy, *batch())
        values = torch.linalg.svdvals(rows).square().cumsum(0)
        least = int((values < 0.99 * values[-1]).sum()) + 1
        assert float(found["whole network"]) == pytest.approx(least / 12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    model, (inputs, targets) = network("mlp", dtype=dtype), batch(64)
    found = gradient_noise(model, F.cross_entropy, inputs.to(dtype), targets)
    expected = oracles.noise(network("mlp"), F.cross_entropy, inputs, targets)
    for layer, value in expected.items():
        assert found[layer].dtype == torch.float32
        assert float(found[layer]) == pytest.approx(float(value), rel=0.1)


def test_attention_has_a_hessian_and_per_sample_gradients():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.block(x.view(-1, 4, 4)).mean(dim=1))

    torch.manual_seed(0)
    model = Net().double()
    assert float(sharpness(model, F.cross_entropy, *batch())["block.linear1"]) > 0
    expected = oracles.noise(model, F.cross_entropy, *batch())
    found = gradient_noise(model, F.cross_entropy, *batch())
    for layer in ("block.linear1", "out", "whole network"):
        torch.testing.assert_close(found[layer], expected[layer], **precision(torch.float64))


def test_what_pytorch_cannot_differentiate_says_so():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("no way back")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 3)

        def forward(self, x):
            return Once.apply(self.fc(x))

    with pytest.raises(UndefinedError, match=r"\bno way back\b"):
        gradient_noise(Net().double(), F.cross_entropy, *batch())


def test_inputs_and_outputs_are_single_tensors():
    inputs, targets = batch()
    with pytest.raises(OptionError, match=r"\binputs\b.*\btuple\b.*\btorch\.as_tensor\b"):
        gradient_noise(network("mlp"), F.cross_entropy, (inputs, inputs), targets)

    class Two(nn.Linear):
        def forward(self, x):
            return (super().forward(x),) * 2

    model = Two(16, 3).double()
    with pytest.raises(OptionError, match=r"\bmodel\b.*\btuple\b"):
        gradient_noise(model, F.cross_entropy, inputs, targets)


def test_batch_normalisation_in_training_is_refused():
    model = network("batch normalisation, evaluated").train()
    with pytest.raises(UndefinedError, match=r"'1' \(BatchNorm1d\).*\bmodel\.eval\(\)"):
        gradient_noise(model, F.cross_entropy, *batch())


def test_a_sum_over_the_batch_is_refused():
    with pytest.raises(OptionError, match=r"\bloss_fn\b.*\breduction='mean'"):
        gradient_noise(network("mlp"), nn.CrossEntropyLoss(reduction="sum"), *batch())


def test_class_weights_and_ignored_targets_are_refused():
    """The weighted mean of a batch is not the mean of its samples' losses."""
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2], dtype=torch.float64))
    with pytest.raises(OptionError, match=r"\bloss_fn\b.*\breduction='mean'.*\bweights\b"):
        gradient_noise(network("mlp"), weighted, *batch())
    inputs, targets = batch()
    targets[1] = -100
    with pytest.raises(OptionError, match=r"\bloss_fn\b.*\bnan\b.*\breduction='mean'"):
        gradient_noise(network("mlp"), F.cross_entropy, inputs, targets)


def test_a_loss_that_knows_the_batch_size_is_refused():
    weights = torch.ones(12, dtype=torch.float64)
    with pytest.raises(OptionError, match=r"\bloss_fn\b(?!.*\breduction\b)"):
        gradient_noise(network("mlp"), lambda out, wanted: (weights * out.mean(dim=1)).mean(), *batch())


def test_a_loss_per_sample_is_refused():
    with pytest.raises(OptionError, match=r"\bloss_fn\b.*\(12,\)"):
        gradient_noise(network("mlp"), nn.CrossEntropyLoss(reduction="none"), *batch())


def test_a_batch_of_one_has_none():
    found = gradient_noise(network("mlp"), F.cross_entropy, *batch(size=1))
    assert all(value == 0 for value in found.values())


def test_equal_samples_have_none():
    inputs, targets = batch(size=1)
    found = gradient_noise(network("mlp"), F.cross_entropy, inputs.repeat(8, 1), targets.repeat(8))
    for value in found.values():
        assert 0 <= value < 1e-14


@pytest.mark.parametrize(("given_shape", "text"), [((0, 16), r"\bempty\b"), ((3, 16), r"\(12,\).*\(3, 16\)")])
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
