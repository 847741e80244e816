"""Jobs in this process: alone and in lockstep."""

import contextlib
from collections import defaultdict
from dataclasses import replace

import pytest

from clbench.evaluation.jobs import Job, run_jobs
from clbench.evaluation.pool import Pool
from clbench.results import States
from clbench.specs import AgentEntry, StreamSpec
from tests.cases import SHORT
from tests.inline import InThisProcess

pytestmark = pytest.mark.process

NAMES = ["agents.vanilla", "agents.l2", "agents.crelu", "agents.perlayer"]
FAILS = """
from agents import vanilla

class Agent(vanilla.Agent):
    '''Fails in its second task.'''

    def begin_task(self, task):
        if task == 1:
            raise RuntimeError("out of ideas")
        super().begin_task(task)
"""


def jobs(tmp_path, names=NAMES):
    stream = StreamSpec("RandomLabelMNIST-v0", options={"relabel_fraction": 1.0}, **SHORT)
    return [
        Job(
            agent=AgentEntry(name, {"every": 2} if name == "agents.perlayer" else {}),
            vectorized=True,
            seeds=(2, 5),
            stream=stream,
            device="cpu",
            threads=1,
            states=str(tmp_path / str(index)),
            indicators=("weight_norm", "gradient_noise"),
            indicators_every=4,
        )
        for index, name in enumerate(names)
    ]


def by_place(messages):
    """Each job's messages, without times and glimpses."""
    found = defaultdict(list)
    for place, message in messages:
        if message["kind"] not in ("glimpse", "note"):
            found[place].append(
                {key: value for key, value in message.items() if key not in ("seconds", "traceback")}
            )
    return found


def in_turn(jobs):
    """The messages of jobs that run one after another."""
    return by_place((place, message) for place, job in enumerate(jobs) for _, message in run_jobs([job]))


@pytest.mark.usefixtures("small_networks")
def test_together_is_as_apart(tmp_path):
    together = by_place(run_jobs(jobs(tmp_path / "a")))
    assert [message["kind"] for message in together[3]][-1] == "done"
    assert together == in_turn(jobs(tmp_path / "b"))


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("together_again", [True, False])
def test_stopped_together_they_go_on_together_or_apart(tmp_path, together_again):
    whole = in_turn(jobs(tmp_path / "whole"))
    asked = iter([False] * 8 + [True])
    own = jobs(tmp_path / "a")
    first = by_place(run_jobs(own, stop=lambda: next(asked)))
    assert {messages[-1]["kind"] for messages in first.values()} == {"stopped"}
    again = [
        replace(job, resume=str(States(tmp_path / "a" / str(place)).newest()[0]))
        for place, job in enumerate(own)
    ]
    rest = by_place(run_jobs(again)) if together_again else in_turn(again)
    for place, messages in whole.items():
        assert first[place][:-1] + rest[place][1:] == messages


KEEPS_NOTHING = """
from agents import vanilla

class Agent(vanilla.Agent):
    def state_dict(self):
        return {"what": {1, 2}}
"""


@pytest.mark.usefixtures("small_networks")
def test_one_whose_state_cannot_be_kept_tells_nothing_twice(tmp_path):
    for name, text in (("keeps.py", KEEPS_NOTHING), ("fails.py", FAILS)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = [str(tmp_path / "keeps.py"), str(tmp_path / "fails.py"), "agents.l2"]
    found = by_place(run_jobs(jobs(tmp_path / "a", names)))
    assert found == in_turn(jobs(tmp_path / "b", names))


@pytest.mark.usefixtures("forked_workers")
def test_one_that_ends_its_process_does_not_take_the_others_with_it(tmp_path):
    (tmp_path / "exits.py").write_text(
        FAILS.replace('raise RuntimeError("out of ideas")', "import os; os._exit(3)"), encoding="utf-8"
    )
    own = jobs(tmp_path / "a", ["agents.vanilla", str(tmp_path / "exits.py")])
    with contextlib.closing(Pool([dict(enumerate(own))], workers=1)) as pool:
        messages = list(pool.messages())
    notes = [message["text"] for _, message in messages if message["kind"] == "note"]
    assert len(notes) == 2
    for note, job in zip(notes, own, strict=True):
        assert job.agent.name in note
        assert "exit code 3" in note
    found = by_place((place, one) for place, one in messages if one["kind"] not in ("output", "started"))
    alone = in_turn(jobs(tmp_path / "b", ["agents.vanilla"]))[0]
    assert found[0] == [one for one in alone if one["kind"] != "started"]
    for part in ("exits.py", "seeds 2, 5", "exit code 3"):
        assert part in found[1][-1]["error"]


@pytest.mark.usefixtures("forked_workers")
def test_what_tests_put_in_the_place_of_a_pool_gives_what_it_gives(tmp_path):
    """In lockstep, and alone after one has failed."""
    path = tmp_path / "fails.py"
    path.write_text(FAILS, encoding="utf-8")
    found = []
    for kind in (Pool, InThisProcess):
        own = jobs(tmp_path / kind.__name__, ["agents.perlayer", str(path), "agents.l2"])
        with contextlib.closing(kind([dict(zip((3, 5, 8), own, strict=True))], workers=1)) as pool:
            found.append(by_place(pool.messages()))
    ends = {index: messages[-1]["kind"] for index, messages in found[0].items()}
    assert ends == {3: "done", 5: "failed", 8: "done"}
    assert found[0] == found[1]


@pytest.mark.usefixtures("small_networks")
def test_what_stands_for_a_pool_stops_where_it_is_told_to(tmp_path):
    pool = InThisProcess([{index: job} for index, job in enumerate(jobs(tmp_path))], workers=1)
    kinds = []
    for _, message in pool.messages():
        kinds.append(message["kind"])
        pool.stop()
    assert kinds == ["started", "stopped"]
    assert States(tmp_path / "0").newest()[1]["steps"] == 1


@pytest.mark.usefixtures("small_networks")
def test_one_that_fails_does_not_take_the_others_with_it(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text(FAILS, encoding="utf-8")
    names = ["agents.vanilla", str(path), "agents.l2"]
    messages = list(run_jobs(jobs(tmp_path / "a", names)))
    (note,) = [message["text"] for _, message in messages if message["kind"] == "note"]
    for part in (*names, "out of ideas"):
        assert part in note
    found, alone = by_place(messages), in_turn(jobs(tmp_path / "b", names))
    assert found[1][-1]["kind"] == "failed"
    for part in ("RuntimeError: out of ideas", "seeds 2, 5", "task 2", "step 1"):
        assert part in found[1][-1]["error"]
    assert found == alone
