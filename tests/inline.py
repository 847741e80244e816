"""Jobs in this process: the events of a pool of workers, without the seconds that each worker takes to start.

Jobs and events go through JSON, threads are as many and denormal numbers are flushed to zero as in a worker, so that
results are the same to the bit; `tests/engine/test_pool.py` compares them with a real pool's. For tests that are not
about processes.
"""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from clbench.engine.events import decode, encode
from clbench.engine.execution import run_jobs
from clbench.engine.job import Job
from clbench.engine.pool import use_pool
from clbench.jsondata import from_json, to_json
from clbench.results import RunFolder


class InThisProcess:
    """Runs one batch of jobs after another, in place of `Pool`. What agents print is printed here."""

    def __init__(self, batches, workers):
        self._batches, self._stopping = batches, False

    def events(self):
        for batch in self._batches:
            if self._stopping:
                return
            numbers = list(batch)
            # Without `data`: a worker maps the data, this process has it.
            jobs = [
                from_json(Job, json.loads(json.dumps(to_json(replace(job, data="")))))
                for job in batch.values()
            ]
            run = run_jobs(jobs, stop=lambda: self._stopping)
            for index, event in _as_in_a_worker(run, jobs[0].config.threads):
                yield numbers[index], decode(json.loads(json.dumps(encode(event))))

    def stop(self):
        self._stopping = True

    def close(self):
        pass


def _as_in_a_worker(events, threads):
    """Only while an event is made is this process like a worker."""
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # see `clbench.engine.worker`
    with contextlib.closing(events):
        while True:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            torch.set_flush_denormal(True)
            try:
                event = next(events, None)
            finally:
                torch.set_flush_denormal(False)
                torch.set_num_threads(before)
            if event is None:
                return
            yield event


@contextlib.contextmanager
def in_this_process(drawn=False):
    """Let evaluations, sweeps and verifications run their jobs in this process.

    Args:
        drawn: whether the figures of runs are drawn, most of a short run's time; else their files are empty.
    """
    with use_pool(InThisProcess), pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr(RunFolder, "write_figure", _write_empty_figure)
        yield


def _write_empty_figure(folder, name, figure, kind="png"):
    (folder.path / f"{name}.{kind}").touch()
