"""Run folders record no paths of the machine, and interrupted runs can still be resumed."""

import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from PIL import Image

import clbench
from clbench.compare import main as compare
from clbench.data import LabelledData, load_images, sources
from clbench.errors import AgentError, DataError, OutputError
from clbench.evaluation.cli import main
from clbench.evaluation.resuming import _spec
from clbench.leaderboard.submitting import submit
from clbench.places import DATA_DIR_VARIABLE, private_in, put_back, recorded, recorded_in
from clbench.results import RunFolder
from clbench.specs import RunSpec
from clbench.sweeping.cells import read_sweep
from clbench.sweeping.estimate import amount_left, kind
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.node import _workplace
from clbench.sweeping.ranking import sensitivity
from clbench.tracking.tracker import TrackedRun
from tests.runs import write

ROOT = Path(__file__).parent.parent
TINY = {
    "num_tasks": 2,
    "epochs_per_task": 1,
    "num_samples": 600,
    "batch_size": 100,
    "device": "cpu",
}
AGENT = """
import pathlib

import numpy


class Agent:
    def __init__(self, spec, seed, gate="", weights=""):
        self.size, self.gate, self.steps = spec.batch_size, gate, 0

    def act(self, obs):
        return numpy.zeros(self.size, int)

    def learn(self, targets):
        self.steps += 1
        if self.gate and self.steps > 6 and not pathlib.Path(self.gate).exists():
            raise FileNotFoundError(2, "no gate", self.gate)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
"""


