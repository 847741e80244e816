"""The learner that all others derive from: S networks trained in lockstep."""

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional as F

from clbench.agent import AgentSpec, MemberSpec, check_boundaries
from clbench.errors import OptionError
from clbench.indicators import Stacked, layer_parameters
from clbench.scheduling import SCHEDULERS, PerLayerScheduler

from .adam import StackedAdam
from .arguments import CONSTANTS, POSITIVE, TakesArguments
from .networks import MLP, Architecture, Tensors, cloned, copy_into
from .optimizer import Gradient, StackedOptimizer
from .population import Population


class Learner(TakesArguments):
    """Trains one network per seed on stacked parameters: mean cross-entropy, Adam.

    Each seed's arithmetic is independent of the others': training S seeds together or apart gives the same numbers.
    A subclass overrides what its method changes: `architecture`, `penalty`, `make_optimizer`, `begin_task`, `update`,
    and `initial_state` for tensors that it needs. Checkpoints, lockstep, replay and schedulers work for all.

    The constructor only specifies a learner. Its networks are built when they are first used, unless `together` has
    built them with those of others.

    Args:
        seeds: one per network; a seed decides its network's initial weights.
        **arguments: see `TakesArguments`.

    Attributes:
        step_size: the optimizer's, for all layers and seeds; a scheduler starts from it.
        generators: one per seed, on the CPU, to draw weights from.
        networks: parameters and buffers, `(S, ...)` by name.
        state: what `initial_state` returned; changed in place.

    Source: Baveja et al., arXiv 2509.19698, App. A.
    """

    vectorized = True
    RANGES = {"step_size": POSITIVE}
    step_size = 1e-3

    def __init__(self, spec: AgentSpec, seeds: Sequence[int], **arguments: object) -> None:
        self.take(arguments)
        check_boundaries(type(self).__module__, type(self), self.arguments, spec.boundaries)
        self.spec, self.seeds = spec, tuple(seeds)
        self.generators = [torch.Generator(device="cpu").manual_seed(seed) for seed in seeds]

    def architecture(self) -> Architecture:
        """Return the specification of the networks; learners with equal ones can share a stack."""
        return self.mlp()

    def mlp(self, **options: Hashable) -> Architecture:
        """Return the backbone for the stream, with `options` of `MLP`."""
        sizes = (math.prod(self.spec.input_shape), self.spec.num_classes)
        return Architecture(MLP, sizes, frozenset(options.items()))

    def penalty(self, parameters: Tensors) -> torch.Tensor | None:
        """Return what is added to each seed's loss, `(S,)` and differentiable, or None."""
        return None

    def penalty_gradients(self) -> Sequence[torch.Tensor] | None:
        """Return the penalty's gradient for each parameter, `(S, ...)`, or None: by autograd unless overridden."""
        penalty, parameters = self.penalty(self.parameters), list(self.parameters.values())
        if penalty is None:
            return None
        return torch.autograd.grad(penalty.sum(), parameters, allow_unused=True, materialize_grads=True)

    def initial_state(self, parameters: Tensors) -> Tensors:
        """Return tensors `(S, ...)` that the method needs by name, for new parameters."""
        return {}

    def make_optimizer(self) -> StackedOptimizer:
        """Return a new optimizer of the parameters."""
        layers = layer_parameters(self.networks.model, self.layers)
        return StackedAdam(self.parameters, self.step_size, layers=layers)

    @classmethod
    def needs_boundaries(cls, arguments: Mapping[str, Any]) -> str:
        """Return why a learner with these arguments cannot do without boundaries, "" if it can."""
        if cls.begin_task is not Learner.begin_task:
            return "it acts when a task begins"
        if arguments["scheduler"] != "none" and arguments["warmup"] != "off":
            return "its scheduler's warm-up window is a part of each task; set warmup=off"
        return ""

    def make_scheduler(self) -> PerLayerScheduler | None:
        kind = self.arguments["scheduler"]
        if kind == "none":
            return None
        return SCHEDULERS[kind](
            self.networks,
            self.optimizer,
            penalty=self.penalty,
            steps_per_task=getattr(self.spec, "steps_per_task", None),  # missing where boundaries are hidden
            seeds=self.seeds,
            layers=self.layers,
            **{name: self.arguments[name] for name in CONSTANTS},
        )

    @classmethod
    def together(cls, spec: AgentSpec, members: Sequence[MemberSpec]) -> "tuple[Population, list[Learner]]":
        """Build several learners as one; return what acts and learns for all of them, and the learners."""
        learners: list[Learner] = [each.agent(spec, each.seeds, **each.arguments) for each in members]
        for kind, is_built in ((type(learner), "population" in vars(learner)) for learner in learners):
            if is_built or (kind.act, kind.learn) != (Learner.act, Learner.learn):
                what = "its constructor uses its networks" if is_built else "it overrides act or learn"
                raise OptionError(f"{kind.__module__} can only run alone: {what}")
        population = Population(learners)
        for learner in learners:
            learner.population = population
        return population, learners

    @cached_property
    def population(self) -> Population:
        return Population([self])

    @cached_property
    def networks(self) -> Stacked:
        return self.population.networks[self]

    @property
    def parameters(self) -> Tensors:
        return self.networks.parameters

    @property
    def state(self) -> Tensors:
        return self.population.states[self]

    @cached_property
    def optimizer(self) -> StackedOptimizer:
        return self.make_optimizer()

    @cached_property
    def scheduler(self) -> PerLayerScheduler | None:
        return self.make_scheduler()

    def begin_task(self, task: int) -> None:
        """Begin a task: the scheduler forgets its decisions in the last one."""
        if self.scheduler is not None:
            self.scheduler.begin_task()
            self.scheduler.decisions.clear()

    def act(self, obs: torch.Tensor) -> torch.Tensor:
        return self.population.act(obs)

    def learn(self, targets: torch.Tensor) -> torch.Tensor:
        return self.population.learn(targets)

    def update(self, gradients: list[Gradient], inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take one step.

        Args:
            gradients: of the mean cross-entropy, for each parameter; changed in place.
            inputs: the batch, `(S, B, D)`.
            targets: `(S, B)`.
        """
        for gradient, penalty in zip(gradients, self.penalty_gradients() or (), strict=False):
            with torch.no_grad():
                for each, added in zip(gradient, penalty, strict=True):
                    each.add_(added)
        if self.scheduler is not None:
            self.scheduler.step(F.cross_entropy, inputs, targets)
        self.optimizer.step(gradients)

    def reset(self) -> None:
        """Start over with new weights, drawn further on from each seed's generator."""
        _, parameters, buffers = self.architecture().build(self.generators)
        copy_into(self.parameters, parameters)
        copy_into(self.networks.buffers, buffers)
        copy_into(self.state, self.initial_state(self.parameters))
        self.optimizer.reset()
        self.scheduler = self.make_scheduler()

    def kind_of_step(self) -> Hashable:
        return None if self.scheduler is None else self.scheduler.kind_of_step()

    def replayed(self) -> None:
        if self.scheduler is not None:
            self.scheduler.replayed()

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": cloned(self.parameters),
            "buffers": cloned(self.networks.buffers),
            "state": cloned(self.state),
            "optimizer": cloned(self.optimizer.tensors),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
            "generators": [generator.get_state() for generator in self.generators],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if (self.scheduler is None) != (state["scheduler"] is None):
            raise OptionError("the state is from a learner with another scheduler")
        copy_into(self.parameters, state["parameters"])
        copy_into(self.networks.buffers, state["buffers"])
        copy_into(self.state, state["state"])
        self.optimizer.restore(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for generator, generator_state in zip(self.generators, state["generators"], strict=True):
            generator.set_state(generator_state)
