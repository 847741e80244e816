"""Fixtures, and what each marker allows."""

import dataclasses
import functools
import os
import random
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

from clbench import registration
from clbench.data import load_images, sources
from clbench.engine.pool import Pool, use_pool
from clbench.errors import DataError
from clbench.places import DATA_DIR_VARIABLE
from tests import forking, processes
from tests.cases import small_networks
from tests.inline import in_this_process
from tests.paths import AGENT

STRESS_SEED = "CLBENCH_STRESS_SEED"
MAY_START_PYTHON = {"process", "ray", "browser", "docs", "stress"}
_running: list[pytest.Item] = []


def pytest_configure(config):
    """Choose the seed of kills at random moments: one for all processes of this session.

    Hypothesis has no deadlines: they would fail on a busy machine.
    """
    hypothesis.settings.register_profile("no deadline", deadline=None)
    hypothesis.settings.load_profile("no deadline")
    os.environ.setdefault(STRESS_SEED, str(random.SystemRandom().randrange(10**6)))


def pytest_report_header():
    """Say how to have the same moments again."""
    return f"kills at random moments: {STRESS_SEED}={os.environ[STRESS_SEED]} repeats them"


@pytest.fixture
def stress_seed():
    """The seed of random moments; shown with the test's output when it fails, and at the top."""
    print(f"{STRESS_SEED}={os.environ[STRESS_SEED]}")
    return int(os.environ[STRESS_SEED])


WHOLE_RUNS = {"start_python", "launch", "forked_workers", "inline", "drawn"}


def pytest_collection_modifyitems(items):
    """Tests that use some fixtures carry out whole runs, or start processes."""
    for item in items:
        if WHOLE_RUNS & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Remember which test is running."""
    _running[:] = [item]
    return (yield)


def _may_start_python(item):
    return bool(MAY_START_PYTHON & {mark.name for mark in item.iter_markers()})


def _refuse_unmarked():
    for item in _running:
        if not _may_start_python(item):
            pytest.fail(f"{item.nodeid} starts Python: mark it, with `@pytest.mark.process` for example")


@pytest.fixture(autouse=True, scope="session")
def _only_marked_tests_start_python():
    """The fast part of the suite stays fast."""
    start = subprocess.Popen.__init__

    def checked(self, args, *rest, **options):
        if not isinstance(args, str) and str(args[0]) == sys.executable:
            _refuse_unmarked()
        start(self, args, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", checked)
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for each other would crawl on a busy machine; denormal numbers are there in every test."""
    torch.set_num_threads(1)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def forked_workers():
    """Workers are forked, where that is safe, and need not import everything again."""
    with use_pool(functools.partial(Pool, start=forking.Worker) if sys.platform == "linux" else Pool):
        yield


@pytest.fixture(autouse=True)
def _no_process_is_left(request, monkeypatch):
    """What a test starts ends with it, however it ends."""
    if not _may_start_python(request.node):
        yield
        return
    mark = processes.new_mark()
    monkeypatch.setenv(processes.MARK, mark)
    yield
    processes.end_marked(mark)
    forking.end_all()


@pytest.fixture
def float64(monkeypatch):
    """New networks and batches are of double precision: two ways to train stay together to the last digits.

    In float32 their roundings, which differ from one processor to another, grow with every step.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr("agents.networks.DTYPE", torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(name="small_networks")
def _small_networks():
    """As `tests.cases.small_networks`."""
    with small_networks():
        yield


@pytest.fixture
def start_python(_no_process_is_left):
    """Start `python ARGUMENTS`; it ends with the test at the latest."""
    running = []

    def start(*arguments, **options):
        running.append(processes.start_python(*arguments, **options))
        return running[-1]

    yield start
    for process in running:
        processes.end(process)


@pytest.fixture
def launch(start_python):
    """Start `python -m module`; it ends with the test at the latest."""
    return functools.partial(start_python, "-m")


@pytest.fixture
def spawned_workers():
    """Workers are started as they are outside tests."""
    with use_pool(Pool):
        yield


@pytest.fixture
def inline():
    """Jobs run in this process, without workers, and figures of runs are not drawn."""
    with in_this_process():
        yield


@pytest.fixture
def drawn():
    """As `inline`, with the figures of runs."""
    with in_this_process(drawn=True):
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


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Somebody's machine: a home, a working folder in it, images elsewhere; nothing says where those are."""
    home = tmp_path / "alice smith"
    for name in ("work/agents", "private", "images/MNIST"):
        (home / name).mkdir(parents=True)
    (home / "private" / "mine.py").write_text(AGENT, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(home / "work")
    return home


@pytest.fixture
def torchvision(machine, monkeypatch):
    """A source that reads the folder it is given, else the variable's, as the real one does; on that machine."""
    images = load_images("embedded")

    def load(data_dir):
        named = data_dir or os.environ.get(DATA_DIR_VARIABLE)
        if named is None or not (Path(named) / "MNIST").is_dir():
            raise DataError(f"no MNIST in '{named}'")
        return dataclasses.replace(images, source="torchvision")

    changed = {**sources.SOURCES, "torchvision": sources.Source(5_000, load)}
    monkeypatch.setattr(sources, "SOURCES", changed)
    monkeypatch.setattr(sources.CACHE, "_data", {})
    return machine
