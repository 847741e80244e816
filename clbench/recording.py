"""`clbench.record`: a loop that a user writes leaves a run folder, with any agent and without the engine.

The idea is that of bsuite's logging (Osband et al., "Behaviour Suite for Reinforcement Learning", ICLR 2020).
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import gymnasium
import torch
from gymnasium.vector import VectorEnv, VectorWrapper

from clbench.config import AgentConfig, RunConfig
from clbench.engine.manifests import circumstances, code, data_source
from clbench.engine.progress import say
from clbench.engine.requests import closest_protocol
from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv
from clbench.errors import OptionError
from clbench.jsondata import to_json
from clbench.loop.environment import Environment, Step
from clbench.loop.meter import Meter
from clbench.places import expanded
from clbench.provenance import source_of_file
from clbench.records import TaskRecord
from clbench.results import RunFolder, RunManifest
from clbench.results.loading import RESULTS
from clbench.results.manifest import CodeSource, Status, Timing
from clbench.seeding import check_seed


class Recorder:
    """Writes the run folder of a loop.

    Args:
        base: the environment, without wrappers.
        out: where the run folder is created.
        agent: its name.
        arguments: what it was constructed with.
        progress: whether to print a line after each task, and the folder at the end.
    """

    def __init__(
        self, base: Environment, out: Path, agent: str, arguments: Mapping[str, Any], progress: bool
    ) -> None:
        self.base, self._out, self._progress = base, out, progress
        spec, stream = base.agent_spec, base.stream_spec
        protocol, overrides = closest_protocol(stream)
        self._manifest = RunManifest(
            status="running",
            config=RunConfig(
                agent=AgentConfig(name=agent, arguments=to_json(arguments)),
                stream=stream,
                protocol=protocol,
                overrides=overrides,
                seeds=(),
                device=spec.device,
                threads=torch.get_num_threads(),
            ),
            env=stream.id,
            recorded="by hand",
            agent_source=_script(),
            stream_source=code(base.stream_class),
            data=data_source(base.stream_class.shared_data(stream)),
            chance_level=base.stream_class.chance(stream),
            **circumstances(spec.device),
        )
        self._folder: RunFolder | None = None
        self._lock = contextlib.ExitStack()
        self._records: dict[int, list[TaskRecord]] = {}  # by seed
        self._seeds: tuple[int, ...] = ()  # of the episode
        self._meter = Meter(base.num_envs if isinstance(base, StreamVectorEnv) else 1, str(base.device))
        self._seconds, self._steps = 0.0, 0

    def begin(self, seed: int | Sequence[int] | None) -> list[int]:
        """Begin an episode; return its seeds, by default the smallest that are not recorded.

        Raises:
            OptionError: one is recorded to its end.
        """
        count = self.base.num_envs if isinstance(self.base, StreamVectorEnv) else 1
        if self._meter.steps == 0:  # a reset without a step: its seeds were not begun
            self._records = {
                number: records
                for number, records in self._records.items()
                if records or number not in self._seeds
            }
        if seed is None:
            free = (number for number in range(len(self._records) + count) if number not in self._records)
            seeds = [number for number, _ in zip(free, range(count), strict=False)]
        elif isinstance(seed, Sequence):
            seeds = [check_seed(number) for number in seed]
        else:
            seeds = [check_seed(seed) + index for index in range(count)]
        for number in seeds:
            if self._is_complete(number):
                raise OptionError(
                    f"seed {number} is already recorded: reset with another seed, or call clbench.record again"
                )
        self._records |= {number: [] for number in seeds}
        self._seeds = tuple(seeds)
        self._meter.restart()
        self._write("running")
        return seeds

    def next_step(self) -> Step:
        """Return the step that answers the observation shown last."""
        return Step.at(self.base.position(), self.base.stream_spec)

    def add(self, step: Step, reward: float | torch.Tensor) -> None:
        """Add a step of the episode; at the end of a task, write its records."""
        self._meter.add(reward, None, step.in_last_epoch)
        if not step.is_last:
            return
        name = self._manifest.config.agent.name
        for record in self._meter.records(name, self._seeds, step.task, slice(None)):
            self._records[record.seed].append(record)
            self._steps += record.steps
        self._seconds += record.seconds  # of all seeds in lockstep
        self._meter.restart()
        everything = all(map(self._is_complete, self._records))
        self._write("complete" if everything else "running")
        if self._progress:
            self._show_task(step.task)
            if everything:
                self._show_end("done")

    def _show_task(self, task: int) -> None:
        last = fmean(self._records[seed][-1].accuracy for seed in self._seeds)
        seeds = f"seed{'s' if len(self._seeds) > 1 else ''} {', '.join(map(str, self._seeds))}"
        name, tasks = self._manifest.config.agent.name, self.base.stream_spec.num_tasks
        say(f"{name}  {seeds}  task {task + 1}/{tasks}  accuracy {last:.2f}")

    def _show_end(self, how: str) -> None:
        values = [record.accuracy for records in self._records.values() for record in records]
        average = f"  average accuracy {fmean(values):.3f}" if values else ""
        say(f"{self._manifest.config.agent.name}  {how}{average}  {self.folder}/")

    def close(self) -> None:
        """Record how the run ended, and unlock its folder."""
        if self._folder is not None and not all(map(self._is_complete, self._records)):
            self._write("interrupted")
            if self._progress:
                self._show_end("interrupted")
        self._lock.close()

    def _is_complete(self, seed: int) -> bool:
        return len(self._records.get(seed, ())) == self.base.stream_spec.num_tasks

    def _write(self, status: Status) -> None:
        config = replace(self._manifest.config, seeds=tuple(self._records))
        rate = round(self._steps / self._seconds, 1) if self._seconds else None
        self._manifest = replace(
            self._manifest,
            status=status,
            config=config,
            timing=Timing(seconds=round(self._seconds, 3), steps_per_second=rate),
        )
        if self._folder is None:
            self._folder = RunFolder.create(self._out, f"{config.stream.id}-{config.protocol}")
            self._lock.enter_context(self._folder.in_use())
        self._folder.write_manifest(self._manifest)
        self._folder.write_tasks(record for records in self._records.values() for record in records)
        if status == "complete":
            self._folder.delete_state()

    @property
    def folder(self) -> Path | None:
        """The run folder; None before the first reset."""
        return None if self._folder is None else self._folder.path


class _Recorded:
    """What both wrappers do beyond Gymnasium's.

    Attributes:
        env: the environment that is recorded.
    """

    env: Any

    def __init__(self, env: object, recorder: Recorder) -> None:
        super().__init__(env)  # type: ignore[call-arg]  # the wrapper's
        self._recorder = recorder
        self.agent_spec, self.stream_spec = recorder.base.agent_spec, recorder.base.stream_spec

    @property
    def folder(self) -> Path | None:
        """The run folder; None before the first reset."""
        return self._recorder.folder

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin to record other seeds, by default the next ones; return observations and `info`."""
        seeds = self._recorder.begin(seed)
        seed = seeds if self._recorder.base.lockstep else seeds[0]
        obs, info = self.env.reset(seed=seed, options=options)
        return obs, info

    def step(self, action: object) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step and record its reward."""
        step = self._recorder.next_step()
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._recorder.add(step, reward)
        return obs, reward, terminated, truncated, info

    def close(self, **named: Any) -> None:
        """Record how the run ended."""
        self._recorder.close()
        super().close(**named)  # type: ignore[misc]  # the wrapper's


class RecordedEnv(_Recorded, gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that records what is done in it: see `record`."""


