import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clbench.errors import OptionError
from clbench.indicators import VolatilityTracker

SERIES = st.lists(st.floats(0.01, 100), min_size=1, max_size=50)


@given(series=SERIES, window=st.integers(2, 10))
def test_window_is_the_definition(series, window):
    tracker = VolatilityTracker(window=window)
    for at, value in enumerate(series):
        found = float(tracker.update(torch.tensor(value, dtype=torch.float64)))
        mean = np.mean(series[max(0, at + 1 - window) : at + 1])
        assert found == pytest.approx((value - mean) ** 2 / (mean + 1e-8), rel=1e-9, abs=1e-12)


@given(series=SERIES)
def test_ema_is_that_of_pandas(series):
    """pandas' exponential moments without adjustment, biased, are the same recursion."""
    tracker = VolatilityTracker("ema", decay=0.9)
    moments = pd.Series(series).ewm(alpha=1 - 0.9, adjust=False)
    for value, mean, variance in zip(series, moments.mean(), moments.var(bias=True), strict=True):
        found = float(tracker.update(torch.tensor(value, dtype=torch.float64)))
        assert found == pytest.approx(variance / (mean + 1e-8), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["window", "ema"])
def test_numbers_do_not_touch_each_other(kind):
    values = torch.rand(20, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    values[5, 1, 2] = torch.nan
    together = VolatilityTracker(kind)
    found = torch.stack([together.update(row) for row in values])
    alone = VolatilityTracker(kind)
    expected = torch.stack([alone.update(row[1, 2]) for row in values])
    assert torch.equal(found[:, 1, 2], expected)


@pytest.mark.parametrize("kind", ["window", "ema"])
def test_values_that_are_not_finite_are_left_out(kind):
    with_gaps, without = VolatilityTracker(kind), VolatilityTracker(kind)
    for value in (1.0, torch.nan, 2.0, torch.inf, 5.0):
        before = with_gaps.value if value != 1.0 else None
        found = with_gaps.update(torch.tensor(value))
        if np.isfinite(value):
            assert found == without.update(torch.tensor(value))
        else:
            assert found == before
    assert VolatilityTracker(kind).update(torch.tensor(torch.nan)) == 0


def test_it_is_never_negative_nor_infinite():
    tracker = VolatilityTracker()
    for value in (0.0, 0.0, -3.0, 3.0, -1e-6):
        found = tracker.update(torch.tensor(value))
        assert torch.isfinite(found)
        assert found >= 0


@pytest.mark.parametrize("kind", ["window", "ema"])
def test_state_goes_on(kind):
    one, other = VolatilityTracker(kind, window=3), VolatilityTracker(kind, window=3)
    for value in (1.0, 5.0, 2.0, 7.0):
        one.update(torch.tensor([value, 2 * value]))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.value, one.value)
    for value in (3.0, 1.0):
        assert torch.equal(
            other.update(torch.tensor([value, value])), one.update(torch.tensor([value, value]))
        )


def test_arguments_are_checked():
    with pytest.raises(OptionError, match=r"\bvolatility='std'.*\bwindow, ema\b"):
        VolatilityTracker("std")
    with pytest.raises(OptionError, match=r"\bwindow=1\b.*\b2\b"):
        VolatilityTracker(window=1)
    with pytest.raises(OptionError, match=r"\bdecay=1\b.*\b0\b.*\b1\b"):
        VolatilityTracker(decay=1)
    with pytest.raises(OptionError, match=r"\bupdate\b"):
        _ = VolatilityTracker().value
