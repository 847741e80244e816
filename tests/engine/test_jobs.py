"""Jobs in this process: alone and in lockstep."""

from dataclasses import replace

import pytest
import torch

from agents.perlayer import Agent as PerLayer
from clbench.engine.checkpointing import can_resume
from clbench.engine.events import Failed, Finished, Note, Stopped
from clbench.engine.execution import run_jobs
from clbench.jsondata import from_json, to_json
from clbench.records import TaskRecord
from clbench.results import Checkpoints
from tests.engine.jobs import FAILS, events_by_job, job, lockstep, of_kind, one_by_one
from tests.inline import InThisProcess

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("small_networks")]

NAMES = ["agents.vanilla", "agents.l2", "agents.crelu", "agents.perlayer"]
UNSAVABLE = """
from agents import vanilla

class Agent(vanilla.Agent):
    def state_dict(self):
        return {"what": {1, 2}}
"""


def test_together_is_as_apart(tmp_path):
    together = events_by_job(run_jobs(lockstep(tmp_path / "a", NAMES)))
    assert together[3][-1] == Finished()
    assert together == one_by_one(lockstep(tmp_path / "b", NAMES))


@pytest.mark.parametrize("together_again", [True, False])
def test_jobs_stopped_together_resume_together_or_apart(tmp_path, together_again):
    whole = one_by_one(lockstep(tmp_path / "whole", NAMES))
    asked = iter([False] * 8 + [True])
    jobs = lockstep(tmp_path / "a", NAMES)
    first = events_by_job(run_jobs(jobs, stop=lambda: next(asked)))
    assert {events[-1] for events in first.values()} == {Stopped()}
    again = [each.from_newest_checkpoint() for each in jobs]
    assert all(each.checkpoint for each in again)
    rest = events_by_job(run_jobs(again)) if together_again else one_by_one(again)
    for index, events in whole.items():
        assert first[index][:-1] + rest[index][1:] == events


@pytest.mark.parametrize("steps", [9, None])
def test_a_retried_job_sends_again_what_it_has_saved(tmp_path, steps):
    """The process may have died after saving a record, and before anyone has read it."""
    (whole,) = one_by_one([job(checkpoints=str(tmp_path / "whole"))]).values()
    asked = iter([False] * steps + [True] if steps else [])
    one = job(checkpoints=str(tmp_path / "a"))
    list(run_jobs([one], stop=lambda: next(asked, False)))
    (again,) = events_by_job(run_jobs([replace(one.from_newest_checkpoint(), retried=True)])).values()
    tasks = [event for event in whole if isinstance(event, TaskRecord)]
    assert [event for event in again if isinstance(event, TaskRecord)] == tasks
    assert again[-1] == Finished()


def test_a_failing_job_does_not_fail_the_others(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text(FAILS, encoding="utf-8")
    names = ["agents.vanilla", str(path), "agents.l2"]
    events = list(run_jobs(lockstep(tmp_path / "a", names)))
    (note,) = of_kind(events, Note)
    assert not [part for part in (*names, "out of ideas") if part not in note.text]
    by_job = events_by_job(events)
    failed = by_job[1][-1]
    assert isinstance(failed, Failed)
    for part in ("RuntimeError: out of ideas", "seeds 2, 5", "task 2", "step 1"):
        assert part in failed.error
    assert by_job == one_by_one(lockstep(tmp_path / "b", names))


def test_no_record_comes_twice_from_a_job_whose_state_cannot_be_saved(tmp_path):
    for name, text in (("unsavable.py", UNSAVABLE), ("fails.py", FAILS)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = [str(tmp_path / "unsavable.py"), str(tmp_path / "fails.py"), "agents.l2"]
    together = events_by_job(run_jobs(lockstep(tmp_path / "a", names)))
    assert together == one_by_one(lockstep(tmp_path / "b", names))


def test_a_job_stops_after_the_step_in_progress(tmp_path):
    """Also shows that the tests' stand-in for a pool stops when asked."""
    pool = InThisProcess([{index: each} for index, each in enumerate(lockstep(tmp_path, NAMES))], workers=1)
    events = []
    for _, event in pool.events():
        events.append(type(event).__name__)
        pool.stop()
    assert events == ["Started", "Stopped"]
    assert Checkpoints(tmp_path / "0").newest()[1]["steps"] == 1


def test_a_job_survives_json():
    given = job(
        "agents.l2", seeds=(3, 4), arguments={"strength": 0.1}, measure=("sharpness",), modules=("m",)
    )
    assert from_json(type(given), to_json(given)) == given
    assert str(given) == "agents.l2 (seeds 3, 4)"
    assert replace(given, checkpoints="/nowhere").from_newest_checkpoint().checkpoint == ""


def test_weights_alone_are_no_state():
    """What an agent inherits from `nn.Module` knows nothing of its optimizer."""

    class Inheriting(torch.nn.Module):
        def act(self, obs): ...
        def learn(self, targets): ...

    class Custom(Inheriting):
        def state_dict(self): ...
        def load_state_dict(self, state): ...

    assert not can_resume(Inheriting)
    assert can_resume(Custom)
    assert can_resume(PerLayer)
