"""From a run to a submission, and its repetition."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import clbench
from clbench.commands.main import main_of
from clbench.config import AgentConfig, RunConfig
from clbench.errors import SubmissionError
from clbench.jsondata import from_json
from clbench.leaderboard import submitting
from clbench.leaderboard.checking import IMAGES
from clbench.leaderboard.submission import About, Cost, read_entry
from clbench.leaderboard.submitting import relative_cost, submit
from clbench.leaderboard.verifying import Verdict
from clbench.loading import load_agent
from clbench.provenance import source_of
from clbench.references import bundled_file
from clbench.results import RunFolder, RunManifest
from clbench.results.manifest import CodeSource, DataSource, Session
from clbench.specs import PROTOCOLS, Protocol
from tests.inline import in_this_process
from tests.leaderboards import SOURCE, edit, edit_tasks, records, stream_spec, submission, write_submission

pytestmark = pytest.mark.usefixtures("forked_workers")

TINY = Protocol("tiny", "embedded", 5_000, 2, 1, "tests")
MINE = '''"""Guesses."""

import numpy


class Agent:
    def __init__(self, spec, seed, guess=1):
        self.size, self.guess = spec.batch_size, guess

    def act(self, obs):
        return numpy.full(self.size, self.guess)

    def learn(self, targets):
        pass
'''


@pytest.fixture
def tiny(monkeypatch):
    """A protocol that takes seconds; what is run, submitted and repeated is real."""
    protocols = {**PROTOCOLS, "tiny": TINY}
    for place in ("clbench.specs", "clbench.leaderboard.checking", "clbench.leaderboard.ranking"):
        monkeypatch.setattr(f"{place}.PROTOCOLS", protocols)
    monkeypatch.setattr("clbench.leaderboard.submitting.ROUNDS", 2)
    monkeypatch.setattr("clbench.engine.timing.STEPS", 2)


def test_run_submit_check_verify_build(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE, encoding="utf-8")
    with in_this_process():
        run = clbench.evaluate(
            ["agents.perlayer", str(tmp_path / "mine.py")], protocol="tiny", device="cpu", indicators="none"
        )
    flags = ["--code", "https://example.org/code", "--contact", "me", "--licence", "BSD-3-Clause"]
    capsys.readouterr()
    assert main_of("leaderboard", ["submit", str(run.folder), "--name", "a"]) == 1
    err = capsys.readouterr().err
    for part in (str(run.folder), "--agent", "agents.perlayer", "mine.py"):
        assert part in err
    assert (
        main_of(
            "leaderboard", ["submit", str(run.folder), "--name", "ours", "--agent", "agents.perlayer", *flags]
        )
        == 0
    )
    said = capsys.readouterr().out
    for part in ("3 seeds", "2 tasks", "perlayer.py", "BSD-3-Clause", "leaderboard/submissions/ours/"):
        assert part in said
    assert (
        main_of(
            "leaderboard",
            [
                "submit",
                str(run.folder),
                "--name",
                "mine",
                "--agent",
                str(tmp_path / "mine.py"),
                "--tuned",
                "by hand",
            ],
        )
        == 0
    )
    ours, mine = (read_entry(Path("leaderboard/submissions") / name).submission for name in ("ours", "mine"))
    command = json.loads((run.folder / "agents.perlayer" / "run.json").read_text(encoding="utf-8"))["command"]
    assert list(ours.run.command) == command
    assert (mine.agent, mine.run.agent_source.class_, mine.about.tuned) == (
        "mine.py",
        "mine:Agent",
        "by hand",
    )
    assert str(tmp_path) not in mine.to_json()
    assert ours.cost.relative_to_vanilla > 0
    assert main_of("leaderboard", ["check"]) == 0
    capsys.readouterr()
    assert main_of("leaderboard", ["verify", "ours", "--seed", "1", "--tasks", "2"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(": identical")
    Path("mine.py").unlink()  # the attached source is enough
    with in_this_process():
        assert main_of("leaderboard", ["verify", "mine"]) == 0
    assert re.match(r"seed 0, task 1\b.* 0\.\d+.* 0\.\d+", capsys.readouterr().out)
    assert main_of("leaderboard", ["build"]) == 0
    assert "| 1 | [ours](https://example.org/code) | " in Path("leaderboard/README.md").read_text(
        encoding="utf-8"
    )
    # Forged records pass all that is only read; what is repeated tells.
    place = Path("leaderboard/submissions/mine")
    forge(place)
    assert main_of("leaderboard", ["check"]) == 0
    capsys.readouterr()
    with in_this_process():
        assert main_of("leaderboard", ["verify", "mine"]) == 1
    assert re.search(r": different\b.* 0\.\d", capsys.readouterr().out)
    for arguments, named in (
        (["verify", "nobody"], ["'nobody'", "'leaderboard/submissions'"]),
        (["verify", "our"], ["'our'", "'ours'"]),
        (
            ["submit", str(run.folder), "--name", "twin", "--agent", "agents.perlayer"],
            ["'ours'", "results"],
        ),
        (["verify", "../ours"], ["'../ours'", "48"]),
        (["verify", "ours", "--seed", "9"], ["'ours'", "seed 9", "2"]),
        (["verify", "ours", "--tasks", "3"], ["'ours'", "2 tasks", "3"]),
        (
            ["submit", str(run.folder), "--name", "ours", "--agent", "agents.perlayer"],
            ["'leaderboard/submissions/ours'", "--replace"],
        ),
        (
            ["submit", str(run.folder), "--name", "b", "--agent", "agents.perlayr"],
            ["'agents.perlayr'", "'agents.perlayer'"],
        ),
    ):
        assert main_of("leaderboard", arguments) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
        assert not [part for part in named if part not in last], last
    assert (
        main_of(
            "leaderboard",
            ["submit", str(run.folder), "--name", "ours", "--agent", "agents.perlayer", "--replace"],
        )
        == 0
    )
    assert not list(Path("leaderboard/submissions").glob(".new-*"))


def test_a_hidden_run_is_submitted_and_repeated_without_telling(tiny, tmp_path, monkeypatch, inline, capsys):
    monkeypatch.chdir(tmp_path)
    tells_on = (
        "        assert not hasattr(spec, 'num_tasks')\n\n    def begin_task(self, task):\n        1 / 0\n"
    )
    Path("mine.py").write_text(MINE.replace("\n    def act", f"{tells_on}\n    def act"), encoding="utf-8")
    settings = {"protocol": "tiny", "device": "cpu", "indicators": "none", "boundaries": "hidden"}
    run = clbench.evaluate("mine.py", **settings)
    assert main_of("leaderboard", ["submit", str(run.folder), "--name", "mine"]) == 0
    assert main_of("leaderboard", ["check"]) == 0
    capsys.readouterr()
    assert main_of("leaderboard", ["verify", "mine", "--tasks", "2"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(": identical")
    assert main_of("leaderboard", ["build"]) == 0
    assert "| hidden |" in Path("leaderboard/README.md").read_text(encoding="utf-8")


def test_an_earlier_source_of_a_learner_that_comes_with_clbench_is_repeated(tmp_path):
    from clbench.leaderboard.submission import Entry
    from clbench.leaderboard.verifying import _reference

    source = bundled_file("agents.l2").read_text(encoding="utf-8")
    for text in (source, source + "\n# of old\n"):
        data = submission("earlier", "agents.l2", text, stream_spec())
        code = replace(data.run.agent_source, class_="l2:Agent", file="l2.py")
        data = replace(data, run=replace(data.run, agent_source=code))
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        found = _reference(Entry(data, (), text), scratch)
        if text is source:
            assert found == "agents.l2"
            continue
        assert found == "clbench_earlier_agents.l2:Agent"
        loaded = subprocess.run(
            [sys.executable, "-c", f"from clbench.loading import load_agent; print(load_agent('{found}'))"],
            env={**os.environ, "PYTHONPATH": f"{scratch}{os.pathsep}{Path.cwd()}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert loaded.stdout == "<class 'clbench_earlier_agents.l2.Agent'>\n"
        assert "# of old" in (scratch / "clbench_earlier_agents" / "l2.py").read_text(encoding="utf-8")


def test_code_that_is_repeated_cannot_answer_for_it(tiny, tmp_path, capsys):
    """A submission that ends the process that loads it ends a worker, and is told."""
    place = write_submission(tmp_path, "leaving")
    source = "import os\nos._exit(0)\n" + SOURCE
    (place / "leaving.py").write_text(source, encoding="utf-8")
    edit(
        place,
        lambda data: data["run"]["agent_source"].update(sha256=hashlib.sha256(source.encode()).hexdigest()),
    )
    assert main_of("leaderboard", ["check", "--folder", str(tmp_path)]) == 0
    assert main_of("leaderboard", ["verify", "leaving", "--folder", str(tmp_path)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "'leaving'" in last
    assert "exit code 0" in last


def test_a_run_gone_on_with_after_a_change_is_not_submitted(tmp_path, cheap):
    run = made_run(tmp_path, resumed=(Session(accepted_changes=("agents.vanilla",)),))
    with pytest.raises(SubmissionError, match=re.escape(f"'{run}'") + ".*--accept-changes"):
        submit(run, tmp_path, "vanilla")


def forge(place):
    """Record better accuracies."""
    folder, total = RunFolder(place), 19 * 256
    better = [
        type(one)(**{**vars(one), "accuracy": (round(one.accuracy * total) + 400 + one.seed) / total})
        for one in folder.read_tasks()
    ]
    folder.write_tasks(better)


def made_run(tmp_path, **changes):
    """A run folder as `evaluate` leaves it, without having run."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    size, checksum = IMAGES["embedded"]
    config = RunConfig(
        agent=AgentConfig(name="agents.vanilla"), stream=stream_spec(), protocol="quick", seeds=(0, 1, 2)
    )
    source = from_json(CodeSource, source_of(load_agent("agents.vanilla")))
    manifest = RunManifest(
        status="complete",
        config=config,
        agent_source=source,
        command=("/usr/bin/thing", "/home/me/agents/x.py:Agent"),
        started="now",
        versions={"clbench": "0", "torch": "0"},
        data=DataSource(source="embedded", size=size, num_classes=10, sha256=checksum),
    )
    folder.write_manifest(replace(manifest, **changes))
    folder.write_tasks(records("agents.vanilla"))
    return folder.path


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(submitting, "relative_cost", lambda *_: Cost(relative_to_vanilla=1.0, rounds=9))


