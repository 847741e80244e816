"""The loop: an agent predicts each batch of a stream, and then learns from its targets."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from types import EllipsisType
from typing import Any, cast

from clbench.agent import Agent, learner
from clbench.envs.vector import StreamVectorEnv
from clbench.errors import StateError
from clbench.loop.environment import Environment, Step, task_beginner
from clbench.loop.members import Faults, Member
from clbench.loop.meter import Meter
from clbench.loop.replay import Record, ReplayableAgent, Replayer
from clbench.machine import can_read
from clbench.records import Checkpoint, IndicatorRecord, Progress, TaskRecord, Undefined
from clbench.seeding import global_states, set_global_states

Event = TaskRecord | IndicatorRecord | Undefined | Progress | Checkpoint


class Loop:
    """Runs agents on the same stream, step by step together; iterate over it for (index of the member, event).

    Indicators are measured after a batch's targets are revealed, and before the agent learns from them. After each
    task, and where the loop is stopped, every member gets a `Checkpoint`: before the next event is asked for,
    `state_dict` returns all that the member needs to continue, alone or with others, as if nothing had happened.
    On a GPU, values are read only at the end of a task and for `Progress`.

    Args:
        env: of as many seeds as all members have together, in their order; of one seed for a plain agent.
        interval: seconds between `Progress` events.
        stop: called after every step; the loop ends when it returns true.
        record: records steps for replay, if stream and agent allow it.
    """

    def __init__(
        self,
        env: Environment,
        agent: Agent[Any],
        members: Sequence[Member],
        *,
        interval: float = 0.5,
        stop: Callable[[], bool] = lambda: False,
        record: Record | None = None,
    ) -> None:
        self._env, self._agent, self._members = env, agent, tuple(members)
        self._interval, self._stop, self._steps, self._restored = interval, stop, 0, False
        self._begin_task = task_beginner(env, agent)
        self._learn = learner(agent.learn)
        self._seeds = [seed for member in members for seed in member.seeds]
        ends = accumulate((len(member.seeds) for member in members), initial=0)
        self._rows = [slice(*pair) for pair in pairwise(ends)]
        # A plain agent's batches have no dimension of seeds: its member gets all of them.
        shares: Sequence[slice | EllipsisType] = self._rows if env.lockstep else [...]
        observed = zip(range(len(members)), members, shares, strict=True)
        self._observers = [(i, member.observer, share) for i, member, share in observed if member.observer]
        self._faults = Faults(env.stream_spec, members)
        self._meter = Meter(len(self._seeds), str(env.device))
        self._replayer: Replayer | None = None
        replayable = getattr(agent, "kind_of_step", None) is not None
        if record and replayable and isinstance(env, StreamVectorEnv) and env.stream_class.can_replay:
            observers = [observer for _, observer, _ in self._observers]
            recorded = cast(ReplayableAgent, agent)
            self._replayer = Replayer(env, recorded, self._meter, observers, record, self._faults)

    def __iter__(self) -> Iterator[tuple[int, Event]]:
        env, shown = self._env, time.perf_counter()
        if not self._restored:
            if isinstance(env, StreamVectorEnv):
                env.reset(seed=self._seeds)
            else:
                env.reset(seed=self._seeds[0])
        while not env.done:
            step = Step.at(env.position(), env.stream_spec)
            if self._replayer is None or not self._replayer.try_step(step):
                yield from self._take(step)
            self._steps += 1
            if step.is_last:
                yield from self._end_task(step.task)
            stopped = not env.done and self._stop()
            if step.is_last or stopped:
                yield from enumerate(Checkpoint(self._steps, stopped) for _ in self._members)
                if stopped:
                    return
            elif time.perf_counter() - shown > self._interval:
                accuracies = map(self._meter.mean_accuracy, self._rows)
                yield from enumerate(Progress(step.task, self._steps, accuracy) for accuracy in accuracies)
                shown = time.perf_counter()

    def _take(self, step: Step) -> Iterator[tuple[int, Event]]:
        inputs = self._env.observation()
        with self._faults.in_agent(step):
            if step.is_first:
                self._begin_task(step.task)
            predictions = self._agent.act(inputs)
        with self._faults.in_predictions(step):
            _, reward, _, _, info = self._env.step(predictions)
        targets = info["targets"]
        for index, observer, share in self._observers:
            if step.is_first:
                yield from ((index, event) for event in observer.begin_task())
            events = observer.observe(inputs[share], targets[share], step.task, step.number + 1, step.is_last)
            yield from ((index, event) for event in events)
        with self._faults.in_agent(step):
            loss = self._learn(targets, inputs)
        with self._faults.in_losses(step):
            self._meter.add(reward, loss, step.in_last_epoch)
            if step.is_last or can_read(self._env.device):
                self._meter.check_losses()
        if step.is_last:
            self._faults.check_weights(step)

    def _end_task(self, task: int) -> Iterator[tuple[int, Event]]:
        for index, (member, rows) in enumerate(zip(self._members, self._rows, strict=True)):
            if member.observer is not None:
                yield from ((index, event) for event in member.observer.end_task(task))
            records = self._meter.records(member.name, member.seeds, task, rows)
            yield from ((index, record) for record in records)
        self._meter.restart()
        if self._replayer is not None:
            self._replayer.end_task()

    def state_dict(self, member: int = 0) -> dict[str, Any]:
        """Return all that the rest of a member's run depends on; only valid at a `Checkpoint`."""
        observer, rows = self._members[member].observer, self._rows[member]
        return {
            "steps": self._steps,
            "env": self._env.state_dict(rows),
            "agent": self._members[member].agent.state_dict(),
            "observer": None if observer is None else observer.state_dict(),
            "meter": self._meter.state_dict(rows),
            "random": global_states(),
        }

    def load_state_dict(self, *states: Mapping[str, Any]) -> None:
        self._steps = states[0]["steps"]
        if any(state["steps"] != self._steps for state in states):
            raise StateError("the members' states are at different steps")
        self._env.restore(*[state["env"] for state in states])
        for member, rows, state in zip(self._members, self._rows, states, strict=True):
            member.agent.load_state_dict(state["agent"])
            if member.observer is not None and state["observer"] is not None:
                member.observer.load_state_dict(state["observer"])
            self._meter.load_state_dict(state["meter"], rows)
        set_global_states(states[0]["random"])
        self._restored = True
