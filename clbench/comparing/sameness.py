"""Whether runs are the same but for their agents, and in what they are not."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clbench.comparing.entries import Entry
from clbench.results import fact

NOT_SET = "not set"


def settings(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be equal for runs to be comparable, by name: stream, data and protocol."""
    spec = facts["spec"]
    stream = {key: value for key, value in spec["stream"].items() if key not in ("data_dir", "options")}
    values = {
        "stream": stream.pop("id"),
        "protocol": spec["protocol"],
        **stream,
        **(spec["stream"].get("options") or {}),
        "data checksum": fact(facts, "data", "sha256", default=NOT_SET),
    }
    return {name: _text(value) for name, value in values.items()}


def differing(all_settings: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the distinct values, in order, of each name that has more than one."""
    names = dict.fromkeys(name for own in all_settings for name in own)
    values = {name: list(dict.fromkeys(own.get(name, NOT_SET) for own in all_settings)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def listed(values_of: Mapping[str, Sequence[str]]) -> str:
    """Return what differs in words, such as "num_tasks 10 / 15"."""
    return ", ".join(f"{name} {' / '.join(map(_short, values))}" for name, values in values_of.items())


def refusal(entries: Sequence[Entry]) -> str:
    """Return the error that names the first two runs that differ, and in what."""
    first = entries[0]
    other, values = next(
        (entry, found)
        for entry in entries
        if (found := differing([settings(first.facts), settings(entry.facts)]))
    )
    return f"'{first.run}' and '{other.run}' are not the same: {listed(values)}; --mix compares them all the same"


def circumstances(entries: Sequence[Entry]) -> list[str]:
    """Say what differs and is no reason to refuse: machines and versions, and an agent under one name."""
    machines = differing([_machine(entry.facts) for entry in entries])
    notes = [f"made under different circumstances: {listed(machines)}"] if machines else []
    for name in dict.fromkeys(entry.agent for entry in entries):
        values = differing([_agent(entry) for entry in entries if entry.agent == name])
        if values:
            notes.append(f"{name} is not the same in all runs: {listed(values)}")
    return notes


def _machine(facts: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "device": fact(facts, "spec", "device"),
        "threads": fact(facts, "spec", "threads"),
        "torch": fact(facts, "versions", "torch"),
        "clbench": fact(facts, "versions", "clbench"),
        "processor": fact(facts, "hardware", "processor"),
        "stream's code": fact(facts, "stream", "sha256"),
    }
    return {name: _text(value) for name, value in found.items()}


def _agent(entry: Entry) -> dict[str, str]:
    (own,) = [one for one in entry.facts["spec"]["agents"] if one["name"] == entry.agent]
    code = fact(entry.facts, "agents", entry.agent, "sha256")
    return {name: _text(value) for name, value in {**own["arguments"], "code checksum": code}.items()}


def _text(value: Any) -> str:
    return NOT_SET if value is None else value if isinstance(value, str) else json.dumps(value)


def _short(text: str) -> str:
    """A checksum's first digits tell it from others."""
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
