"""From a sweep file to the settings of its cells: grids crossed, names checked."""

import itertools
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.engine.agents import NamedAgent
from clbench.errors import OptionError, UnknownNameError, did_you_mean
from clbench.places import READ
from clbench.registration import COMMON_OPTIONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES = ("arguments", "options")
LISTS = ("seeds", "indicators", "layers")  # values that may be lists: never crossed
SETTINGS = (
    *("agent", "env", "protocol", "seeds", *COMMON_OPTIONS, "options", "arguments", "scheduler"),
    *("indicators", "indicators_every", "layers", "device"),
)
TEXTS = ("agent", "env", "protocol", "device", "source", "data_dir", "boundaries", "arguments.scheduler")

Settings = dict[str, Any]


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep file asks for.

    Attributes:
        name: of the sweep, and of its folder.
        cells: where in the file each is, and its settings: "agent", "arguments.step_size", ...
    """

    name: str
    cells: tuple[tuple[str, Settings], ...]


def read_settings(path: Path) -> SweepRequest:
    """Return what a sweep file in TOML asks for; the file's name is the default name.

    Raises:
        OptionError: it cannot be read.
        UsageError: see `settings_of`.
    """
    try:
        data = tomllib.loads(path.read_text(encoding=READ))
    except OSError as error:
        raise OptionError(f"cannot read the sweep file '{path}': {error.strerror or error}") from error
    except ValueError as error:
        raise OptionError(f"'{path}' is not TOML: {error}") from error
    return settings_of({"name": path.stem, **data})


def settings_of(data: Mapping[str, Any]) -> SweepRequest:
    """Return what a mapping of a sweep file's shape asks for.

    Settings at the top apply to all cells; those of a table override them. The lists of a table in `grid` are
    crossed; a table in `cell` is one cell.

    Raises:
        UnknownNameError: there is no such setting; the text has the nearest one.
        OptionError: a setting has an impossible value.

    >>> grid = {"agent": ["agents.l2", "agents.vanilla"], "arguments": {"step_size": [0.1, 0.2]}}
    >>> request = settings_of({"name": "steps", "seeds": 2, "grid": [grid]})
    >>> len(request.cells), request.cells[1]
    (4, ('[[grid]] 1', {'seeds': 2, 'agent': 'agents.l2', 'arguments.step_size': 0.2}))
    """
    name = data.get("name", "sweep")
    if not (isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name)):
        raise OptionError(
            f"name={name!r}: it names the sweep's folder and may contain only letters, digits, '_', '.', '-'"
        )
    tables = {kind: _tables(data, kind) for kind in ("grid", "cell")}
    shared = {key: value for key, value in data.items() if key not in ("name", *tables)}
    agents = _agents([shared, *tables["grid"], *tables["cell"]])
    top = _flat(shared, "at the top", agents, known=("name", *tables, *SETTINGS))
    cells: list[tuple[str, Settings]] = []
    for kind, listed in tables.items():
        for number, table in enumerate(listed, 1):
            where = f"[[{kind}]] {number}"
            flat = {**top, **_flat(table, where, agents)}
            for settings in _crossed(flat, where) if kind == "grid" else [flat]:
                _check(settings, where)
                own = _for_agent(settings, agents, where)
                if own == settings or (where, own) not in cells:  # what is crossed may be another agent's
                    cells.append((where, own))
    if not cells:
        raise OptionError("the sweep has no cells: give [[grid]] or [[cell]] tables")
    return SweepRequest(name, tuple(cells))


def _tables(data: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    tables = data.get(kind, [])
    if not (isinstance(tables, (list, tuple)) and all(isinstance(table, Mapping) for table in tables)):
        raise OptionError(f"{kind} must be a list of tables: write [[{kind}]], not [{kind}]")
    return list(tables)


def _agents(tables: Iterable[Mapping[str, Any]]) -> list[NamedAgent]:
    """Return all agents."""
    agents: list[NamedAgent] = []
    for given in (table.get("agent", ()) for table in tables):
        for agent in given if isinstance(given, (list, tuple)) else [given]:
            if not isinstance(agent, (str, type)):
                continue  # refused when its cell is checked
            named = NamedAgent.of(agent)
            for other in agents:
                if named.label and named.label == other.label and named.reference != other.reference:
                    both = f"'{other.reference}' and '{named.reference}'"
                    raise OptionError(f"label '{named.label}' is given twice: to {both}")
            agents.append(named)
    return agents


def _for_agent(settings: Settings, agents: Collection[NamedAgent], where: str) -> Settings:
    """Return a cell's settings with the arguments of its own agent, such as "large:width", and no other's."""
    own = NamedAgent.of(settings["agent"])
    mine, theirs = dict[str, Any](), set[str]()
    for key, value in settings.items():
        table, _, rest = key.partition(".")
        owner, _, name = rest.rpartition(":")
        if table != "arguments" or not owner:
            continue
        theirs.add(key)
        if not any(agent.is_called(owner) for agent in agents):
            hint = did_you_mean(owner, [agent.name for agent in agents])
            raise UnknownNameError(f"{where}: {rest}: no agent '{owner}'.{hint}")
        if own.is_called(owner):
            mine[f"arguments.{name}"] = value
    return {key: value for key, value in settings.items() if key not in theirs} | mine


def _flat(
    table: Mapping[str, Any], where: str, agents: Collection[NamedAgent], known: tuple[str, ...] = SETTINGS
) -> Settings:
    """Return a table with those of `arguments` and `options` as separate settings: "arguments.step_size".

    A table in `arguments` under the name of one of the agents has that agent's: "arguments.large:width".

    Raises:
        UnknownNameError: there is no such setting.
        OptionError: `arguments` or `options` is no table.
    """
    flat: Settings = {}
    for key, value in table.items():
        if key not in known:
            raise UnknownNameError(
                f"{where}: no setting '{key}'.{did_you_mean(key, known)} There are: {', '.join(known)}."
            )
        if key in TABLES:
            if not isinstance(value, Mapping):
                raise OptionError(f"{where}: {key}={value!r}: write {key}.NAME = VALUE")
            for name, entry in value.items():
                if isinstance(entry, Mapping) and any(agent.is_called(name) for agent in agents):
                    flat |= {f"{key}.{name}:{inner}": part for inner, part in entry.items()}
                else:
                    flat[f"{key}.{name}"] = entry
        elif key == "scheduler":  # as on the command line, short for the argument
            flat["arguments.scheduler"] = value
        else:
            flat[key] = value
    return flat


def _crossed(table: Settings, where: str) -> Iterator[Settings]:
    """Yield every combination of the values that are lists; the last one listed changes first."""
    axes = [
        list(value) if isinstance(value, (list, tuple)) and name not in LISTS else [value]
        for name, value in table.items()
    ]
    for name, axis in zip(table, axes, strict=True):
        if not axis:
            raise OptionError(f"{where}: {name} is an empty list")
    for values in itertools.product(*axes):
        yield dict(zip(table, values, strict=True))


def _check(settings: Settings, where: str) -> None:
    if "agent" not in settings:
        raise OptionError(f'{where}: no agent; for example: agent = "agents.vanilla"')
    for name in TEXTS:
        value = settings.get(name, "")
        if isinstance(value, (list, tuple)):
            raise OptionError(f"{where}: {name}={value!r} is a list: only a [[grid]] crosses lists")
        if not (isinstance(value, str) or (name == "agent" and isinstance(value, type))):
            raise OptionError(f"{where}: {name}={value!r} is not a string")
    for name in ("seeds", "indicators"):
        kind = int if name == "seeds" else str
        value = settings.get(name, kind())
        listed = list(value) if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(entry, kind) for entry in listed):
            raise OptionError(
                f"{where}: {name}={value!r}: give {'whole numbers' if kind is int else 'names'}"
            )
