"""A sweep's folder: the run folders of its cells, a copy of the sweep file, and the report."""

from pathlib import Path

from clbench.engine.keyed_store import KeyedStore
from clbench.engine.remote import RemoteFolder, is_url
from clbench.errors import OutputError
from clbench.places import expanded, recorded
from clbench.results.files import write_whole
from clbench.results.loading import RESULTS
from clbench.sweeps.cells import Sweep


def open_store(sweep: Sweep, out: str | Path, command: str = "") -> KeyedStore:
    """Return the store of a sweep's folder in `out`; of one at a URL, of an up-to-date copy in "results".

    Args:
        sweep: whose.
        out: a folder or a URL.
        command: resumes the sweep.

    Raises:
        OptionError: the URL cannot be used.
    """
    if not is_url(out):
        return KeyedStore(Path(expanded(out)) / sweep.name, command=command)
    store = KeyedStore(Path(RESULTS) / sweep.name, RemoteFolder(f"{out}/{sweep.name}"), command)
    store.fetch(sweep.runs)
    return store


def create_folder(store: KeyedStore, sweep: Sweep) -> None:
    """Create a sweep's folder and write a copy of the sweep file.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        store.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write to the output folder '{store.path}': {error.strerror or error}"
        ) from error
    with store.locked():
        text = recorded(sweep.source, only_here=True)  # arguments may be anything
        write_whole(store.path / sweep.copy_name, lambda path: path.write_text(text, encoding="utf-8"))
