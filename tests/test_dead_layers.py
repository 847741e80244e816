"""Dead layers, which have no bound, and bounds that do not bind: from the measurement to files, tables and figures."""

import io
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

import clbench
from agents import perlayer
from clbench.observing import BOUNDS, DEFAULT, DEFINITIONS, Observer
from clbench.plotting import indicator_figures
from clbench.records import IndicatorRecord, TaskRecord
from clbench.report.tables import step_tables
from clbench.results import RunFolder, find_runs
from clbench.scheduling import PerLayerScheduler
from clbench.tracking import Trackers
from tests.cases import SHORT, short_env, short_vec
from tests.inline import in_this_process
from tests.loops import Run
from tests.runs import manifests, write
from tests.test_comparing import A

RESULTS = Path(__file__).parent.parent / "docs" / "results"
NONE, DEAD = math.inf, math.nan


class Mortal:
    """A network whose first layer dies when task `dies` begins, and all of it if `wholly`; None for never."""

    def __init__(self, spec, seed, dies=None, wholly=False):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(784, 12), nn.ReLU(), nn.Linear(12, 10))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
        self.scheduler = PerLayerScheduler(
            self.model, self.optimizer, steps_per_task=spec.steps_per_task, every=2
        )
        self.dies, self.wholly, self.scale = dies, wholly, 1

    def begin_task(self, task):
        if task == self.dies:
            with torch.no_grad():
                self.model[0].weight.zero_()
                self.model[0].bias.fill_(-1)
            self.optimizer.state.clear()
            self.scale = 0 if self.wholly else 1

    def loss_fn(self, outputs, targets):
        return self.scale * F.cross_entropy(outputs, targets)

    def act(self, obs):
        self.inputs = torch.as_tensor(obs)
        self.logits = self.model(self.inputs)
        return self.logits

    def learn(self, targets):
        targets = torch.as_tensor(targets)
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.logits, targets)
        loss.backward()
        self.scheduler.step(self.loss_fn, self.inputs, targets)
        self.optimizer.step()
        return loss


class AllDead(Mortal):
    """It dies in the second task."""

    def __init__(self, spec, seed):
        super().__init__(spec, seed, 1, wholly=True)


class HalfDead(Mortal):
    """Its first layer does; of seed 0 only."""

    def __init__(self, spec, seed):
        super().__init__(spec, seed, None if seed else 1)


def observed(agent, env, seeds=(0,), indicators=(BOUNDS,)):
    observer = Observer(agent, "a", seeds, indicators, None)
    events = list(Run(env, agent, name="a", seeds=seeds, observer=observer))
    return [event for event in events if isinstance(event, IndicatorRecord)]


def values(records, indicator, layer="0", task=1, seed=0):
    wanted = (indicator, layer, task, seed)
    return [one.value for one in records if (one.indicator, one.layer, one.task, one.seed) == wanted]


def test_a_dead_layer_is_recorded_as_dead():
    env = short_env()
    records = observed(Mortal(env.agent_spec, 0, dies=1), env)
    assert values(records, "dead_decisions", task=0) == [0]
    assert values(records, "dead_decisions") == [1]
    assert values(records, "dead_decisions", "2") == [0]
    assert 0 not in values(records, "combined_bound", task=0)
    for name in ("noise_bound", "volatility_bound", "combined_bound"):
        assert np.isnan(values(records, name)).tolist() == [True] * 3
        assert np.isfinite(values(records, name, "2")).all()
    for kind in ("noise", "combined", "volatility"):
        assert values(records, f"{kind}_violations") == []
        assert len(values(records, f"{kind}_violations", "2")) == 1
    # What is left of rho is the other layer.
    assert values(records, "rho", "whole network") == values(records, "combined_violations", "2")
    assert len(values(records, "step_size")) == len(values(records, "effective_step_size")) == 3


def test_a_dead_network_has_no_rho():
    env = short_env()
    records = observed(Mortal(env.agent_spec, 0, dies=1, wholly=True), env)
    assert values(records, "dead_decisions", "2") == [1]
    for name in ("rho", "rho_noise", "rho_volatility"):
        assert len(values(records, name, "whole network", task=0)) == 1
        assert values(records, name, "whole network") == []
    assert {one.value for one in records if one.task == 0 and one.indicator == "volatility_bound"} >= {NONE}


