"""Draw all kept figures anew: `python docs/redraw.py`, after a change of how figures look. Nothing is run."""

import math
import sys
from pathlib import Path

from clbench.engine.session import draw
from clbench.results import RunFolder

MNIST_CLASSES = 10  # the older runs, all of MNIST, do not record it
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from studies.noise_curvature.claims import PICTURE  # noqa: E402 - the clone's
from studies.noise_curvature.figures import FIGURES  # noqa: E402
from studies.noise_curvature.scale import SEEDS, Scale  # noqa: E402
from studies.noise_curvature.tables import draw_figure, read_numbers, scales_in  # noqa: E402


def redraw_run(folder: RunFolder) -> None:
    """Draw the figures of a run, or of several in one folder."""
    manifests = folder.read_manifests()
    agents = [manifest.config.agent.name for manifest in manifests]
    records, indicators = folder.read_tasks(), folder.read_indicators()
    chance = 1 / MNIST_CLASSES if math.isnan(manifests[0].chance) else manifests[0].chance
    draw(folder, records, indicators, agents, manifests[0].describe(), chance)


def redraw_reproduction(out: Path) -> None:
    """Draw the figures of the reproduction from their tables."""
    for name in scales_in(FIGURES.values(), out):
        for figure in FIGURES.values():
            made = read_numbers(figure, out, name)
            if made is not None:
                draw_figure(figure, *made, scale_of(name), out / name / f"{figure.name}{PICTURE}")


def scale_of(name: str) -> Scale:
    """Return the scale with a name such as "standard,num_tasks=4,seeds=1"."""
    protocol, *settings = name.split(",")
    numbers = {key: int(value) for key, _, value in (setting.partition("=") for setting in settings)}
    return Scale(protocol, numbers.pop(SEEDS.rstrip("="), None), numbers)


def main() -> None:
    for path in sorted((ROOT / "docs" / "results").rglob("run.json")):
        redraw_run(RunFolder(path.parent))
    redraw_reproduction(ROOT / "docs" / "reproduction")


if __name__ == "__main__":
    main()
