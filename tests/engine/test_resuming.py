"""What `clbench resume` accepts and refuses, and what it says of it."""

import re
import shutil
from pathlib import Path

import pytest

import clbench
from clbench.commands.main import main_of
from clbench.errors import AgentError, DataError, ResumeError
from clbench.observing import DEFINITIONS
from clbench.results import Checkpoints, RunFolder
from tests.cases import SHORT
from tests.engine.agents import FAILING, FORGETFUL
from tests.inline import in_this_process
from tests.runs import edit_json, manifest_in, write

TINY = {**SHORT, "seeds": 1, "device": "cpu"}
RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"


@pytest.fixture(scope="module")
def failed_once(tmp_path_factory):
    """A folder with an agent and a run of it that failed half-way."""
    place = tmp_path_factory.mktemp("failed")
    (place / "failing.py").write_text(FAILING, encoding="utf-8")
    flags = ["--tasks", "2", "--epochs", "2", "--images", "300", "--batch-size", "100", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch, in_this_process():
        patch.chdir(place)
        assert main_of("evaluate", ["failing.py", "--seeds", "1", *flags, "--quiet"]) == 1
    return place


@pytest.fixture
def failed(failed_once, tmp_path, monkeypatch, inline, capsys):
    """The folder of a run that failed half-way, in the working folder."""
    place = tmp_path / "copy"
    shutil.copytree(failed_once, place)
    monkeypatch.chdir(place)
    return next((place / "results").iterdir())


def refused(capsys, *arguments, command="resume"):
    """The one line by which a command refuses its arguments."""
    assert main_of(command, list(map(str, arguments))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def append(path, text):
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


# One run.


def test_a_changed_agent_is_refused_unless_accepted(failed, capsys):
    assert RunFolder(failed).checkpoints(0).newest()[1]["steps"] == 6
    append("failing.py", "\n# better now\n")
    line = refused(capsys, failed)
    assert "failing.py" in line
    assert "--accept-changes" in line
    with pytest.raises(ResumeError, match=r"failing\.py"):
        clbench.resume(failed)
    assert main_of("resume", [str(failed), "--accept-changes", "--quiet"]) == 0
    manifest = manifest_in(failed)
    assert manifest.resumed[0].accepted_changes == ("agent",)
    assert manifest.resumed[0].steps == {"0": 6}
    assert len(RunFolder(failed).read_tasks()) == 2
    line = refused(capsys, failed)
    assert f"'{failed}'" in line
    assert manifest.status in line
    with pytest.raises(ResumeError, match=re.escape(f"'{failed}'")):
        clbench.resume(failed)


def test_a_changed_config_is_refused_unless_accepted(failed, capsys):
    edit_json(failed / "run.json", lambda data: data["config"]["stream"].update(num_tasks=3))
    line = refused(capsys, failed)
    for part in (f"'{failed}'", "run.json", "stream", "--accept-changes"):
        assert part in line
    with pytest.raises(ResumeError, match=r"\bstream\b.*run\.json"):
        clbench.resume(failed)
    assert main_of("resume", [str(failed), "--accept-changes", "--quiet"]) == 0
    assert len(RunFolder(failed).read_tasks()) == 3
    assert manifest_in(failed).resumed[0].accepted_changes == ("stream of job 0",)


def test_other_images_are_refused(failed, capsys):
    edit_json(failed / "run.json", lambda data: data["data"].update(sha256="f" * 64))
    line = refused(capsys, failed)
    for part in ("embedded", "ffffffff", "--data-dir"):
        assert part in line
    with pytest.raises(DataError, match=r"embedded.*ffffffff.*--data-dir"):
        clbench.resume(failed)


def test_the_time_of_a_killed_session_is_that_of_its_tasks(failed):
    def killed(data):
        data["status"] = "running"
        data["timing"] = {"seconds": 0.0, "steps_per_second": None}  # which is written at the end only

    edit_json(failed / "run.json", killed)
    _, checkpoint = RunFolder(failed).checkpoints(0).newest()
    for record in checkpoint["records"]:
        if record["event"] == "TaskRecord":
            record["seconds"] = 1000.0
    RunFolder(failed).checkpoints(0).save(checkpoint["steps"], checkpoint)
    assert main_of("resume", [str(failed), "--accept-changes", "--quiet"]) == 0
    assert 1000 < manifest_in(failed).timing.seconds < 2000


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for steps in (6, 12, 18):
        checkpoints.save(steps, {"steps": steps})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000012.state", "000000000018.state"]
    newest = tmp_path / "000000000018.state"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert checkpoints.newest() == (tmp_path / "000000000012.state", {"steps": 12})
    (tmp_path / "000000000012.state").write_bytes(b"nonsense")
    assert checkpoints.newest() is None
    assert Checkpoints(tmp_path / "nothing").newest() is None


def test_a_damaged_checkpoint_costs_a_task_not_the_run(failed, capsys):
    (path,) = RunFolder(failed).checkpoints(0).folder.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    assert main_of("resume", [str(failed), "--quiet"]) == 1  # from the start: it fails at the same step
    assert manifest_in(failed).resumed[0].steps == {}
    assert re.search(r"failing\.py.*\bstep 3\b", capsys.readouterr().err)


def test_a_checkpoint_of_another_version_is_refused(failed, capsys):
    _, checkpoint = RunFolder(failed).checkpoints(0).newest()
    RunFolder(failed).checkpoints(0).save(checkpoint["steps"], {**checkpoint, "version": 1})
    assert f"'{failed}'" in refused(capsys, failed)


def test_other_versions_are_noted(failed, capsys):
    edit_json(failed / "run.json", lambda data: data["versions"].update(torch="1.0"))
    assert main_of("resume", [str(failed), "--quiet"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    for part in ("torch", "1.0", manifest_in(failed).resumed[0].versions["torch"]):
        assert part in line
    assert "numpy" not in line


def test_a_run_of_older_definitions_resumes_and_says_so(failed, capsys):
    edit_json(failed / "run.json", lambda data: data.update(indicator_definitions=1))
    _, checkpoint = RunFolder(failed).checkpoints(0).newest()
    where = {"agent": "failing.py", "seed": 0, "task": 0, "step": 6, "layer": "fc1"}
    checkpoint["records"].append({
        "event": "IndicatorRecord", **where, "indicator": "noise_bound", "value": 0.0,
    })  # fmt: skip
    RunFolder(failed).checkpoints(0).save(checkpoint["steps"], checkpoint)
    assert main_of("resume", [str(failed), "--quiet"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"\b{DEFINITIONS}\b.*\b1\b", line)
    manifest = manifest_in(failed)
    assert (manifest.status, manifest.indicator_definitions) == ("complete", 1)
    assert manifest.resumed[0].indicator_definitions == DEFINITIONS
    text = (failed / "indicators.csv").read_text(encoding="utf-8")
    assert "failing.py,0,0,6,fc1,noise_bound," in text.splitlines()  # dead, as it is written today


# Schema 1, and no run at all.


@pytest.mark.parametrize("agents", [["a"], ["a", "b"]])
@pytest.mark.parametrize("status", ["interrupted", "complete"])
def test_a_run_of_schema_1_is_refused_in_one_line(tmp_path, capsys, agents, status):
    folder = write(tmp_path / "old", {name: {0: [0.5, 0.4]} for name in agents}, status=status)
    line = refused(capsys, folder.path)
    assert f"'{folder.path}'" in line
    assert "earlier version" in line
    assert len(clbench.load_results(folder.path).runs) == len(agents)


def test_kept_results_of_schema_1_load_and_are_refused(capsys):
    folder = RESULTS / "RandomLabelMNIST-v0-quick-1"
    assert f"'{folder}'" in refused(capsys, folder)
    results = clbench.load_results(folder)
    assert len(results.runs) > 1
    assert set(results.tasks.agent) == set(results.runs.agent)


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert f"'{folder}'" in refused(capsys, folder)
        with pytest.raises(ResumeError, match=re.escape(f"'{folder}'")):
            clbench.resume(folder)


def test_a_folder_with_several_evaluations_is_refused(failed, capsys):
    shutil.copytree(failed, failed.parent / "RandomLabelMNIST-v0-quick-2")
    line = refused(capsys, failed.parent)
    assert f"'{failed.parent}'" in line
    assert f"'{failed}'" in line


def test_a_run_recorded_by_hand_is_refused(failed, capsys):
    edit_json(failed / "run.json", lambda data: data.update(recorded="by hand"))
    assert f"'{failed}'" in refused(capsys, failed)


# Groups.


@pytest.fixture
def group(tmp_path, monkeypatch, inline, capsys):
    """A group folder with a complete run, and two that failed half-way; the agents' files are elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / "forgetful.py").write_text(FORGETFUL, encoding="utf-8")
    for name in ("first.py", "second.py"):
        (tmp_path / name).write_text(FAILING, encoding="utf-8")
    agents = [str(tmp_path / "elsewhere" / "forgetful.py"), "first.py", "second.py"]
    with pytest.raises(AgentError, match=r"first\.py.*second\.py"):
        clbench.evaluate(agents, **TINY, indicators="none", out=tmp_path / "out")
    capsys.readouterr()
    return next((tmp_path / "out").iterdir())


def test_of_a_group_only_what_is_unfinished_is_resumed(group, tmp_path):
    (tmp_path / "elsewhere" / "forgetful.py").unlink()  # the complete run does not need it
    complete = {path: path.stat().st_mtime_ns for path in (group / "forgetful.py").iterdir()}
    evaluation = clbench.resume(group)
    assert {path: path.stat().st_mtime_ns for path in (group / "forgetful.py").iterdir()} == complete
    assert [run.status for run in evaluation.runs] == ["complete"] * 3
    assert [run.config.agent.name for run in evaluation.runs] == ["forgetful.py", "first.py", "second.py"]
    assert {run.config.agent.name: len(run.resumed) for run in evaluation.runs} == {
        "forgetful.py": 0,
        "first.py": 1,
        "second.py": 1,
    }
    assert len(evaluation.tasks) == 3 * 2
    assert len(evaluation.scores) == 3
    assert (group / "scores.csv").read_text(encoding="utf-8").count(".py") == 3
    assert not list(group.glob("*/*.png"))
    with pytest.raises(ResumeError, match=re.escape(f"'{group}'")):
        clbench.resume(group)


def test_a_run_of_a_group_is_resumed_by_itself(group):
    evaluation = clbench.resume(group / "second.py")
    assert [run.config.agent.name for run in evaluation.runs] == ["second.py"]
    statuses = {path.name: manifest_in(path).status for path in group.iterdir() if path.is_dir()}
    assert statuses == {"forgetful.py": "complete", "first.py": "failed", "second.py": "complete"}


def test_a_group_with_a_changed_agent_is_left_as_it_was(group, capsys):
    append("second.py", "\n# better now\n")
    before = (group / "first.py" / "run.json").read_bytes()
    assert "second.py" in refused(capsys, group)
    with pytest.raises(ResumeError, match=r"second\.py"):
        clbench.resume(group)
    assert (group / "first.py" / "run.json").read_bytes() == before
    with RunFolder(group / "first.py").in_use():  # nothing holds it
        pass
    assert main_of("resume", [str(group), "--accept-changes", "--quiet"]) == 0


# Agents that cannot be resumed.


def test_an_agent_without_states_is_noted(tmp_path, monkeypatch, inline, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forgetful.py").write_text(FORGETFUL, encoding="utf-8")
    result = clbench.evaluate("forgetful.py", **TINY)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    for part in ("forgetful.py", " state_dict", "load_state_dict"):
        assert part in line
    assert not (result.folder / "state").exists()


def test_an_agent_whose_state_cannot_be_saved_is_noted_once(tmp_path, monkeypatch, inline, capsys):
    monkeypatch.chdir(tmp_path)
    text = "    def state_dict(self):\n        return {'me': self}\n    def load_state_dict(self, s): ...\n"
    (tmp_path / "odd.py").write_text(FORGETFUL + text, encoding="utf-8")
    clbench.evaluate("odd.py", **TINY)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    for part in ("odd.py", "seed 0", "state['loop']['agent']['me']", "Agent"):
        assert part in line
