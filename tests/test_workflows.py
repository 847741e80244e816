"""Workflows, hooks and pyproject.toml agree with each other."""

import re
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def versions(text):
    return set(re.findall(r'"(3\.\d+)"', text))


def test_workflows_are_found():
    assert {"ci.yml", "docs.yml", "leaderboard.yml", "nightly.yml", "release.yml"} <= set(WORKFLOWS)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit(name):
    for used in re.findall(r"uses:(.*)", WORKFLOWS[name]):
        assert re.fullmatch(r" [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_an_action_has_the_same_commit_everywhere():
    pins = set(re.findall(r"uses: (\S+)@(\S+) # (\S+)", "\n".join(WORKFLOWS.values())))
    assert len(pins) == len({action for action, _, _ in pins})


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_starts_with_a_token_that_only_reads(name):
    """At the top, not indented; a job that needs more asks for it."""
    assert "\npermissions:\n  contents: read\n" in WORKFLOWS[name]
    assert not re.search(r"^\s*pull_request_target:", WORKFLOWS[name], re.MULTILINE)
    assert "secrets." not in WORKFLOWS[name]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_job_has_a_time_limit(name):
    jobs = re.findall(r"^    runs-on:", WORKFLOWS[name], re.MULTILINE)
    limits = re.findall(r"^    timeout-minutes: \d+$", WORKFLOWS[name], re.MULTILINE)
    assert len(jobs) == len(limits) > 0


def test_the_fast_tests_are_the_same_everywhere():
    texts = [*WORKFLOWS.values(), (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")]
    choices = {choice for text in texts for choice in re.findall(r'pytest -m "([^"]+)"', text)}
    assert len(choices) == 1
    used = set(re.findall(r"\w+", choices.pop())) - {"not", "or"}
    assert used == {mark.split(":")[0] for mark in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}


def test_the_oldest_and_newest_python_are_tested():
    declared = [
        line.rpartition(" ")[2]
        for line in PYPROJECT["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", line)
    ]
    (matrix,) = re.findall(r"python: (\[.*\])", WORKFLOWS["ci.yml"])
    assert versions(matrix) == {declared[0], declared[-1]}
    assert PYPROJECT["project"]["requires-python"] == f">={declared[0]}"
    lowest = WORKFLOWS["nightly.yml"].partition("lowest:")[2].partition("pytorch:")[0]
    assert versions(lowest) == {declared[0]}
    assert all(versions(text) <= set(declared) for text in WORKFLOWS.values())


def test_hooks_are_pinned_and_ruff_is_that_of_the_extra():
    revisions = re.findall(r"rev: (\S+)", HOOKS)
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", revision) for revision in revisions)
    (hook,) = re.findall(r"ruff-pre-commit\s+rev: v(\d+\.\d+)\.", HOOKS)
    (extra,) = [one for one in PYPROJECT["project"]["optional-dependencies"]["dev"] if one.startswith("ruff")]
    assert extra == f"ruff=={hook}.*"
