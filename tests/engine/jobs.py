"""Small jobs, and their events in a form that two runs of them share."""

from collections import defaultdict
from dataclasses import replace

from clbench.config import AgentConfig, RunConfig
from clbench.engine.events import Failed, Note, Output, Started
from clbench.engine.execution import run_jobs
from clbench.engine.job import Job
from clbench.records import ProfileRecord, Progress, TaskRecord
from clbench.specs import StreamSpec
from tests.cases import SHORT

STREAM = StreamSpec("RandomLabelMNIST-v0", options={"relabel_fraction": 1.0}, **SHORT)
FAILS = """
from agents import vanilla

class Agent(vanilla.Agent):
    '''Fails in its second task.'''

    def begin_task(self, task):
        if task == 1:
            raise RuntimeError("out of ideas")
        super().begin_task(task)
"""


def job(name="agents.vanilla", *, seeds=(0,), stream=STREAM, arguments=None, measure=(), every=None, **named):
    """A job of an agent, by its reference; `named` are other fields of the job."""
    config = RunConfig(
        agent=AgentConfig(name=name, arguments=arguments or {}),
        stream=stream,
        protocol="quick",
        seeds=seeds,
        indicators=measure,
        indicators_every=every,
    )
    return Job(config=config, reference=name, **named)


def lockstep(folder, names):
    """A job per agent, all of which can run in lockstep; their checkpoints are in `folder`, by index."""
    return [
        job(
            name,
            seeds=(2, 5),
            arguments={"every": 2} if name == "agents.perlayer" else {},
            measure=("weight_norm", "gradient_noise"),
            every=4,
            vectorized=True,
            checkpoints=str(folder / str(index)),
        )
        for index, name in enumerate(names)
    ]


def events_by_job(events, without=(Progress, Note, Output)):
    """Each job's events, without times and tracebacks."""
    by_job = defaultdict(list)
    for index, event in events:
        if not isinstance(event, without):
            by_job[index].append(_comparable(event))
    return by_job


def _comparable(event):
    if isinstance(event, (TaskRecord, ProfileRecord)):
        return replace(event, seconds=0.0)
    return replace(event, traceback="") if isinstance(event, Failed) else event


def one_by_one(jobs, **named):
    """The events of jobs that run one after another."""
    events = ((index, event) for index, each in enumerate(jobs) for _, event in run_jobs([each]))
    return events_by_job(events, **named)


def without_starts(events):
    """Events but for those that say that a job has started."""
    return [event for event in events if not isinstance(event, Started)]


def of_kind(events, kind):
    """The events of a kind, whichever job's."""
    return [event for _, event in events if isinstance(event, kind)]
