"""Run learners of other projects, each from a checkout: measured, scheduled, interrupted and resumed.

Each needs the packages that its project imports: see docs/guide/agents.md.
"""

import argparse
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.peers.running import PEERS, Row, examine
from benchmarks.peers.table import details, table, write

PACKAGES = ("torch", "numpy", "jax", "flax", "optax")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--checkouts", type=Path, required=True, help="folder with a checkout of each project"
    )
    parser.add_argument("--only", choices=PEERS, action="append", help="a learner; may be repeated")
    parser.add_argument("--out", type=Path, help="folder for peers.csv and peers.md")
    options = parser.parse_args()
    torch.set_num_threads(1)  # as workers do
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore", FutureWarning)  # of their use of PyTorch
    rows: list[Row] = []
    for name in options.only or PEERS:
        rows.append(examine(name, options.checkouts))
        print(details(rows[-1]), flush=True)
        if options.out is not None:
            write(options.out, rows, versions())
    print(f"\n{table(rows)}")
    return int(not all(row.commit for row in rows))


def versions() -> Mapping[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
