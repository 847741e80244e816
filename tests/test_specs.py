import json
import pickle

import numpy as np
import pytest

from clbench.config import AgentConfig, RunConfig
from clbench.errors import OptionError, UnknownNameError
from clbench.specs import PROTOCOLS, StreamSpec, protocol


def test_stream_spec_survives_json_and_pickle():
    spec = StreamSpec("A-v0", num_tasks=3, num_samples=512, options={"relabel_fraction": 0.5})
    assert StreamSpec(**json.loads(json.dumps(spec.to_json()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_run_config_survives_json():
    config = RunConfig(
        agent=AgentConfig(name="agents.l2", arguments={"strength": 0.1}),
        stream=StreamSpec("A-v0", num_samples=512, options={"x": 1}),
        protocol="quick",
        overrides={"num_samples": 512},
        seeds=(0, 4, 7),
    )
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_options_are_frozen():
    options = {"x": 1}
    spec = StreamSpec("A-v0", options=options)
    options["x"] = 2
    assert spec.options["x"] == 1
    with pytest.raises(TypeError):
        spec.options["x"] = 3  # type: ignore[index]


@pytest.mark.parametrize("name", ["num_tasks", "epochs_per_task", "batch_size", "num_samples"])
@pytest.mark.parametrize(
    ("value", "fault"), [(0, r".*\b1\b"), (-3, r".*\b1\b"), (2.0, ""), ("2", ""), (True, "")]
)
def test_counts_are_checked(name, value, fault):
    with pytest.raises(OptionError, match=f"{name}={value!r} {fault}"):
        StreamSpec("A-v0", **{name: value})


def test_a_batch_must_fit():
    with pytest.raises(OptionError, match=r"\bbatch_size=256\b.*\bnum_samples=255\b"):
        StreamSpec("A-v0", num_samples=255)


@pytest.mark.parametrize(("name", "value"), [("source", 3), ("source", None), ("data_dir", 3)])
def test_strings_are_checked(name, value):
    with pytest.raises(OptionError, match=f"{name}={value!r} "):
        StreamSpec("A-v0", **{name: value})


def test_numpy_counts_count():
    spec = StreamSpec("A-v0", num_tasks=np.int64(2))
    assert spec.num_tasks == 2
    assert type(spec.num_tasks) is int


def test_steps_drop_the_last_incomplete_batch():
    spec = StreamSpec("A-v0", epochs_per_task=40, num_samples=5_000)
    assert (spec.steps_per_epoch, spec.steps_per_task) == (19, 760)


# As in the source paper and its published code.
@pytest.mark.parametrize(
    ("name", "source", "images", "tasks", "epochs", "steps"),
    [
        ("quick", "embedded", 5_000, 15, 40, 760),
        ("standard", "torchvision", 60_000, 10, 100, 23_400),
        ("paper", "torchvision", 60_000, 40, 250, 58_500),
        ("paper-21k", "torchvision", 21_000, 40, 250, 20_500),
    ],
)
def test_protocols_are_those_of_the_spec(name, source, images, tasks, epochs, steps):
    rules = PROTOCOLS[name]
    assert (rules.source, rules.num_samples, rules.num_tasks, rules.epochs_per_task) == (
        source,
        images,
        tasks,
        epochs,
    )
    assert rules.seeds == 3
    spec = StreamSpec("A-v0", num_tasks=tasks, epochs_per_task=epochs, num_samples=images)
    assert spec.steps_per_task == steps


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'standart'.*'standard'"):
        protocol("standart")
