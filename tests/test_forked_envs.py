"""Environments in processes forked from one whose PyTorch has used several threads."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")]

PATIENCE = 120
"""Seconds; a child that hangs would hang for ever."""

BEGIN = """
import concurrent.futures, functools, multiprocessing
import gymnasium, numpy as np, torch
import clbench
torch.set_num_threads(2)
torch.ones(10**6).exp().sum()  # starts the threads
short = {"num_tasks": 2, "epochs_per_task": 1, "num_samples": 512}
make = functools.partial(clbench.make, "RandomLabelMNIST-v0", **short)

def walk(seed):
    env = make()
    obs, _ = env.reset(seed=seed)
    total = float(torch.from_numpy(obs).exp().sum())
    return total, env.step(np.ones(256, dtype=int))[1], torch.get_num_threads()
"""


def run(script):
    """What the script prints."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_async_environments_are_the_sync_ones():
    script = """
def walk(mode):
    envs = gymnasium.make_vec("clbench/RandomLabelMNIST-v0", num_envs=2, vectorization_mode=mode, **short)
    seen = list(envs.reset(seed=[3, 5]))
    for _ in range(6):  # beyond the end, where they start over
        seen += envs.step(np.ones((2, 256), dtype=int))
    envs.close()
    return seen

def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.array_equal(a, b)

one, two = walk("async"), walk("sync")
print(len(one), len(two), all(map(same, one, two)))
"""
    assert run(script) == ["32", "32", "True"]


def test_forked_processes_compute_on_one_thread():
    script = """
fork = multiprocessing.get_context("fork")
with fork.Pool(1) as pool:
    print(pool.apply(torch.get_num_threads), pool.apply(walk, [0])[-1])  # only the child has environments
make()
with fork.Pool(1) as pool:
    print(pool.apply(torch.get_num_threads))
with fork.Pool(2) as pool:
    pooled = pool.map(walk, [0, 1])
with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as executor:
    submitted = list(executor.map(walk, [0, 1]))
alone = [walk(seed) for seed in (0, 1)]
print(*(threads for *_, threads in pooled + submitted + alone))
print(all(np.allclose(a[:2], c[:2]) and a == b for a, b, c in zip(pooled, submitted, alone)))
"""
    assert run(script) == ["2", "1", "1", "1", "1", "1", "1", "2", "2", "True"]