class RecordedVectorEnv(_Recorded, VectorWrapper):
    """A vector environment that records what is done in it: see `record`."""

    def __enter__(self) -> "RecordedVectorEnv":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def record(
    env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
    out: str | Path = RESULTS,
    *,
    agent: str,
    arguments: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> RecordedEnv | RecordedVectorEnv:
    """Wrap an environment so that a loop in it leaves a run folder, as `clbench.evaluate` does.

    Each `reset` begins another seed, by default the smallest that is not recorded; all of them make one run. An episode
    that is left before its end stays in the table as unfinished; its seed may be begun again, which replaces it. The
    run is marked as recorded by hand: it cannot be verified.

    Args:
        env: from `clbench.make` or `clbench.make_vec`.
        out: where the run folder is created, at the first `reset`.
        agent: name of what learns.
        arguments: what it was constructed with, for the record.
        progress: print a line after each task, and the folder at the end; by default also where nobody watches, since a
            loop written by hand may print nothing else.

    Returns:
        The environment, to be used in place of `env`; `close` it when the loop has ended.

    Raises:
        OptionError: `env` is not a stream of clbench, or the agent has no name.

    Examples:
        >>> import tempfile, clbench
        >>> env = clbench.make("RandomLabelMNIST-v0", num_tasks=1, epochs_per_task=1, num_samples=512)
        >>> env = clbench.record(env, out=tempfile.mkdtemp(), agent="always 0", progress=False)
        >>> obs, info = env.reset(seed=0)
        >>> done = False
        >>> while not done:
        ...     obs, accuracy, done, _, info = env.step([0] * 256)
        >>> env.close()
        >>> clbench.load_results(env.folder).runs[["agent", "status"]].values.tolist()
        [['always 0', 'complete']]
    """
    base = env.unwrapped
    if not isinstance(base, (StreamEnv, StreamVectorEnv)):
        raise OptionError(
            f"{env!r} is not a clbench environment: pass one from clbench.make or clbench.make_vec"
        )
    if not agent:
        raise OptionError("agent='' is not a name")
    recorder = Recorder(base, Path(expanded(out)), agent, arguments or {}, progress)
    return RecordedVectorEnv(env, recorder) if isinstance(env, VectorEnv) else RecordedEnv(env, recorder)


def _script() -> CodeSource:
    """Return the script that runs, which is taken for the agent's source."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None or not Path(file).is_file():
        return CodeSource()
    return CodeSource(**source_of_file(Path(file)))
