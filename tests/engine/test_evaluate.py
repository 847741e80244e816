"""Whole evaluations: what they write and return, and which agents and streams they take."""

import re
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

import clbench
from clbench.engine.parallelism import Parallelism
from clbench.errors import AgentError, OutputError
from clbench.observing import DEFAULT, DEFINITIONS
from clbench.results import RunFolder
from clbench.streams.permuted import Permuted
from tests.cases import SHORT
from tests.engine.agents import PLAIN
from tests.engine.jobs import FAILS
from tests.inline import in_this_process
from tests.processes import run_python
from tests.runs import manifest_in

TINY = {**SHORT, "seeds": 2, "device": "cpu"}
RUN_FILES = ["indicators.csv", "run.json", "tasks.csv"]


pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, forked_workers):
    """Two agents on a short stream, twice: by workers, and in this process."""
    out = tmp_path_factory.mktemp("results")
    by_workers = clbench.evaluate(["agents.vanilla", "agents.reset"], **TINY, out=out, workers=2)
    with in_this_process():
        return by_workers, clbench.evaluate(["agents.vanilla", "agents.reset"], **TINY, out=out, workers=2)


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def without_seconds(evaluation):
    return evaluation.tasks.drop(columns="seconds")


def test_a_group_folder_has_a_run_folder_per_agent(finished):
    evaluation = finished[0]
    names = ["agents.vanilla", "agents.reset"]
    assert evaluation.folder.name == "RandomLabelMNIST-v0-quick-1"
    shared = ["curves.png", "indicators.png", "scores.csv"]
    assert files_in(evaluation.folder) == sorted([*names, *shared])
    records, measured = [], []
    for position, (name, config) in enumerate(zip(names, evaluation.configs, strict=True)):
        folder = RunFolder(evaluation.folder / name)
        assert files_in(folder.path) == RUN_FILES
        manifest = folder.read_manifest()
        assert manifest == evaluation.runs[position]
        assert (manifest.status, manifest.position, manifest.config) == ("complete", position, config)
        assert config.agent.name == name
        assert config.stream.num_samples == 300
        assert config.indicators == DEFAULT
        assert len(manifest.data.sha256) == 64
        assert manifest.agent_source.sha256
        assert manifest.stream_source.class_ == "clbench.streams.random_label:RandomLabel"
        assert manifest.indicator_definitions == DEFINITIONS == 2
        assert manifest.timing.steps_per_second > 0
        assert manifest.versions["torch"]
        assert manifest.hardware["cores"]
        assert manifest.started
        assert manifest.command
        records += folder.read_tasks()
        measured += folder.read_indicators()
    assert records == list(evaluation.records)
    assert [vars(one) | {"value": 0} for one in measured] == [
        vars(one) | {"value": 0} for one in evaluation.indicator_records
    ]
    for ours, theirs in zip(measured, evaluation.indicator_records, strict=True):
        assert ours.value == pytest.approx(theirs.value, rel=1e-8)


def test_a_group_or_one_of_its_runs_is_loaded(finished):
    folder = finished[0].folder
    group, run = clbench.load_results(folder), clbench.load_results(folder / "agents.reset")
    assert group.runs["agent"].tolist() == ["agents.vanilla", "agents.reset"]
    assert group.tasks["accuracy"].tolist() == finished[0].tasks["accuracy"].tolist()
    assert run.runs["agent"].tolist() == ["agents.reset"]
    assert run.tasks["accuracy"].tolist() == group.tasks.query("agent == 'agents.reset'")["accuracy"].tolist()


