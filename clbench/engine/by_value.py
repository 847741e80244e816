"""Classes that other processes cannot import, such as a notebook's: sent to them by value."""

import base64
import contextlib
import pickle
import sys
from collections.abc import Iterator

import cloudpickle

from clbench.errors import LoadError
from clbench.files import MAIN
from clbench.registration import STREAMS, register


def importable(owner: type) -> bool:
    """Tell whether another process finds this class by its module and name."""
    module = sys.modules.get(owner.__module__)
    return owner.__module__ not in MAIN and getattr(module, owner.__qualname__, None) is owner


def pack(owner: type) -> str:
    """Return a class, with the functions and values it uses, as text; "" if another process can import it.

    Raises:
        LoadError: something that it uses cannot be copied, such as an open file.
    """
    if importable(owner):
        return ""
    try:
        with _by_value(owner.__module__):
            return base64.b64encode(cloudpickle.dumps(owner)).decode()
    except Exception as error:
        name = f"{owner.__module__}:{owner.__qualname__}"
        raise LoadError(
            f"'{name}' cannot be sent to other processes ({type(error).__name__}: {error}): put it into a file"
        ) from error


@contextlib.contextmanager
def _by_value(name: str) -> Iterator[None]:
    """Pickle what is in a program's main module by value, also where `multiprocessing` has renamed it."""
    module = sys.modules.get(name) if name in MAIN[1:] else None
    if module is None:
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def unpack(packed: str) -> type:
    """Return the class that `pack` returned as text."""
    owner: type = pickle.loads(base64.b64decode(packed))
    return owner


def register_by_value(id: str, packed: str) -> None:
    """Register a stream of this class under an id, unless there is one."""
    if id not in STREAMS:
        register(id, unpack(packed))
