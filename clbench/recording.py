"""`clbench.record`: a loop of the user's leaves a run folder, with any agent and without the engine.

The idea is bsuite's logging (Osband et al., "Behaviour Suite for Reinforcement Learning", ICLR 2020).
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from clbench.config import AgentConfig, RunConfig
from clbench.engine.manifests import circumstances
from clbench.engine.requests import closest_protocol
from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv
from clbench.errors import OptionError
from clbench.meter import Meter
from clbench.places import recorded
from clbench.records import TaskRecord
from clbench.results import RunFolder, RunManifest
from clbench.results.loading import RESULTS
from clbench.results.manifest import CodeSource, DataSource, Status, Timing
from clbench.scoring import finished


class Recorder:
    """Writes the run folder of a loop; see `record`."""

    def __init__(
        self, env: StreamEnv | StreamVectorEnv, out: Path, agent: str, arguments: Mapping[str, Any]
    ) -> None:
        self._spec, stream = env.agent_spec, env.stream_spec
        protocol, overrides = closest_protocol(stream)
        data = env.data
        self._config = RunConfig(
            agent=AgentConfig(name=agent, arguments=arguments),
            stream=stream,
            protocol=protocol,
            overrides=overrides,
            seeds=(),
            device=self._spec.device,
        )
        self._manifest = RunManifest(
            status="running",
            config=self._config,
            env=stream.id,
            recorded="by hand",
            agent_source=_script(),
            data=DataSource(
                source=data.source, size=len(data), num_classes=data.num_classes, sha256=data.checksum
            ),
            **circumstances(self._spec.device),
        )
        self._out = out
        self._folder: RunFolder | None = None
        self._tasks: dict[int, list[TaskRecord]] = {}  # by seed, in the order of their episodes
        self._seeds: tuple[int, ...] = ()  # of the episode
        self._meter = Meter(1, "cpu")

    @property
    def path(self) -> Path | None:
        """The run folder; None before the first reset."""
        return None if self._folder is None else self._folder.path

    def next_seeds(self, count: int) -> list[int]:
        """Return the smallest seeds that are not recorded."""
        return [seed for seed in range(len(self._tasks) + count) if seed not in self._tasks][:count]

    def check(self, seeds: Sequence[int]) -> None:
        """Raise unless seeds can be recorded.

        Raises:
            OptionError: a seed is recorded to its end.
        """
        for seed in seeds:
            if len(self._tasks.get(seed, ())) == self._spec.num_tasks:
                raise OptionError(
                    f"seed {seed} is recorded in '{self.path}': reset with another seed, or call clbench.record again"
                )
