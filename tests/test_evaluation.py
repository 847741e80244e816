"""Whole evaluations, in real worker processes where a test does not ask for `inline`."""

import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

import clbench
from clbench.errors import AgentError, OutputError
from clbench.evaluation.api import carry_out
from clbench.evaluation.jobs import Division
from clbench.evaluation.plan import make_plan
from clbench.evaluation.pool import Pool
from clbench.evaluation.progress import Silent
from clbench.observing import DEFAULT, DEFINITIONS
from clbench.results import RunFolder
from clbench.streams.permuted import Permuted
from tests.cases import SHORT
from tests.inline import in_this_process
from tests.processes import ends, worker_processes

TINY = {**SHORT, "seeds": 2, "device": "cpu"}


pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, forked_workers):
    """Two agents on a short stream, twice: by workers, and in this process."""
    out = tmp_path_factory.mktemp("results")
    by_workers = clbench.evaluate(["agents.vanilla", "agents.reset"], **TINY, out=out, workers=2)
    with in_this_process():
        return by_workers, clbench.evaluate(["agents.vanilla", "agents.reset"], **TINY, out=out, workers=2)


def without_seconds(evaluation):
    return evaluation.tasks.drop(columns="seconds")


def test_a_run_folder_holds_everything(finished):
    evaluation = finished[0]
    assert sorted(path.name for path in evaluation.folder.iterdir()) == [
        "curves.png",
        "indicators.csv",
        "indicators.png",
        "run.json",
        "tasks.csv",
    ]
    facts = RunFolder(evaluation.folder).read_run()
    assert facts["status"] == "complete"
    assert facts["spec"] == json.loads(json.dumps(evaluation.spec.to_json()))
    assert facts["spec"]["stream"]["num_samples"] == 300
    assert len(facts["data"]["sha256"]) == 64
    assert facts["agents"]["agents.reset"]["sha256"]
    assert facts["stream"]["class"] == "clbench.streams.random_label:RandomLabel"
    assert {"versions", "hardware", "git", "timing", "command", "started", "failures"} <= set(facts)
    assert RunFolder(evaluation.folder).read_tasks() == list(evaluation.records)
    assert facts["indicator_definitions"] == DEFINITIONS == 2
    assert facts["spec"]["indicators"] == list(DEFAULT)
    read = RunFolder(evaluation.folder).read_indicators()
    assert [vars(one) | {"value": 0} for one in read] == [
        vars(one) | {"value": 0} for one in evaluation.indicator_records
    ]
    for ours, theirs in zip(read, evaluation.indicator_records, strict=True):
        assert ours.value == pytest.approx(theirs.value, rel=1e-8)


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


def test_indicators_are_a_frame_and_may_be_left_out(finished, tmp_path, inline):
    table = finished[0].indicators
    assert list(table.columns) == ["agent", "seed", "task", "step", "layer", "indicator", "value"]
    assert set(table["indicator"]) == set(DEFAULT)
    assert np.isfinite(table["value"]).all()
    without = clbench.evaluate("agents.vanilla", **TINY, indicators="none", out=tmp_path)
    assert without.indicators.empty
    assert sorted(path.name for path in without.folder.iterdir()) == ["curves.png", "run.json", "tasks.csv"]
    assert RunFolder(without.folder).read_indicators() == []
    same = finished[0].tasks.query("agent == 'agents.vanilla'")["accuracy"].tolist()
    assert without.tasks["accuracy"].tolist() == same


def test_same_seed_same_table(finished):
    one, two = finished
    assert one.folder != two.folder
    assert without_seconds(one).equals(without_seconds(two))


