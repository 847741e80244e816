import copy
import json
import pickle
import re
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec

import clbench
from clbench.errors import LoadError, OptionError, RegistrationError, UnknownNameError
from clbench.registration import STREAMS, lookup, register, resolve
from clbench.streams import Stream, Task
from clbench.streams.random_label import RandomLabel
from tests.cases import IDS, SHORT


class Plain(Stream):
    options = {"angle": 10}

    def draw_task(self, rng, rows, previous):
        return Task(rows, rng.integers(self.data.num_classes, size=len(rows)))


@pytest.mark.parametrize("id", IDS)
def test_every_id_resolves_and_steps(id):
    env = clbench.make(id, **SHORT)
    env.reset(seed=0)
    _, reward, *_ = env.step(env.action_space.sample())
    assert 0 <= reward <= 1


def test_all_registered_ids_are_tested():
    assert sorted(STREAMS) == sorted(IDS)


def test_a_registered_stream_is_known_everywhere(streams):
    register("Plain-v0", Plain, num_tasks=4, about="for tests")
    assert resolve("Plain-v0").num_tasks == 4
    assert resolve("Plain-v0", {"num_tasks": 2, "angle": 30}).options == {"angle": 30}
    assert clbench.make("Plain-v0", **SHORT).reset(seed=0)[0].shape == (100, 784)
    assert gymnasium.make("clbench/Plain-v0", **SHORT).reset(seed=0)[0].shape == (100, 784)
    assert clbench.make_vec("Plain-v0", 2, **SHORT).reset(seed=0)[0].shape == (2, 100, 784)


def test_a_duplicate_is_refused(streams):
    register("Plain-v0", Plain)
    with pytest.raises(RegistrationError, match="'Plain-v0'"):
        register("Plain-v0", Plain)


@pytest.mark.parametrize("id", ["Plain", "Plain-0", "plain v0", "a/Plain-v0", "-v0", "Plain-v0 ", "", 3])
def test_malformed_ids_are_refused(streams, id):
    with pytest.raises(RegistrationError, match=re.escape(f" {id!r}")):
        register(id, Plain)


@pytest.mark.parametrize("stream", [dict, Plain.__name__, "module:", "a b:C", 3, None])
def test_what_is_no_stream_is_refused(streams, stream):
    with pytest.raises(RegistrationError, match=re.escape(repr(stream))):
        register("Plain-v0", stream)
    assert "Plain-v0" not in streams


def test_impossible_defaults_are_refused_at_once(streams):
    with pytest.raises(OptionError, match="num_tasks=0"):
        register("Plain-v0", Plain, num_tasks=0)
    assert "Plain-v0" not in streams


def test_unknown_id_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'PermuteMNIST-v0'.*'PermutedMNIST-v0'"):
        clbench.make("PermuteMNIST-v0")


def test_unknown_option_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'num_task'.*'num_tasks'"):
        clbench.make("PermutedMNIST-v0", num_task=3)
    with pytest.raises(UnknownNameError, match="'PermutedMNIST-v0'.*'relabel_fraction'"):
        clbench.make("PermutedMNIST-v0", relabel_fraction=0.5)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"num_tasks": 0}, "num_tasks=0"),
        ({"epochs_per_task": -1}, "epochs_per_task=-1"),
        ({"batch_size": 2.5}, r"batch_size=2\.5"),
        ({"num_samples": "all"}, "num_samples='all'"),
        ({"num_samples": 5_001}, r"\bnum_samples=5,001\b.*\b5,000\b.*'embedded'"),
        ({"batch_size": 5_001}, r"\bbatch_size=5001\b.*\bnum_samples=5000\b"),
        (
            {"source": "torchvision", "num_samples": 60_001},
            r"\bnum_samples=60,001\b.*\b60,000\b.*'torchvision'",
        ),
        ({"source": "embeded"}, "'embeded'.*'embedded'"),
        ({"data_dir": 3}, "data_dir=3"),
    ],
)
def test_impossible_overrides_are_refused(overrides, fault):
    with pytest.raises((OptionError, UnknownNameError), match=fault):
        clbench.make("RandomLabelMNIST-v0", **overrides)


def test_module_prefix_imports_the_module(streams, tmp_path, monkeypatch):
    (tmp_path / "my_streams.py").write_text(
        "import clbench\nfrom clbench.streams.permuted import Permuted\nclbench.register('Mine-v1', Permuted)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert lookup("my_streams:Mine-v1").id == "Mine-v1"
    with pytest.raises(LoadError, match=r"'no_such_streams'.*'Mine-v1'.*\bModuleNotFoundError\b"):
        lookup("no_such_streams:Mine-v1")


def test_env_spec_survives_json_pickle_and_deepcopy():
    env = clbench.make("RandomLabelMNIST-v0", relabel_fraction=0.5, **SHORT)
    spec = EnvSpec.from_json(env.spec.to_json())
    assert json.loads(env.spec.to_json())["kwargs"]["relabel_fraction"] == 0.5
    for again in (spec, copy.deepcopy(env.spec), pickle.loads(pickle.dumps(env.spec))):
        twin = gymnasium.make(again)
        assert np.array_equal(twin.reset(seed=1)[0], env.reset(seed=1)[0])
        assert twin.unwrapped.stream_spec == env.stream_spec


def test_make_does_not_wrap_and_gymnasium_does():
    assert clbench.make("RandomLabelMNIST-v0", **SHORT).unwrapped.spec.id == "clbench/RandomLabelMNIST-v0"
    assert type(clbench.make("RandomLabelMNIST-v0", **SHORT)).__name__ == "StreamEnv"


def test_options_reach_the_data_of_a_streams_own(streams):
    class Blobs(Stream):
        options = {"spread": 1.0}

        @classmethod
        def load_data(cls, spec):
            labels = torch.arange(20) % 2
            return clbench.LabelledData(labels.float()[:, None] * spec.options["spread"], labels, 2)

        draw_task = Plain.draw_task

    register("Blobs-v0", Blobs, batch_size=10)
    highs = [
        clbench.make("Blobs-v0", spread=spread).observation_space.high.max() for spread in (1.0, 7.0, 1.0)
    ]
    assert highs == [1.0, 7.0, 1.0]
    with pytest.raises(OptionError, match=r"\bnum_samples=21\b.*\b20\b"):
        clbench.make("Blobs-v0", num_samples=21)


def test_a_module_that_raises_is_named(tmp_path, monkeypatch):
    (tmp_path / "raising_streams.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"'raising_streams'.*'Mine-v1'.*\bZeroDivisionError\b"):
        lookup("raising_streams:Mine-v1")


def test_string_entries_load_late():
    assert lookup("RandomLabelMNIST-v0").load() is RandomLabel


def test_gymnasium_knows_us_without_an_import_of_clbench(tmp_path):
    """The installation's plug-in; asking first whether Gymnasium is there must not disarm it."""
    script = """
import sys
from importlib.util import find_spec
assert find_spec("gymnasium")
assert "clbench" not in sys.modules
import warnings
warnings.simplefilter("error")
import gymnasium
assert "torch" not in sys.modules
env = gymnasium.make("clbench/RandomLabelMNIST-v0", num_tasks=1, epochs_per_task=1)
print(env.reset(seed=0)[0].shape)
envs = gymnasium.make_vec("clbench/PermutedMNIST-v0", num_envs=2, num_tasks=1, epochs_per_task=1)
print(tuple(envs.reset(seed=0)[0].shape))
assert not [finder for finder in sys.meta_path if "clbench" in type(finder).__module__]
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[:2] == ["(256, 784)", "(2, 256, 784)"], done.stderr
