import numpy as np

from clbench.plotting import curves
from clbench.plotting.style import COLOURS
from clbench.records import TaskRecord


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


def test_many_agents_are_told_apart():
    names = [f"agent{index}" for index in range(9)]
    figure = curves([record for name in names for record in records(name, 0.9)], names, "", 0.1)
    looks = {
        (line.get_color(), line.get_linestyle())
        for line in figure.axes[0].get_lines()
        if line.get_label() in names
    }
    assert len(looks) == 9
    assert len(set(COLOURS)) == len(COLOURS)


def test_nothing_finished_is_still_a_figure(tmp_path):
    figure = curves([], ["a"], "title", 0.1)
    figure.savefig(tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes()[:4] == b"\x89PNG"


def test_a_single_seed_has_a_line(tmp_path):
    single = [record for record in records("a", 0.9) if record.seed == 0]
    figure = curves(single, ["a"], "title", 0.1)
    figure.savefig(tmp_path / "single.png")
    assert np.isfinite(figure.axes[0].get_lines()[1].get_ydata()).all()
