"""From a sweep file to settings."""

import pytest

from clbench.errors import OptionError, UnknownNameError
from clbench.sweeps.settings import read_settings, settings_of

CELL = {"agent": "agents.vanilla"}


def test_grids_are_crossed_cells_are_not_and_tables_override_the_top():
    request = settings_of(
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
    assert [(cell["agent"], cell.get("num_tasks")) for cell in crossed[:4]] == [
        ("a", 1), ("a", 2), ("b", 1), ("b", 2),
    ]  # fmt: skip
    assert {cell["arguments.step_size"] for cell in crossed[:4]} == {0.2}
    assert crossed[5] == {
        "seeds": [0, 4], "arguments.step_size": 0.1, "agent": "c", "arguments.scheduler": "per-layer",
    }  # fmt: skip
    assert crossed[6]["arguments.widths"] == [3, 4]
    assert crossed[6]["options.relabel_fraction"] == 0.5


def test_a_files_name_is_the_default_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'seeds = 1\n[[cell]]\nagent = "agents.vanilla"\narguments.step_size = 0.1\n', encoding="utf-8"
    )
    request = read_settings(path)
    assert request.name == "mine"
    assert request.cells == (
        ("[[cell]] 1", {"seeds": 1, "agent": "agents.vanilla", "arguments.step_size": 0.1}),
    )


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ({"cell": [{"agnet": "a"}]}, UnknownNameError, r"\[\[cell\]\] 1\b.*'agnet'.*'agent'"),
        ({"cel": [CELL]}, UnknownNameError, r"\btop\b.*'cel'.*'cell'"),
        ({"cell": CELL}, OptionError, r"^cell\b.*\[\[cell\]\]"),
        ({"cell": [{"seeds": 2}]}, OptionError, r"\[\[cell\]\] 1\b.*\bagent = "),
        ({"grid": [{"agent": []}]}, OptionError, r"\[\[grid\]\] 1\b.*\bagent\b"),
        ({"cell": [{"agent": ["a", "b"]}]}, OptionError, r"\bagent=\['a', 'b'\].*\[\[grid\]\]"),
        ({"cell": [{"agent": 3}]}, OptionError, r"\bagent=3\b"),
        ({"cell": [{**CELL, "arguments": 3}]}, OptionError, r"\barguments=3\b.*\barguments\.NAME\b"),
        ({"cell": [{**CELL, "seeds": "three"}]}, OptionError, "seeds='three'"),
        ({"cell": [{**CELL, "indicators": [1]}]}, OptionError, r"indicators=\[1\]"),
        ({"name": "../x", "cell": [CELL]}, OptionError, r"name='\.\./x'"),
        ({}, OptionError, r"\[\[grid\]\].*\[\[cell\]\]"),
    ],
)
def test_mistakes_name_the_culprit(data, error, text):
    with pytest.raises(error, match=text):
        settings_of(data)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(OptionError, match=r"none\.toml"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ", encoding="utf-8")
    with pytest.raises(OptionError, match=r"bad\.toml'.*\bTOML\b"):
        read_settings(tmp_path / "bad.toml")
