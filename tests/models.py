"""Small ONNX models for tests, and repositories to put them in."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str]
"""Sizes, or names of dynamic dimensions."""

TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
"""The protocol's datatypes."""


def tensor(name: str, datatype: str, dims: Dims | None) -> Any:
    """A ValueInfoProto; ``dims`` None: of unknown shape."""
    return helper.make_tensor_value_info(name, TYPES[datatype], dims)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
) -> bytes:
    """A serialised model of opset 17."""
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(constants))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def mlp(sizes: Sequence[int] = (4, 8, 3), seed: int = 0) -> bytes:
    """FP32 ``x`` [batch, sizes[0]] to ``y`` [batch, sizes[-1]] through layers of ReLU."""
    random = np.random.default_rng(seed)
    nodes, constants, current = [], [], "x"
    for layer, (rows, columns) in enumerate(pairwise(sizes)):
        weight = random.normal(0, rows**-0.5, (rows, columns)).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"w{layer}"))
        last = layer == len(sizes) - 2
        result = "y" if last else f"h{layer}"
        nodes.append(helper.make_node("MatMul", [current, f"w{layer}"], [result]))
        if not last:
            nodes.append(helper.make_node("Relu", [result], [f"r{layer}"]))
        current = f"r{layer}"
    return model(
        nodes,
        [tensor("x", "FP32", ["batch", sizes[0]])],
        [tensor("y", "FP32", ["batch", sizes[-1]])],
        constants,
    )


def identity(
    datatype: str = "FP32", dims: Dims = ("batch", 3), out_dims: Dims | None = None
) -> bytes:
    """``y = x``."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", datatype, dims)],
        [tensor("y", datatype, dims if out_dims is None else out_dims)],
    )


def add_constant(value: float, dims: Dims = ("batch", 2)) -> bytes:
    """``y = x + value``: answers tell which version computed them."""
    return model(
        [helper.make_node("Add", ["x", "c"], ["y"])],
        [tensor("x", "FP32", dims)],
        [tensor("y", "FP32", dims)],
        [numpy_helper.from_array(np.array(value, np.float32), "c")],
    )


def add_and_subtract() -> bytes:
    """INT32 ``a``, ``b`` [batch, 4] to ``sum`` and ``difference``."""
    return model(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["difference"]),
        ],
        [tensor("a", "INT32", ["batch", 4]), tensor("b", "INT32", ["batch", 4])],
        [tensor("sum", "INT32", ["batch", 4]), tensor("difference", "INT32", ["batch", 4])],
    )


def row_sums() -> bytes:
    """FP32 ``x`` [batch, length] of any length to ``sum`` [batch] and ``double``, as ``x``."""
    return model(
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "x"], ["double"]),
        ],
        [tensor("x", "FP32", ["batch", "length"])],
        [tensor("sum", "FP32", ["batch"]), tensor("double", "FP32", ["batch", "length"])],
        [numpy_helper.from_array(np.array([1]), "axis")],
    )


def nonzero() -> bytes:
    """FP32 ``x`` [length] to INT64 ``where`` [1, count]: the size of the output is in the data."""
    return model(
        [helper.make_node("NonZero", ["x"], ["where"])],
        [tensor("x", "FP32", ["length"])],
        [tensor("where", "INT64", [1, "count"])],
    )


def strings_and_numbers() -> bytes:
    """BYTES ``text`` [batch, 2], FP32 ``x`` [batch, 1] to the same as ``same`` and ``y``."""
    return model(
        [
            helper.make_node("Identity", ["text"], ["same"]),
            helper.make_node("Identity", ["x"], ["y"]),
        ],
        [tensor("text", "BYTES", ["batch", 2]), tensor("x", "FP32", ["batch", 1])],
        [tensor("same", "BYTES", ["batch", 2]), tensor("y", "FP32", ["batch", 1])],
    )


def with_default(default: float = 10.0) -> bytes:
    """``y = x + shift``; ``shift`` [1] is ``default`` where a request has none."""
    return model(
        [helper.make_node("Add", ["x", "shift"], ["y"])],
        [tensor("x", "FP32", [2]), tensor("shift", "FP32", [1])],
        [tensor("y", "FP32", [2])],
        [numpy_helper.from_array(np.array([default], np.float32), "shift")],
    )


def lookup() -> bytes:
    """INT64 ``index`` [batch, 1] to FP32 ``row`` [batch, 1, 2] of a table of three rows; an index
    beyond it fails."""
    return model(
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        [tensor("index", "INT64", ["batch", 1])],
        [tensor("row", "FP32", ["batch", 1, 2])],
        [numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "table")],
    )


def zip_map() -> bytes:
    """A classifier's output as skl2onnx makes it by default: a sequence of maps."""
    output = helper.make_value_info(
        "probabilities",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(
                TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
            )
        ),
    )
    return model(
        [
            helper.make_node(
                "ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
            )
        ],
        [tensor("x", "FP32", ["batch", 2])],
        [output],
    )


def write(
    repository: Path, name: str, data: bytes, *, version: int = 1, config: str | None = None
) -> Path:
    """Put ``<name>/<version>/model.onnx`` there, whole at once; returns the model's folder."""
    folder = repository / name
    put(folder / str(version) / "model.onnx", data)
    if config is not None:
        put(folder / "config.pbtxt", config.encode())
    return folder


def write_python(
    repository: Path, name: str, source: str, *, version: int = 1, config: str
) -> Path:
    """The same with a model.py."""
    folder = repository / name
    put(folder / str(version) / "model.py", source.encode())
    put(folder / "config.pbtxt", config.encode())
    return folder


def put(path: Path, data: bytes) -> None:
    """Write a file so that nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    partial.write_bytes(data)
    os.replace(partial, path)


def remove(repository: Path, name: str) -> None:
    """Take a model out of the repository at once."""
    away = repository / f".{name}.removed"
    os.replace(repository / name, away)
    shutil.rmtree(away)
