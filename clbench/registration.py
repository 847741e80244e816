"""Registered streams: ids, and `register`, `make`, `make_vec`.

Gymnasium knows every stream from the moment it is registered, and ours once clbench is imported. Importing this module
is cheap: streams load when used.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from clbench.arguments import Parameter, fit
from clbench.checks import check_choice
from clbench.errors import ClbenchError, LoadError, RegistrationError, UnknownNameError, did_you_mean
from clbench.specs import StreamSpec

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
    """A registered stream: its class (or "module:Class"), its defaults, and one line about it."""

    id: str
    stream: "type[Stream] | str"
    defaults: Mapping[str, Any]
    about: str

    def load(self) -> "type[Stream]":
        if not isinstance(self.stream, str):
            return self.stream
        module, _, name = self.stream.partition(":")
        loaded: type[Stream] = getattr(importlib.import_module(module), name)
        return loaded


STREAMS: dict[str, Registration] = {}


def register(id: str, stream: "type[Stream] | str", *, about: str = "", **defaults: Any) -> None:
    """Add a stream, for `make`, `make_vec`, `gymnasium.make` and the command line.

    Args:
        id: name and version, such as "RotatedMNIST-v0"; Gymnasium's id is then "clbench/RotatedMNIST-v0".
        stream: a subclass of `clbench.Stream`, or its location: "module:Class".
        about: one line for `--list`.
        **defaults: defaults for this id, which `make` can override: `num_tasks`, `epochs_per_task`, ...

    Raises:
        RegistrationError: the id is malformed or taken, or `stream` is not a stream.
    """
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise RegistrationError(
            f"malformed id {id!r}: it must be a name and a version, such as 'MyStream-v0'"
        )
    if id in STREAMS:
        raise RegistrationError(f"the id '{id}' is taken: choose another name or raise the version")
    entry = Registration(id, stream, defaults, about)
    if not isinstance(stream, str):
        from clbench.streams import Stream

        if not (isinstance(stream, type) and issubclass(stream, Stream)):
            raise RegistrationError(f"{stream!r} is not a subclass of clbench.Stream")
        _resolve(entry, {})
    elif not re.fullmatch(r"[\w.]+:\w+", stream):
        raise RegistrationError(f"malformed stream {stream!r}: it must be 'module:Class'")
    STREAMS[id] = entry
    if f"{NAMESPACE}/{id}" not in gym.registry:  # it is when this module is reloaded
        gym.register(
            f"{NAMESPACE}/{id}",
            entry_point=f"{__name__}:make_env",
            vector_entry_point=f"{__name__}:make_vector_env",
            kwargs={"id": id},
            # No wrappers: the environment makes their checks itself.
            order_enforce=False,
            disable_env_checker=True,
        )


def lookup(id: str) -> Registration:
    """Return the registration of `id`; "module:Id" first imports the module, which may register it."""
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


def ensure_registered(stream: str, modules: Sequence[str], stream_class: str) -> None:
    """Register a stream in this process: by importing modules that may do so, else from "module:Class"."""
    for module in modules:
        importlib.import_module(module)
    if stream not in STREAMS:
        register(stream, stream_class)


def resolve(id: str, overrides: Mapping[str, Any] | None = None) -> StreamSpec:
    """Return the spec of a stream with `overrides`, each checked."""
    return _resolve(lookup(id), overrides or {})


def _resolve(entry: Registration, overrides: Mapping[str, Any]) -> StreamSpec:
    from clbench.data import SOURCES

    stream, given = entry.load(), {**entry.defaults, **overrides}
    known = (*COMMON_OPTIONS, *stream.options)
    for name in given:
        if name not in known:
            raise UnknownNameError(
                f"stream '{entry.id}' has no option '{name}'.{did_you_mean(name, known)} It has: {', '.join(known)}."
            )
    where = f"stream '{entry.id}': "
    options = {
        name: fit(name, given.pop(name), Parameter.of(default), where) if name in given else default
        for name, default in stream.options.items()
    }
    stream.check_options(options)
    spec = StreamSpec(id=entry.id, options=options, **given)
    if not stream.custom_data and spec.source in SOURCES:
        spec.resolve(SOURCES[spec.source].size, spec.source)  # refused before anything is downloaded
    return spec


def make(id: str, **overrides: Any) -> "StreamEnv":
    """Return a stream as a `gymnasium.Env` over NumPy arrays, for one seed at a time.

    Args:
        id: registered id, such as "RandomLabelMNIST-v0", or "module:Id" to import a module first.
        **overrides: `num_tasks`, `epochs_per_task`, `num_samples`, `batch_size`, `source`, `data_dir`, and the
            stream's further options, such as `relabel_fraction`.

    Raises:
        UnknownNameError: there is no such stream or option; the text names the nearest one.
        OptionError: an override has an impossible value.
        DataError: the images cannot be loaded.

    >>> env = make("RandomLabelMNIST-v0", num_tasks=2, epochs_per_task=1)
    >>> obs, info = env.reset(seed=0)
    >>> obs.shape, info["task"], info["boundary"]
    ((256, 784), 0, True)
    """
    env: StreamEnv = gym.make(_gym_spec(id), **overrides)  # type: ignore[assignment]
    return env


def make_vec(id: str, num_envs: int, *, device: str = "cpu", **overrides: Any) -> "StreamVectorEnv":
    """Return a stream as a `gymnasium.vector.VectorEnv` of independent seeds in lockstep, over tensors.

    Args:
        num_envs: `S`, the number of seeds.
        device: of observations, targets and rewards, such as "cuda".

    Raises:
        UnknownNameError, OptionError, DataError: as for `make`.
        DeviceError: this machine does not have the device.

    >>> envs = make_vec("RandomLabelMNIST-v0", num_envs=3, num_tasks=2, epochs_per_task=1)
    >>> obs, info = envs.reset(seed=[0, 1, 2])
    >>> obs.shape
    torch.Size([3, 256, 784])
    """
    mode, spec = "vector_entry_point", _gym_spec(id)
    envs: StreamVectorEnv
    envs = gym.make_vec(spec, num_envs, mode, device=device, **overrides)  # type: ignore[assignment]
    return envs


def _gym_spec(id: str) -> gym.EnvSpec:
    # Given an id instead, Gymnasium would warn if there is a later version.
    return gym.registry[f"{NAMESPACE}/{lookup(id).id}"]


def make_env(id: str, agent_device: str = "cpu", **overrides: Any) -> "StreamEnv":
    from clbench.envs.single import StreamEnv

    entry = lookup(id)
    return StreamEnv(entry.load(), _resolve(entry, overrides), agent_device)


def make_vector_env(id: str, num_envs: int, device: str = "cpu", **overrides: Any) -> "StreamVectorEnv":
    from clbench.envs.vector import StreamVectorEnv

    entry = lookup(id)
    return StreamVectorEnv(entry.load(), _resolve(entry, overrides), num_envs, device)


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
