"""The protocol of agents, and the facts about a stream that they are constructed with."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from clbench.errors import LoadError, OptionError
from clbench.files import plain_name
from clbench.specs import HIDDEN, TOLD
from clbench.tracebacks import raised_at

Array_contra = TypeVar("Array_contra", contravariant=True)


@dataclass(frozen=True)
class AgentSpec:
    """Facts about a stream for the agent that will meet it; every environment has them as `agent_spec`.

    Where boundaries are hidden, `num_tasks`, `epochs_per_task` and `steps_per_task` are missing: reading one raises an
    `AttributeError` that says so.

    Attributes:
        input_shape: shape of one input, such as (784,).
        epochs_per_task: visits to each task's data set.
        steps_per_task: batches in a task.
        device: where the learner should keep its parameters, such as "cpu" or "cuda".
        boundaries: "told" or "hidden".
    """

    boundaries: ClassVar[str] = TOLD

    input_shape: tuple[int, ...]
    num_classes: int
    batch_size: int
    num_tasks: int
    epochs_per_task: int
    steps_per_task: int
    device: str = "cpu"


@dataclass(frozen=True)
class HiddenAgentSpec:
    """What is told of a stream whose boundaries are hidden: an `AgentSpec` without its lengths.

    >>> HiddenAgentSpec((784,), 10, 256)
    HiddenAgentSpec(input_shape=(784,), num_classes=10, batch_size=256, device='cpu')
    """

    boundaries: ClassVar[str] = HIDDEN

    input_shape: tuple[int, ...]
    num_classes: int
    batch_size: int
    device: str = "cpu"

    def __getattr__(self, name: str) -> NoReturn:
        hidden = ("num_tasks", "epochs_per_task", "steps_per_task")
        why = "boundaries are hidden from agents" if name in hidden else "there is no such attribute"
        raise AttributeError(f"{type(self).__name__} has no '{name}': {why}", name=name, obj=self)


@dataclass(frozen=True)
class MemberSpec:
    """An agent to be built together with others."""

    agent: type
    seeds: Sequence[int]  # one per network
    arguments: Mapping[str, Any]  # for its constructor


def learner(learn: Callable[..., object]) -> Callable[[Any, Any], object]:
    """Return an agent's method `learn` as a function of targets and observation.

    The observation goes to the parameter `obs`, if there is one besides the targets.
    """
    names = list(inspect.signature(learn).parameters) if callable(learn) else []
    if "obs" not in names or len(names) == 1:
        return lambda targets, obs: learn(targets)
    if "targets" in names:
        return lambda targets, obs: learn(targets=targets, obs=obs)
    if names[0] == "obs":
        return lambda targets, obs: learn(obs, targets)
    return lambda targets, obs: learn(targets, obs=obs)


def check_learn(agent: type, reference: str) -> None:
    """Raise `LoadError` if `learn` requires more than the targets and `obs`, or takes nothing."""
    method = inspect.getattr_static(agent, "learn", None)
    if not inspect.isfunction(method):
        return
    _, *listed = inspect.signature(method).parameters.values()
    required = [
        each.name
        for each in listed
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if not listed or [name for name in required if name != "obs"][1:]:
        raise LoadError(f"'{reference}': learn({', '.join(required)}) must take (targets) or (targets, obs)")


class Agent(Protocol[Array_contra]):
    """An agent: any class with these two methods, constructed as `Agent(spec, seed, **arguments)`.

    A plain agent learns one seed: it is shown arrays `(B, *shape)` and answers labels `(B,)` or logits
    `(B, C)`; each seed gets a process of its own. An agent whose class says `vectorized = True` is
    constructed as `Agent(spec, seeds, **arguments)` and trains all `S` seeds at once: it is shown tensors
    `(S, B, *shape)` on `spec.device` and answers labels `(S, B)` or logits `(S, B, C)`.

    An agent may also have:

    - `begin_task(task)`: called before the first `act` of every task, with the task's index from 0, unless boundaries
      are hidden;
    - a second parameter of `learn`, called `obs`: it gets the observation that was predicted;
    - `state_dict()` and `load_state_dict(state)`: everything it needs to continue;
    - `model` and `optimizer`: a `torch.nn.Module` and its optimizer, or a list of several; then indicators are
      measured, by `layers`, if it has that: see `clbench.indicators.layer_parameters`. A vectorised agent has
      `networks` (`clbench.indicators.Stacked`) and `optimizer` instead;
    - `loss_fn(outputs, targets)` and `penalty(parameters)`, if it does not learn from mean cross-entropy alone;
    - `check_arguments(arguments)`, a class method: raises for constructor arguments that it cannot take,
      before anything is started; and `keyword_arguments`, names and defaults of what its `**kwargs` takes;
    - `needs_boundaries(arguments)`, a class method: says why it cannot do without boundaries, "" if it can; where they
      are hidden, such an agent is refused before anything is started;
    - `scheduler`: a `clbench.scheduling.PerLayerScheduler`; then its decisions are recorded;
    - if it is vectorised, `kind_of_step()` and `replayed()`: on a CUDA device its steps are then recorded and replayed.
      Between boundaries, all steps for which `kind_of_step` says the same must do the same operations on the same
      memory, without looking at a value, and `learn` must return a loss. `replayed` is called for what the host does
      in a step. A subclass of an agent that has them opts out by `kind_of_step = None`;
    - if it is vectorised, `together(spec, members)`, a class method: builds the agents that `members`, a list of
      `MemberSpec`, specify. It returns one agent that acts and learns for all of them, `(S_1 + S_2 + ..., B, ...)`, and
      a list of the agents themselves, each with separate networks, optimizer and `state_dict`.
    """

    def act(self, obs: Array_contra) -> object:
        """Predict the targets of the inputs `obs`."""

    def learn(self, targets: Array_contra) -> object:
        """Learn from the targets of the batch just predicted.

        May return the batch's loss: a number, or for vectorised agents a tensor `(S,)`. Its mean over
        the task is recorded.
        """


def check_boundaries(name: str, agent: type, arguments: Mapping[str, Any], boundaries: str) -> None:
    """Raise `OptionError` if boundaries are hidden and the agent cannot do without."""
    if boundaries != HIDDEN:
        return
    try:
        why = getattr(agent, "needs_boundaries", lambda arguments: "")(arguments)
    except Exception as error:
        what = f"{type(error).__name__}: {error}{raised_at(error)}"
        raise LoadError(f"{plain_name(name)}.needs_boundaries, a class method, raised {what}") from error
    if why:
        raise OptionError(f"{plain_name(name)} needs boundaries, and boundaries='{HIDDEN}' hides them: {why}")