def test_results_are_frames(finished):
    tasks, summary = finished[0].tasks, finished[0].summary
    assert len(tasks) == 2 * 2 * 2
    assert list(tasks.groupby(["agent", "seed"], sort=False).size().index) == [
        (agent, seed) for agent in ("agents.vanilla", "agents.reset") for seed in (0, 1)
    ]
    assert set(summary["agent"]) == {"agents.vanilla", "agents.reset"}
    mean = tasks[tasks["agent"] == "agents.reset"]["accuracy"].mean()
    row = summary[summary["agent"] == "agents.reset"].iloc[0]
    assert row["average_task_accuracy"] == pytest.approx(mean)
    assert row["average_task_accuracy_low"] <= mean <= row["average_task_accuracy_high"]
    assert row["steps_per_second"] > 0
    pd.testing.assert_frame_equal(pd.read_csv(finished[0].folder / "scores.csv"), summary)


def test_indicators_are_a_frame_and_optional(finished, tmp_path, inline):
    """A single agent's run is its own group."""
    table = finished[0].indicators
    assert list(table.columns) == ["agent", "seed", "task", "step", "layer", "indicator", "value"]
    assert set(table["indicator"]) == set(DEFAULT)
    assert np.isfinite(table["value"]).all()
    without = clbench.evaluate("agents.vanilla", **TINY, indicators="none", out=tmp_path)
    assert without.indicators.empty
    assert files_in(without.folder) == ["curves.png", "run.json", "scores.csv", "tasks.csv"]
    assert RunFolder(without.folder).read_indicators() == []
    same = finished[0].tasks.query("agent == 'agents.vanilla'")["accuracy"].tolist()
    assert without.tasks["accuracy"].tolist() == same


def test_same_seed_same_table(finished):
    by_workers, inline = finished
    assert by_workers.folder != inline.folder
    assert without_seconds(by_workers).equals(without_seconds(inline))


def test_how_seeds_are_spread_does_not_matter(tmp_path, monkeypatch):
    """Two processes of one seed, and both in lockstep: the same to the bit."""
    measured = ["sharpness", "gradient_noise", "dormant_units"]
    tables, files = [], []
    for count in (2, 1):
        spread = Parallelism(count, workers=count, threads=1)
        monkeypatch.setattr("clbench.engine.requests.choose_parallelism", lambda *_, spread=spread: spread)
        evaluation = clbench.evaluate(
            "agents.l2",
            **TINY,
            arguments={"scheduler": "per-layer", "every": 2},
            indicators=measured,
            out=tmp_path,
        )
        assert evaluation.runs[0].jobs == count
        tables.append(without_seconds(evaluation))
        files.append((evaluation.folder / "indicators.csv").read_bytes())
    assert tables[0].equals(tables[1])
    assert files[0] == files[1]
    assert len(evaluation.indicators) > 100


def test_agents_trained_together_have_the_results_of_agents_apart(finished, tmp_path, inline):
    together = clbench.evaluate(["agents.vanilla", "agents.reset"], **TINY, out=tmp_path, together=True)
    assert without_seconds(together).equals(without_seconds(finished[0]))
    assert [run.batched_runs for run in together.runs] == [2, 2]
    for name in ("agents.vanilla", "agents.reset"):
        apart = (finished[0].folder / name / "indicators.csv").read_bytes()
        assert (together.folder / name / "indicators.csv").read_bytes() == apart


def test_the_recorded_learner_is_the_loop_by_hand(finished):
    from agents import vanilla

    envs = clbench.make_vec("RandomLabelMNIST-v0", 2, **SHORT)
    agent = vanilla.Agent(envs.agent_spec, [0, 1])
    obs, _ = envs.reset(seed=[0, 1])
    rewards = []
    done = False
    while not done:
        obs, reward, terminated, _, info = envs.step(agent.act(obs))
        agent.learn(info["targets"])
        rewards.append(reward)
        done = terminated.all()
    by_task = torch.stack(rewards).view(2, 6, 2).mean(dim=1)
    recorded = finished[0].tasks.query("agent == 'agents.vanilla'")
    recorded = recorded.pivot(index="task", columns="seed", values="accuracy")
    # The same predictions: only the mean is rounded in another way.
    np.testing.assert_allclose(by_task.numpy(), recorded.to_numpy(), rtol=1e-6)


