"""RandomLabelMNIST: the same images, new random targets at every task."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clbench.errors import OptionError
from clbench.streams.base import Stream, Task


class RandomLabel(Stream):
    """At each task start a fraction of the targets is redrawn uniformly from the classes, i.i.d.

    With the default fraction of 1, every task is to memorise noise, and equally hard for a fresh network: a drop in
    accuracy along the stream is a loss of the ability to learn.

    Source: Baveja et al., arXiv 2509.19698, App. A; Lyle et al.,
    "Understanding Plasticity in Neural Networks", ICML 2023.
    """

    options = {"relabel_fraction": 1.0}
    can_replay = True

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        fraction = options["relabel_fraction"]
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
            raise OptionError(f"relabel_fraction={fraction!r} is not a number above 0 and at most 1")

    def draw_task(self, rng: np.random.Generator, rows: np.ndarray, previous: Task | None) -> Task:
        """Redraw round(relabel_fraction * N) of the previous targets, of the true labels in the first task."""
        targets = self.true_labels(rows) if previous is None else previous.targets.copy()
        count = round(self.spec.options["relabel_fraction"] * len(rows))
        chosen = rng.permutation(len(rows))[:count]
        targets[chosen] = rng.integers(self.data.num_classes, size=count)
        return Task(rows, targets)
