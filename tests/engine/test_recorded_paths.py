"""No run folder, sweep or tracker's file holds a path of the machine, and runs resume all the same."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

import clbench
from clbench.commands.main import main_of
from clbench.data import sources
from clbench.engine.keyed_store import KeyedStore
from clbench.engine.node import _folder_here
from clbench.errors import DataError, OutputError
from clbench.places import DATA_DIR_VARIABLE
from clbench.results import RunFolder
from clbench.sweeps.cells import read_sweep
from clbench.sweeps.estimate import estimate_left, kind
from clbench.sweeps.ranking import sensitivity
from clbench.sweeps.store import create_folder
from clbench.tracking.tracker import TrackedRun
from tests.paths import AGENT, TINY, absolute, assert_holds_no_path, failed_run
from tests.runs import edit_json, manifest_in, write

CELL = {name: value for name, value in TINY.items() if name != "seeds"}
"""The same as settings of a sweep's cells."""


def test_a_run_holds_no_path(torchvision, drawn, monkeypatch):
    command = ["--data-dir", str(torchvision / "images"), f"--out={torchvision / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *command, f"{torchvision}/private/mine.py:Agent"])
    evaluation = absolute(torchvision)
    assert_holds_no_path(evaluation.folder, torchvision)
    assert not (evaluation.folder / "state").exists()
    manifest = manifest_in(evaluation.folder)
    assert manifest.command[-4:] == ("--data-dir", "DIR", "--out=DIR", "mine.py:Agent")
    assert manifest.config.stream.data_dir == "DIR"
    assert manifest.config.agent.name == "mine.py:Agent"
    assert manifest.config.agent.arguments == {"gate": "", "weights": "w.pt"}
    assert manifest.agent_source.file == "mine.py"
    assert set(evaluation.tasks["agent"]) == {"mine.py:Agent"}
    assert clbench.load_results(evaluation.folder).tasks["accuracy"].equals(evaluation.tasks["accuracy"])


def test_files_of_one_name_are_two_agents(machine, inline):
    (machine / "work" / "mine.py").write_text(AGENT, encoding="utf-8")
    shutil.copytree(machine / "private", machine / "other")
    agents = [f"{machine}/{folder}/mine.py" for folder in ("private", "other", "work")]
    evaluation = clbench.evaluate(agents, **TINY, indicators="none", out=machine / "out")
    names = ["mine.py", "mine.py (2)", "mine.py (3)"]
    assert [config.agent.name for config in evaluation.configs] == names
    assert set(evaluation.tasks["agent"]) == set(names)
    assert_holds_no_path(evaluation.folder, machine)


def test_a_failed_run_holds_no_path_and_resumes(torchvision, inline):
    folder = failed_run(torchvision)
    assert_holds_no_path(folder, torchvision)
    assert "'gate.txt'" in manifest_in(folder).failures[0].error
    resumed = clbench.resume(folder)
    assert manifest_in(folder).resumed[0].steps == {"0": 6}
    assert resumed.records[-1].task == 1  # with the gate of this machine
    assert_holds_no_path(folder, torchvision)
    assert not (folder / "state").exists()


def test_a_run_resumes_from_another_working_folder(torchvision, inline, monkeypatch):
    folder = failed_run(torchvision)
    monkeypatch.chdir(torchvision / "private")
    clbench.resume(folder)
    assert manifest_in(folder).status == "complete"


def test_a_run_that_can_be_read_has_its_folders(torchvision, inline, monkeypatch):
    def killed(folder, manifest):
        before(folder, manifest)
        raise KeyboardInterrupt

    before = RunFolder.write_manifest
    monkeypatch.setattr(RunFolder, "write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        absolute(torchvision)
    (path,) = (torchvision / "out").iterdir()
    folder = RunFolder(path)
    assert folder.read_private("paths")["location"] == f"{torchvision}/private/mine.py:Agent"
    config = folder.read_manifest(private_paths=True).config
    assert config.agent.reference == f"{torchvision}/private/mine.py:Agent"
    assert config.agent.arguments["weights"] == f"{torchvision}/private/w.pt"
    assert config.stream.data_dir == f"{torchvision}/images"
    assert folder.read_manifest().config.agent.arguments["weights"] == "w.pt"


@pytest.fixture
def elsewhere(torchvision, inline):
    """A run that comes to a machine that knows nothing of where it began but its agent's file."""
    folder = failed_run(torchvision)

    def forget_images(private):
        private["config"]["stream"]["data_dir"] = private["recorded"]["stream"]["data_dir"]

    edit_json(folder / "state" / "paths.json", forget_images)
    shutil.move(torchvision / "images", torchvision / "moved")
    return folder


def test_images_are_found_by_the_option(elsewhere, torchvision):
    assert main_of("resume", [str(elsewhere), "--data-dir", str(torchvision / "moved"), "--quiet"]) == 0
    assert_holds_no_path(elsewhere, torchvision)


def test_images_are_found_by_the_variable(elsewhere, torchvision, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(torchvision / "moved"))
    clbench.resume(elsewhere)
    manifest = manifest_in(elsewhere)
    assert manifest.status == "complete"
    assert manifest.config.stream.data_dir == f"${DATA_DIR_VARIABLE}"


def test_images_that_nobody_names_are_asked_for_in_one_line(elsewhere, capsys):
    assert main_of("resume", [str(elsewhere), "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "--data-dir" in line
    assert DATA_DIR_VARIABLE in line
    with pytest.raises(DataError, match="data_dir="):
        clbench.resume(elsewhere)


def test_a_run_of_the_variables_images_needs_the_variable(torchvision, inline, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(torchvision / "images"))
    folder = failed_run(torchvision)
    assert manifest_in(folder).config.stream.data_dir == f"${DATA_DIR_VARIABLE}"
    edit_json(folder / "state" / "paths.json", lambda private: private.update(config=private["recorded"]))
    monkeypatch.delenv(DATA_DIR_VARIABLE)
    with pytest.raises(DataError, match=DATA_DIR_VARIABLE):
        clbench.resume(folder)


def test_other_images_in_the_folder_are_refused(elsewhere, torchvision, monkeypatch):
    before = sources.SOURCES["torchvision"]
    other = dataclasses.replace(
        before, load=lambda at: dataclasses.replace(before.load(at), checksum="f" * 64)
    )
    monkeypatch.setattr(sources, "SOURCES", {**sources.SOURCES, "torchvision": other})
    with pytest.raises(DataError, match="sha256"):
        clbench.resume(elsewhere, data_dir=str(torchvision / "moved"))


# Sweeps.


def cell(**settings):
    """The run of a sweep with a single cell."""
    (run,) = read_sweep({"name": "a", "cell": [{"agent": "agents.vanilla", **settings}]}).runs
    return run


def test_the_copy_of_a_sweep_keeps_what_is_not_a_path(machine):
    file = machine / "sweep.toml"
    lines = ['name = "a"', "[[cell]]", f'agent = "{machine}/private/mine.py"', 'arguments.gate = "/fc1/x"']
    file.write_text("\n".join(lines), encoding="utf-8")
    create_folder(KeyedStore(machine / "out"), read_sweep(file))
    copy = (machine / "out" / "sweep.toml").read_text(encoding="utf-8")
    assert copy.splitlines()[2:] == ['agent = "mine.py"', 'arguments.gate = "/fc1/x"']


def test_a_sweep_holds_no_path(torchvision, inline):
    gate = torchvision / "private" / "gate.txt"
    what = {
        "name": "tiny",
        **CELL,
        "seeds": [0],
        "source": "torchvision",
        "data_dir": str(torchvision / "images"),
        "grid": [
            {"agent": [f"{torchvision}/private/mine.py", "agents.vanilla"]},
            {"agent": f"{torchvision}/private/mine.py", "arguments": {"gate": [str(gate)]}},
        ],
    }
    first = clbench.sweep(what, out=torchvision / "out")
    (why,) = first.failures.values()
    assert "gate" in why
    (log,) = first.folder.glob("*/failures.log")
    assert 'File "mine.py", line' in log.read_text(encoding="utf-8")
    assert_holds_no_path(first.folder, torchvision)
    gate.touch()
    second = clbench.sweep(what, out=torchvision / "out")
    assert second.failures == {}
    assert set(second.results.runs["status"]) == {"complete"}
    assert_holds_no_path(second.folder, torchvision)
    for path in second.folder.glob("mine.py*/run.json"):  # as an older clbench wrote it
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"mine.py"', json.dumps(f"{torchvision}/private/mine.py")), "utf-8")
    assert clbench.sweep(what, out=torchvision / "out").failures == {}
    runs = read_sweep(what).runs
    assert estimate_left(runs[-1:], KeyedStore(second.folder), 1, measure=False).runs == 0
    assert len({kind(run) for run in runs}) == 2


def test_cells_that_differ_in_folders_only_are_different(machine, inline):
    shutil.copytree(machine / "private", machine / "other")
    files = [f"{machine}/{folder}/mine.py" for folder in ("private", "other")]
    what = {
        "name": "apart",
        **CELL,
        "seeds": [0],
        "source": "embedded",
        "grid": [{"agent": files, "arguments": {"weights": files}}],
    }
    sweep = read_sweep(what)
    assert sweep.varied == ("agent", "arguments.weights")
    assert [run.label for run in sweep.runs] == [
        "mine.py weights=mine.py",
        "mine.py weights=mine.py (2)",
        "mine.py (2) weights=mine.py",
        "mine.py (2) weights=mine.py (2)",
    ]
    assert len({kind(run) for run in sweep.runs}) == 2
    done = clbench.sweep(what, out=machine / "out")
    assert done.failures == {}
    assert_holds_no_path(done.folder, machine)
    names = ("mine.py", "mine.py (2)")
    both = {(agent, weights) for agent in names for weights in names}
    runs = done.results.runs
    assert set(zip(runs["agent"], runs["arguments.weights"], strict=True)) == both
    (scores,) = sensitivity(done.report.rows, "weights").values()
    assert {agent: set(values) for agent, values in scores.items()} == {name: set(names) for name in names}
    table = done.ranking
    assert set(zip(table["agent"], table["arguments.weights"], strict=True)) == both


def test_a_nodes_name_is_shown_and_not_recorded(machine, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "alices-machine")
    progress = MagicMock()
    with (
        pytest.raises(OutputError, match="gone") as caught,
        _folder_here(KeyedStore(Path("gone")), cell(), progress),
    ):
        pass
    assert "alices-machine" in progress.note.call_args[0][0]
    assert "alices-machine" not in str(caught.value)


def test_where_images_are_is_not_part_of_a_cells_key(machine):
    keys = {cell(**data).config.key for data in ({}, *({"data_dir": str(machine / name)} for name in "ab"))}
    assert len(keys) == 1


# Comparisons and trackers.


def test_a_comparison_holds_no_path(machine):
    runs = [machine / place / "run-1" for place in ("here", "there")]
    for path in runs:
        write(path, {"a": {0: [0.5, 0.4, 0.3, 0.2]}})
    table = Path("table.csv")
    assert main_of("compare", [*map(str, runs), "--csv", str(table)]) == 0
    assert "alice" not in table.read_text(encoding="utf-8")
    assert "a (here/run-1),run-1,a" in table.read_text(encoding="utf-8")


def test_event_files_do_not_name_the_machine(machine, inline, monkeypatch):
    pytest.importorskip("torch.utils.tensorboard")
    from clbench.tracking.tensorboard import TensorBoard

    monkeypatch.setattr("socket.gethostname", lambda: "alices-machine")
    file = f"{machine}/private/mine.py"
    evaluation = clbench.evaluate(
        file,
        **{**TINY, "seeds": 2},
        arguments={"weights": file},
        indicators="none",
        log="tensorboard",
        out=machine / "out",
    )
    assert_holds_no_path(evaluation.folder, machine)
    (first,) = evaluation.folder.glob("tensorboard/mine.py/seed-0/events.out.tfevents.*.clbench.*")
    assert list(evaluation.folder.glob("tensorboard/mine.py/seed-1/events.out.tfevents.*.clbench.*"))
    assert b"arguments.weights|mine.py" in first.read_bytes()
    killed = first.rename(first.with_name(first.name.replace("clbench", "alices-machine")))
    TensorBoard(TrackedRun(evaluation.folder, evaluation.folder, {}, {}, {}, {}, print)).end("complete")
    assert first.exists()
    assert not killed.exists()
