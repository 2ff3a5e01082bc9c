"""The models that the figures are measured on, and requests to them."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from penstock import protos

SMALL = (32, 64, 64, 2)
"""A fraud-detection MLP."""
LARGE = (128, 1024, 1024, 10)


def mlp(sizes: tuple[int, ...], seed: int = 0) -> bytes:
    """A serialised ReLU network: FP32 ``x`` [-1, sizes[0]] to ``y`` [-1, sizes[-1]]."""
    random = np.random.default_rng(seed)
    nodes, weights, current = [], [], "x"
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        weight = random.normal(0, fan_in**-0.5, (fan_in, fan_out)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        weights.append(numpy_helper.from_array(np.zeros(fan_out, np.float32), f"b{i}"))
        result = "y" if last else f"z{i}"
        nodes.append(helper.make_node("Gemm", [current, f"w{i}", f"b{i}"], [result]))
        if not last:
            nodes.append(helper.make_node("Relu", [result], [f"a{i}"]))
            current = f"a{i}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", sizes[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", sizes[-1]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def add_model(repository: Path, name: str, model: bytes, config: str = "") -> None:
    """Write ``<repository>/<name>/1/model.onnx`` and its configuration, if any."""
    version = repository / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.onnx").write_bytes(model)
    if config:
        (repository / name / "config.pbtxt").write_text(config)


def threads_config(threads: int) -> str:
    """A config.pbtxt that fixes how many threads compute one batch."""
    return (
        "max_batch_size: 256\n"
        f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{threads}" }} }}\n'
    )


def request_body(model: str, columns: int, rows: int = 1) -> bytes:
    """A ModelInferRequest as it goes over the wire, gRPC prefix included."""
    request = protos.message("inference.ModelInferRequest")(model_name=model, id="1")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[rows, columns])
    assert tensor.name == "x"
    data = np.random.default_rng(1).normal(size=(rows, columns)).astype(np.float32)
    request.raw_input_contents.append(data.tobytes())
    message = request.SerializeToString()
    return struct.pack(">BI", 0, len(message)) + message