def test_personal_paths_stay_at_home(tmp_path, cheap):
    made = submit(made_run(tmp_path), tmp_path / "board", "vanilla")
    assert made.run.command == ("thing", "x.py:Agent")


def test_a_changed_agent_is_not_submitted(tmp_path, cheap):
    agent = CodeSource(class_="agents.vanilla:Agent", file="vanilla.py", sha256="0" * 64)
    with pytest.raises(SubmissionError, match=r"^(?!.*--resume).*agents\.vanilla\b"):
        submit(made_run(tmp_path, agent_source=agent), tmp_path, "vanilla")


def test_incomplete_and_changed_runs_are_not_submitted(tmp_path, cheap):
    run = made_run(tmp_path)
    lines = (run / "tasks.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "tasks.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(SubmissionError, match=re.escape(f"'{run}'") + r".*\bcomplete\b"):
        submit(run, tmp_path, "vanilla")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps({**facts, "status": "interrupted"}), encoding="utf-8")
    with pytest.raises(
        SubmissionError,
        match=rf"agents\.vanilla\b.*clbench resume {re.escape(str(run))}",
    ):
        submit(run, tmp_path, "vanilla")
    facts["config"]["overrides"] = {"num_tasks": 2}
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(SubmissionError, match=re.escape(f"'{run}'") + r".*\bnum_tasks\b"):
        submit(run, tmp_path, "vanilla")
    assert not (tmp_path / "submissions").exists()


