"""Statistics against SciPy and against counting."""

import numpy as np
import pytest
from scipy import stats

from studies.noise_curvature.statistics import (
    area_under_roc,
    best_threshold,
    falls_ahead,
    first_fall,
    resampled,
    spearman,
)


@pytest.fixture
def random():
    return np.random.default_rng(3)


def test_rank_correlation_is_scipys(random):
    one = random.integers(0, 6, 80).astype(float)  # with ties
    other = one + random.normal(size=80)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_what_is_constant_has_no_rank_correlation(values):
    assert np.isnan(spearman(np.array(values), np.arange(len(values))))


def test_the_area_is_mann_whitneys(random):
    values, happens = random.integers(0, 9, 60).astype(float), random.random(60) < 0.3
    oracle = stats.mannwhitneyu(values[happens], values[~happens]).statistic
    assert area_under_roc(values, happens) == pytest.approx(oracle / (happens.sum() * (~happens).sum()))


def test_there_is_no_area_without_events():
    assert np.isnan(area_under_roc(np.arange(3.0), np.zeros(3, bool)))


def test_the_threshold_is_the_best_of_all(random):
    values, happens = random.integers(0, 9, 60).astype(float), random.random(60) < 0.3

    def youden(threshold):
        return (values[happens] >= threshold).mean() - (values[~happens] >= threshold).mean()

    assert youden(best_threshold(values, happens)) == pytest.approx(max(map(youden, np.unique(values))))


def test_falls_are_those_that_a_loop_counts(random):
    accuracy = random.random(30)
    ahead = falls_ahead(accuracy)
    for task in range(27):
        assert ahead[task] == any(accuracy[task + i] <= 0.9 * accuracy[task] for i in (1, 2, 3))
    assert np.isnan(ahead[27:]).all()
    assert np.isnan(falls_ahead(np.array([0.5, 0.1]))).all()


def test_a_fall_is_from_one_of_three_tasks_before():
    assert first_fall(np.array([0.5, 0.8, 0.75, 0.74, 0.72])) == 4  # 0.72 is a tenth below 0.8
    assert first_fall(np.array([0.5, 0.8, 0.75, 0.721])) is None
    assert first_fall(np.array([0.8, 0.77, 0.77, 0.77, 0.71])) is None  # too slow
    assert first_fall(np.array([0.8, 0.7])) == 1


def test_the_first_fall_is_the_first_that_is_foretold(random):
    for _ in range(50):
        accuracy = random.random(8) + 1
        fall, ahead = first_fall(accuracy), falls_ahead(accuracy)
        foretold = np.flatnonzero(ahead == 1)
        if len(foretold) and fall is not None and fall <= 7:
            assert 1 <= fall - foretold[0] <= 3


def test_resampled_intervals_are_those_of_means(random):
    values = random.normal(size=200)
    low, high = resampled(200, lambda drawn: np.array([values[drawn].mean()]))
    error = values.std() / np.sqrt(200)
    assert low[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high[0] == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_what_is_never_known_has_no_interval():
    ends = resampled(3, lambda drawn: np.array([np.nan, 1.0]))
    assert np.isnan(ends[:, 0]).all()
    assert ends[:, 1].tolist() == [1, 1]
