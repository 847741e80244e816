"""Loops that are stopped at any step and resumed in this process, and the bytes of their states."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.perlayer import Agent as PerLayer
from agents.reset import Agent as Reset
from clbench.errors import StateError
from clbench.loading import load_agent
from clbench.observing import Observer
from clbench.records import Checkpoint, Progress, TaskRecord
from clbench.state import from_bytes, to_bytes
from tests.cases import short_env, short_vec
from tests.engine.agents import DROPOUT
from tests.loops import Run

MEASURED = ("gradient_noise", "dormant_units", "critical_step_sizes")


@pytest.fixture
def dropout(tmp_path):
    path = tmp_path / "dropout.py"
    path.write_text(DROPOUT, encoding="utf-8")
    return path


def plain_run(path, stop=lambda: False):
    env = short_env(num_tasks=3)
    agent = load_agent(str(path))(env.agent_spec, 4)
    return Run(env, agent, name="a", seeds=[4], observer=Observer(agent, "a", [4], MEASURED, 4), stop=stop)


def vector_run(owner, stop=lambda: False, **arguments):
    env = short_vec(2, num_tasks=3)
    agent = owner(env.agent_spec, [4, 7], **arguments)
    return Run(
        env, agent, name="a", seeds=[4, 7], observer=Observer(agent, "a", [4, 7], MEASURED, 4), stop=stop
    )


RUNS = {
    "plain": plain_run,
    "scheduled": lambda path, stop: vector_run(PerLayer, stop, every=2),
    "monitored": lambda path, stop: vector_run(Reset, stop),
}


def events(run):
    """What a run yields but for the time it took."""
    listed = []
    for event in run:
        if not isinstance(event, (Progress, Checkpoint)):
            values = {key: value for key, value in vars(event).items() if key != "seconds"}
            listed.append((type(event).__name__, repr(values)))
    return listed


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("kind", RUNS)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(stops=st.lists(st.integers(1, 17), min_size=1, max_size=3, unique=True))
def test_a_run_stopped_at_any_steps_resumes_as_if_never_stopped(kind, stops, dropout):
    whole = events(RUNS[kind](dropout, lambda: False))
    resumed, state = [], None
    for stop in [*sorted(stops), 10**9]:
        count = iter(range(state["steps"] + 1 if state else 1, 10**9))
        run = RUNS[kind](dropout, lambda count=count, stop=stop: next(count) == stop)
        if state is not None:
            torch.rand(3)  # whatever else the process draws
            run.load_state_dict(from_bytes(to_bytes(state)))
        resumed += events(run)
        state = run.state_dict()
    assert resumed == whole


def test_checkpoints_are_due_after_each_task_and_where_a_run_stops():
    env = short_vec(1)
    agent = Reset(env.agent_spec, [0])
    asked = iter([False, False, True])
    run = Run(env, agent, name="a", seeds=[0], interval=1e9, stop=lambda: next(asked))
    assert list(run) == [Checkpoint(3, stopped=True)]
    rest = Run(env, agent, name="a", seeds=[0], interval=1e9)
    rest.load_state_dict(run.state_dict())
    assert [type(event) for event in rest] == [TaskRecord, Checkpoint, TaskRecord, Checkpoint]


def test_a_state_of_another_version_cannot_be_read():
    with pytest.raises(StateError, match=r"\bversion\b"):
        from_bytes(b"clbench-state-0 x\nx")
