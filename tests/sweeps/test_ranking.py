"""Ranks, choosing on some seeds and judging on others, sensitivity."""

import re
from dataclasses import replace

import pytest

from clbench.errors import OptionError
from clbench.scoring import estimate
from clbench.sweeps.ranking import SAME, Selection, ranking, sensitivity
from tests.runs import entries


def entry(label, agent, levels, num_tasks=2, seeds=(), **arguments):
    """A cell whose seeds have these accuracies in all tasks."""
    table = {agent: {seed: [level] * num_tasks for seed, level in levels.items()}}
    changes = {"seeds": tuple(seeds or levels), "stream": {"num_tasks": num_tasks}, "arguments": arguments}
    (result,) = entries(table, label, **changes)
    return replace(result, label=label)


# On seeds 0 and 1 "a 2" is the best of a; on 2 and 3 "a 1" is.
CELLS = [
    entry("a 1", "a", {0: 0.4, 1: 0.5, 2: 0.8, 3: 0.9}, step_size=0.1, strength=1),
    entry("a 2", "a", {0: 0.6, 1: 0.7, 2: 0.2, 3: 0.3}, step_size=0.1, strength=2),
    entry("a 3", "a", {0: 0.1, 1: 0.2, 2: 0.1, 3: 0.2}, step_size=0.2, strength=1),
    entry("b", "b", {0: 0.3, 1: 0.3, 2: 0.3, 3: 0.3}, step_size=0.1),
]
APART = Selection((0, 1), (2, 3))


def test_the_best_of_each_agent_is_chosen_on_some_seeds_and_judged_on_others():
    rows, notes = ranking(CELLS, APART)
    assert [(row.entry.label, row.chosen) for row in rows] == [
        ("a 2", True), ("a 1", False), ("b", True), ("a 3", False),
    ]  # fmt: skip
    assert rows[0].score == estimate([0.6, 0.7])
    assert rows[0].judged == estimate([0.2, 0.3])
    # The cells of a differ by the same on both seeds, for sure; b is above a 3 and below the others on one more than
    # on the other, which two seeds cannot tell from chance.
    assert [row.rank for row in rows] == [1, 2, 1, 3]
    assert notes == []
    assert re.findall(r"\d+", str(APART)) == ["0", "1", "2", "3"]


def test_choosing_and_judging_on_the_same_seeds_says_so():
    rows, _ = ranking(CELLS, Selection())
    assert rows[0].entry.label == "a 1"
    assert rows[0].score == rows[0].judged == estimate([0.4, 0.5, 0.8, 0.9])
    assert str(Selection()) == SAME


def test_cells_of_other_streams_are_ranked_apart():
    rows, _ = ranking([*CELLS[:2], entry("a 4", "a", {0: 1.0, 1: 1.0}, num_tasks=3)], Selection())
    assert [(row.on, row.rank) for row in rows] == [
        ("num_tasks 2", 1),
        ("num_tasks 2", 1),
        ("num_tasks 3", 1),
    ]
    assert sum(row.chosen for row in rows) == 2


def test_cells_without_all_seeds_are_left_out_and_named():
    unfinished = entry("c", "c", {0: 0.5, 1: 0.5}, seeds=(0, 1, 2))
    rows, notes = ranking([CELLS[0], unfinished], Selection())
    assert len(rows) == 1
    (note,) = notes
    assert re.fullmatch(r"c\b\D*\b2\b\D*", note)  # the missing seed
    (note,) = ranking([CELLS[0], unfinished], APART)[1]
    assert re.fullmatch(r"c\b\D*\b2\b\D*\b3\b\D*", note)
    assert len(ranking([unfinished], Selection((0,), (1,)))[0]) == 1


def test_sensitivity_joins_cells_that_differ_in_nothing_else():
    rows, _ = ranking(CELLS, APART)
    assert sensitivity(rows, "step_size") == {
        "": {
            "a strength=1": {0.1: estimate([0.8, 0.9]), 0.2: estimate([0.1, 0.2])}
        }  # the others have one value
    }
    assert sensitivity(rows, "strength") == {
        "": {"a step_size=0.1": {1: estimate([0.8, 0.9]), 2: estimate([0.2, 0.3])}}
    }
    assert sensitivity(rows, "nothing") == {}


def test_a_cell_with_a_scheduler_is_on_another_line_than_one_without():
    cells = [
        entry("1", "a", {0: 0.1}, step_size=0.1, scheduler="none"),
        entry("2", "a", {0: 0.2}, step_size=0.2, scheduler="none"),
        entry("3", "a", {0: 0.9}, step_size=0.2, scheduler="per-layer"),
        entry("4", "a", {0: 0.8}, step_size=0.4, scheduler="per-layer"),
        entry("5", "a", {0: 0.7, 1: 0.7}, step_size=0.8, scheduler="none"),  # other seeds
    ]
    (lines,) = sensitivity(ranking(cells, Selection())[0], "step_size").values()
    assert {name: sorted(values) for name, values in lines.items()} == {
        "a seeds=[0] scheduler=none": [0.1, 0.2],
        "a seeds=[0] scheduler=per-layer": [0.2, 0.4],
    }


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        (((0, 1), None), "--select-seeds.*--report-seeds"),
        ((None, (0,)), "--select-seeds.*--report-seeds"),
        (((0, 1), (1, 2)), r"\bseed 1\b"),
        (((), (1,)), "^(?!.*--report-seeds).*--select-seeds"),
    ],
)
def test_seeds_that_cannot_choose_and_judge(seeds, text):
    with pytest.raises(OptionError, match=text):
        Selection(*seeds)
