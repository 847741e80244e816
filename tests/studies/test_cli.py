"""The command line of `python -m clbench.reproduce`, and the report that it writes."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from clbench.evaluation.session import circumstances
from clbench.records import IndicatorRecord, TaskRecord
from clbench.reproduce.cells import needed
from clbench.reproduce.claims import FAILS, HOLDS, OPEN
from clbench.reproduce.cli import main
from clbench.reproduce.figures import FIGURES
from clbench.reproduce.making import label, make_figure
from clbench.reproduce.report import write_report
from clbench.reproduce.scale import Scale
from clbench.sweeping.folder import SweepFolder

LENGTH = {"num_tasks": 2, "epochs_per_task": 2, "num_samples": 100, "batch_size": 50}
TINY = [part for name, value in LENGTH.items() for part in ("--set", f"{name}={value}")]
TINY += ["--device", "cpu", "--workers", "1"]


def finish(wanted, folder, only):
    """Finish cells without training: each task of a cell is as accurate as `only` says, by place in the figure."""
    for own in wanted.of.values():
        for place, cell in own.items():
            if place not in only:
                continue
            spec, name = cell.plan.spec, cell.agent.name
            folder.path.mkdir(exist_ok=True, parents=True)
            kept = folder.make(cell)
            kept.write_run(
                {
                    "status": "complete",
                    "spec": spec.to_json(),
                    "timing": {"seconds": 12.0, "steps_per_second": {name: 1.0}},
                    "hardware": {"processor": "abacus", "cores": 2},
                    "command": ["python", "-m", "clbench.reproduce", "2"],
                    "started": "2026-01-01T00:00:00+00:00",
                    "versions": {"torch": "2"},
                    "git": {"commit": "0123456789", "dirty": False},
                    "division": {"workers": 1},
                    "agents": {name: {"sha256": None}},
                    "stream": {"sha256": None},
                    "data": {"sha256": None},
                }
            )
            tasks = [(seed, task) for seed in spec.seeds for task in range(spec.stream.num_tasks)]
            kept.write_tasks([TaskRecord(name, s, t, 8, only[place], 0.5, 0.1, 1.0) for s, t in tasks])
            kept.write_indicators(
                [IndicatorRecord(name, s, t, 8, "fc1", "volatility", 1 + t) for s, t in tasks]
            )


def test_a_figure_is_run_drawn_judged_and_reported_and_its_runs_are_found_again(
    tmp_path, monkeypatch, inline, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "clbench.reproduce.scale.ALL", ("weight_norm",)
    )  # those that take long are tested elsewhere
    assert main(["2", "--seeds", "2", *TINY]) == 0
    out = tmp_path / "results" / "reproduction"
    (made,) = (path for path in out.glob("quick*"))
    assert made.name == "quick,batch_size=50,epochs_per_task=2,num_samples=100,num_tasks=2,seeds=2"
    assert {path.name for path in made.iterdir()} == {"2.csv", "2.png", "2-runs.csv"}
    data, runs = (pd.read_csv(made / name) for name in ("2.csv", "2-runs.csv"))
    assert len(data) == 3 * 2 * 2  # step sizes, seeds, tasks
    assert set(data["run"]) == set(runs["run"])
    assert json.loads(runs["changed"][0]) == LENGTH
    printed = capsys.readouterr().out
    assert re.findall(r"\d+", printed.splitlines()[0]) == ["3", "6", "48"]  # cells, runs, steps
    assert "results/reproduction/README.md" in printed
    assert main(["3", "--seeds", "2", *TINY, "--dry-run"]) == 0  # its only cell is one of Fig. 2's
    printed = capsys.readouterr().out
    assert " complete " in printed
    assert not re.search(r"\d", printed.splitlines()[1])  # nothing is left
    assert main(["3", "--seeds", "2", *TINY]) == 0
    assert set(pd.read_csv(made / "3-runs.csv")["run"]) < set(runs["run"])
    page = (out / "README.md").read_text(encoding="utf-8")
    assert f"![{FIGURES['3'].title}](" in page
    assert re.search(r"\bcombined_bound\b", page)  # which no finished run has
    assert re.search(r"^3 runs\b", page, re.MULTILINE)  # not four


def test_claims_are_judged_from_the_files_alone(tmp_path, capsys):
    figure, scale, folder = FIGURES["4-bottom"], Scale(), SweepFolder(tmp_path / "runs")
    levels = {"vanilla": 0.1, "reset": 0.6, "scheduled": 0.5}
    wanted = needed([figure], scale)
    finish(wanted, folder, {place: levels[place[1]] for place in wanted.of["4-bottom"]})
    assert main(["4-bottom", "--out", str(tmp_path)]) == 0
    first = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"**{HOLDS}**" in first
    assert f"**{FAILS}**" in first
    capsys.readouterr()
    for path in folder.path.rglob("*.csv"):
        path.unlink()
    assert main(["claims", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "scheduled L2 above vanilla" in printed
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == first
    table = pd.read_csv(tmp_path / "claims.csv").set_index("claim")
    assert table.loc["scheduled L2 above vanilla", ["ours", "verdict", "data"]].tolist() == [
        0.4,
        HOLDS,
        "quick/4-bottom.csv",
    ]
    assert table.loc["noise bound near 1", "verdict"] == OPEN
    assert re.search(
        r"\| `python -m clbench\.reproduce 2` \| 0123456 \| abacus\b.*\b2\b.*\bcpu \| 2 \| 9 \|", first
    )
    assert "0:02:15" in first  # nine times fifteen tasks of a second


def test_a_figure_of_some_of_its_runs_says_so(tmp_path):
    figure, scale, folder = FIGURES["2"], Scale(), SweepFolder(tmp_path / "runs")
    wanted = needed([figure], scale)
    own = wanted.of["2"]
    assert make_figure(figure, own, folder, scale, tmp_path) == []
    finish(wanted, folder, {("1e-3",): 0.5})
    titles = []
    noting = replace(figure, draw=lambda data, title: titles.append(title) or figure.draw(data, title))
    assert len(make_figure(noting, own, folder, scale, tmp_path)) == 3
    (title,) = titles
    head, on, missing = title.rsplit(" · ", 2)
    assert head == f"{label(figure)}: {figure.title}"
    assert re.fullmatch(r"quick\b\D*\b15\b\D*\b40\b\D*\b3\b\D*", on)  # tasks, epochs, seeds
    assert re.fullmatch(r"2\b\D*\b3\b\D*", missing)  # missing runs, all runs
    (row,) = write_report((figure,), tmp_path)
    assert row.verdict == OPEN
    assert missing in row.note
    assert f"[runs](quick/2-runs.csv). {missing}." in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_damaged_files_are_named_and_others_left_alone(tmp_path, capsys):
    wanted = needed([FIGURES["3"]], Scale())
    finish(wanted, SweepFolder(tmp_path / "runs"), dict.fromkeys(wanted.of["3"], 0.5))
    at = ["--out", str(tmp_path)]
    assert main(["3", "--report", *at]) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my-runs.csv").write_text("a,b\n", encoding="utf-8")
    assert main(["claims", *at]) == 0
    numbers, runs = (tmp_path / "quick" / name for name in ("3.csv", "3-runs.csv"))
    whole = numbers.read_text(encoding="utf-8")
    for damaged in (
        whole.replace("0.5", "abc"),
        whole[:-300],
        whole.replace("task accuracy", "accuracy"),
        "",
    ):
        numbers.write_text(damaged, encoding="utf-8")
        capsys.readouterr()
        assert main(["claims", *at]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(rf"'{re.escape(str(numbers))}'.*\b3-runs\.csv\b.*--report\b", line)
    numbers.write_text(whole, encoding="utf-8")
    pd.read_csv(runs).drop(columns="command").to_csv(runs, index=False)
    assert main(["claims", *at]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"'{re.escape(str(runs))}'.*\bcommand\b.*--report\b", line)
    runs.write_bytes(b"")
    assert main(["claims", *at]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"'{re.escape(str(runs))}'.*--report\b", line)
    assert main(["3", "--report", *at]) == 0
    assert main(["claims", *at]) == 0


def test_a_missing_folder_of_images_is_told_before_anything_starts(tmp_path, capsys):
    at = ["--source", "torchvision", "--data-dir", str(tmp_path / "nowhere"), "--out", str(tmp_path)]
    assert main(["4-bottom", *TINY, *at]) == 2
    said = capsys.readouterr().err
    assert said.count("nowhere") == 1
    assert not (tmp_path / "runs").exists()


def test_mistakes_are_told_without_a_word_of_cells(capsys):
    assert main(["3", "--seeds", "0"]) == 2
    said = capsys.readouterr().err
    assert "seeds" in said
    assert "[[" not in said


def test_a_report_runs_nothing(tmp_path, capsys):
    at = ["--out", str(tmp_path), "--report"]
    assert main(["2", *at]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"--report\b.*'{re.escape(str(tmp_path / 'runs'))}'.*\b2\b", line)
    wanted = needed([FIGURES["2"]], Scale())
    finish(wanted, SweepFolder(tmp_path / "runs"), {("1e-3",): 0.5})
    assert main(["2", *at]) == 0
    assert re.search(
        r"\[runs\]\(quick/2-runs\.csv\)\W*2\b\D*\b3\b", (tmp_path / "README.md").read_text(encoding="utf-8")
    )
    assert len(list((tmp_path / "runs").glob("agents*"))) == 1


def test_figures_are_called_what_the_paper_calls_them():
    names = {name: label(figure) for name, figure in FIGURES.items()}
    assert (names["1"], names["4-bottom"], names["9-10"]) == ("Fig. 1", "Fig. 4 bottom", "Figs. 9-10")
    assert names["predictors"] == "Predictors"


def test_runs_know_the_command_that_made_them(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/clbench/reproduce/__main__.py", "4-bottom"])
    assert circumstances("cpu")["command"] == ["python", "-m", "clbench.reproduce", "4-bottom"]


def test_list(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name, figure in FIGURES.items():
        assert f"\n{name} " in printed
        assert figure.title[:40] in printed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], r"\b1, 2, 3, 4-top\b"),
        (["4-botom"], "'4-botom'.*'4-bottom'"),
        (["3", "--protocol", "papr"], "'papr'.*'paper'"),
        (["3", "--seeds", "x"], "--seeds 'x'"),
        (["3", "--workers", "0"], r"\bworkers=0\b"),
        (["3", "--indicators", "nowhere:gap"], "'nowhere:gap'"),
        (["3", "--indicators", "math:gap"], "'math'.*'gap'"),
        (["3", "--indicators", "mine.py"], r"--indicators 'mine\.py'.*\bfile\.py:function\b"),
        (["3", "--indicators", "fractions:Fraction"], "'fractions:Fraction'"),
        (["3", "--set", "env=PermutedMNIST-v0"], r"'env'.*\bnum_tasks\b"),
        (["3", "--source", "nowhere"], "'nowhere'.*embedded"),
        (["3", "--dry"], "'--dry'.*'--dry-run'"),
        (["claims", "--out", "nowhere"], "^error: 'nowhere'"),
        (["claims", "--dry-run"], r"^error: claims\b.*--dry-run.*--report"),
        (["all", "list"], r"^error: list\b"),
    ],
)
def test_mistakes(capsys, arguments, text):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(text, line)