@pytest.fixture
def agent_file(tmp_path):
    (tmp_path / "mine.py").write_text(PLAIN, encoding="utf-8")
    return str(tmp_path / "mine.py")


def test_a_plain_agent_gets_a_process_per_seed(agent_file, tmp_path, capfd):
    wanted = ["weight_norm", "effective_step_size", "dormant_units"]
    first = clbench.evaluate(agent_file, **TINY, indicators=wanted, out=tmp_path, workers=2)
    printed = capfd.readouterr()
    assert "hello from seed 1 \u2713" in printed.err
    assert "hello" not in printed.out
    with in_this_process():
        second = clbench.evaluate(f"{agent_file}:Agent", **TINY, out=tmp_path, workers=2)
    assert len(first.tasks) == 4
    assert first.tasks["loss"].between(1, 4).all()
    assert first.tasks["accuracy"].tolist() == second.tasks["accuracy"].tolist()
    assert set(first.indicators["indicator"]) == {"weight_norm", "effective_step_size"}
    assert set(first.indicators["seed"]) == {0, 1}
    assert "hidden" in first.undefined["mine.py"]["dormant_units"]


@pytest.mark.parametrize(
    ("arguments", "fault", "finished_tasks"),
    [
        ({"fail_at": 8}, r"mine\.py.*RuntimeError: out of ideas.*seed 1\b.*task 2\b.*step 3\b", 3),
        ({"die_at": 3}, r"mine\.py.*seed 1\b.*exit code 7", 2),
    ],
)
def test_a_failed_seed_is_named_and_finished_tasks_are_kept(
    agent_file, tmp_path, arguments, fault, finished_tasks
):
    with pytest.raises(AgentError, match=fault) as caught:
        clbench.evaluate(agent_file, **TINY, out=tmp_path / "out", arguments=arguments)
    evaluation = caught.value.evaluation
    assert len(evaluation.records) == finished_tasks
    assert evaluation.scores[0].seeds == 1
    manifest = manifest_in(evaluation.folder)
    assert manifest.status == "failed"
    assert manifest.failures[0].seeds == (1,)
    assert len(RunFolder(evaluation.folder).read_tasks()) == finished_tasks


def test_a_failing_agent_leaves_the_others_of_its_group_alone(tmp_path, inline):
    (tmp_path / "fails.py").write_text(FAILS, encoding="utf-8")
    agents = [str(tmp_path / "fails.py"), "agents.vanilla"]
    with pytest.raises(AgentError, match=r"fails\.py.*out of ideas") as caught:
        clbench.evaluate(agents, **TINY, indicators="none", out=tmp_path / "out")
    evaluation = caught.value.evaluation
    assert [run.status for run in evaluation.runs] == ["failed", "complete"]
    assert [each.agent for each in evaluation.scores] == ["agents.vanilla"]
    assert [(failure.agent, failure.seeds) for failure in evaluation.failures] == [("fails.py", (0, 1))]
    assert len(evaluation.tasks) == 2 + 4
    assert "out of ideas" in (evaluation.folder / "fails.py" / "failures.log").read_text(encoding="utf-8")


def test_a_class_that_only_this_process_knows(tmp_path):
    class Local:
        def __init__(self, spec, seed, label=0):
            self.spec, self.label = spec, label

        def act(self, obs):
            return np.full(self.spec.batch_size, self.label)

        def learn(self, targets):
            pass

    evaluation = clbench.evaluate(Local, **TINY, out=tmp_path, arguments={"label": 4})
    assert evaluation.configs[0].agent.arguments == {"label": 4}
    assert evaluation.tasks["accuracy"].between(0, 0.3).all()


def test_a_class_by_module_runs_in_workers(tmp_path):
    from agents.l2 import Agent

    evaluation = clbench.evaluate(Agent, **{**TINY, "seeds": 1}, out=tmp_path)
    assert evaluation.configs[0].agent.name == "agents.l2:Agent"
    assert len(evaluation.tasks) == 2


