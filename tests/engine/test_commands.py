"""The command line: what is printed, what fails and how."""

import dataclasses
import functools
import io
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

import clbench
from clbench.commands.main import COMMANDS, main, main_of
from clbench.data import load_images, sources
from clbench.engine import run as engine_run
from clbench.errors import WriteError
from clbench.specs import PROTOCOLS
from tests.engine.agents import PLAIN
from tests.inline import in_this_process
from tests.processes import ends, run_python, wait_until, worker_processes
from tests.runs import manifest_in

evaluate = functools.partial(main_of, "evaluate")
FOLDER = "results/RandomLabelMNIST-v0-quick-1"
CLBENCH = "import sys; from clbench.commands.main import main; sys.argv[0] = 'bin/clbench'; sys.exit(main())"
SHORT = ["--tasks", "2", "--epochs", "2", "--images", "300", "--batch-size", "100", "--device", "cpu"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command line without any process: its exit code and what it prints, from another folder.

    Not by the fixture `inline`: these few short runs belong to the fast part of the suite.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = evaluate(arguments)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    with in_this_process():
        yield run


@pytest.fixture
def wide_terminal(monkeypatch):
    """Tables have the room that they need, however wide the terminal is that the tests run in."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.process
@pytest.mark.parametrize("module", ["clbench.evaluate", "clbench evaluate"])
def test_a_whole_evaluation_from_another_folder(tmp_path, wide_terminal, module):
    agents = ["agents.vanilla", "agents.reset"]
    start = ["-m", module] if " " not in module else ["-c", CLBENCH, "evaluate"]
    done = run_python(*start, *agents, *SHORT, "--seeds", "0,4", cwd=tmp_path)
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
    for name in agents:
        assert any(line.split()[:2] == [name, "done"] for line in lines)
    assert "steps/s" in done.stdout
    table = [line.split() for line in lines if line.startswith(("agents.vanilla  2", "agents.reset    2"))]
    assert len(table) == 2
    assert lines[-1] == f"{FOLDER}/   curves.png  indicators.png  scores.csv"
    command = manifest_in(tmp_path / FOLDER / "agents.vanilla").command
    shown = ("python", "-m", "clbench.evaluate") if " " not in module else ("clbench", "evaluate")
    assert command[: len(shown) + 2] == (*shown, *agents)
    # The table shows what the file holds.
    rows = pd.read_csv(tmp_path / FOLDER / "agents.reset" / "tasks.csv")
    shown = next(row for row in table if row[0] == "agents.reset")
    assert float(shown[2]) == pytest.approx(rows.accuracy.mean(), abs=6e-4)


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
    folder = tmp_path / FOLDER
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
        "scores.csv",
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
    assert set(manifest_in(tmp_path / FOLDER).undefined_indicators) == {"gradient_noise", "hessian_rank"}


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
        FOLDER,
    ):
        assert part in error
    assert "Traceback" not in done.stderr
    assert len(pd.read_csv(tmp_path / FOLDER / "tasks.csv")) == 3
    debug = command("mine.py", "--set", "fail_at=8", *SHORT, "--seeds", "2", "--debug")
    assert debug.returncode == 1
    assert 'raise RuntimeError("out of ideas")' in debug.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_keeps_what_is_finished_and_leaves_nothing_behind(tmp_path, launch, number, code):
    (tmp_path / "scratch").mkdir()
    options = ("--tasks", "900", "--epochs", "1", "--seeds", "2", "--device", "cpu")
    scratch = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    process = launch("clbench.evaluate", "agents.vanilla", *options, cwd=tmp_path, env=scratch)
    table = tmp_path / FOLDER / "tasks.csv"
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
    assert f"clbench resume {FOLDER}" in line
    assert len(table.read_text(encoding="utf-8").splitlines()) > 3
    assert manifest_in(table.parent).status == "interrupted"
    assert not list((tmp_path / "scratch").glob("clbench-*"))
    assert all(ends(pid) for pid in workers)


@pytest.mark.process
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_our_characters(tmp_path, monkeypatch, inline, encoding):
    monkeypatch.chdir(tmp_path)
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", printed)
    assert evaluate(["agents.vanilla", *SHORT, "--seeds", "1"]) == 0
    printed.flush()
    assert b"RandomLabelMNIST-v0" in printed.buffer.getvalue()


@pytest.mark.parametrize("start", [["evaluate", "--list"], ["list"]])
def test_list_names_all(start, capsys):
    assert main(start) == 0
    out = capsys.readouterr().out
    for name in (
        *PROTOCOLS,
        "RandomLabelMNIST-v0",
        "PermutedMNIST-v0",
        "agents.vanilla",
        "agents.wasserstein",
    ):
        assert name in out


def test_list_names_some(capsys):
    assert main(["list", "protocols"]) == 0
    out = capsys.readouterr().out
    assert "standard" in out
    assert "agents.vanilla" not in out
    assert main(["list", "protocol"]) == 2
    assert "'protocols'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["agents.vanilla", "clbench list"]),
        (["agents.vanila"], ["'agents.vanila'", "'agents.vanilla'", "clbench list"]),
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
    assert evaluate([*arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert not [part for part in named if part not in err], err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("results/*"))


def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys):
    assert evaluate(["agents.vanila", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "'agents.vanila'" in last


def test_options_may_stand_between_agents(capsys):
    assert evaluate(["agents.vanilla", "--quiet", "agents.vanilla"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "'agents.vanilla'" in line
    assert "clbench list" not in line  # it is known, but named twice


def test_another_source_with_all_its_images(tmp_path, monkeypatch, inline, capsys):
    images = dataclasses.replace(load_images("embedded"), source="torchvision")
    changed = {**sources.SOURCES, "torchvision": sources.Source(5_000, lambda data_dir: images)}
    for module in (sources, engine_run):
        monkeypatch.setattr(module, "SOURCES", changed)
    monkeypatch.setattr(sources.CACHE, "_data", {})
    short = ["--tasks", "1", "--epochs", "1", "--seeds", "1", "--device", "cpu"]
    short += ["--out", str(tmp_path / "a [bold] b")]
    assert evaluate(["agents.vanilla", "--source", "torchvision", *short]) == 0
    out = capsys.readouterr().out
    first = out.splitlines()[0]
    assert "5,000" in first
    assert "torchvision" in first
    assert f"{tmp_path / 'a [bold] b'}/RandomLabelMNIST-v0-quick-1/" in out


def test_a_full_disk_is_a_failed_run_and_one_line(tmp_path, monkeypatch, inline, capsys):
    def full(self, records):
        raise WriteError("cannot write 'tasks.csv': No space left\non device")

    monkeypatch.setattr("clbench.results.RunFolder.write_tasks", full)
    assert evaluate(["agents.vanilla", *SHORT, "--seeds", "1", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: cannot write 'tasks.csv': No space left on device\n"


def test_a_single_seed_by_its_number(tmp_path, command):
    done = command("agents.vanilla", *SHORT, "--seeds", "7,", "--quiet", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert manifest_in(tmp_path / "RandomLabelMNIST-v0-quick-1").config.seeds == (7,)


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="this machine has a CUDA device")
def test_absent_cuda(capsys):
    assert evaluate(["agents.vanilla", "--device", "cuda"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "cuda" in line
    assert "mps" not in line  # it is a device, but not here


# `--resume`, and `clbench` as one command.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--resume", "nowhere"], ["'nowhere'"]),
        (["--resume", "RUN", "--tasks", "3"], ["--tasks", "--resume"]),
        (["--resume", "RUN", "agents.l2"], ["'agents.l2'", "--resume"]),
        (["--resume", "RUN", "--set", "a=1"], ["--set", "--resume"]),
        (["--resume", "RUN", "--workers", "0"], ["workers=0", "1"]),
        (["agents.l2", "--accept-changes"], ["--accept-changes", "--resume"]),
    ],
)
def test_what_cannot_go_with_resume(command, arguments, named, tmp_path):
    (tmp_path / "mine.py").write_text(PLAIN, encoding="utf-8")
    if "RUN" in arguments:
        assert command("mine.py", "--set", "fail_at=8", *SHORT, "--seeds", "2").returncode == 1
    done = command(*[FOLDER if argument == "RUN" else argument for argument in arguments])
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert not [part for part in named if part not in line], line


def test_resume_by_either_command(command, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(PLAIN, encoding="utf-8")
    assert command("mine.py", "--set", "fail_at=8", *SHORT, "--seeds", "2").returncode == 1
    again = command("--resume", FOLDER, "--quiet")
    assert again.returncode == 1  # it fails at the same step again
    assert again.stdout.splitlines()[-1] == FOLDER  # after what the agent prints
    assert main(["resume", FOLDER, "--quiet"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == FOLDER


def test_clbench_names_its_commands_and_version(capsys):
    for flag in ("--help", "-h"):
        assert main([flag]) == 0
        out = capsys.readouterr().out
        assert not [name for name in COMMANDS if f"  {name} " not in out]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clbench {clbench.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["evalute", "agents.vanilla"], ["'evalute'", "'evaluate'"]),
        (["evaluate", "agents.vanilla", "--taks", "3"], ["'--taks'", "'--tasks'"]),
        (["resume"], ["FOLDER"]),
        (["resume", "nowhere"], ["'nowhere'"]),
        (["resume", "nowhere", "--tasks", "3"], ["'--tasks'"]),
    ],
)
def test_errors_of_clbench_are_one_line(arguments, named, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert not [part for part in named if part not in line], line


@pytest.mark.process
@pytest.mark.parametrize("name", ["evaluate", "resume", "list"])
def test_each_command_is_a_module(name):
    done = run_python("-m", f"clbench.{name}", "-h")
    assert done.returncode == 0, done.stderr
    assert f"python -m clbench.{name}" in done.stdout


@pytest.mark.process
def test_help_loads_no_heavy_package():
    script = (
        "import sys\nfrom clbench.commands.main import load\n"
        "for name in ('evaluate', 'resume', 'sweep', 'compare', 'list', 'leaderboard'):\n    load(name)\n"
        "print({'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    assert run_python("-c", script).stdout.strip() == "set()"
