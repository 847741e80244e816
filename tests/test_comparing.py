import re

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.comparing import compare
from clbench.errors import UnknownNameError, UsageError
from clbench.scoring import SCORES, estimate
from tests.runs import entries

A = {0: [0.8, 0.4, 0.3, 0.1], 1: [0.7, 0.5, 0.2, 0.2], 2: [0.9, 0.3, 0.3, 0.3]}
B = {0: [0.8, 0.6, 0.7, 0.5], 1: [0.6, 0.7, 0.5, 0.5], 2: [0.9, 0.8, 0.4, 0.7]}


def row_of(comparison, label):
    (found,) = [row for row in comparison.rows if row.entry.label == label]
    return found


def test_differences_are_seed_by_seed():
    found = compare(entries({"a": A, "b": B}))
    ours, theirs = (np.array(list(rows.values())) for rows in (B, A))
    differences = (ours - theirs).mean(axis=1)
    row = row_of(found, "b")
    assert (found.reference.label, row.seeds) == ("a", (0, 1, 2))
    assert row.scores["average_task_accuracy"].mean == pytest.approx(ours.mean())
    low, high = scipy.stats.t.interval(0.95, 2, differences.mean(), scipy.stats.sem(differences))
    got = row.differences["average_task_accuracy"]
    assert (got.mean, got.low, got.high) == pytest.approx((differences.mean(), low, high))
    assert (row.how, got.n) == ("paired, n = 3", 3)
    assert row.differences["last_tenth"].mean == pytest.approx((ours - theirs)[:, -1].mean())
    slopes = [[scipy.stats.linregress(range(4), one).slope for one in rows] for rows in (ours, theirs)]
    assert row.differences["slope"].mean == pytest.approx(np.subtract(*slopes).mean())
    for task in range(4):
        expected, got = estimate((ours - theirs)[:, task]), row.by_task[task]
        assert (got.mean, got.low, got.high) == pytest.approx((expected.mean, expected.low, expected.high))


def test_pairing_takes_out_what_streams_have_in_common():
    """Seeds far apart, the same gain on each: the difference is certain, the scores are not."""
    low = {seed: [level] * 4 for seed, level in enumerate((0.125, 0.25, 0.5))}
    high = {seed: [row[0] + 0.25] * 4 for seed, row in low.items()}
    row = row_of(compare(entries({"low": low, "high": high})), "high")
    got = row.differences["average_task_accuracy"]
    assert (got.low, got.mean, got.high) == (0.25, 0.25, 0.25)
    assert row.scores["average_task_accuracy"].high - row.scores["average_task_accuracy"].low > 0.2


LEVELS = st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=3).map(
    lambda rows: dict(enumerate(rows))
)


@settings(deadline=None, max_examples=25)
@given(LEVELS, LEVELS, st.sampled_from(SCORES))
def test_differences_are_antisymmetric_and_zero_against_oneself(a, b, score):
    both = entries({"a": a, "b": b})
    one = row_of(compare(both, "a", score), "b")
    other = row_of(compare(both, "b", score), "a")
    for name in one.differences:
        ours, theirs = one.differences[name], other.differences[name]
        assert ours.mean == pytest.approx(-theirs.mean, abs=1e-12)
        if len(one.seeds) > 1:
            assert (ours.low, ours.high) == pytest.approx((-theirs.high, -theirs.low), abs=1e-9)
        else:
            assert np.isnan([ours.low, ours.high]).all()
        itself = row_of(compare(both, "a", score), "a").differences[name]
        assert itself.mean == 0
    for task, ours in one.by_task.items():
        theirs = other.by_task[task]
        expected = pytest.approx((-theirs.mean, -theirs.high, -theirs.low), abs=1e-9, nan_ok=True)
        assert (ours.mean, ours.low, ours.high) == expected


def test_only_seeds_that_both_finished_and_it_says_which():
    b = {1: B[1], 2: B[2], 3: B[0][:3], 4: [0.5] * 4}
    found = compare(entries({"a": A}) + entries({"b": b}, "runs/two", seeds=(1, 2, 3, 4)))
    row = row_of(found, "b")
    assert (row.seeds, row.how) == ((1, 2), "paired, n = 2")
    gaps = [np.mean(B[seed]) - np.mean(A[seed]) for seed in (1, 2)]
    assert row.differences["average_task_accuracy"].mean == pytest.approx(np.mean(gaps))
    means = [np.mean(B[1]), np.mean(B[2]), 0.5]
    assert row.scores["average_task_accuracy"].mean == pytest.approx(np.mean(means))
    unfinished, common = found.notes
    assert re.match(r"b\b.*\b3\b.*\b4\b", unfinished)
    for part in ("b ", " a ", "seeds 1, 2:", "seeds 1, 2, 4", "seeds 0, 1, 2"):
        assert part in common


