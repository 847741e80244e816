"""What a stream states of itself: its chance level, and settings that no protocol changes."""

import json
import math

import pytest

import clbench
from clbench.engine.requests import Request, check_request, closest_protocol
from clbench.errors import OptionError
from clbench.registration import register, resolve
from clbench.results.manifest import DataSource, RunManifest
from clbench.specs import PROTOCOLS
from clbench.streams import Stream, Task
from tests.cases import SHORT, short_env


class Guessable(Stream):
    """Labels are classes 0 to `used`."""

    options = {"used": 4}

    @classmethod
    def chance_level(cls, spec):
        return 1 / spec.options["used"]

    def draw_task(self, rng, rows, previous):
        return Task(rows, rng.integers(self.spec.options["used"], size=len(rows)))


class Silly(Guessable):
    level = None

    @classmethod
    def chance_level(cls, spec):
        return cls.level


TINY = {**SHORT, "seeds": 2, "device": "cpu", "indicators": "none"}


# Chance level.


@pytest.mark.parametrize("used", [2, 4])
def test_a_stream_states_its_chance_level(streams, tmp_path, drawn, small_networks, monkeypatch, used):
    lines = []
    monkeypatch.setattr(
        "clbench.engine.session.curves",
        lambda *args: lines.append(args[-1]) or clbench.plotting.curves(*args),
    )
    register("Guessable-v0", Guessable)
    evaluation = clbench.evaluate(
        "agents.vanilla", "Guessable-v0", **TINY, options={"used": used}, out=tmp_path
    )
    stored = json.loads((evaluation.folder / "run.json").read_text(encoding="utf-8"))
    assert stored["chance_level"] == evaluation.chance == evaluation.runs[0].chance == 1 / used
    assert lines == [1 / used]
    (score,) = evaluation.scores
    tasks = evaluation.tasks.pivot(index="seed", columns="task", values="accuracy")
    if (tasks[0] > 1 / used).all():
        share = (tasks[0] - tasks[1]) / (tasks[0] - 1 / used)
        assert score.share_lost.mean == pytest.approx(share.mean())
    else:
        assert math.isnan(score.share_lost.mean)


@pytest.mark.parametrize("value", [1, 2, -0.5, math.nan, "a", None])
def test_impossible_chance_levels_are_refused(streams, tmp_path, monkeypatch, value):
    monkeypatch.setattr(Silly, "level", value)
    register("Silly-v0", Silly)
    with pytest.raises(OptionError, match="Silly"):
        clbench.evaluate("agents.vanilla", "Silly-v0", **TINY, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_others_have_one_over_the_number_of_classes(tmp_path):
    env = clbench.record(short_env(), tmp_path, agent="mine")
    env.reset(seed=0)
    env.close()
    assert clbench.load_results(tmp_path).stored[0].manifest.chance_level == 0.1


def test_older_runs_have_one_over_the_number_of_classes_if_they_say_it():
    config = check_request(Request(agents="agents.vanilla"))[0].config
    for classes, chance in ((4, 0.25), (None, math.nan)):
        manifest = RunManifest(status="complete", config=config, data=DataSource(num_classes=classes))
        assert manifest.chance == pytest.approx(chance, nan_ok=True)


# A call, then the registration, then the protocol.


def config(**request):
    return check_request(Request(agents="agents.vanilla", env="Mine-v0", **request))[0].config


def test_what_a_stream_is_registered_with_wins_over_protocols(streams):
    register("Mine-v0", Guessable, num_tasks=7, num_samples=600)
    for protocol in ("quick", "paper"):
        stream = config(protocol=protocol).stream
        assert (stream.num_tasks, stream.num_samples) == (7, 600)
        assert stream.epochs_per_task == PROTOCOLS[protocol].epochs_per_task
        assert stream.source == PROTOCOLS[protocol].source
        assert not config(protocol=protocol).overrides
    assert resolve("Mine-v0").num_tasks == 7


def test_a_call_wins_over_both(streams):
    register("Mine-v0", Guessable, num_tasks=7)
    made = config(overrides={"num_tasks": 3, "used": 2})
    assert (made.stream.num_tasks, made.stream.options) == (3, {"used": 2})
    assert made.overrides == {"num_tasks": 3, "used": 2}
    assert not config(overrides={"num_tasks": 7}).overrides
    assert closest_protocol(resolve("Mine-v0", {"num_samples": 5_000}))[1] == {}


def test_a_registered_source_brings_all_its_images(streams):
    register("Mine-v0", Guessable, source="torchvision")
    stream = config(protocol="quick").stream
    assert (stream.source, stream.num_samples) == ("torchvision", None)