def test_the_division_of_seeds_does_not_matter(tmp_path):
    """Two processes of one seed, and both in lockstep: the same to the bit."""
    scheduled = {"scheduler": "per-layer", "every": 2}
    made = make_plan(
        "agents.l2",
        "RandomLabelMNIST-v0",
        "quick",
        2,
        SHORT,
        scheduled,
        "cpu",
        None,
        ["sharpness", "gradient_noise", "dormant_units"],
        None,
    )
    tables, files = [], []
    for parts in (2, 1):
        divided = replace(made, division=Division(parts, workers=parts, threads=1))
        evaluation = carry_out(divided, tmp_path, Silent())
        tables.append(without_seconds(evaluation))
        files.append((evaluation.folder / "indicators.csv").read_bytes())
    assert tables[0].equals(tables[1])
    assert files[0] == files[1]
    assert len(evaluation.indicators) > 100


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


PLAIN = """
import torch
class Agent:
    def __init__(self, spec, seed, step_size=1e-2, fail_at=-1, die_at=-1, on_seed=1):
        torch.manual_seed(seed)
        self.spec, self.seed, self.count = spec, seed, 0
        self.fail_at = fail_at if seed == on_seed else -1
        self.die_at = die_at if seed == on_seed else -1
        self.model = torch.nn.Linear(*spec.input_shape, spec.num_classes)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=step_size)
        print("hello from seed", seed, "\u2713")
    def act(self, obs):
        if self.count == self.fail_at:
            raise RuntimeError("out of ideas")
        if self.count == self.die_at:
            import os; os._exit(7)
        self.count += 1
        self.logits = self.model(torch.as_tensor(obs))
        return self.logits.argmax(dim=1)
    def learn(self, targets):
        loss = torch.nn.functional.cross_entropy(self.logits, torch.as_tensor(targets))
        self.optimizer.zero_grad(); loss.backward(); self.optimizer.step()
        return loss
"""


@pytest.fixture
def agent_file(tmp_path):
    (tmp_path / "mine.py").write_text(PLAIN, encoding="utf-8")
    return str(tmp_path / "mine.py")


def test_a_plain_agent_gets_a_process_per_seed(agent_file, tmp_path, capfd):
    wanted = ["weight_norm", "effective_step_size", "dormant_units"]
    one = clbench.evaluate(agent_file, **TINY, indicators=wanted, out=tmp_path, workers=2)
    printed = capfd.readouterr()
    assert "hello from seed 1 \u2713" in printed.err
    assert "hello" not in printed.out
    with in_this_process():
        two = clbench.evaluate(f"{agent_file}:Agent", **TINY, out=tmp_path, workers=2)
    assert len(one.tasks) == 4
    assert one.tasks["loss"].between(1, 4).all()
    assert one.tasks["accuracy"].tolist() == two.tasks["accuracy"].tolist()
    assert set(one.indicators["indicator"]) == {"weight_norm", "effective_step_size"}
    assert set(one.indicators["seed"]) == {0, 1}
    assert "hidden" in one.undefined["mine.py"]["dormant_units"]


@pytest.mark.parametrize(
    ("arguments", "fault", "kept"),
    [
        ({"fail_at": 8}, r"mine\.py.*RuntimeError: out of ideas.*seed 1\b.*task 2\b.*step 3\b", 3),
        ({"die_at": 3}, r"mine\.py.*seed 1\b.*exit code 7", 2),
    ],
)
def test_a_failed_seed_is_named_and_finished_tasks_are_kept(agent_file, tmp_path, arguments, fault, kept):
    with pytest.raises(AgentError, match=fault) as caught:
        clbench.evaluate(agent_file, **TINY, out=tmp_path / "out", arguments=arguments)
    evaluation = caught.value.evaluation
    assert len(evaluation.records) == kept
    assert evaluation.scores[0].seeds == 1
    facts = RunFolder(evaluation.folder).read_run()
    assert facts["status"] == "failed"
    assert facts["failures"][0]["seeds"] == [1]
    assert len(RunFolder(evaluation.folder).read_tasks()) == kept