# The rule.


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Somebody's machine: a home, a working folder in it, images elsewhere; nothing says where those are."""
    home = tmp_path / "alice smith"
    for name in ("work/agents", "private", "images/MNIST"):
        (home / name).mkdir(parents=True)
    (home / "private" / "mine.py").write_text(AGENT, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(home / "work")
    return home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{home}/work/agents/own.py:Agent", "agents/own.py:Agent"),
        ("{home}/work", "."),
        ("{home}/work/../work/out", "out"),
        ("{home}/private/mine.py:Agent", "mine.py:Agent"),
        ("{home}/private", "DIR"),
        ("{home}/gone", "DIR"),
        ("{home}/images/MNIST", "DIR"),
        ("{home}/private/weights.safetensors", "weights.safetensors"),
        ("/home/j.doe", "DIR"),
        ("/home/someone/.venv/bin/python", "python"),
        ("--out={home}/private", "--out=DIR"),
        ("weights={home}/private/w.pt", "weights=w.pt"),
        ("a,{home}/private/mine.py:norm", "a,mine.py:norm"),
        ("cannot read {home}/private/w.pt: gone", "cannot read w.pt: gone"),
        ("cannot read '{home}/private/w.pt'", "cannot read 'w.pt'"),
        ("sqlite:///{home}/private/a.db", "sqlite:///a.db"),
        ("(TypeError, ip=10.0.0.7, 3)", "(TypeError, ip=HOST, 3)"),
        ("{home}/work/x is missing: look in {home}/secret/w.pt", "x is missing: look in w.pt"),
        ("{home}/work/a:{home}/b", "a:DIR"),
        ("--path={home}/work/a,{home}/b", "--path=a,DIR"),
        ("/cwd/x is missing: look in /home/alice/secret/w.pt", "DIR is missing: look in w.pt"),
        ("/cwd/a:/home/alice/b", "DIR:DIR"),
        ("'{home}/work/a is missing: look in {home}/b'", "'a is missing: look in DIR'"),
        ("{home}/a.pt: not found in the file", "a.pt: not found in the file"),
        ("/home/me/a.pt: not found in the file", "a.pt: not found in the file"),
        ("{home}/private/mine.py:12", "mine.py:12"),
        ("cannot read /data/Bob Jones/private/w.pt", "cannot read w.pt"),
        ("cannot read /data/Bob van Jones/a b/w.pt: gone", "cannot read w.pt: gone"),
        ("/data/Bob Jones/private is full", "DIR is full"),
        ("/data/bob/w.pt lacks fc1/weight", "w.pt lacks fc1/weight"),
        ("no {home}/my files/w.pt", "no w.pt"),
        ("no {home}/work/my files/w.pt", "no my files/w.pt"),
        ("{home}/private holds fc1/weight", "DIR holds fc1/weight"),
        ("look in {home}.", "look in DIR."),
        ("look in {home}.old/x", "look in DIR"),
        ("look for {home}/private/w.pt.", "look for w.pt."),
        ("-I/home/alice/include/x", "-IDIR"),
        ("cc -I/home/alice/include/x.so -O2", "cc -Ix.so -O2"),
        ("/srv/homes/john.doe", "DIR"),
        ("(/srv/homes/john.doe)", "(DIR)"),
        ("see </home/alice/x>", "see <DIR>"),
        ("<b>a</b> </table>", "<b>a</b> </table>"),
        ("PATH=/home/alice/bin:/home/bob/bin", "PATH=DIR:DIR"),
        ('File "{package}", line 3', 'File "clbench/places.py", line 3'),
        # Not paths of a machine.
        *[
            (text, text)
            for text in ("agents/l2.py:Agent", "../images", "~/images", "https://a.org/b/c.py", "")
        ],
        *[(text, text) for text in ("steps/s", "1 / 2", "and/or", "s3://bucket/runs", "cuda:0", "DIR")],
        *[(text, text) for text in ("2026-11-23T13:38:47", "$CLBENCH_DATA_DIR/MNIST", "mine.py:Agent")],
    ],
)
def test_the_rule(machine, text, expected):
    package = ROOT / "clbench" / "places.py"
    found = recorded(text.format(home=machine, package=package))
    assert found == expected
    assert recorded(found) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/fc1/weight", "/fc1/weight"),
        ('layer = "/fc1/weight"  # of /fc2/bias', 'layer = "/fc1/weight"  # of /fc2/bias'),
        ("{home}/private/w.pt", "w.pt"),
        ("{home}/private", "DIR"),
        ("/home/alice/w", "DIR"),
        ('weights = ["{home}/private/mine.py", "/fc1/weight"]', 'weights = ["mine.py", "/fc1/weight"]'),
    ],
)
def test_what_may_be_anything_is_recorded_otherwise_only_if_this_machine_has_such_a_folder(
    machine, text, expected
):
    assert recorded(text.format(home=machine), only_here=True) == expected
    data = {"agents": [{"name": "a", "arguments": {"layers": [text.format(home=machine)]}}]}
    assert recorded_in(data)["agents"][0]["arguments"]["layers"] == [expected]


def test_a_user_without_a_home_and_a_working_folder_that_is_gone(machine, monkeypatch):
    def nobody(_):
        raise KeyError

    (machine / "gone").mkdir()
    monkeypatch.chdir(machine / "gone")
    (machine / "gone").rmdir()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert recorded("/home/alice/mine.py:Agent") == "mine.py:Agent"
    assert recorded("no file /home/alice/secret/w.pt") == "no file w.pt"
    monkeypatch.setenv(DATA_DIR_VARIABLE, "images")
    assert recorded("/home/alice") == "DIR"


def test_what_the_variable_names_is_recorded_by_its_name(machine, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(machine / "images"))
    assert recorded(str(machine / "images")) == f"${DATA_DIR_VARIABLE}"
    assert recorded(f"{machine}/images/MNIST") == f"${DATA_DIR_VARIABLE}/MNIST"
    assert recorded(f"no MNIST in {machine}/images/MNIST") == f"no MNIST in ${DATA_DIR_VARIABLE}/MNIST"
    assert recorded(f"{machine}/images-2") == "DIR"


@pytest.mark.parametrize("place", ["/", ".."])
def test_nothing_is_relative_to_what_homes_are_in(machine, monkeypatch, place):
    monkeypatch.chdir(machine / place)
    monkeypatch.setenv("HOME", str(machine / "private" / "home"))
    monkeypatch.chdir("/" if place == "/" else machine)
    assert recorded(f"{machine}/private") == "DIR"


