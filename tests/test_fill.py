"""The numbers of README and guides are those of the kept runs and of the code (`docs/fill.py`)."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.docs
ROOT = Path(__file__).parent.parent


@pytest.fixture
def docs(monkeypatch):
    """The modules `fill` and `values` of `docs/`."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    import fill
    import values

    return SimpleNamespace(fill=fill, values=values)


@pytest.fixture
def copy(tmp_path):
    """A folder with copies of the pages, to be written to."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs" / "guide", tmp_path / "docs" / "guide")
    return tmp_path


def test_filling_changes_nothing(tmp_path):
    command = [sys.executable, str(ROOT / "docs" / "fill.py"), "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("page", "call", "shown"),
    [
        ("docs/guide/speed.md", 'ratio("clbench")', "1.02"),
        ("README.md", 'scores("RandomLabelMNIST-v0-quick-1")', "0.744 [0.741, 0.747]"),
        ("docs/guide/streams.md", 'protocol("standard")', "23,400"),
        ("docs/guide/reproduction.md", 'predictor("auc", "volatility")', "0.89"),
    ],
)
def test_a_changed_number_is_found_and_mended(page, call, shown, docs, copy, capsys):
    path, marker = copy / page, f"<!-- fill: {call} -->"
    before, found, after = path.read_text(encoding="utf-8").partition(marker)
    wrong = before + found + after.replace(shown, "0.123", 1)
    path.write_text(wrong, encoding="utf-8")
    assert docs.fill.main(["--check"], copy) == 1
    assert f"{page}:{before.count(chr(10)) + 1}: {call}" in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == wrong
    assert docs.fill.main([], copy) == 0
    assert path.read_text(encoding="utf-8") == before + found + after
    assert docs.fill.main(["--check"], copy) == 0


def test_a_changed_measurement_is_found(docs, tmp_path, monkeypatch):
    measured = json.loads((ROOT / "docs" / "benchmarks" / "cpu.json").read_text(encoding="utf-8"))
    assert measured["command"][:3] == ["python", "-m", "benchmarks"]
    measured["memory"]["peak_mib"] += 1
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "cpu.json").write_text(json.dumps(measured), encoding="utf-8")
    monkeypatch.setattr(docs.values.speed, "DOCS", tmp_path)
    monkeypatch.setattr(docs.values.speed, "benchmark", docs.values.speed.benchmark.__wrapped__)
    text, changed = docs.fill.fill("It takes <!-- fill: peak_memory() -->2,046 MiB<!-- end -->.")
    assert text == "It takes <!-- fill: peak_memory() -->2,047 MiB<!-- end -->."
    assert [(one.shown, one.due) for one in changed] == [("2,046 MiB", "2,047 MiB")]


def test_every_value_is_on_some_page(docs):
    text = "\n".join(path.read_text(encoding="utf-8") for path in docs.fill.pages())
    assert set(re.findall(r"<!-- fill: (\w+)\(", text)) == set(docs.values.VALUES)


VALUES = {
    "one": lambda: "1",
    "echo": lambda text, times=1: text * times,
    "table": lambda: "| a |\n|---|\n| 1 |",
}


def test_markers_within_a_line_and_blocks(docs):
    text, changed = docs.fill.fill(
        "Of <!-- fill: one() -->2<!-- end --> and <!-- fill: echo('x', times=2) -->xx<!-- end -->\n\n"
        "<!-- fill: table() -->\nold\n<!-- end -->\n",
        values=VALUES,
    )
    assert text == (
        "Of <!-- fill: one() -->1<!-- end --> and <!-- fill: echo('x', times=2) -->xx<!-- end -->\n\n"
        "<!-- fill: table() -->\n\n| a |\n|---|\n| 1 |\n\n<!-- end -->\n"
    )
    assert [(one.line, one.call) for one in changed] == [(1, "one()"), (3, "table()")]
    assert docs.fill.fill(text, values=VALUES) == (text, [])


@pytest.mark.parametrize(
    ("text", "line", "culprit"),
    [
        ("a\nb <!-- fill: ones() --><!-- end -->", 2, "'ones'. Did you mean 'one'"),
        ("a\nb <!-- fill: one() -->1", 2, "not closed"),
        ("b <!-- fill: one() -->1 <!-- fill: one() -->1<!-- end --><!-- end -->", 1, "within"),
        ("a\n\nb <!-- end -->", 3, "without a fill"),
        ("b <!-- fill: one() ", 1, "without its -->"),
        ("b <!-- fill one() -->1<!-- end -->", 1, "<!-- fill one() -->"),
        ("a\n<!-- fill: one() -->1<!-- end --> b", 2, "begins a line"),
        ("a <!-- fill: one() -->1\n<!-- end -->", 2, "begins a line"),
        ("b <!-- fill: one -->1<!-- end -->", 1, "one is not NAME(...)"),
        ("b <!-- fill: echo(open('x')) -->1<!-- end -->", 1, "echo(open('x')) is not"),
        ("b <!-- fill: one(2) -->1<!-- end -->", 1, "one(2)"),
    ],
)
def test_a_wrong_marker_is_refused(text, line, culprit, docs):
    with pytest.raises(docs.fill.MarkerError) as caught:
        docs.fill.fill(text, "x.md", VALUES)
    assert str(caught.value).startswith(f"x.md:{line}: ")
    assert culprit in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        'claim("nothing claims this")',
        'claim("volatility rises first")',  # was not measured
        'mean_score("RandomLabelMNIST-v0-quick-9", "first_task")',
        'ratio("nothing")',
        'default("agents.l2", "nothing")',
        'accuracy("4-bottom", "standard", 9)',
    ],
)
def test_what_was_not_measured_is_refused(call, docs):
    with pytest.raises(docs.fill.MarkerError) as caught:
        docs.fill.fill(f"a <!-- fill: {call} --><!-- end -->", "x.md")
    assert str(caught.value).startswith(f"x.md:1: {call}: ")


def test_a_wrong_page_is_left_alone(docs, copy, capsys):
    path = copy / "docs" / "guide" / "sweeps.md"
    path.write_text(wrong := "of <!-- fill: clam() -->1<!-- end -->\n", encoding="utf-8")
    assert docs.fill.main([], copy) == 1
    assert "docs/guide/sweeps.md:1: docs/values/ has no 'clam'" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == wrong
