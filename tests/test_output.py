"""What is printed survives logs, pipes, narrow terminals, other encodings, and names that look like markup."""

import io
import sys

import pytest
from rich.console import Console

import clbench
from clbench.commands.main import main
from clbench.engine.progress import Progress
from clbench.engine.requests import Request, check_request
from clbench.report.console import make_console, plain_table
from clbench.report.tables import header, score_table, step_tables
from clbench.report.views import PlainProgress, progress_display
from clbench.scoring import score
from clbench.streams.random_label import RandomLabel
from tests.cases import SHORT
from tests.runs import records, write

LEVELS = {seed: [0.7 + seed / 100, 0.4, 0.3, 0.2] for seed in range(3)}
NAME = "a_long_folder_of_mine/with_another_in_it/my_agent_with_a_long_name.py:LongNameOfAClass"
NUMBERS = ("0.403 [0.396, 0.409]", "0.710", "0.200", "-0.163", "12,345")


def scores(name=NAME):
    found = score(name, records({name: LEVELS}), 4, 0.1)
    return score_table([found], {name: 3}, {name: 12_345.0})


@pytest.mark.parametrize("columns", ["20", "40", None])
def test_tables_are_whole_off_a_terminal(columns, monkeypatch, capsys):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    for forced in ("", "1"):
        monkeypatch.setenv("FORCE_COLOR", forced)
        make_console().print(scores())
        line = capsys.readouterr().out.splitlines()[-1]
        for part in (NAME, *NUMBERS):
            assert part in line


@pytest.mark.parametrize("width", [20, 40, 79])
def test_numbers_survive_a_narrow_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, soft_wrap=True, color_system=None)
    console.print(scores())
    printed = console.file.getvalue()
    assert "\u2026" not in printed
    for part in NUMBERS:
        assert part in printed
    assert NAME in "".join(line.split(maxsplit=1)[0] for line in printed.splitlines()[2:])


@pytest.mark.parametrize("name", ["[red]x[/]", "[bold]", "a:heart:b", "[/]", "[link=x]y", "\\[x"])
def test_names_are_never_markup(name, capsys):
    table = plain_table(("[red]name", "n"), numbers=True)
    table.add_row(name, "1")
    console = make_console()
    console.print(table)
    console.print(name)
    assert capsys.readouterr().out.count(name) == 2


@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_a_stdout_that_knows_ascii_only(errors, monkeypatch, tmp_path):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors, write_through=True)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert progress_display(shown=None) is progress_display(shown=False) is Progress
    make_console()
    assert stdout.errors == errors  # a silent call changes nothing of the user's
    progress = progress_display(shown=True)([])
    assert isinstance(progress, PlainProgress)
    print(progress.summary, "gr\u00f6\u00dfe")
    write(tmp_path / "run", {"gr\u00f6\u00dfe": LEVELS, "[x]": LEVELS})
    assert main(["compare", str(tmp_path / "run")]) == 0
    printed = stdout.buffer.getvalue().decode("ascii")
    assert "gr??e" in printed
    assert "[x]" in printed


def test_a_streams_own_data_have_their_own_name(streams, inline, tmp_path):
    class Own(RandomLabel):
        @classmethod
        def load_data(cls, spec):
            data = clbench.load_images("embedded")
            return clbench.LabelledData(data.inputs[:600], data.labels[:600], 10, source="leaves")

    clbench.register("Own-v0", Own)
    (run,) = check_request(Request(agents="agents.l2", env="Own-v0", device="cpu"))
    assert "600 examples (leaves)" in header([run])
    assert "embedded" not in header([run])
    (run,) = check_request(Request(agents="agents.l2", device="cpu"))
    assert "5,000 embedded images" in header([run])
    settings = {"num_tasks": 1, "epochs_per_task": 1, "batch_size": 300, "seeds": 1, "device": "cpu"}
    both = ["agents.l2", "agents.vanilla"]
    found = clbench.evaluate(both, "Own-v0", **settings, indicators="none", out=tmp_path)
    for shown in (found, clbench.load_results(tmp_path)):
        texts = [repr(shown), shown._repr_html_(), shown.plot().get_suptitle().replace("\n", " ")]
        for text in texts:
            assert "600 examples (leaves)" in text
            assert "embedded" not in text


def test_without_a_decision_there_is_no_table_of_decisions(inline, tmp_path):
    settings = {**SHORT, "seeds": 1, "device": "cpu", "out": tmp_path}
    for every, shown in ((1000, []), (5, ["agents.perlayer"])):
        evaluation = clbench.evaluate("agents.perlayer", arguments={"every": every}, **settings)
        assert list(step_tables(evaluation)) == shown
        assert bool(evaluation.undefined) == (not shown)
