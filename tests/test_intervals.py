"""Intervals cover what they say, ranks err as rarely as they say; SciPy's tests are the oracle."""

import itertools
import re

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from clbench.intervals import difference, estimate, how_compared, paired_on, ranks, why_ties

REPEATS = 1_000
COUNTS = (3, 5, 10)
VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=8)


def numbered(values, first=0):
    return {first + seed: float(value) for seed, value in enumerate(values)}


def ends(found):
    return found.low, found.high


# What they are.


@given(VALUES)
def test_an_interval_is_students(values):
    assume(np.ptp(values) > 1e-6)
    found = estimate(values)
    expected = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert ends(found) == pytest.approx(expected)
    assert (found.mean, found.n) == (pytest.approx(np.mean(values)), len(values))


def test_a_single_value_has_no_interval():
    found = estimate([0.4])
    assert (found.mean, found.n) == (0.4, 1)
    assert np.isnan(ends(found)).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])
def test_equal_values_have_an_interval_of_no_width(value):
    found = estimate([value] * 7)
    assert (found.low, found.mean, found.high) == (value, value, value)


@given(VALUES, st.randoms(use_true_random=False))
def test_a_paired_difference_is_students_of_differences(values, random):
    one, other = numbered(values), numbered([value * random.random() for value in values])
    gaps = np.array([one[seed] - other[seed] for seed in one])
    assume(np.ptp(gaps) > 1e-6)
    expected = scipy.stats.ttest_rel(list(one.values()), list(other.values())).confidence_interval(0.95)
    assert ends(difference(one, other)) == pytest.approx((expected.low, expected.high))
    assert difference(one, other).n == len(values)


@given(VALUES, VALUES)
def test_a_difference_of_groups_is_welchs(ours, theirs):
    assume(np.ptp(ours) > 1e-6 and np.ptp(theirs) > 1e-6)
    expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    found = difference(numbered(ours), numbered(theirs, 100))
    assert ends(found) == pytest.approx((expected.low, expected.high))
    assert found.n == len(ours) + len(theirs)


@pytest.mark.parametrize(
    ("one", "other", "common", "how"),
    [
        ((0, 1, 2), (2, 1, 0), (0, 1, 2), "paired, n = 3"),
        ((0, 1, 2), (1, 2, 3, 4), (1, 2), "paired, n = 2"),
        ((0, 1, 2), (2, 3, 4, 5), (), "Welch, n = 3 and 4"),
        ((0, 1), (2, 3, 4), (), "Welch, n = 2 and 3"),
        ((0,), (0, 1, 2), (0,), "paired, n = 1"),
        ((0,), (1, 2), (), "Welch, n = 1 and 2"),
    ],
)
def test_seeds_that_both_have_decide_how_two_are_compared(one, other, common, how):
    assert (paired_on(one, other), how_compared(one, other)) == (common, how)
    found = difference({seed: 0.1 * seed for seed in one}, {seed: 0.5 + 0.1 * seed**2 for seed in other})
    ours, theirs = common or one, common or other
    gap = np.mean([0.1 * seed for seed in ours]) - np.mean([0.5 + 0.1 * seed**2 for seed in theirs])
    assert found.mean == pytest.approx(gap)
    assert np.isnan(found.low) == np.isnan(found.high) == (1 in (len(ours), len(theirs)))


def test_what_is_left_of_rounding_is_no_difference():
    """0.1 + 0.2 is not 0.3: with nothing else between them, none of two learners is above the other."""
    one, other = numbered([0.1 + 0.2] * 3), numbered([0.3] * 3)
    assert one != other
    assert (*ends(difference(one, other)), difference(one, other).mean) == (0, 0, 0)
    assert ranks({"one": one, "other": other}) == {"one": 1, "other": 1}
    assert ends(difference(one, numbered([0.3] * 3, 100))) == (0, 0)


# What they cover.


def error(share, count=REPEATS):
    """Four standard errors of a share over so many repetitions: 1 in 16,000 for a fault that is none."""
    return 4 * np.sqrt(share * (1 - share) / count)


def normal(rng, *shape):
    return rng.normal(size=shape), 0.0


def lognormal(rng, *shape):
    return rng.lognormal(sigma=0.5, size=shape), np.exp(0.125)


def covered(found, true):
    low, high = np.array([ends(one) for one in found]).T
    return np.mean((low <= true) & (true <= high))


@pytest.mark.parametrize("count", COUNTS)
def test_the_interval_of_normal_seeds_covers_95_percent(count):
    samples, true = normal(np.random.default_rng(count), REPEATS, count)
    assert covered(map(estimate, samples), true) == pytest.approx(0.95, abs=error(0.95))


@pytest.mark.parametrize("count", COUNTS)
def test_the_interval_of_lognormal_seeds_covers_92_to_93_percent(count):
    samples, true = lognormal(np.random.default_rng(count), REPEATS, count)
    assert 0.92 - error(0.92) <= covered(map(estimate, samples), true) <= 0.935 + error(0.935)


