"""Small sweeps, and a quick way to run them."""

from dataclasses import replace

import pytest

from clbench.evaluation.jobs import run_jobs

TINY = {
    "name": "tiny", "num_tasks": 2, "epochs_per_task": 2, "num_samples": 100, "batch_size": 50,
    "seeds": 3, "device": "cpu", "indicators": "none",
}  # fmt: skip
STEPS = {"agent": ["agents.vanilla", "agents.reset"], "arguments": {"step_size": [1e-3, 1e-2]}}


class InThisProcess:
    """Takes the place of `Pool`: the same jobs without processes of their own."""

    def __init__(self, groups, workers):
        self._groups = groups

    def messages(self):
        for group in self._groups:
            indices = list(group)
            for place, message in run_jobs([replace(job, data="") for job in group.values()]):
                yield indices[place], message

    def stop(self):
        pass

    def close(self):
        pass


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("clbench.sweeping.local.Pool", InThisProcess)
