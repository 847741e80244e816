"""Cells run on a Ray cluster of two nodes on this machine, one of which is killed."""

import gc
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

import clbench
from clbench.errors import OptionError, UnknownNameError
from clbench.results import RunFolder
from tests.processes import wait_until
from tests.sweeping.clusters import finished_tasks, kill, kill_worker, start
from tests.sweeping.conftest import FAILING, SLOW, TINY, frame

pytest.importorskip("ray")

LONGER = {**TINY, "num_tasks": 20, "epochs_per_task": 4, "num_samples": 500, "seeds": 1}
GRID = {"agent": "agents.vanilla", "arguments": {"step_size": [1e-3, 1e-2]}}

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves log files to the garbage collector
]


@pytest.fixture(scope="module")
def cluster():
    """A cluster with one node of one CPU; tests add the second one."""
    found = start()
    yield found
    found.shutdown()
    del found
    gc.collect()


@pytest.mark.stress
def test_a_lost_nodes_cell_goes_on_elsewhere(cluster, tmp_path, inline, capsys):
    node, killed, handler = cluster.add_node(num_cpus=1), [], signal.getsignal(signal.SIGTERM)
    killer = threading.Thread(target=kill, args=(node, killed))
    killer.start()
    what = {**LONGER, "grid": [GRID]}
    done = clbench.sweep(what, out=tmp_path / "ray", launcher="ray", ray_address=cluster.address)
    killer.join()
    cluster.remove_node(node)
    assert done.failures == {}
    folder, tasks = killed
    (session,) = RunFolder(folder).read_run()["resumed"]
    assert session["steps"]["0"] >= (tasks - 1) * LONGER["epochs_per_task"] * 10
    assert (
        len([run for run in done.folder.glob("*/run.json") if '"resumed"' in run.read_text(encoding="utf-8")])
        == 1
    )
    printed = capsys.readouterr()
    assert printed.out == ""
    (lost,) = (cell.label for cell in done.sweep.cells if folder.name.endswith(cell.key))
    (line,) = printed.err.splitlines()
    assert line.startswith(f"note: {lost}: ")
    assert len(done.results.tasks) == 2 * LONGER["num_tasks"]
    assert frame(done.results).equals(frame(clbench.sweep(what, out=tmp_path / "local").results))
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.stress
def test_a_lost_workers_cell_goes_on_from_a_url(cluster, tmp_path, inline, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    killer = threading.Thread(target=kill_worker, args=(cluster.head_node,))
    killer.start()
    what, url = {**LONGER, "cell": [{"agent": "agents.vanilla"}]}, f"file://{tmp_path}/there"
    done = clbench.sweep(what, out=url, launcher="ray", ray_address=cluster.address)
    killer.join()
    assert done.failures == {}
    assert re.search(r"^note: agents\.vanilla: ", capsys.readouterr().err, re.MULTILINE)
    (run,) = done.results.runs["run"]
    assert run.startswith("results/tiny/")
    (session,) = RunFolder(Path(run)).read_run()["resumed"]
    assert session["steps"]["0"] >= LONGER["epochs_per_task"] * 10
    here = clbench.sweep(what, out="local").results.tasks
    assert done.results.tasks["accuracy"].tolist() == here["accuracy"].tolist()
    (there,) = (tmp_path / "there" / "tiny").iterdir()
    assert sorted(path.name for path in there.rglob("*") if path.is_file()) == [
        "curves.png", "run.json", "tasks.csv",
    ]  # fmt: skip


def test_failures_and_what_agents_print(cluster, tmp_path, monkeypatch, capsys):
    failing, killing = tmp_path / "failing.py", tmp_path / "killing.py"
    failing.write_text("print('hello')\n" + FAILING, encoding="utf-8")
    killing.write_text(
        FAILING.replace(
            'raise RuntimeError("not ready")', "__import__('os').kill(__import__('os').getppid(), 9)"
        ),
        encoding="utf-8",
    )
    monkeypatch.setattr("clbench.sweeping.ray.LOSSES", 0)
    agents = (str(failing), str(killing), "agents.vanilla")
    what = {**TINY, "seeds": 1, "cell": [{"agent": agent} for agent in agents]}
    done = clbench.sweep(what, out=tmp_path, launcher="ray", ray_address=cluster.address)
    assert sorted(done.failures) == ["failing.py", "killing.py"]
    assert "not ready" in done.failures["failing.py"]
    assert re.search(r"\b1\b.*\bWorkerCrashedError: ", done.failures["killing.py"])  # lost workers
    (log,) = done.folder.glob("*failing*/failures.log")
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert (done.results.runs["status"] == "complete").sum() == 1
    assert "failing.py: hello" in capsys.readouterr().err


def test_interrupted_and_finished_by_a_cluster_of_its_own(cluster, launch, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    lines = [f"{key} = {value!r}" for key, value in LONGER.items()]
    cells = ['[[cell]]\nagent = "slow.py"', '[[cell]]\nagent = "agents.l2"\nnum_tasks = 1']
    (tmp_path / "tiny.toml").write_text("\n".join([*lines, *cells]), encoding="utf-8")
    call = ("tiny.toml", "--launcher", "ray", "--quiet")
    process = launch("clbench.sweep", *call, "--ray-address", cluster.address, cwd=tmp_path)
    wait_until(
        lambda: any(map(finished_tasks, tmp_path.glob("results/tiny/slow*"))), seconds=180, process=process
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert out == ""
    (line,) = err.splitlines()
    assert line.endswith(f" python -m clbench.sweep {' '.join(call)} --ray-address {cluster.address}")
    runs = clbench.load_results(tmp_path / "results").runs.to_dict("records")
    (begun,) = (run for run in runs if "slow" in run["run"])  # Ray may have begun with either cell
    assert begun["status"] == "interrupted"
    (tmp_path / "hurry").touch()
    again = launch("clbench.sweep", *call, "--workers", "2", cwd=tmp_path)
    out, err = again.communicate(timeout=300)
    assert (out, err) == ("results/tiny\n", "")
    assert again.returncode == 0
    done = clbench.load_results(tmp_path / "results")
    assert set(done.runs["status"]) == {"complete"}
    assert len(done.tasks) == LONGER["num_tasks"] + 1
    facts = RunFolder(tmp_path / begun["run"]).read_run()
    assert facts["resumed"][0]["steps"]["0"] > 0
    assert facts["command"][:4] == ["python", "-m", "clbench.sweep", "tiny.toml"]


def test_what_cannot_be_is_said_before_anything_starts(tmp_path, monkeypatch):
    what = {**TINY, "cell": [{"agent": "agents.vanilla"}]}
    with pytest.raises(OptionError, match=r"\bsomewhere\b.*\bray\b"):
        clbench.sweep(what, out=tmp_path, ray_address="somewhere")
    with pytest.raises(UnknownNameError, match="'rey'.*'ray'"):
        clbench.sweep(what, out=tmp_path, launcher="rey")
    with pytest.raises(OptionError, match=r"\bworkers\b"):
        clbench.sweep(what, out=tmp_path, launcher="ray", ray_address="somewhere", workers=2)
    with pytest.raises(OptionError, match=r"'127\.0\.0\.1:1'"):
        clbench.sweep(what, out=tmp_path, launcher="ray", ray_address="127.0.0.1:1")
    assert not list(tmp_path.glob("tiny/*/"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r'pip install "clbench\[ray\]"'):
        clbench.sweep(what, out=tmp_path, launcher="ray")
