"""The notebook of the guides runs in a Jupyter kernel, and leaves what it says."""

import json
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parent.parent / "docs" / "guide" / "notebook.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook, folder


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.docs
def test_the_notebook_of_the_guides_runs(executed):
    notebook, folder = executed
    data = [output.get("data", {}) for output in outputs(notebook)]
    assert any("data:image/png" in each.get("text/html", "") for each in data)
    assert any(
        "done" in each.get("text/plain", "") and "steps/s" in each.get("text/plain", "") for each in data
    )
    assert sum("image/png" in each for each in data) == 1
    assert (folder / "curves.pdf").read_bytes()[:4] == b"%PDF"
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("results/*/*/run.json")]
    assert [run["status"] for run in runs] == ["complete", "complete"]


def test_the_outputs_are_kept_and_show_no_failure():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kinds = [output.output_type for output in outputs(notebook)]
    assert "execute_result" in kinds
    assert "error" not in kinds
    assert "\\u001b" not in NOTEBOOK.read_text(encoding="utf-8")
