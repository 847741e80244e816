"""Who may import whom (the table in CONTRIBUTING.md), read from the source."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# For each room of the table in CONTRIBUTING.md, the rooms that it may import; every room may import itself.
ROOMS: dict[str, set[str]] = {}
ANYTHING = {"__init__"}
for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines():
    if line.startswith("| `"):
        own, _, allowed = line.strip("|").split("|")
        for name in re.findall(r"`(\w+)`", own):
            ROOMS[name] = set(re.findall(r"`(\w+)`", allowed))
            if "all of" in allowed:
                ANYTHING.add(name)
for name in ANYTHING:
    ROOMS.pop(name, None)
# Names that agents may import: public ones, and what they need to raise and to declare.
FOR_AGENTS = {
    "clbench",
    "clbench.agent",
    "clbench.errors",
    "clbench.indicators",
    "clbench.loading",
    "clbench.scheduling",
}
LATE = {"torchvision", "matplotlib", "pandas", "mlxtend", "scipy"}


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path, top_level_only=False):
    """Absolute names imported by a file; imports under `if TYPE_CHECKING` do not run, and do not count as top level."""
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
    return path.relative_to(ROOT / "clbench").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sources("clbench"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = room_of(path)
    if own in ANYTHING:
        return
    used = {room(name) for name in imports(path) if name.startswith("clbench.")} & (set(ROOMS) | ANYTHING)
    assert used <= ROOMS[own] | {own}


def test_every_room_is_in_the_table():
    assert {room_of(path) for path in sources("clbench")} == set(ROOMS) | ANYTHING


@pytest.mark.parametrize("path", sources("clbench"), ids=lambda path: str(path.relative_to(ROOT)))
def test_clbench_never_imports_agents(path):
    assert not [name for name in imports(path) if name.split(".")[0] == "agents"]


@pytest.mark.parametrize("path", sources("agents"), ids=lambda path: path.name)
def test_agents_use_public_names_only(path):
    used = {name for name in imports(path) if name.split(".")[0] == "clbench"}
    assert all(name in FOR_AGENTS or name.rpartition(".")[0] in FOR_AGENTS for name in used), used


@pytest.mark.parametrize("path", sources("clbench"), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_modules_load_when_used(path):
    assert not {name.split(".")[0] for name in imports(path, top_level_only=True)} & LATE


@pytest.mark.parametrize("path", sources("clbench"), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_a_trackers_own_file_needs_its_package(path):
    packages = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
    for tracker, package in packages.items():
        own = path == ROOT / "clbench" / "tracking" / f"{tracker}.py"
        assert (package in set(imports(path))) == own
        assert f"clbench.tracking.{tracker}" not in set(imports(path))  # loaded by name when it is chosen


@pytest.mark.parametrize("room_", ["streams", "data", "specs", "seeding", "scoring", "records"])
def test_gymnasium_stays_at_the_envs(room_):
    for path in sources("clbench"):
        if room_of(path) == room_:
            assert not [name for name in imports(path) if name.split(".")[0] == "gymnasium"]


@pytest.mark.parametrize(
    "path", [*sources("clbench"), *sources("agents")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_file_is_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


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
