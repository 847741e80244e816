"""Measures indicators while an agent runs, if the agent shows its network."""

from clbench.observing.decisions import TRAJECTORIES as TRAJECTORIES
from clbench.observing.observer import Observer as Observer
from clbench.observing.registry import ALL as ALL
from clbench.observing.registry import BOUNDS as BOUNDS
from clbench.observing.registry import DEFAULT as DEFAULT
from clbench.observing.registry import DEFINITIONS as DEFINITIONS
from clbench.observing.registry import INDICATORS as INDICATORS
from clbench.observing.registry import Snapshot as Snapshot
