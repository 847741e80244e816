import numpy as np

from clbench.plotting import curves, indicator_figures, sensitivity
from clbench.plotting.style import COLOURS
from clbench.records import IndicatorRecord, TaskRecord
from clbench.scoring import Estimate


def records(agent, level, tasks=4):
    return [
        TaskRecord(agent, seed, task, 10, level - 0.1 * task + 0.02 * seed, 1.0, 0.0, 0.0)
        for seed in range(3)
        for task in range(tasks)
    ]


def test_curves_show_mean_and_band_of_each_agent():
    figure = curves(records("a", 0.9) + records("b", 0.6), ["a", "b"], "title", 0.1)
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["a"].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(lines["a"].get_ydata(), 0.92 - 0.1 * np.arange(4))
    assert len(axes.collections) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert axes.get_xlabel() == "task"


def test_many_agents_can_be_distinguished():
    names = [f"agent{index}" for index in range(9)]
    figure = curves([record for name in names for record in records(name, 0.9)], names, "", 0.1)
    looks = {
        (line.get_color(), line.get_linestyle())
        for line in figure.axes[0].get_lines()
        if line.get_label() in names
    }
    assert len(looks) == 9
    assert len(set(COLOURS)) == len(COLOURS)


def test_nothing_finished_can_be_drawn(tmp_path):
    figure = curves([], ["a"], "title", 0.1)
    figure.savefig(tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes()[:4] == b"\x89PNG"


def test_a_single_seed_has_a_line(tmp_path):
    single = [record for record in records("a", 0.9) if record.seed == 0]
    figure = curves(single, ["a"], "title", 0.1)
    figure.savefig(tmp_path / "single.png")
    assert np.isfinite(figure.axes[0].get_lines()[1].get_ydata()).all()


def measured(agent, indicator, layer="fc1", level=1.0, steps=(5, 10), tasks=3, seeds=3):
    return [
        IndicatorRecord(
            agent, seed, task, step, layer, indicator, level * (1 + task + step / 10 + 0.1 * seed)
        )
        for seed in range(seeds)
        for task in range(tasks)
        for step in steps
    ]


def scheduled(agent, layers=("fc1", "out")):
    return [
        record
        for layer in layers
        for name in ("step_size", "effective_step_size", "noise_bound", "combined_bound")
        for record in measured(agent, name, layer)
    ] + [record for layer in layers for record in measured(agent, "volatility_bound", layer, 1e37)]


def test_indicators_are_drawn_next_to_accuracy():
    found = measured("a", "feature_rank", "whole network") + measured("b", "feature_rank", "whole network")
    found += measured("a", "feature_rank", "fc1", 100.0)
    tasks = records("a", 0.9, 3) + records("b", 0.6, 3)
    figures = indicator_figures(found, tasks, ["a", "b"], "title")
    assert list(figures) == ["indicators"]
    first, second = figures["indicators"].axes[:2]
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("task accuracy", "feature rank")
    assert [len(axes.get_lines()) for axes in (first, second)] == [2, 2]
    # The mean over seeds of the value at the task's last step, of the whole network.
    np.testing.assert_allclose(second.get_lines()[0].get_ydata(), [2.1, 3.1, 4.1])


def test_trajectories_are_medians_over_tasks_and_layers():
    figures = indicator_figures(scheduled("a"), records("a", 0.9, 3), ["a", "b"], "title")
    assert list(figures) == ["step_sizes", "bounds"]
    (axes,) = figures["step_sizes"].axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["fc1", "out"]
    np.testing.assert_allclose(lines["fc1"].get_xdata(), [0.5, 1, 1.5, 2, 2.5, 3])
    np.testing.assert_allclose(lines["fc1"].get_ydata(), [1.6, 2.1, 2.6, 3.1, 3.6, 4.1])
    assert axes.get_yscale() == "log"


def test_bounds_show_what_binds_and_cut_what_does_not(tmp_path):
    figures = indicator_figures(
        scheduled("a") + scheduled("b", ("fc1",)), records("a", 0.9, 3), ["a", "b"], "title"
    )
    figure = figures["bounds"]
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    assert titles == ["a · fc1", "a · out", "b · fc1"]
    low, high = figure.axes[0].get_ylim()
    assert low < 1.6
    assert 4.1 < high < 1000
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["effective step size", "combined bound", "noise bound", "volatility bound"]
    figure.savefig(tmp_path / "bounds.png")


def test_no_records_are_no_figures():
    assert indicator_figures([], records("a", 0.9), ["a"], "title") == {}


def panel(values, agents=("a", "b")):
    own = {value: Estimate(0.5, 0.4, 0.7) for value in values}
    return sensitivity({"": dict.fromkeys(agents, own)}, agents, "step_size", "title").axes[0]


def test_sensitivity_has_a_line_per_agent_with_intervals():
    single = {0.1: Estimate(0.5, 0.4, 0.7), 0.2: Estimate(0.6, np.nan, np.nan)}
    panels = {"num_tasks 2": {"b": single}, "num_tasks 3": {"a": single, "b": single}}
    figure = sensitivity(panels, ["a", "b"], "step_size", "title")
    left, right = figure.axes
    assert [len(axes.containers) for axes in (left, right)] == [1, 2]
    line, _, (bars,) = left.containers[0]
    np.testing.assert_array_equal(line.get_xydata(), [[0.1, 0.5], [0.2, 0.6]])
    np.testing.assert_allclose([ends[:, 1] for ends in bars.get_segments()], [[0.4, 0.7], [0.6, 0.6]])
    assert line.get_color() == right.containers[1][0].get_color() != right.containers[0][0].get_color()
    assert sorted(text.get_text() for text in figure.legends[0].get_texts()) == ["a", "b"]
    assert left.get_title(loc="left") == "num_tasks 2"


def test_sensitivity_is_logarithmic_where_values_are(tmp_path):
    assert panel([1e-4, 1e-3, 1e-2]).get_xscale() == "log"
    assert panel([1, 2, 3]).get_xscale() == "linear"
    with_zero = panel([0, 1e-3, 1e-2])
    assert with_zero.get_xscale() == "symlog"
    assert [text.get_text() for text in with_zero.get_xticklabels()] == ["0", "0.001", "0.01"]
    names = panel(["none", "per-layer"])
    assert [text.get_text() for text in names.get_xticklabels()] == ["none", "per-layer"]
    assert {line.get_linestyle() for line in names.get_lines()} == {"None"}
    panel([True, False]).figure.savefig(tmp_path / "figure.png")
