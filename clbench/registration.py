"""Stream ids, and what stands behind them: `register`, `make`, `make_vec`.

Gymnasium knows every stream from the moment it is registered; ours are once clbench is imported. Importing this
module is cheap: streams load when used.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from clbench.errors import (
    ClbenchError,
    LoadError,
    OptionError,
    RegistrationError,
    UnknownNameError,
    did_you_mean,
)
from clbench.specs import StreamSpec, check_choice

try:
    from gymnasium.envs import registration as gym
except Exception as error:
    raise ImportError(
        f"clbench needs gymnasium, which cannot be imported here ({type(error).__name__}: {error}): "
        "try pip install --upgrade gymnasium"
    ) from error

if TYPE_CHECKING:
    from clbench.envs.single import StreamEnv
    from clbench.envs.vector import StreamVectorEnv
    from clbench.streams import Stream

NAMESPACE = "clbench"
COMMON_OPTIONS = tuple(item.name for item in fields(StreamSpec) if item.name not in ("id", "options"))

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.]*-v(0|[1-9]\d*)")


@dataclass(frozen=True)
class Registration:
    """A registered stream: its class (or "module:Class"), its defaults, a line about it."""

    id: str
    stream: "type[Stream] | str"
    defaults: Mapping[str, Any]
    about: str

    def load(self) -> "type[Stream]":
        """Return the stream's class, importing it if need be."""
        if not isinstance(self.stream, str):
            return self.stream
        module, _, name = self.stream.partition(":")
        loaded: type[Stream] = getattr(importlib.import_module(module), name)
        return loaded


STREAMS: dict[str, Registration] = {}


def register(id: str, stream: "type[Stream] | str", *, about: str = "", **defaults: Any) -> None:
    """Add a stream to what `make`, `make_vec`, `gymnasium.make` and the command line know.

    Args:
        id: name and version, such as "RotatedMNIST-v0"; Gymnasium knows it as "clbench/RotatedMNIST-v0".
        stream: a subclass of `clbench.Stream`, or where one is: "module:Class".
        about: a line for `--list`.
        **defaults: defaults for this id, overridable at `make`: `num_tasks`, `epochs_per_task`, ...

    Raises:
        RegistrationError: the id is malformed or taken, or `stream` is not a stream.
    """
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise RegistrationError(
            f"malformed id {id!r}: it must be a name and a version, such as 'MyStream-v0'"
        )
    if id in STREAMS:
        raise RegistrationError(f"the id '{id}' is taken: choose another name or raise the version")
    if isinstance(stream, str):
        if not re.fullmatch(r"[\w.]+:\w+", stream):
            raise RegistrationError(f"malformed stream {stream!r}: it must be 'module:Class'")
    elif not (
        isinstance(stream, type)
        and callable(getattr(stream, "draw_task", None))
        and hasattr(stream, "load_data")
    ):
        raise RegistrationError(f"{stream!r} is not a subclass of clbench.Stream")
    STREAMS[id] = Registration(id, stream, defaults, about)
    try:
        if not isinstance(stream, str):
            resolve(id)
    except Exception:
        del STREAMS[id]
        raise
    _register_with_gymnasium(id)


def lookup(id: str) -> Registration:
    """Return the registration of `id`; "module:Id" imports the module first, which may register it.

    Raises:
        UnknownNameError: nothing has that id; the text has the nearest one.
    """
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ClbenchError:
            raise
        except (Exception, SystemExit) as error:
            raise LoadError(
                f"'{module}', the module of stream '{name}', raises {type(error).__name__} when imported: {error}"
            ) from error
    name = name.removeprefix(f"{NAMESPACE}/")
    check_choice("stream", name, STREAMS)
    return STREAMS[name]


