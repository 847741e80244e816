"""The agents of a request: from references, classes and labels to classes with checked arguments."""

import itertools
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clbench.arguments import check_arguments, is_plain, parameters
from clbench.config import AgentConfig
from clbench.errors import LoadError, OptionError, UnknownNameError, did_you_mean
from clbench.loading import check_agent, load_agent
from clbench.places import expanded, recorded
from clbench.references import is_file, reference_of, split_reference

AgentLike = str | os.PathLike[str] | type
Agents = AgentLike | Sequence[AgentLike] | Mapping[str, AgentLike]

LABEL = re.compile(r"\w([\w .()+-]{0,58}[\w)+])?")


@dataclass(frozen=True)
class NamedAgent:
    """An agent as it is asked for.

    Attributes:
        agent: a reference or a class, without a label.
        reference: how it is loaded.
        label: "" if it has none.
        name: its label, or its reference as `clbench.places` records it.
    """

    agent: AgentLike
    reference: str
    label: str
    name: str

    @classmethod
    def of(cls, agent: object, label: str = "") -> "NamedAgent":
        """Return an agent given as a class, as a reference or, unless it has a label, as "label=reference".

        Raises:
            LoadError: it is none of these.
            OptionError: the label before the reference is not acceptable.
        """
        agent = os.fspath(agent) if isinstance(agent, os.PathLike) else agent
        if isinstance(agent, str):
            label, agent = (label, agent) if label else split_label(agent)
            reference = expanded(agent)
        elif isinstance(agent, type):
            reference = reference_of(agent)
        else:
            raise LoadError(f"{agent!r} is not an agent: pass a reference or a class")
        return cls(agent, reference, label, label or recorded(reference))

    def is_called(self, owner: str) -> bool:
        return expanded(owner) in (self.reference, self.name)


def load_agents(agents: Agents, arguments: Mapping[str, Any]) -> list[tuple[AgentConfig, type]]:
    """Return the config and the class of each agent that a request names.

    Args:
        agents: references, classes, or either by label; a reference may have its label before it, "label=reference".
        arguments: of all agents by name, of one as "agent:name", or as a mapping under the agent's label or reference.

    Raises:
        UnknownNameError: there is no such agent or argument.
        UsageError: an agent cannot be loaded or constructed, or a label is not acceptable.
    """
    named = _named(agents)
    shared, owned = _split_arguments(arguments, named)
    loaded = []
    for agent, given in zip(named, owned, strict=True):
        owner = (
            load_agent(agent.reference)
            if isinstance(agent.agent, str)
            else check_agent(agent.agent, agent.name)
        )
        try:
            values = checked_arguments(agent.name, owner, {**shared, **given})
        except UnknownNameError as error:
            if len(named) == 1 or given:
                raise
            raise UnknownNameError(f"{error} For one agent only: --set AGENT:NAME=VALUE") from error
        label_of = recorded(agent.reference) if agent.label else ""
        location = "" if (label_of or agent.name) == agent.reference else agent.reference
        config = AgentConfig(name=agent.name, arguments=values, label_of=label_of, location=location)
        loaded.append((config, owner))
    return loaded


def split_label(text: str) -> tuple[str, str]:
    """Split "label=reference"; the label is "" if there is none. A file whose path has a "=" is no label.

    Raises:
        OptionError: the label is not acceptable.

    >>> split_label("small=agents.l2"), split_label("agents.l2")
    (('small', 'agents.l2'), ('', 'agents.l2'))
    """
    label, equals, reference = text.partition("=")
    file = Path(split_reference(expanded(text))[0])
    missing = is_file(str(file)) and os.path.dirname(label)  # no label has a folder: loading will tell
    if not equals or file.is_file() or missing:
        return "", text
    return check_label(label), reference


def check_label(label: object) -> str:
    """Return a label, or raise `OptionError` unless it can stand in tables, figures and names of folders."""
    if isinstance(label, str) and LABEL.fullmatch(label):
        return label
    raise OptionError(
        f"label {label!r}: use up to 60 letters, digits, blanks and _ . - + ( ), with a letter or digit first"
    )


def checked_arguments(name: str, owner: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that an agent is constructed with, its defaults among them."""
    values = check_arguments(name, owner, given)
    step_size = values.get("step_size", 1)
    if "step_size" in values and not (isinstance(step_size, (int, float)) and step_size > 0):
        raise OptionError(f"{name}: step_size={step_size} must be above 0 and finite")
    defaults = {key: value for key, value in parameters(owner).items() if is_plain(value)}
    check = getattr(owner, "check_arguments", None)
    if check is not None:
        check({**defaults, **values})
    return {**defaults, **values}


def _named(agents: Agents) -> list[NamedAgent]:
    """Return agents whose names differ."""
    if isinstance(agents, Mapping):
        given = [NamedAgent.of(agent, check_label(label)) for label, agent in agents.items()]
    else:
        listed = agents if isinstance(agents, Iterable) and not isinstance(agents, (str, type)) else [agents]
        given = [NamedAgent.of(agent) for agent in listed]
    if not given:
        raise UnknownNameError("no agent given; for example: agents.vanilla (clbench list shows all)")
    named: list[NamedAgent] = []
    for each in given:
        reference, name = each.reference, each.name
        if not each.label and any(other.reference == reference and not other.label for other in named):
            raise OptionError(
                f"agent '{each.agent if isinstance(each.agent, str) else reference}' is given twice: label each, "
                f"such as first={reference} second={reference}"
            )
        if any(other.name == name and (each.label or other.label) for other in named):
            raise OptionError(f"label '{name}' is given twice: each agent needs its own")
        named.append(replace(each, name=_new_name(name, [other.name for other in named])))
    return named


def _split_arguments(
    arguments: Mapping[str, Any], agents: Sequence[NamedAgent]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the arguments of all agents, and those of each."""
    shared, owned = dict[str, Any](), [dict[str, Any]() for _ in agents]
    for key, value in arguments.items():
        if isinstance(value, Mapping) and any(agent.is_called(key) for agent in agents):
            owner, values = key, value
        else:
            owner, colon, name = key.rpartition(":")
            values = {name: value}
            if not colon:
                shared[key] = value
                continue
        mine = [given for agent, given in zip(agents, owned, strict=True) if agent.is_called(owner)]
        if not mine:
            names = [agent.name for agent in agents]
            raise UnknownNameError(
                f"{key}: no agent '{owner}'.{did_you_mean(owner, names)} There are: {', '.join(names)}."
            )
        for given in mine:
            given.update(values)
    return shared, owned


def _new_name(name: str, taken: Collection[str]) -> str:
    """Return a name that no other agent has: files of the same name may be in several folders."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([name], numbered) if candidate not in taken)
