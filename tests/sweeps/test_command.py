"""The command `clbench sweep`, over runs made by hand."""

import functools
import re
from pathlib import Path

import pandas as pd
import pytest

from clbench.commands.main import main_of
from clbench.engine.keyed_store import KeyedStore
from clbench.engine.local import spread
from clbench.records import TaskRecord
from clbench.results.manifest import CodeSource, DataSource, RunManifest, Timing
from clbench.sweeps.cells import read_sweep
from clbench.sweeps.ranking import SAME, Selection
from clbench.sweeps.store import create_folder
from tests.sweeps.cases import TINY, write_toml

main = functools.partial(main_of, "sweep")

GRID = """\
[[grid]]
agent = ["agents.vanilla", "agents.l2"]
arguments.step_size = [1e-4, 1e-3]
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_toml(tmp_path / "tiny.toml", TINY, GRID)


def complete(file, only=slice(None)):
    """Complete runs without training: a seed reaches a tenth of its number and, with l2, 0.2 more."""
    sweep, store = read_sweep(file), KeyedStore(Path("results/tiny"))
    create_folder(store, sweep)
    for run in spread(sweep.runs, 2)[only]:
        folder = store.create(run)
        folder.write_manifest(
            RunManifest(
                status="complete",
                config=run.config,
                workers=run.parallelism.workers,
                agent_source=CodeSource(sha256="0" * 64),
                data=DataSource(sha256="1" * 64),
                timing=Timing(steps_per_second=10.0),
                sweep=run.sweep,
            )
        )
        name = run.config.agent.name
        level = 0.2 * (name == "agents.l2")
        folder.write_tasks(
            TaskRecord(name, seed, task, 4, level + seed / 10, 0.5, 0.1, 1.0)
            for seed in run.config.seeds
            for task in range(2)
        )


def numbers(text):
    """Return the numbers and durations in a text, in order."""
    return re.findall(r"\b\d[\d:]*\b", text)


def test_a_dry_run_says_how_much_is_to_be_run_and_starts_nothing(file, tmp_path, capsys):
    assert main([file, "--dry-run", "--workers", "2"]) == 0
    printed = capsys.readouterr()
    amount, left = printed.out.splitlines()[:2]
    assert amount.startswith("tiny ")
    assert numbers(amount) == ["4", "12", "96"]
    assert numbers(left)[:2] == ["4", "96"]
    assert re.search(r"\d:\d\d:\d\d\b.*\b40\b.*agents\.vanilla, agents\.l2\b", left)  # 40 steps were measured
    assert printed.out.count(" missing ") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_dry_run_estimates_by_what_is_complete(file, capsys):
    complete(file, slice(0, None, 2))
    assert main([file, "--dry-run", "--workers", "2"]) == 0
    printed = capsys.readouterr().out
    # 2 runs of 24 steps at 10 steps/s each, two at a time
    assert numbers(printed.splitlines()[1]) == ["2", "48", "0:00:02", "2", "2"]
    assert printed.count(" missing ") == printed.count(" complete ") == 2
    assert main([file, "--dry-run", "--shard", "1/2"]) == 0
    assert numbers(capsys.readouterr().out.splitlines()[0]) == ["2", "4", "6", "48"]


def test_a_report_ranks_what_is_complete_and_marks_the_choice(file, capsys):
    complete(file)
    assert main([file, "--report"]) == 0
    printed = capsys.readouterr().out
    assert f"\n{SAME}\n" in printed
    rows = [line.split() for line in printed.splitlines()]
    (best,) = (row for row in rows if row[:3] == ["1", "agents.l2", "step_size=0.0001"])
    assert best[3:7] == ["3", "0.300", "[0.052,", "0.548]"]
    assert best[7:][-1:] == ["agents.l2"]  # the best of that agent
    assert ["1", "agents.l2", "step_size=0.001", "3", "0.300", "[0.052,", "0.548]"] in rows
    assert len([line for line in printed.splitlines() if "3 seeds" in line]) == 1  # why all share rank 1
    table = pd.read_csv("results/tiny/ranking.csv")
    assert table["same_seeds"].all()
    assert set(table["selection"]) == {SAME}
    assert table["arguments.step_size"].tolist() == [1e-4, 1e-3] * 2
    assert table["reported"].count() == table["chosen"].sum() == 2
    assert "results/tiny/sensitivity-step_size.png" in printed


def test_a_report_of_nothing(file, capsys):
    assert main([file, "--report"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'results/tiny'" in line


def test_other_seeds_may_judge(file, capsys):
    complete(file)
    assert main([file, "--report", "--select-seeds", "0", "--report-seeds", "1,2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    (best,) = (row for row in rows if row[:3] == ["1", "agents.l2", "step_size=0.0001"])
    assert best[3:9] == ["1", "0.200", "2", "0.350", "[-0.285,", "0.985]"]
    assert best[9:][-1:] == ["agents.l2"]
    assert ["1", "agents.l2", "step_size=0.001", "1", "0.200"] in rows  # only the chosen one is judged
    table = pd.read_csv("results/tiny/ranking.csv")
    assert not table["same_seeds"].any()
    assert set(table["selection"]) == {str(Selection((0,), (1, 2)))}
    assert main([file, "--report", "--select-seeds", "0", "--report-seeds", "7"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert numbers(line) == ["7", "0", "1", "2"]


def test_nothing_is_run_when_all_is_complete(file, capsys):
    complete(file)
    assert main([file, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "results/tiny\n"
    assert re.search(r"agents\.l2\b.*\b2\b", printed.err)  # how many of its runs are of other code


def test_failures_are_reported_at_the_end(file, tmp_path, inline, capsys):
    (tmp_path / "bad.py").write_text(
        "class Agent:\n def __init__(self, spec, seed): 1 / 0\n def act(self, o): ...\n def learn(self, t): ...",
        encoding="utf-8",
    )
    (tmp_path / "tiny.toml").write_text(
        'name = "bad"\nseeds = 1\n[[cell]]\nagent = "bad.py"\n', encoding="utf-8"
    )
    assert main(["tiny.toml", "--dry-run"]) == 0
    left = capsys.readouterr().out.splitlines()[1]
    assert "bad.py" in left
    assert not re.search(r"\d:\d\d", left)  # no estimate
    assert main(["tiny.toml"]) == 1
    printed = capsys.readouterr()
    left, ended = printed.out.splitlines()[1:3]
    assert re.search(r"bad\.py.*--dry-run", left)
    assert ended.split() == ["bad.py", "failed"]
    lines = printed.err.splitlines()
    assert re.match(r"error: bad\.py: .*bad\.py.*ZeroDivisionError: .*/failures\.log\b", lines[-2])
    assert numbers(lines[-1]) == ["1", "1"]  # failed cells, all cells


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none.toml"], "'none.toml'"),
        (["tiny.toml", "--shard", "2"], r"--shard '2'.*\bI/N\b"),
        (["tiny.toml", "--shard", "0/2"], r"\b0/2\b.*\bI/N\b"),
        (["tiny.toml", "--select-seeds", "x"], r"'x'.*\b0,1\b"),
        (["tiny.toml", "--workers", "0"], r"\bworkers=0\b.*\b1\b"),
        (["tiny.toml", "--dry"], "'--dry'.*'--dry-run'"),
        (["tiny.toml", "--report", "--dry-run"], "--report .*--dry-run"),
        (["tiny.toml", "--ray-address", "somewhere"], r"\bsomewhere\b.*\bray\b"),
    ],
)
def test_mistakes(file, capsys, arguments, text):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(text, line)


def test_a_damaged_cell_is_named_and_run_again(file, capsys):
    complete(file)
    store = KeyedStore(Path("results/tiny"))
    first, second = read_sweep(file).runs[:2]
    (store.find(first).path / "run.json").write_text("{", encoding="utf-8")
    assert main([file, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    states = dict(re.findall(r"step_size=(\S+) +3 +(\w+) +agents.vanilla", printed))
    assert states == {"0.0001": "damaged", "0.001": "complete"}
    (note,) = [line for line in printed.splitlines() if line.startswith("note: ")]
    assert first.label in note
    assert str(store.find(first).path) in note
    assert second.label not in note
