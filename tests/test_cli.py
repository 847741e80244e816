"""The command line: what is printed, what fails and how."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from clbench.data import load_images, sources
from clbench.errors import WriteError
from clbench.evaluation.cli import main
from clbench.evaluation.jobs import Job
from clbench.evaluation.progress import Lines, Live, Tally, clock
from clbench.specs import PROTOCOLS, AgentEntry, RunSpec, StreamSpec
from tests.inline import in_this_process
from tests.processes import ends, wait_until, worker_processes
from tests.test_evaluation import PLAIN

SHORT = ["--tasks", "2", "--epochs", "2", "--images", "300", "--batch-size", "100", "--device", "cpu"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command line without any process: its exit code and what it prints, from another folder.

    Not by the fixture `inline`: these few short runs belong to the fast part of the suite.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(arguments)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    with in_this_process():
        yield run


@pytest.fixture
def wide_terminal(monkeypatch):
    """Tables have the room that they need, however wide the terminal is that the tests run in."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.process
def test_a_whole_run_from_another_folder(tmp_path, wide_terminal):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "clbench.evaluate",
            "agents.vanilla",
            "agents.reset",
            *SHORT,
            "--seeds",
            "0,4",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("RandomLabelMNIST-v0 ")
    for part in (
        "quick",
        *("num_tasks", "epochs_per_task", "batch_size", "num_samples"),
        *("2 tasks", "2 epochs", "2 seeds", "300", "embedded", "cpu"),
    ):
        assert part in lines[0]
    for name in ("agents.vanilla", "agents.reset"):
        assert any(line.split()[:2] == [name, "done"] for line in lines)
    assert "steps/s" in done.stdout
    table = [line.split() for line in lines if line.startswith(("agents.vanilla  2", "agents.reset    2"))]
    assert len(table) == 2
    folder = tmp_path / "results" / "RandomLabelMNIST-v0-quick-1"
    files = "curves.png  indicators.csv  indicators.png  run.json  tasks.csv"
    assert lines[-1] == f"{folder.relative_to(tmp_path)}/   {files}"
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert facts["command"][:5] == ["python", "-m", "clbench.evaluate", "agents.vanilla", "agents.reset"]
    # The table shows what the file holds.
    rows = (folder / "tasks.csv").read_text(encoding="utf-8").splitlines()[1:]
    own = [float(row.split(",")[4]) for row in rows if row.startswith("agents.reset")]
    shown = next(row for row in table if row[0] == "agents.reset")
    assert float(shown[2]) == pytest.approx(sum(own) / len(own), abs=6e-4)


