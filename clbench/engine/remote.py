"""Run folders at a URL, for machines that do not share a folder: copied from there to resume, and back as they grow."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from clbench.errors import OptionError
from clbench.results.files import write_whole
from clbench.results.folder import RUN, STATE


def is_url(out: str | Path) -> bool:
    """Tell whether an output folder is given as a URL."""
    return "://" in str(out)


class RemoteFolder:
    """Run folders under a URL that fsspec knows. There are no locks: only one process at a time may write a run folder.

    Args:
        url: such as "s3://bucket/folder".

    Raises:
        OptionError: fsspec, or what it needs for such a URL, is missing.
    """

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs

            self._files, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise OptionError(
                f"'{url}' cannot be used ({error}): "
                'pip install "clbench[ray]" and the package for such URLs (s3fs, gcsfs, ...)'
            ) from error
        self._root = root.rstrip("/")
        self._known: dict[Path, tuple[int, int]] = {}  # files as last copied

    def fetch(self, keys: Collection[str], into: Path, checkpoints: bool) -> None:
        """Copy folders here; files of older copies that are no longer in the folder are deleted.

        Args:
            keys: of runs: what the folders' names end in. A key without a folder is skipped.
            into: folder for the copies.
            checkpoints: whether to copy checkpoints, too.
        """
        self._files.invalidate_cache()
        for folder in self._files.glob(f"{self._root}/*-*"):
            if folder.rpartition("-")[2] in keys:
                copy = into / folder.rpartition("/")[2]
                names = self._names(folder)
                for name in sorted(names, key=_order):
                    if checkpoints or not name.startswith(f"{STATE}/"):
                        (copy / name).parent.mkdir(parents=True, exist_ok=True)
                        with contextlib.suppress(
                            FileNotFoundError
                        ):  # an old checkpoint has just been deleted
                            write_whole(copy / name, self._reader(f"{folder}/{name}"))
                for name, path in _files_of(copy):
                    if name not in names:
                        path.unlink()

    def _reader(self, place: str) -> Callable[[Path], object]:
        return lambda path: self._files.get_file(place, str(path))

    def put(self, copy: Path) -> None:
        """Make the folder like its copy. Wherever this is interrupted, the run can be resumed from the folder."""
        folder, here = f"{self._root}/{copy.name}", dict(_files_of(copy))
        for name in sorted(here, key=_order):
            with contextlib.suppress(FileNotFoundError):  # an old checkpoint has just been deleted
                stat = here[name].stat()
                stamp = stat.st_mtime_ns, stat.st_size
                if self._known.get(here[name]) != stamp:
                    above, _, last = f"{folder}/{name}".rpartition("/")
                    self._files.makedirs(above, exist_ok=True)
                    self._files.put_file(str(here[name]), f"{above}/.{last}.partial")
                    self._files.mv(f"{above}/.{last}.partial", f"{above}/{last}")
                    self._known[here[name]] = stamp
        self._files.invalidate_cache()
        for name in self._names(folder):
            if name not in here:
                self._files.rm_file(f"{folder}/{name}")

    def _names(self, folder: str) -> set[str]:
        return {
            path[len(folder) + 1 :] for path in self._files.find(folder) if "/." not in path[len(folder) :]
        }


def _files_of(copy: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names and paths of a run folder's files, except the lock and what is being written."""
    for path in copy.rglob("*"):
        name = path.relative_to(copy).as_posix()
        if path.is_file() and not path.name.startswith(".") and name != f"{STATE}/lock":
            yield name, path


def _order(name: str) -> tuple[bool, bool, str]:
    """Sort what run.json promises before it, and checkpoints, which are useless without it, after it."""
    return name.startswith(f"{STATE}/"), name == RUN, name
