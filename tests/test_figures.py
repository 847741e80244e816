"""Figures are ours whatever the user's settings, say what they show, and never decide what happens to a run."""

import errno
import math
import pickle
import re
import threading
import time
import types

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

import clbench
from clbench import plotting
from clbench.commands.main import main
from clbench.engine.figures import check_formats
from clbench.engine.session import draw
from clbench.errors import OptionError, UnknownNameError, WriteError
from clbench.plotting.isolation import isolated, optional
from clbench.plotting.style import wrap
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder
from clbench.scoring import Estimate
from studies.noise_curvature.scale import Scale
from studies.noise_curvature.tables import draw_figure
from tests.cases import SHORT
from tests.processes import run_python

TINY = {**SHORT, "seeds": 2, "device": "cpu"}


def records(agent="a", tasks=3, seeds=3, accuracy=0.5):
    return [
        TaskRecord(agent, seed, task, 10, min(1.0, accuracy + 0.2 * seed - 0.1 * task), 1.0, 0.0, 0.0)
        for seed in range(seeds)
        for task in range(tasks)
    ]


def curves(*agents, title="title", **options):
    return plotting.curves(
        [each for agent in agents for each in records(agent, **options)], agents, title, 0.1
    )


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


# Names are text.

NAMES = ["_private.py", "_child7.py", "__main__:Agent", "$x$", "a$b$c.py", "x_1^2", "漢字.py", "🙂.py"]
NAMES += ["<b>a</b> &amp;", "[red]a[/red]", r"\frac{a}{b}", "a very long name " * 4, "{} %s %d", "'\"`"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_in_the_legend_as_it_is(name):
    """pytest makes errors of warnings, such as of a character that the font lacks."""
    figure = curves(name, "other")
    assert legend_texts(figure) == [name, "other"]
    plotting.as_bytes(figure, "png")
    assert plotting.as_bytes(curves(name), "svg")[:4] == b"<?xm"


def test_a_name_is_drawn_letter_by_letter():
    """As mathematics, "$aa$" would be two letters without its dollars."""
    drawn = [plotting.as_bytes(curves(name), "svg").count(b"<use ") for name in ("$aa$", "xaax")]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("count", [1, 8, 30])
def test_legends_of_many_agents_leave_the_panel_its_size(count):
    names = [f"agents.number_{index}" for index in range(count)]
    figure = curves(*names)
    figure.draw_without_rendering()
    assert legend_texts(figure) == names
    assert figure.axes[0].get_position().height * figure.get_figheight() > 3
    window = figure.legends[0].get_window_extent()
    assert window.x1 <= figure.bbox.x1
    assert window.y0 >= 0


def test_panels_and_axes_take_names_as_text():
    figures = [
        plotting.comparison(
            {"$a$": {0: [0.5, 0.6]}, "_b": {0: [0.5, 0.7]}},
            {"_b": {0: Estimate(0.1, 0.0, 0.2)}},
            {"_b": "paired, n = 2"},
            "$a$",
            "$t$",
        ),
        plotting.sensitivity({"$s$": {"_b": {"$1$": Estimate(0.5, 0.4, 0.6)}}}, ["_b"], "x", "$t$"),
    ]
    assert [legend_texts(figure) for figure in figures] == [["$a$", "_b"], ["_b"]]
    for figure in figures:
        figure.draw_without_rendering()
        assert not any(text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text())


# What figures say.


def phrases(title, width=4):
    return [line.split(" · ") for line in wrap(title, width).splitlines()]


def test_titles_break_between_phrases():
    title = (
        "RandomLabelMNIST-v0 · quick · 15 tasks x 40 epochs · 3 seeds · 5,000 embedded images · step sizes"
    )
    lines = phrases(title)
    assert len(lines) > 1
    assert [phrase for line in lines for phrase in line] == title.split(" · ")
    assert phrases("a ·  · b · ") == [["a", "b"]]
    for line in wrap("many words " * 20, 4).splitlines():
        assert len(line) <= 46


@pytest.mark.parametrize(("seeds", "words"), [(3, ["3 seeds", "95 %", "band"]), (1, ["one seed"])])
def test_the_legend_says_what_the_band_is(seeds, words):
    text = curves("a", seeds=seeds).legends[0].get_title().get_text()
    assert all(word in text for word in words), text
    assert ("band" in text) == (seeds > 1)


def band_ends(axes):
    return np.concatenate([path.vertices[:, 1] for area in axes.collections for path in area.get_paths()])


def test_bands_of_shares_stay_in_their_range():
    axes = curves("a", accuracy=0.8).axes[0]
    assert 0 <= band_ends(axes).min() < band_ends(axes).max() == 1
    rows = [
        IndicatorRecord("a", seed, task, 10, "whole network", name, values[seed])
        for name, values in {"rho": (0, 1, 1), "weight_norm": (1, 2, 9)}.items()
        for seed in range(3)
        for task in (0, 1)
    ]
    figure = plotting.indicator_figures(rows, records(tasks=2), ["a"], "t")["indicators"]
    _, rho, norm, *_ = figure.axes
    assert (band_ends(rho).min(), band_ends(rho).max()) == (0, 1)
    assert band_ends(norm).max() > 9
    assert norm.get_ylim()[1] < band_ends(norm).max()  # it would flatten the line


def test_values_that_are_missing_or_extreme():
    nan = [TaskRecord("n", seed, task, 1, math.nan, 1.0, math.nan, 0.0) for seed in (0, 1) for task in (0, 1)]
    for rows, agents in (
        (nan, ["n"]),
        (records(accuracy=1.0), ["a", "absent"]),
        (records(tasks=1, seeds=1), ["a"]),
    ):
        plotting.as_bytes(plotting.curves(rows, agents, "t", math.nan), "png")
    bounds_alone = [IndicatorRecord("a", 0, 0, 5, "fc", "step_size", 0.1)]
    figures = plotting.indicator_figures(bounds_alone, records(), ["a"], "t")
    assert list(figures) == ["step_sizes", "bounds"]
    for figure in figures.values():
        plotting.as_bytes(figure, "png")


def test_figures_of_bounds_name_their_axes():
    rows = [
        IndicatorRecord("a", 0, 0, 5, layer, name, 0.1)
        for layer in ("fc", "out")
        for name in ("step_size", "effective_step_size", "combined_bound")
    ]
    first, second = plotting.indicator_figures(rows, records(), ["a"], "t")["bounds"].axes
    assert first.get_ylabel() == "effective step size"
    assert first.get_xlabel() == second.get_xlabel() == "tasks done"


# The user's settings.

THEIRS = {
    "text.usetex": True, "font.family": ["No Such Font"], "figure.dpi": 30, "savefig.transparent": True,
    "axes.prop_cycle": matplotlib.cycler(color=["red"]), "pdf.fonttype": 3, "axes.formatter.use_mathtext": True,
    "figure.constrained_layout.use": False, "legend.fontsize": 30, "axes.titlesize": 40, "lines.linewidth": 9,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_the_users_settings_change_nothing_and_are_left_alone(kind, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # a PDF holds a date
    expected = plotting.as_bytes(curves("a", "$b$"), kind)
    with matplotlib.rc_context(THEIRS):
        before = dict(matplotlib.rcParams)
        assert plotting.as_bytes(curves("a", "$b$"), kind) == expected
        assert dict(matplotlib.rcParams) == before
    if kind == "pdf":
        assert b"/FontFile2" in expected
        assert b"/Type3" not in expected


def test_figures_are_the_same_after_pickle():
    rows = [
        IndicatorRecord("a", 0, 0, step, "fc", name, value / step)
        for step in (5, 10)
        for name, value in {"step_size": 0.1, "effective_step_size": 0.3, "combined_bound": 0.2}.items()
    ]
    effect = Estimate(0.1, 0.0, 0.2)
    figures = {
        "curves": curves("a"),
        "comparison": plotting.comparison(
            {"a": {0: [0.5]}, "b": {0: [0.6]}}, {"b": {0: effect}}, {"b": "paired"}, "a", "t"
        ),
        "sensitivity": plotting.sensitivity({"s": {"b": {"1": effect}}}, ["b"], "x", "t"),
        **plotting.indicator_figures(rows, records(), ["a"], "t"),
    }
    assert "bounds" in figures
    for figure in figures.values():
        again = pickle.loads(pickle.dumps(figure))
        expected = plotting.as_bytes(figure, "png")
        with matplotlib.rc_context(THEIRS):
            assert plotting.as_bytes(again, "png") == expected


def test_threads_draw_one_after_another():
    """Settings are the process's: a block that began first and ended first would end those of the other."""
    inside, together = [], []

    def draw():
        with isolated(), isolated():
            inside.append(1)
            time.sleep(0.02)
            together.append(len(inside))
            inside.pop()

    with matplotlib.rc_context({"lines.linewidth": 9}):
        threads = [threading.Thread(target=draw) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert together == [1, 1, 1]


HOSTILE = """
import os, sys
before = os.environ["MPLBACKEND"], os.environ.get("MATPLOTLIBRC"), os.getcwd()
from clbench import plotting
from clbench.records import TaskRecord
records = [TaskRecord("a", 0, task, 1, 0.5, 0.5, 0.0, 0.0) for task in range(3)]
plotting.curves(records, ["a"], "t", 0.1).savefig(sys.argv[1])
assert (os.environ["MPLBACKEND"], os.environ.get("MATPLOTLIBRC"), os.getcwd()) == before
"""


@pytest.mark.process
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no such backend"])
def test_a_backend_or_rc_file_that_matplotlib_refuses(tmp_path, backend, monkeypatch):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe\x00 no text")
    monkeypatch.setenv("MPLBACKEND", backend)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlibrc"))  # no folder
    done = run_python("-c", HOSTILE, "figure.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


# What goes wrong in a figure is a note.


def test_only_a_full_disk_is_more_than_a_note(tmp_path):
    notes = []
    for error in (
        RuntimeError("odd\nfont"),
        ImportError("libfreetype"),
        PermissionError(errno.EACCES, "denied"),
    ):
        with optional(notes.append):
            raise error
    with optional(notes.append):
        RunFolder(tmp_path / "missing").write_figure("curves", curves("a"))
    for note, words in zip(notes, ("odd font", "libfreetype", "denied", "missing"), strict=True):
        assert words in note
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(WriteError), optional(notes.append):
        raise WriteError("cannot write 'curves.png'") from full
    with pytest.raises(OSError, match="No space"), optional(notes.append):
        raise full
    assert len(notes) == 4


@pytest.fixture
def broken(monkeypatch):
    """No figure can be drawn: Matplotlib's own figures raise."""

    def fail(*_, **__):
        raise RuntimeError("no glyphs today")

    with monkeypatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", fail)
        yield


def test_a_run_whose_figures_fail_is_complete(tmp_path, drawn, broken, capsys, monkeypatch):
    flags = ["--tasks", "2", "--epochs", "2", "--images", "300", "--batch-size", "100", "--device", "cpu"]
    for agents in (["agents.vanilla"], ["agents.vanilla", "agents.l2"]):
        out = tmp_path / str(len(agents))
        assert main(["evaluate", *agents, *flags, "--seeds", "2", "--out", str(out)]) == 0
        shown = capsys.readouterr()
        assert "average" in shown.out
        assert re.search("^note: .*no glyphs today", shown.out + shown.err, re.MULTILINE)
        assert set(clbench.load_results(out).runs["status"]) == {"complete"}
        assert not list(out.rglob("*.p*ng*"))
    assert main(["compare", str(out), "--out", str(tmp_path / "x.pdf")]) == 0
    assert "no glyphs today" in capsys.readouterr().out
    assert not (tmp_path / "x.pdf").exists()


def test_a_sweep_whose_figures_fail_is_ranked(tmp_path, drawn, broken):
    grid = {"arguments": {"step_size": [0.1, 0.01]}}
    done = clbench.sweep({**TINY, "agent": "agents.vanilla", "grid": [grid]}, out=tmp_path)
    assert done.failures == {}
    assert set(done.results.runs["status"]) == {"complete"}
    assert len(done.ranking) == 2
    assert any("no glyphs today" in note for note in done.report.notes)


def test_a_figure_of_the_reproduction_that_fails_is_a_note(tmp_path, broken, capsys):
    figure = types.SimpleNamespace(name="2", label="Fig. 2", title="t", draw=lambda data, title: curves("a"))
    runs = pd.DataFrame({"run": ["a"]})
    draw_figure(figure, pd.DataFrame(), runs, Scale(), tmp_path / "2.png")
    assert "no glyphs today" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_finished_task_there_is_no_figure(tmp_path):
    draw(RunFolder(tmp_path), [], [], ["a"], "title", 0.1)
    assert list(tmp_path.iterdir()) == []


# Formats.


def test_a_figure_may_have_any_name(tmp_path):
    for kind in ("png", "svg"):
        RunFolder(tmp_path).write_figure("sensitivity-a.b", curves("a"), kind)
    assert {path.name for path in tmp_path.iterdir()} == {"sensitivity-a.b.png", "sensitivity-a.b.svg"}


def test_figures_in_other_formats_and_as_before_when_resumed(tmp_path, drawn, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clbench.engine.session.draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clbench.evaluate("agents.vanilla", **TINY, figures="pdf,svg", out=tmp_path)
    (folder,) = tmp_path.iterdir()
    clbench.resume(folder)
    assert {path.name for path in folder.glob("curves.*")} == {"curves.pdf", "curves.svg"}
    assert (folder / "curves.pdf").read_bytes()[:4] == b"%PDF"
    none = clbench.evaluate(["agents.vanilla", "agents.l2"], **TINY, figures="none", out=tmp_path)
    assert not list(none.folder.rglob("curves.*"))


def test_formats_are_checked(tmp_path):
    with pytest.raises(UnknownNameError, match=r"'pgn'.*'png'"):
        check_formats("pgn")
    with pytest.raises(OptionError, match="none"):
        check_formats("none,png")
    with pytest.raises(UnknownNameError, match="'jpg'"):
        clbench.evaluate("agents.vanilla", figures=["jpg"], out=tmp_path)
    assert main(["evaluate", "agents.vanilla", "--figures", "jpg", "--out", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []
