"""The vectorised learner that all agents here build on: S networks trained in lockstep."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from clbench.agent import AgentSpec
from clbench.errors import OptionError, StepOrderError, UnknownNameError, did_you_mean
from clbench.indicators import Stacked
from clbench.scheduling import SCHEDULERS, Constants, PerLayerScheduler

from .adam import StackedAdam, Tensors
from .networks import MLP


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
        **constants: Any,
    ) -> None:
        for name in constants:
            if name not in self.keyword_arguments:
                raise UnknownNameError(f"no argument '{name}'.{did_you_mean(name, self.keyword_arguments)}")
        self.check_arguments({"step_size": step_size, "scheduler": scheduler, **constants})
        self.spec, self.seeds, self.step_size = spec, tuple(seeds), step_size
        self._scheduler, self._constants = scheduler, constants
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
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
        parameters, buffers = stack_module_state(networks)
        self.model = networks[0]  # for its architecture: `functional_call` brings the weights
        self.parameters: Tensors = {
            name: value.detach().to(self.spec.device).requires_grad_() for name, value in parameters.items()
        }
        self.buffers: Tensors = {name: value.to(self.spec.device) for name, value in buffers.items()}
        self.networks = Stacked(self.model, self.parameters, self.buffers)
        self.optimizer = StackedAdam(self.parameters, self.step_size)
        self.scheduler = self._make_scheduler()
        # Views of the same memory, one set per seed, for `forward` on a CPU.
        self._own = [
            {name: value[place].detach().requires_grad_() for name, value in self.parameters.items()}
            for place in range(len(self.seeds))
        ]
        self._own_buffers = [
            {name: value[place] for name, value in self.buffers.items()} for place in range(len(self.seeds))
        ]
        self._inputs: torch.Tensor | None = None
        self._logits: torch.Tensor | None = None

    def _make_scheduler(self) -> PerLayerScheduler | None:
        if self._scheduler == "none":
            return None
        return SCHEDULERS[self._scheduler](
            self.networks,
            self.optimizer,
            penalty=self.penalty,
            steps_per_task=self.spec.steps_per_task,
            seeds=self.seeds,
            **self._constants,
        )

    def begin_task(self, task: int) -> None:
        """Tell the scheduler; the decisions of the last task are forgotten."""
        if self.scheduler is not None:
            self.scheduler.begin_task()
            self.scheduler.decisions.clear()

    def act(self, obs: torch.Tensor) -> torch.Tensor:
        """Return logits `(S, B, C)` for inputs `(S, B, D)`, and keep them to learn from."""
        self._inputs, self._logits = obs, self.forward(obs)
        return self._logits.detach()

    def learn(self, targets: torch.Tensor) -> torch.Tensor:
        """Take one step on the batch last predicted; return its mean cross-entropy `(S,)`."""
        if self._logits is None or self._inputs is None:
            raise StepOrderError("learn was called before act: there is nothing to learn from")
        logits, self._logits = self._logits, None
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        losses = losses.view(targets.shape).mean(dim=1)
        gradients = self._gradients(losses)
        if self.scheduler is not None:
            self.scheduler.step(F.cross_entropy, self._inputs, targets)
        self.optimizer.step(gradients)
        return losses.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits `(S, B, C)` of the S networks for their inputs `(S, B, D)`."""
        if self._stacked:
            return vmap(self._call)(self.parameters, self.buffers, inputs)
        each = zip(self._own, self._own_buffers, inputs, strict=True)
        return torch.stack([self._call(own, buffers, x) for own, buffers, x in each])

    @property
    def _stacked(self) -> bool:
        # On a CPU, S matrix products are faster than one batched product: by a tenth to a third.
        return torch.device(self.spec.device).type != "cpu"

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

    def _gradients(self, losses: torch.Tensor) -> list[Any]:
        """Return the gradients of losses plus penalties, for each parameter stacked or seed by seed."""
        if self._stacked:
            gradients: list[Any] = list(torch.autograd.grad(losses.sum(), list(self.parameters.values())))
        else:
            leaves = [own[name] for name in self.parameters for own in self._own]
            apart, count = torch.autograd.grad(losses.sum(), leaves), len(self.seeds)
            gradients = [apart[at : at + count] for at in range(0, len(apart), count)]
        penalties = self.penalty_gradients()
        if penalties is None:
            return gradients
        if self._stacked:
            return list(torch._foreach_add(gradients, list(penalties)))
        pairs = zip(penalties, gradients, strict=True)
        return [torch._foreach_add(list(total), list(own)) for total, own in pairs]

    def _call(self, parameters: Tensors, buffers: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = functional_call(self.model, {**parameters, **buffers}, (inputs,))
        return logits

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
