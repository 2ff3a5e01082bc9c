"""The models that the suite asks: ``python -m tests.conformance.repository FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ECHO_TYPES = {
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
"""``echo_<type>``: ``x`` [-1, -1] comes back as ``y``; at most 8 rows."""

SLOW = '''\
import time


class Model:
    """Sleeps x milliseconds and answers x."""

    def load(self):
        pass

    def infer(self, inputs):
        time.sleep(float(inputs["x"].max()) / 1e3)
        return {"y": inputs["x"]}
'''
SLOW_CONFIG = """\
backend: "python"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
"""


def _value(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _save(
    folder: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    *,
    constants: list[onnx.TensorProto] | None = None,
    config: str = "",
    versions: tuple[int, ...] = (1,),
) -> None:
    graph = helper.make_graph(nodes, name, inputs, outputs, constants or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    for version in versions:
        (folder / name / str(version)).mkdir(parents=True, exist_ok=True)
        (folder / name / str(version) / "model.onnx").write_bytes(model.SerializeToString())
    if config:
        (folder / name / "config.pbtxt").write_text(config)


def write(folder: Path) -> None:
    """Write the whole repository under ``folder``."""
    for datatype, kind in ECHO_TYPES.items():
        _save(
            folder,
            f"echo_{datatype.lower()}",
            [helper.make_node("Identity", ["x"], ["y"])],
            [_value("x", kind, ["batch", "n"])],
            [_value("y", kind, ["batch", "n"])],
            config="max_batch_size: 8\n",
        )
    _save(
        folder,
        "pair",
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["difference"]),
        ],
        [
            _value("a", TensorProto.FLOAT, ["batch", 4]),
            _value("b", TensorProto.FLOAT, ["batch", 4]),
        ],
        [
            _value("sum", TensorProto.FLOAT, ["batch", 4]),
            _value("difference", TensorProto.FLOAT, ["batch", 4]),
        ],
        config="max_batch_size: 16\n",
    )
    _save(
        folder,
        "whole",
        [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])],
        [_value("x", TensorProto.INT32, [2, 3])],
        [_value("y", TensorProto.INT32, [3, 2])],
    )
    _save(
        folder,
        "versions",
        [helper.make_node("Add", ["x", "one"], ["y"])],
        [_value("x", TensorProto.FLOAT, ["batch", 1])],
        [_value("y", TensorProto.FLOAT, ["batch", 1])],
        constants=[numpy_helper.from_array(np.ones((1,), np.float32), "one")],
        config="max_batch_size: 8\nversion_policy { all { } }\n",
        versions=(1, 3),
    )
    (folder / "slow" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "slow" / "1" / "model.py").write_text(SLOW)
    (folder / "slow" / "config.pbtxt").write_text(SLOW_CONFIG)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