@pytest.mark.parametrize("count", COUNTS)
def test_a_paired_interval_covers_95_percent_whatever_streams_have_in_common(count):
    rng = np.random.default_rng(count)
    common, own = 10 * rng.normal(size=(REPEATS, count, 1)), rng.normal(size=(REPEATS, count, 2))
    tables = (common + own * [1, 2] + [0.5, 0]).transpose(0, 2, 1)
    found = [difference(numbered(one), numbered(other)) for one, other in tables]
    assert covered(found, 0.5) == pytest.approx(0.95, abs=error(0.95))
    assert np.mean([one.high - one.low for one in found]) < 20


@pytest.mark.parametrize("counts", [(3, 3), (3, 10), (5, 10)])
def test_welchs_interval_covers_95_percent_of_groups_that_spread_differently(counts):
    """With three values in the group that spreads more it covers up to two points less: Welch's is an approximation."""
    rng = np.random.default_rng(counts)
    groups = [spread * rng.normal(size=(REPEATS, n)) for n, spread in zip(counts, (2, 1), strict=True)]
    found = [difference(numbered(one), numbered(other, 100)) for one, other in zip(*groups, strict=True)]
    assert 0.93 - error(0.93) <= covered(found, 0) <= 0.97 + error(0.97)


# Ranks.


def by_hand(scores):
    """Ranks by SciPy's one-sided tests and Holm's procedure, written out."""
    tests = []
    for one, other in itertools.permutations(scores, 2):
        ours, theirs = (list(scores[label].values()) for label in (one, other))
        if scores[one].keys() & scores[other].keys():
            found = scipy.stats.ttest_rel(ours, theirs, alternative="greater")
        else:
            found = scipy.stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater")
        tests.append((found.pvalue, other))
    beaten = []
    for place, (p_value, other) in enumerate(sorted(tests)):
        if p_value > 0.05 / (len(tests) - place):
            break
        beaten.append(other)
    return {label: 1 + beaten.count(label) for label in scores}


@pytest.mark.parametrize("apart", [0.0, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("shared", [True, False])
def test_ranks_are_one_sided_tests_with_holms_correction(apart, shared):
    rng = np.random.default_rng(round(10 * apart))
    for _ in range(40):
        count = rng.integers(3, 8)
        scores = {
            f"learner {index}": numbered(
                apart * index + rng.normal(size=count), 0 if shared or index < 2 else 100 * index
            )
            for index in rng.permutation(5)
        }
        assert ranks(scores) == by_hand(scores)


def test_streams_that_differ_do_not_hide_who_is_better():
    """Seeds far apart, nearly the same gain on each: no interval of a mean lies above another, yet one is better."""
    low = {0: 0.1, 1: 0.5, 2: 0.9}
    high = {0: 0.1201, 1: 0.5199, 2: 0.9200}
    assert estimate(list(high.values())).low < estimate(list(low.values())).high
    assert ranks({"low": low, "high": high}) == {"low": 2, "high": 1}
    assert ranks({"low": low, "high": {seed + 3: value for seed, value in high.items()}}) == {
        "low": 1,
        "high": 1,
    }


@pytest.mark.parametrize("first", [0, 100])
def test_a_difference_that_is_the_same_on_every_seed_is_certain(first):
    scores = {
        "high": numbered([0.75, 0.75]),
        "low": numbered([0.5, 0.5], first),
        "again": numbered([0.5, 0.5], first),
    }
    assert ranks(scores) == {"high": 1, "low": 2, "again": 2}


def test_nothing_is_told_apart_by_one_seed_or_in_an_empty_table():
    assert ranks({"a": {0: 0.1}, "b": {0: 0.9}, "c": {1: 0.5, 2: 0.6}}) == {"a": 1, "b": 1, "c": 1}
    assert ranks({"a": {0: 0.1}}) == {"a": 1}
    assert ranks({}) == {}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("learners", [2, 6])
def test_of_equal_learners_at_most_one_table_in_twenty_ranks_any_above_another(count, learners):
    rng = np.random.default_rng([count, learners])
    repeats = 1_000
    tables = rng.normal(size=(repeats, learners, count)) + 3 * rng.normal(size=(repeats, 1, count))
    wrong = [
        max(ranks({str(place): numbered(row) for place, row in enumerate(table)}).values()) > 1
        for table in tables
    ]
    assert np.mean(wrong) <= 0.05 + error(0.05, repeats)
    if learners == 2:  # two tests at 2.5 % each, of which one at most can err
        assert np.mean(wrong) >= 0.05 - error(0.05, repeats)


def test_a_table_with_few_seeds_says_why_rows_tie():
    assert [int(number) for number in re.findall(r"\d+", why_ties([3] * 15))] == [3, 210, 10]
    assert "3 to 12 seeds" in why_ties([3, 12])
    assert "one seed" in why_ties([1, 1])
    assert why_ties([10, 12]) == why_ties([3]) == why_ties([]) == ""
