"""Requests become plans, and plans jobs: every name and value is checked before anything starts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.vanilla import Agent as Vanilla
from clbench.errors import DeviceError, LoadError, OptionError, UnknownNameError
from clbench.evaluation.jobs import divide, split
from clbench.evaluation.plan import check_seeds, make_plan


def plan(agents="agents.vanilla", env="RandomLabelMNIST-v0", protocol="quick", seeds=3, workers=None, **rest):
    return make_plan(agents, env, protocol, seeds, rest, {}, "cpu", workers)


def test_a_protocol_settles_the_stream():
    spec = plan(protocol="paper-21k").spec
    assert (spec.stream.source, spec.stream.num_samples) == ("torchvision", 21_000)
    assert (spec.stream.num_tasks, spec.stream.epochs_per_task) == (40, 250)
    assert spec.overrides == {}


def test_overrides_are_applied_and_noted():
    spec = plan(num_tasks=3, relabel_fraction=0.5, num_samples=None).spec
    assert spec.stream.num_tasks == 3
    assert spec.stream.options == {"relabel_fraction": 0.5}
    assert spec.overrides == {"num_tasks": 3, "relabel_fraction": 0.5}


def test_what_a_protocol_says_already_is_no_change_and_nor_is_where_files_lie():
    assert plan(num_tasks=15, num_samples=5_000, relabel_fraction=1.0).spec.overrides == {}
    assert plan(protocol="standard", data_dir="/somewhere").spec.overrides == {}


def test_another_source_brings_all_its_images():
    assert plan(source="torchvision").spec.stream.num_samples is None
    assert plan(source="torchvision", num_samples=700).spec.stream.num_samples == 700
    assert plan(source="embedded").spec.stream.num_samples == 5_000


def test_arguments_are_recorded_with_their_defaults():
    made = make_plan("agents.l2", "RandomLabelMNIST-v0", "quick", 1, {}, {"strength": 0.1}, "cpu", None)
    recorded = made.spec.agents[0].arguments
    assert list(recorded.items())[:3] == [("step_size", 1e-3), ("strength", 0.1), ("scheduler", "none")]
    assert recorded["gamma"] == 0.8


@pytest.mark.parametrize(
    ("request_", "error", "fault"),
    [
        ({"agents": "agents.vanila"}, UnknownNameError, r"'agents\.vanila'.*'agents\.vanilla'"),
        ({"agents": []}, UnknownNameError, r"\bagents\.vanilla\b.*--list"),
        ({"agents": ["agents.l2", "agents.l2"]}, OptionError, r"'agents\.l2'"),
        ({"protocol": "quik"}, UnknownNameError, "'quik'.*'quick'"),
        ({"env": "RandomLabel-v0"}, UnknownNameError, "'RandomLabel-v0'.*'RandomLabelMNIST-v0'"),
        ({"seeds": 0}, OptionError, r"\bseeds=0\b.*\b1\b"),
        ({"seeds": [1, 1]}, OptionError, r"\bseeds 1, 1\b"),
        ({"seeds": [-1]}, OptionError, r"\bseed -1\b.*\b0\b"),
        ({"seeds": []}, OptionError, r"\bseeds\b"),
        ({"workers": 0}, OptionError, "workers=0"),
        ({"num_tasks": -2}, OptionError, "num_tasks=-2"),
        ({"relabel_fracton": 0.5}, UnknownNameError, "'relabel_fracton'.*'relabel_fraction'"),
    ],
)
def test_impossible_requests(request_, error, fault):
    with pytest.raises(error, match=fault):
        plan(**request_)


@pytest.mark.parametrize("step_size", [0, -1.0])
def test_step_size_is_checked_before_anything_starts(step_size):
    with pytest.raises(OptionError, match=rf"\bstep_size={step_size}\b.*\b0\b"):
        make_plan("agents.l2", "RandomLabelMNIST-v0", "quick", 1, {}, {"step_size": step_size}, "cpu", None)


def test_absent_device():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match=r"\bcuda\b.*--device cpu\b"):
        make_plan("agents.l2", "RandomLabelMNIST-v0", "quick", 1, {}, {}, "cuda", None)


def test_seeds_by_count_or_by_name():
    assert check_seeds(3) == (0, 1, 2)
    assert check_seeds([0, 4, 7]) == (0, 4, 7)


COUNTS = st.integers(1, 30)


@given(
    seeds=COUNTS,
    lockstep=st.integers(0, 5),
    plain=st.integers(0, 5),
    cores=st.integers(1, 64),
    limit=st.none() | COUNTS,
)
def test_division_keeps_its_bounds(seeds, lockstep, plain, cores, limit):
    plain = plain or (lockstep == 0)
    found = divide(seeds, lockstep, plain, cores, limit)
    jobs = lockstep * found.parts + plain * seeds
    assert 1 <= found.parts <= seeds
    assert found.workers <= min(jobs, limit or 2 * cores)
    assert found.threads >= 1
    if found.workers > cores:  # processes take turns only if each has but one thread
        assert found.threads == 1
    else:
        assert found.workers * found.threads <= cores


def test_the_user_gets_the_processes_asked_for():
    assert [divide(3, 1, 0, 2, limit).workers for limit in (1, 2, 3, 9)] == [1, 2, 3, 3]


@given(seeds=st.lists(st.integers(), min_size=1, max_size=20), parts=st.integers(1, 20))
def test_split_keeps_all_seeds_in_order(seeds, parts):
    parts = min(parts, len(seeds))
    cut = split(seeds, parts)
    assert [seed for part in cut for seed in part] == seeds
    assert len(cut) == parts
    assert max(map(len, cut)) - min(map(len, cut)) <= 1


@pytest.mark.parametrize(("agent", "fault"), [(3, r"\b3\b"), (dict, r"\bdict\b.*\bact\b.*\blearn\b")])
def test_what_is_no_agent(agent, fault):
    with pytest.raises(LoadError, match=fault):
        plan(agents=[agent])


def test_arguments_that_cannot_be_recorded():
    class Extra(Vanilla):
        def __init__(self, spec, seeds, extra=None):
            super().__init__(spec, seeds)

    with pytest.raises(OptionError, match=r"\bextra=\[\{1, 2\}\]"):
        make_plan(Extra, "RandomLabelMNIST-v0", "quick", 1, {}, {"extra": [{1, 2}]}, "cpu", None)
