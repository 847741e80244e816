"""Small sweeps."""

TINY = {
    "name": "tiny", "num_tasks": 2, "epochs_per_task": 2, "num_samples": 100, "batch_size": 50,
    "seeds": 3, "device": "cpu", "indicators": "none",
}  # fmt: skip
STEPS = {"agent": ["agents.vanilla", "agents.reset"], "arguments": {"step_size": [1e-3, 1e-2]}}

FAILING = '''
import pathlib
import numpy


class Agent:
    """Fails while there is no file beside this one called "ready"."""

    def __init__(self, spec, seed, step_size=1e-3):
        self.size = spec.batch_size

    def act(self, obs):
        if not (pathlib.Path(__file__).parent / "ready").exists():
            raise RuntimeError("not ready")
        return numpy.zeros(self.size, int)

    def learn(self, targets):
        pass
'''

SLOW = '''
import pathlib
import time

from agents import vanilla


class Agent(vanilla.Agent):
    """Takes its time while there is no file beside this one called "hurry"."""

    def learn(self, targets):
        if not (pathlib.Path(__file__).parent / "hurry").exists():
            time.sleep(0.05)
        super().learn(targets)
'''


def frame(results):
    """All of a sweep's tasks with what was varied, but for the times and the folders above."""
    runs = results.runs[["run", "status", "arguments.step_size"]]
    tasks = results.tasks.merge(runs).drop(columns="seconds")
    tasks["run"] = tasks["run"].str.rpartition("/")[2]
    return tasks.sort_values(["run", "seed", "task"]).reset_index(drop=True)
