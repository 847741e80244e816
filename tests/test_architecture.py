"""Who may import whom (the table in CONTRIBUTING.md), read from the source."""

import ast
import functools
import re
from pathlib import Path

import pytest

import clbench

ROOT = Path(__file__).parent.parent

COMMANDS = {"evaluate", "resume", "sweep", "compare", "list", "reproduce"}
"""Files that `python -m clbench.NAME` runs; they belong to `commands`."""


def packages():
    """For each package of the table in CONTRIBUTING.md, the packages that it may import besides itself."""
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    rows = [[set(re.findall(r"`(\w+)`", names)), allowed] for names, _, allowed in rows if "`" in names]
    ground, table = rows[0][0], {}
    for names, allowed in rows:
        allows = set(re.findall(r"`(\w+)`", allowed))
        if "all above" in allowed:
            allows = set(table) - allows
        for name in names:
            table[name] = allows | (ground if "ground" in allowed else set())
    return table


ROOMS = packages()
ANYTHING = {"__init__"}
# Names that agents may import: public ones, and what they need to raise and to declare.
FOR_AGENTS = {
    "clbench",
    "clbench.agent",
    "clbench.errors",
    "clbench.indicators",
    "clbench.loading",
    "clbench.scheduling",
}
# Modules that studies may import from, whole or below; `clbench` itself is no such module, see `is_public`.
FOR_STUDIES = {
    "clbench.commands",
    "clbench.errors",
    "clbench.indicators",
    "clbench.plotting",
    "clbench.scheduling",
    "clbench.report",
    "clbench.scoring",
}
LATE = {"torchvision", "matplotlib", "pandas", "mlxtend", "scipy"}


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@functools.cache
def imports(path, top_level_only=False):
    """Absolute names imported by a file; imports under `if TYPE_CHECKING` do not run, and do not count as top level."""
    return list(_imports(path, top_level_only))


def _imports(path, top_level_only):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path.parent.name == "agents", f"{path}: relative import"
            if node.level == 0:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module):
    return module.split(".")[1] if module.count(".") else None


def room_of(path):
    name = path.relative_to(ROOT / "clbench").parts[0].removesuffix(".py")
    return "commands" if name in COMMANDS or path.name == "__main__.py" else name


def forbidden(folder, check):
    """What `check` finds in each file of a folder, if anything."""
    found = {str(path.relative_to(ROOT)): check(path) for path in sources(folder)}
    return {path: names for path, names in found.items() if names}


def test_imports_go_one_way():
    def outside(path):
        own = room_of(path)
        used = {room(name) for name in imports(path) if name.startswith("clbench.")}
        return () if own in ANYTHING else used & (set(ROOMS) | ANYTHING) - ROOMS[own] - {own}

    assert forbidden("clbench", outside) == {}


def test_no_two_packages_import_each_other():
    used = {}
    for path in sources("clbench"):
        if room_of(path) not in ANYTHING:
            names = {room(name) for name in imports(path) if name.startswith("clbench.")}
            used.setdefault(room_of(path), set()).update(names & set(ROOMS))
    assert [(a, b) for a in used for b in used[a] if a < b and a in used.get(b, ())] == []


def test_every_room_is_in_the_table():
    assert {room_of(path) for path in sources("clbench")} == set(ROOMS) | ANYTHING


def of_package(path, package, **options):
    """What a file imports of a package."""
    return {name for name in imports(path, **options) if name.split(".")[0] == package}


def test_clbench_never_imports_agents():
    assert forbidden("clbench", lambda path: of_package(path, "agents")) == {}


def test_agents_use_public_names_only():
    def private(path):
        used = of_package(path, "clbench")
        return {name for name in used if not {name, name.rpartition(".")[0]} & FOR_AGENTS}

    assert forbidden("agents", private) == {}


def test_studies_use_public_names_only():
    public = {"clbench", *(f"clbench.{name}" for name in clbench.__all__)} | FOR_STUDIES

    def private(path):
        return {
            name
            for name in of_package(path, "clbench")
            if name not in public and ".".join(name.split(".")[:2]) not in FOR_STUDIES
        }

    assert forbidden("studies", private) == {}


@pytest.mark.parametrize("folder", ["clbench", "agents"])
def test_nothing_imports_studies(folder):
    """The command `reproduce` loads by name the study that a clone has."""
    assert forbidden(folder, lambda path: of_package(path, "studies")) == {}


def test_heavy_modules_load_when_used():
    def early(path):
        return {name.split(".")[0] for name in imports(path, top_level_only=True)} & LATE

    assert forbidden("clbench", early) == {}


def test_the_study_runs_without_matplotlib():
    """Only its figures need it."""
    assert forbidden("studies", lambda path: of_package(path, "matplotlib", top_level_only=True)) == {}


@pytest.mark.parametrize(
    ("tracker", "package"),
    [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")],
)
def test_only_a_trackers_own_file_needs_its_package(tracker, package):
    found = forbidden("clbench", lambda path: {package} & set(imports(path)))
    assert found == {f"clbench/tracking/{tracker}.py": {package}}
    # Loaded by name when it is chosen.
    assert forbidden("clbench", lambda path: {f"clbench.tracking.{tracker}"} & set(imports(path))) == {}


def test_gymnasium_stays_at_the_envs():
    without = {"streams", "data", "specs", "seeding", "scoring", "records"}
    found = forbidden("clbench", lambda path: of_package(path, "gymnasium"))
    assert not {room_of(ROOT / path) for path in found} & without


@pytest.mark.parametrize("folder", ["clbench", "agents", "studies"])
def test_a_file_is_one_idea(folder):
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(folder)}
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_the_checks_find_what_they_look_for(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import scipy.stats\nfrom agents.vanilla import Agent\nfrom clbench.evaluation import api\n",
        encoding="utf-8",
    )
    found = list(imports(bad, top_level_only=True))
    assert {name.split(".")[0] for name in found} & LATE == {"scipy"}
    assert "agents.vanilla" in found
    assert room("clbench.evaluation.api") == "evaluation"
