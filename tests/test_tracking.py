"""Experiment trackers: what they hold is read back by each tool's own means, and compared with the run's tables."""

import json
import re
import shutil
import sqlite3
import struct
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

import clbench
from clbench.commands.main import main_of
from clbench.errors import AgentError, OptionError, UnknownNameError
from clbench.results import RunFolder
from clbench.scoring import seed_scores
from clbench.tracking import TRACKERS, check_trackers
from tests.cases import SHORT
from tests.runs import manifest_in

pytestmark = [
    pytest.mark.process,  # W&B starts one
    pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning"),  # of MLflow's own use of SQLAlchemy
]

TINY = {**SHORT, "device": "cpu", "indicators": ["weight_norm", "gradient_norm"], "indicators_every": 4}
STEPS = 6  # of a task
TINIER = {**TINY, "indicators": "none", "indicators_every": None}
PER_TASK = {"task_accuracy": "accuracy", "final_accuracy": "final_epoch_accuracy", "loss": "loss"}


@pytest.fixture(scope="module", autouse=True)
def _nobody(tmp_path_factory):
    """No account, no server."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "netrc"))
        yield


def learner(at_step=lambda seed, steps: None):
    """A class that only this process knows, so that runs need no workers; `at_step` may raise."""

    class Agent:
        def __init__(self, spec, seed, step_size=1e-2):
            torch.manual_seed(seed)
            self.model = nn.Linear(*spec.input_shape, spec.num_classes)
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=step_size)
            self.seed, self.steps = seed, 0

        def act(self, obs):
            self.logits = self.model(torch.as_tensor(obs))
            return self.logits

        def learn(self, targets):
            self.steps += 1
            at_step(self.seed, self.steps)
            loss = nn.functional.cross_entropy(self.logits, torch.as_tensor(targets))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return loss

        def state_dict(self):
            return {"model": self.model.state_dict(), "steps": self.steps}

        def load_state_dict(self, state):
            self.model.load_state_dict(state["model"])
            self.steps = state["steps"]

    return Agent


# Reading back.


def in_tensorboard(folder):
    """Points of each series, (name, step) -> values, by seed."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for path in sorted((folder / "tensorboard").glob("*/seed-*")):
        events = EventAccumulator(str(path)).Reload()
        assert "agent" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
        assert len(events.Tensors("config/text_summary")) == 1
        points = {
            (tag, one.step, one.value) for tag in events.Tags()["scalars"] for one in events.Scalars(tag)
        }
        count = sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"])
        assert count == len(points)
        found[int(path.name.removeprefix("seed-"))] = {(tag, step): value for tag, step, value in points}
    return found


