"""The command line of `python -m clbench.sweep`, over cells made by hand."""

from pathlib import Path

import pandas as pd
import pytest

from clbench.records import TaskRecord
from clbench.sweeping.cells import read_sweep
from clbench.sweeping.cli import main
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import divided
from tests.sweeping.conftest import TINY

FILE = """\
[[grid]]
agent = ["agents.vanilla", "agents.l2"]
arguments.step_size = [1e-4, 1e-3]
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{key} = {value!r}" for key, value in TINY.items()]
    (tmp_path / "tiny.toml").write_text("\n".join([*lines, FILE]))
    return "tiny.toml"


def fill(file, only=slice(None)):
    """Finish cells without training: a seed reaches a tenth of its number and, with l2, 0.2 more."""
    sweep, folder = read_sweep(file), SweepFolder(Path("results/tiny"))
    folder.keep(sweep)
    for cell in divided(sweep.cells, 2)[only]:
        name, spec, kept = cell.agent.name, cell.plan.spec, folder.make(cell)
        kept.write_run(
            {
                "status": "complete",
                "spec": spec.to_json(),
                "division": vars(cell.plan.division),
                "agents": {name: {"sha256": "0" * 64}},
                "stream": {"sha256": None},
                "data": {"sha256": "1" * 64},
                "timing": {"steps_per_second": {name: 10.0}},
                "sweep": {"name": sweep.name, "varied": sweep.varied},
            }
        )
        level = 0.2 * (name == "agents.l2")
        kept.write_tasks(
            [TaskRecord(name, s, t, 4, level + s / 10, 0.5, 0.1, 1.0) for s in spec.seeds for t in range(2)]
        )


def test_a_dry_run_says_how_much_there_is_and_starts_nothing(file, tmp_path, capsys):
    assert main([file, "--dry-run", "--workers", "2"]) == 0
    printed = capsys.readouterr()
    assert "tiny · 4 cells · 12 runs (cell x seed) · 96 steps" in printed.out
    assert "left: 4 cells, 96 steps, about " in printed.out
    assert "(by 40 steps measured now of agents.vanilla, agents.l2, indicators left out)" in printed.out
    assert printed.out.count(" missing ") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_dry_run_estimates_by_what_is_finished(file, capsys):
    fill(file, slice(0, None, 2))
    assert main([file, "--dry-run", "--workers", "2"]) == 0
    printed = capsys.readouterr().out
    # 2 cells of 24 steps at 10 steps/s each, two at a time
    assert (
        "left: 2 cells, 48 steps, about 0:00:02 on 2 workers and some seconds a cell "
        "(by the steps/s of 2 finished cells)\n" in printed
    )
    assert printed.count(" missing ") == printed.count(" complete ") == 2
    assert main([file, "--dry-run", "--shard", "1/2"]) == 0
    assert "tiny · 2 cells of 4 · 6 runs" in capsys.readouterr().out


def test_a_report_ranks_what_is_finished_and_marks_the_choice(file, capsys):
    fill(file)
    assert main([file, "--report"]) == 0
    printed = capsys.readouterr().out
    assert "\nchosen and judged on the same seeds\n" in printed
    assert "1     agents.l2 step_size=0.0001       0.300 [0.200, 0.400]   best of agents.l2" in printed
    table = pd.read_csv("results/tiny/ranking.csv")
    assert table["same_seeds"].all()
    assert set(table["selection"]) == {"chosen and judged on the same seeds"}
    assert table["arguments.step_size"].tolist() == [1e-4, 1e-3] * 2
    assert table["reported"].count() == table["chosen"].sum() == 2
    assert "written: results/tiny/sensitivity-step_size.png" in printed


def test_a_report_of_nothing(file, capsys):
    assert main([file, "--report"]) == 2
    assert capsys.readouterr().err == "error: 'results/tiny': nothing of this sweep has been run yet\n"


def test_other_seeds_may_judge(file, capsys):
    fill(file)
    assert main([file, "--report", "--select-seeds", "0", "--report-seeds", "1,2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    best = [
        "1",
        "agents.l2",
        "step_size=0.0001",
        "0.200",
        "0.350",
        "[0.300,",
        "0.400]",
        "best",
        "of",
        "agents.l2",
    ]
    assert best in rows
    assert ["1", "agents.l2", "step_size=0.001", "0.200"] in rows  # only the chosen one is judged
    table = pd.read_csv("results/tiny/ranking.csv")
    assert not table["same_seeds"].any()
    assert set(table["selection"]) == {"chosen on seed 0, judged on seeds 1, 2"}
    assert main([file, "--report", "--select-seeds", "0", "--report-seeds", "7"]) == 2
    assert capsys.readouterr().err == "error: no cell has seed 7; there are: 0, 1, 2\n"


def test_nothing_is_run_when_all_is_done(file, capsys):
    fill(file)
    assert main([file, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "results/tiny\n"
    assert "the code of agents.l2 has changed since 2 of its cells finished" in printed.err


def test_failures_are_reported_at_the_end(file, tmp_path, inline, capsys):
    (tmp_path / "bad.py").write_text(
        "class Agent:\n def __init__(self, spec, seed): 1 / 0\n def act(self, o): ...\n def learn(self, t): ..."
    )
    (tmp_path / "tiny.toml").write_text('name = "bad"\nseeds = 1\n[[cell]]\nagent = "bad.py"\n')
    assert main(["tiny.toml", "--dry-run"]) == 0
    assert "steps (not counting bad.py, whose steps cannot be measured)" in capsys.readouterr().out
    assert main(["tiny.toml"]) == 1
    printed = capsys.readouterr()
    assert "steps (not counting bad.py, of which nothing is finished: --dry-run measures)" in printed.out
    assert "bad.py  failed  (0 done · 1 failed" in printed.out
    lines = printed.err.splitlines()
    assert lines[-2].startswith("error: bad.py: bad.py raised ZeroDivisionError: division by zero")
    assert lines[-2].endswith("/failures.log)")
    assert lines[-1] == "1 of 1 cells failed; the same command tries them again"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none.toml"], "cannot read the sweep file 'none.toml'"),
        (["tiny.toml", "--shard", "2"], "--shard '2': give I/N, such as 1/4"),
        (["tiny.toml", "--shard", "0/2"], "shard 0/2: give I/N with I from 1 to N"),
        (["tiny.toml", "--select-seeds", "x"], "'x': name seeds with commas"),
        (["tiny.toml", "--workers", "0"], "workers=0 is too small"),
        (["tiny.toml", "--dry"], "no option '--dry'"),
    ],
)
def test_mistakes(file, capsys, arguments, text):
    assert main(arguments) == 2
    assert text in capsys.readouterr().err
