"""An agent's module may set PyTorch's default device and dtype: nothing of the product goes by them."""

import ast
from pathlib import Path

import pytest
import torch

import clbench
from tests.cases import SHORT

ROOT = Path(__file__).parent.parent
SOURCES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("clbench", "agents")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# What makes a tensor on the default device unless told another; the first ones also of the default dtype.
OF_DEFAULT_DTYPE = {
    "empty",
    "eye",
    "full",
    "linspace",
    "logspace",
    "normal",
    "ones",
    "rand",
    "randn",
    "zeros",
}
FACTORIES = OF_DEFAULT_DTYPE | {
    *("arange", "as_tensor", "asarray", "empty_strided", "randint", "randperm", "range", "scalar_tensor"),
    *("tensor", "tril_indices", "triu_indices", "Generator"),
}
LAYERS = {
    name
    for name in vars(torch.nn)
    if name.startswith(("Linear", "Conv", "BatchNorm", "LayerNorm", "Embedding"))
}


def places_without_device(source):
    """Lines of calls that leave the device, or the dtype of numbers, to PyTorch's default."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        owner, _, last = name.rpartition(".")
        given = {keyword.arg for keyword in node.keywords}
        if None in given:  # **options
            continue
        made = owner == "torch" and last in FACTORIES
        layer = owner in ("nn", "torch.nn") and last in LAYERS
        if (made or layer) and (
            "device" not in given or ("dtype" not in given and (layer or last in OF_DEFAULT_DTYPE))
        ):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", SOURCES)
def test_every_factory_call_names_its_device(path):
    assert places_without_device((ROOT / path).read_text(encoding="utf-8")) == []


def test_the_check_finds_what_it_looks_for():
    source = """
torch.zeros(3)
torch.zeros(3, device=x.device)
torch.zeros(3, device=x.device, dtype=x.dtype)
torch.tensor([1], device=x.device)
torch.as_tensor(obs)
torch.Generator()
nn.Linear(2, 3)
torch.nn.Linear(2, 3, **options)
x.new_zeros(3)
"""
    assert places_without_device(source) == [
        "line 2: torch.zeros",
        "line 3: torch.zeros",
        "line 6: torch.as_tensor",
        "line 7: torch.Generator",
        "line 8: nn.Linear",
    ]


AGENT = """
import torch
from torch import nn
from torch.nn import functional as F

{first}

class Agent:
    def __init__(self, spec, seed, every=None):
        options = {{"device": spec.device, "dtype": torch.float32}}
        generator = torch.Generator(device="cpu").manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(784, 6, **options), nn.Tanh(), nn.Linear(6, 10, **options))
        with torch.no_grad():
            for value in self.model.parameters():
                value.normal_(0, 0.1, generator=generator)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def act(self, obs):
        self.inputs = torch.from_numpy(obs)
        self.logits = self.model(self.inputs)
        return self.logits.detach()

    def learn(self, targets):
        loss = F.cross_entropy(self.logits, torch.from_numpy(targets))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
"""


@pytest.fixture
def defaults_kept():
    """PyTorch's default device and dtype, put back afterwards."""
    before = torch.get_default_device(), torch.get_default_dtype()
    yield
    torch.set_default_device(before[0])
    torch.set_default_dtype(before[1])


def evaluated(folder, first, agents, **options):
    """All numbers of a run of the example's agent and some of ours, and what could not be measured."""
    folder.mkdir()
    (folder / "agent.py").write_text(AGENT.format(first=first), encoding="utf-8")
    evaluation = clbench.evaluate(
        [f"{folder / 'agent.py'}:Agent", *agents],
        device="cpu",
        out=folder,
        workers=1,
        **{**SHORT, "epochs_per_task": 1, **options},
    )
    assert evaluation.failures == ()
    records = [
        (one.agent.split(".")[-1], one.seed, one.task, one.accuracy, one.final_epoch_accuracy, one.loss)
        for one in evaluation.records
    ]
    measured = [
        (one.agent.split(".")[-1], one.seed, one.task, one.step, one.layer, one.indicator, one.value)
        for one in evaluation.indicator_records
    ]
    return records, measured, list(evaluation.undefined.values())


DEFAULTS = ['torch.set_default_device("meta")', "torch.set_default_dtype(torch.float64)"]
CASES = {
    "learners": (["agents.vanilla", "agents.batchnorm"], {"seeds": 2}),
    "scheduler, all indicators": (
        ["agents.perlayer"],
        {"seeds": 1, "num_tasks": 1, "indicators": "all", "arguments": {"every": 2}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_results_do_not_depend_on_defaults(case, tmp_path, inline, small_networks, defaults_kept):
    agents, options = CASES[case]
    expected = evaluated(tmp_path / "without", "", agents, **options)
    assert len(expected[1]) > 100
    for place, first in enumerate(DEFAULTS):
        torch.set_default_device("cpu")
        found = evaluated(tmp_path / str(place), first, agents, **options)
        assert torch.zeros(1).device.type == "meta" or torch.zeros(1).dtype == torch.float64
        assert found == expected, first
