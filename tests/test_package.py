"""What an installation gives: public names, cheap import, a wheel that works from any folder."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import clbench
from clbench import machine

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", clbench.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(clbench, name)
    if callable(value):
        assert value.__doc__


def test_unknown_names():
    with pytest.raises(AttributeError, match="'mkae'"):
        clbench.mkae  # noqa: B018
    assert set(dir(clbench)) == set(clbench.__all__)


@pytest.mark.process
def test_import_loads_nothing_heavy():
    script = (
        "import sys, clbench; late = {'torchvision', 'matplotlib', 'pandas', 'mlxtend', 'scipy'};"
        "heavy = late | {'torch', 'ray'};"
        "print(sorted(heavy & set(sys.modules)));"
        "clbench.make; print(sorted(heavy & set(sys.modules)));"
        "clbench.make_vec('PermutedMNIST-v0', 1); print(sorted((late - {'mlxtend'}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]", "[]"]


@pytest.mark.process
@pytest.mark.parametrize("fault", ["raise ModuleNotFoundError('not there')", "1 / 0", "__path__ = []"])
def test_gymnasium_that_cannot_be_imported_is_named(tmp_path, fault):
    (tmp_path / "gymnasium.py").write_text(fault, encoding="utf-8")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import clbench"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "gymnasium" in last


def test_a_typed_package():
    assert (ROOT / "clbench" / "py.typed").is_file()


def test_the_version_is_that_of_the_installation():
    assert clbench.__version__ == importlib.metadata.version("clbench")
    assert machine.versions()["clbench"] == clbench.__version__


def test_a_source_tree_that_is_not_installed_has_a_version(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert clbench.__version__ == "0+unknown"


def test_without_a_tag_the_version_follows_the_last_release():
    """A clone or an archive without tags must not claim to be older than what was released."""
    fallback = re.search(
        r'^fallback-version = "([\d.]+)\.dev0"$',
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    released = re.findall(
        r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    major, minor, patch = released[0].split(".")
    assert fallback[1] == f"{major}.{minor}.{int(patch) + 1}"


@pytest.mark.process
def test_the_wheel_brings_agents_inside_clbench(tmp_path):
    """Built with the backend, laid out in a folder, used from another one."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"clbench"}
    assert not [name for name in names if name.endswith(".pth")]  # nothing of ours runs when Python starts
    assert {"clbench/agents/vanilla.py", "clbench/py.typed"} <= set(names)
    site_packages = [path for path in sys.path if path.endswith("site-packages")]
    script = (
        "import sys; sys.path[:0] = sys.argv[1:];"
        "from clbench.loading import load_agent, bundled_agents;"
        "import clbench; print(clbench.__file__.startswith(sys.argv[1]));"
        "print(load_agent('agents.vanilla').__module__, len(bundled_agents()) >= 5)"
    )

    def start(*arguments):
        # -S leaves out site-packages' .pth files, and with them an editable installation.
        return subprocess.run(
            [sys.executable, "-S", "-c", *arguments],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )

    folders = [str(tmp_path / "site"), *site_packages]
    run = start(script, *folders)
    assert run.stdout.split() == ["True", "clbench.agents.vanilla", "True"], run.stderr
    study = start(
        "import sys; sys.path[:0] = sys.argv[1:]; from clbench.commands.main import main_of; "
        "sys.exit(main_of('reproduce', []))",
        *folders,
    )
    (line,) = study.stderr.splitlines()
    assert study.returncode == 2
    assert re.match(r"error: .*\bclone\b", line)
