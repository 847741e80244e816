"""Where a run's time goes."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from clbench.evaluation import profiling
from clbench.evaluation.cli import main
from clbench.evaluation.jobs import Job, run_jobs
from clbench.evaluation.profiling import LEARN, MEASURE, PREDICT, REST, SAVE, STREAM, WINDOW, Profile
from clbench.results import RunFolder
from clbench.specs import AgentEntry, StreamSpec

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


def messages_of(job, agent_class=None):
    classes = {job.agent.name: agent_class} if agent_class else {}
    return [message for _, message in run_jobs([job], classes)]


def profile_of(agent, agent_class=None, **changes):
    job = Job(AgentEntry(agent), None, (0,), STREAM_SPEC, "cpu", 1, profile=True, **changes)
    messages = messages_of(job, agent_class)
    assert messages[-1] == {"kind": "done"}, messages[-1]
    (found,) = [message for message in messages if message["kind"] == "profile"]
    return pd.DataFrame(found["rows"]), messages


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


def test_measuring_is_a_part_of_its_own():
    rows, messages = profile_of("agents.vanilla", indicators=("gradient_norm",))
    parts = rows[rows.kind == "part"].set_index("name")
    assert parts.seconds[MEASURE] > 0
    assert any(message["kind"] == "indicator" for message in messages)


def test_a_job_shorter_than_the_window():
    short = StreamSpec("RandomLabelMNIST-v0", num_tasks=1, epochs_per_task=6, num_samples=500, batch_size=100)
    assert WINDOW.start < 30 < WINDOW.stop
    job = Job(AgentEntry("agents.vanilla"), None, (0,), short, "cpu", 1, profile=True)
    rows = messages_of(job)[-2]["rows"]
    assert {row["kind"] for row in rows} == {"part", "operator"}


def test_what_is_watched_is_otherwise_what_it_was():
    inner = Sleeper(None, 0)
    watched = Profile("cpu").agent(inner)
    assert watched.spec is None
    assert not hasattr(watched, "begin_task")


def test_profiling_changes_nothing():
    def accuracies(profile):
        job = Job(AgentEntry("agents.vanilla"), None, (0,), STREAM_SPEC, "cpu", 1, profile=profile)
        return [message["accuracy"] for message in messages_of(job) if message["kind"] == "task"]

    assert accuracies(True) == accuracies(False)


@pytest.mark.usefixtures("forked_workers")
def test_profile_of_a_run_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["agents.vanilla", "--tasks", "1", "--epochs", "6", "--images", "600", "--batch-size", "100",
             "--seeds", "1", "--device", "cpu"]  # fmt: skip
    assert main([*flags, "--profile"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for part in (STREAM, PREDICT, LEARN, REST):
        assert re.search(rf"agents\.vanilla\b.* \d+ %[a-z ]* {part}\b", printed)
    (folder,) = (tmp_path / "results").iterdir()
    table = pd.read_csv(folder / "profile.csv", dtype={"seeds": str})
    assert set(table.agent) == {"agents.vanilla"}
    assert set(table.seeds) == {"0"}
    assert set(table.kind) == {"part", "operator"}
    assert set(table[table.kind == "part"].name) == {STREAM, PREDICT, LEARN, MEASURE, SAVE, REST}
    assert RunFolder(folder).read_run()["profile"] is True


def test_a_failure_within_the_window_ends_it():
    class Failing(Sleeper):
        steps = 0

        def learn(self, targets):
            self.steps += 1
            if self.steps == WINDOW.start + 5:
                raise RuntimeError("enough")

    job = Job(AgentEntry("failing"), None, (0,), STREAM_SPEC, "cpu", 1, profile=True)
    assert messages_of(job, Failing)[-1]["kind"] == "failed"
    assert not torch.autograd._profiler_enabled()
