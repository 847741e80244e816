"""Self-normalised resets (Farias and Jozefiak, ICLR 2025), its authors' code, in JAX."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.peers.checkout import Project
from benchmarks.peers.peer import Peer
from clbench import AgentSpec

TAU_MAX = 20_000  # samples; the length of their histograms
WIDTH = 100  # as their modules have it


class Agent(Peer):
    """Their functions, one network at a time; its model and optimizer are not PyTorch's, so nothing is measured."""

    project = Project(
        "SelfNormalizedResets",
        "https://github.com/ajozefiak/SelfNormalizedResets",
        "8b84f0c295cf23269fdbfe20e5d03186638c318f",
    )
    learner = "src.algorithms.reset_neurons_snr_adam"

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        checkout: str | None = None,
        step_size: float = 1e-3,
        percentile: float = 0.99,
        threshold_every: int = 16,
        scheduler: str = "none",
        every: int = 40,
    ) -> None:
        super().__init__(spec, seed)
        self.code, self.serialization, self.random = self.project.load(
            checkout, "src.algorithms", "flax.serialization", "jax.random"
        )
        code = self.code
        self.model, self.optimizer = code.MLP(spec.num_classes, WIDTH), code.optax.adam
        self.functions = code.training_factory(self.model, spec.num_classes, self.optimizer)
        self.apply = code.jax.jit(lambda params, x: self.model.apply({"params": params}, x))
        self.schedule(scheduler, every)
        learner = code.init_fn_adam(
            self.model,
            spec.input_shape,
            seed,
            step_size,
            TAU_MAX // 2,
            reg_str=0.0,
            algorithm=3,  # resets
            threshold_reset_freq=threshold_every,
            threshold_percentile=percentile,
        )
        neurons = code.get_neurons(learner, np.zeros((1, *spec.input_shape), np.float32))
        ages = code.initialize_neuron_ages_batch(neurons)
        histogram = code.initialize_neuron_ages_hist(ages, TAU_MAX)
        learner = code.reinitialize_tau_indiv(learner, ages)
        self.state = (learner, ages, histogram)
        self.key = self.random.PRNGKey(seed)

    @classmethod
    def needs_boundaries(cls, arguments: Mapping[str, Any]) -> str:
        return "its thresholds are updated between tasks"

    def begin_task(self, task: int) -> None:
        learner, ages, histogram = self.state
        if task:
            learner, histogram = self.code.update_tau(learner, histogram, task)
        self.state = (learner, ages, histogram)

    def act(self, obs: np.ndarray) -> np.ndarray:
        self.obs = obs
        self.logits = np.asarray(self.apply(self.state[0].params, obs))
        return self.logits

    def learn(self, targets: np.ndarray) -> float:
        learner, ages, histogram = self.state
        neurons = self.code.get_neurons(learner, self.obs)
        ages, histogram = self.code.increment_neuron_ages_snr(neurons, ages, histogram)
        learner = self.functions["train_step_optax"](learner, (self.obs, targets))
        self.key, key = self.random.split(self.key)
        self.state = self.code.reset_neurons_snr_adam(learner, ages, histogram, key, self.obs[0])
        shifted = self.logits - self.logits.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(targets)), targets]
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))

    def state_dict(self) -> dict[str, Any]:
        state = self.serialization.to_state_dict((self.state, self.key))
        return self.code.jax.tree_util.tree_map(
            lambda leaf: np.asarray(leaf) if hasattr(leaf, "shape") else leaf, state
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state, self.key = self.serialization.from_state_dict((self.state, self.key), state)
