import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from clbench.errors import OptionError
from clbench.indicators import (
    VolatilityTracker,
    cantelli_cap,
    critical_step_sizes,
    gradient_noise,
    gradient_norm,
    predicted_loss_of_trainability,
    sharpness,
)
from tests.cases import batch, network

POSITIVE = st.floats(1e-6, 1e6)
SIZES = st.integers(1, 4096)


def number(value):
    return torch.tensor(value, dtype=torch.float64)


@given(g2=POSITIVE, noise=POSITIVE, volatility=POSITIVE, size=SIZES, beta=st.floats(1e-3, 100))
def test_bounds_are_their_formulas(g2, noise, volatility, size, beta):
    found = critical_step_sizes(number(g2), number(noise), number(volatility), size, beta=beta)
    assert float(found.noise) == pytest.approx(size * g2 / noise)
    assert float(found.volatility) == pytest.approx(size / (beta * volatility))
    assert float(found.combined) == pytest.approx(size * g2 / (noise + beta * g2 * volatility))
    assert float(1 / found.combined) == pytest.approx(float(1 / found.noise + 1 / found.volatility))


@given(
    g2=st.floats(0, 1e6),
    noise=st.floats(0, 1e6),
    volatility=st.floats(0, 1e6),
    size=SIZES,
    beta=st.floats(0, 100),
)
@example(g2=0.5, noise=0.0, volatility=69.0, size=1, beta=4.30769948986052e-41)  # kappa Vol is denormal
def test_combined_is_never_above_the_others_and_only_a_dead_layer_has_none(g2, noise, volatility, size, beta):
    for dtype in (torch.float64, torch.float32):
        values = [torch.tensor(value, dtype=dtype) for value in (g2, noise, volatility)]
        found = critical_step_sizes(*values, size, beta=beta)
        assert found.volatility >= 0
        if values[0] == 0:
            assert torch.isnan(found.noise)
            assert torch.isnan(found.combined)
            continue
        slack = 1 + 1e-12 if dtype == torch.float64 else 1 + 1e-5
        assert found.combined <= found.noise * slack
        assert found.combined <= found.volatility * slack
        assert all(bound >= 0 for bound in found)  # which NaN is not


def test_documented_ends():
    nothing, something, none = number(0.0), number(2.0), math.inf
    for noise, volatility in ((nothing, nothing), (something, something)):  # a dead layer
        for unbiased in (False, True):
            dead = critical_step_sizes(nothing, noise, volatility, 8, unbiased=unbiased)
            assert math.isnan(dead.noise)
            assert math.isnan(dead.combined)
            assert dead.volatility == (0.2 if volatility else none)  # B / (beta Vol)
    one = critical_step_sizes(something, nothing, nothing, 1)  # a batch of one, first decision
    assert one == (none, none, none)
    assert critical_step_sizes(something, something, nothing, 8) == (8, none, 8)  # no volatility yet
    assert critical_step_sizes(something, nothing, something, 8).noise == none
    no_signal = critical_step_sizes(something, number(64.0), something, 8, unbiased=True)
    assert no_signal == (0, 0.2, 0)
    below = critical_step_sizes(something, number(-1e-9), nothing, 8)  # which rounding may do to noise
    assert below == (none, none, none)
    assert math.isnan(critical_step_sizes(number(math.nan), something, something, 8).combined)
    assert math.isnan(critical_step_sizes(something, number(math.nan), something, 8).combined)


def test_layers_are_bounded_each_by_itself():
    squares, noise = torch.tensor([0.0, 2.0, 2.0]), torch.tensor([0.0, 4.0, 0.0])
    found = critical_step_sizes(squares, noise, torch.zeros(3), 8)
    for bound in (found.noise, found.combined):
        torch.testing.assert_close(bound, torch.tensor([math.nan, 4.0, math.inf]), equal_nan=True)


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(0.1, 10))
def test_a_scaled_loss_leaves_the_noise_bound_and_scales_the_others(scale):
    """Noise and squared gradient both grow by scale^2; sharpness, and with it Vol, by scale."""
    model, (inputs, targets) = network("mlp"), batch()

    def bounds(factor):
        def loss_fn(outputs, wanted):
            return factor * F.cross_entropy(outputs, wanted)

        noise = gradient_noise(model, loss_fn, inputs, targets)["fc1"]
        g2 = gradient_norm(model, loss_fn, inputs, targets)["fc1"] ** 2
        tracker = VolatilityTracker(eps=0)
        for size in (6, 12):
            volatility = tracker.update(
                sharpness(model, loss_fn, inputs[:size], targets[:size], iterations=5, tolerance=0)["fc1"]
            )
        return critical_step_sizes(g2, noise, volatility, 12), (noise, g2, volatility)

    plain, (noise, g2, volatility) = bounds(1.0)
    scaled, _ = bounds(scale)
    torch.testing.assert_close(scaled.noise, plain.noise, rtol=1e-8, atol=0)
    torch.testing.assert_close(scaled.volatility, plain.volatility / scale, rtol=1e-8, atol=0)
    expected = 12 * g2 / (noise + 20 * g2 * scale * volatility)
    torch.testing.assert_close(scaled.combined, expected, rtol=1e-8, atol=0)


def test_with_beta_as_in_the_papers_text_volatility_hardly_counts():
    """At B = 256 and the volatilities of practice (0.1 to 10), beta <= 1 leaves alpha~ near alpha_g of about 1."""
    for volatility, most in ((0.1, 0.0004), (1.0, 0.004), (2.5, 0.01)):
        found = critical_step_sizes(number(1.0), number(256.0), number(volatility), 256, beta=1)
        assert 0 < 1 - float(found.combined / found.noise) < most