def resolve(id: str, overrides: Mapping[str, Any] | None = None) -> StreamSpec:
    """Return the spec of a stream with `overrides` applied, each checked.

    Raises:
        UnknownNameError: no such stream, or the stream has no such option.
        OptionError: an override has an impossible value.
    """
    entry = lookup(id)
    stream = entry.load()
    given = {**entry.defaults, **(overrides or {})}
    known = (*COMMON_OPTIONS, *stream.options)
    for name in given:
        if name not in known:
            raise UnknownNameError(
                f"stream '{entry.id}' has no option '{name}'.{did_you_mean(name, known)} It has: {', '.join(known)}."
            )
    options = {**stream.options, **{name: given.pop(name) for name in stream.options if name in given}}
    stream.check_options(options)
    spec = StreamSpec(id=entry.id, options=options, **given)
    if spec.num_samples is not None and not stream.has_own_data():
        _check_source_size(spec)
    return spec


def _check_source_size(spec: StreamSpec) -> None:
    from clbench.data import SOURCES

    source = SOURCES.get(spec.source)
    if source and spec.num_samples is not None and spec.num_samples > source.size:
        bigger = " (source='torchvision' has 60,000)" if spec.source == "embedded" else ""
        raise OptionError(
            f"num_samples={spec.num_samples:,} is more than the {source.size:,} images "
            f"of the source '{spec.source}'{bigger}"
        )


def make(id: str, **overrides: Any) -> "StreamEnv":
    """Return a stream as a `gymnasium.Env` over NumPy arrays, for one seed at a time.

    Args:
        id: registered id, such as "RandomLabelMNIST-v0", or "module:Id" to import a module first.
        **overrides: `num_tasks`, `epochs_per_task`, `num_samples`, `batch_size`, `source`, `data_dir`,
            and the stream's own options, such as `relabel_fraction`.

    Raises:
        UnknownNameError: no such stream or option; the text has the nearest one.
        OptionError: an override has an impossible value.
        DataError: the images cannot be had.

    >>> env = make("RandomLabelMNIST-v0", num_tasks=2, epochs_per_task=1)
    >>> obs, info = env.reset(seed=0)
    >>> obs.shape, info["task"], info["boundary"]
    ((256, 784), 0, True)
    """
    spec = resolve(id, overrides)
    env: StreamEnv = gym.make(_known_to_gymnasium(spec.id), **overrides)  # type: ignore[assignment]
    return env


def make_vec(id: str, num_envs: int, *, device: str = "cpu", **overrides: Any) -> "StreamVectorEnv":
    """Return a stream as a `gymnasium.vector.VectorEnv` of independent seeds in lockstep, over tensors.

    Args:
        id: as for `make`.
        num_envs: `S`, how many seeds.
        device: where observations, targets and rewards live, such as "cuda".
        **overrides: as for `make`.

    Raises:
        UnknownNameError, OptionError, DataError: as for `make`.
        DeviceError: this machine has no such device.

    >>> envs = make_vec("RandomLabelMNIST-v0", num_envs=3, num_tasks=2, epochs_per_task=1)
    >>> obs, info = envs.reset(seed=[0, 1, 2])
    >>> obs.shape
    torch.Size([3, 256, 784])
    """
    spec = resolve(id, overrides)
    envs: StreamVectorEnv = gym.make_vec(  # type: ignore[assignment]
        _known_to_gymnasium(spec.id),
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        device=device,
        **overrides,
    )
    return envs


def _known_to_gymnasium(id: str) -> gym.EnvSpec:
    # By its spec: given an id, Gymnasium would warn when there is a later version.
    return gym.registry[f"{NAMESPACE}/{id}"]


def _register_with_gymnasium(id: str) -> None:
    if f"{NAMESPACE}/{id}" not in gym.registry:  # it is when this module is reloaded
        gym.register(
            f"{NAMESPACE}/{id}",
            entry_point="clbench.envs.single:StreamEnv",
            vector_entry_point="clbench.envs.vector:StreamVectorEnv",
            kwargs={"stream": id},
            # No wrappers: the environment itself makes the checks that they would make.
            order_enforce=False,
            disable_env_checker=True,
        )


register(
    "RandomLabelMNIST-v0",
    "clbench.streams.random_label:RandomLabel",
    about="the same images, new random targets at every task",
)
register(
    "PermutedMNIST-v0",
    "clbench.streams.permuted:Permuted",
    about="true labels, a new permutation of the pixels at every task",
)
