"""Small sweeps, agents that fail or are slow, and results to compare."""

TINY = {
    "name": "tiny", "num_tasks": 2, "epochs_per_task": 2, "num_samples": 100, "batch_size": 50,
    "seeds": 3, "device": "cpu", "indicators": "none",
}  # fmt: skip
LONGER = {**TINY, "num_tasks": 20, "epochs_per_task": 4, "num_samples": 500, "seeds": 1}
STEPS = {"agent": ["agents.vanilla", "agents.reset"], "arguments": {"step_size": [1e-3, 1e-2]}}
GRID = {"agent": "agents.vanilla", "arguments": {"step_size": [1e-3, 1e-2]}}

FAILING = '''
import pathlib
import numpy


class Agent:
    """Fails while there is no file next to this one called "ready"."""

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
    """Takes its time while there is no file next to this one called "hurry"."""

    def learn(self, targets):
        if not (pathlib.Path(__file__).parent / "hurry").exists():
            time.sleep(0.05)
        super().learn(targets)
'''


def write_toml(path, settings, tables):
    """Write a sweep file and return its name."""
    lines = [f"{key} = {value!r}" for key, value in settings.items()]
    path.write_text("\n".join([*lines, tables]), encoding="utf-8")
    return path.name


def finished_tasks(folder):
    """Return how many tasks a run folder has."""
    table = folder / "tasks.csv"
    return len(table.read_text(encoding="utf-8").splitlines()) - 1 if table.exists() else 0


def frame(results):
    """Return all of a sweep's tasks with what was varied, without times and the folders above."""
    runs = results.runs[["run", "status", "arguments.step_size"]]
    tasks = results.tasks.merge(runs).drop(columns="seconds")
    tasks["run"] = tasks["run"].str.rpartition("/")[2]
    return tasks.sort_values(["run", "seed", "task"]).reset_index(drop=True)
