"""The models that the suite asks: each as tensors, as ONNX nodes and as a function over arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

Arrays = Mapping[str, Any]
Compute = Callable[[Arrays, Mapping[str, Any], int], dict[str, Any]]
"""Inputs, request parameters and the model's version, to outputs."""

KINDS = {
    "BOOL": TensorProto.BOOL,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
LABELS = ("ash", "birch", "cedar", "elm")
TABLE = np.arange(6, dtype=np.float32).reshape(3, 2)


@dataclass(frozen=True)
class Tensor:
    name: str
    datatype: str
    dims: tuple[int | str, ...]
    """Without the batch dimension; a name is a dynamic one."""
    optional: bool = False
    reshaped: bool = False
    """Requests carry one element a row; the model takes the rows alone."""
    labelled: bool = False


@dataclass(frozen=True)
class Model:
    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    compute: Compute
    nodes: tuple[onnx.NodeProto, ...] = ()
    """Without any it is Python in either form."""
    constants: Callable[[int], dict[str, np.ndarray]] = lambda version: {}
    versions: tuple[int, ...] = (1,)


def _same(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"y": inputs["x"]}


def _pair(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"sum": inputs["a"] + inputs["b"], "difference": inputs["a"] - inputs["b"]}


def _mixed(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"number": -inputs["count"], "same": inputs["text"], "double": 2 * inputs["x"]}


def _transposed(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"y": inputs["x"].swapaxes(-1, -2).copy()}


def _shifted(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"y": inputs["x"] + inputs.get("shift", 10)}


def _versioned(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"y": inputs["x"] + version}


def _lookup(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    return {"row": table[inputs["index"].reshape(-1)]}


def _found(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"where": inputs["x"].nonzero()[0].astype(np.int64).reshape(1, -1)}


def _scaled(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {"y": inputs["x"] * np.float32(parameters.get("factor", 1))}


def _slow(inputs: Arrays, parameters: Mapping[str, Any], version: int) -> dict[str, Any]:
    time.sleep(float(inputs["x"].max()) / 1e3)
    return {"y": inputs["x"]}


def _same_node() -> tuple[onnx.NodeProto, ...]:
    return (helper.make_node("Identity", ["x"], ["y"]),)


def _one(datatype: str, *dims: int | str, name: str = "x", **more: Any) -> tuple[Tensor, ...]:
    return (Tensor(name, datatype, dims, **more),)


ECHOES = tuple(
    Model(
        f"echo_{datatype.lower()}",
        8,
        _one(datatype, "n"),
        _one(datatype, "n", name="y"),
        _same,
        _same_node(),
    )
    for datatype in KINDS
)
"""``echo_<type>``: ``x`` [-1, -1] comes back as ``y``; at most 8 rows."""

MODELS = (
    *ECHOES,
    Model(
        "pair",
        16,
        (*_one("FP32", 4, name="a"), *_one("FP32", 4, name="b")),
        (*_one("FP32", 4, name="sum"), *_one("FP32", 4, name="difference")),
        _pair,
        (
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["difference"]),
        ),
    ),
    Model(
        "mixed",
        8,
        (
            *_one("BYTES", 2, name="text"),
            *_one("FP32", "n"),
            *_one("INT64", 1, name="count"),
        ),
        (
            *_one("INT64", 1, name="number"),
            *_one("BYTES", 2, name="same"),
            *_one("FP32", "n", name="double"),
        ),
        _mixed,
        (
            helper.make_node("Neg", ["count"], ["number"]),
            helper.make_node("Identity", ["text"], ["same"]),
            helper.make_node("Add", ["x", "x"], ["double"]),
        ),
    ),
    Model(
        "labelled",
        8,
        _one("FP32", 4),
        _one("FP32", 4, name="y", labelled=True),
        _same,
        _same_node(),
    ),
    Model(
        "scalars",
        8,
        _one("FP32", 1, reshaped=True),
        _one("FP32", 1, name="y", reshaped=True),
        _same,
        _same_node(),
    ),
    Model(
        "images",
        4,
        _one("UINT8", "h", "w"),
        _one("UINT8", "w", "h", name="y"),
        _transposed,
        (helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1]),),
    ),
    Model(
        "whole",
        0,
        _one("INT32", 2, 3),
        _one("INT32", 3, 2, name="y"),
        _transposed,
        (helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0]),),
    ),
    Model(
        "found",
        0,
        _one("FP32", "n"),
        _one("INT64", 1, "count", name="where"),
        _found,
        (helper.make_node("NonZero", ["x"], ["where"]),),
    ),
    Model(
        "optional",
        0,
        (*_one("FP32", 2), *_one("FP32", 1, name="shift", optional=True)),
        _one("FP32", 2, name="y"),
        _shifted,
        (helper.make_node("Add", ["x", "shift"], ["y"]),),
        # An input that is a constant as well has it for a default.
        lambda version: {"shift": np.array([10], np.float32)},
    ),
    Model(
        "lookup",
        0,
        _one("INT64", 1, name="index"),
        _one("FP32", 1, 2, name="row"),
        _lookup,
        (helper.make_node("Gather", ["table", "index"], ["row"]),),
        lambda version: {"table": TABLE},
    ),
    Model(
        "versions",
        8,
        _one("FP32", 1),
        _one("FP32", 1, name="y"),
        _versioned,
        (helper.make_node("Add", ["x", "version"], ["y"]),),
        lambda version: {"version": np.array([version], np.float32)},
        versions=(1, 3),
    ),
    Model("blob", 8, _one("BYTES", "n"), _one("BYTES", "n", name="y"), _same),
    Model("scaled", 8, _one("FP32", 1), _one("FP32", 1, name="y"), _scaled),
    Model("slow", 4, _one("FP32", 1), _one("FP32", 1, name="y"), _slow),
)
