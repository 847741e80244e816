"""Learners of other projects as agents: made-up projects with the same names, and the real ones where they are."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import clbench
from benchmarks.peers import __main__ as command
from benchmarks.peers import redo, running, table
from benchmarks.peers.checkout import VARIABLE, Project, commit_of
from benchmarks.peers.running import PEERS, Setting, examine, load, resume
from clbench.errors import LoadError, OptionError, UnknownNameError
from clbench.indicators import effective_step_size
from clbench.observing import ALL
from tests.cases import short_env

MADE_UP = Path(__file__).parent / "data" / "peers"
REAL = os.environ.get(VARIABLE)
TINY = {"num_tasks": 2, "epochs_per_task": 3, "num_samples": 150, "batch_size": 50}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.* is at commit", "ignore::FutureWarning", "ignore::DeprecationWarning"
)


@pytest.fixture(
    params=[
        MADE_UP,
        pytest.param(
            REAL, marks=[pytest.mark.clients, pytest.mark.skipif(not REAL, reason=f"no ${VARIABLE}")]
        ),
    ],
    ids=["made up", "real"],
)
def checkouts(request):
    return Path(request.param)


def agent(name, checkouts, **arguments):
    kind = load(name)
    return kind(short_env().agent_spec, 0, checkout=str(checkouts / kind.project.name), **arguments)


SAID = {  # of which not all indicators are measured, or that cannot be scheduled layer by layer
    "upgd": (
        r"FirstOrderGlobalUPGD\b.*second_moments",
        r"no: per-layer, volatility-only: .*FirstOrderGlobalUPGD",
    ),
    "snr": (r"torch\.nn\.Module.*\bMLP\b", r"no: .*\bMLP\b.*torch\.nn\.Module"),
    "hare_tortoise": (r"gradient_noise.*BatchNorm1d", r"volatility-only: .*; per-layer: .*BatchNorm1d"),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_measured_scheduled_or_refused_and_resumed(name, checkouts):
    constants = {} if name in ("snr", "hare_tortoise") else {"width": 8}
    row = examine(name, checkouts, TINY, **constants)
    if checkouts != MADE_UP and "needs the module" in row.scheduled:
        pytest.skip(row.scheduled)
    assert row.commit, row.scheduled
    assert 0 <= row.first <= 1
    undefined, scheduled = SAID.get(name, ("$", "per-layer: step sizes times"))
    assert re.match(rf".*{undefined}", row.undefined)
    assert re.match(scheduled, row.scheduled)
    undefined = {one for part in row.undefined.split("; ") for one in part.partition(":")[0].split(", ")}
    assert ({*row.measured.split(", ")} ^ undefined) - {""} == set(ALL)
    assert row.resumed == "yes"


def test_a_peer_that_forgets_is_found_out(monkeypatch):
    """Without its count of steps, units are reset at other ones."""
    arguments = {"checkout": str(MADE_UP / "redo"), "period": 5, "width": 8}
    setting = Setting(redo.Agent, TINY, arguments)
    assert resume(setting) == "yes"
    monkeypatch.setattr(
        redo.Agent, "state_dict", lambda self: {**super(redo.Agent, self).state_dict(), "steps": 0}
    )
    assert resume(setting).startswith("no")


@pytest.mark.parametrize("name", ["cbp", "muon"])
def test_reported_step_sizes_are_the_factors_of_the_optimizers_step(name, checkouts):
    """Where all elements have the same gradient at each step, the reduction to one number loses nothing."""
    peer = agent(name, checkouts)
    value = next(group["params"][0] for group in peer.optimizer.param_groups if not group.get("use_muon"))
    layer = next(name for name, owned in peer.model.named_parameters() if owned is value).rpartition(".")[0]
    for step in range(3):
        for other in peer.model.parameters():
            other.grad = torch.full_like(other, 0.1 * (step + 1))
        before = value.detach().clone()
        peer.optimizer.step()
        moved = (before - value.detach()) / peer.optimizer.state[value]["exp_avg"]
        alpha = effective_step_size(peer.model, peer.optimizer)
        if name == "cbp":
            torch.testing.assert_close(alpha[layer], moved.mean(), rtol=1e-3, atol=0.0)
    if name == "muon":
        assert alpha["0"] == alpha["2"] == pytest.approx(2e-2)


def test_where_checkouts_are(tmp_path, monkeypatch):
    project = Project("mine", "https://example.org/mine", "0123456789abcdef")
    monkeypatch.delenv(VARIABLE, raising=False)
    for given in (None, str(tmp_path / "mine")):
        with pytest.raises(
            OptionError, match=rf"https://example\.org/mine.*0123456789ab.*checkout=.*{VARIABLE}"
        ):
            project.folder(given)
    (tmp_path / "mine").mkdir()
    assert project.folder(str(tmp_path / "mine")) == tmp_path / "mine"
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert project.folder(None) == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert project.folder("~/mine") == tmp_path / "mine"


@pytest.mark.skipif(not shutil.which("git"), reason="no Git")
def test_another_commit_is_noted(tmp_path):
    (tmp_path / "thing.py").write_text("VALUE = 1", encoding="utf-8")
    project = Project("mine", "https://example.org/mine", "0123456789abcdef")
    assert commit_of(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    commit = commit_of(tmp_path)
    with pytest.warns(UserWarning, match=rf"mine.*{commit}.*0123456789abcdef"):
        (module,) = project.load(str(tmp_path), "thing")
    assert module.VALUE == 1
    dataclasses.replace(project, commit=commit).load(
        str(tmp_path), "thing"
    )  # no warning, which would be an error


def test_projects_do_not_see_each_others_modules(tmp_path):
    """Nor does anybody else: packages called `agents` or `utils` are common."""
    import agents

    before, path = dict(sys.modules), list(sys.path)
    loaded = []
    for name in ("one", "two"):
        (tmp_path / name / "agents").mkdir(parents=True)
        (tmp_path / name / "utils.py").write_text(f"NAME = {name!r}", encoding="utf-8")
        (tmp_path / name / "agents" / "own.py").write_text(
            "import clbench\nfrom utils import NAME", encoding="utf-8"
        )
        (tmp_path / name / "clbench").mkdir()  # with results, say
        loaded += Project(name, "", "").load(str(tmp_path / name), "agents.own")
    assert [module.NAME for module in loaded] == ["one", "two"]
    assert all(module.clbench is clbench for module in loaded)
    assert sys.path == path
    assert {name: sys.modules[name] for name in before} == before
    assert sys.modules["agents"] is agents
    assert Project("one", "", "").load(str(tmp_path / "one"), "agents.own") == loaded[:1]  # as it was


@pytest.mark.parametrize(
    ("code", "named"), [("import not_there_at_all", "'not_there_at_all'"), ("1 / 0", "ZeroDivisionError")]
)
def test_code_that_cannot_be_imported_is_said_in_a_line(code, named, tmp_path):
    (tmp_path / "broken.py").write_text(code, encoding="utf-8")
    with pytest.raises(LoadError, match=rf"^mine .*{named}"):
        Project("mine", "", "").load(str(tmp_path), "broken")
    assert "broken" not in sys.modules


def test_arguments_are_checked_before_anything_starts(tmp_path, inline):
    with pytest.raises(OptionError, match=r"Muon.*https://github\.com/KellerJordan/Muon"):
        clbench.evaluate("benchmarks.peers.muon", arguments={"checkout": str(tmp_path / "no")}, out=tmp_path)
    with pytest.raises(UnknownNameError, match=r"'per-lair'.*'per-layer'"):
        agent("muon", MADE_UP, scheduler="per-lair")


def test_peers_run_as_any_agent_does(tmp_path, inline, monkeypatch, checkouts):
    monkeypatch.setenv(VARIABLE, str(checkouts))
    names = ["benchmarks.peers.muon", "benchmarks.peers.redo"]
    evaluation = clbench.evaluate(names, seeds=1, **TINY, arguments={"width": 8}, out=tmp_path)
    assert len(evaluation.tasks) == 4
    assert not evaluation.undefined


def test_the_command_writes_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running.examine, "__defaults__", (TINY,))
    shown = [
        "peers",
        "--checkouts",
        str(MADE_UP),
        "--only",
        "l2_init",
        "--only",
        "snr",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", shown)
    assert command.main() == 0
    rows = table.read(tmp_path / "peers.csv")
    assert [row.peer for row in rows] == ["l2_init", "snr"]
    text = capsys.readouterr().out
    assert table.table(rows) in text
    page = (tmp_path / "peers.md").read_text(encoding="utf-8")
    assert table.table(rows) in page
    assert f"torch {torch.__version__}"[:10] in page
    monkeypatch.setattr(sys, "argv", ["peers", "--checkouts", str(tmp_path), "--only", "muon"])
    assert command.main() == 1
    assert "git clone https://github.com/KellerJordan/Muon" in capsys.readouterr().out


def test_a_line_of_the_table():
    row = running.Row(
        "muon", "https://x", "0123", "muon.Muon", 0.5, 0.4, "a, b", "c, d: why; e: not", "no: so", "yes"
    )
    line = f"| [`muon.Muon`](https://x) | 0.500, 0.400 | 2 of {len(ALL)} | no | yes |"
    assert table.table([row]).splitlines()[-1] == line
