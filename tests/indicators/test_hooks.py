"""Which hooks only look: by their code, on every version of Python."""

import functools

import pytest
import torch
from torch.nn import functional as F

from clbench.indicators.hooks import only_looks

kept, seen, counts, dead = {}, [], {"calls": 0}, 1


class Watcher:
    """Hooks of an object, which may write to itself."""

    def __init__(self):
        self.calls, self.outputs = 0, {}

    def __call__(self, module, given, output):
        self.calls += 1

    def keep(self, module, given, output):
        self.outputs["last"] = output

    def changes(self, module, given, output):
        return 2 * output

    def register(self):
        """As some projects do: closures that pass on to a function around them, which returns nothing."""

        def keep(module, given, output, name):
            if self.calls:
                self.outputs[name] = output

        return lambda module, given, output, name="fc": keep(module, given, output, name)


class Heir(Watcher):
    """Its `__call__` is inherited."""


def keeps(module, given, output):
    kept["last"] = output.detach()


def keeps_by_module(module, given, output):
    kept[module] = output


def keeps_a_local(module, given, output):
    mean = output.mean()
    kept["mean"] = mean


def counts_up(module, given, output):
    counts["calls"] += 1


def looks_in_training(module, given, output):
    if not module.training:
        return
    seen.append(output)


@torch.no_grad()
def wrapped(module, given, output):
    seen.append(output)


def passes_on(module, given, output):
    return keeps(module, given, output)


def passes_itself_on(module, given, output):
    return passes_itself_on(module, given, output)


watcher = Watcher()
LOOKING = [
    Watcher(),
    Heir(),
    Watcher().keep,
    keeps,
    keeps_by_module,
    keeps_a_local,
    counts_up,
    looks_in_training,
    wrapped,
    lambda module, given, output: seen.append(output.detach()),
    lambda *_: seen.append(1),
    lambda module, given, output: print(output),
    functools.partial(lambda name, module, given, output: seen.append(name), "fc"),
    Watcher().register(),
    passes_on,
    lambda module, given, output: passes_on(module, given, output.detach()),
    lambda module, given, output: watcher.keep(module, given, +output),
    lambda module, given, output: watcher(module, given, +output),
]


def writes_items(module, given, output):
    output[:, 0] = 0


def writes_by_name(module, given, output):
    output[:, dead] = 0


def writes_where(module, given, output):
    output[output > 1] = 0


def writes_a_slice(module, given, output):
    output[1:] = 0


def adds_to_items(module, given, output):
    output[0] += 1


def adds(module, given, output):
    output += 1


def writes_inputs(module, given, output):
    given[0][:, 0] = 0


def writes_by_another_name(module, given, output):
    same = output
    same[0] = 1


def multiplies(module, given, output):
    output.mul_(2)


def sets_an_attribute(module, given, output):
    module.scale = 2.0


def sets_by_name(module, given, output):
    setattr(module, "scale", 2.0)  # noqa: B010


def sets_data(module, given, output):
    module.weight.data = output


def by_option(module, given, output):
    F.relu(output, inplace=True)


def to_output(module, given, output):
    torch.mul(output, 2, out=output)


def returns(module, given, output):
    seen.append(output)
    return torch.sigmoid(output)


CHANGING = [
    writes_items,
    writes_by_name,
    writes_where,
    writes_a_slice,
    adds_to_items,
    adds,
    writes_inputs,
    writes_by_another_name,
    multiplies,
    sets_an_attribute,
    sets_by_name,
    sets_data,
    by_option,
    to_output,
    returns,
    lambda module, given, output: 3 * output,
    lambda module, given, output: F.relu(output),
    lambda module, given, output: seen.append(output) or 2 * output,
    lambda module, given, output: F.dropout(seen.append(output), output),
    torch.sigmoid,
    passes_itself_on,
    lambda module, given, output: returns(module, given, +output),
    lambda module, given, output: adds(module, given, +output),
    lambda module, given, output: keeps(module, given, output.mul_(2)),
    lambda module, given, output: watcher.changes(module, given, +output),
    lambda module, given, output: watcher.missing(module, given, +output),
    lambda module, given, output: not_there(module, given, +output),  # noqa: F821
    lambda module, given, output: keeps(module, given, output) or output,
    lambda module, given, output: 2 * keeps(module, given, output),
]


@pytest.mark.parametrize("hook", LOOKING, ids=range(len(LOOKING)))
def test_hooks_that_only_look(hook):
    assert only_looks(hook)


@pytest.mark.parametrize("hook", CHANGING, ids=range(len(CHANGING)))
def test_hooks_that_may_change_something(hook):
    assert not only_looks(hook)
