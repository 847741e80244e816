"""Fixtures."""

import pytest
import torch

from clbench import registration
from clbench.evaluation import pool
from tests.forking import Worker
from tests.inline import in_this_process

STARTED = pool._worker


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for each other would crawl on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _forked():
    """Workers of this process need not import everything again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clbench.evaluation.pool._worker", Worker)
        yield


@pytest.fixture
def started(_forked, monkeypatch):
    """Workers are started as they are outside tests."""
    monkeypatch.setattr("clbench.evaluation.pool._worker", STARTED)


@pytest.fixture
def inline():
    """Jobs run in this process, without workers."""
    with in_this_process():
        yield


@pytest.fixture
def streams():
    """The registry, put back afterwards."""
    before = dict(registration.STREAMS)
    yield registration.STREAMS
    import gymnasium

    for id in set(registration.STREAMS) - set(before):
        gymnasium.registry.pop(f"{registration.NAMESPACE}/{id}", None)
    registration.STREAMS.clear()
    registration.STREAMS.update(before)
