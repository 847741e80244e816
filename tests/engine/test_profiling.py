"""Where a run's time goes."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from clbench.commands.main import main_of
from clbench.engine import profiling
from clbench.engine.events import Failed, Finished
from clbench.engine.execution import run_jobs
from clbench.engine.profiling import LEARN, MEASURE, PREDICT, REST, SAVE, STREAM, WINDOW, Profile, TimedAgent
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord
from clbench.specs import StreamSpec
from tests.engine.jobs import job
from tests.runs import manifest_in

pytestmark = pytest.mark.process

STREAM_SPEC = StreamSpec(
    "RandomLabelMNIST-v0", num_tasks=2, epochs_per_task=8, num_samples=500, batch_size=100
)
STEPS = 2 * 8 * 5


CLOCK = SimpleNamespace(now=0.0)


class Sleeper:
    """Takes its time to learn, on a clock that nothing else moves, and none to predict; without `begin_task`."""

    def __init__(self, spec, seed):
        self.spec = spec

    def act(self, obs):
        return torch.zeros(len(obs), dtype=torch.int64)

    def learn(self, targets):
        CLOCK.now += 5.0


@pytest.fixture
def clock(monkeypatch):
    CLOCK.now = 0.0
    monkeypatch.setattr(profiling, "time", SimpleNamespace(perf_counter=lambda: CLOCK.now))


def events_of(agent, agent_class=None, stream=STREAM_SPEC, **changes):
    """The events of a job, by default of a profiled one."""
    classes = {agent: agent_class} if agent_class else {}
    profiled = job(agent, stream=stream, **{"profile": True, **changes})
    return [event for _, event in run_jobs([profiled], classes)]


def profile_of(agent, agent_class=None, **changes):
    """The rows of a job's profile, and all its events."""
    events = events_of(agent, agent_class, **changes)
    assert events[-1] == Finished(), events[-1]
    rows = [vars(event) for event in events if isinstance(event, ProfileRecord)]
    return pd.DataFrame(rows), events


def test_time_is_counted_where_it_arises_but_for_the_window(clock):
    rows, _ = profile_of("sleeper", Sleeper)
    parts = rows[rows.kind == "part"].set_index("name")
    assert list(parts.index) == [STREAM, PREDICT, LEARN, MEASURE, SAVE, REST]
    outside = STEPS - len(WINDOW)
    assert parts.seconds.to_dict() == {**dict.fromkeys(parts.index, 0.0), LEARN: 5.0 * outside}
    assert parts.share[LEARN] == 1
    assert parts.calls[PREDICT] == parts.calls[LEARN] == parts.calls[REST] == outside


def test_operators_are_those_of_the_window():
    rows, _ = profile_of("agents.vanilla")
    operators = rows[rows.kind == "operator"].set_index("name")
    # Three layers forward, by `addmm`; nothing else uses it.
    assert operators.calls["aten::addmm"] == 3 * len(WINDOW)
    assert operators.share.sum() <= 1
    assert operators.seconds.is_monotonic_decreasing


def test_measuring_is_a_separate_part():
    rows, events = profile_of("agents.vanilla", measure=("gradient_norm",))
    parts = rows[rows.kind == "part"].set_index("name")
    assert parts.seconds[MEASURE] > 0
    assert any(isinstance(event, IndicatorRecord) for event in events)


def test_a_job_shorter_than_the_window():
    short = StreamSpec("RandomLabelMNIST-v0", num_tasks=1, epochs_per_task=6, num_samples=500, batch_size=100)
    assert WINDOW.start < 30 < WINDOW.stop
    rows, _ = profile_of("agents.vanilla", stream=short)
    assert set(rows.kind) == {"part", "operator"}


def test_a_timed_agent_begins_tasks_if_the_agent_does():
    class Beginning(Sleeper):
        def begin_task(self, task):
            return task

    assert not hasattr(TimedAgent(Sleeper(None, 0), Profile("cpu")), "begin_task")
    assert TimedAgent(Beginning(None, 0), Profile("cpu")).begin_task(3) == 3


def test_profiling_changes_nothing():
    def accuracies(profile):
        events = events_of("agents.vanilla", profile=profile)
        return [event.accuracy for event in events if isinstance(event, TaskRecord)]

    assert accuracies(True) == accuracies(False)


@pytest.mark.usefixtures("forked_workers")
def test_profile_of_a_run_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["agents.vanilla", "--tasks", "1", "--epochs", "6", "--images", "600", "--batch-size", "100",
             "--seeds", "1", "--device", "cpu"]  # fmt: skip
    assert main_of("evaluate", [*flags, "--profile"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for part in (STREAM, PREDICT, LEARN, REST):
        assert re.search(rf"agents\.vanilla\b.* \d+ %[a-z ]* {part}\b", printed)
    (folder,) = (tmp_path / "results").iterdir()
    table = pd.read_csv(folder / "profile.csv", dtype={"seeds": str})
    assert set(table.agent) == {"agents.vanilla"}
    assert set(table.seeds) == {"0"}
    assert set(table.kind) == {"part", "operator"}
    assert set(table[table.kind == "part"].name) == {STREAM, PREDICT, LEARN, MEASURE, SAVE, REST}
    assert manifest_in(folder).profile


def test_a_failure_within_the_window_ends_it():
    class Failing(Sleeper):
        steps = 0

        def learn(self, targets):
            self.steps += 1
            if self.steps == WINDOW.start + 5:
                raise RuntimeError("enough")

    assert isinstance(events_of("failing", Failing)[-1], Failed)
    assert not torch.autograd._profiler_enabled()
