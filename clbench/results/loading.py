"""Kept runs as pandas frames: `clbench.load_results`."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import DataError
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results.folder import RUN, Record, RunFolder, columns, frame

if TYPE_CHECKING:
    import pandas as pd

RESULTS = "results"
"""Where `clbench.evaluate` makes run folders, unless told otherwise."""

STREAM = ("num_tasks", "epochs_per_task", "num_samples", "batch_size", "source")
COLUMNS = (
    *("run", "agent", "stream", "protocol", "changed", *STREAM, "seeds", "device", "status", "scheduler"),
    *("arguments", "agent_sha256", "data_sha256", "steps_per_second", "clbench", "torch", "started"),
)


@dataclass(frozen=True)
class KeptRun:
    """A run folder and what its run.json says.

    Attributes:
        name: the folder's path as it was given, or found under one that was.
        folder: the folder.
        facts: run.json's content; it has a spec and a status.
    """

    name: str
    folder: RunFolder
    facts: Mapping[str, Any]


def find_runs(*folders: str | Path) -> list[KeptRun]:
    """Return the runs in folders, each once, in the order given and by path within a folder.

    Args:
        folders: run folders, or folders in which run folders are searched at any depth; "results" if none.

    Raises:
        DataError: a folder has no run in it, or one that is damaged or of a later version.
    """
    found: dict[Path, KeptRun] = {}
    for given in folders or (RESULTS,):
        parent = Path(given)
        paths = [parent] if (parent / RUN).is_file() else sorted(at.parent for at in parent.rglob(RUN))
        if not paths:
            why = f"no {RUN} in or below it" if parent.is_dir() else "there is no such folder"
            raise DataError(
                f"'{given}' holds no run: {why}; name a folder that python -m clbench.evaluate has made, or one above"
            )
        for path in paths:
            if path.resolve() not in found:
                folder = RunFolder(path)
                found[path.resolve()] = KeptRun(path.as_posix(), folder, _checked(path, folder.read_run()))
    return list(found.values())


def _checked(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Return run.json's content if what is read of it without asking is there."""
    try:
        spec = facts["spec"]
        needed = [spec["stream"][name] for name in ("id", *STREAM)]
        needed += [spec["protocol"], len(spec["seeds"]), spec["device"], facts["status"]]
        for agent in spec["agents"]:
            needed += [agent["name"], dict(agent["arguments"])]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        lacks = f"lacks {error}" if isinstance(error, KeyError) else f"is malformed ({error})"
        raise DataError(f"'{path}' holds a damaged run: {RUN} {lacks}") from error
    return facts


@dataclass(frozen=True, eq=False)
class Results:
    """Kept runs as frames, each read when first asked for.

    Attributes:
        kept: the runs.
    """

    kept: tuple[KeptRun, ...]

    @cached_property
    def runs(self) -> "pd.DataFrame":
        """A row per run and agent with what was run, on what, and how far it got (`status`).

        `changed` names what was changed of the protocol, `seeds` counts, `arguments` is JSON; `scheduler` is
        "none" where an agent has no such argument. What a run does not say is missing, as in pandas. Arguments and
        stream options that a sweep has varied have columns of their own, such as `arguments.step_size`.
        """
        import pandas as pd

        swept = (name for run in self.kept for name in fact(run.facts, "sweep", "varied", default=()))
        varied = [name for name in dict.fromkeys(swept) if "." in name]
        rows = [row for run in self.kept for row in _rows(run, varied)]
        return pd.DataFrame(rows, columns=[*COLUMNS, *varied])

    @cached_property
    def tasks(self) -> "pd.DataFrame":
        """A row per run, agent, seed and task with `run` and the columns of tasks.csv.

        Raises:
            DataError: a file is missing or damaged; says in which line.
        """
        return self._joined(RunFolder.read_tasks, TaskRecord)

    @cached_property
    def indicators(self) -> "pd.DataFrame":
        """What was measured, with `run` and the columns of indicators.csv; nothing for runs that have none.

        Raises:
            DataError: a file is damaged; says in which line.
        """
        return self._joined(RunFolder.read_indicators, IndicatorRecord)

    def _joined(self, read: Callable[[RunFolder], Iterable[Record]], kind: type[Record]) -> "pd.DataFrame":
        import pandas as pd

        frames = []
        for run in self.kept:
            own = frame(read(run.folder), kind)
            own.insert(0, "run", run.name)
            frames.append(own)
        filled = [own for own in frames if len(own)]  # an empty one would take the others' dtypes away
        return (
            pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["run", *columns(kind)])
        )


