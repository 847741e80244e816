"""What runs really record is what figures look for."""

import shutil

import pytest

import clbench
from studies.noise_curvature.claims import judge
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.frames import gather
from studies.noise_curvature.scale import Scale
from tests.cases import small_networks
from tests.inline import in_this_process

pytestmark = pytest.mark.process
LENGTH = {"num_tasks": 4, "epochs_per_task": 4, "num_samples": 500, "batch_size": 50}  # a decision per task
GAP = """
from clbench import indicators


def gap(at):
    return {layer: 2 * norm for layer, norm in indicators.weight_norm(at.model).items()}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a run without scheduler and of one with it; every indicator is measured, and a user's own."""
    out = tmp_path_factory.mktemp("runs")
    (out / "mine.py").write_text(GAP, encoding="utf-8")
    scale = Scale(seeds=1, changes=LENGTH, device="cpu", indicators=(f"{out / 'mine.py'}:gap",))
    cells = [scale.request("agents.l2", scheduler=name) for name in ("none", "per-layer")]
    with in_this_process(), small_networks():
        done = clbench.sweep({"name": "real", "cell": cells}, out=out, workers=1)
    assert not done.failures
    return dict(zip(("none", "per-layer"), sorted(done.folder.glob("agents*"), key=scheduled), strict=True))


def scheduled(folder):
    return '"scheduler": "per-layer"' in (folder / "run.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_finds_its_indicators(name, runs, tmp_path):
    figure, folders = FIGURES[name], {}
    for number, (key, request) in enumerate(figure.requests(Scale()).items()):
        plain = request["arguments"].get("scheduler", "none") == "none"
        folders[key] = shutil.copytree(runs["none" if plain else "per-layer"], tmp_path / f"{number}")
    data = figure.data(gather(figure.by, folders))
    assert {"run", "seed", "task"} <= set(data.columns)
    numbers = figure.summary(data) if figure.summary else data
    notes = [judge(claim, numbers, "paper", "").measured.note for claim in figure.claims]
    assert not [note for note in notes if "no finished run" in note or "fewer than two" in note]
    figure.draw(numbers, "title").canvas.draw()
    if name == "predictors":
        assert any(one.endswith("mine.py:gap") for one in numbers["indicator"])
        assert {"rho", "sharpness", "noise_bound", "volatility", "hessian_rank"} <= set(numbers["indicator"])
