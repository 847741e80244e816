"""The values that `fill.py` writes into README and guides, from the runs kept under `docs/` or from the code."""

from values import defaults, peers, reproduction, runs, speed
from values.base import VALUES

__all__ = ["VALUES", "defaults", "peers", "reproduction", "runs", "speed"]
