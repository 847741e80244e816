"""Cells: checked, named, told apart."""

import re
from pathlib import Path

import pytest

import agents.l2
from clbench.errors import LoadError, OptionError, UnknownNameError
from clbench.sweeping.cells import key_of, read_sweep
from tests.sweeping.conftest import STEPS, TINY

EXAMPLE = Path(__file__).parents[2] / "examples" / "sweep.toml"


def keys(what):
    return {cell.label: cell.key for cell in read_sweep(what).cells}


def test_the_example():
    sweep = read_sweep(EXAMPLE)
    assert (sweep.name, len(sweep.cells), sweep.notes) == ("step-sizes", 9, ())
    assert sweep.varied == ("agent", "arguments.step_size", "arguments.strength", "arguments.scheduler")
    assert sweep.cells[0].label == "agents.vanilla step_size=0.0001"
    assert sweep.cells[-1].agent.arguments["scheduler"] == "per-layer"
    assert {cell.plan.spec.seeds for cell in sweep.cells} == {(0, 1, 2, 3, 4)}
    assert sweep.source == EXAMPLE.read_text(encoding="utf-8")


def test_a_key_is_of_what_a_cell_is_not_of_where_it_runs_or_stands():
    one = keys({**TINY, "grid": [STEPS]})
    assert len(set(one.values())) == 4
    more = {**TINY, "device": "auto", "cell": [{"agent": "agents.l2"}], "grid": [STEPS]}
    assert one.items() <= keys(more).items()
    others = ({"num_tasks": 3}, {"seeds": 2}, {"indicators": "all"}, {"options": {"relabel_fraction": 0.5}})
    for change in others:
        assert not set(one.values()) & set(keys({**TINY, **change, "grid": [STEPS]}).values())


def test_a_folders_name_is_readable_and_safe():
    cell = {"agent": "agents.l2", "options": {"relabel_fraction": 0.5}, "seeds": [0, 1]}
    sweep = read_sweep({**TINY, "cell": [cell, {"agent": "agents.vanilla"}]})
    name = sweep.cells[0].folder_name
    assert re.fullmatch(r"agents\.l2_seeds=_0_1_relabel_fraction=0\.5-[0-9a-f]{8}", name)


def test_what_is_twice_in_the_file_runs_once_and_that_is_said():
    sweep = read_sweep({**TINY, "grid": [STEPS], "cell": [{"agent": "agents.vanilla"}]})
    assert len(sweep.cells) == 4
    (note,) = sweep.notes
    assert "agents.vanilla ([[cell]] 1)" in note


def test_classes_may_be_given_if_other_processes_find_them():
    (cell,) = read_sweep({**TINY, "cell": [{"agent": agents.l2.Agent}]}).cells
    assert cell.label == cell.agent.name == "agents.l2:Agent"

    class Here(agents.l2.Agent):
        pass

    with pytest.raises(OptionError, match="Here"):
        read_sweep({**TINY, "cell": [{"agent": Here}]})


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"agent": "agents.vanila"}, UnknownNameError, r"'agents\.vanila'.*'agents\.vanilla'"),
        ({"arguments": {"step_sice": 1}}, UnknownNameError, r"'step_sice'.*'step_size'"),
        ({"options": {"relabel": 1}}, UnknownNameError, r"'relabel'.*'relabel_fraction'"),
        ({"num_tasks": 0}, OptionError, r"num_tasks=0: .*num_tasks=0\b.*\b1\b"),
        ({"protocol": "quik"}, UnknownNameError, r"'quik'.*'quick'"),
        ({"env": "RandomLabel-v0"}, UnknownNameError, r"'RandomLabel-v0'.*'RandomLabelMNIST-v0'"),
        ({"source": "embeded"}, UnknownNameError, r"'embeded'.*'embedded'"),
        ({"indicators": "sharp"}, UnknownNameError, r"'sharp'.*'sharpness'"),
        ({"agent": "json"}, UnknownNameError, r"'json'.*'Agent'"),
    ],
)
def test_mistakes_name_the_cell(change, error, text):
    first = {"agent": "agents.vanilla"}
    with pytest.raises(error, match=text) as raised:
        read_sweep({**TINY, "source": "embedded", "cell": [first, {**first, **change}]})
    assert str(raised.value).startswith("[[cell]] 2, ")


def test_an_agent_whose_file_is_broken(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(LoadError, match=r"\[\[cell\]\] 1, .*broken.py: .*ZeroDivisionError"):
        read_sweep({**TINY, "cell": [{"agent": str(tmp_path / "broken.py")}]})


def test_a_label_gives_the_length_of_a_long_list():
    settings = [{"agent": "agents.vanilla", "seeds": seeds} for seeds in ([3], [5, 6, 7, 8, 9])]
    sweep = read_sweep({"name": "long", "cell": settings})
    assert [cell.label for cell in sweep.cells] == ["agents.vanilla seeds=[3]", "agents.vanilla seeds=(5)"]
    assert [key_of(one) for one in settings] == [cell.key for cell in sweep.cells]
