"""How results show themselves: in a shell, in a notebook, and in axes of the user's."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import clbench
from clbench.engine.progress import RunProgress
from clbench.report.views import progress_display
from clbench.sweeps.plan import plan_sweep
from tests.cases import SHORT
from tests.inline import in_this_process

TINY = {**SHORT, "seeds": 2, "device": "cpu"}
SWEEP = {**TINY, "name": "steps", "agent": "agents.l2", "grid": [{"arguments": {"step_size": [0.1, 0.01]}}]}

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    with in_this_process():
        evaluation = clbench.evaluate(["agents.vanilla", "agents.l2"], **TINY, out=out, progress=False)
        sweep = clbench.sweep(SWEEP, out=out, progress=False)
    return {"evaluation": evaluation, "loaded": clbench.load_results(evaluation.folder), "sweep": sweep}


@pytest.mark.parametrize("kind", ["evaluation", "loaded", "sweep"])
def test_a_result_is_a_few_lines_a_table_and_a_figure(results, kind, monkeypatch):
    result = results[kind]
    text = repr(result)
    assert len(text) < 1000
    assert len(text.splitlines()) <= 5
    assert "agents.l2" in text
    page = result._repr_html_()
    assert "<table" in page
    assert page.count("data:image/png;base64,") == 1
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
    page = result._repr_html_()
    assert "<table" in page
    assert "ZeroDivisionError" in page
    assert "<img" not in page


def test_long_lists_are_cut(results, tmp_path):
    many = {**SWEEP, "grid": [{"arguments": {"step_size": [index / 100 for index in range(1, 31)]}}]}
    text = repr(plan_sweep(many, out=tmp_path))
    assert "22 more" in text
    assert len(text.splitlines()) < 15


def test_summaries_agree_with_each_other_and_with_the_records(results):
    evaluation, loaded = results["evaluation"], results["loaded"]
    score = evaluation.tasks.groupby("agent").accuracy.mean()
    for summary in (evaluation.summary, loaded.summary):
        np.testing.assert_allclose(
            summary.set_index("agent").average_task_accuracy.sort_index(), score.sort_index()
        )
        assert set(summary.seeds) == {2}
    assert list(loaded.summary.run) == list(loaded.runs.run)
    assert len(results["sweep"].summary) == 2


def test_a_run_without_a_finished_seed_is_in_the_summary(results, tmp_path):
    env = clbench.record(clbench.make("RandomLabelMNIST-v0", **SHORT), out=tmp_path, agent="mine")
    env.reset(seed=0)
    env.close()
    loaded = clbench.load_results(tmp_path)
    assert loaded.summary[["agent", "seeds"]].values.tolist() == [["mine", 0]]
    assert "mine" in repr(loaded)
    assert "<table" in loaded._repr_html_()


@pytest.mark.parametrize("kind", ["evaluation", "loaded", "sweep"])
def test_curves_are_drawn_in_the_axes_given(results, kind):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert results[kind].plot(ax=right) is figure
    assert not left.lines
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert len(labels) == len(set(labels)) == 2
    means = results["evaluation"].tasks.groupby(["agent", "task"]).accuracy.mean()
    if kind != "sweep":
        lines = {line.get_label(): line.get_ydata() for line in right.lines}
        np.testing.assert_allclose(lines["agents.l2"], means["agents.l2"])
    assert results[kind].plot() is not figure


def test_runs_of_one_agent_have_labels_of_what_differs(results):
    labels = [text.get_text() for text in results["sweep"].plot().legends[0].get_texts()]
    assert sorted(labels) == ["agents.l2 (step_size=0.01)", "agents.l2 (step_size=0.1)"]


# Progress


@pytest.mark.parametrize(
    ("terminal", "progress", "shows"), [(False, None, False), (True, None, True), (True, False, False)]
)
def test_progress_is_shown_by_default_where_somebody_watches(
    terminal, progress, shows, tmp_path, inline, capsys, monkeypatch
):
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    clbench.evaluate("agents.l2", **{**TINY, "seeds": 1}, out=tmp_path, progress=progress)
    assert ("agents.l2" in capsys.readouterr().out) == shows
    clbench.sweep({**SWEEP, "seeds": 1}, out=tmp_path, progress=progress)
    assert ("agents.l2" in capsys.readouterr().out) == shows


@pytest.fixture
def notebook(monkeypatch):
    """A kernel that keeps what is displayed."""
    shown = []

    def display(data, *, raw, display_id):
        assert raw
        assert display_id
        shown.append(data)
        return types.SimpleNamespace(update=lambda data, raw: shown.append(data))

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


@pytest.mark.parametrize("shown", [True, None])
def test_a_notebook_shows_one_table_that_changes(notebook, shown):
    progress = progress_display(shown)([RunProgress("<mine>", 10)])
    progress.update(RunProgress("<mine>", 10, state="done", steps=10))
    progress.close()
    assert len(notebook) >= 2
    assert "done" in notebook[-1]["text/plain"]
    assert "&lt;mine&gt;" in notebook[-1]["text/html"]
    assert progress_display(False)([RunProgress("a", 1)]).close() is None


def test_the_frames_of_results_are_frames(results):
    assert all(isinstance(result.summary, pd.DataFrame) for result in results.values())


def test_runs_of_different_streams_are_said_to_differ(results, tmp_path, inline):
    short = {**TINY, "num_tasks": 1, "indicators": "none"}
    for epochs in (1, 2):
        clbench.evaluate(
            "agents.vanilla", **{**short, "epochs_per_task": epochs}, out=tmp_path, progress=False
        )
    mixed, alike = clbench.load_results(tmp_path), results["loaded"]
    title = mixed.plot().get_suptitle()
    assert ["not the same" in text for text in (title, repr(mixed), repr(alike))] == [True, True, False]
