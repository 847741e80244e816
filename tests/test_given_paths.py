"""Paths as users give them, and files as their programs save them."""

import codecs
from pathlib import Path

import pytest

import clbench
from clbench.commands.main import main
from clbench.engine.requests import Request, check_request
from clbench.places import DATA_DIR_VARIABLE, folder_of, recorded
from clbench.records import TaskRecord
from clbench.results import RunFolder, find_runs
from clbench.results.tables import read_csv, to_csv
from clbench.specs import StreamSpec
from clbench.sweeps.cells import read_sweep
from clbench.sweeps.plan import plan_sweep
from tests.paths import AGENT, TINY
from tests.runs import records, write

ROWS = records({"a": {0: [0.5, 0.25]}})
SHORT = ["--seeds", "1", "--tasks", "1", "--epochs", "1", "--images", "600", "--batch-size", "100"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with an agent; the working folder is another."""
    (tmp_path / "home" / "work").mkdir(parents=True)
    (tmp_path / "home" / "mine.py").write_text(AGENT, encoding="utf-8")
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home" / "work")
    yield tmp_path / "home"
    assert not list((tmp_path / "home" / "work").glob("~*"))


def test_evaluate_and_resume(home, inline):
    evaluation = clbench.evaluate("~/mine.py", out="~/out", **TINY)
    assert evaluation.folder.parent == home / "out"
    assert [config.agent.name for config in evaluation.configs] == ["mine.py"]
    assert len(clbench.load_results("~/out").runs) == 1
    with pytest.raises(clbench.errors.ResumeError, match="complete"):
        clbench.resume(f"~/out/{evaluation.folder.name}")


def test_commands(home, inline):
    """As a shell hands them over: it leaves alone what follows an equals sign."""
    short = [*SHORT, "--device=cpu", "--quiet"]
    assert main(["evaluate", "one=~/mine.py", "two=~/mine.py", "--out=~/out", *short]) == 0
    assert main(["compare", "~/out", "--csv=~/table.csv", "--out=~/figure.svg"]) == 0
    assert (home / "table.csv").exists()
    assert (home / "figure.svg").exists()
    (home / "s.toml").write_text(
        'num_tasks = 1\nepochs_per_task = 1\nseeds = 1\ndevice = "cpu"\n[[cell]]\nagent = "~/mine.py"\n',
        encoding="utf-8",
    )
    assert main(["sweep", "~/s.toml", "--out=~/sweeps", "--quiet"]) == 0
    assert len(find_runs("~/sweeps/s")) == 1


def test_sweeps_in_python(home, inline):
    cell = {**TINY, "agent": "~/mine.py"}
    result = clbench.sweep({"name": "s", "cell": [cell]}, out="~/sweeps")
    assert result.folder == home / "sweeps" / "s"
    (planned,) = plan_sweep({"name": "s", "cell": [cell]}, out="~/sweeps").cells
    assert planned.status == "complete"
    assert planned.label == "mine.py"


def test_recorded_loops(home):
    env = clbench.record(clbench.make("RandomLabelMNIST-v0", num_tasks=1), out="~/out", agent="a")
    env.reset(seed=0)
    env.close()
    assert env.folder.parent == home / "out"


@pytest.mark.parametrize("given", ["~/images", Path("~/images")])
def test_folders_of_images(home, given, monkeypatch):
    assert StreamSpec("A-v0", data_dir=given).data_dir == str(home / "images")
    request = Request(agents="agents.l2", overrides={"data_dir": given}, device="cpu")
    assert check_request(request)[0].config.stream.data_dir == str(home / "images")
    monkeypatch.setenv(DATA_DIR_VARIABLE, "~/images")
    assert recorded(str(home / "images" / "MNIST")) == f"${DATA_DIR_VARIABLE}/MNIST"
    assert folder_of(f"${DATA_DIR_VARIABLE}/MNIST") == str(home / "images" / "MNIST")


def test_indicators_files(home):
    (home / "gap.py").write_text("def gap(at): return 0.0\n", encoding="utf-8")
    request = Request(agents="agents.l2", indicators="~/gap.py:gap", device="cpu")
    assert check_request(request)[0].config.indicators == (f"{home}/gap.py:gap",)


def german(text):
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
        lambda text: german(text).encode(),
        lambda text: codecs.BOM_UTF8 + german(text).replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", "\t").encode(),
    ],
    ids=["mark", "lines end as on Windows", "German", "German Excel", "tabs"],
)
def test_tables_as_spreadsheets_save_them(tmp_path, change):
    path = tmp_path / "tasks.csv"
    path.write_bytes(change(to_csv(ROWS, TaskRecord)))
    assert read_csv(path, TaskRecord) == ROWS


def test_files_that_an_editor_has_marked(tmp_path):
    folder = write(tmp_path / "run", {"a": {0: [0.5] * 4}}, seeds=(0,))
    for name in ("run.json", "tasks.csv"):
        path = folder.path / name
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert RunFolder(folder.path).read_manifest().config.agent.name == "a"
    assert clbench.load_results(folder.path).tasks.accuracy.tolist() == [0.5] * 4
    sweep = tmp_path / "s.toml"
    sweep.write_bytes(codecs.BOM_UTF8 + b'seeds = 1\r\n[[cell]]\r\nagent = "agents.l2"\r\n')
    assert len(read_sweep(sweep).runs) == 1
    agent = tmp_path / "marked.py"
    agent.write_bytes(codecs.BOM_UTF8 + AGENT.encode())
    assert check_request(Request(agents=str(agent), device="cpu"))[0].config.agent.name == "marked.py"
