"""Experiment trackers that follow a run, and never stop it: TensorBoard, Weights & Biases, MLflow."""

from clbench.tracking.trackers import TRACKERS, Trackers, check_trackers

__all__ = ["TRACKERS", "Trackers", "check_trackers"]