def test_unbiased_takes_off_the_floor_of_pure_noise():
    """Gradients that are nothing but noise: alpha_g tends to 1, the unbiased one to 0 (or what chance leaves)."""
    generator = torch.Generator().manual_seed(0)
    biased, unbiased = [], []
    for _ in range(200):
        rows = torch.randn(64, 500, generator=generator, dtype=torch.float64)
        mean = rows.mean(dim=0)
        noise = (rows - mean).square().sum(dim=1).mean()
        arguments = (mean.square().sum(), noise, number(0.0), 64)
        biased.append(critical_step_sizes(*arguments).noise)
        unbiased.append(critical_step_sizes(*arguments, unbiased=True).noise)
    assert float(torch.stack(biased).mean()) == pytest.approx(64 / 63, rel=0.02)
    assert float(torch.stack(unbiased).mean()) < 0.05
    assert min(unbiased) >= 0


def test_unbiased_finds_a_signal_under_noise():
    generator = torch.Generator().manual_seed(0)
    signal = 0.3
    found = []
    for _ in range(300):
        rows = signal + torch.randn(32, 100, generator=generator, dtype=torch.float64)
        mean = rows.mean(dim=0)
        noise = (rows - mean).square().sum(dim=1).mean()
        found.append(critical_step_sizes(mean.square().sum(), noise, number(0.0), 32, unbiased=True).noise)
    assert float(torch.stack(found).mean()) == pytest.approx(32 * signal**2, rel=0.03)


def test_kappa_is_free():
    found = critical_step_sizes(number(1.0), number(1.0), number(4.0), 32, kappa=0.5)
    assert found.volatility == 0.5


def test_cantelli_holds_for_skewed_sharpness():
    """Of draws from a skewed distribution, at most delta have 2 / lambda below the cap."""
    draws = torch.distributions.LogNormal(0.0, 1.0).sample((100_000,)).double()
    for delta in (0.05, 0.2, 0.5):
        cap = cantelli_cap(draws.mean(), draws.std(), delta)
        expected = 2 / (draws.mean() + draws.std() * math.sqrt((1 - delta) / delta))
        torch.testing.assert_close(cap, expected)
        assert (2 / draws < cap).double().mean() <= delta
    assert cantelli_cap(number(0.0), number(0.0)) == math.inf


@given(st.lists(st.lists(st.floats(0, 2), min_size=3, max_size=3), min_size=1, max_size=8))
def test_rho_counts_decisions_with_some_layer_above(rows):
    effective = torch.tensor(rows, dtype=torch.float64)
    expected = sum(any(value > 1 for value in row) for row in rows) / len(rows)
    assert float(predicted_loss_of_trainability(effective, torch.ones_like(effective))) == pytest.approx(
        expected
    )
    stacked = torch.stack([effective, torch.zeros_like(effective)], dim=2)
    found = predicted_loss_of_trainability(stacked, torch.ones_like(stacked))
    assert found.tolist() == pytest.approx([expected, 0])


BOUNDS = st.one_of(st.floats(0, 2), st.just(math.nan), st.just(math.inf))


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 2), BOUNDS), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    )
)
@example([[(2.0, math.nan)] * 3])  # nothing lives
@example([[(2.0, math.nan), (0.5, 1.0), (0.5, math.inf)], [(2.0, math.nan)] * 3])
def test_rho_leaves_out_what_is_dead(rows):
    """A dead layer of a decision, and a decision with nothing else: counted by hand."""
    living = [[(alpha, bound) for alpha, bound in row if not math.isnan(bound)] for row in rows]
    flags = [any(alpha > bound for alpha, bound in row) for row in living if row]
    expected = sum(flags) / len(flags) if flags else math.nan
    effective, bound = torch.tensor(rows, dtype=torch.float64).unbind(dim=2)
    found = predicted_loss_of_trainability(effective, bound)
    assert float(found) == pytest.approx(expected, nan_ok=True)
    pair = predicted_loss_of_trainability(
        *(torch.stack([one, one.flip(0)], dim=2) for one in (effective, bound))
    )
    assert pair.tolist() == pytest.approx([expected, expected], nan_ok=True)
    assert math.isnan(predicted_loss_of_trainability(effective * math.nan, bound))


def test_rho_of_living_layers_is_the_mean_to_the_bit():
    for count in (3, 7, 585):
        effective = torch.rand(count, 3, 5, generator=torch.Generator().manual_seed(count))
        found = predicted_loss_of_trainability(effective, torch.full_like(effective, 0.6))
        assert torch.equal(found, (effective > 0.6).any(dim=1).float().mean(dim=0))


def test_arguments_are_checked():
    ones = torch.ones(3)
    with pytest.raises(OptionError, match=r"\bbeta=-1\b.*\bkappa="):
        critical_step_sizes(ones, ones, ones, 8, beta=-1)
    with pytest.raises(OptionError, match=r"\bnoise\b.*\bdict\b"):
        critical_step_sizes(ones, {"fc1": ones}, ones, 8)
    with pytest.raises(OptionError, match=r"\bvalues\b.*\bfloat\b"):
        VolatilityTracker().update(1.0)
    with pytest.raises(OptionError, match=r"\bdelta=1\b.*\b0\b.*\b1\b"):
        cantelli_cap(ones, ones, delta=1)
    with pytest.raises(OptionError, match=r"\(3, 2\).*\(2, 3\).*\(T, L\)"):
        predicted_loss_of_trainability(torch.ones(3, 2), torch.ones(2, 3))
    with pytest.raises(OptionError, match=r"\(0, 2\).*\(0, 2\).*\bT\b.*\b1\b"):
        predicted_loss_of_trainability(torch.ones(0, 2), torch.ones(0, 2))
