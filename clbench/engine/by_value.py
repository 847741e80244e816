"""Classes that other processes cannot import, such as a notebook's: sent to them by value."""

import base64
import pickle
import sys

import cloudpickle

from clbench.errors import LoadError
from clbench.registration import STREAMS, register


def importable(owner: type) -> bool:
    """Tell whether another process finds this class by its module and name."""
    module = sys.modules.get(owner.__module__)
    return owner.__module__ != "__main__" and getattr(module, owner.__qualname__, None) is owner


def pack(owner: type) -> str:
    """Return a class, with the functions and values it uses, as text; "" if another process can import it.

    Raises:
        LoadError: something that it uses cannot be copied, such as an open file.
    """
    if importable(owner):
        return ""
    try:
        return base64.b64encode(cloudpickle.dumps(owner)).decode()
    except Exception as error:
        name = f"{owner.__module__}:{owner.__qualname__}"
        raise LoadError(
            f"'{name}' cannot be sent to other processes ({type(error).__name__}: {error}): put it into a file"
        ) from error


def unpack(packed: str) -> type:
    """Return the class that `pack` returned as text."""
    owner: type = pickle.loads(base64.b64decode(packed))
    return owner


def register_by_value(id: str, packed: str) -> None:
    """Register a stream of this class under an id, unless there is one."""
    if id not in STREAMS:
        register(id, unpack(packed))
