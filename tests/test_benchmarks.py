"""What measures speed: that it measures what it says. Nothing here asserts a time."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import loops, measuring
from benchmarks.__main__ import SECTIONS, line, main
from benchmarks.measuring import Row, compare, cpu_seconds, family, ratio_row, take_turns
from clbench.data import load_images, sources


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def loop(self, *spans):
        for span in itertools.cycle(spans):
            self.now += span
            yield


def test_turns_are_timed_and_the_first_is_not_counted(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measuring.time, "perf_counter", clock)
    monkeypatch.setattr(measuring.time, "process_time", lambda: clock() / 2)
    warming = (5.0, 5.0, *[0.002] * 100)
    times = take_turns({"slow": clock.loop(*warming), "fast": clock.loop(0.001)}, rounds=4, steps=2)
    assert times["wall"]["slow"] == pytest.approx([2.0] * 4)
    assert times["cpu"]["fast"] == pytest.approx([0.5] * 4)
    row = compare("steps", "S=1", times, "slow", "fast", target="<= 3")
    assert (row.ratio, row.low, row.high, row.unit_ms) == (2.0, 2.0, 2.0, 2.0)


def test_medians_and_quartiles_are_of_the_ratios_not_of_the_times():
    pairs = [(1.0, 1.0), (20.0, 10.0), (300.0, 100.0), (4000.0, 1000.0), (5.0, 1.0)]
    row = ratio_row("a", "b", pairs, "c", "d")
    assert (row.ratio, row.low, row.high) == (3.0, 2.0, 4.0)
    assert "3" in line(row)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_cpu_time_of_workers_is_counted(start_python):
    code = (
        "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
        "print(flush=True)\ninput()"
    )
    process = start_python("-c", code, stdin=subprocess.PIPE)
    process.stdout.readline()
    assert process.pid in family(measuring.os.getpid())
    assert cpu_seconds(process.pid) >= 0.25
    process.communicate("\n")
    assert cpu_seconds(process.pid) == 0.0


def test_the_research_script_sees_the_images_that_we_see():
    """The same pixels, normalised with the usual constants instead of the images' own."""
    loop = loops.research(workers=0)
    seen = {}
    linear = torch.nn.functional.linear

    def spy(inputs, weight, bias=None):
        if inputs.shape == (loops.BATCH, 784):
            seen["inputs"] = inputs.detach()
        return linear(inputs, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", spy)
        next(loop)
    images = load_images("embedded").inputs.flatten(1)

    def pixels(inputs):
        """Back to 0 ... 255, whatever the normalisation."""
        low, high = inputs.min(), inputs.max()
        return ((inputs - low) / (high - low) * 255).round().to(torch.uint8)

    known = {row.numpy().tobytes() for row in pixels(images)}
    assert all(row.numpy().tobytes() in known for row in pixels(seen["inputs"]))


class Products(TorchDispatchMode):
    """Counts multiplications of matrix products."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            left, right = args[-2:]
            self.count += left.shape[0] * left.shape[1] * right.shape[1]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("loop", [loops.bare(), loops.ours(), loops.apart(1)])
def test_matrix_products_are_those_of_a_step(loop):
    limit = loops.products()
    counts = []
    for one in (loop, limit):
        next(one)
        with Products() as products:
            next(one)
        counts.append(products.count)
    assert counts[0] == counts[1] > 0


def test_a_small_table(tmp_path, monkeypatch, capsys):
    row = Row("steps", "clbench", "bare loop", "S=1", "wall", 1.05, 1.0, 1.1, 6.0, "<= 1.15")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "steps", "--out", str(tmp_path)])
    monkeypatch.setitem(SECTIONS, "steps", lambda rounds, device: iter([row]))
    main()
    assert "clbench" in capsys.readouterr().out
    found = json.loads((tmp_path / "cpu.json").read_text(encoding="utf-8"))
    assert found["rows"] == [vars(row)]
    assert torch.__version__.startswith(found["versions"]["torch"])
    table = (tmp_path / "cpu.md").read_text(encoding="utf-8")
    assert "| steps | clbench | bare loop | S=1 | wall | 1.05 | 1 to 1.1 | 6 | <= 1.15 |" in table
    assert "`python -m benchmarks --only steps --out " in table


def test_without_the_images_it_says_so_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLBENCH_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sources.CACHE, "_data", {})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert str(tmp_path) in line