@pytest.mark.parametrize("first", [2, 7])
def test_without_two_seeds_in_common_two_are_compared_as_groups(first):
    b = {first + place: row for place, row in enumerate([*B.values(), [0.5] * 4])}
    found = compare(entries({"a": A}) + entries({"b": b}, "runs/two", seeds=tuple(b)))
    row = row_of(found, "b")
    assert (row.seeds, row.how) == (tuple(b), "Welch, n = 4 and 3")
    ours, theirs = ([np.mean(levels) for levels in own.values()] for own in (b, A))
    expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    got = row.differences["average_task_accuracy"]
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    assert row.by_task[0].mean == pytest.approx(np.mean([0.8, 0.6, 0.9, 0.5]) - 0.8)
    (note,) = found.notes
    for part in ("b ", "Welch", " a ", f"seeds {first}, ", "seeds 0, 1, 2"):
        assert part in note


def test_what_agents_are_told_does_not_change_the_tasks():
    hidden = entries({"b": B}, "runs/two", stream={"boundaries": "hidden"})
    row = row_of(compare(entries({"a": A}) + hidden, mix=True), "b")
    assert row.how == "paired, n = 3"
    other = entries({"b": B}, "runs/two", stream={"boundaries": "hidden", "epochs_per_task": 5})
    assert row_of(compare(entries({"a": A}) + other, mix=True), "b").how == "Welch, n = 3 and 3"


def test_one_seed_that_is_no_others_has_a_difference_without_an_interval():
    both = entries({"a": A}) + entries({"b": {7: [0.5] * 4}}, "runs/two", seeds=(7,))
    row = row_of(compare(both), "b")
    assert row.how == "Welch, n = 1 and 3"
    assert np.isnan(row.differences["slope"].low)


def test_unfinished_entries_are_left_out_with_a_note():
    half = {"c": {0: [0.5]}}
    running = entries(half, "runs/two", status="running")
    found = compare(running + entries({"a": A, "b": B}))
    assert [row.entry.label for row in found.rows] == ["a", "b"]
    (note,) = found.notes
    assert re.match(r"c\b.*\b4\b.*\brunning\b", note)
    with pytest.raises(UsageError, match=rf"\ba\b.*{re.escape(note)}"):
        compare(entries({"a": A}) + running)
    with pytest.raises(UsageError, match="reference 'c'.*a, b") as caught:
        compare(running + entries({"a": A, "b": B}), "c")
    assert not isinstance(caught.value, UnknownNameError)  # it is there, unfinished


def test_labels_are_as_short_as_they_can_be():
    three = [entries({"a": A}, run) for run in ("x/one", "x/two", "y/two")]
    found = compare([*three[0], *three[1], *three[2], *entries({"b": B}, "x/one")])
    labels = [row.entry.label for row in found.rows]
    assert labels == ["a (one)", "a (x/two)", "a (y/two)", "b"]


@pytest.mark.parametrize("name", ["a (two)", "x/two", "./x/two/", "two"])
def test_a_reference_is_a_label_a_run_or_an_agent(name):
    both = entries({"a": A}, "x/one") + entries({"a": B}, "x/two")
    assert compare(both, name).reference.run == "x/two"
    with pytest.raises(UsageError, match=r"reference 'a'.*'a \(one\)'.*'a \(two\)'"):
        compare(both, "a")


