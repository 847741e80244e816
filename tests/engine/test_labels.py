"""Agents under labels, and constants of one agent: in tables, folders, resumed runs, comparisons and sweeps."""

import json
import shutil

import pytest

import clbench
from clbench.commands.main import main
from clbench.engine.requests import Request, check_request
from clbench.errors import LoadError, OptionError, UnknownNameError
from clbench.leaderboard.submitting import _choose
from clbench.results import RunFolder, find_runs
from clbench.sweeps.cells import read_sweep
from tests.paths import TINY

SIZED = '''
import numpy


class Agent:
    """Says always the same, depending on its arguments."""

    def __init__(self, spec, seed, width=64, sizes=(1, 2), flag=True, name="adam"):
        assert isinstance(sizes, tuple) and type(flag) is bool
        self.answer, self.size, self.steps = width % 10, spec.batch_size, 0
        print("width", width, "sizes", sizes, "flag", flag, "name", repr(name))

    def act(self, obs):
        return numpy.full(self.size, self.answer)

    def learn(self, targets):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
'''
SHORT = [
    *("--seeds", "1", "--tasks", "2", "--epochs", "1", "--images", "600", "--batch-size", "100"),
    *("--device", "cpu"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sized.py").write_text(SIZED, encoding="utf-8")
    return tmp_path


def arguments_of(agents, arguments):
    runs = check_request(Request(agents=agents, arguments=arguments, seeds=1, device="cpu"))
    return {run.config.agent.name: run.config.agent.arguments for run in runs}


def test_one_agent_twice_under_labels(here, inline, capsys):
    command = ["evaluate", "small=sized.py", "large=sized.py:Agent", *SHORT]
    settings = ["--set", "large:width=512", "--set", "flag=False", "--set", "small:name=None"]
    assert main([*command, *settings]) == 0
    printed = capsys.readouterr()
    assert "width 512 sizes (1, 2) flag False name 'adam'" in printed.out + printed.err
    assert "width 64 sizes (1, 2) flag False name None" in printed.out + printed.err
    group = here / "results" / "RandomLabelMNIST-v0-quick-1"
    for label, reference, width in (("small", "sized.py", 64), ("large", "sized.py:Agent", 512)):
        data = json.loads((group / label / "run.json").read_text(encoding="utf-8"))
        assert data["config"]["agent"]["name"] == label
        assert data["config"]["agent"]["label_of"] == reference
        assert data["config"]["agent"]["arguments"]["width"] == width
        assert {record.agent for record in RunFolder(group / label).read_tasks()} == {label}
    assert sorted(clbench.load_results(group).runs.agent) == ["large", "small"]
    assert main(["compare", str(group), "--reference", "small"]) == 0
    assert "large" in capsys.readouterr().out


def test_labels_in_python(here, inline):
    evaluation = clbench.evaluate(
        {"zero": "sized.py", "one two": "sized.py"},
        arguments={"one two": {"width": 1}, "zero:width": 10, "sizes": [3]},
        out="out",
        **TINY,
    )
    assert [config.agent.name for config in evaluation.configs] == ["zero", "one two"]
    assert [config.agent.arguments["width"] for config in evaluation.configs] == [10, 1]
    assert [config.agent.reference for config in evaluation.configs] == ["sized.py", "sized.py"]
    assert {path.name for path in evaluation.folder.iterdir() if path.is_dir()} == {"zero", "one_two"}
    assert set(evaluation.summary.agent) == {"zero", "one two"}


def test_a_labels_reference_is_recorded_without_its_folder(here, inline, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "sized.py"
    shutil.copy(here / "sized.py", elsewhere)
    evaluation = clbench.evaluate({"mine": str(elsewhere)}, out="out", **TINY)
    manifest = RunFolder(evaluation.folder).read_manifest()
    assert manifest.config.agent.label_of == "sized.py"
    assert str(elsewhere.parent) not in (evaluation.folder / "run.json").read_text(encoding="utf-8")
    (run,) = find_runs(evaluation.folder)
    assert _choose([run], None, evaluation.folder)[1] == "sized.py"


def test_interrupted_labels_resume(here, inline, monkeypatch):
    from clbench.engine.interrupting import Interrupted
    from clbench.engine.monitor import RunMonitor

    taken = RunMonitor.take

    def stop(self, index, event):
        taken(self, index, event)
        if len(self.tasks) == 1:
            raise Interrupted("interrupted", 2)

    arguments = {"mine": {"width": 3}}
    monkeypatch.setattr(RunMonitor, "take", stop)
    with pytest.raises(KeyboardInterrupt):
        clbench.evaluate({"mine": "sized.py"}, arguments=arguments, out="out", **TINY)
    monkeypatch.setattr(RunMonitor, "take", taken)
    folder = here / "out" / "RandomLabelMNIST-v0-quick-1"
    evaluation = clbench.resume(folder)
    assert [config.agent.name for config in evaluation.configs] == ["mine"]
    assert len(evaluation.records) == 2


def test_classes_have_labels_too(here):
    class Local:
        def __init__(self, spec, seed, width=1): ...
        def act(self, obs): ...
        def learn(self, targets): ...

    found = arguments_of({"a": Local, "b": Local}, {"b": {"width": 2}})
    assert found == {"a": {"width": 1}, "b": {"width": 2}}


def test_a_reference_stands_for_all_its_agents():
    agents = ["agents.l2", "again=agents.l2", "agents.vanilla"]
    found = arguments_of(agents, {"agents.l2:strength": 0.5, "again:strength": 0.25})
    assert [found[name].get("strength") for name in ("agents.l2", "again")] == [0.5, 0.25]
    with pytest.raises(UnknownNameError, match=r"agents\.vanilla.*'strength'"):
        arguments_of(agents, {"strength": 0.5})


@pytest.mark.parametrize(
    "label",
    [
        "",
        " ",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "a:b",
        "[red]",
        "[/]",
        "<b>",
        "a$b$",
        "-x",
        "a\nb",
        "x ",
        "x" * 61,
        3,
    ],
)
def test_bad_labels(label):
    with pytest.raises(OptionError, match="^label "):
        check_request(Request(agents={label: "agents.l2"}, device="cpu"))
    if isinstance(label, str) and "\n" not in label:
        with pytest.raises(OptionError, match="^label "):
            check_request(Request(agents=[f"{label}=agents.l2"], device="cpu"))


@pytest.mark.parametrize(
    ("agents", "error", "fault"),
    [
        (["agents.l2", "agents.l2"], OptionError, r"'agents\.l2'.*first=agents\.l2"),
        (["a=agents.l2", "a=agents.vanilla"], OptionError, "label 'a'"),
        (["agents.l2=agents.vanilla", "agents.l2"], OptionError, r"label 'agents\.l2'"),
        (["a=agents.vanila"], UnknownNameError, r"'agents\.vanila'.*'agents\.vanilla'"),
        (["a="], UnknownNameError, "''"),
        ({"a": 3}, LoadError, "3"),
        ({}, UnknownNameError, r"agents\.vanilla"),
    ],
)
def test_what_labels_cannot_be(agents, error, fault):
    with pytest.raises(error, match=fault):
        check_request(Request(agents=agents, device="cpu"))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"large:strengt": 1}, "large.*'strengt'.*'strength'"),
        ({"lrge:strength": 1}, "'lrge'.*'large'"),
        ({":strength": 1}, "''"),
    ],
)
def test_wrong_names_say_whose(arguments, fault):
    with pytest.raises(UnknownNameError, match=fault):
        arguments_of(["large=agents.l2"], arguments)


