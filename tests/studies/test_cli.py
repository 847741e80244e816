"""The command line of `python -m clbench.reproduce`, and the report that it writes."""

import functools
import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from clbench.commands import reproduce
from clbench.commands.main import main_of, run
from clbench.engine.manifests import circumstances
from studies.noise_curvature.claims import FAILS, HOLDS, OPEN
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.report import write_report
from studies.noise_curvature.scale import Scale
from studies.noise_curvature.tables import make_figure
from tests.studies.conftest import find, finish, joined, rows

main = functools.partial(main_of, "reproduce")
LENGTH = {"num_tasks": 2, "epochs_per_task": 2, "num_samples": 100, "batch_size": 50}
TINY = [part for name, value in LENGTH.items() for part in ("--set", f"{name}={value}")]
TINY += ["--device", "cpu", "--workers", "1"]


def test_a_figure_is_run_drawn_judged_and_reported_and_its_runs_are_found_again(
    tmp_path, monkeypatch, inline, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "clbench.engine.requests.ALL", ("weight_norm",)
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
    figure, folder = FIGURES["4-bottom"], tmp_path / "runs"
    levels = {"vanilla": 0.1, "reset": 0.6, "scheduled": 0.5}
    finish(figure, folder, {key: levels[key[1]] for key in figure.requests(Scale())})
    assert main(["4-bottom", "--out", str(tmp_path)]) == 0
    first = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"**{HOLDS}**" in first
    assert f"**{FAILS}**" in first
    capsys.readouterr()
    for path in folder.rglob("*.csv"):
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
    figure, scale, folder = FIGURES["2"], Scale(), tmp_path / "runs"
    assert make_figure(figure, find(figure, scale, folder), scale, tmp_path) == []
    runs = finish(figure, folder, {("1e-3",): 0.5})
    titles = []
    noting = replace(figure, draw=lambda data, title: titles.append(title) or figure.draw(data, title))
    assert len(make_figure(noting, runs, scale, tmp_path)) == 3
    (title,) = titles
    head, on, missing = title.rsplit(" · ", 2)
    assert head == f"{figure.label}: {figure.title}"
    assert re.fullmatch(r"quick\b\D*\b15\b\D*\b40\b\D*\b3\b\D*", on)  # tasks, epochs, seeds
    assert re.fullmatch(r"2\b\D*\b3\b\D*", missing)  # missing runs, all runs
    (row,) = write_report((figure,), tmp_path)
    assert row.verdict == OPEN
    assert missing in row.measured.note
    assert f"[runs](quick/2-runs.csv). {missing}." in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_damaged_files_are_named_and_others_left_alone(tmp_path, capsys):
    finish(FIGURES["3"], tmp_path / "runs", {("L2", "vanilla"): 0.5})
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
    finish(FIGURES["2"], tmp_path / "runs", {("1e-3",): 0.5})
    assert main(["2", *at]) == 0
    assert re.search(
        r"\[runs\]\(quick/2-runs\.csv\)\W*2\b\D*\b3\b", (tmp_path / "README.md").read_text(encoding="utf-8")
    )
    assert len(list((tmp_path / "runs").glob("agents*"))) == 1


def test_figures_are_called_what_the_paper_calls_them():
    names = {name: figure.label for name, figure in FIGURES.items()}
    assert (names["1"], names["4-bottom"], names["9-10"]) == ("Fig. 1", "Fig. 4 bottom", "Figs. 9-10")
    assert names["predictors"] == "Predictors"


def test_runs_know_the_command_that_made_them(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/clbench/reproduce.py", "4-bottom"])
    assert circumstances("cpu")["command"] == ("python", "-m", "clbench.reproduce", "4-bottom")


def test_whoever_interrupts_learns_how_to_continue(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("studies.noise_curvature.cli.run_missing", interrupted)
    monkeypatch.setattr("sys.argv", ["clbench", "reproduce", "3", "--out", str(tmp_path)])
    assert main(["3", "--out", str(tmp_path)]) == 130
    assert f"clbench reproduce 3 --out {tmp_path}" in capsys.readouterr().err


def test_an_installation_without_the_study_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "STUDY", tmp_path / "studies")
    assert run(reproduce._command(), ["list", "--out", "x"], "clbench reproduce") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "studies") in line


def test_a_log_axis_needs_positive_values():
    still = joined(*(rows([[0.0, 0.0]], name, step_size="1e-3") for name in ("task accuracy", "volatility")))
    FIGURES["2"].draw(still, "title").canvas.draw()


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
