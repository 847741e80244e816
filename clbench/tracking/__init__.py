"""Experiment trackers as observers of a run: TensorBoard, Weights & Biases, MLflow. None can stop one."""

from clbench.tracking.trackers import TRACKERS, Trackers, check_trackers

__all__ = ["TRACKERS", "Trackers", "check_trackers"]
