"""The command line of `python -m clbench.compare`."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from clbench.commands.main import main_of
from clbench.comparing import compare
from clbench.report.comparison import explanation, figure
from clbench.results import RunFolder
from clbench.scoring import score
from tests.runs import entries, write
from tests.test_comparing import A, B

RESULTS = Path(__file__).parent.parent / "docs" / "results"


@pytest.fixture
def two(tmp_path):
    write(tmp_path / "one", {"a": A, "b": B})
    write(tmp_path / "two", {"a": B}, versions={"torch": "9"})
    return [str(tmp_path / "one"), str(tmp_path / "two")]


def gain_of_b():
    """Mean of the differences between B and A, and its standard error."""
    gaps = [np.mean(B[seed]) - np.mean(A[seed]) for seed in A]
    return np.mean(gaps), scipy.stats.sem(gaps)


def cells(text):
    return [line.split() for line in text.splitlines()]


def test_a_table_with_differences_and_what_they_are(two, capsys):
    assert main_of("compare", [two[0]]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    for part in ("RandomLabelMNIST-v0", "quick", "4 tasks", "40 epochs", "5,000", "embedded"):
        assert part in lines[0]
    assert ["a", "3", "0.417", "reference"] in cells(printed.out)
    assert ["b", "3", "0.642", "+0.225", "+0.3667", "+0.1167"] in cells(printed.out)
    low, high = scipy.stats.t.interval(0.95, 2, *gain_of_b())
    assert f"[{low:+.3f}, {high:+.3f}]" in printed.out
    assert ["paired,", "n", "=", "3"] in cells(printed.out)
    assert re.match(r"difference\b.*\ba\b.*\b95 %", lines[-2])
    assert "3 seeds" in lines[-1]
    assert max(map(len, lines[1:-2])) <= 80


def test_entries_of_several_runs_in_one_folder(two, tmp_path, capsys):
    assert main_of("compare", [str(tmp_path), "--reference", two[1], "--agent", "a", "--score", "slope"]) == 0
    printed = capsys.readouterr().out
    assert "(one)" in printed
    assert re.search(r"^difference\b.*\ba \(two\)", printed, re.MULTILINE)
    assert re.search(r"^note: .*\btorch\b.* / 9$", printed, re.MULTILINE)
    assert "\nb " not in printed


def test_each_run_is_looked_at_once(tmp_path, capsys, monkeypatch):
    for name in ("one", "two"):
        write(tmp_path / name, {"a": A, "b": B})
    asked = []
    monkeypatch.setattr(
        "clbench.results.folder.RunFolder.current_status",
        lambda folder, manifest: asked.append(folder.path.name) or manifest.status,
    )
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert main_of("compare", [one, two]) == 0
    assert sorted(asked) == ["one"] * 2 + ["two"] * 2  # of each agent
    capsys.readouterr()
    tables = []
    for named in ([one], [one, one]):
        assert main_of("compare", named) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]


def test_one_seed_has_no_interval(tmp_path, capsys):
    write(tmp_path / "one", {"a": {0: A[0]}, "b": {0: B[0]}}, seeds=(0,))
    assert main_of("compare", [str(tmp_path / "one")]) == 0
    printed = capsys.readouterr().out
    assert "[+" not in printed
    *_, difference, last = printed.splitlines()
    assert difference.startswith("difference")
    assert "seed" in last
    assert not re.search(r"\d+ seeds", last)


def test_groups_without_seeds_in_common_are_compared_by_welchs_interval(tmp_path, capsys):
    write(tmp_path / "one", {"a": A})
    write(tmp_path / "two", {"b": {seed + 3: levels for seed, levels in B.items()}}, seeds=(3, 4, 5))
    out = tmp_path / "c.csv"
    assert main_of("compare", [str(tmp_path), "--csv", str(out), "--out", str(tmp_path / "c.svg")]) == 0
    printed = capsys.readouterr().out
    assert "Welch, n = 3 and 3" in printed
    assert re.search(r"^difference\b.*\bWelch\b", printed, re.MULTILINE)
    assert "paired" not in printed
    with open(out, newline="", encoding="utf-8") as file:
        _, row = csv.DictReader(file)
    assert (row["compared"], row["seeds"]) == ("Welch, n = 3 and 3", "3 4 5")
    assert float(row["average_task_accuracy_difference"]) == pytest.approx(0.225)


def test_a_figure_and_a_table_only_if_asked_for(two, tmp_path, capsys, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main_of("compare", two) == 0
    assert list(Path.cwd().iterdir()) == []
    assert main_of("compare", [*two, "--out", "c.svg", "--csv", "c.csv"]) == 0
    table, drawing = capsys.readouterr().out.splitlines()[-2:]
    assert "c.csv" in table
    assert "c.svg" in drawing
    assert b"<svg" in Path("c.svg").read_bytes()
    with open("c.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["entry"] for row in rows] == ["a (one)", "b", "a (two)"]
    assert {row["reference"] for row in rows} == {"a (one)"}
    assert rows[1]["seeds"] == "0 1 2"
    assert float(rows[1]["average_task_accuracy_difference"]) == pytest.approx(0.225)
    low, _ = scipy.stats.t.interval(0.95, 2, *gain_of_b())
    assert float(rows[1]["average_task_accuracy_difference_low"]) == pytest.approx(low)
    assert rows[1]["compared"] == "paired, n = 3"
    assert rows[1]["not_the_same"] == ""


def test_mixed_outputs_are_marked(tmp_path, capsys):
    write(tmp_path / "one", {"a": A})
    write(tmp_path / "two", {"b": B}, protocol="paper")
    runs = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert main_of("compare", runs) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for part in (*runs, "protocol quick / paper", "--mix"):
        assert part in line
    assert main_of("compare", [*runs, "--mix", "--csv", str(tmp_path / "c.csv")]) == 0
    printed = capsys.readouterr().out
    assert "protocol quick / paper" in printed.partition(" · ")[0]
    with open(tmp_path / "c.csv", newline="") as file:
        assert {row["not_the_same"] for row in csv.DictReader(file)} == {"protocol quick / paper"}
    found = compare(entries({"a": A}) + entries({"b": B}, protocol="paper"), mix=True)
    assert explanation(found)[0] in printed
    assert explanation(found)[0] != explanation(replace(found, mismatch=""))[0]
    assert "protocol quick / paper" in figure(found).get_suptitle().partition(" · ")[0]


def test_the_figure_shows_accuracies_and_differences():
    found = compare(entries({"a": A, "b": B}))
    left, right = figure(found).axes
    lines = {line.get_label(): line for line in left.get_lines()}
    ours, theirs = (np.array(list(levels.values())) for levels in (B, A))
    np.testing.assert_allclose(lines["a"].get_ydata(), theirs.mean(axis=0))
    np.testing.assert_allclose(lines["b"].get_ydata(), ours.mean(axis=0))
    zero, difference = right.get_lines()
    assert list(zero.get_ydata()) == [0, 0]
    np.testing.assert_allclose(difference.get_ydata(), (ours - theirs).mean(axis=0))
    assert difference.get_color() == lines["b"].get_color()
    assert len(right.collections) == 1
    assert re.search(r"\bdifference\b.*\ba\b", right.get_title(loc="left"))


def test_a_single_task_has_a_figure():
    levels = {"a": {0: [0.5], 1: [0.6]}, "b": {0: [0.7], 1: [0.7]}}
    found = compare(entries(levels, seeds=(0, 1), stream={"num_tasks": 1}))
    assert [list(axes.get_xticks()) for axes in figure(found).axes] == [[1], [1]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["run", "--help"]),
        (["nowhere"], ["'nowhere'", "clbench evaluate"]),
        (["--mxi"], ["'--mxi'", "'--mix'"]),
        (["nowhere", "--out", "x.jpg"], ["--out 'x.jpg'", ".png", ".pdf", ".svg"]),
    ],
)
def test_errors_are_one_line(arguments, named, capsys):
    assert main_of("compare", arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert not [part for part in named if part not in printed.err], printed.err
    assert printed.err.count("\n") == 1


def test_a_file_that_cannot_be_written(two, tmp_path, capsys):
    assert main_of("compare", [two[0], "--csv", str(tmp_path / "no" / "c.csv")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f"'{tmp_path / 'no' / 'c.csv'}'" in line


def test_a_damaged_table_is_named(two, capsys):
    path = Path(two[0]) / "tasks.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("0.4,0.2", "zero,0.2", 1), encoding="utf-8")
    assert main_of("compare", two) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for part in (f"'{path}'", "line 3", "accuracy 'zero'"):
        assert part in line


def test_kept_runs(capsys):
    """Measured once: five agents beside the first; the second run is the first's vanilla again."""
    runs = [str(RESULTS / f"RandomLabelMNIST-v0-quick-{number}") for number in (1, 2, 3)]
    assert main_of("compare", [*runs, "--reference", "agents.vanilla (RandomLabelMNIST-v0-quick-1)"]) == 0
    printed = cells(capsys.readouterr().out)
    assert ["agents.reset", "3", "0.744", "+0.527", "+0.6390", "+0.0341"] in printed
    assert ["agents.vanilla", "3", "0.217", "+0.000", "+0.0000", "+0.0000"] in printed
    assert ["agents.perlayer", "3", "0.218", "+0.001", "-0.0007", "-0.0001"] in printed
    kept = RunFolder(Path(runs[0])).read_tasks()
    reset, vanilla = (score(f"agents.{name}", kept, 15) for name in ("reset", "vanilla"))
    gain = reset.average_task_accuracy.mean - vanilla.average_task_accuracy.mean
    assert f"{gain:+.3f}" == "+0.527"