def load_results(*folders: str | Path) -> Results:
    """Return kept runs as pandas frames: `runs`, `tasks` and `indicators`, which share the column `run`.

    Runs that are not finished are among them; their `status` says so.

    Args:
        folders: run folders, or folders in which run folders are searched at any depth; "results" if none.
            A run that is named twice is there once.

    Returns:
        The frames; tables are read when first asked for.

    Raises:
        DataError: a folder has no run in it, or one that is damaged or of a later version.

    Examples:
        >>> import pathlib, tempfile
        >>> folder = RunFolder(pathlib.Path(tempfile.mkdtemp()))
        >>> stream = {"id": "RandomLabelMNIST-v0"} | dict.fromkeys(STREAM, 1)
        >>> spec = {"stream": stream, "protocol": "quick", "seeds": [0], "device": "cpu"}
        >>> spec["agents"] = [{"name": "a", "arguments": {"step_size": 0.1}}]
        >>> folder.write_run({"status": "complete", "spec": spec})
        >>> folder.write_tasks([TaskRecord("a", 0, 0, 1, 0.5, 0.5, 1.5, 0.1)])
        >>> results = load_results(folder.path)
        >>> results.runs[["agent", "scheduler", "status"]].values.tolist()
        [['a', 'none', 'complete']]
        >>> results.tasks.accuracy.tolist()
        [0.5]
    """
    return Results(tuple(find_runs(*folders)))


def _rows(run: KeptRun, varied: Iterable[str]) -> Iterator[dict[str, Any]]:
    facts, spec = run.facts, run.facts["spec"]
    for agent in spec["agents"]:
        name, arguments = agent["name"], agent["arguments"]
        yield {
            "run": run.name,
            "agent": name,
            "stream": spec["stream"]["id"],
            "protocol": spec["protocol"],
            "changed": ", ".join(spec.get("overrides") or {}),
            **{key: spec["stream"][key] for key in STREAM},
            "seeds": len(spec["seeds"]),
            "device": spec["device"],
            "status": facts["status"],
            "scheduler": str(arguments.get("scheduler", "none")),
            "arguments": json.dumps(arguments),
            "agent_sha256": fact(facts, "agents", name, "sha256"),
            "data_sha256": fact(facts, "data", "sha256"),
            "steps_per_second": fact(facts, "timing", "steps_per_second", name, default=math.nan),
            "clbench": fact(facts, "versions", "clbench"),
            "torch": fact(facts, "versions", "torch"),
            "started": fact(facts, "started"),
            **{key: setting(facts, name, key) for key in varied},
        }


def setting(facts: Mapping[str, Any], agent: str, name: str) -> Any:
    """Return what an agent of a run was given: of "arguments.NAME" or "options.NAME"; None if it has no such thing.

    Of files of one name, which a sweep has numbered, the numbered one.
    """
    if (numbered := fact(facts, "sweep", "numbered", name)) is not None:
        return numbered
    table, _, key = name.partition(".")
    if table == "options":
        return fact(facts, "spec", "stream", "options", key)
    (own,) = [one for one in facts["spec"]["agents"] if one["name"] == agent]
    return own["arguments"].get(key)


def fact(facts: Mapping[str, Any], *path: str, default: Any = None) -> Any:
    """Return what run.json has at a path of keys; `default` where it has nothing.

    >>> fact({"data": {"size": 10}}, "data", "size"), fact({"data": None}, "data", "size", default=0)
    (10, 0)
    """
    value: Any = facts
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return default if value is None else value
