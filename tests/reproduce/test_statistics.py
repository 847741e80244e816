"""Statistics against SciPy and against counting."""

import numpy as np
import pytest
from scipy import stats

from clbench.reproduce.statistics import (
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


def test_a_fall_is_from_the_best_so_far():
    assert first_fall(np.array([0.5, 0.8, 0.75, 0.74, 0.72])) == 4  # 0.72 is a tenth below 0.8
    assert first_fall(np.array([0.5, 0.8, 0.75, 0.721])) is None


def test_intervals_are_those_of_means_and_of_groups(random):
    values = random.normal(size=200)
    low, high = resampled([list(values)], lambda halves: np.array([np.mean(halves[0])]))
    error = values.std() / np.sqrt(200)
    assert low[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high[0] == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_each_sequence_is_drawn_from_by_itself():
    low, high = resampled([[1, 1], [5, 5]], lambda halves: np.array([sum(halves[0]), sum(halves[1]), np.nan]))
    assert low[:2].tolist() == high[:2].tolist() == [2, 10]
    assert np.isnan([low[2], high[2]]).all()
