"""Facts about this machine and installation; threads and devices."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "gymnasium", "numpy", "scipy", "pandas", "mlxtend", "matplotlib")


def cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_no_reads = ContextVar("no_reads", default=False)


def can_read(device: "torch.device | str") -> bool:
    """Return whether the host can read numbers on a device without waiting for it; on the CPU, unless `no_reads`."""
    return str(device).startswith("cpu") and not _no_reads.get()


@contextlib.contextmanager
def no_reads() -> Iterator[None]:
    """Treat the CPU like a GPU, whose numbers the host does not read in a step that may be recorded."""
    token = _no_reads.set(True)
    try:
        yield
    finally:
        _no_reads.reset(token)


def wait_for(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


def versions() -> dict[str, str]:
    import clbench

    installed = {"python": platform.python_version(), "clbench": clbench.__version__}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def hardware(device: str) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
    }
    if device.startswith("cuda"):
        import torch

        facts["accelerator"] = torch.cuda.get_device_name(device)
    return facts


def git_state(folder: Path) -> dict[str, str | bool] | None:
    """Return the commit of the Git repository around `folder`, and whether files were changed; None outside of one."""
    try:
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return {"commit": _git(folder, "rev-parse", "HEAD"), "dirty": bool(changes)}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
