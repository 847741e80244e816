import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clbench.arguments import parameters
from clbench.errors import LoadError, UnknownNameError
from clbench.loading import bundled_agents, load_agent, load_indicator
from clbench.provenance import source_of

AGENT = """
class Agent:
    def __init__(self, spec, seed, step_size=1e-3, kind="adam", flag=False):
        pass
    def act(self, obs): ...
    def learn(self, targets): ...

class Other(Agent): ...

class NoAgent: ...
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with an agent file; modules imported from it are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_agent.py").write_text(AGENT, encoding="utf-8")
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("my_agent", "Agent"),
        ("my_agent:Other", "Other"),
        ("my_agent.py", "Agent"),
        ("my_agent.py:Other", "Other"),
        ("./my_agent.py:Agent", "Agent"),
    ],
)
def test_ways_to_name_an_agent(folder, reference, name):
    assert load_agent(reference).__name__ == name


def test_absolute_path_and_neighbours(folder, monkeypatch):
    (folder / "deep").mkdir()
    (folder / "deep" / "helper_of_mine.py").write_text("VALUE = 3", encoding="utf-8")
    (folder / "deep" / "agent.py").write_text(f"import helper_of_mine\n{AGENT}", encoding="utf-8")
    assert load_agent(str(folder / "deep" / "agent.py")).__name__ == "Agent"


def test_two_files_of_one_name_are_two_agents(folder):
    (folder / "other").mkdir()
    (folder / "other" / "my_agent.py").write_text(AGENT.replace("1e-3", "5e-3"), encoding="utf-8")
    assert parameters(load_agent("my_agent.py"))["step_size"] == 1e-3
    assert parameters(load_agent("other/my_agent.py"))["step_size"] == 5e-3


@pytest.mark.parametrize("reference", sorted(bundled_agents()))
def test_every_bundled_agent_loads(reference):
    agent = load_agent(reference)
    assert agent.vectorized
    assert "step_size" in parameters(agent)


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ("agents.vanila", r"'agents\.vanila'.*'agents\.vanilla'.*clbench list"),
        ("agents", r"'agents'.*'Agent'"),
        ("no_such_module", "'no_such_module'"),
        ("my_agent:Agnt", "'my_agent'.*'Agnt'.*'Agent'"),
        ("my_agent.py:Zzz", r"'my_agent\.py'.*'Zzz'.*Agent, Other"),
        ("my_agnt.py", r"'my_agnt\.py'"),
        ("", "''.*clbench list"),
        (".relative", r"'\.relative'"),
        ("agents.", r"'agents\.'"),
    ],
)
def test_what_is_not_there_is_named(folder, reference, fault):
    with pytest.raises(UnknownNameError, match=fault):
        load_agent(reference)


def test_a_class_that_is_no_agent(folder):
    with pytest.raises(LoadError, match=r"'my_agent:NoAgent'.*\bact\b.*\blearn\b"):
        load_agent("my_agent:NoAgent")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("import no_such_dependency", "ModuleNotFoundError.*'no_such_dependency'"),
        ("import sys; sys.exit(3)", r"SystemExit.*\b3\b"),
        ("1 / 0", "ZeroDivisionError"),
        ("class Agent(", "SyntaxError"),
    ],
)
def test_a_module_that_does_not_import_is_the_agents_fault(folder, content, fault):
    (folder / "broken_agent.py").write_text(content, encoding="utf-8")
    with pytest.raises(LoadError, match=f"'broken_agent'.*{fault}"):
        load_agent("broken_agent")


def test_a_broken_file(folder):
    (folder / "broken.py").write_text("1 / 0", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(LoadError, match=r"'broken\.py'.*ZeroDivisionError"):
            load_agent("broken.py")


def test_indicators_of_ones_own(folder):
    (folder / "mine.py").write_text("number = 3\ndef gap(at): return at\n", encoding="utf-8")
    assert load_indicator("mine:gap")(4) == load_indicator("mine.py:gap")(4) == 4
    with pytest.raises(UnknownNameError, match="'mine'.*'gab'.*'gap'"):
        load_indicator("mine:gab")
    with pytest.raises(UnknownNameError, match=r"'yours\.py'"):
        load_indicator("yours.py:gap")
    with pytest.raises(LoadError, match="'mine:number'"):
        load_indicator("mine:number")


def test_source_is_recorded(folder):
    source = source_of(load_agent("my_agent.py:Other"))
    assert source["sha256"] == hashlib.sha256((folder / "my_agent.py").read_bytes()).hexdigest()
    assert Path(source["file"]).name == "my_agent.py"


@pytest.mark.process
@pytest.mark.parametrize("content", ["", "raise ImportError('an older Python')"])
def test_bundled_agents_work_where_another_package_is_called_agents(tmp_path, content):
    """Another distribution's package comes first on the path, yet has no vanilla."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text(content, encoding="utf-8")
    (tmp_path / "agents" / "mine.py").write_text(AGENT, encoding="utf-8")
    script = "from clbench.loading import load_agent; print(load_agent('agents.vanilla').__module__)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["clbench.agents.vanilla"], done.stderr
    if not content:
        script = "from clbench.loading import load_agent; print(load_agent('agents.mine').__module__)"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == ["agents.mine"], done.stderr


@pytest.mark.process
def test_a_checkout_in_a_folder_called_clbench(tmp_path):
    root = Path(__file__).parent.parent
    for name in ("clbench", "agents"):
        shutil.copytree(
            root / name, tmp_path / "clbench" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "work" / "agents").mkdir(parents=True)
    (tmp_path / "work" / "agents" / "__init__.py").write_text("", encoding="utf-8")
    script = (
        f"import sys; sys.path.insert(1, {str(tmp_path / 'clbench')!r});"
        "from clbench.loading import load_agent; import clbench; print(clbench.__file__);"
        "print(load_agent('agents.vanilla').__module__)"
    )
    site_packages = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {site_packages!r}; {script}"],
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [str(tmp_path / "clbench/clbench/__init__.py"), "clbench.agents.vanilla"], (
        done.stderr
    )
