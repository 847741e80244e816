"""Cells that several figures need are run once, whatever else is asked for."""

import pytest

from clbench.errors import OptionError, UnknownNameError
from clbench.reproduce.cells import needed, runs_frame
from clbench.reproduce.figures import FIGURES
from clbench.reproduce.frames import gather
from clbench.reproduce.scale import Scale
from clbench.sweeping.folder import SweepFolder
from tests.reproduce.test_cli import finish


@pytest.fixture(scope="module")
def everything():
    return needed(FIGURES.values(), Scale())


def test_a_cell_of_several_figures_is_one_cell(everything):
    asked = sum(len(own) for own in everything.of.values())
    assert len(everything.sweep.cells) == len({cell.key for cell in everything.sweep.cells}) < asked
    of = everything.of
    assert (
        of["3"]["L2", "vanilla"]
        is of["4-bottom"]["L2", "vanilla"]
        is of["2"][("1e-3",)]
        is of["predictors"][("L2",)]
    )
    assert of["7"]["L2", "combined"] is of["4-bottom"]["L2", "scheduled"] is of["6"]["L2", "usual: 40 epochs"]
    assert of["reasons"]["L2", "5,000 images", "default"] is of["4-bottom"]["L2", "scheduled"]
    assert of["reasons"]["L2", "5,000 images", "no scheduler"] is of["3"]["L2", "vanilla"]
    assert of["1"]["ReLU", "1e-3"] is not of["1"]["ReLU", "1e-5"]


def test_what_takes_long_is_measured_only_where_it_is_looked_at(everything):
    full = {cell.key for cell in everything.sweep.cells if "sharpness" in cell.plan.spec.indicators}
    looked_at = {
        cell.key for name in ("1", "2", "3", "4-top", "predictors") for cell in everything.of[name].values()
    }
    assert full == looked_at
    watched = [cell for name in ("5", "8", "9-10") for cell in everything.of[name].values()]
    assert all(cell.plan.spec.indicators for cell in watched)  # without any, decisions are not recorded


def test_a_cell_has_the_same_key_in_whatever_company(everything):
    (alone,) = needed([FIGURES["3"]], Scale()).sweep.cells
    assert alone.key == everything.of["3"]["L2", "vanilla"].key


def test_protocol_seeds_and_a_users_indicator_make_other_cells(tmp_path):
    (tmp_path / "mine.py").write_text("def gap(at): ...\n", encoding="utf-8")
    scales = [
        Scale(), Scale("standard"), Scale(seeds=5), Scale(seeds=(0, 3)), Scale(changes={"num_tasks": 3}),
        Scale(indicators=(f"{tmp_path / 'mine.py'}:gap",)),
    ]  # fmt: skip
    cells = [needed([FIGURES["3"]], scale).sweep.cells[0] for scale in scales]
    assert len({cell.key for cell in cells}) == len(scales)
    assert cells[3].plan.spec.seeds == (0, 3)
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
    scale = Scale(indicators=(f"{mine}:gap",))
    (before,) = needed([FIGURES["3"]], scale).sweep.cells
    mine.write_text("def gap(at): return {}\n", encoding="utf-8")
    (after,) = needed([FIGURES["3"]], scale).sweep.cells
    assert before.key != after.key


def test_mistakes():
    with pytest.raises(UnknownNameError, match="'quik'.*'quick'"):
        Scale("quik")
    with pytest.raises(OptionError, match=r"\bnum_tasks=0\b"):
        Scale(changes={"num_tasks": 0})
    with pytest.raises(UnknownNameError, match=r"'agent'.*\bnum_tasks\b"):
        Scale(changes={"agent": "agents.vanilla"})


def test_runs_are_told_with_time_and_machine(tmp_path):
    figure, folder = FIGURES["2"], SweepFolder(tmp_path)
    wanted = needed([figure], Scale())
    finish(wanted, folder, only={("1e-3",): 0.8, ("1e-5",): 0.4})
    runs = runs_frame(figure.by, wanted.of["2"], folder)
    assert runs["step_size"].tolist() == ["1e-5", "1e-4", "1e-3"]
    assert runs["run"].isna().tolist() == [False, True, False]
    runs = runs[runs["run"].notna()]
    assert (
        runs[["seconds", "processor", "cores", "seeds"]].values.tolist()
        == [[15.0, "abacus", "2 cores", "0 1 2"]] * 2
    )
    found = [folder.find(wanted.of["2"][place]).path for place in (("1e-5",), ("1e-3",))]
    assert runs["run"].tolist() == [path.name for path in found]
    frames = gather(figure.by, {("small",): found[0], ("large",): found[1]})
    assert frames.tasks.groupby("step_size").accuracy.mean().round(3).to_dict() == {
        "small": 0.4,
        "large": 0.8,
    }
    assert set(frames.tasks["run"]) == set(frames.indicators["run"]) == set(runs["run"])
    assert gather(figure.by, {}).tasks.empty
