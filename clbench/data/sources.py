"""Image sources by name, and the data sets that this process holds."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from clbench.checks import check_choice
from clbench.data import mnist
from clbench.data.labelled import LabelledData

Key = tuple[object, ...]


@dataclass(frozen=True)
class Source:
    size: int  # in images
    load: Callable[[str | None], LabelledData]  # from a data folder


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "embedded": Source(mnist.EMBEDDED_SIZE, mnist.load_embedded),
        "torchvision": Source(mnist.SIZE, mnist.load),
    }
)


class DataCache:
    """Data sets by key, each loaded once, also if several threads ask for it."""

    def __init__(self) -> None:
        self._data: dict[Key, LabelledData] = {}
        self._lock = threading.RLock()  # a loader may itself load

    def get(self, key: Key, load: Callable[[], LabelledData]) -> LabelledData:
        with self._lock:
            if key not in self._data:
                self._data[key] = load()
            return self._data[key]

    def put(self, key: Key, data: LabelledData) -> None:
        """Hold `data` under `key`: worker processes map the data that their parent loaded."""
        with self._lock:
            self._data[key] = data

    def drop(self, data: LabelledData) -> None:
        """Stop holding `data`, to save memory; the next `get` loads it again."""
        with self._lock:
            self._data = {key: held for key, held in self._data.items() if held is not data}

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._data


CACHE = DataCache()


def image_key(source: str, data_dir: str | None) -> Key:
    return ("images", source, data_dir or "")


def load_images(source: str = "embedded", data_dir: str | None = None) -> LabelledData:
    """Return the images of a source, loading them on the process's first call only.

    Args:
        source: "embedded" or "torchvision".
        data_dir: for "torchvision", a root in torchvision's layout; None for CLBENCH_DATA_DIR or the cache.

    Raises:
        UnknownNameError: there is no such source.
        DataError: its images cannot be loaded; the text says what to do.

    >>> images = load_images("embedded")
    >>> len(images), images.input_shape, images.num_classes
    (5000, (784,), 10)
    """
    check_choice("source", source, SOURCES)
    return CACHE.get(image_key(source, data_dir), lambda: SOURCES[source].load(data_dir))
