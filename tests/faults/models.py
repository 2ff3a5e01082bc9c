"""Two models whose answers tell which version computed them.

``plus``: ``y = x + version``, four values a row, batches of up to 32.
``wide``: the same for one value, repeated until a row has a mebibyte; for slow readers.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import ModelProto, NodeProto

PLUS_COLUMNS = 4
WIDE_COLUMNS = 1 << 18
"""FP32 values of a row: 1 MiB."""


def plus(version: int) -> ModelProto:
    """``y = x + version``."""
    bias = numpy_helper.from_array(np.array([version], np.float32), "bias")
    return _model([helper.make_node("Add", ["x", "bias"], ["y"])], [bias], PLUS_COLUMNS)


def wide(version: int) -> ModelProto:
    """``y = x + version`` of the first column, in every column."""
    constants = [
        numpy_helper.from_array(np.array([version], np.float32), "bias"),
        numpy_helper.from_array(np.array([0]), "first"),
        numpy_helper.from_array(np.array([1, WIDE_COLUMNS]), "shape"),
    ]
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["column"], axis=1),
        helper.make_node("Add", ["column", "bias"], ["sum"]),
        helper.make_node("Expand", ["sum", "shape"], ["y"]),
    ]
    return _model(nodes, constants, WIDE_COLUMNS)


def _model(nodes: list[NodeProto], constants: list[TensorProto], columns: int) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "version",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", PLUS_COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


MODELS = {"plus": (plus, 32), "wide": (wide, 4)}


def write_repository(repository: Path) -> None:
    """Both models at version 1."""
    for name, (_, max_batch_size) in MODELS.items():
        (repository / name).mkdir(parents=True)
        config = f"max_batch_size: {max_batch_size}\ndynamic_batching {{ }}\n"
        (repository / name / "config.pbtxt").write_text(config)
        add_version(repository, name, 1)


def add_version(repository: Path, name: str, version: int) -> None:
    """The folder appears with its file in it."""
    making = repository / name / f".{version}"
    making.mkdir()
    make, _ = MODELS[name]
    (making / "model.onnx").write_bytes(make(version).SerializeToString())
    os.rename(making, repository / name / str(version))


def remove_version(repository: Path, name: str, version: int) -> None:
    shutil.rmtree(repository / name / str(version))
