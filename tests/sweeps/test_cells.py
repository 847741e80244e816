"""Cells: checked, labelled, told apart, and the keys of their folders."""

import re
from pathlib import Path

import pytest

import agents.l2
from clbench.engine.keyed_store import folder_name
from clbench.errors import LoadError, OptionError, UnknownNameError
from clbench.sweeps.cells import read_sweep
from tests.sweeps.cases import STEPS, TINY

EXAMPLE = Path(__file__).parents[2] / "examples" / "sweep.toml"

AGENT = """
class Agent:
    def __init__(self, spec, seed, gate=None): ...
    def act(self, obs): ...
    def learn(self, targets): ...
"""


def keys(source):
    return {run.label: run.key for run in read_sweep(source).runs}


def test_the_example():
    sweep = read_sweep(EXAMPLE)
    assert (sweep.name, len(sweep.runs), sweep.notes) == ("step-sizes", 9, ())
    assert sweep.varied == ("agent", "arguments.step_size", "arguments.strength", "arguments.scheduler")
    assert sweep.runs[0].label == "agents.vanilla step_size=0.0001"
    assert sweep.runs[-1].config.agent.arguments["scheduler"] == "per-layer"
    assert {run.config.seeds for run in sweep.runs} == {(0, 1, 2, 3, 4)}
    assert sweep.source == EXAMPLE.read_text(encoding="utf-8")


def test_sweeps_of_earlier_versions_are_found_by_their_keys():
    vanilla, l2 = {"agent": "agents.vanilla"}, {"agent": "agents.l2", "arguments": {"strength": 0.1}}
    cells = [
        vanilla,
        {**vanilla, "protocol": "standard", "source": "embedded"},
        {**vanilla, "env": "PermutedMNIST-v0", "seeds": [3, 5], "indicators": "all", "indicators_every": 7},
        {**l2, "options": {"relabel_fraction": 0.5}, "indicators": "sharpness"},
    ]
    sweep = read_sweep({"name": "earlier", "cell": cells})
    assert [run.key for run in sweep.runs] == ["e0746680", "da457b24", "3ac75a44", "5cbad28c"]


def test_a_key_covers_what_is_run_but_not_where():
    four = keys({**TINY, "grid": [STEPS]})
    assert len(set(four.values())) == 4
    more = {**TINY, "device": "auto", "cell": [{"agent": "agents.l2"}], "grid": [STEPS]}
    assert four.items() <= keys(more).items()
    others = ({"num_tasks": 3}, {"seeds": 2}, {"indicators": "all"}, {"options": {"relabel_fraction": 0.5}})
    for change in others:
        assert not set(four.values()) & set(keys({**TINY, **change, "grid": [STEPS]}).values())


def test_a_folders_name_is_readable_and_safe():
    cell = {"agent": "agents.l2", "options": {"relabel_fraction": 0.5}, "seeds": [0, 1]}
    run, _ = read_sweep({**TINY, "cell": [cell, {"agent": "agents.vanilla"}]}).runs
    expected = r"agents\.l2_seeds=_0_1_relabel_fraction=0\.5-[0-9a-f]{8}"
    assert re.fullmatch(expected, folder_name(run))


def test_what_is_in_the_file_twice_runs_once_with_a_note():
    sweep = read_sweep({**TINY, "grid": [STEPS], "cell": [{"agent": "agents.vanilla"}]})
    assert len(sweep.runs) == 4
    (note,) = sweep.notes
    assert "agents.vanilla ([[cell]] 1)" in note


def test_classes_may_be_given_if_other_processes_can_import_them():
    (run,) = read_sweep({**TINY, "cell": [{"agent": agents.l2.Agent}]}).runs
    assert run.label == run.config.agent.name == "agents.l2:Agent"

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


def test_a_label_has_the_length_of_a_long_list():
    settings = [{"agent": "agents.vanilla", "seeds": seeds} for seeds in ([3], [5, 6, 7, 8, 9])]
    source = {"name": "long", "cell": settings}
    assert list(keys(source)) == ["agents.vanilla seeds=[3]", "agents.vanilla seeds=(5)"]
    alone = [key for cell in settings for key in keys({"cell": [cell]}).values()]
    assert alone == list(keys(source).values())


def test_cells_that_look_the_same_are_told_apart(tmp_path):
    """Files of the same name are numbered; of "1" and 1 the second has its key in its label."""
    files = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(AGENT, encoding="utf-8")
        files.append(str(tmp_path / folder / "mine.py"))
    sweep = read_sweep({**TINY, "cell": [{"agent": file} for file in files]})
    assert [run.label for run in sweep.runs] == ["mine.py", "mine.py (2)"]
    assert [run.config.agent.name for run in sweep.runs] == ["mine.py", "mine.py (2)"]
    assert [run.config.agent.reference for run in sweep.runs] == files
    cells = [{"agent": files[0], "arguments": {"gate": value}} for value in (1, "1")]
    first, second = keys({**TINY, "cell": cells}).items()
    assert second[0] == f"{first[0]} {second[1]}"
    assert first[1] != second[1]