def test_a_users_stream_and_agent_from_modules(tmp_path, monkeypatch, streams):
    (tmp_path / "my_streams_here.py").write_text(
        textwrap.dedent("""
        import torch
        import clbench

        class Blobs(clbench.Stream):
            options = {"spread": 1.0}

            @classmethod
            def load_data(cls, spec):
                rng = torch.Generator().manual_seed(0)
                labels = torch.arange(200) % 4
                return clbench.LabelledData(torch.randn(200, 6, generator=rng) + labels[:, None], labels, 4)

            def draw_task(self, rng, rows, previous):
                return clbench.Task(rows, rng.permutation(4)[self.data.labels.numpy()[rows]])

        clbench.register("Blobs-v0", Blobs)
        """),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    evaluation = clbench.evaluate(
        "agents.vanilla",
        env="my_streams_here:Blobs-v0",
        seeds=2,
        num_tasks=2,
        epochs_per_task=3,
        batch_size=50,
        options={"spread": 2.0},
        device="cpu",
        workers=1,
        out=tmp_path,
    )
    stream = evaluation.configs[0].stream
    assert stream.options == {"spread": 2.0}
    assert stream.num_samples == 200
    data = manifest_in(evaluation.folder).data
    assert (data.source, data.num_classes) == ("custom", 4)
    assert len(evaluation.tasks) == 4
    first, last = evaluation.tasks.pivot(index="task", columns="seed", values="accuracy").to_numpy()
    lost = ((first - last) / (first - 1 / 4)).mean() if (first > 1 / 4).all() else np.nan
    assert evaluation.scores[0].share_lost.mean == pytest.approx(lost, nan_ok=True)


def test_a_stream_that_only_a_script_registered(tmp_path, streams):
    """Its class can be imported by workers, its id cannot."""
    clbench.register("Scripted-v0", Permuted)
    evaluation = clbench.evaluate("agents.vanilla", "Scripted-v0", **{**TINY, "seeds": 1}, out=tmp_path)
    assert len(evaluation.tasks) == 2


def test_a_class_typed_into_a_shell(tmp_path):
    script = (
        "import clbench, numpy as np\n"
        "class Typed:\n"
        "    def __init__(self, spec, seed): self.spec = spec\n"
        "    def act(self, obs): return np.zeros(self.spec.batch_size, dtype=int)\n"
        "    def learn(self, targets): pass\n"
        f"print(len(clbench.evaluate(Typed, seeds=1, num_tasks=2, epochs_per_task=1, out={str(tmp_path)!r}).tasks))\n"
    )
    done = run_python("-c", script)
    assert done.stdout.strip() == "2", done.stderr


def test_progress_is_shown_when_asked_for(tmp_path, inline, capsys):
    clbench.evaluate("agents.vanilla", **{**TINY, "seeds": 1}, out=tmp_path, progress=True)
    assert re.search(r"^agents\.vanilla +done\b.*accuracy \d", capsys.readouterr().out, re.MULTILINE)


def test_images_that_were_loaded_before_stay_loaded(tmp_path, inline):
    before = clbench.load_images()
    clbench.evaluate("agents.vanilla", **{**TINY, "seeds": 1}, out=tmp_path)
    assert clbench.load_images() is before


def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=re.escape(f"'{tmp_path / 'file'}'")):
        clbench.evaluate("agents.vanilla", **TINY, out=tmp_path / "file")


@pytest.mark.parametrize("name", ["evaluate", "sweep"])
def test_the_file_of_a_command_does_not_hide_the_function_of_its_name(name):
    script = (
        "import importlib, clbench\n"
        f"function = clbench.{name}\n"
        f"try: importlib.import_module('clbench.{name}')\n"
        "except ImportError as error: print(error)\n"
        f"from clbench import {name}\n"
        f"print(callable({name}), clbench.{name} is {name} is function)\n"
    )
    done = run_python("-c", script)
    assert done.stdout.split()[-2:] == ["True"] * 2, done.stderr
    assert f"clbench.{name}" in done.stdout.splitlines()[0]