def test_a_dead_seed_leaves_the_others_alone():
    env = short_vec(2, num_tasks=1)
    agent = perlayer.Agent(env.agent_spec, [3, 5], every=1)
    for name, value in agent.parameters.items():
        if name.startswith("fc1"):
            value.data[0] = -1 if name.endswith("bias") else 0
    records = observed(agent, env, [3, 5], DEFAULT)
    assert values(records, "dead_decisions", "fc1", 0, 3) == [1]
    assert values(records, "dead_decisions", "fc1", 0, 5) == [0]
    assert np.isnan(values(records, "noise_bound", "fc1", 0, 3)).all()
    assert np.isfinite(values(records, "noise_bound", "fc1", 0, 5)).all()
    assert values(records, "combined_violations", "fc1", 0, 3) == []
    assert len(values(records, "rho", "whole network", 0, 3)) == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An evaluation with a network that dies in its second task of two, and one that does in one seed and layer."""
    out = tmp_path_factory.mktemp("runs")
    settings = {**SHORT, "seeds": 3, "device": "cpu", "out": out}
    with in_this_process():
        return clbench.evaluate([AllDead, HalfDead], **settings, indicators="gradient_norm")


def test_files_hold_inf_and_empty_cells(run):
    paths = [path.folder.path / "indicators.csv" for path in find_runs(run.folder)]
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    assert re.search(r",0,combined_bound,$", text, re.MULTILINE)
    assert re.search(r",0,volatility_bound,inf$", text, re.MULTILINE)
    assert not re.search(r"nan|e\+3\d", text)
    read = pd.concat(map(pd.read_csv, paths), ignore_index=True)
    loaded = clbench.load_results(run.folder).indicators.drop(columns="run")
    pd.testing.assert_frame_equal(loaded, read)
    pd.testing.assert_frame_equal(run.indicators, read)
    dead = read[(read.indicator == "noise_bound") & (read.layer == "0") & (read.task == 1) & (read.seed == 0)]
    assert len(dead) == 6  # three decisions of two agents
    assert dead.value.isna().all()
    assert (read[read.indicator == "volatility_bound"].value == NONE).any()
    assert [each.indicator_definitions for each in run.runs] == [DEFINITIONS] * 2


def rows_of(table, width=160):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    return {line[0]: line[1:] for line in lines if line and line[0] in "02"}, lines


def test_the_table_says_dead(run):
    dead, lines = rows_of(step_tables(run)[run.configs[0].agent.name])
    assert lines[0][-1] == "decisions"
    assert lines[1][-1] == "dead"
    for cells in dead.values():
        assert cells[2:6] == ["dead"] * 4  # three bounds, and decisions above the one in force
        assert cells[6:] == ["100", "%"]
    half, _ = rows_of(step_tables(run)[run.configs[1].agent.name])
    assert "dead" not in half["0"]
    assert half["0"][-2:] == ["33", "%"]  # one seed of three
    assert half["2"][-2:] == ["0", "%"]


def test_a_living_networks_table_has_no_word_of_it(run):
    living = [one for one in run.indicator_records if one.seed]  # of the second agent
    name = run.configs[1].agent.name
    only = type(run)(**{**vars(run), "indicator_records": tuple(one for one in living if one.agent == name)})
    assert "dead" not in str(rows_of(step_tables(only)[name]))


def trajectory(layer, name, levels, agent="a"):
    return [
        IndicatorRecord(agent, 0, place // 2, 5 + 5 * (place % 2), layer, name, level)
        for place, level in enumerate(levels)
    ]


def drawn(layers):
    """The figure of bounds: by layer the three at two decisions of each task."""
    found = []
    for layer, levels in layers.items():
        names = ("noise_bound", "combined_bound", "volatility_bound")
        for name, own in zip(names, levels, strict=True):
            found += trajectory(layer, name, own)
        for name, level in (("step_size", 1e-3), ("effective_step_size", 0.4)):
            found += trajectory(layer, name, [level] * len(levels[0]))
    tasks = [TaskRecord("a", 0, task, 10, 0.5, 0.5, 0.1, 1.0) for task in range(len(levels[0]) // 2)]
    return indicator_figures(found, tasks, ["a"], "title")["bounds"]


def crosses(axes):
    return [line.get_xydata().tolist() for line in axes.get_lines() if line.get_marker() == "x"]


def dots(axes):
    return [line.get_xdata().tolist() for line in axes.get_lines() if line.get_marker() == "."]


def spans(axes):
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]


def test_the_figure_marks_where_a_layer_dies(tmp_path):
    alive = [1.0, 1.1, 1.2, 1.3]
    figure = drawn({
        "lives": (alive, alive, [NONE, 40.0, 50.0, 60.0]),
        "dies": ([1.0, 0.9, DEAD, DEAD], [0.9, 0.8, DEAD, DEAD], [NONE, 9.0, DEAD, DEAD]),
        "comes and goes": ([1.0, DEAD, 0.9, DEAD], [0.8, DEAD, 0.7, DEAD], [NONE, DEAD, NONE, DEAD]),
        "dead": ([DEAD] * 4, [DEAD] * 4, [DEAD] * 4),
        "no bound": ([NONE] * 4, [NONE] * 4, [NONE] * 4),
    })  # fmt: skip
    lives, dies, comes, dead, unbounded = figure.axes
    for axes, marks, grey in (
        (lives, [], []),
        (dies, [[[1.0, 0.8]], [[1.0, 0.9]], [[1.0, 9.0]]], [(1.0, 2.0)]),
        (comes, [[[1.5, 0.7]], [[1.5, 0.9]]], [(0.5, 1.0), (1.5, 2.0)]),
        (dead, [], [(0.0, 2.0)]),
        (unbounded, [], []),
    ):
        assert [line for line in crosses(axes) if line] == marks
        assert spans(axes) == grey
        assert axes.get_yscale() == "log"
        low, high = axes.get_ylim()
        assert 0.01 < low < high < 100  # not broken by what is no level
    assert dots(comes) == [[], [0.5, 1.5], [0.5, 1.5], []]  # a line of one point is not seen
    assert not any(dots(lives))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sum("dead" in label for label in labels) == 1
    figure.savefig(tmp_path / "bounds.png")


def test_an_indicator_that_ends_is_crossed_out(run):
    names = [config.agent.name for config in run.configs]
    figure = indicator_figures(run.indicator_records, run.records, names, "t")
    panels = {axes.get_title(loc="left"): axes for axes in figure["indicators"].axes if axes.axison}
    assert [len(crosses(panels[name])) for name in ("task accuracy", "gradient norm", "rho")] == [0, 0, 1]
    ((x, _),) = crosses(panels["rho"])[0]
    assert x == 1  # of the two tasks


OLD = [
    ("noise_bound", 0.0, DEAD),
    ("combined_bound", 0.0, DEAD),
    ("volatility_bound", 3.40282347e38, NONE),
    ("noise_bound", 3.40282347e38, NONE),
    ("combined_bound", 0.5, 0.5),
    ("volatility_bound", 1e9, 1e9),
    ("dead_weights", 0.0, 0.0),
    ("combined_violations", 1.0, 1.0),
    ("rho", 1.0, 1.0),
]
DYING = [("noise_bound", 0.0, DEAD), ("volatility_bound", 12.0, DEAD), ("combined_bound", 0.0, DEAD)]


def recorded(name="a"):
    return [
        IndicatorRecord(name, 0, 0, step, "fc1", kind, value) for step, (kind, value, _) in enumerate(OLD)
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"indicator_definitions": 1}, [new for _, _, new in OLD]),
        ({}, [new for _, _, new in OLD]),
        ({"indicator_definitions": 2}, [old for _, old, _ in OLD]),
        (  # where a bound of 0 may be that of mere noise
            {"indicator_definitions": 1, "arguments": {"unbiased": True}},
            [0.0, 0.0, *(new for _, _, new in OLD[2:])],
        ),
    ],
)
def test_old_runs_are_read_as_today(tmp_path, facts, expected):
    folder = write(tmp_path / "one", {"a": A}, **facts)
    folder.write_indicators(recorded())
    np.testing.assert_array_equal([one.value for one in folder.read_indicators()], expected)
    np.testing.assert_array_equal(clbench.load_results(tmp_path).indicators.value, expected)


def test_what_volatility_remembers_of_a_layer_is_no_bound_on_a_dead_one(tmp_path):
    folder = write(tmp_path / "one", {"a": A}, indicator_definitions=1)
    folder.write_indicators([IndicatorRecord("a", 0, 0, 5, "fc1", name, value) for name, value, _ in DYING])
    assert all(math.isnan(one.value) for one in folder.read_indicators())


def test_kept_results_tell_the_truth():
    found = clbench.load_results(RESULTS).indicators
    bounds = found[found.indicator.str.endswith("_bound")]
    assert not (bounds.value == 0).any()
    assert bounds.value[np.isfinite(bounds.value)].max() < 1e30
    assert (bounds.value == NONE).any()
    own = found[found.run.str.endswith("quick-3")]
    last = own[(own.task == 14) & (own.layer == "fc1") & (own.seed == 0)]
    assert last[last.indicator == "combined_bound"].value.isna().sum() == 19
    norm = last[last.indicator == "gradient_norm"].value
    assert (norm == 0).all()


def test_trackers_get_a_gap(tmp_path, monkeypatch):
    (tmp_path / "state").mkdir()
    seen = []

    class Recorder:
        def __init__(self, run): ...
        def log_task(self, finished):
            seen.append(finished.indicators)

        def end(self, status): ...

    monkeypatch.setattr("clbench.tracking.trackers._load", lambda name: Recorder)
    (manifest,) = manifests(seeds=(0,))
    trackers = Trackers(["recorder"], RunFolder(tmp_path), manifest, pytest.fail)
    for name, value in (("noise_bound", DEAD), ("volatility_bound", NONE), ("combined_bound", 0.5)):
        trackers.take(IndicatorRecord("a", 0, 0, 10, "fc1", name, value))
    trackers.take(TaskRecord("a", 0, 0, 10, 0.5, 0.5, 0.1, 1.0))
    assert seen == [{10: {"combined_bound/fc1": 0.5}}]