def test_what_would_not_pass_is_not_written(tmp_path, cheap):
    run = made_run(tmp_path)
    edit_tasks(run, "agents.vanilla,0,0,760,", "agents.vanilla,0,0,761,")
    with pytest.raises(SubmissionError, match=r"\b761 steps\b.*\b760\b"):
        submit(run, tmp_path, "vanilla")
    assert not (tmp_path / "submissions").exists()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"paper": "ftp://x"}, "paper 'ftp://x'.*https://"),
        ({"contact": "=1"}, "contact '=1'"),
        ({"licence": "mine"}, r"licence 'mine'.*\bMIT\b"),
        ({"tuned": "\n"}, "tuned"),
    ],
)
def test_words_are_checked_first(tmp_path, words, fault):
    with pytest.raises(SubmissionError, match=fault):
        submit(tmp_path / "nowhere", tmp_path, "a", About(**words))


def test_cost_is_that_of_the_same_agent_and_of_a_dearer_one(tiny):
    agent = AgentConfig(name="twice")
    config = RunConfig(agent=agent, stream=stream_spec(), protocol="quick", seeds=(0, 1))
    vanilla = load_agent("agents.vanilla")

    class Twice(vanilla):
        def act(self, obs):
            for _ in range(20):
                super().act(obs)
            return super().act(obs)

    assert relative_cost(config, Twice).relative_to_vanilla > 1.5


