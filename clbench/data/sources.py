"""Sources by name, and the process's one copy of what was loaded."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from clbench.data import embedded, mnist
from clbench.data.labelled import LabelledData
from clbench.specs import check_choice

Key = tuple[object, ...]


@dataclass(frozen=True)
class Source:
    """Where images come from: how many there are, and how to get them."""

    size: int
    load: Callable[[str | None], LabelledData]
    about: str


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "embedded": Source(
            embedded.SIZE, embedded.load, "5,000 MNIST images that come with the installation"
        ),
        "torchvision": Source(mnist.SIZE, mnist.load, "all 60,000 MNIST training images, downloaded once"),
    }
)

_loaded: dict[Key, LabelledData] = {}
_lock = threading.RLock()  # a loader may itself load


def load_images(source: str = "embedded", data_dir: str | None = None) -> LabelledData:
    """Return the images of a source, loading them on the process's first call only.

    Args:
        source: "embedded" or "torchvision".
        data_dir: for "torchvision", a root in torchvision's layout; None for CLBENCH_DATA_DIR or the cache.

    Raises:
        UnknownNameError: there is no such source.
        DataError: its images cannot be had; the text says the ways out.

    >>> images = load_images("embedded")
    >>> len(images), images.input_shape, images.num_classes
    (5000, (784,), 10)
    """
    check_choice("source", source, SOURCES)
    return load_once(("images", source, data_dir or ""), lambda: SOURCES[source].load(data_dir))


def load_once(key: Key, load: Callable[[], LabelledData]) -> LabelledData:
    """Return what `load` gave on the first call with `key`."""
    with _lock:
        if key not in _loaded:
            _loaded[key] = load()
        return _loaded[key]


def forget(data: LabelledData) -> None:
    """Let go of data that this process needs no more; a later call loads it again."""
    with _lock:
        for key in [key for key, held in _loaded.items() if held is data]:
            del _loaded[key]


def is_loaded(key: Key) -> bool:
    """Tell whether `load_once` has data for `key` already."""
    with _lock:
        return key in _loaded


def remember(key: Key, data: LabelledData) -> None:
    """Let `load_once` answer `data` for `key`: a worker process maps what its parent loaded."""
    with _lock:
        _loaded[key] = data
