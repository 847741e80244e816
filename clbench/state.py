"""Nested data with tensors and arrays as bytes: damage is detected, and nothing in it is run when it is read.

The bytes are a line with the SHA-256 of what follows, then a safetensors file (https://huggingface.co/docs/safetensors)
with the tensors, and one more tensor that holds the nesting as JSON.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from clbench.errors import StateError

MAGIC = b"clbench-state-1 "
TREE = "tree"
TAG = "~"
KINDS = "tensors, arrays, numbers, strings, bytes, None, lists, tuples and dicts"


def to_bytes(data: object) -> bytes:
    """Return nested data of `KINDS` as bytes, exactly; `StateError` says where anything else is."""
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_encode(data, tensors, "state"))
    tensors[TREE] = torch.frombuffer(bytearray(tree.encode()), dtype=torch.uint8)
    try:
        body = save(tensors)
    except Exception as error:
        raise StateError(f"the state has a tensor that cannot be saved: {error}") from error
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def from_bytes(raw: bytes) -> Any:  # noqa: ANN401 - the caller knows what it saved
    """Return what `to_bytes` was given, with tensors on the CPU; `StateError` if the bytes are damaged."""
    from safetensors.torch import load

    head, newline, body = raw.partition(b"\n")
    if not newline or not head.startswith(MAGIC):
        raise StateError("the state is from another version")
    if hashlib.sha256(body).hexdigest().encode() != head[len(MAGIC) :]:
        raise StateError("the state is damaged: its checksum differs")
    try:
        tensors = load(body)
        return _decode(json.loads(bytes(tensors[TREE].numpy())), tensors)
    except Exception as error:
        raise StateError(f"the state cannot be read: {type(error).__name__}: {error}") from error


def _encode(value: object, tensors: dict[str, torch.Tensor], where: str) -> object:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_encode(item, tensors, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, torch.Tensor) and value.layout is torch.strided:
        key = str(len(tensors))
        # A copy, since the format has no views, and no tensors that share memory.
        tensors[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {TAG: "tensor", "key": key}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        key, array = str(len(tensors)), np.array(value, order="C")
        tensors[key] = torch.from_numpy(array.reshape(-1).view(np.uint8))
        kind = "array" if isinstance(value, np.ndarray) else "number"
        return {TAG: kind, "key": key, "dtype": array.dtype.str, "shape": list(array.shape)}
    if isinstance(value, bytes):
        return {TAG: "bytes", "hex": value.hex()}
    if type(value) is tuple:
        return {TAG: "tuple", "items": _encode(list(value), tensors, where)}
    if isinstance(value, Mapping):
        pairs = [
            [_encode(key, tensors, f"a key of {where}"), _encode(item, tensors, f"{where}[{key!r}]")]
            for key, item in value.items()
        ]
        return {TAG: "dict", "items": pairs}
    raise StateError(f"{where} is a {type(value).__name__}: a state can hold only {KINDS}")


def _decode(tree: object, tensors: Mapping[str, torch.Tensor]) -> object:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree[TAG]
    if kind == "tensor":
        return tensors[tree["key"]]
    if kind in ("array", "number"):
        raw = tensors[tree["key"]].numpy().tobytes()
        array = np.frombuffer(raw, dtype=np.dtype(tree["dtype"])).reshape(tree["shape"]).copy()
        return array if kind == "array" else array[()]
    if kind == "bytes":
        return bytes.fromhex(tree["hex"])
    if kind == "tuple":
        return tuple([_decode(item, tensors) for item in tree["items"]])
    return {_decode(key, tensors): _decode(value, tensors) for key, value in tree["items"]}
