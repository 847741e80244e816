"""The command line of `python -m clbench.reproduce`, and the report that it writes."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from clbench.evaluation.session import circumstances
from clbench.records import IndicatorRecord, TaskRecord
from clbench.reproduce.cells import needed
from clbench.reproduce.claims import OPEN
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
    assert "runs · 3 cells · 6 runs (cell x seed) · 48 steps" in printed
    assert "written: results/reproduction/README.md" in printed
    assert main(["3", "--seeds", "2", *TINY, "--dry-run"]) == 0  # its only cell is one of Fig. 2's
    assert "left: nothing" in capsys.readouterr().out
    assert main(["3", "--seeds", "2", *TINY]) == 0
    assert set(pd.read_csv(made / "3-runs.csv")["run"]) < set(runs["run"])
    page = (out / "README.md").read_text()
    assert "![L2: effective step size" in page
    assert "no finished run has combined_bound" in page
    assert "3 runs; the tables of runs" in page  # not four


def test_claims_are_judged_from_the_files_alone(tmp_path, capsys):
    figure, scale, folder = FIGURES["4-bottom"], Scale(), SweepFolder(tmp_path / "runs")
    levels = {"vanilla": 0.1, "reset": 0.6, "scheduled": 0.5}
    wanted = needed([figure], scale)
    finish(wanted, folder, {place: levels[place[1]] for place in wanted.of["4-bottom"]})
    assert main(["4-bottom", "--out", str(tmp_path)]) == 0
    first = (tmp_path / "README.md").read_text()
    assert "**holds**" in first
    assert "**does not hold**" in first
    capsys.readouterr()
    for path in folder.path.rglob("*.csv"):
        path.unlink()
    assert main(["claims", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "scheduled L2 above vanilla" in printed
    assert (tmp_path / "README.md").read_text() == first
    table = pd.read_csv(tmp_path / "claims.csv").set_index("claim")
    assert table.loc["scheduled L2 above vanilla", ["ours", "verdict", "data"]].tolist() == [
        0.4,
        "holds",
        "quick/4-bottom.csv",
    ]
    assert table.loc["noise bound near 1", "verdict"] == "not yet measured"
    assert "| `python -m clbench.reproduce 2` | 0123456 | abacus, 2 cores, cpu | 2 | 9 |" in first
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
    assert titles == [f"Fig. 2: {figure.title} · quick: 15 tasks x 40 epochs, 3 seeds · 2 of 3 runs missing"]
    (row,) = write_report((figure,), tmp_path)
    assert (row.verdict, row.note.partition(";")[0]) == (OPEN, "2 of 3 runs missing")
    assert "[runs](quick/2-runs.csv). 2 of 3 runs missing." in (tmp_path / "README.md").read_text()


def test_damaged_files_are_named_and_others_left_alone(tmp_path, capsys):
    wanted = needed([FIGURES["3"]], Scale())
    finish(wanted, SweepFolder(tmp_path / "runs"), dict.fromkeys(wanted.of["3"], 0.5))
    at = ["--out", str(tmp_path)]
    assert main(["3", "--report", *at]) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my-runs.csv").write_text("a,b\n")
    assert main(["claims", *at]) == 0
    numbers, runs = (tmp_path / "quick" / name for name in ("3.csv", "3-runs.csv"))
    whole, again = numbers.read_text(), "make figure 3 again (--report does, of finished runs)"
    for damaged in (
        whole.replace("0.5", "abc"),
        whole[:-300],
        whole.replace("task accuracy", "accuracy"),
        "",
    ):
        numbers.write_text(damaged)
        capsys.readouterr()
        assert main(["claims", *at]) == 2
        assert f"'{numbers}' is not what was written with 3-runs.csv; {again}" in capsys.readouterr().err
    numbers.write_text(whole)
    pd.read_csv(runs).drop(columns="command").to_csv(runs, index=False)
    assert main(["claims", *at]) == 2
    assert f"'{runs}' is damaged: it has no column command; {again}" in capsys.readouterr().err
    runs.write_bytes(b"")
    assert main(["claims", *at]) == 2
    assert f"'{runs}' is damaged: No columns to parse from file; {again}" in capsys.readouterr().err
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
    assert "has no finished run of 2" in capsys.readouterr().err
    wanted = needed([FIGURES["2"]], Scale())
    finish(wanted, SweepFolder(tmp_path / "runs"), {("1e-3",): 0.5})
    assert main(["2", *at]) == 0
    assert "2 of 3 runs missing" in (tmp_path / "README.md").read_text()
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
        ([], "name figures: 1, 2, 3, 4-top"),
        (["4-botom"], "no figure '4-botom'. Did you mean '4-bottom'?"),
        (["3", "--protocol", "papr"], "Did you mean 'paper'?"),
        (["3", "--seeds", "x"], "--seeds 'x': give how many"),
        (["3", "--workers", "0"], "workers=0 is too small"),
        (["3", "--indicators", "nowhere:gap"], "no indicator 'nowhere:gap'"),
        (["3", "--indicators", "math:gap"], "'math' has no function 'gap'"),
        (["3", "--indicators", "mine.py"], "--indicators 'mine.py': ours are measured anyway"),
        (["3", "--indicators", "fractions:Fraction"], "is no indicator: it must be a function"),
        (["3", "--set", "env=PermutedMNIST-v0"], "no setting of a reproduction 'env'"),
        (["3", "--source", "nowhere"], "no source 'nowhere'"),
        (["3", "--dry"], "no option '--dry'"),
        (["claims", "--out", "nowhere"], "'nowhere': no figure has been made there yet"),
        (["claims", "--dry-run"], "claims runs nothing: it goes with no figure, --dry-run or --report"),
        (["all", "list"], "list runs nothing"),
    ],
)
def test_mistakes(capsys, arguments, text):
    assert main(arguments) == 2
    assert text in capsys.readouterr().err
