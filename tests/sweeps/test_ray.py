"""Sweeps on a Ray cluster of two nodes on this machine, one of which is killed."""

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
from tests.sweeps.cases import FAILING, GRID, LONGER, SLOW, TINY, finished_tasks, frame, write_toml
from tests.sweeps.clusters import kill, kill_worker, start

pytest.importorskip("ray")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves log files to the garbage collector
]


@pytest.fixture(scope="module")
def cluster():
    """A cluster with one node of one CPU; tests add the second one."""
    started = start()
    yield started
    started.shutdown()
    del started
    gc.collect()


def resumed(folder):
    """Return how many steps of its only job a run had done when it was resumed, which must have been once."""
    (session,) = RunFolder(folder).read_manifest().resumed
    return session.steps["0"]


@pytest.mark.stress
def test_a_lost_nodes_run_resumes_elsewhere(cluster, tmp_path, inline, capsys):
    node, killed, handler = cluster.add_node(num_cpus=1), [], signal.getsignal(signal.SIGTERM)
    killer = threading.Thread(target=kill, args=(node, killed))
    killer.start()
    what = {**LONGER, "grid": [GRID]}
    done = clbench.sweep(what, out=tmp_path / "ray", launcher="ray", ray_address=cluster.address)
    killer.join()
    cluster.remove_node(node)
    assert done.failures == {}
    folder, tasks = killed
    assert resumed(folder) >= (tasks - 1) * LONGER["epochs_per_task"] * 10
    assert len([run for run in done.results.stored if run.manifest.resumed]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (lost,) = (run.label for run in done.sweep.runs if folder.name.endswith(run.config.key))
    (line,) = printed.err.splitlines()
    assert line.startswith(f"note: {lost}: ")
    assert len(done.results.tasks) == 2 * LONGER["num_tasks"]
    assert frame(done.results).equals(frame(clbench.sweep(what, out=tmp_path / "local").results))
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.stress
def test_a_lost_workers_run_resumes_from_a_url(cluster, tmp_path, inline, monkeypatch, capsys):
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
    assert resumed(Path(run)) >= LONGER["epochs_per_task"] * 10
    here = clbench.sweep(what, out="local").results.tasks
    assert done.results.tasks["accuracy"].tolist() == here["accuracy"].tolist()
    (there,) = (tmp_path / "there" / "tiny").iterdir()
    assert sorted(path.name for path in there.rglob("*") if path.is_file()) == [
        "curves.png", "run.json", "tasks.csv",
    ]  # fmt: skip


EVERYWHERE = """
[[grid]]
agent = ["agents.vanilla", "agents.crelu", "agents.reset"]
env = ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]
arguments.step_size = [1e-3, 1e-2]
"""


@pytest.mark.stress
def test_here_on_a_cluster_that_loses_a_node_and_in_shards(cluster, launch, tmp_path):
    settings = {**TINY, "num_tasks": 10, "epochs_per_task": 4, "num_samples": 500, "seeds": 2}
    file = write_toml(tmp_path / "tiny.toml", settings, EVERYWHERE)

    def begin(out, *more):
        return launch("clbench.sweep", file, "--out", out, "--quiet", *more, cwd=tmp_path)

    def completed(running, out):
        for process in running:
            _, err = process.communicate(timeout=1200)
            assert process.returncode == 0, err
        results = clbench.load_results(tmp_path / out)
        assert len(results.runs) == 12
        return frame(results)

    here = completed([begin("here")], "here")
    shards = [begin("shards", "--shard", f"{index}/3", "--workers", "1") for index in (1, 2, 3)]
    assert completed(shards, "shards").equals(here)
    node, killed = cluster.add_node(num_cpus=1), []
    killer = threading.Thread(target=kill, args=(node, killed))
    running = begin("ray", "--launcher", "ray", "--ray-address", cluster.address)
    killer.start()
    on_ray = completed([running], "ray")
    killer.join()
    cluster.remove_node(node)
    folder, tasks = killed
    assert tasks >= 3
    assert resumed(folder)
    assert on_ray.equals(here)


def test_failures_and_what_agents_print(cluster, tmp_path, monkeypatch, capsys):
    failing, killing = tmp_path / "failing.py", tmp_path / "killing.py"
    failing.write_text("print('hello')\n" + FAILING, encoding="utf-8")
    killing.write_text(
        FAILING.replace(
            'raise RuntimeError("not ready")', "__import__('os').kill(__import__('os').getppid(), 9)"
        ),
        encoding="utf-8",
    )
    monkeypatch.setattr("clbench.engine.ray.LOSSES", 0)
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


def test_interrupted_and_completed_by_a_new_cluster(cluster, launch, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    cells = '[[cell]]\nagent = "slow.py"\n[[cell]]\nagent = "agents.l2"\nnum_tasks = 1'
    call = (write_toml(tmp_path / "tiny.toml", LONGER, cells), "--launcher", "ray", "--quiet")
    process = launch("clbench.sweep", *call, "--ray-address", cluster.address, cwd=tmp_path)
    wait_until(
        lambda: any(map(finished_tasks, tmp_path.glob("results/tiny/slow*"))), seconds=180, process=process
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert out == ""
    (line,) = err.splitlines()
    assert line.endswith(f" clbench sweep {' '.join(call)} --ray-address {cluster.address}")
    stored = clbench.load_results(tmp_path / "results").stored
    (slow,) = (run for run in stored if "slow" in run.name)  # Ray may have started with either run
    assert slow.manifest.status == "interrupted"
    (tmp_path / "hurry").touch()
    again = launch("clbench.sweep", *call, "--workers", "2", cwd=tmp_path)
    out, err = again.communicate(timeout=300)
    assert (out, err) == ("results/tiny\n", "")
    assert again.returncode == 0
    done = clbench.load_results(tmp_path / "results")
    assert set(done.runs["status"]) == {"complete"}
    assert len(done.tasks) == LONGER["num_tasks"] + 1
    assert resumed(slow.folder.path) > 0
    assert slow.folder.read_manifest().command[:4] == ("python", "-m", "clbench.sweep", "tiny.toml")


def test_what_is_impossible_is_refused_before_anything_starts(tmp_path, monkeypatch):
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
