import copy
import json
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.data import LabelledData
from clbench.errors import OptionError, StepOrderError
from clbench.registration import resolve
from clbench.specs import StreamSpec
from clbench.streams import Stream, Task
from clbench.streams.permuted import Permuted
from clbench.streams.random_label import RandomLabel
from tests.cases import IDS, SHORT

CLASSES = {"RandomLabelMNIST-v0": RandomLabel, "PermutedMNIST-v0": Permuted}


def make(id: str, seeds=(0,), **overrides) -> Stream:
    return CLASSES[id](resolve(id, {**SHORT, **overrides}), seeds)


def walk(stream: Stream):
    while not stream.done:
        place = (stream.task, stream.epoch, stream.step_in_task)
        yield place, stream.batch()
        stream.advance()


class Numbered(Stream):
    """Inputs are their own row numbers, so that batches show which rows they hold."""

    @classmethod
    def load_data(cls, spec):
        rows = torch.arange(50)
        return LabelledData(rows.float().view(-1, 1), rows % 5, 5)

    def draw_task(self, rng, rows, previous):
        return Task(rows, self.data.labels.numpy()[rows])


def numbered(seeds=(0,), **overrides) -> Numbered:
    return Numbered(
        StreamSpec("N-v0", **{"num_tasks": 2, "epochs_per_task": 3, "batch_size": 8, **overrides}), seeds
    )


@pytest.mark.parametrize("id", IDS)
def test_same_seed_same_bits_other_seed_other_bits(id):
    one, same, other = (list(walk(make(id, [seed]))) for seed in (3, 3, 4))
    assert len(one) == 2 * 2 * 3
    for (place, a), (_, b), (_, c) in zip(one, same, other, strict=True):
        assert torch.equal(a.inputs, b.inputs), place
        assert torch.equal(a.targets, b.targets), place
        assert not torch.equal(a.inputs, c.inputs), place


@pytest.mark.parametrize("id", IDS)
def test_seeds_in_lockstep_are_the_single_streams(id):
    together, apart = make(id, [5, 0, 2]), [make(id, [seed]) for seed in (5, 0, 2)]
    for (_, batch), *singles in zip(walk(together), *(walk(stream) for stream in apart), strict=True):
        for place, (_, single) in enumerate(singles):
            assert torch.equal(batch.inputs[place], single.inputs[0])
            assert torch.equal(batch.targets[place], single.targets[0])


@pytest.mark.parametrize("id", IDS)
def test_global_random_state_neither_matters_nor_changes(id):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = [batch.targets for _, batch in walk(make(id))]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two = [batch.targets for _, batch in walk(make(id))]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("id", IDS)
def test_content_is_pinned(id):
    """Published results depend on these streams: their content may never change."""
    batch = make(id, [0], num_tasks=1).batch()
    assert batch.targets[0, :12].tolist() == PINNED[id][0]
    assert float(batch.inputs.double().sum()) == pytest.approx(PINNED[id][1], rel=1e-6)


PINNED = {
    "RandomLabelMNIST-v0": ([6, 0, 6, 5, 0, 6, 2, 6, 9, 5, 8, 8], -2578.3133950186893),
    "PermutedMNIST-v0": ([2, 0, 6, 1, 9, 4, 4, 6, 2, 7, 4, 6], -2578.3133950186893),
}


@pytest.mark.parametrize("id", IDS)
@settings(max_examples=12, deadline=None)
@given(steps=st.integers(0, 12))
def test_a_stored_position_is_taken_up_exactly(id, steps):
    stream = make(id, [0, 9], relabel_fraction=0.5) if id == "RandomLabelMNIST-v0" else make(id, [0, 9])
    for _ in range(steps):
        stream.advance()
    state = json.loads(json.dumps(stream.state_dict()))
    fresh = (
        copy.deepcopy(make(id, [0, 9]))
        if id != "RandomLabelMNIST-v0"
        else make(id, [0, 9], relabel_fraction=0.5)
    )
    fresh.load_state_dict(state)
    rest, again = list(walk(stream)), list(walk(fresh))
    assert len(rest) == len(again) == 12 - steps
    for (_, a), (_, b) in zip(rest, again, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)


@pytest.mark.parametrize("id", IDS)
def test_copies_go_on_and_do_not_copy_images(id):
    stream = make(id)
    stream.advance()
    packed = pickle.dumps(stream)
    assert len(packed) < 2_000
    for twin in (pickle.loads(packed), copy.deepcopy(stream)):
        assert twin.data is stream.data
        assert torch.equal(twin.batch().inputs, stream.batch().inputs)


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({"seeds": [1], "task": 0, "step_in_task": 0}, r"\[1\].*\[0\]"),
        ({"seeds": [0], "task": 2, "step_in_task": 1}, r"\btask 2\b.*\bstep 1\b"),
        ({"seeds": [0], "task": 0, "step_in_task": 6}, r"\btask 0\b.*\bstep 6\b"),
        ({"seeds": [0], "task": -1, "step_in_task": 0}, r"\btask -1\b.*\bstep 0\b"),
    ],
)
def test_a_foreign_state_is_refused(state, fault):
    with pytest.raises(OptionError, match=fault):
        make("RandomLabelMNIST-v0").load_state_dict(state)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), batch_size=st.integers(1, 20), num_samples=st.integers(20, 50))
