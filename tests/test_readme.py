"""What README and guides show is run here, word for word. Their numbers are another matter: `test_fill.py`."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import clbench
from clbench.commands.main import load
from clbench.loading import load_agent
from clbench.records import TaskRecord
from clbench.state import from_bytes, to_bytes
from tests import oracles
from tests.cases import SHORT
from tests.loops import Run
from tests.processes import run_python

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHELL = [
    line.strip()
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if re.search(r"-m clbench\.|^(\$ )?clbench ", line)
]


def block(marker):
    (found,) = [code for code in BLOCKS if marker in code]
    return found


def test_the_example_agent_learns(tmp_path, inline):
    code = block("class Agent:")
    assert len(code.strip().splitlines()) <= 30
    path = tmp_path / "my_agent.py"
    path.write_text(code, encoding="utf-8")
    evaluation = clbench.evaluate(
        f"{path}:Agent", seeds=1, num_tasks=1, epochs_per_task=15, num_samples=512, device="cpu", out=tmp_path
    )
    (record,) = evaluation.records
    assert record.final_epoch_accuracy > 2 * 0.1
    assert record.final_epoch_accuracy > record.accuracy
    assert 0 < record.loss < 3


def test_the_loop_by_hand_with_the_example_agent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where it leaves its run
    code = block("env.reset(seed=0)")
    scope = {"Agent": agent_class(tmp_path)}
    short = code.replace("num_tasks=5", "num_tasks=2, epochs_per_task=1, num_samples=512")
    assert short != code
    exec(compile(short, "guide", "exec"), scope)
    assert 0 <= scope["accuracy"] <= 1
    assert scope["done"] is True


def agent_class(tmp_path):
    path = tmp_path / "readme_agent.py"
    path.write_text(block("class Agent:"), encoding="utf-8")
    return load_agent(str(path))


def test_the_example_stream_keeps_the_contract(streams, tmp_path):
    code = block("clbench.register(")
    assert len(code.strip().splitlines()) <= 25
    exec(compile(code, "guide", "exec"), {"__name__": "readme_stream"})
    (id,) = set(streams) - {"RandomLabelMNIST-v0", "PermutedMNIST-v0"}
    env = clbench.make(id, **SHORT)
    assert env.reset(seed=0)[0].shape == (100, 784)
    path = tmp_path / "my_streams.py"
    path.write_text(code, encoding="utf-8")
    assert "check_env" in code
    done = run_python(str(path))
    assert done.returncode == 0, done.stderr


def test_the_lockstep_example_runs():
    code = block("make_vec(")
    short = code.replace("num_envs=27", "num_envs=2, num_tasks=1, epochs_per_task=1").replace(
        '"cuda"', '"cpu"'
    )
    exec(compile(short, "guide", "exec"), {})


def test_the_evaluation_from_python_runs(tmp_path, monkeypatch, inline):
    code = block("clbench.evaluate(")
    monkeypatch.chdir(tmp_path)
    short = code.replace("num_tasks=10", 'num_tasks=1, epochs_per_task=1, seeds=1, device="cpu"')
    assert short != code
    exec(compile(short, "guide", "exec"), {})
    assert list(tmp_path.glob("results/*/*/tasks.csv"))


def test_the_indicators_example_runs(capsys):
    scope = {}
    exec(compile(block("indicators.gradient_noise("), "guide", "exec"), scope)
    shown = capsys.readouterr().out.splitlines()
    assert all(line.startswith("{'0': tensor(") and "'whole network': tensor(" in line for line in shown)
    assert len(shown) == 2
    noise = oracles.noise(scope["model"], F.cross_entropy, scope["inputs"], scope["targets"])
    for layer, value in noise.items():
        torch.testing.assert_close(scope["noise"][layer], value, rtol=1e-3, atol=0)


def test_the_reporting_optimizer_is_measured():
    scope = {}
    exec(compile(block("def second_moments(self)"), "guide", "exec"), scope)
    model = nn.Linear(4, 3)
    optimizer = scope["Momentumless"](model.parameters(), lr=0.1)
    before = model.weight.detach().clone()
    F.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,))).backward()
    optimizer.step()
    found = clbench.indicators.effective_step_size(model, optimizer, "mean")["weight"]
    torch.testing.assert_close(found, ((before - model.weight.detach()) / model.weight.grad).mean())


def test_another_projects_optimizer_is_measured_as_it_is():
    class Theirs(torch.optim.Optimizer):
        """Adam, by a name that is not known."""

        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8})
            self.inner = torch.optim.Adam(self.param_groups, **self.defaults)
            self.state = self.inner.state

        def step(self):
            self.inner.step()

    scope = {}
    exec(compile(block("def report_adam("), "guide", "exec"), scope)
    model = nn.Linear(4, 3)
    optimizer = scope["report_adam"](Theirs(model.parameters()))
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,))).backward()
        optimizer.step()
    measure = clbench.indicators.effective_step_size
    torch.testing.assert_close(measure(model, optimizer), measure(model, optimizer.inner))
    clbench.PerLayerScheduler(model, optimizer)


def test_the_scheduler_example_schedules(capsys):
    code = block("PerLayerScheduler(model, optimizer")
    assert len(code.strip().splitlines()) <= 15
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    data = TensorDataset(torch.randn(85 * 8, 784), torch.randint(10, (85 * 8,)))
    scope = {"model": model, "loader": DataLoader(data, batch_size=8)}
    exec(compile(code, "guide", "exec"), scope)
    history = scope["scheduler"].history
    assert history["step"].tolist() == [40, 40, 80, 80]
    assert history["layer"].tolist() == ["0", "2"] * 2
    sizes = [group["lr"] for group in scope["optimizer"].param_groups]
    assert sizes == pytest.approx(
        [1e-3 * history[history.layer == layer]["factor"].prod() for layer in ("0", "2")]
    )


def test_the_scheduled_agent_example_runs(tmp_path, inline):
    path = tmp_path / "mine.py"
    heads = "from torch.nn import functional as F\nfrom clbench import PerLayerScheduler\n"
    path.write_text(heads + block("class Agent:") + block("class ScheduledAgent(Agent)"), encoding="utf-8")
    short = {"num_tasks": 1, "epochs_per_task": 45, "num_samples": 256}
    made = clbench.evaluate(f"{path}:ScheduledAgent", seeds=1, **short, device="cpu", out=tmp_path)
    rows = made.indicators.query("indicator == 'step_size'")
    assert rows[["step", "layer"]].to_numpy().tolist() == [[40, "0"], [40, "2"]]


def test_the_resumable_agent_example_resumes(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(block("class Agent:") + block("class ResumableAgent(Agent)"), encoding="utf-8")
    env = clbench.make("RandomLabelMNIST-v0", **SHORT)
    owner = load_agent(f"{path}:ResumableAgent")
    one = Run(env, owner(env.agent_spec, 0), name="a", seeds=[0], stop=lambda: True)
    list(one)
    rest = Run(env, owner(env.agent_spec, 0), name="a", seeds=[0])
    rest.load_state_dict(from_bytes(to_bytes(one.state_dict())))
    whole = Run(env, owner(env.agent_spec, 0), name="a", seeds=[0])
    found = [[event.loss for event in run if isinstance(event, TaskRecord)] for run in (rest, whole)]
    assert found[0] == found[1]


def test_the_results_example_reads_the_kept_runs(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    scope = {}
    exec(compile(block("clbench.load_results("), "guide", "exec"), scope)
    shown = capsys.readouterr().out
    assert "docs/results/RandomLabelMNIST-v0-quick-1" in shown
    assert "agents.wasserstein" in shown
    assert set(scope["tasks"].run) <= set(scope["quick"].run)


def test_an_indicator_of_ones_own(tmp_path, inline):
    (tmp_path / "my_indicators.py").write_text(block("def energy("), encoding="utf-8")
    name = f"{tmp_path / 'my_indicators.py'}:energy"
    found = clbench.evaluate(
        "agents.vanilla", seeds=1, indicators=["weight_norm", name], out=tmp_path, device="cpu", **SHORT
    )
    values = found.indicators.set_index(["indicator", "task", "layer"]).value
    assert values[name].to_dict() == pytest.approx((values["weight_norm"] ** 2).to_dict())


def test_the_layers_example_shows_them(capsys):
    scope = {"indicators": clbench.indicators}
    exec(compile(block("layer_parameters("), "guide", "exec"), scope)
    default, chosen = capsys.readouterr().out.splitlines()
    assert (
        default
        == "{'0.0': ['0.0.weight', '0.0.bias', '0.1.weight', '0.1.bias'], '2': ['2.weight', '2.bias']}"
    )
    assert "body" in chosen
    assert "head" in chosen


def test_the_vectorised_learner_example_learns(tmp_path):
    (tmp_path / "my_learners.py").write_text(block("class L1Learner(Learner)"), encoding="utf-8")
    name = f"{tmp_path / 'my_learners.py'}:L1Learner"
    envs = clbench.make_vec("RandomLabelMNIST-v0", num_envs=2, **SHORT)
    learner = load_agent(name)(envs.agent_spec, [0, 1], scheduler="per-layer")
    for own, found in zip(learner.parameters.values(), learner.penalty_gradients(), strict=True):
        torch.testing.assert_close(found, 1e-5 * own.detach().sign())
    obs, _ = envs.reset(seed=0)
    _, _, _, _, info = envs.step(learner.act(obs))
    assert learner.learn(info["targets"]).isfinite().all()


def test_every_python_block_is_run_above():
    assert len(BLOCKS) == 15


def test_the_sweep_file_is_the_one_that_is_shown():
    (shown,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert shown == (ROOT / "examples" / "sweep.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", SHELL)
def test_commands_parse(line):
    _, name, arguments = re.search(r"(-m clbench\.|clbench )(\w+)(.*)", line).groups()
    arguments = shlex.split(arguments, comments=True)
    command = load(name)
    if name == "leaderboard":
        command = command.commands[arguments.pop(0)]
    options = command.make_context(name, arguments).params
    if name == "evaluate":
        assert options["agents"] or options["list_all"] or options["resume"]
        for agent in options["agents"]:
            if agent.startswith("agents."):
                load_agent(agent)


def test_commands_are_shown():
    assert "pip install" in README
    assert sum("evaluate" in line for line in SHELL) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    for target in re.findall(r"\]\((?!http|#)([^)#]+)[#)]", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
