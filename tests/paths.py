"""Runs with private paths, on the machine of the fixture `machine`, and what looks for such paths in files."""

import pytest
from PIL import Image

import clbench
from clbench.errors import AgentError

TINY = {
    "seeds": 1,
    "num_tasks": 2,
    "epochs_per_task": 1,
    "num_samples": 600,
    "batch_size": 100,
    "device": "cpu",
}
AGENT = """
import pathlib

import numpy


class Agent:
    def __init__(self, spec, seed, gate="", weights=""):
        self.size, self.gate, self.steps = spec.batch_size, gate, 0

    def act(self, obs):
        return numpy.zeros(self.size, int)

    def learn(self, targets):
        self.steps += 1
        if self.gate and self.steps > 6 and not pathlib.Path(self.gate).exists():
            raise FileNotFoundError(2, "no gate", self.gate)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
"""


def absolute(machine, seeds=1, **arguments):
    """An evaluation with everything that can be a path given as an absolute one."""
    return clbench.evaluate(
        f"{machine}/private/mine.py:Agent",
        **{**TINY, "seeds": seeds},
        source="torchvision",
        data_dir=str(machine / "images"),
        arguments={"weights": f"{machine}/private/w.pt", **arguments},
        indicators="none",
        out=machine / "out",
    )


def failed_run(machine):
    """The folder of a run that failed in its second task, since its gate was shut; it is open afterwards."""
    gate = machine / "private" / "gate.txt"
    with pytest.raises(AgentError) as caught:
        absolute(machine, gate=str(gate))
    gate.touch()
    return caught.value.evaluation.folder


def words_in(picture):
    """The texts in a PNG file."""
    with Image.open(picture) as image:
        return " ".join(f"{key} {value}" for key, value in image.info.items())


def assert_holds_no_path(folder, machine):
    """Outside `state/`, no file and no file's name tells of the machine."""
    private = [str(machine), str(machine.parent), "alice", "private", machine.parent.as_uri()]
    files = [path for path in folder.rglob("*") if path.is_file() and "state" not in path.parts]
    assert files
    for path in files:
        text = path.read_bytes().decode("latin-1")
        if path.suffix == ".png" and text:
            text = words_in(path)
        name = path.relative_to(folder).as_posix()
        assert [word for word in private if word in text or word in name] == [], name