@pytest.mark.process
def test_a_scheduled_run_shows_step_sizes_and_bounds(tmp_path, wide_terminal, command):
    flags = (*SHORT, "--seeds", "2", "--set", "every=2", "--indicators", "gradient_noise,sharpness")
    done = command("agents.perlayer", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    columns = ["effective", "noise", "volatility", "combined", "decisions"]
    at = next(place for place, line in enumerate(lines) if line.split() == columns)
    assert lines[at - 1].startswith("agents.perlayer")
    rows = [line.split() for line in lines[at + 2 : at + 5]]
    assert [row[0] for row in rows] == ["fc1", "fc2", "out"]
    folder = tmp_path / "results" / "RandomLabelMNIST-v0-quick-1"
    table = pd.read_csv(folder / "indicators.csv")
    assert list(table.columns) == ["agent", "seed", "task", "step", "layer", "indicator", "value"]
    own = table[(table.agent == "agents.perlayer") & (table.task == 1) & (table.layer == "fc1")]
    for name, shown in zip(("step_size", "effective_step_size", "noise_bound"), rows[0][1:], strict=False):
        assert float(shown) == pytest.approx(own[own.indicator == name].value.median(), rel=5e-3)
    assert {path.name for path in folder.iterdir()} == {
        "bounds.png",
        "curves.png",
        "indicators.csv",
        "indicators.png",
        "run.json",
        "step_sizes.png",
        "tasks.csv",
    }


def test_what_cannot_be_measured_is_said_if_it_was_asked_for(tmp_path, command):
    wanted = "gradient_noise,weight_norm,hessian_rank"
    asked = command("agents.batchnorm", *SHORT, "--seeds", "1", "--indicators", wanted)
    assert asked.returncode == 0
    (line,) = asked.stderr.splitlines()
    assert line.startswith("note: ")
    for part in ("agents.batchnorm", "gradient_noise", "hessian_rank", "per-sample gradients"):
        assert part in line
    assert "weight_norm" not in line
    facts = json.loads(
        (tmp_path / "results" / "RandomLabelMNIST-v0-quick-1" / "run.json").read_text(encoding="utf-8")
    )
    assert set(facts["undefined_indicators"]["agents.batchnorm"]) == {"gradient_noise", "hessian_rank"}


def test_quiet_prints_the_folder_alone(tmp_path, command):
    done = command("agents.vanilla", *SHORT, "--seeds", "1", "--quiet", "--out", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "runs" / "RandomLabelMNIST-v0-quick-1")


def test_a_failed_run_exits_with_1_and_keeps_what_is_finished(tmp_path, command):
    (tmp_path / "mine.py").write_text(PLAIN, encoding="utf-8")
    done = command("mine.py", "--set", "fail_at=8", *SHORT, "--seeds", "2")
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    for part in (
        *("mine.py", "RuntimeError", "out of ideas", "seed 1", "task 2", "step 3"),
        "results/RandomLabelMNIST-v0-quick-1",
    ):
        assert part in error
    assert "Traceback" not in done.stderr
    assert (
        len(
            (tmp_path / "results/RandomLabelMNIST-v0-quick-1/tasks.csv")
            .read_text(encoding="utf-8")
            .splitlines()
        )
        == 4
    )
    debug = command("mine.py", "--set", "fail_at=8", *SHORT, "--seeds", "2", "--debug")
    assert debug.returncode == 1
    assert 'raise RuntimeError("out of ideas")' in debug.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_keeps_what_is_finished_and_leaves_nothing_behind(tmp_path, launch, number, code):
    (tmp_path / "scratch").mkdir()
    options = ("--tasks", "900", "--epochs", "1", "--seeds", "2", "--device", "cpu")
    scratch = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    process = launch("clbench.evaluate", "agents.vanilla", *options, cwd=tmp_path, env=scratch)
    table = tmp_path / "results" / "RandomLabelMNIST-v0-quick-1" / "tasks.csv"
    wait_until(
        lambda: table.exists() and len(table.read_text(encoding="utf-8").splitlines()) > 3, process=process
    )
    workers = worker_processes(process.pid)
    assert workers
    process.send_signal(number)
    _, err = process.communicate(timeout=180)
    assert process.returncode == code
    (line,) = err.splitlines()
    assert line.startswith("interrupted")
    assert "python -m clbench.evaluate --resume results/RandomLabelMNIST-v0-quick-1" in line
    assert len(table.read_text(encoding="utf-8").splitlines()) > 3
    assert json.loads((table.parent / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert not list((tmp_path / "scratch").glob("clbench-*"))
    assert all(ends(pid) for pid in workers)


@pytest.mark.process
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_our_characters(tmp_path, monkeypatch, inline, encoding):
    monkeypatch.chdir(tmp_path)
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", printed)
    assert main(["agents.vanilla", *SHORT, "--seeds", "1"]) == 0
    printed.flush()
    assert b"RandomLabelMNIST-v0" in printed.buffer.getvalue()


def test_list_names_all(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    for name in (
        *PROTOCOLS,
        "RandomLabelMNIST-v0",
        "PermutedMNIST-v0",
        "agents.vanilla",
        "agents.wasserstein",
    ):
        assert name in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["agents.vanilla", "--list"]),
        (["agents.vanila"], ["'agents.vanila'", "'agents.vanilla'", "--list"]),
        (["agents.vanilla", "--env", "PermutdMNIST-v0"], ["'PermutdMNIST-v0'", "'PermutedMNIST-v0'"]),
        (["agents.vanilla", "--protocol", "quik"], ["'quik'", "'quick'"]),
        (["agents.vanilla", "--taks", "3"], ["'--taks'", "'--tasks'"]),
        (["agents.vanilla", "--task", "3"], ["'--task'", "'--tasks'"]),
        (["agents.vanilla", "--tasks", "-3"], ["num_tasks=-3", "1"]),
        (["agents.vanilla", "--tasks", "0"], ["num_tasks=0", "1"]),
        (["agents.vanilla", "--tasks", "two"], ["--tasks", "'two'"]),
        (["agents.vanilla", "--tasks"], ["--tasks", "--help"]),
        (["agents.vanilla", "--images", "5001"], ["num_samples=5,001", "5,000", "'embedded'"]),
        (["agents.vanilla", "--batch-size", "6000"], ["batch_size=6000", "num_samples=5000"]),
        (["agents.vanilla", "--seeds", "a"], ["--seeds 'a'", "3", "0,4,7", "7,"]),
        (["agents.vanilla", "--seeds", "1,1"], ["seeds", "1, 1"]),
        (["agents.vanilla", "--seeds", "0"], ["seeds=0", "1"]),
        (["agents.vanilla", "--step-size", "fast"], ["step_size='fast'"]),
        (["agents.vanilla", "--step-size", "-1"], ["step_size=-1", "0"]),
        (["agents.vanilla", "--set", "strength=1"], ["agents.vanilla", "'strength'", "step_size"]),
        (["agents.vanilla", "--set", "step_size"], ["'step_size'", "name=value"]),
        (["agents.vanilla", "--env-set", "relabel_fraction=2"], ["relabel_fraction=2", "0", "1"]),
        (["agents.vanilla", "--env-set", "colour=2"], ["'RandomLabelMNIST-v0'", "'colour'"]),
        (["agents.vanilla", "--env-set", "num_tasks=2"], ["--env-set", "num_tasks"]),
        (["agents.vanilla", "--step-size", "Infinity"], ["step_size=inf"]),
        (["json:JSONDecoder"], ["'json:JSONDecoder'", "act", "learn"]),
        (["agents.vanilla", "--env", "no_such_module:A-v0"], ["'no_such_module'", "ModuleNotFoundError"]),
        (["agents.vanilla", "--source", "imagenet"], ["'imagenet'", "embedded", "torchvision"]),
        (
            ["agents.vanilla", "--source", "torchvision", "--data-dir", "/nowhere"],
            ["'/nowhere'", "--data-dir", "--source embedded"],
        ),
        (["agents.vanilla", "--device", "gpu"], ["'gpu'", "cpu", "cuda", "mps"]),
        (["agents.vanilla", "--workers", "0"], ["workers=0", "1"]),
        (["agents.l2", "--scheduler", "perlayer"], ["'perlayer'", "'per-layer'"]),
        (["agents.l2", "--set", "warm=1.01"], ["warm=1.01", "per-layer"]),
        (["agents.perlayer", "--set", "gama=1"], ["agents.perlayer", "'gama'", "'gamma'"]),
        (["agents.perlayer", "--set", "cool=2"], ["cool=2", "0", "1"]),
        (["agents.perlayer", "--set", "gamma=high"], ["gamma='high'"]),
        (["agents.batchnorm", "--scheduler", "per-layer"], ["scheduler=per-layer", "volatility-only"]),
        (["agents.leaky_relu", "--set", "slope=Infinity"], ["slope=inf"]),
        (["agents.l2", "--set", "strength=-1"], ["strength=-1"]),
        (["agents.l2", "--indicators", "sharpnes"], ["'sharpnes'", "'sharpness'"]),
        (["agents.l2", "--indicators", "none,sharpness"], ["indicators", "'none'"]),
        (["agents.l2", "--indicators-every", "0"], ["indicators_every=0", "1"]),
        (["agents.vanilla", "--out", "/dev/null/x"], ["'/dev/null/x'"]),
    ],
)
def test_usage_errors_are_one_line_and_exit_with_2(arguments, named, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert not [part for part in named if part not in err], err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("results/*"))


def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys):
    assert main(["agents.vanila", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "'agents.vanila'" in last


def test_options_may_stand_between_agents(capsys):
    assert main(["agents.vanilla", "--quiet", "agents.vanilla"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "'agents.vanilla'" in line
    assert "--list" not in line  # it is known, but named twice


def test_another_source_with_all_its_images(tmp_path, monkeypatch, inline, capsys):
    """Not quiet: how many images there are is known only when they are loaded."""
    images = dataclasses.replace(load_images("embedded"), source="torchvision")
    changed = {**sources.SOURCES, "torchvision": sources.Source(60_000, lambda data_dir: images, "")}
    monkeypatch.setattr(sources, "SOURCES", changed)
    monkeypatch.setattr(sources.CACHE, "_data", {})
    short = [
        "--tasks",
        "1",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "a [bold] b"),
    ]
    assert main(["agents.vanilla", "--source", "torchvision", *short]) == 0
    out = capsys.readouterr().out
    first = out.splitlines()[0]
    assert "5,000" in first
    assert "torchvision" in first
    assert f"{tmp_path / 'a [bold] b'}/RandomLabelMNIST-v0-quick-1/" in out


def test_a_full_disk_is_a_failed_run_and_one_line(tmp_path, monkeypatch, inline, capsys):
    def full(self, records):
        raise WriteError("cannot write 'tasks.csv': No space left\non device")

    monkeypatch.setattr("clbench.results.RunFolder.write_tasks", full)
    assert main(["agents.vanilla", *SHORT, "--seeds", "1", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: cannot write 'tasks.csv': No space left on device\n"


def test_a_single_seed_by_its_number(tmp_path, command):
    done = command("agents.vanilla", *SHORT, "--seeds", "7,", "--quiet", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "RandomLabelMNIST-v0-quick-1" / "run.json").read_text(encoding="utf-8"))[
        "spec"
    ]["seeds"] == [7]


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="this machine has a CUDA device")
def test_absent_cuda(capsys):
    assert main(["agents.vanilla", "--device", "cuda"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "cuda" in line
    assert "mps" not in line  # it is a device, but not here


# Progress.


def jobs(parts=((0, 1), (2,))):
    stream = StreamSpec("A-v0", num_tasks=4, epochs_per_task=5, num_samples=2_560)
    return [Job(AgentEntry("a"), True, seeds, stream, "cpu", 1) for seeds in parts]


def test_tally_counts_steps_of_all_seeds():
    all_jobs = jobs()
    tally = Tally("a", all_jobs)
    assert tally.total == 3 * 50 * 4
    assert (tally.state, tally.seconds_left) == ("waiting", None)
    for index in (0, 1):
        tally.take(index, all_jobs[index], {"kind": "started"})
    tally.take(0, all_jobs[0], {"kind": "glimpse", "task": 0, "steps": 20, "accuracy": 0.25})
    assert (tally.steps, tally.task, tally.state, tally.accuracy) == (40, 0, "running", 0.25)
    tally.take(1, all_jobs[1], {"kind": "task", "task": 0, "seed": 2, "accuracy": 0.75})
    assert tally.steps == 90
    assert tally.accuracy == pytest.approx(0.5)  # the mean over jobs
    for seed, accuracy in ((0, 0.25), (1, 0.5)):
        tally.take(0, all_jobs[0], {"kind": "task", "task": 0, "seed": seed, "accuracy": accuracy})
    assert tally.accuracy == pytest.approx(0.5)  # the mean over seeds
    assert tally.tasks_finished == 1
    assert tally.task_accuracy(0) == pytest.approx(0.5)
    time.sleep(0.01)
    tally.take(0, all_jobs[0], {"kind": "glimpse", "task": 1, "steps": 75, "accuracy": 0.5})
    assert tally.steps == 200
    assert tally.task == 0
    assert tally.seconds_left == pytest.approx(400 / tally.steps_per_second)
    for index in (0, 1):
        tally.take(index, all_jobs[index], {"kind": "done"})
    assert tally.state == "done"


def test_one_failed_job_fails_the_agent():
    all_jobs = jobs()
    tally = Tally("a", all_jobs)
    tally.take(0, all_jobs[0], {"kind": "started"})
    tally.take(0, all_jobs[0], {"kind": "failed"})
    tally.take(1, all_jobs[1], {"kind": "started"})
    tally.take(1, all_jobs[1], {"kind": "done"})
    assert tally.state == "failed"


@pytest.mark.parametrize("kind", [Lines, Live])
def test_displays_show_task_accuracy_rate_and_time(kind):
    import io

    from rich.console import Console

    text = io.StringIO()
    display = kind(Console(file=text, width=120, force_terminal=kind is Live, highlight=False))
    all_jobs = jobs(((0,),))
    tally = Tally("my_agent", all_jobs)
    display.begin(RunSpec((AgentEntry("a"),), all_jobs[0].stream, "quick", {}, (0,)))
    display.update(tally)
    tally.take(0, all_jobs[0], {"kind": "started"})
    display.update(tally)
    tally.take(0, all_jobs[0], {"kind": "task", "task": 0, "seed": 0, "accuracy": 0.25})
    display.update(tally)
    display.output("my_agent", "a line [with] brackets")
    tally.take(0, all_jobs[0], {"kind": "done"})
    display.update(tally)
    display.close()
    shown = text.getvalue()
    for part in ("my_agent", "accuracy 0.25", "steps/s", "done"):
        assert part in shown
    if kind is Live:
        assert "a line [with] brackets" in shown


def test_clock():
    assert clock(3_725) == "1:02:05"