def test_a_class_that_only_this_process_knows(tmp_path):
    class Local:
        def __init__(self, spec, seed, label=0):
            self.spec, self.label = spec, label

        def act(self, obs):
            return np.full(self.spec.batch_size, self.label)

        def learn(self, targets):
            pass

    evaluation = clbench.evaluate(Local, **TINY, out=tmp_path, arguments={"label": 4})
    assert evaluation.spec.agents[0].arguments == {"label": 4}
    assert evaluation.tasks["accuracy"].between(0, 0.3).all()


def test_a_class_by_module_runs_in_workers(tmp_path):
    from agents.l2 import Agent

    evaluation = clbench.evaluate(Agent, **{**TINY, "seeds": 1}, out=tmp_path)
    assert evaluation.spec.agents[0].name == "agents.l2:Agent"
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
    assert evaluation.spec.stream.options == {"spread": 2.0}
    assert evaluation.spec.stream.num_samples == 200
    data = RunFolder(evaluation.folder).read_run()["data"]
    assert (data["source"], data["num_classes"]) == ("custom", 4)
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
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "2", done.stderr


def test_what_an_agent_starts_ends_with_its_worker(tmp_path):
    (tmp_path / "starts.py").write_text(
        PLAIN.replace(
            'print("hello',
            "from subprocess import Popen\n"
            '        self.child = Popen(["sleep", "600"])\n'
            '        print("child", self.child.pid, "',
        ),
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "clbench.evaluate",
            "starts.py",
            "--tasks",
            "1",
            "--epochs",
            "1",
            "--seeds",
            "1",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    pid = int(re.search(r"child (\d+)", done.stdout + done.stderr)[1])
    assert ends(pid)


def test_progress_is_shown_when_asked_for(tmp_path, inline, capsys):
    clbench.evaluate("agents.vanilla", **{**TINY, "seeds": 1}, out=tmp_path, progress=True)
    assert re.search(r"^agents\.vanilla +done\b.*accuracy \d", capsys.readouterr().out, re.MULTILINE)


def test_an_exception_ends_all_workers(tmp_path, spawned_workers):
    class Failing(Silent):
        def update(self, tally):
            if tally.state == "running":
                raise RuntimeError("no display")

    made = make_plan("agents.vanilla", "RandomLabelMNIST-v0", "quick", 1, {}, {}, "cpu", None)
    with pytest.raises(RuntimeError, match="no display") as kept:
        carry_out(made, tmp_path, Failing())
    assert kept.tb is not None
    assert not worker_processes(os.getpid())
    assert RunFolder(next(tmp_path.iterdir())).read_run()["status"] == "failed"


def test_images_that_were_loaded_before_stay_loaded(tmp_path, inline):
    before = clbench.load_images()
    clbench.evaluate("agents.vanilla", **{**TINY, "seeds": 1}, out=tmp_path)
    assert clbench.load_images() is before


def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=re.escape(f"'{tmp_path / 'file'}'")):
        clbench.evaluate("agents.vanilla", **TINY, out=tmp_path / "file")


def test_closing_ends_all_processes(agent_file, tmp_path, spawned_workers):
    made = make_plan(agent_file, "RandomLabelMNIST-v0", "quick", 2, {}, {}, "cpu", None)
    data = clbench.load_images()
    data.save(tmp_path)
    jobs = made.jobs(str(tmp_path))
    jobs = [replace(job, stream=replace(job.stream, num_samples=5_000)) for job in jobs]
    with contextlib.closing(Pool(({index: job} for index, job in enumerate(jobs)), workers=2)) as pool:
        messages = pool.messages()
        while next(messages)[1]["kind"] != "glimpse":
            pass
        assert len(worker_processes(os.getpid())) == 2
    assert not worker_processes(os.getpid())


def test_modules_do_not_hide_functions_of_their_name():
    script = (
        "import clbench.evaluate, clbench.sweep, clbench; from clbench import evaluate, sweep;"
        "print(callable(evaluate), clbench.evaluate is evaluate, callable(sweep), clbench.sweep is sweep)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"] * 4, done.stderr
