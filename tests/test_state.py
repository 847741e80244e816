"""Nested data as bytes."""

import pickle
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clbench.errors import StateError
from clbench.seeding import global_states, set_global_states
from clbench.state import MAGIC, from_bytes, to_bytes

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(NESTED)
def test_plain_data_comes_back_in_value_and_kind(data):
    assert repr(from_bytes(to_bytes(data))) == repr(data)  # repr tells -0.0 from 0.0 and knows NaN


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool],
)
def test_tensors_come_back_to_the_bit(dtype):
    tensor = torch.randn(3, 4).to(dtype)
    for one in (tensor, tensor.t(), tensor[1:, ::2], tensor.new_empty(0, 3), tensor.sum().to(dtype)):
        found = from_bytes(to_bytes({"x": one}))["x"]
        assert found.dtype == one.dtype
        assert found.shape == one.shape
        assert torch.equal(found, one)


def test_two_names_for_one_tensor_and_parameters():
    shared = torch.nn.Parameter(torch.ones(2))
    found = from_bytes(to_bytes(OrderedDict(a=shared, b=shared)))
    assert torch.equal(found["a"], found["b"])
    assert not found["a"].requires_grad


@pytest.mark.parametrize("dtype", ["f4", "f8", "u4", "i8", "?", "c16", ">f4"])
def test_arrays_come_back_to_the_bit(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for one in (array, array.T, array[:0], array[0, 1], np.array(array[0, 0])):
        found = from_bytes(to_bytes([one]))[0]
        assert type(found) is type(one)
        assert found.dtype == one.dtype
        assert np.array_equal(found, one)


def test_what_cannot_be_kept_is_named():
    with pytest.raises(StateError, match=r"state\['a'\]\[1\].*\bobject\b"):
        to_bytes({"a": [1, object()]})
    with pytest.raises(StateError, match=r"\bset\b"):
        to_bytes({1, 2})
    with pytest.raises(StateError, match=r"\bndarray\b"):
        to_bytes(np.array([object()]))
    with pytest.raises(StateError, match=r"\bTensor\b"):
        to_bytes(torch.eye(2).to_sparse())


class Exploding:
    def __reduce__(self):
        return (pytest.fail, ("code of the state was run",))


def test_nothing_is_unpickled(tmp_path):
    torch.save({"x": Exploding()}, tmp_path / "torch")
    for raw in (pickle.dumps(Exploding()), (tmp_path / "torch").read_bytes(), b"", b"\n", MAGIC):
        with pytest.raises(StateError, match=r"\bversion\b"):
            from_bytes(raw)


@given(st.data())
def test_any_damage_is_found(data):
    whole = to_bytes({"x": torch.arange(20), "y": [1.5, "z"]})
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:at]
    else:
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    with pytest.raises(StateError, match="state"):
        from_bytes(damaged)


def test_a_well_signed_but_senseless_body_is_refused():
    import hashlib

    for body in (b"{}", b"\xff" * 100):
        with pytest.raises(StateError, match=r"\bstate\b.*Error: "):
            from_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def test_global_generators_go_on_where_they_were():
    kept = from_bytes(to_bytes(global_states()))

    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()

    first = draw()
    assert draw() != first
    set_global_states(kept)
    assert draw() == first