def test_agents_are_chosen_and_the_reference_stays():
    all_of_them = entries({"a": A, "b": B, "vanilla": A})
    found = compare(all_of_them, "vanilla", agents=["b"])
    assert [row.entry.label for row in found.rows] == ["b", "vanilla"]
    assert [row.entry.label for row in found.others] == ["b"]
    assert len(compare(all_of_them, "a", agents=["b", "a"]).rows) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agents": ["vanila"]}, "agent.*'vanila'.*'vanilla'"),
        ({"reference": "vanila"}, "reference 'vanila'.*'vanilla'"),
        ({"score": "slop"}, "score 'slop'.*'slope'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        compare(entries({"vanilla": A, "b": B}), **arguments)


LONG = {0: [*A[0], 0.9], 1: [*A[1], 0.9], 2: [*A[2], 0.9]}


@pytest.mark.parametrize(
    ("changes", "levels", "differs"),
    [
        ({"stream": {"num_tasks": 5}}, LONG, "num_tasks 4 / 5"),
        (
            {"stream": {"id": "PermutedMNIST-v0", "options": {}}},
            B,
            "stream RandomLabelMNIST-v0 / PermutedMNIST",
        ),
        ({"stream": {"options": {"relabel_fraction": 0.5}}}, B, "relabel_fraction 1.0 / 0.5"),
        (
            {"stream": {"epochs_per_task": 10, "batch_size": 16}},
            B,
            "epochs_per_task 40 / 10, batch_size 256 / 16",
        ),
        ({"stream": {"source": "torchvision"}}, B, "source embedded / torchvision"),
        ({"protocol": "paper"}, B, "protocol quick / paper"),
        ({"data": "a1" * 32}, B, "data checksum 000000000000 / a1a1a1a1a1a1"),
    ],
)
def test_what_is_not_the_same_is_refused_unless_mixed(changes, levels, differs):
    both = entries({"a": A}, "x/one") + entries({"b": levels}, "x/two", **changes)
    with pytest.raises(UsageError, match=f"'x/one'.*'x/two'.*{differs}.*--mix"):
        compare(both)
    found = compare(both, mix=True)
    assert found.mismatch.startswith(differs)
    assert differs in found.title.partition(" · ")[0]


def test_mixed_runs_are_compared_over_the_tasks_that_all_have():
    both = entries({"a": A}) + entries({"b": LONG}, "runs/two", stream={"num_tasks": 5})
    for reference in ("a", "b"):
        found = compare(both, reference, mix=True)
        assert found.num_tasks == 4
        assert [list(row.by_task) for row in found.rows] == [[0, 1, 2, 3]] * 2
        for row in found.rows:
            assert row.scores["average_task_accuracy"].mean == pytest.approx(np.mean(list(A.values())))
            assert row.differences["slope"].mean == pytest.approx(0, abs=1e-15)
        assert any(re.search(r"\b4\b", note) for note in found.notes)


def test_where_and_from_which_folder_is_no_reason_to_refuse():
    """Nor is it silent."""
    other = {"spec": {"device": "cuda", "threads": 4}, "stream": {"data_dir": "/mnist"}}
    one = entries({"a": A}, "x/one", arguments={"scheduler": "none"}, versions={"torch": "2.15.0"})
    two = entries(
        {"a": B}, "x/two", arguments={"scheduler": "per-layer"}, versions={"torch": "2.14.0"}, **other
    )
    found = compare(one + two)
    assert found.mismatch == ""
    for part in ("RandomLabelMNIST-v0", "quick", "4 tasks", "40 epochs", "5,000", "embedded"):
        assert part in found.title
    machines, arguments = found.notes
    assert "device cpu / cuda, threads 1 / 4, torch 2.15.0 / 2.14.0" in machines
    assert arguments.startswith("a ")
    assert "scheduler none / per-layer" in arguments


def test_another_code_of_the_stream_is_told():
    one = entries({"a": A}, "x/one", code={"sha256": "a" * 64})
    two = entries({"b": B}, "x/two", code={"sha256": "b" * 64})
    (note,) = compare(one + two).notes
    assert re.search(rf"\bstream\b.* {'a' * 12} / {'b' * 12}$", note)


def test_what_was_changed_of_the_protocol_is_in_the_title():
    found = compare(entries({"a": A, "b": B}, spec={"overrides": {"num_tasks": 4}}))
    assert re.search(r" · quick\b.*\bnum_tasks\b.* · 4 tasks ", found.title)


def group(run, levels, **changes):
    return entries(levels, run, seeds=tuple(next(iter(levels.values()))), **changes)


def test_a_reference_in_several_runs_is_each_ones_own():
    """The second run has other seeds; the third, without the reference, shares most of them with the second."""
    later = {seed + 3: row for seed, row in A.items()}
    first = group("runs/one", {"vanilla": A, "a": B})
    second = group("runs/two", {"vanilla": later, "b": {seed + 3: row for seed, row in B.items()}})
    third = group("runs/three", {"c": {4: B[1], 5: B[2]}})
    found = compare([*first, *second, *third], "vanilla")
    references = {row.entry.label: row.reference.run for row in found.rows}
    assert references == {
        "vanilla (one)": "runs/one",
        "a": "runs/one",
        "vanilla (two)": "runs/two",
        "b": "runs/two",
        "c": "runs/two",
    }
    assert [row.entry.label for row in found.others] == ["a", "b", "c"]
    assert [row.how for row in found.others] == ["paired, n = 3", "paired, n = 3", "paired, n = 2"]
    gaps = [np.mean(B[seed]) - np.mean(A[seed]) for seed in A]
    for row in found.others[:2]:
        assert row.differences["average_task_accuracy"].mean == pytest.approx(np.mean(gaps))
    assert found.reference_name == "vanilla"


def test_of_what_was_not_named_other_streams_are_left_out():
    three = [*group("runs/one", {"a": A}), *group("runs/two", {"b": B})]
    short = group("runs/short", {"c": {seed: row[:2] for seed, row in A.items()}}, stream={"num_tasks": 2})
    found = compare([*short, *three])
    assert [row.entry.label for row in found.rows] == ["a", "b"]
    (note,) = found.notes
    assert re.match(r"c\b.*num_tasks 4 / 2.*--mix", note)
    with pytest.raises(UsageError, match=r"'runs/short'.*num_tasks"):
        compare([*short, *three], named=["runs/short"])
    with pytest.raises(UsageError, match=r"num_tasks"):  # the reference's stream counts
        compare([*short, *three], "c")


def test_seeds_are_paired_only_on_the_same_tasks():
    other = {"stream": {"id": "PermutedMNIST-v0", "options": {}}}
    both = [*group("runs/one", {"a": A}), *group("runs/two", {"b": B}, **other)]
    row = row_of(compare(both, mix=True), "b")
    assert row.how == "Welch, n = 3 and 3"
    ours, theirs = ([np.mean(levels) for levels in own.values()] for own in (B, A))
    expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    got = row.differences["average_task_accuracy"]
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    longer = [*group("runs/one", {"a": A}), *group("runs/two", {"b": LONG}, stream={"num_tasks": 5})]
    assert row_of(compare(longer, mix=True), "b").how == "paired, n = 3"
