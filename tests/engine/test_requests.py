"""Requests become runs, and runs jobs: every name and value is checked before anything starts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.vanilla import Agent as Vanilla
from clbench.engine.parallelism import choose_parallelism, split
from clbench.engine.requests import Request, check_request, check_seeds
from clbench.errors import DeviceError, LoadError, OptionError, UnknownNameError


def runs_of(agents="agents.vanilla", *, arguments=None, seeds=3, device="cpu", **settings):
    """The runs of a request; settings that are not a request's are overrides."""
    own = {name: settings.pop(name) for name in ("env", "protocol", "workers") if name in settings}
    request = Request(
        agents=agents, arguments=arguments or {}, seeds=seeds, device=device, overrides=settings, **own
    )
    return check_request(request)


def config_of(*args, **settings):
    (run,) = runs_of(*args, **settings)
    return run.config


def test_a_protocol_settles_the_stream():
    config = config_of(protocol="paper-21k")
    assert (config.stream.source, config.stream.num_samples) == ("torchvision", 21_000)
    assert (config.stream.num_tasks, config.stream.epochs_per_task) == (40, 250)
    assert config.overrides == {}


def test_overrides_are_applied_and_recorded():
    config = config_of(num_tasks=3, relabel_fraction=0.5, num_samples=None)
    assert config.stream.num_tasks == 3
    assert config.stream.options == {"relabel_fraction": 0.5}
    assert config.overrides == {"num_tasks": 3, "relabel_fraction": 0.5}


def test_neither_what_a_protocol_says_already_nor_where_files_are_is_a_change():
    assert config_of(num_tasks=15, num_samples=5_000, relabel_fraction=1.0).overrides == {}
    assert config_of(protocol="standard", data_dir="/somewhere").overrides == {}


def test_another_source_brings_all_its_images():
    assert config_of(source="torchvision").stream.num_samples is None
    assert config_of(source="torchvision", num_samples=700).stream.num_samples == 700
    assert config_of(source="embedded").stream.num_samples == 5_000


def test_a_run_per_agent_each_with_its_arguments_and_their_defaults():
    first, second = runs_of(["agents.l2", "agents.perlayer"], arguments={"step_size": 0.1})
    assert [run.label for run in (first, second)] == ["agents.l2", "agents.perlayer"]
    assert [run.position for run in (first, second)] == [0, 1]
    assert first.config.stream == second.config.stream
    recorded = config_of("agents.l2", arguments={"strength": 0.1}).agent.arguments
    assert list(recorded.items())[:3] == [("step_size", 1e-3), ("strength", 0.1), ("scheduler", "none")]
    assert recorded["gamma"] == 0.8


@pytest.mark.parametrize(
    ("request_", "error", "fault"),
    [
        ({"agents": "agents.vanila"}, UnknownNameError, r"'agents\.vanila'.*'agents\.vanilla'"),
        ({"agents": []}, UnknownNameError, r"\bagents\.vanilla\b.*clbench list"),
        ({"agents": ["agents.l2", "agents.l2"]}, OptionError, r"'agents\.l2'"),
        ({"agents": [3]}, LoadError, r"\b3\b"),
        ({"agents": [dict]}, LoadError, r"\bdict\b.*\bact\b.*\blearn\b"),
        ({"protocol": "quik"}, UnknownNameError, "'quik'.*'quick'"),
        ({"env": "RandomLabel-v0"}, UnknownNameError, "'RandomLabel-v0'.*'RandomLabelMNIST-v0'"),
        ({"seeds": 0}, OptionError, r"\bseeds=0\b.*\b1\b"),
        ({"seeds": [1, 1]}, OptionError, r"\bseeds 1, 1\b"),
        ({"seeds": [-1]}, OptionError, r"\bseed -1\b.*\b0\b"),
        ({"seeds": []}, OptionError, r"\bseeds\b"),
        ({"workers": 0}, OptionError, "workers=0"),
        ({"num_tasks": -2}, OptionError, "num_tasks=-2"),
        ({"source": "imagenet"}, UnknownNameError, "'imagenet'.*embedded, torchvision"),
        ({"relabel_fracton": 0.5}, UnknownNameError, "'relabel_fracton'.*'relabel_fraction'"),
        ({"arguments": {"step_size": 0}}, OptionError, r"\bstep_size=0\b.*\b0\b"),
        ({"arguments": {"step_size": -1.0}}, OptionError, r"\bstep_size=-1\.0\b.*\b0\b"),
    ],
)
def test_impossible_requests(request_, error, fault):
    with pytest.raises(error, match=fault):
        runs_of(**request_)


def test_a_profile_is_not_of_agents_together():
    with pytest.raises(OptionError, match=r"\bprofile\b.*\btogether\b"):
        Request(agents="agents.l2", profile=True, together=True)


def test_absent_device():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match=r"\bcuda\b.*--device cpu\b"):
        runs_of(device="cuda")


def test_arguments_that_cannot_be_recorded():
    class Extra(Vanilla):
        def __init__(self, spec, seeds, extra=None):
            super().__init__(spec, seeds)

    with pytest.raises(OptionError, match=r"\bextra=\[\{1, 2\}\]"):
        runs_of(Extra, arguments={"extra": [{1, 2}]})


def test_seeds_by_count_or_by_name():
    assert check_seeds(3) == (0, 1, 2)
    assert check_seeds([0, 4, 7]) == (0, 4, 7)


COUNTS = st.integers(1, 30)


@given(
    seeds=COUNTS,
    vectorized=st.integers(0, 5),
    plain=st.integers(0, 5),
    cores=st.integers(1, 64),
    limit=st.none() | COUNTS,
)
def test_parallelism_keeps_its_bounds(seeds, vectorized, plain, cores, limit):
    plain = plain or (vectorized == 0)
    chosen = choose_parallelism(seeds, vectorized, plain, cores, limit)
    jobs = vectorized * chosen.shards + plain * seeds
    assert 1 <= chosen.shards <= seeds
    assert chosen.workers <= min(jobs, limit or 2 * cores)
    assert chosen.threads >= 1
    if chosen.workers > cores:  # processes take turns only if each has but one thread
        assert chosen.threads == 1
    else:
        assert chosen.workers * chosen.threads <= cores


def test_the_user_gets_the_processes_asked_for():
    assert [choose_parallelism(3, 1, 0, 2, limit).workers for limit in (1, 2, 3, 9)] == [1, 2, 3, 3]


@given(seeds=st.lists(st.integers(), min_size=1, max_size=20), shards=st.integers(1, 20))
def test_split_keeps_all_seeds_in_order(seeds, shards):
    shards = min(shards, len(seeds))
    cut = split(seeds, shards)
    assert [seed for piece in cut for seed in piece] == seeds
    assert len(cut) == shards
    assert max(map(len, cut)) - min(map(len, cut)) <= 1
