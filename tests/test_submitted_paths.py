"""Submissions of agents whose files are elsewhere on the machine hold none of its paths."""

import hashlib
import shutil
from dataclasses import replace

import pytest

import clbench
from clbench.errors import DataError
from clbench.leaderboard.submitting import submit
from clbench.results import find_runs
from tests.paths import AGENT, TINY, absolute, assert_holds_no_path


def whole(evaluation):
    """The evaluation, as if it were by a whole protocol."""
    for run in find_runs(evaluation.folder):
        config = replace(run.manifest.config, overrides={})
        run.folder.write_manifest(replace(run.manifest, config=config))
    return evaluation


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    """Measure costs badly, and check no protocol."""
    monkeypatch.setattr("clbench.leaderboard.submitting.ROUNDS", 1)
    monkeypatch.setattr("clbench.engine.timing.STEPS", 1)
    monkeypatch.setattr("clbench.leaderboard.submitting.check_entry", lambda _: None)


def test_of_files_of_one_name_the_one_that_was_run_is_submitted(machine, inline):
    shutil.copytree(machine / "private", machine / "other")
    other = machine / "other" / "mine.py"
    other.write_text(AGENT.replace("numpy.zeros", "numpy.ones"), encoding="utf-8")
    files = [f"{machine}/private/mine.py", str(other)]
    settings = {**TINY, "seeds": 2}
    evaluation = whole(clbench.evaluate(files, **settings, indicators="none", out=machine / "out"))
    made = submit(evaluation.folder, machine / "board", "a", agent=str(other))
    assert made.run.agent_source.sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    assert made.agent == "mine.py"
    assert_holds_no_path(machine / "board", machine)


def test_an_agent_that_was_given_a_file_elsewhere_is_not_submitted(machine, inline):
    file = f"{machine}/private/mine.py"
    settings = {**TINY, "seeds": 2, "arguments": {"weights": file}}
    evaluation = whole(clbench.evaluate(file, **settings, indicators="none", out=machine / "out"))
    with pytest.raises(clbench.ClbenchError, match="weights='mine.py'") as caught:
        submit(evaluation.folder, machine / "board", "a", agent=file)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_absolute_path_is_submitted_by_its_file(torchvision, inline):
    evaluation = whole(absolute(torchvision, seeds=2, weights=""))
    board, images = torchvision / "board", str(torchvision / "images")
    with pytest.raises(DataError, match="--data-dir"):
        submit(evaluation.folder, board, "a")
    with pytest.raises(clbench.ClbenchError, match="--agent"):
        submit(evaluation.folder, board, "a", data_dir=images)
    file = f"{torchvision}/private/mine.py:Agent"
    made = submit(evaluation.folder, board, "a", agent=file, data_dir=images)
    assert made.agent == "mine.py:Agent"
    assert_holds_no_path(board, torchvision)
