"""Facts about this machine and installation that a run records; its threads, and waiting for its devices."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch",
    "torchvision",
    "gymnasium",
    "numpy",
    "scipy",
    "pandas",
    "mlxtend",
    "matplotlib",
)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many CPU threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SEEN = {"cpu"}
"""Kinds of device whose numbers the host can look at without waiting; nor could a step be recorded in which it does."""


def seen(device: str) -> bool:
    """Tell whether the host may look at a device's numbers at any time; `device` is "cpu", "cuda:1" or the like."""
    return device.partition(":")[0] in SEEN


def wait_for(device: str) -> None:
    """Return when a device has done what it was given; the CPU always has."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


def versions() -> dict[str, str]:
    """Return versions of Python and of the packages that results may depend on."""
    import clbench

    found = {"python": platform.python_version(), "clbench": clbench.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware(device: str) -> dict[str, str | int]:
    """Return platform, processor, cores, and the accelerator if `device` is one."""
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
    """Return commit and cleanness of the repository that `folder` is in, None if in none."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {
            "commit": commit,
            "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no")),
        }
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
