"""One sweep in three ways: on this machine, over two Ray nodes of which one is killed, and in three shards at once."""

import threading

import pytest

import clbench
from tests.sweeping.clusters import kill, start
from tests.sweeping.conftest import TINY, frame

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.stress, pytest.mark.filterwarnings("ignore::ResourceWarning")]

SWEEP = """
[[grid]]
agent = ["agents.vanilla", "agents.crelu", "agents.reset"]
env = ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]
arguments.step_size = [1e-3, 1e-2]
"""
SETTINGS = {**TINY, "num_tasks": 10, "epochs_per_task": 4, "num_samples": 500, "seeds": 2}


@pytest.fixture
def begin(launch, tmp_path):
    """Start the sweep in a folder of its own."""
    file = tmp_path / "tiny.toml"
    lines = [f"{key} = {value!r}" for key, value in SETTINGS.items()]
    file.write_text("\n".join([*lines, SWEEP]), encoding="utf-8")
    return lambda out, *more: launch("clbench.sweep", str(file), "--out", out, "--quiet", *more, cwd=tmp_path)


def finished(running, folder):
    """The frame of a sweep once its processes have ended well."""
    for process in running:
        _, err = process.communicate(timeout=1200)
        assert process.returncode == 0, err
    results = clbench.load_results(folder)
    assert len(results.runs) == 12
    return frame(results)


@pytest.fixture
def cluster():
    """A cluster with one node of one CPU."""
    made = start()
    yield made
    made.shutdown()


def test_here_on_a_cluster_that_loses_a_node_and_in_shards(begin, cluster, tmp_path):
    here = finished([begin("here")], tmp_path / "here")
    shards = [begin("shards", "--shard", f"{place}/3", "--workers", "1") for place in (1, 2, 3)]
    assert finished(shards, tmp_path / "shards").equals(here)
    node, killed = cluster.add_node(num_cpus=1), []
    killer = threading.Thread(target=kill, args=(node, killed))
    running = begin("ray", "--launcher", "ray", "--ray-address", cluster.address)
    killer.start()
    on_ray = finished([running], tmp_path / "ray")
    killer.join()
    folder, tasks = killed
    assert tasks >= 3
    assert '"resumed"' in (folder / "run.json").read_text(encoding="utf-8")
    assert on_ray.equals(here)
