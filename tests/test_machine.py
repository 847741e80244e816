import os
import subprocess

import torch

from clbench.machine import can_read, cores, git_state, hardware, no_reads, versions


def test_versions_name_what_results_depend_on():
    found = versions()
    assert {"python", "clbench", "torch", "numpy", "gymnasium"} <= set(found)
    assert all(found.values())


def test_hardware_and_cores():
    assert hardware("cpu")["cores"] == cores() <= (os.cpu_count() or 1)
    assert hardware("cpu")["processor"]


def test_git_state(tmp_path):
    assert git_state(tmp_path) is None
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    clean = git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "file").write_text("1", encoding="utf-8")
    subprocess.run([*git, "add", "file"], cwd=tmp_path, check=True)
    assert git_state(tmp_path)["dirty"] is True


def test_the_host_reads_from_the_cpu_only():
    assert can_read("cpu")
    assert can_read(torch.device("cpu"))
    assert not can_read("cuda:1")
    with no_reads():
        assert not can_read("cpu")
    assert can_read("cpu")
