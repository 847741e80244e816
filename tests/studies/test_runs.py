"""Runs that several figures need are run once, whatever else is asked for."""

from pathlib import Path

import pytest

from clbench.errors import OptionError, UnknownNameError
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.frames import gather
from studies.noise_curvature.scale import Scale
from studies.noise_curvature.tables import runs_table
from tests.studies.conftest import find, finish


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("none")
    return {name: find(figure, Scale(), folder) for name, figure in FIGURES.items()}


def only(scale):
    (run,) = find(FIGURES["3"], scale, Path("nowhere")).values()
    return run


def test_a_run_of_several_figures_is_one_run(everything):
    runs = {name: {key: run.key for key, run in named.items()} for name, named in everything.items()}
    assert (
        runs["3"]["L2", "vanilla"]
        == runs["4-bottom"]["L2", "vanilla"]
        == runs["2"][("1e-3",)]
        == runs["predictors"][("L2",)]
    )
    assert (
        runs["7"]["L2", "combined"]
        == runs["4-bottom"]["L2", "scheduled"]
        == runs["6"]["L2", "usual: 40 epochs"]
    )
    assert runs["reasons"]["L2", "5,000 images", "default"] == runs["4-bottom"]["L2", "scheduled"]
    assert runs["reasons"]["L2", "5,000 images", "no scheduler"] == runs["3"]["L2", "vanilla"]
    assert runs["1"]["ReLU", "1e-3"] != runs["1"]["ReLU", "1e-5"]
    asked = [run for named in everything.values() for run in named.values()]
    assert len({run.key for run in asked}) == 55 < len(asked)


def test_expensive_indicators_are_measured_only_where_a_figure_shows_them(everything):
    runs = [run for named in everything.values() for run in named.values()]
    full = {run.key for run in runs if "all" in run.request.get("indicators", ())}
    shown = {run.key for name in ("1", "2", "3", "4-top", "predictors") for run in everything[name].values()}
    assert full == shown
    decisions = [run for name in ("5", "8", "9-10") for run in everything[name].values()]
    assert all(run.request.get("indicators", True) for run in decisions)  # without any, none are recorded


def test_a_run_has_the_same_key_in_whatever_company(everything):
    assert only(Scale()).key == everything["3"]["L2", "vanilla"].key


def test_protocol_seeds_and_a_custom_indicator_make_other_runs(tmp_path):
    (tmp_path / "mine.py").write_text("def gap(at): ...\n", encoding="utf-8")
    scales = [
        Scale(), Scale("standard"), Scale(seeds=5), Scale(seeds=(0, 3)), Scale(changes={"num_tasks": 3}),
        Scale(indicators=(f"{tmp_path / 'mine.py'}:gap",)),
    ]  # fmt: skip
    runs = [only(scale) for scale in scales]
    assert len({run.key for run in runs}) == len(scales)
    assert [run.seeds for run in runs] == [3, 3, 5, 2, 3, 3]
    assert [scale.name for scale in scales] == [
        "quick",
        "standard",
        "quick,seeds=5",
        "quick,seeds=0+3",
        "quick,num_tasks=3",
        "quick,indicators=gap",
    ]


def test_an_edited_indicator_is_another_one(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("def gap(at): ...\n", encoding="utf-8")
    before = only(Scale(indicators=(f"{mine}:gap",)))
    mine.write_text("def gap(at): return {}\n", encoding="utf-8")
    assert only(Scale(indicators=(f"{mine}:gap",))).key != before.key


def test_mistakes():
    with pytest.raises(UnknownNameError, match="'quik'.*'quick'"):
        Scale("quik")
    with pytest.raises(OptionError, match=r"\bnum_tasks=0\b"):
        Scale(changes={"num_tasks": 0})
    with pytest.raises(UnknownNameError, match=r"'agent'.*\bnum_tasks\b"):
        Scale(changes={"agent": "agents.vanilla"})


def test_runs_are_listed_with_time_and_machine(tmp_path):
    figure = FIGURES["2"]
    runs = finish(figure, tmp_path, {("1e-3",): 0.8, ("1e-5",): 0.4})
    table = runs_table(figure.by, runs)
    assert table["step_size"].tolist() == ["1e-5", "1e-4", "1e-3"]
    assert table["run"].isna().tolist() == [False, True, False]
    table = table[table["run"].notna()]
    assert (
        table[["seconds", "processor", "cores", "seeds"]].values.tolist()
        == [[15.0, "abacus", "2 cores", "0 1 2"]] * 2
    )
    folders = [runs[key].folder for key in (("1e-5",), ("1e-3",))]
    assert table["run"].tolist() == [folder.name for folder in folders]
    frames = gather(figure.by, {("small",): folders[0], ("large",): folders[1]})
    assert frames.tasks.groupby("step_size").accuracy.mean().round(3).to_dict() == {
        "small": 0.4,
        "large": 0.8,
    }
    assert set(frames.tasks["run"]) == set(frames.indicators["run"]) == set(table["run"])
