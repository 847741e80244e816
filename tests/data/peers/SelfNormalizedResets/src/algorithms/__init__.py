"""One linear layer in NumPy, where the project has JAX."""

from types import SimpleNamespace

import jax
import numpy as np

optax = SimpleNamespace(adam="adam")


class MLP:
    def __init__(self, num_classes, width):
        self.num_classes = num_classes

    def apply(self, variables, x):
        return x @ variables["params"]["kernel"]


class LearnerState:
    def __init__(self, params, lr):
        self.params, self.lr = params, lr


def init_fn_adam(model, input_shape, seed, lr, threshold, **options):
    kernel = np.random.default_rng(seed).normal(size=(*input_shape, model.num_classes)) / 100
    return LearnerState({"kernel": kernel}, lr)


def training_factory(model, num_classes, optimizer):
    def train_step_optax(state, batch):
        x, y = batch
        error = np.eye(num_classes)[y] - model.apply({"params": state.params}, x)
        return LearnerState({"kernel": state.params["kernel"] + state.lr * x.T @ error / len(x)}, state.lr)

    return {"train_step_optax": train_step_optax}


def get_neurons(state, x):
    return x @ state.params["kernel"]


def initialize_neuron_ages_batch(neurons):
    return {"Dense_0": np.zeros(neurons.shape[-1], int)}


def initialize_neuron_ages_hist(ages, tau_max):
    return {"Dense_0": np.zeros((len(ages["Dense_0"]), 4), int)}


def reinitialize_tau_indiv(state, ages):
    return state


def increment_neuron_ages_snr(neurons, ages, histogram):
    silent = (neurons <= 0).all(axis=0)
    return {"Dense_0": (ages["Dense_0"] + 1) * silent}, histogram


def update_tau(state, histogram, task):
    return state, {"Dense_0": histogram["Dense_0"] + task}


def reset_neurons_snr_adam(state, ages, histogram, key, x):
    noise = np.random.default_rng(key).normal(size=state.params["kernel"].shape) / 1000
    kernel = np.where(ages["Dense_0"] > 1, noise, state.params["kernel"] + noise)
    return LearnerState({"kernel": kernel}, state.lr), ages, histogram