def mlflow_runs(folder):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("clbench")
    return client, {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def in_mlflow(folder):
    client, runs = mlflow_runs(folder)
    parent = runs.pop(folder.name)
    found = {}
    for run in runs.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        points = [
            (name, one.step, one.value)
            for name in run.data.metrics
            for one in client.get_metric_history(run.info.run_id, name)
        ]
        found[int(run.data.params["seed"])] = {(name, step): value for name, step, value in points}
        assert len(points) == len(found[int(run.data.params["seed"])])
    return found


def wandb_files(folder):
    """The records of each offline file, in the order of time; it is a log in LevelDB's format."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        data, at, whole, records = path.read_bytes(), 7, b"", []
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
            _, size, kind = struct.unpack("<IHB", data[at : at + 7])
            whole += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in (1, 4):  # whole, or the last part
                records.append(Record.FromString(whole))
                whole = b""
        yield records


def of_kind(records, kind):
    return [getattr(one, kind) for one in records if one.WhichOneof("record_type") == kind]


def table(items):
    return {(item.nested_key or [item.key])[0]: json.loads(item.value_json) for item in items}


def in_wandb(folder):
    found, ids = {}, {}
    for records in wandb_files(folder):
        (run,) = of_kind(records, "run")
        assert (run.project, run.run_group, run.resume) == ("clbench", folder.name, True)
        config = table(run.config.update)
        assert run.display_name == f"{config['agent']} seed {config['seed']}"
        assert ids.setdefault(config["seed"], run.run_id) == run.run_id
        own = found.setdefault(config["seed"], {})
        for row in (table(one.item) for one in of_kind(records, "history")):
            for name, value in row.items():
                if not name.startswith("_") and name != "task":
                    place = name, row["task"] if name in PER_TASK else row["_step"]
                    assert place not in own
                    own[place] = value
        for summary in of_kind(records, "summary"):
            scores = {
                name: value for name, value in table(summary.update).items() if name.startswith("score/")
            }
            own.update({(name, SHORT["num_tasks"] - 1): value for name, value in scores.items()})
    return found


READERS = {"tensorboard": in_tensorboard, "wandb": in_wandb, "mlflow": in_mlflow}


def expected(evaluation):
    """The same points from the run's tables."""
    found = {}
    for seed, rows in evaluation.tasks.groupby("seed"):
        own = found[seed] = {}
        for row in rows.itertuples():
            own |= {(name, row.task): getattr(row, column) for name, column in PER_TASK.items()}
        tasks = [one for one in evaluation.records if one.seed == seed]
        own |= {
            (f"score/{name}", SHORT["num_tasks"] - 1): values[0]
            for name, values in seed_scores([tasks]).items()
        }
    for row in evaluation.indicators.itertuples():
        found[row.seed][f"{row.indicator}/{row.layer}", row.task * STEPS + row.step] = row.value
    return found


def assert_holds(tracker, evaluation):
    ours, theirs = expected(evaluation), READERS[tracker](evaluation.folder)
    assert ours.keys() == theirs.keys()
    for seed, points in ours.items():
        assert theirs[seed] == pytest.approx(points, rel=1e-6)  # TensorBoard has float32


# Whole runs.


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    return clbench.evaluate(learner(), **TINY, seeds=2, out=out, log=",".join(TRACKERS))


@pytest.fixture
def results(logged, tmp_path):
    """A folder for runs with MLflow's database in it, which takes seconds to make; it knows of no run."""
    shutil.copy(logged.folder.parent / "mlflow.db", tmp_path)
    client, runs = mlflow_runs(tmp_path / logged.folder.name)
    for run in runs.values():
        client.delete_run(run.info.run_id)
    return tmp_path


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_holds_what_the_tables_do(logged, tracker):
    names = {name for name, _ in expected(logged)[0]}
    assert {"task_accuracy", "weight_norm/whole network", "score/slope"} <= names
    assert_holds(tracker, logged)


def test_runs_say_what_they_are_of(logged):
    _, runs = mlflow_runs(logged.folder)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    (config,) = logged.configs
    agent = config.agent
    own = runs[f"{agent.name} seed 1"].data.params
    wanted = {
        "arguments.step_size": "0.01",
        "stream.id": "RandomLabelMNIST-v0",
        "versions.torch": manifest_in(logged.folder).versions["torch"],
    }
    assert wanted.items() <= own.items()
    assert runs[logged.folder.name].data.params["protocol"] == "quick"
    config = table(of_kind(next(wandb_files(logged.folder)), "run")[0].config.update)
    assert config["arguments"] == agent.arguments
    assert config["stream"]["num_tasks"] == SHORT["num_tasks"]
    assert not (logged.folder / "state").exists()


@pytest.mark.usefixtures("forked_workers")
def test_through_workers_from_the_command_line(tmp_path, capsys):
    flags = ["--tasks", "2", "--epochs", "2", "--images", "300", "--batch-size", "100", "--device", "cpu"]
    out = ["--out", str(tmp_path), "--quiet", "--indicators", "none"]
    assert main_of("evaluate", ["agents.vanilla", *flags, *out, "--seeds", "7,", "--log", "tensorboard"]) == 0
    folder = RunFolder(Path(capsys.readouterr().out.strip()))
    found = in_tensorboard(folder.path)
    assert {
        (seed, step): value
        for seed in found
        for (name, step), value in found[seed].items()
        if name == "task_accuracy"
    } == pytest.approx({(one.seed, one.task): one.accuracy for one in folder.read_tasks()})


# Interrupted.


def interrupt(out, log, settings, seeds):
    """Interrupt seed 1 after step 5 of its last task; return the folder and the agent to resume with."""
    failing = [True]

    def at_step(seed, steps):
        if seed == 1 and steps == STEPS + 5 and failing[0]:
            raise RuntimeError("out of ideas")

    agent = learner(at_step)
    with pytest.raises(AgentError, match=r"RuntimeError: out of ideas.*\bseed 1\b") as caught:
        clbench.evaluate(agent, **settings, seeds=seeds, out=out, log=log)
    failing[0] = False
    return caught.value.evaluation.folder, agent


def test_a_resumed_run_logs_the_rest_and_nothing_twice(results):
    folder, agent = interrupt(results, list(TRACKERS), TINY, 2)
    _, before = mlflow_runs(folder)
    assert Counter(run.info.status for run in before.values()) == {"FAILED": 2, "FINISHED": 1}
    # As if it had been killed before task 1's checkpoint: that task is learned a second time.
    for path in RunFolder(folder).checkpoints(1).folder.iterdir():
        path.unlink()
    evaluation = clbench.resume(folder, agents=[agent])
    for tracker in TRACKERS:
        assert_holds(tracker, evaluation)
    _, after = mlflow_runs(folder)
    assert {run.info.run_id for run in after.values()} == {run.info.run_id for run in before.values()}
    assert {run.info.status for run in after.values()} == {"FINISHED"}


def test_a_tracker_added_later_is_back_filled(tmp_path):
    folder, agent = interrupt(tmp_path, None, TINIER, [1])
    evaluation = clbench.resume(folder, agents=[agent], log=["tensorboard"])
    assert_holds("tensorboard", evaluation)
    assert manifest_in(folder).log == ("tensorboard",)


def test_resuming_without_trackers(tmp_path):
    folder, agent = interrupt(tmp_path, "tensorboard", TINIER, [1])
    clbench.resume(folder, agents=[agent], log="none")
    assert ("task_accuracy", 0) in in_tensorboard(folder)[1]
    assert ("task_accuracy", 1) not in in_tensorboard(folder)[1]


# What goes wrong.


def test_a_tracker_that_fails_in_the_middle_does_not_stop_the_run(results, capsys):
    def at_step(seed, steps):
        if (seed, steps) == (0, STEPS + 1):
            with sqlite3.connect(results / "mlflow.db") as database:
                database.execute("DROP TABLE metrics")
            database.close()

    evaluation = clbench.evaluate(learner(at_step), **TINY, seeds=2, out=results, log="mlflow,tensorboard")
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: mlflow")]
    assert "MlflowException" in said
    assert "metrics" in said
    assert_holds("tensorboard", evaluation)
    assert manifest_in(evaluation.folder).status == "complete"


def test_agents_of_one_evaluation_are_in_one_group(results, inline):
    agents = ["agents.vanilla", "agents.l2"]
    made = clbench.evaluate(agents, **TINIER, seeds=1, out=results, log="mlflow,wandb")
    _, runs = mlflow_runs(made.folder)
    parents = {f"{made.folder.name}/{agent}" for agent in agents}
    assert set(runs) == {*parents, *(f"{agent} seed 0" for agent in agents)}
    assert not list(made.folder.rglob("mlflow.db"))
    for agent in agents:
        (records,) = wandb_files(made.folder / agent)
        (run,) = of_kind(records, "run")
        assert run.run_group == made.folder.name


def test_a_tracker_that_cannot_begin_does_not_stop_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at.all")
    evaluation = clbench.evaluate(learner(), **TINIER, seeds=1, out=tmp_path, log="mlflow")
    assert re.search(r"^note: mlflow\b", capsys.readouterr().err, re.MULTILINE)
    assert len(evaluation.tasks) == 2


def test_mlflow_obeys_its_variable(results, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{results / 'mlflow.db'}")
    evaluation = clbench.evaluate(learner(), **TINIER, seeds=1, out=results / "below", log="mlflow")
    assert len(mlflow_runs(results / evaluation.folder.name)[1]) == 2
    assert [path.name for path in (results / "below").iterdir()] == [evaluation.folder.name]


def test_wandb_without_a_key_works_offline_and_says_so(tmp_path, capsys, monkeypatch):
    made = clbench.evaluate(learner(), **TINIER, seeds=1, out=tmp_path, log="wandb")
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    (note,) = [line for line in notes if "wandb" in line]  # W&B may have said something of its own
    assert f"wandb sync {made.folder}/wandb/offline-*" in note
    assert_holds("wandb", made)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    without = clbench.evaluate(learner(), **TINIER, seeds=1, out=tmp_path, log="wandb")
    assert "wandb" not in capsys.readouterr().err
    assert not (without.folder / "wandb").exists()


def test_trackers_are_checked_before_anything_starts(tmp_path, monkeypatch, capsys):
    with pytest.raises(UnknownNameError, match="'tensorbord'.*'tensorboard'"):
        clbench.evaluate("agents.vanilla", out=tmp_path / "out", log="wandb, tensorbord")
    assert (
        main_of("evaluate", ["agents.vanilla", "--out", str(tmp_path / "out"), "--log", "none,mlflow"]) == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for part in ("'none'", *TRACKERS):
        assert part in line
    assert check_trackers("none") == check_trackers(None) == ()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tracker", "module"),
    [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")],
)
def test_a_missing_package_names_the_way_out(tracker, module, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, f"clbench.tracking.{tracker}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(OptionError, match=rf'{tracker}\b.*pip install "clbench\[{tracker}\]"'):
        clbench.evaluate("agents.vanilla", out=tmp_path / "out", log=[tracker])
    assert not (tmp_path / "out").exists()