@pytest.mark.parametrize("name", ["exp/lr=0.1/agent.py", "exp/lr=0.1/agent.py:Small", "./lr=agent.py"])
def test_a_missing_file_with_an_equals_sign_is_no_label_either(here, name):
    with pytest.raises(UnknownNameError, match=f"'{name.partition(':')[0]}'"):
        check_request(Request(agents=name, device="cpu"))


def test_a_file_with_an_equals_sign_is_no_label(here):
    (here / "seed=1").mkdir()
    shutil.copy(here / "sized.py", here / "seed=1" / "sized.py")
    assert list(arguments_of("seed=1/sized.py", {})) == ["seed=1/sized.py"]


def test_labels_in_a_sweep(here):
    sweep = read_sweep(
        {
            "seeds": 1,
            "device": "cpu",
            "grid": [
                {
                    "agent": ["small=sized.py", "large=sized.py"],
                    "arguments": {"name": "x", "large": {"width": [256, 512]}, "small:flag": False},
                }
            ],
        }
    )
    found = [(run.label, run.config.agent.name, run.config.agent.arguments) for run in sweep.runs]
    assert [(name, given["width"], given["flag"]) for _, name, given in found] == [
        ("small", 64, False),
        ("large", 256, True),
        ("large", 512, True),
    ]
    assert [label for label, *_ in found][1:] == ["large width=256", "large width=512"]
    assert sweep.notes == ()
    with pytest.raises(UnknownNameError, match=r"\[\[cell\]\] 1.*'lrge'.*'large'"):
        read_sweep({"cell": [{"agent": "large=sized.py", "arguments": {"lrge:width": 1}}]})
    with pytest.raises(OptionError, match="label 'a'"):
        read_sweep({"cell": [{"agent": "a=sized.py"}, {"agent": "a=agents.l2"}]})


def test_layers_are_a_setting_of_sweeps():
    cells = [
        {"agent": "agents.l2", "layers": layers}
        for layers in (1, "fc1,fc2", ["fc1", "fc2"], {"all": ["fc*"]}, "all=fc*")
    ]
    sweep = read_sweep({"seeds": 1, "device": "cpu", "cell": cells})
    assert [run.config.layers for run in sweep.runs] == [1, ["fc1", "fc2"], {"all": ["fc*"]}]
    with pytest.raises(OptionError, match=r"\[\[cell\]\] 1"):
        read_sweep({"cell": [{"agent": "agents.l2", "layers": -1}]})
