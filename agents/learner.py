"""The vectorised learner that all agents here build on: S networks trained in lockstep."""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.func import stack_module_state

from clbench.agent import AgentSpec
from clbench.errors import OptionError, UnknownNameError, did_you_mean
from clbench.indicators import LayerChoice, Stacked, layer_parameters
from clbench.scheduling import SCHEDULERS, Constants, PerLayerScheduler

from .adam import StackedAdam, Tensors
from .networks import MLP
from .stack import Stack


class Learner:
    """Trains one network per seed on stacked parameters: mean cross-entropy, Adam.

    Each seed's arithmetic is its own: training S seeds together or apart gives the same numbers.
    Subclasses say what they add by `make_network`, `penalty` (and `penalty_gradients`, where that is quicker) and
    `begin_task`.

    Args:
        spec: the stream to learn on.
        seeds: one per network; a seed decides its network's initial weights.
        step_size: Adam's, for all layers and seeds; a scheduler starts from it.
        scheduler: "none", or a name in `clbench.scheduling.SCHEDULERS`.
        layers: what has a step size of its own, see `clbench.indicators.layer_parameters`.
        **constants: the scheduler's, those of `clbench.scheduling.Constants`.

    Attributes:
        model: gives the architecture; its own weights are not used after the start.
        parameters: `(S, ...)` tensors by name.
        buffers: ditto.
        networks: both together, for those who measure.
        optimizer: `StackedAdam` on the parameters.
        scheduler: of its step sizes, or None.

    Source: Baveja et al., arXiv 2509.19698, App. A.
    """

    vectorized = True

    keyword_arguments = {item.name: item.default for item in dataclasses.fields(Constants)}

    def __init__(
        self,
        spec: AgentSpec,
        seeds: Sequence[int],
        step_size: float = 1e-3,
        scheduler: str = "none",
        layers: LayerChoice = None,
        **constants: Any,
    ) -> None:
        for name in constants:
            if name not in self.keyword_arguments:
                raise UnknownNameError(f"no argument '{name}'.{did_you_mean(name, self.keyword_arguments)}")
        self.check_arguments({"step_size": step_size, "scheduler": scheduler, **constants})
        self.spec, self.seeds, self.step_size, self.layers = spec, tuple(seeds), step_size, layers
        self._scheduler, self._constants = scheduler, constants
        self._generators = [torch.Generator(device="cpu").manual_seed(seed) for seed in seeds]
        self.initialise()

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """Raise unless a learner can be made with these; called before anything is started, too.

        Raises:
            UsageError: a name is unknown, or a value not possible.
        """
        step_size, scheduler = arguments.get("step_size", 1.0), arguments.get("scheduler", "none")
        if not 0 < step_size < math.inf:
            raise OptionError(f"step_size={step_size} must be above 0 and finite")
        kinds = ("none", *SCHEDULERS)
        if scheduler not in kinds:
            hint = did_you_mean(str(scheduler), kinds)
            raise UnknownNameError(f"no scheduler '{scheduler}'.{hint} There are: {', '.join(kinds)}.")
        constants = {name: value for name, value in arguments.items() if name in cls.keyword_arguments}
        Constants(**constants)
        for name, value in constants.items():
            if scheduler == "none" and value != cls.keyword_arguments[name]:
                raise OptionError(
                    f"{name}={value} has no effect without a scheduler: choose one, such as per-layer"
                )

    def make_network(self, generator: torch.Generator) -> nn.Module:
        """Return one seed's network, its weights drawn from `generator`."""
        return self.make_mlp(generator)

    def make_mlp(self, generator: torch.Generator, **changes: Any) -> MLP:
        """Return the backbone for the stream, with what `MLP` is told beside its size."""
        size = math.prod(self.spec.input_shape)
        return MLP(size, self.spec.num_classes, generator=generator, **changes)

    def penalty(self, parameters: Tensors) -> torch.Tensor | None:
        """Return what is added to each seed's loss, `(S,)` and differentiable; None for nothing."""
        return None

    def initialise(self) -> None:
        """Start over: new weights, drawn further on from each seed's generator, and a new optimizer."""
        networks = [self.make_network(generator) for generator in self._generators]
        drawn = stack_module_state(networks)
        if not hasattr(self, "optimizer"):
            self.model = networks[0]  # for its architecture: `functional_call` brings the weights
            parameters, buffers = (
                {n: value.detach().to(self.spec.device) for n, value in one.items()} for one in drawn
            )
            parameters = {name: value.requires_grad_() for name, value in parameters.items()}
            layers = layer_parameters(self.model, self.layers)
            self.settle(parameters, buffers, StackedAdam(parameters, self.step_size, layers=layers))
            return
        with torch.no_grad():
            for own, new in zip((self.parameters, self.buffers), drawn, strict=True):
                for name, value in own.items():
                    value.copy_(new[name])
        self.optimizer.restart(self.step_size)
        self.settle(self.parameters, self.buffers, self.optimizer)

    def settle(self, parameters: Tensors, buffers: Tensors, optimizer: StackedAdam) -> None:
        """Take these for one's own from here on, with a new scheduler."""
        self.parameters, self.buffers, self.optimizer = parameters, buffers, optimizer
        self.networks = Stacked(self.model, parameters, buffers)
        self.scheduler = self._make_scheduler()

    def _make_scheduler(self) -> PerLayerScheduler | None:
        if self._scheduler == "none":
            return None
        return SCHEDULERS[self._scheduler](
            self.networks,
            self.optimizer,
            penalty=self.penalty,
            steps_per_task=self.spec.steps_per_task,
            seeds=self.seeds,
            layers=self.layers,
            **self._constants,
        )

    def begin_task(self, task: int) -> None:
        """Tell the scheduler; the decisions of the last task are forgotten."""
        if self.scheduler is not None:
            self.scheduler.begin_task()
            self.scheduler.decisions.clear()

    @cached_property
    def _stack(self) -> Stack:
        return Stack([self])

    @classmethod
    def together(cls, learners: Sequence["Learner"]) -> Stack:
        """Return what acts and learns for several new learners at once.

        Raises:
            OptionError: one acts or learns in a way of its own.
        """
        for learner in learners:
            if any(
                getattr(type(learner), name) is not getattr(Learner, name)
                for name in ("act", "learn", "forward")
            ):
                raise OptionError(f"{type(learner).__module__} acts or learns in a way of its own")
        return Stack(learners)

    def act(self, obs: torch.Tensor) -> torch.Tensor:
        """Return logits `(S, B, C)` for inputs `(S, B, D)`, and keep them to learn from."""
        return self._stack.act(obs)

    def learn(self, targets: torch.Tensor) -> torch.Tensor:
        """Take one step on the batch last predicted; return its mean cross-entropy `(S,)`."""
        return self._stack.learn(targets)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits `(S, B, C)` of the S networks for their inputs `(S, B, D)`."""
        return self._stack.forward(inputs)

    def kind_of_step(self) -> Hashable:
        """Tell which of the steps that are replayed the next one is like."""
        return None if self.scheduler is None else self.scheduler.kind_of_step()

    def replayed(self) -> None:
        """Take note of a step whose operations were replayed."""
        if self.scheduler is not None:
            self.scheduler.replayed()

    def penalty_gradients(self) -> Sequence[torch.Tensor] | None:
        """Return the penalty's gradient for each parameter, `(S, ...)`; None without a penalty.

        By autograd; a learner that knows them in closed form may say so.
        """
        penalty, parameters = self.penalty(self.parameters), list(self.parameters.values())
        if penalty is None:
            return None
        return torch.autograd.grad(penalty.sum(), parameters, allow_unused=True, materialize_grads=True)

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "penalty" in vars(cls) and "penalty_gradients" not in vars(cls):
            cls.penalty_gradients = Learner.penalty_gradients  # type: ignore[method-assign]  # not another penalty's

    def state_dict(self) -> dict[str, Any]:
        """Return copies of weights, buffers, optimizer, scheduler and generator states."""
        return {
            "parameters": {name: value.detach().clone() for name, value in self.parameters.items()},
            "buffers": {name: value.clone() for name, value in self.buffers.items()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "generators": [generator.get_state() for generator in self._generators],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
            for name, value in self.buffers.items():
                value.copy_(state["buffers"][name])
        if (self.scheduler is None) != (state["scheduler"] is None):
            raise OptionError("the state is of a learner with another scheduler")
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.optimizer.load_state_dict(state["optimizer"])
        for generator, generator_state in zip(self._generators, state["generators"], strict=True):
            generator.set_state(generator_state)
