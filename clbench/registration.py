"""Registered streams: ids, and `register`, `make`, `make_vec`.

Gymnasium knows every stream from the moment it is registered, and ours once clbench is imported. Importing this module
is cheap: streams load when used.
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from clbench.arguments import Parameter, fit
from clbench.checks import check_choice
from clbench.errors import OptionError, RegistrationError, UnknownNameError, UnknownOptionError, did_you_mean
from clbench.files import MAIN
from clbench.provenance import files_of
from clbench.references import is_file, load_module
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
    """A registered stream.

    Attributes:
        id: its name.
        stream: its class, or "module:Class".
        defaults: of this id.
        about: one line about it.
        module: name of the module that has registered it.
        code: of that module, or of the function in it; another one each time that the module is executed.
    """

    id: str
    stream: "type[Stream] | str"
    defaults: Mapping[str, Any]
    about: str
    module: str = ""
    code: CodeType | None = field(default=None, repr=False, compare=False)

    def load(self) -> "type[Stream]":
        stream: Any = self.stream
        return pkgutil.resolve_name(stream) if isinstance(stream, str) else stream  # type: ignore[no-any-return]


STREAMS: dict[str, Registration] = {}


def register(id: str, stream: "type[Stream] | str", *, about: str = "", **defaults: Any) -> None:
    """Add a stream, for `make`, `make_vec`, `gymnasium.make` and the command line.

    Args:
        id: name and version, such as "RotatedMNIST-v0"; Gymnasium's id is then "clbench/RotatedMNIST-v0".
        stream: a subclass of `clbench.Stream`, or its location: "module:Class".
        about: one line for `--list`.
        **defaults: settings of this id: `num_tasks`, `epochs_per_task`, ... Calls can override them, protocols cannot.

    Raises:
        RegistrationError: the id is malformed or taken, or `stream` is not a stream. A file, or a notebook's cell, that
            is executed again may register its streams again.
    """
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise RegistrationError(f"malformed id {id!r}: give name and version, such as 'MyStream-v0'")
    caller = sys._getframe(1)
    entry = Registration(id, stream, defaults, about, caller.f_globals.get("__name__", ""), caller.f_code)
    if id in STREAMS and not _is_executed_again(STREAMS[id], entry):
        raise RegistrationError(f"the id '{id}' is taken: choose another name or raise the version")
    if not isinstance(stream, str):
        from clbench.streams import Stream

        if not (isinstance(stream, type) and issubclass(stream, Stream)):
            raise RegistrationError(f"{stream!r} is not a subclass of clbench.Stream")
        _resolve(entry, {})
    elif not re.fullmatch(r"[\w.]+:\w+", stream):
        raise RegistrationError(f"malformed stream {stream!r}: it must be 'module:Class'")
    STREAMS[id] = entry
    named = id if entry.module in ("", __name__, *MAIN) else f"{entry.module}:{id}"
    if f"{NAMESPACE}/{id}" not in gym.registry:  # it is when this module is reloaded
        gym.register(
            f"{NAMESPACE}/{id}",
            entry_point=f"{__name__}:make_env",
            vector_entry_point=f"{__name__}:make_vector_env",
            kwargs={"stream": named},  # `id` would be taken for an argument of `gymnasium.make`
            order_enforce=False,  # no wrappers: the environment makes their checks itself
            disable_env_checker=True,
        )


def _is_executed_again(before: Registration, now: Registration) -> bool:
    """Tell whether the same lines register the same stream, executed once more, as a file or notebook's cell may be."""
    if before.stream == now.stream:
        facts = [(_place(entry.module), entry.defaults, entry.about) for entry in (before, now)]
        return before.code is not now.code and facts[0] == facts[1]
    if isinstance(before.stream, str) or isinstance(now.stream, str) or "<locals>" in now.stream.__qualname__:
        return False
    return len({(_place(owner.__module__), owner.__qualname__) for owner in (before.stream, now.stream)}) == 1