def test_a_working_folder_behind_a_link(machine, monkeypatch):
    (machine / "link").symlink_to(machine / "work")
    monkeypatch.chdir(machine / "link")
    assert recorded(f"{machine}/link/agents") == "agents"
    assert recorded(f"{machine}/work/agents") == "agents"


def test_names_stay_and_private_texts_can_be_put_back(machine):
    spec = {
        "agents": [{"name": "/old/a.py", "arguments": {"name": f"{machine}/private", "rate": 0.1}}],
        "stream": {"data_dir": f"{machine}/images"},
    }
    seen = recorded_in(spec)
    assert seen["agents"] == [{"name": "/old/a.py", "arguments": {"name": "DIR", "rate": 0.1}}]
    private = json.loads(json.dumps(private_in(spec)))
    put_back(seen, private)
    assert seen == spec
    edited = {"agents": [], "stream": {"data_dir": "elsewhere"}}
    put_back(edited, private)
    assert edited == {"agents": [], "stream": {"data_dir": "elsewhere"}}


# Runs.


@pytest.fixture
def torchvision(machine, monkeypatch):
    """A source that reads the folder it is given, else the variable's, as the real one does."""
    images = load_images("embedded")

    def load(data_dir: str | None) -> LabelledData:
        named = data_dir or os.environ.get(DATA_DIR_VARIABLE)
        if named is None or not (Path(named) / "MNIST").is_dir():
            raise DataError(f"no MNIST in '{named}'")
        return dataclasses.replace(images, source="torchvision")

    changed = {**sources.SOURCES, "torchvision": sources.Source(5_000, load, "")}
    monkeypatch.setattr(sources, "SOURCES", changed)
    monkeypatch.setattr(sources.CACHE, "_data", {})
    return machine


def absolute(machine, seeds=1, **arguments):
    """An evaluation with all that may be a path given absolutely."""
    return clbench.evaluate(
        f"{machine}/private/mine.py:Agent",
        **TINY,
        seeds=seeds,
        source="torchvision",
        data_dir=str(machine / "images"),
        arguments={"weights": f"{machine}/private/w.pt", **arguments},
        indicators="none",
        out=machine / "out",
    )


def interrupt(machine):
    """A run that failed in its second task, since its gate was shut; it is open afterwards."""
    gate = machine / "private" / "gate.txt"
    with pytest.raises(AgentError) as caught:
        absolute(machine, gate=str(gate))
    gate.touch()
    return caught.value.evaluation.folder


def words_in(picture):
    """The texts in a PNG file."""
    with Image.open(picture) as image:
        return " ".join(f"{key} {value}" for key, value in image.info.items())


def assert_holds_no_path(folder, machine):
    """Outside `state/`, no file and no file's name tells of the machine."""
    private = [str(machine), str(machine.parent), "alice", "private", machine.parent.as_uri()]
    files = [path for path in folder.rglob("*") if path.is_file() and "state" not in path.parts]
    assert files
    for path in files:
        found = path.read_bytes().decode("latin-1")
        if path.suffix == ".png" and found:
            found = words_in(path)
        name = path.relative_to(folder).as_posix()
        assert [one for one in private if one in found or one in name] == [], name


