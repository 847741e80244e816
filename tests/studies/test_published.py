"""The report in the repository comes from the files beside it, and those from runs."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from studies.noise_curvature.claims import DATA, RUNS, SUMMARY
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.figures.predictors import SINGLE
from studies.noise_curvature.predicting import rank_indicators
from studies.noise_curvature.report import PAGE, write_report
from studies.noise_curvature.tables import CLAIMS, read_frame

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parent.parent.parent
PUBLISHED = ROOT / "docs" / "reproduction"
TABLES = sorted(path.relative_to(PUBLISHED) for path in PUBLISHED.glob("*/*-runs.csv"))


def test_the_report_is_what_its_files_give(tmp_path):
    copy = shutil.copytree(PUBLISHED, tmp_path / "copy")
    for name in (PAGE, CLAIMS):
        (copy / name).unlink()
    write_report(tuple(FIGURES.values()), copy)
    for name in (PAGE, CLAIMS):
        assert (copy / name).read_text(encoding="utf-8") == (PUBLISHED / name).read_text(encoding="utf-8")


def test_everything_was_made_at_quick():
    assert {path.name.removesuffix("-runs.csv") for path in TABLES if path.parent.name == "quick"} == set(
        FIGURES
    )


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_number_has_its_run(table):
    figure = FIGURES[table.name.removesuffix("-runs.csv")]
    runs = read_frame(figure, RUNS, PUBLISHED, table.parent.name)
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
    data = read_frame(figure, DATA, PUBLISHED, table.parent.name)
    places = list(figure.by)
    recorded = data[[*places, "run"]].drop_duplicates().apply(tuple, axis=1)
    assert set(recorded) == set(finished[[*places, "run"]].astype(str).apply(tuple, axis=1))
    if figure.summary:
        summary = read_frame(figure, SUMMARY, PUBLISHED, table.parent.name)
        again = (
            rank_indicators(data, SINGLE, resamples=1)
            if figure.name == "predictors"
            else figure.summary(data)
        )
        numbers = [
            name for name in summary if not name.endswith(("_low", "_high"))
        ]  # the bootstrap takes long
        pd.testing.assert_frame_equal(again[numbers], summary[numbers], check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize(
    "run", sorted((ROOT / "docs" / "results").glob("*/*/run.json")), ids=lambda run: run.parent.name
)
def test_runs_on_all_images_are_whole(run):
    facts = json.loads(run.read_text(encoding="utf-8"))
    assert (facts["status"], facts["git"]["dirty"], facts["data"]["size"]) == ("complete", False, 60_000)