def _place(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or module


def lookup(id: str) -> Registration:
    """Return the registration of `id`.

    "module:Id" and "file.py:Id" first import the module or file, which may register it; "file.py" is enough if that
    registers a single stream.

    Raises:
        UnknownNameError: there is no such stream or file.
        LoadError: the module or file raises when imported.
    """
    location, _, name = (id, "", "") if is_file(id) else id.rpartition(":")
    name = name.removeprefix(f"{NAMESPACE}/")
    if not location:
        if name not in STREAMS and Path(f"{name}.py").is_file():
            raise UnknownNameError(f"no stream '{name}'. Did you mean '{name}.py'?")
        check_choice("stream", name, STREAMS)
        return STREAMS[name]
    role = "" if is_file(location) else f", the module of stream '{name}',"
    hint = f" ModuleNotFoundError: no module '{location}'."
    module = load_module(location, "stream", named=id, hint=hint, role=role)
    return STREAMS[name if name in STREAMS else _choose(location, name, _registered_by(module))]


def _choose(location: str, name: str, ids: Sequence[str]) -> str:
    """Return the only one of the ids that a file registers, if none is named."""
    if not name and len(ids) == 1:
        return ids[0]
    listing = f" It registers: {', '.join(ids) or 'none'}."
    if not name:
        raise UnknownNameError(f"'{location}': name one stream, as '{location}:ID'.{listing}")
    raise UnknownNameError(f"'{location}' registers no stream '{name}'.{did_you_mean(name, ids)}{listing}")


def _registered_by(module: ModuleType) -> list[str]:
    """Return the ids that a module has registered; if there are none, those that its neighbours have."""
    places, here = {id: _place(entry.module) for id, entry in STREAMS.items()}, _place(module.__name__)
    searched = here not in places.values() and Path(here).is_file()
    wanted = files_of(Path(here)).values() if searched else [Path(here)]
    return [id for id, place in places.items() if Path(place) in wanted]


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
            raise UnknownOptionError(
                f"stream '{entry.id}' got an unexpected keyword argument '{name}'.{did_you_mean(name, known)} "
                f"Its options are: {', '.join(known)}."
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
        id: registered id, such as "RandomLabelMNIST-v0"; or "module:Id" or "file.py:Id" to import a module or a file
            first, of a file that registers a single stream also "file.py".
        **overrides: `num_tasks`, `epochs_per_task`, `num_samples`, `batch_size`, `source`, `data_dir`,
            `boundaries`, and the stream's further options, such as `relabel_fraction`.

    Raises:
        UnknownNameError: there is no such stream; the text names the nearest one.
        UnknownOptionError: the stream has no such option; also a `TypeError`.
        OptionError: an override has an impossible value.
        DataError: the images cannot be loaded.

    >>> env = make("RandomLabelMNIST-v0", num_tasks=2, epochs_per_task=1)
    >>> obs, info = env.reset(seed=0)
    >>> obs.shape, info["task"], info["boundary"]
    ((256, 784), 0, True)
    """
    try:
        env: StreamEnv = gym.make(_gym_spec(id), **overrides)  # type: ignore[assignment]
    except UnknownOptionError as error:
        raise (error.__context__ or error) from None  # without what Gymnasium adds to the text of a TypeError
    return env


def make_vec(id: str, num_envs: int, *, device: str = "cpu", **overrides: Any) -> "StreamVectorEnv":
    """Return a stream as a `gymnasium.vector.VectorEnv` of independent seeds in lockstep, over tensors.

    Args:
        num_envs: `S`, the number of seeds.
        device: of observations, targets and rewards, such as "cuda".

    Raises:
        UnknownNameError, OptionError, DataError: as for `make`.
        UnknownOptionError: the stream has no such option; also a `TypeError`.
        DeviceError: this machine does not have the device.

    >>> envs = make_vec("RandomLabelMNIST-v0", num_envs=3, num_tasks=2, epochs_per_task=1)
    >>> obs, info = envs.reset(seed=[0, 1, 2])
    >>> obs.shape
    torch.Size([3, 256, 784])
    """
    for name in ("vectorization_mode", "vector_kwargs", "wrappers"):
        if name in overrides:
            raise UnknownOptionError(
                f"make_vec() got an unexpected keyword argument '{name}': its seeds are always in lockstep; "
                f"gymnasium.make_vec('{NAMESPACE}/{lookup(id).id}', {name}=...) takes it"
            )
    mode, spec = "vector_entry_point", _gym_spec(id)
    return gym.make_vec(spec, num_envs, mode, device=device, **overrides)  # type: ignore[return-value]


def _gym_spec(id: str) -> gym.EnvSpec:
    # Given an id instead, Gymnasium would warn if there is a later version.
    return gym.registry[f"{NAMESPACE}/{lookup(id).id}"]


def make_env(
    stream: str, agent_device: str = "cpu", render_mode: str | None = None, **overrides: Any
) -> "StreamEnv":
    from clbench.envs.single import StreamEnv

    entry = _entry(stream, render_mode)
    return StreamEnv(entry.load(), _resolve(entry, overrides), agent_device)


def make_vector_env(
    stream: str, num_envs: int, device: str = "cpu", render_mode: str | None = None, **overrides: Any
) -> "StreamVectorEnv":
    from clbench.envs.vector import StreamVectorEnv

    entry = _entry(stream, render_mode)
    return StreamVectorEnv(entry.load(), _resolve(entry, overrides), num_envs, device)


def _entry(stream: str, mode: object) -> Registration:
    """Return the registration of "ID" or "module:ID", which a new process has to import first."""
    if mode is not None:
        raise OptionError(f"render_mode={mode!r}: a stream has no pictures to render; leave it out, or None")
    id = stream.rpartition(":")[2]
    return STREAMS[id] if id in STREAMS else lookup(stream)


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

BUILT_IN = tuple(STREAMS)
"""The streams that come with clbench."""
