"""From a sweep file to settings."""

import re

import pytest

from clbench.errors import OptionError, UnknownNameError
from clbench.sweeping.request import read_request, request_of

CELL = {"agent": "agents.vanilla"}


def test_grids_are_crossed_cells_are_not_and_tables_go_before_the_top():
    request = request_of(
        {
            "name": "s",
            "seeds": [0, 4],
            "arguments": {"step_size": 0.1},
            "grid": [
                {"agent": ["a", "b"], "num_tasks": [1, 2], "arguments": {"step_size": 0.2}},
                {"agent": "c", "scheduler": ["none", "per-layer"]},
            ],
            "cell": [{"agent": "d", "arguments": {"widths": [3, 4]}, "options": {"relabel_fraction": 0.5}}],
        }
    )
    assert [where for where, _ in request.cells] == ["[[grid]] 1"] * 4 + ["[[grid]] 2"] * 2 + ["[[cell]] 1"]
    crossed = [settings for _, settings in request.cells]
    assert [(one["agent"], one.get("num_tasks")) for one in crossed[:4]] == [
        ("a", 1), ("a", 2), ("b", 1), ("b", 2),
    ]  # fmt: skip
    assert {one["arguments.step_size"] for one in crossed[:4]} == {0.2}
    assert crossed[5] == {
        "seeds": [0, 4], "arguments.step_size": 0.1, "agent": "c", "arguments.scheduler": "per-layer",
    }  # fmt: skip
    assert crossed[6]["arguments.widths"] == [3, 4]
    assert crossed[6]["options.relabel_fraction"] == 0.5


def test_a_file_without_a_name_has_its_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('seeds = 1\n[[cell]]\nagent = "agents.vanilla"\narguments.step_size = 0.1\n')
    request = read_request(path)
    assert request.name == "mine"
    assert request.cells == (
        ("[[cell]] 1", {"seeds": 1, "agent": "agents.vanilla", "arguments.step_size": 0.1}),
    )


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (
            {"cell": [{"agnet": "a"}]},
            UnknownNameError,
            "[[cell]] 1: no setting 'agnet'. Did you mean 'agent'?",
        ),
        ({"cel": [CELL]}, UnknownNameError, "at the top: no setting 'cel'. Did you mean 'cell'?"),
        ({"cell": CELL}, OptionError, "write [[cell]], not [cell]"),
        ({"cell": [{"seeds": 2}]}, OptionError, "[[cell]] 1: no agent"),
        ({"grid": [{"agent": []}]}, OptionError, "[[grid]] 1: agent is an empty list"),
        ({"cell": [{"agent": ["a", "b"]}]}, OptionError, "only a [[grid]] crosses lists"),
        ({"cell": [{"agent": 3}]}, OptionError, "agent=3 is not a string"),
        ({"cell": [{**CELL, "arguments": 3}]}, OptionError, "write arguments.NAME = VALUE"),
        ({"cell": [{**CELL, "seeds": "three"}]}, OptionError, "seeds='three': give whole numbers"),
        ({"cell": [{**CELL, "indicators": [1]}]}, OptionError, "indicators=[1]: give names"),
        ({"name": "../x", "cell": [CELL]}, OptionError, "name='../x'"),
        ({}, OptionError, "the sweep has no cells"),
    ],
)
def test_mistakes_name_the_culprit(data, error, text):
    with pytest.raises(error, match=re.escape(text)):
        request_of(data)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(OptionError, match="cannot read the sweep file"):
        read_request(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(OptionError, match="bad.toml' is no TOML"):
        read_request(tmp_path / "bad.toml")
