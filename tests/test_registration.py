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
from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv
from clbench.errors import LoadError, OptionError, RegistrationError, UnknownNameError, UnknownOptionError
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
    assert type(gymnasium.make("clbench/Plain-v0", **SHORT)) is StreamEnv
    assert gymnasium.make("clbench/Plain-v0", **SHORT).reset(seed=0)[0].shape == (100, 784)
    assert clbench.make_vec("Plain-v0", 2, **SHORT).reset(seed=0)[0].shape == (2, 100, 784)


def test_a_duplicate_is_refused(streams):
    register("Plain-v0", Plain)
    with pytest.raises(RegistrationError, match="'Plain-v0'"):
        register("Plain-v0", Plain)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("defaults", [{}, {"num_tasks": 3}])
def test_a_stream_of_ours_is_not_replaced(streams, id, defaults):
    before = dict(streams)
    with pytest.raises(RegistrationError, match=f"'{id}'"):
        register(id, STREAMS[id].stream, about=STREAMS[id].about, **defaults)
    assert streams == before


REGISTERS = "import clbench\nclbench.register('Plain-v0', {stream}{rest})\n"


@pytest.mark.parametrize("named", [True, False])
def test_only_what_is_executed_again_registers_the_same_again(streams, named):
    """A stream by its location, or by its class from elsewhere: the same lines, and the same settings."""
    location = f"{__name__}:Plain"
    text = REGISTERS.format(stream=repr(location) if named else "Plain", rest=", num_tasks=4")
    for _ in range(2):
        exec(text, {"__name__": "some_streams", "Plain": Plain})
    for other, name in (
        (text, "other_streams"),
        (text.replace("=4", "=5"), "some_streams"),
        (text.replace("=4", "=4, about='x'"), "some_streams"),
    ):
        with pytest.raises(RegistrationError, match="'Plain-v0'"):
            exec(other, {"__name__": name, "Plain": Plain})
    assert streams["Plain-v0"].defaults == {"num_tasks": 4}
    twice = text.replace("-v0", "-v1") * 2
    with pytest.raises(RegistrationError, match="'Plain-v1'"):
        exec(twice, {"__name__": "some_streams", "Plain": Plain})


@pytest.mark.parametrize(
    "id", ["Plain", "Plain-0", "plain v0", "a/Plain-v0", "-v0", "Plain-v0 ", "Plain-v01", "", 3]
)
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
    "make",
    [
        lambda **kw: clbench.make("PermutedMNIST-v0", **kw),
        lambda **kw: clbench.make_vec("PermutedMNIST-v0", 2, **kw),
        lambda **kw: gymnasium.make("clbench/PermutedMNIST-v0", **kw),
        lambda **kw: gymnasium.make_vec("clbench/PermutedMNIST-v0", 2, **kw),
        lambda **kw: gymnasium.make_vec("clbench/PermutedMNIST-v0", 2, vectorization_mode="sync", **kw),
        lambda **kw: register("Plain-v0", Plain, **kw),
    ],
)
def test_unknown_options_are_type_errors_as_pythons_own(streams, make):
    """Other libraries try an option, and look for Python's phrase."""
    with pytest.raises(UnknownOptionError, match=r"unexpected keyword argument 'frameskip'.*\bnum_tasks\b"):
        make(frameskip=1)
    with pytest.raises(TypeError, match=r"'batchsize'.*'batch_size'"):
        make(batchsize=1)


def test_our_text_of_an_unknown_option_is_one_line_without_gymnasiums():
    with pytest.raises(UnknownOptionError) as caught:
        clbench.make("PermutedMNIST-v0", frameskip=1)
    assert "environment creator" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["vectorization_mode", "vector_kwargs", "wrappers"])
def test_make_vec_has_one_way_to_be_a_vector(name):
    with pytest.raises(TypeError, match=rf"'{name}'.*gymnasium\.make_vec"):
        clbench.make_vec("PermutedMNIST-v0", 2, **{name: "async"})


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
        "import clbench\nfrom clbench.streams.permuted import Permuted\nclbench.register('Mine-v1', Permuted)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert lookup("my_streams:Mine-v1").id == "Mine-v1"
    for id in ("no_such_streams:Mine-v1", "my_streams.no_such_streams:Mine-v1", "my no_such_streams:Mine-v1"):
        with pytest.raises(UnknownNameError, match=r"Mine-v1.*\bno_such_streams'"):
            lookup(id)
    (tmp_path / "needy_streams.py").write_text("import no_such_module", encoding="utf-8")
    with pytest.raises(LoadError, match=r"'needy_streams'.*'Mine-v2'.*\bModuleNotFoundError\b"):
        lookup("needy_streams:Mine-v2")