def test_all_differences_have_their_intervals(two, capsys):
    assert main_of("compare", [two[0]]) == 0
    gaps = [B[seed][-1] - A[seed][-1] for seed in A]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(gaps), scipy.stats.sem(gaps))
    assert f"[{low:+.3f}, {high:+.3f}]" in capsys.readouterr().out


def test_several_runs_with_the_reference_and_an_odd_one(tmp_path, capsys):
    write(tmp_path / "one", {"vanilla": A, "a": B})
    write(tmp_path / "two", {"vanilla": A, "b": B})
    short = {"c": {seed: row[:2] for seed, row in A.items()}}
    write(tmp_path / "short", short, stream={"num_tasks": 2})
    table, drawing = tmp_path / "c.csv", tmp_path / "c.svg"
    command = [str(tmp_path), "--reference", "vanilla", "--csv", str(table), "--out", str(drawing)]
    assert main_of("compare", command) == 0
    printed = capsys.readouterr().out
    assert re.search("^note: c .*num_tasks 4 / 2", printed, re.MULTILINE)
    with table.open(newline="", encoding="utf-8") as file:
        references = {row["entry"]: row["reference"] for row in csv.DictReader(file)}
    assert references["a"] == "vanilla (one)"
    assert references["b"] == "vanilla (two)"
    assert main_of("compare", [str(tmp_path), str(tmp_path / "short")]) == 2
    assert "num_tasks" in capsys.readouterr().err


def test_a_mixed_comparison_does_not_pair_other_streams(tmp_path, capsys):
    write(tmp_path / "one", {"a": A})
    write(tmp_path / "two", {"b": B}, stream={"id": "PermutedMNIST-v0", "options": {}})
    assert main_of("compare", [str(tmp_path), "--mix"]) == 0
    printed = capsys.readouterr().out
    assert "Welch, n = 3 and 3" in printed
    assert "paired" not in printed
