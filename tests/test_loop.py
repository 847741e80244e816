import numpy as np
import pytest
import torch

from clbench.envs.single import StreamEnv
from clbench.errors import AgentError, StateError
from clbench.loop import Loop, Member
from clbench.records import Checkpoint, Progress, TaskRecord
from tests.cases import short_env, short_vec
from tests.loops import Run


class Guesser:
    """Predicts one class; reports a fixed loss; notes what it is told."""

    def __init__(self, shape=(100,), label=3, loss=0.5):
        self.shape, self.label, self.loss = shape, label, loss
        self.tasks, self.learned = [], []

    def begin_task(self, task):
        self.tasks.append((task, len(self.learned)))

    def act(self, obs):
        return np.full(self.shape, self.label)

    def learn(self, targets):
        self.learned.append(np.asarray(targets))
        return self.loss


def records(env, agent, seeds, **options):
    return [
        event for event in Run(env, agent, name="g", seeds=seeds, **options) if isinstance(event, TaskRecord)
    ]


def test_records_hold_the_prequential_accuracy():
    agent = Guesser()
    found = records(short_env(), agent, [5])
    targets = np.array(agent.learned).reshape(2, 6, 100)
    for task, record in enumerate(found):
        assert (record.agent, record.seed, record.task, record.steps) == ("g", 5, task, 6)
        assert record.accuracy == pytest.approx(np.mean(targets[task] == 3))
        assert record.final_epoch_accuracy == pytest.approx(np.mean(targets[task, 3:] == 3))
        assert record.loss == 0.5
        assert record.seconds > 0
    assert len(found) == 2


def test_vector_records_are_the_single_ones():
    together = records(short_vec(3), Guesser((3, 100), loss=torch.tensor([1.0, 2.0, 3.0])), [7, 5, 2])
    for place, seed in enumerate([7, 5, 2]):
        alone = records(short_env(), Guesser(), [seed])
        own = [record for record in together if record.seed == seed]
        assert [record.accuracy for record in own] == pytest.approx([record.accuracy for record in alone])
        assert [record.loss for record in own] == [place + 1.0] * 2


def test_begin_task_is_called_before_the_first_act_of_each_task():
    agent = Guesser()
    records(short_env(num_tasks=3), agent, [0])
    assert agent.tasks == [(0, 0), (1, 6), (2, 12)]


def test_hooks_are_optional_and_so_is_the_loss():
    class Bare:
        def act(self, obs):
            return np.zeros(100, dtype=int)

        def learn(self, targets):
            pass

    found = records(short_env(), Bare(), [0])
    assert np.isnan([record.loss for record in found]).all()


def test_glimpses_come_between_records():
    events = list(Run(short_env(), Guesser(), name="g", seeds=[0], interval=0))
    glimpses = [event for event in events if isinstance(event, Progress)]
    assert [glimpse.steps for glimpse in glimpses] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert [glimpse.task for glimpse in glimpses] == [0] * 5 + [1] * 5


def test_glimpses_change_nothing():
    often = records(short_env(), Guesser(), [0], interval=0)
    never = records(short_env(), Guesser(), [0], interval=1e9)
    assert [record.accuracy for record in often] == [record.accuracy for record in never]


class Failing(Guesser):
    def __init__(self, where, at, shape=(100,)):
        super().__init__(shape)
        self.where, self.at = where, at

    def act(self, obs):
        if (self.where, self.at) == ("act", len(self.learned)):
            raise RuntimeError("my mistake")
        if (self.where, self.at) == ("nan", len(self.learned)):
            return np.full((*self.shape, 10), np.nan)
        return super().act(obs)

    def learn(self, targets):
        if (self.where, self.at) == ("learn", len(self.learned)):
            raise ValueError
        return super().learn(targets)


@pytest.mark.parametrize(
    ("where", "at", "fault"),
    [
        ("act", 7, r"^g\b.*\bRuntimeError: my mistake\b.*seed 4\b.*task 2\b.*step 2\b"),
        ("learn", 7, r"^g\b.*\bValueError\b.*seed 4\b.*task 2\b.*step 2\b"),
        ("nan", 7, r"^g\b.*\bNaN\b.*seed 4\b.*task 2\b.*step 2\b"),
    ],
)
def test_a_failing_agent_is_placed_and_finished_tasks_are_kept(where, at, fault):
    events = iter(Run(short_env(), Failing(where, at), name="g", seeds=[4], interval=1e9))
    finished = next(events)
    assert finished.task == 0
    assert next(events) == Checkpoint(steps=6)
    with pytest.raises(AgentError, match=fault):
        next(events)


@pytest.mark.parametrize(
    ("loss", "fault"),
    [
        (float("nan"), r"^g\b.*\bloss\b.*\bNaN\b.*seed 4\b.*task 1\b.*step 1\b"),
        (torch.tensor(float("inf")), r"\bloss\b.*\bNaN\b"),
        (torch.zeros(3), r"\bloss\b.*\(3,\)"),
        ("much", r"\bloss\b.*\bstr\b"),
    ],
)
def test_unusable_losses_are_placed(loss, fault):
    with pytest.raises(AgentError, match=fault):
        records(short_env(), Guesser(loss=loss), [4])


def test_the_seed_of_an_unusable_loss_is_named():
    loss = torch.tensor([0.0, float("nan"), 0.0])
    with pytest.raises(AgentError, match=r"\bloss\b.*\bNaN\b.*seed 8\b.*task 1\b.*step 1\b"):
        records(short_vec(3), Guesser((3, 100), loss=loss), [4, 8, 9])


def test_a_streams_fault_is_not_the_agents():
    class Falters(StreamEnv):
        def step(self, action):
            raise IndexError("of the stream")

    env = short_env()
    with pytest.raises(IndexError, match="of the stream"):
        records(Falters(env.stream_class, env.stream_spec), Guesser(), [0])


def test_an_agent_that_exits_is_placed():
    class Exits(Guesser):
        def act(self, obs):
            raise SystemExit(3)

    with pytest.raises(AgentError, match=r"^g\b.*\bSystemExit: 3\b.*seed 0\b.*task 1\b"):
        records(short_env(), Exits(), [0])


def test_a_wrong_shape_is_placed_too():
    with pytest.raises(AgentError, match=r"^g\b.*\bint64 \(99,\).*seed 0\b.*task 1\b.*step 1\b"):
        records(short_env(), Guesser((99,)), [0])


def test_a_failing_vector_agent_names_its_seeds():
    with pytest.raises(AgentError, match=r"^g\b.*seeds 4, 9\b.*task 1\b.*step 3\b"):
        records(short_vec(2), Failing("act", 2, (2, 100)), [4, 9])


def test_states_of_other_steps_do_not_go_together():
    class Stateless(Guesser):
        def state_dict(self):
            return {}

    agent = Stateless((2, 100))
    loop = Loop(short_vec(2), agent, [Member("a", agent, (4,)), Member("b", agent, (9,))])
    states = [
        loop.state_dict(index) for _, event in loop if isinstance(event, Checkpoint) for index in (0, 1)
    ]
    with pytest.raises(StateError, match=r"\bsteps\b"):
        loop.load_state_dict(states[0], states[-1])
