"""Runs a peer on a short stream: measured, scheduled, and interrupted."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import clbench
from benchmarks.peers.checkout import commit_of
from benchmarks.peers.peer import Peer
from clbench.errors import ClbenchError
from clbench.loop import Loop, Member
from clbench.observing import ALL, Observer
from clbench.records import Checkpoint, IndicatorRecord, Progress, TaskRecord, Undefined
from clbench.state import from_bytes, to_bytes

PEERS = ("cbp", "upgd", "redo", "l2_init", "snr", "hare_tortoise", "muon")
STREAM = "RandomLabelMNIST-v0"
SHORT = {"num_tasks": 3, "epochs_per_task": 6, "num_samples": 1_000, "batch_size": 100}
EVERY = 5  # steps between a scheduler's decisions
KINDS = ("per-layer", "volatility-only")  # schedulers that are tried, until one does
STOPS = (7, 100)  # steps after which a run is interrupted


@dataclass(frozen=True)
class Row:
    """What a peer did; texts that begin with "no" say why.

    Attributes:
        commit: of the checkout; "" if the peer could not be run.
        first, last: accuracy of the first and last task.
        measured: indicators, in one text.
        undefined: the others, each with the reason.
        scheduled: by which scheduler, and how far it changed step sizes, or each one's refusal.
        resumed: whether an interrupted run is the uninterrupted one, to the bit; scheduled, if it can be.
    """

    peer: str
    project: str
    commit: str
    learner: str
    first: float
    last: float
    measured: str
    undefined: str
    scheduled: str
    resumed: str


class Setting:
    """An agent's class, its arguments and a stream."""

    def __init__(self, agent: type, stream: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        self.agent, self.stream, self.arguments = agent, stream, arguments

    def run(self, stop: int | None = None, state: bytes = b"") -> tuple[list[Any], bytes]:
        """Return what a run with all indicators records until a step, and the checkpoint there."""
        env = clbench.make(STREAM, **self.stream)
        agent = self.agent(env.agent_spec, 0, **self.arguments)
        observer = Observer(agent, "peer", [0], ALL, None)
        steps = iter(range(from_bytes(state)["steps"] + 1 if state else 1, 10**9))
        loop = Loop(env, agent, [Member("peer", agent, (0,), observer)], stop=lambda: next(steps) == stop)
        if state:
            loop.load_state_dict(from_bytes(state))
        events = [event for _, event in loop if not isinstance(event, (Checkpoint, Progress))]
        return events, to_bytes(loop.state_dict(0))


def load(name: str) -> type[Peer]:
    """Return the agent of `benchmarks/peers/NAME.py`."""
    agent: type[Peer] = import_module(f"{__package__}.{name}").Agent
    return agent


def examine(name: str, checkouts: Path, stream: Mapping[str, Any] = SHORT, **constants: Any) -> Row:
    """Run a peer on the checkout of its project, in the folder of its name among `checkouts`."""
    agent = load(name)
    try:
        folder = agent.project.folder(checkouts / agent.project.name)
        arguments = {"checkout": str(folder), **constants}
        events, _ = Setting(agent, stream, arguments).run()
    except Exception as error:  # whatever their code raises
        return Row(
            name, agent.project.url, "", agent.learner, math.nan, math.nan, "", "", f"no: {said(error)}", "no"
        )
    accuracies = [event.accuracy for event in events if isinstance(event, TaskRecord)]
    undefined = {event.indicator: event.reason for event in events if isinstance(event, Undefined)}
    measured = ", ".join(indicator for indicator in ALL if indicator not in undefined)
    kind, scheduled = schedule(agent, stream, arguments)
    options = {"scheduler": kind, "every": EVERY} if kind else {}
    resumed = resume(Setting(agent, stream, {**arguments, **options}))
    commit = commit_of(folder) or "unknown"
    ends = accuracies[0], accuracies[-1]
    return Row(
        name,
        agent.project.url,
        commit,
        agent.learner,
        *ends,
        measured,
        by_reason(undefined),
        scheduled,
        resumed,
    )


def said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ClbenchError) else f"{type(error).__name__}: {text}"


def by_reason(undefined: Mapping[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for indicator, reason in undefined.items():
        reasons.setdefault(reason, []).append(indicator)
    return "; ".join(f"{', '.join(indicators)}: {reason}" for reason, indicators in reasons.items())


def schedule(agent: type[Peer], stream: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[str, str]:
    """Return the first kind of scheduler that adjusts the peer's step sizes, "" for none, and what it did."""
    refused: dict[str, str] = {}
    for kind in KINDS:
        try:
            events, _ = Setting(agent, stream, {**arguments, "scheduler": kind, "every": EVERY}).run()
        except ClbenchError as error:
            refused[kind] = said(error)
        else:
            changes = list(step_size_changes(events))
            done = f"{kind}: step sizes times {min(changes):.4g} to {max(changes):.4g}"
            return kind, "; ".join(filter(None, [done, by_reason(refused)]))
    return "", f"no: {by_reason(refused)}"


def step_size_changes(events: Sequence[object]) -> Iterator[float]:
    """Yield each recorded step size over the layer's first."""
    first: dict[str, float] = {}
    for event in events:
        if isinstance(event, IndicatorRecord) and event.indicator == "step_size":
            yield event.value / first.setdefault(event.layer, event.value)


def resume(setting: Setting) -> str:
    """Compare a run with one that is stopped, and continued by a new agent from the bytes of its checkpoint."""
    pieces: list[Any] = []
    state = b""
    try:
        whole, _ = setting.run()
        for stop in (*STOPS, None):
            events, state = setting.run(stop, state)
            pieces += events
    except ClbenchError as error:
        return f"no: {said(error)}"
    texts = [[repr({**vars(event), "seconds": None}) for event in events] for events in (whole, pieces)]
    return "yes" if texts[0] == texts[1] else "no: it differs from the uninterrupted run"
