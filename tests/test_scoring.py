import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from clbench.records import TaskRecord
from clbench.report.tables import loss
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


def test_only_finished_seeds_count():
    whole = records([[0.5] * 3, [0.7] * 3])
    found = score("a", whole[:-1], 3)
    assert found.seeds == 1
    assert found.average_task_accuracy.mean == 0.5
    assert score("a", whole[:2], 3) is None
    assert score("b", whole, 3) is None


def test_share_lost_is_of_what_lay_above_chance_seed_by_seed():
    levels = [[0.9] + [0.5] * 9, [0.5] + [0.2] * 9, [0.7] + [0.1] * 9]
    found = score("a", records(levels), 10, chance=0.1).share_lost
    expected = estimate([0.4 / 0.8, 0.3 / 0.4, 0.6 / 0.6])
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert found.n == 3
    of_two = score("a", records(levels), 10, chance=0.4).share_lost
    assert of_two.mean == pytest.approx(np.mean([0.4 / 0.5, 0.3 / 0.1, 0.6 / 0.3]))


@pytest.mark.parametrize("first", [0.1, 0.05])
def test_a_seed_that_starts_at_chance_has_nothing_to_lose(first):
    levels = [[0.9] * 10, [first] + [0.1] * 9]
    found = score("a", records(levels), 10, chance=0.1)
    assert np.isnan([found.share_lost.mean, found.share_lost.low, found.share_lost.high]).all()
    assert np.isnan(score("a", records([[0.9] * 10]), 10).share_lost.mean)  # nobody said what chance is


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([[0.9, 0.1], [0.9, 0.3]], "a lost 88 % [-71, 246] of its accuracy above chance."),
        ([[0.9, 0.1]], "a lost 100 % of its accuracy above chance."),
        ([[0.9, 0.9], [0.9, 0.8]], ""),
        ([[0.9, 0.1], [0.1, 0.1]], "a started at chance level: the share it lost is undefined."),
        (
            [[0.11, 0.09], [0.12, 0.15]],
            "a started near chance level: the share it lost cannot be told from so few seeds.",
        ),
    ],
)
def test_losses_are_said_with_their_interval(levels, said):
    assert loss(score("a", records(levels), 2, chance=0.1)) == said
