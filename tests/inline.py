"""Jobs without processes of their own: what a pool of workers gives, without the seconds that each takes to start.

A job and its messages go through JSON, threads are as many and denormal numbers are flushed to zero as in a worker, so
that results are the same to the bit; `test_jobs.py` compares them with a real pool's. For tests whose point is not the
processes.
"""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from clbench import jsondata
from clbench.engine.events import from_json, to_json
from clbench.engine.execution import run_jobs
from clbench.engine.job import Job
from clbench.engine.pool import use_pool
from clbench.results import RunFolder


class InThisProcess:
    """Takes the place of `Pool`: one group of jobs after another. What agents print is printed here."""

    def __init__(self, groups, workers):
        self._groups, self._stopping = groups, False

    def events(self):
        for group in self._groups:
            if self._stopping:
                return
            indices = list(group)
            # Without `data`: a worker maps the data, this process has it.
            data = _through_json(jsondata.to_json([replace(job, data="") for job in group.values()]))
            jobs = jsondata.from_json(list[Job], data, "jobs")
            for place, event in _made(run_jobs(jobs, stop=lambda: self._stopping), jobs[0].config.threads):
                yield indices[place], from_json(_through_json(to_json(event)))

    def stop(self):
        self._stopping = True

    def close(self):
        pass


def _through_json(what):
    return json.loads(json.dumps(what))


def _made(messages, threads):
    """The messages; only while one is made is this process like a worker."""
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # see `clbench.engine.worker`
    with contextlib.closing(messages):
        while True:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            torch.set_flush_denormal(True)
            try:
                message = next(messages, None)
            finally:
                torch.set_flush_denormal(False)
                torch.set_num_threads(before)
            if message is None:
                return
            yield message


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


def _write_empty_figure(folder, name, figure):
    (folder.path / f"{name}.png").touch()
