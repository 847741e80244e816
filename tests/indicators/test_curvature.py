import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clbench.errors import OptionError
from clbench.indicators import PowerIteration, aggregated_step_size, normalized_sharpness, sharpness
from clbench.indicators.derivatives import Derivatives
from tests import oracles
from tests.cases import batch, network, precision, stack

EXACT = {"iterations": 400, "tolerance": 1e-14}
NAMES = ["linear layers", "mlp", "convolution", "batch normalisation, evaluated"]


def squares(theta):
    return 0.3 / 2 * theta.square().sum()


def penalty(parameters):
    return 0.3 / 2 * sum(value.square().sum() for value in parameters.values())


@pytest.mark.parametrize("with_penalty", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_top_eigenvalue_of_the_explicit_hessian(name, with_penalty):
    model, (inputs, targets) = network(name), batch()
    whole = oracles.hessian(model, F.cross_entropy, inputs, targets, squares if with_penalty else None)
    found = sharpness(model, F.cross_entropy, inputs, targets, penalty if with_penalty else None, **EXACT)
    for layer, place in oracles.places(model).items():
        expected = oracles.top_eigenvalue(whole[place][:, place])
        torch.testing.assert_close(found[layer], expected, **precision(torch.float64))
    torch.testing.assert_close(
        found["whole network"], oracles.top_eigenvalue(whole), **precision(torch.float64)
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_curvlinops_agrees(dtype):
    """An independent implementation of Hessian-vector products, and SciPy's Lanczos iteration on it."""
    import curvlinops
    from scipy.sparse.linalg import eigsh

    model, (inputs, targets) = network("mlp", dtype=dtype), batch(64, dtype=dtype)
    operator = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(inputs, targets)]
    )
    ((expected,), _) = eigsh(operator.to_scipy(), k=1, which="LM")
    found = sharpness(model, F.cross_entropy, inputs, targets, iterations=500, tolerance=0)
    assert float(found["whole network"]) == pytest.approx(
        float(expected), rel=1e-5 if dtype == torch.float64 else 1e-3
    )


def test_a_hundred_products_are_enough_for_the_backbone():
    """The default, in float32 at full width, against many more products in float64."""
    from agents.networks import MLP

    model = MLP(784, 10, generator=torch.Generator().manual_seed(0))
    inputs, targets = batch(64, dtype=torch.float32, features=784, classes=10)
    found = sharpness(model, F.cross_entropy, inputs, targets)
    model.double()
    expected = sharpness(model, F.cross_entropy, inputs.double(), targets, iterations=200, tolerance=0)
    for layer, value in expected.items():
        assert float(found[layer]) == pytest.approx(float(value), rel=1e-2), layer


def test_another_seed_starts_elsewhere_and_ends_the_same():
    model, (inputs, targets) = network("mlp"), batch()
    one = sharpness(model, F.cross_entropy, inputs, targets, iterations=1, seeds=[0])
    other = sharpness(model, F.cross_entropy, inputs, targets, iterations=1, seeds=[1])
    again = sharpness(model, F.cross_entropy, inputs, targets, iterations=1, seeds=[0])
    assert one == again
    assert one != other
    ends = [sharpness(model, F.cross_entropy, inputs, targets, seeds=[seed], **EXACT) for seed in (0, 1)]
    for layer, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][layer], **precision(torch.float64))


def test_a_loss_without_curvature_has_none():
    model = nn.Linear(16, 3, bias=False).double()
    found = sharpness(model, lambda outputs, targets: outputs.mean(), *batch())
    assert all(value == 0 for value in found.values())


def test_a_dead_network_has_curvature_only_where_it_lives():
    model, (inputs, targets) = network("mlp"), batch()
    model.activation = F.relu
    with torch.no_grad():
        for layer in (model.fc1, model.fc2):
            layer.weight.zero_()
            layer.bias.fill_(-1)
    found = sharpness(model, F.cross_entropy, inputs, targets)
    assert found["fc1"] == found["fc2"] == 0
    assert found["out"] > 0
    assert all(torch.isfinite(value) for value in found.values())


def test_power_iteration_goes_on_from_its_last_vector():
    model, (inputs, targets) = network("mlp"), batch()
    power = PowerIteration(model, ["fc1", "out"])
    point = Derivatives(model, F.cross_entropy, inputs, targets, hessian=True)
    for _ in range(400):
        found = power.update(point)
    assert set(found) == {"fc1", "out"}
    whole = oracles.hessian(model, F.cross_entropy, inputs, targets)
    place = oracles.places(model)["fc1"]
    torch.testing.assert_close(
        found["fc1"], oracles.top_eigenvalue(whole[place][:, place]), **precision(torch.float64)
    )
    saved = power.state_dict()
    expected = power.update(point)
    fresh = PowerIteration(model, ["fc1", "out"])
    fresh.load_state_dict(saved)
    assert fresh.update(point) == expected


@pytest.mark.parametrize("bad", [0.0, torch.nan, torch.inf])
def test_power_iteration_starts_afresh_after_a_useless_product(bad):
    """A vector of zeros would stay so for ever."""
    model, (inputs, targets) = network("mlp"), batch()
    power = PowerIteration(model, ["fc1"])
    start = {name: value.clone() for name, value in power.vectors["fc1"].items()}
    power.update(Derivatives(model, F.cross_entropy, inputs, targets, hessian=True))
    assert not torch.equal(power.vectors["fc1"]["fc1.weight"], start["fc1.weight"])
    power.update(
        Derivatives(
            model, lambda out, wanted: bad * F.cross_entropy(out, wanted), inputs, targets, hessian=True
        )
    )
    assert all(torch.equal(power.vectors["fc1"][name], value) for name, value in start.items())
    for _ in range(40):
        found = power.update(Derivatives(model, F.cross_entropy, inputs, targets, hessian=True))
    assert found["fc1"] > 0


def test_normalised_sharpness_is_the_product():
    model, (inputs, targets) = network("mlp"), batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    found = normalized_sharpness(model, optimizer, F.cross_entropy, inputs, targets, iterations=20)
    steps, tops = (
        aggregated_step_size(model, optimizer),
        sharpness(model, F.cross_entropy, inputs, targets, iterations=20),
    )
    for layer, value in found.items():
        torch.testing.assert_close(value, steps[layer] * tops[layer])
    plain = torch.optim.SGD(model.parameters(), lr=0.01)
    assert normalized_sharpness(model, plain, F.cross_entropy, inputs, targets, iterations=20) == tops


def test_arguments_are_checked():
    model, (inputs, targets) = network("mlp"), batch()
    with pytest.raises(OptionError, match=r"\biterations=0\b.*\b1\b"):
        sharpness(model, F.cross_entropy, inputs, targets, iterations=0)
    with pytest.raises(OptionError, match=r"\b2 seeds\b.*\b1\b"):
        sharpness(model, F.cross_entropy, inputs, targets, seeds=[0, 1])
    with pytest.raises(OptionError, match=r"\b3 seeds\b.*\b2\b"):
        PowerIteration(stack([model, network("mlp", 1)]), ["fc1"], seeds=[0, 1, 2])