def test_verdicts():
    assert Verdict(0, (0.5, 0.25), (0.5, 0.25)).word == "identical"
    assert Verdict(0, (0.5, 0.25), (0.5, 0.255)).word == "close"
    assert Verdict(0, (0.5, 0.25), (0.6, 0.25)).word == "different"


# Neighbours, and files that are elsewhere

HELPED = MINE.replace("import numpy\n", "import numpy\nfrom helper import GUESS\n").replace(
    "guess=1", "guess=GUESS"
)


def helped_run(folder, helper="GUESS = 2\n"):
    """The folder of a run that was started in `folder`, of an agent that imports a neighbour."""
    folder.mkdir()
    (folder / "mine.py").write_text(HELPED, encoding="utf-8")
    (folder / "helper.py").write_text(helper, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return clbench.evaluate("mine.py", protocol="tiny", device="cpu", indicators="none").folder.resolve()


@pytest.mark.process
def test_neighbours_are_attached_wherever_the_run_was_started(tiny, tmp_path, inline, capsys):
    run = helped_run(tmp_path / "project")
    board = tmp_path / "board"
    made = submit(run, board, "helped")
    assert made.sources == ("mine.py", "helper.py")
    place = board / "submissions" / "helped"
    assert {path.name for path in place.iterdir()} == {"mine.py", "helper.py", "submission.json", "tasks.csv"}
    (tmp_path / "project").rename(tmp_path / "gone")
    assert main_of("leaderboard", ["check", "--folder", str(board)]) == 0
    assert main_of("leaderboard", ["verify", "helped", "--folder", str(board)]) == 0
    (place / "helper.py").write_text("GUESS = 3\n", encoding="utf-8")
    capsys.readouterr()
    assert main_of("leaderboard", ["check", "--folder", str(board)]) == 1
    assert "helper.py" in capsys.readouterr().err
    assert main_of("leaderboard", ["verify", "helpd", "--folder", str(board)]) == 1
    assert "'helped'" in capsys.readouterr().err


@pytest.mark.process
def test_what_does_not_suffice_alone_leaves_nothing(tiny, tmp_path, inline, monkeypatch):
    """Its neighbour imports by a name that nobody can read from the source, from a folder on the user's path."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret_of_mine.py").write_text("VALUE = 2", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "private")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'private'}")
    run = helped_run(tmp_path / "project", "from secret_of_mine import VALUE as GUESS\n")
    with pytest.raises(SubmissionError, match=r"mine\.py, helper\.py.*'secret_of_mine'"):
        submit(run, tmp_path / "board", "helped")
    assert not (tmp_path / "board").exists()


def test_a_changed_neighbour_is_named(tiny, tmp_path, inline):
    run = helped_run(tmp_path / "project")
    (tmp_path / "project" / "helper.py").write_text("GUESS = 4\n", encoding="utf-8")
    with pytest.raises(SubmissionError, match=r"helper\.py.*mine\.py"):
        submit(run, tmp_path / "board", "helped")
    (tmp_path / "project" / "mine.py").unlink()
    with pytest.raises(clbench.ClbenchError, match=r"mine\.py.*--agent"):
        submit(run, tmp_path / "board", "helped")
    assert not (tmp_path / "board").exists()


def test_a_file_that_the_run_did_not_record_is_named(tiny, tmp_path, inline):
    run = helped_run(tmp_path / "project")
    data = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del data["agent_source"]["neighbours"]
    (run / "run.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SubmissionError, match=r"helper\.py.*mine\.py"):
        submit(run, tmp_path / "board", "helped")
    assert not (tmp_path / "board").exists()


def test_a_run_on_a_stream_of_the_users_is_not_ranked(tmp_path, cheap):
    stream = replace(stream_spec(), id="Tiny-v0")
    config = RunConfig(agent=AgentConfig(name="agents.vanilla"), stream=stream, protocol="quick", seeds=(0,))
    with pytest.raises(SubmissionError, match=r"Tiny-v0.*RandomLabelMNIST-v0"):
        submit(made_run(tmp_path, config=config), tmp_path / "board", "vanilla")
