"""Small settings that many tests share."""

import os
from pathlib import Path

import clbench

SHORT = {"num_tasks": 2, "epochs_per_task": 2, "num_samples": 300, "batch_size": 100}
IDS = ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]


def short_env(id: str = "RandomLabelMNIST-v0", **overrides: object):
    return clbench.make(id, **{**SHORT, **overrides})


def short_vec(num_envs: int, id: str = "RandomLabelMNIST-v0", **overrides: object):
    return clbench.make_vec(id, num_envs, **{**SHORT, **overrides})


def full_mnist() -> Path | None:
    """The folder with the real MNIST that the environment names, if any."""
    named = os.environ.get("CLBENCH_DATA_DIR")
    return Path(named) if named else None
