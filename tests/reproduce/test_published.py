"""The report in the repository comes from the files beside it, and those from runs."""

import re
import shutil
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest

from clbench.reproduce.figures import FIGURES
from clbench.reproduce.figures.predictors import SINGLE
from clbench.reproduce.making import CLAIMS, read_frame
from clbench.reproduce.predicting import predictors
from clbench.reproduce.report import PAGE, write_report

ROOT = Path(__file__).parent.parent.parent
PUBLISHED = ROOT / "docs" / "reproduction"
TABLES = sorted(path.relative_to(PUBLISHED) for path in PUBLISHED.glob("*/*-runs.csv"))


def test_the_report_is_what_its_files_give(tmp_path):
    copy = shutil.copytree(PUBLISHED, tmp_path / "copy")
    for name in (PAGE, CLAIMS):
        (copy / name).unlink()
    write_report(tuple(FIGURES.values()), copy)
    for name in (PAGE, CLAIMS):
        assert (copy / name).read_text() == (PUBLISHED / name).read_text()


def test_everything_was_made_at_quick():
    assert {path.name.removesuffix("-runs.csv") for path in TABLES if path.parent.name == "quick"} == set(
        FIGURES
    )


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_number_has_its_run(table):
    figure = FIGURES[table.name.removesuffix("-runs.csv")]
    runs = read_frame(figure, table.name, PUBLISHED, table.parent.name)
    finished = runs[runs["run"].notna()]
    assert (
        finished[["command", "commit", "seconds", "processor", "agent_sha256", "data_sha256"]]
        .notna()
        .all()
        .all()
    )
    assert not finished["uncommitted"].astype(bool).any()
    images = set(finished["command"].str.extract(r"--data-dir (\S+)")[0].dropna())
    assert images <= {"DIR", "$CLBENCH_DATA_DIR"}  # no machine's paths
    data = read_frame(figure, f"{figure.name}.csv", PUBLISHED, table.parent.name)
    places = list(figure.by)
    recorded = data[[*places, "run"]].drop_duplicates().apply(tuple, axis=1)
    assert set(recorded) == set(finished[[*places, "run"]].astype(str).apply(tuple, axis=1))
    if figure.summary:
        summary = read_frame(figure, figure.file, PUBLISHED, table.parent.name)
        again = predictors(data, SINGLE, resamples=1) if figure.name == "predictors" else figure.summary(data)
        numbers = [
            name for name in summary if not name.endswith(("_low", "_high"))
        ]  # the bootstrap takes long
        pd.testing.assert_frame_equal(again[numbers], summary[numbers], check_dtype=False, rtol=1e-6)


def stated_values():
    """Every number of a claim, of an indicator, and of a reason, by protocol and name; of several scales all."""
    values = defaultdict(list)
    for _, row in pd.read_csv(PUBLISHED / CLAIMS).iterrows():
        values[row["protocol"].partition(",")[0], row["claim"]].append(row["ours"])
    for path in PUBLISHED.glob("*/*-summary.csv"):
        protocol, summary = path.parent.name.partition(",")[0], pd.read_csv(path)
        if path.name.startswith("predictors"):
            names = summary["indicator"]
        else:
            names = summary["learner"] + ", " + summary["setting"] + ", " + summary["images"]
        for column in summary:
            for name, value in zip(names, summary[column], strict=True):
                values[protocol, f"{column} of {name}"].append(value)
    return values


def test_runs_that_the_guide_tells_task_by_task():
    from clbench.results import RunFolder

    guide = ROOT / "docs" / "guide"
    told = re.findall(
        r"((?:\d\.\d\d, )+\d\.\d\d)\s\(\[run\]\((\S+)/run\.json\)\)", (guide / "reproduction.md").read_text()
    )
    assert len(told) == 2
    for numbers, run in told:
        folder = RunFolder((guide / run).resolve())
        facts = folder.read_run()
        assert (facts["status"], facts["git"]["dirty"], facts["data"]["size"]) == ("complete", False, 60_000)
        assert [f"{task.accuracy:.2f}" for task in folder.read_tasks()] == numbers.split(", ")


def test_what_the_guide_says_of_it():
    """In the form "0.89 (*auc of volatility*)", or with a protocol other than quick "(*name*, standard)"."""
    text = " ".join((ROOT / "docs" / "guide" / "reproduction.md").read_text().split())
    values = stated_values()
    stated = re.findall(r"(-?[\d.]+) \(\*([^*]+)\*(?:, (\w+))?\)", text)
    assert len(stated) >= 20
    for number, name, protocol in stated:
        digits = len(number.partition(".")[2])
        (found,) = values[protocol or "quick", name]
        assert float(number) == pytest.approx(found, abs=0.51 * 10**-digits), name
