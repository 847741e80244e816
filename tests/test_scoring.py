import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from clbench.records import TaskRecord
from clbench.scoring import estimate, score

ACCURACIES = st.lists(st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12), min_size=1, max_size=4)


def records(accuracies, agent="a"):
    return [
        TaskRecord(agent, seed, task, 10, float(value), float(value) / 2, 0.0, 0.0)
        for seed, row in enumerate(accuracies)
        for task, value in enumerate(row)
    ]


@given(ACCURACIES)
def test_means_are_as_defined(accuracies):
    table = np.array(accuracies)
    found = score("a", records(accuracies), 12)
    assert found.average_task_accuracy.mean == pytest.approx(table.mean())
    assert found.first_task.mean == pytest.approx(table[:, 0].mean())
    assert found.last_task.mean == pytest.approx(table[:, -1].mean())
    assert found.last_tenth.mean == pytest.approx(table[:, -2:].mean())
    assert found.final_epoch_accuracy.mean == pytest.approx(table.mean() / 2)
    slopes = [scipy.stats.linregress(range(12), row).slope for row in table]
    assert found.slope.mean == pytest.approx(np.mean(slopes), abs=1e-12)


@pytest.mark.parametrize(("tasks", "last"), [(1, 1), (9, 1), (10, 1), (11, 2), (15, 2), (40, 4)])
def test_last_tenth_has_at_least_one_task(tasks, last):
    values = np.linspace(0.1, 0.9, tasks)
    assert score("a", records([values]), tasks).last_tenth.mean == pytest.approx(values[-last:].mean())


def test_intervals_are_bootstrap_percentiles_over_seeds():
    """Against all 27 resamples of three seeds, each equally likely."""
    sample = np.array([0.2, 0.5, 0.6])
    means = sorted(
        np.mean([sample[a], sample[b], sample[c]]) for a in range(3) for b in range(3) for c in range(3)
    )
    found = estimate(sample)
    exact = np.percentile(means, [2.5, 97.5], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx(tuple(exact))
    assert estimate(sample) == found


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_intervals_hold_the_mean_and_stay_in_range(values):
    found = estimate(values)
    assert min(values) - 1e-12 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= max(values) + 1e-12


def test_a_single_seed_has_no_interval():
    found = estimate([0.4])
    assert found.mean == 0.4
    assert np.isnan([found.low, found.high]).all()


def test_only_finished_seeds_count():
    whole = records([[0.5] * 3, [0.7] * 3])
    found = score("a", whole[:-1], 3)
    assert found.seeds == 1
    assert found.average_task_accuracy.mean == 0.5
    assert score("a", whole[:2], 3) is None
    assert score("b", whole, 3) is None


def test_share_lost():
    found = score("a", records([[0.8] + [0.2] * 9]), 10)
    assert found.share_lost == pytest.approx(0.75)
    assert score("a", records([[0.0] * 10]), 10).share_lost == 0