def test_env_spec_survives_json_pickle_and_deepcopy():
    env = clbench.make("RandomLabelMNIST-v0", relabel_fraction=0.5, **SHORT)
    spec = EnvSpec.from_json(env.spec.to_json())
    assert json.loads(env.spec.to_json())["kwargs"]["relabel_fraction"] == 0.5
    for again in (env.spec, spec, copy.deepcopy(env.spec), pickle.loads(pickle.dumps(env.spec))):
        twin = gymnasium.make(again)
        assert type(twin) is StreamEnv
        assert twin.spec == env.spec
        assert np.array_equal(twin.reset(seed=1)[0], env.reset(seed=1)[0])
        assert twin.stream_spec == env.stream_spec


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_makes_what_clbench_makes(id):
    ours, theirs = clbench.make(id, **SHORT), gymnasium.make(f"clbench/{id}", **SHORT)
    prefixed = gymnasium.make(f"clbench:clbench/{id}", **SHORT)
    assert type(ours) is type(theirs) is type(prefixed) is StreamEnv
    assert ours.spec == theirs.spec == prefixed.spec
    assert ours.agent_spec == theirs.agent_spec == prefixed.agent_spec
    pickled = pickle.loads(pickle.dumps(theirs))
    assert np.array_equal(pickled.reset(seed=3)[0], ours.reset(seed=3)[0])
    assert "wrapper" not in theirs.spec.pprint(disable_print=True)


@pytest.mark.parametrize("prefix", ["clbench/", "clbench:clbench/"])
@pytest.mark.parametrize("named", [{}, {"vectorization_mode": "vector_entry_point"}])
def test_gymnasium_makes_what_clbench_makes_of_many_seeds(prefix, named):
    ours = clbench.make_vec("PermutedMNIST-v0", 2, **SHORT)
    theirs = gymnasium.make_vec(f"{prefix}PermutedMNIST-v0", num_envs=2, **named, **SHORT)
    assert type(ours) is type(theirs) is StreamVectorEnv
    assert torch.equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    again = gymnasium.make_vec(theirs.spec)
    assert type(again) is StreamVectorEnv
    assert torch.equal(again.reset(seed=3)[0], theirs.reset(seed=3)[0])


def test_gymnasium_lists_the_streams(streams):
    register("Plain-v0", Plain)
    listing = gymnasium.pprint_registry(disable_print=True)
    assert all(f"clbench/{id}" in listing for id in STREAMS)
    assert gymnasium.spec("clbench/Plain-v0").kwargs == {"stream": f"{__name__}:Plain-v0"}
    assert gymnasium.spec("clbench/PermutedMNIST-v0").kwargs == {"stream": "PermutedMNIST-v0"}


def test_what_one_environment_is_given_is_not_the_next_ones(streams):
    before = copy.deepcopy(gymnasium.spec("clbench/PermutedMNIST-v0"))
    clbench.make("PermutedMNIST-v0", **SHORT)
    clbench.make_vec("PermutedMNIST-v0", 2, **SHORT)
    assert gymnasium.spec("clbench/PermutedMNIST-v0") == before


def test_an_old_version_is_made_without_a_warning(streams):
    register("Plain-v0", Plain)
    register("Plain-v1", Plain)
    assert clbench.make("Plain-v0", **SHORT).spec.id == "clbench/Plain-v0"
    assert clbench.make_vec("Plain-v0", 2, **SHORT).spec.id == "clbench/Plain-v0"


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
    (tmp_path / "raising_streams.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"'raising_streams'.*'Mine-v1'.*\bZeroDivisionError\b"):
        lookup("raising_streams:Mine-v1")


def test_string_entries_load_late():
    assert lookup("RandomLabelMNIST-v0").load() is RandomLabel


def in_a_new_interpreter(script, folder):
    """What a program prints that starts in `folder`; none of its warnings is let pass."""
    script = f"import warnings\nwarnings.simplefilter('error')\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.process
@pytest.mark.parametrize("first", ["import clbench, gymnasium", "import gymnasium, clbench"])
def test_gymnasium_knows_the_streams_once_clbench_is_imported(tmp_path, first):
    script = f"""
{first}
env = gymnasium.make("clbench/RandomLabelMNIST-v0", num_tasks=1, epochs_per_task=1)
print(type(env).__name__, env.agent_spec.num_tasks, env.reset(seed=0)[0].shape)
"""
    assert in_a_new_interpreter(script, tmp_path) == ["StreamEnv 1 (256, 784)"]


@pytest.mark.process
def test_gymnasium_imports_clbench_if_the_id_says_so(tmp_path):
    """And nothing of ours runs before that."""
    script = """
import sys, gymnasium
print([name for name in sys.modules if name.startswith("clbench")])
env = gymnasium.make("clbench:clbench/RandomLabelMNIST-v0", num_tasks=1, epochs_per_task=1)
print(type(env).__name__, env.reset(seed=0)[0].shape)
"""
    assert in_a_new_interpreter(script, tmp_path) == ["[]", "StreamEnv (256, 784)"]


@pytest.mark.process
def test_a_second_import_registers_nothing_twice(tmp_path):
    script = """
import importlib, sys, gymnasium
import clbench.registration
importlib.reload(clbench.registration)
importlib.reload(clbench)
for name in [name for name in sys.modules if name.startswith("clbench")]:
    del sys.modules[name]
import clbench.registration
print(*[id for id in gymnasium.registry if id.startswith("clbench/")])
print(*[f"clbench/{id}" for id in clbench.registration.STREAMS])
"""
    ids = " ".join(f"clbench/{id}" for id in IDS)
    assert in_a_new_interpreter(script, tmp_path) == [ids, ids]