def test_a_run_holds_no_path(torchvision, drawn, monkeypatch):
    out = str(torchvision / "out")
    command = [
        "--data-dir",
        str(torchvision / "images"),
        f"--out={out}",
        f"{torchvision}/private/mine.py:Agent",
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate", *command])
    evaluation = absolute(torchvision)
    assert_holds_no_path(evaluation.folder, torchvision)
    assert not (evaluation.folder / "state").exists()
    facts = RunFolder(evaluation.folder).read_run()
    assert facts["command"][-4:] == ["--data-dir", "DIR", "--out=DIR", "mine.py:Agent"]
    assert facts["spec"]["stream"]["data_dir"] == "DIR"
    assert facts["spec"]["agents"] == [
        {"name": "mine.py:Agent", "arguments": {"gate": "", "weights": "w.pt"}}
    ]
    assert facts["agents"]["mine.py:Agent"]["file"] == "mine.py"
    assert set(evaluation.tasks["agent"]) == {"mine.py:Agent"}
    assert clbench.load_results(evaluation.folder).tasks["accuracy"].equals(evaluation.tasks["accuracy"])


def test_files_of_one_name_are_two_agents(machine, inline):
    (machine / "work" / "mine.py").write_text(AGENT, encoding="utf-8")
    shutil.copytree(machine / "private", machine / "other")
    agents = [f"{machine}/{folder}/mine.py" for folder in ("private", "other", "work")]
    evaluation = clbench.evaluate(agents, **TINY, seeds=1, indicators="none", out=machine / "out")
    assert [agent.name for agent in evaluation.spec.agents] == ["mine.py", "mine.py (2)", "mine.py (3)"]
    assert set(evaluation.tasks["agent"]) == {"mine.py", "mine.py (2)", "mine.py (3)"}
    assert_holds_no_path(evaluation.folder, machine)


def test_a_failed_run_holds_no_path_and_is_resumed_from_any_working_folder(torchvision, inline, monkeypatch):
    folder = interrupt(torchvision)
    assert_holds_no_path(folder, torchvision)
    assert "'gate.txt'" in RunFolder(folder).read_run()["failures"][0]["error"]
    monkeypatch.chdir(torchvision / "private")
    resumed = clbench.resume(folder)
    assert RunFolder(folder).read_run()["status"] == "complete"
    assert RunFolder(folder).read_run()["resumed"][0]["steps"] == {"0": 6}
    assert resumed.spec.agents[0].arguments["weights"] == f"{torchvision}/private/w.pt"
    assert_holds_no_path(folder, torchvision)
    assert not (folder / "state").exists()


def test_a_run_that_can_be_read_has_its_folders(torchvision, inline, monkeypatch):
    def killed(folder, facts):
        before(folder, facts)
        raise KeyboardInterrupt

    before = RunFolder.write_run
    monkeypatch.setattr(RunFolder, "write_run", killed)
    with pytest.raises(KeyboardInterrupt):
        absolute(torchvision)
    (folder,) = (torchvision / "out").iterdir()
    assert RunFolder(folder).kept("places")["agents"] == {
        "mine.py:Agent": f"{torchvision}/private/mine.py:Agent"
    }


def test_folders_that_a_run_kept_and_those_asked_for_are_put_back_once(torchvision, inline):
    folder = RunFolder(interrupt(torchvision))
    kept = folder.kept("places")
    asked = RunSpec.from_json(_spec(folder, folder.read_run(), None).to_json())
    asked = dataclasses.replace(asked, stream=dataclasses.replace(asked.stream, data_dir="/elsewhere"))
    for left, expected in (
        (kept["spec"], f"{torchvision}/images"),
        ([one for one in kept["spec"] if one[0] != ["stream", "data_dir"]], "/elsewhere"),
    ):
        folder.keep("places", {**kept, "spec": left})
        both = _spec(folder, folder.read_run(), asked)
        assert both.stream.data_dir == expected
        assert both.agents[0].place == f"{torchvision}/private/mine.py:Agent"
        assert both.agents[0].arguments["weights"] == f"{torchvision}/private/w.pt"


@pytest.fixture
def elsewhere(torchvision, inline):
    """A run that comes to a machine that knows nothing of where it began but its agent's file."""
    folder = interrupt(torchvision)
    kept = folder / "state" / "places.json"
    places = json.loads(kept.read_text(encoding="utf-8"))
    places["spec"] = [one for one in places["spec"] if one[0] != ["stream", "data_dir"]]
    kept.write_text(json.dumps(places), encoding="utf-8")
    shutil.move(torchvision / "images", torchvision / "moved")
    return folder


@pytest.mark.parametrize("by_option", [True, False])
def test_moved_images_are_found_by_the_option_or_the_variable(elsewhere, torchvision, monkeypatch, by_option):
    moved = str(torchvision / "moved")
    if not by_option:
        monkeypatch.setenv(DATA_DIR_VARIABLE, moved)
    option = ["--data-dir", moved] if by_option else []
    assert main(["--resume", str(elsewhere), "--quiet", *option]) == 0
    facts = RunFolder(elsewhere).read_run()
    assert facts["status"] == "complete"
    assert facts["spec"]["stream"]["data_dir"] == ("DIR" if by_option else f"${DATA_DIR_VARIABLE}")
    assert_holds_no_path(elsewhere, torchvision)


def test_images_that_nobody_names_are_asked_for_in_one_line(elsewhere, capsys):
    assert main(["--resume", str(elsewhere), "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "--data-dir" in line
    assert DATA_DIR_VARIABLE in line
    with pytest.raises(DataError, match="data_dir="):
        clbench.resume(elsewhere)


def test_a_run_of_the_variables_images_wants_the_variable(torchvision, inline, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(torchvision / "images"))
    folder = interrupt(torchvision)
    assert RunFolder(folder).read_run()["spec"]["stream"]["data_dir"] == f"${DATA_DIR_VARIABLE}"
    (folder / "state" / "places.json").write_text(
        json.dumps({"agents": {"mine.py:Agent": f"{torchvision}/private/mine.py:Agent"}}), encoding="utf-8"
    )
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


# Sweeps, submissions, trackers.


def test_the_copy_of_a_sweep_keeps_what_is_not_a_path(machine):
    file = machine / "sweep.toml"
    lines = ['name = "a"', "[[cell]]", f'agent = "{machine}/private/mine.py"', 'arguments.gate = "/fc1/x"']
    file.write_text("\n".join(lines), encoding="utf-8")
    folder = SweepFolder(machine / "out")
    folder.keep(read_sweep(file))
    kept = (machine / "out" / "sweep.toml").read_text(encoding="utf-8")
    assert kept.splitlines()[2:] == ['agent = "mine.py"', 'arguments.gate = "/fc1/x"']


def test_a_sweep_holds_no_path(torchvision, inline):
    gate = torchvision / "private" / "gate.txt"
    what = {
        "name": "tiny",
        **TINY,
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
        facts = path.read_text(encoding="utf-8")
        path.write_text(facts.replace('"mine.py"', json.dumps(f"{torchvision}/private/mine.py")), "utf-8")
    assert clbench.sweep(what, out=torchvision / "out").failures == {}
    (*_, cell) = read_sweep(what).cells
    assert amount_left([cell], SweepFolder(second.folder), 1, measure=False).cells == 0
    kinds = {kind(one) for one in read_sweep(what).cells}
    assert len(kinds) == 2


def test_cells_that_differ_only_in_folders_are_distinguished(machine, inline):
    shutil.copytree(machine / "private", machine / "other")
    files = [f"{machine}/{folder}/mine.py" for folder in ("private", "other")]
    what = {
        "name": "apart",
        **TINY,
        "seeds": [0],
        "source": "embedded",
        "grid": [{"agent": files, "arguments": {"weights": files}}],
    }
    sweep = read_sweep(what)
    assert sweep.varied == ("agent", "arguments.weights")
    assert [cell.label for cell in sweep.cells] == [
        "mine.py weights=mine.py",
        "mine.py weights=mine.py (2)",
        "mine.py (2) weights=mine.py",
        "mine.py (2) weights=mine.py (2)",
    ]
    assert len({kind(cell) for cell in sweep.cells}) == 2
    done = clbench.sweep(what, out=machine / "out")
    assert done.failures == {}
    assert_holds_no_path(done.folder, machine)
    both = {
        (agent, weights) for agent in ("mine.py", "mine.py (2)") for weights in ("mine.py", "mine.py (2)")
    }
    runs = done.results.runs
    assert set(zip(runs["agent"], runs["arguments.weights"], strict=True)) == both
    (scores,) = sensitivity(done.report.rows, "weights").values()
    assert {agent: set(own) for agent, own in scores.items()} == {
        agent: {"mine.py", "mine.py (2)"} for agent in ("mine.py", "mine.py (2)")
    }
    table = done.ranking
    assert set(zip(table["agent"], table["arguments.weights"], strict=True)) == both


def test_a_nodes_name_is_shown_and_not_recorded(machine, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "alices-machine")
    (cell,) = read_sweep({"name": "a", "cell": [{"agent": "agents.vanilla"}]}).cells
    board = MagicMock()
    with (
        pytest.raises(OutputError, match="gone") as caught,
        _workplace(SweepFolder(Path("gone")), cell, board),
    ):
        pass
    assert "alices-machine" in board.note.call_args[0][0]
    assert "alices-machine" not in str(caught.value)


def test_where_images_lie_is_not_what_a_cell_is(machine):
    def key(**settings):
        (cell,) = read_sweep({"name": "a", "cell": [{"agent": "agents.vanilla", **settings}]}).cells
        return cell.key

    assert key(data_dir=str(machine / "images")) == key(data_dir="elsewhere") == key()


def whole(evaluation):
    """The evaluation, as if it were by a whole protocol."""
    facts = RunFolder(evaluation.folder).read_run()
    facts["spec"]["overrides"] = {}
    RunFolder(evaluation.folder).write_run(facts)
    return evaluation


def cheap(monkeypatch):
    """Measure costs badly, and check no protocol."""
    monkeypatch.setattr("clbench.leaderboard.cost.ROUNDS", 1)
    monkeypatch.setattr("clbench.leaderboard.cost.STEPS", 1)
    monkeypatch.setattr("clbench.leaderboard.submitting.check_entry", lambda _: None)


def test_of_files_of_one_name_the_one_that_was_run_is_submitted(machine, inline, monkeypatch):
    shutil.copytree(machine / "private", machine / "other")
    other = machine / "other" / "mine.py"
    other.write_text(AGENT.replace("numpy.zeros", "numpy.ones"), encoding="utf-8")
    files = [f"{machine}/private/mine.py", str(other)]
    evaluation = whole(clbench.evaluate(files, **TINY, seeds=2, indicators="none", out=machine / "out"))
    cheap(monkeypatch)
    made = submit(evaluation.folder, machine / "board", "a", agent=str(other))
    assert made.run.agent_source.sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    assert made.agent == "mine.py"
    assert_holds_no_path(machine / "board", machine)


def test_an_agent_that_was_given_a_file_elsewhere_is_not_submitted(machine, inline, monkeypatch):
    file = f"{machine}/private/mine.py"
    settings = {**TINY, "seeds": 2, "arguments": {"weights": file}}
    evaluation = whole(clbench.evaluate(file, **settings, indicators="none", out=machine / "out"))
    cheap(monkeypatch)
    with pytest.raises(clbench.ClbenchError, match="weights='mine.py'") as caught:
        submit(evaluation.folder, machine / "board", "a", agent=file)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_absolute_path_is_submitted_by_its_file(torchvision, inline, monkeypatch):
    evaluation = whole(absolute(torchvision, seeds=2, weights=""))
    cheap(monkeypatch)
    board, images = torchvision / "board", str(torchvision / "images")
    with pytest.raises(DataError, match="--data-dir"):
        submit(evaluation.folder, board, "a")
    with pytest.raises(clbench.ClbenchError, match="--agent"):
        submit(evaluation.folder, board, "a", data_dir=images)
    file = f"{torchvision}/private/mine.py:Agent"
    made = submit(evaluation.folder, board, "a", agent=file, data_dir=images)
    assert made.agent == "mine.py:Agent"
    assert_holds_no_path(board, torchvision)


def test_a_comparison_holds_no_path(machine):
    runs = [machine / place / "run-1" for place in ("here", "there")]
    for path in runs:
        write(path, {"a": {0: [0.5, 0.4, 0.3, 0.2]}})
    table = Path("table.csv")
    assert compare([*map(str, runs), "--csv", str(table)]) == 0
    assert "alice" not in table.read_text(encoding="utf-8")
    assert "a (here/run-1),run-1,a" in table.read_text(encoding="utf-8")


def test_event_files_do_not_name_the_machine(machine, inline, monkeypatch):
    pytest.importorskip("torch.utils.tensorboard")
    from clbench.tracking.tensorboard import TensorBoard

    monkeypatch.setattr("socket.gethostname", lambda: "alices-machine")
    file = f"{machine}/private/mine.py"
    evaluation = clbench.evaluate(
        file,
        **TINY,
        seeds=2,
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
    TensorBoard(TrackedRun(evaluation.folder, {}, {}, {}, {}, print)).end("complete")
    assert first.exists()
    assert not killed.exists()


# The project's own files.

SOMEBODYS = re.compile(
    r"(?<![\w.$~<>-])(?:/(?:home|Users)/(?!me\b|someone\b|j\.doe\b)\w|/root\b|/work/|/tmp/|/mnt/|/private/var/|/var/folders/)"
    r"|\b[A-Za-z]:\\+Users\\"
)


ABSOLUTE = re.compile(  # what an option or a key says, but for the guides' example of a shared folder
    r"""--(?:data-dir|out|runs|folder)[ =]['"]?/(?!shared/)|['"]?\bdata_dir['"]? ?[:=] ?['"]/(?!shared/)"""
)


def tracked():
    """The files that git knows in this clone."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    # The clone may be another user's.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip(f"git does not list this clone's files: {listed.stderr.decode(errors='replace').strip()}")
    files = (ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name)
    return [path for path in files if path != Path(__file__) and path.is_file()]


def test_no_file_of_the_project_holds_a_path_of_somebodys_machine():
    found = []
    for path in tracked():
        text = path.read_bytes().decode("latin-1")
        if path.suffix == ".png":
            text = words_in(path)
        name = path.relative_to(ROOT)
        found += [f"{name}: {text[hit.start() : hit.start() + 60]!r}" for hit in SOMEBODYS.finditer(text)]
    assert found == []


def kept_texts(path):
    """All texts in a JSON or CSV file, keys too."""

    def texts(data):
        if isinstance(data, str):
            return [data]
        inner = [*data, *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else []
        return [text for one in inner for text in texts(one)]

    whole = path.read_text(encoding="utf-8")
    return texts(json.loads(whole) if path.suffix == ".json" else list(csv.reader(whole.splitlines())))


@pytest.mark.docs
def test_no_kept_result_and_no_document_names_a_folder_of_one_machine():
    files = [path for path in tracked() if path.suffix in (".json", ".csv", ".md")]
    found = []
    for path in files:
        name = path.relative_to(ROOT)
        text = path.read_text(encoding="utf-8")
        found += [f"{name}: {text[hit.start() : hit.start() + 60]!r}" for hit in ABSOLUTE.finditer(text)]
        if path.suffix != ".md" and name.parts[0] in ("docs", "leaderboard"):
            found += [f"{name}: {one!r}" for one in set(kept_texts(path)) if recorded(one) != one]
    assert files
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        '"data_dir": "/srv/alice"',
        "data_dir='/data/alice'",
        "--data-dir /opt/x",
        "--out=/scratch/alice",
        "--runs '/data/x'",
    ],
)
def test_what_such_a_folder_looks_like(text):
    assert ABSOLUTE.search(text)
    assert not ABSOLUTE.search(text.replace("/", "shared/", 1))


@pytest.mark.parametrize("text", ["/data/alice/mnist", "/srv/alice", "/opt/x", "/scratch/alice"])
def test_kept_texts_are_not_such_folders(tmp_path, text):
    (tmp_path / "a.json").write_text(json.dumps({"a": [{text: 1}, 2]}), encoding="utf-8")
    (tmp_path / "a.csv").write_text(f'1,"--set weights={text}/w.pt"\n', encoding="utf-8")
    for name in ("a.json", "a.csv"):
        assert any(recorded(one) != one for one in kept_texts(tmp_path / name))