def test_an_epoch_visits_each_example_at_most_once_and_drops_the_rest(seed, batch_size, num_samples):
    stream = numbered([seed], batch_size=batch_size, num_samples=num_samples)
    epochs: dict[tuple[int, int], list[int]] = {}
    for (task, epoch, _), batch in walk(stream):
        assert batch.inputs.shape == (1, batch_size, 1)
        epochs.setdefault((task, epoch), []).extend(batch.inputs.flatten().int().tolist())
    assert len(epochs) == 6
    for rows in epochs.values():
        assert len(rows) == len(set(rows)) == num_samples // batch_size * batch_size


def test_epochs_and_tasks_have_orders_of_their_own():
    epochs: dict[tuple[int, int], list[int]] = {}
    for (task, epoch, _), batch in walk(numbered(batch_size=25)):
        epochs.setdefault((task, epoch), []).extend(batch.inputs.flatten().int().tolist())
    orders = list(epochs.values())
    assert all(one != other for index, one in enumerate(orders) for other in orders[:index])


def test_a_subsample_is_drawn_once_per_seed():
    seen: dict[int, set[float]] = {0: set(), 1: set()}
    for (task, _, _), batch in walk(numbered(batch_size=10, num_samples=20)):
        seen[task] |= set(batch.inputs.flatten().tolist())
    assert seen[0] == seen[1]
    assert len(seen[0]) == 20


def test_random_labels_are_uniform_and_new_at_every_task():
    stream = make("RandomLabelMNIST-v0", num_tasks=3, epochs_per_task=1, num_samples=5_000, batch_size=5_000)
    tasks = [batch.targets.flatten() for _, batch in walk(stream)]
    rows = []
    for task in range(3):
        stream.load_state_dict({"seeds": [0], "task": task, "step_in_task": 0})
        rows.append(stream._tasks[0].targets)
    for targets in tasks:
        # Chi-squared with 9 degrees of freedom: 33.7 is exceeded once in 10,000.
        counts = torch.bincount(targets, minlength=10).double()
        assert float(((counts - 500) ** 2 / 500).sum()) < 33.7
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.mean(rows[one] == rows[other]) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_only_the_fraction_is_redrawn_from_task_to_task(fraction):
    stream = make(
        "RandomLabelMNIST-v0", relabel_fraction=fraction, num_samples=5_000, batch_size=100, num_tasks=3
    )
    before = stream.data.labels.numpy()[stream._rows[0]]
    for task in range(3):
        stream.load_state_dict({"seeds": [0], "task": task, "step_in_task": 0})
        targets = stream._tasks[0].targets
        # A redrawn target keeps its value once in ten.
        assert np.mean(targets != before) == pytest.approx(0.9 * fraction, abs=0.02)
        before = targets


@pytest.mark.parametrize("fraction", [0, 0.0, -0.5, 1.01, float("nan"), "half", True, None])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(OptionError, match=re.escape(f"relabel_fraction={fraction!r} ")):
        resolve("RandomLabelMNIST-v0", {"relabel_fraction": fraction})


def test_permuted_tasks_are_the_same_images_with_pixels_moved():
    stream = make("PermutedMNIST-v0", num_tasks=3, epochs_per_task=1, num_samples=300, batch_size=300)
    orders = []
    for (task, _, _), batch in walk(stream):
        order = stream._tasks[0].transform.order
        assert sorted(order.tolist()) == list(range(784)), task
        plain = stream.data.inputs[stream._epoch_rows[0]]
        assert torch.equal(batch.inputs[0], plain[:, order])
        assert torch.equal(batch.targets[0], stream.data.labels[stream._epoch_rows[0]])
        orders.append(order.tolist())
    assert orders[0] != list(range(784))
    assert orders[0] != orders[1] != orders[2]


def test_no_batch_after_the_end():
    stream = make("RandomLabelMNIST-v0")
    list(walk(stream))
    assert stream.done
    with pytest.raises(StepOrderError, match=r"\bend"):
        stream.batch()


def test_more_images_than_there_are():
    with pytest.raises(OptionError, match=r"\bnum_samples=51\b.*\b50\b"):
        numbered(num_samples=51)


def test_a_task_of_the_wrong_length_is_named():
    class Wrong(Numbered):
        def draw_task(self, rng, rows, previous):
            return Task(rows[:3], rows)

    with pytest.raises(OptionError, match=r"\bWrong\.draw_task\b.*\(3,\).*\bnum_samples=50\b"):
        Wrong(StreamSpec("W-v0", batch_size=8), [0])


def test_a_stream_must_define_its_tasks():
    class Empty(Numbered):
        draw_task = Stream.draw_task

    with pytest.raises(NotImplementedError, match=r"\bEmpty\b.*\bdraw_task\b"):
        Empty(StreamSpec("E-v0", batch_size=8), [0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("id", IDS)
def test_streams_are_the_same_on_a_gpu(id):
    spec = resolve(id, SHORT)
    pairs = zip(walk(CLASSES[id](spec, [0, 1])), walk(CLASSES[id](spec, [0, 1], "cuda")), strict=True)
    for (_, host), (_, device) in pairs:
        assert torch.equal(host.inputs, device.inputs.cpu())
        assert torch.equal(host.targets, device.targets.cpu())
