"""Writes the seeds of model_infer_fuzz, one ModelInferRequest a file.

Run it with an interpreter that has tritonclient and numpy::

    python csrc/fuzz/make_model_infer_corpus.py csrc/fuzz/corpus/model_infer

The requests fit, or just fail to fit, the models of model_infer_fuzz.cc.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

Request = service_pb2.ModelInferRequest
Parameter = service_pb2.InferParameter

RAW = {
    "BOOL": np.array([True, False, True]),
    "INT8": np.array([-128, 0, 127], np.int8),
    "INT16": np.array([-32768, 0, 32767], np.int16),
    "INT32": np.array([-(2**31), 0, 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "UINT8": np.array([0, 1, 255], np.uint8),
    "UINT16": np.array([0, 1, 65535], np.uint16),
    "UINT32": np.array([0, 1, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 1, 2**64 - 1], np.uint64),
    "FP16": np.array([0.5, -1, np.inf], np.float16),
    "FP32": np.array([0.5, -1, np.nan], np.float32),
    "FP64": np.array([0.5, -1, 1e300], np.float64),
}
TYPED_FIELD = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def strings(*values: bytes) -> bytes:
    return bytes(serialize_byte_tensor(np.array(values, dtype=object)).item())


def request(**fields: object) -> service_pb2.ModelInferRequest:
    return Request(model_name="m", **fields)


def add_raw(
    to: service_pb2.ModelInferRequest, name: str, datatype: str, shape: list[int], raw: bytes
) -> None:
    to.inputs.add(name=name, datatype=datatype, shape=shape)
    to.raw_input_contents.append(raw)


def of_each_datatype() -> Iterator[tuple[str, service_pb2.ModelInferRequest]]:
    for datatype, values in RAW.items():
        raw = request()
        add_raw(raw, "x", datatype, [3], values.tobytes())
        yield f"raw_{datatype.lower()}", raw
        if datatype in TYPED_FIELD:
            typed = request()
            contents = typed.inputs.add(name="x", datatype=datatype, shape=[3]).contents
            getattr(contents, TYPED_FIELD[datatype]).extend(values.tolist())
            yield f"typed_{datatype.lower()}", typed
    bf16 = request()
    add_raw(bf16, "x", "BF16", [2], b"\x80\x3f\xc0\x7f")
    yield "raw_bf16", bf16
    text = request()
    add_raw(text, "x", "BYTES", [3], strings(b"one", b"", b"\xff\x00"))
    yield "raw_bytes", text
    typed = request()
    contents = typed.inputs.add(name="x", datatype="BYTES", shape=[2]).contents
    contents.bytes_contents.extend([b"one", b""])
    yield "typed_bytes", typed


def of_each_feature() -> Iterator[tuple[str, service_pb2.ModelInferRequest]]:
    yield "empty", Request()
    yield "name_only", request(model_version="1", id="id")

    rows = request(id="7")
    add_raw(rows, "x", "FP32", [2, 4], bytes(32))
    rows.outputs.add(name="p").parameters["classification"].int64_param = 2
    rows.outputs.add(name="label")
    yield "rows_and_outputs", rows

    for key, value in {
        "bool": Parameter(bool_param=True),
        "int64": Parameter(int64_param=-1),
        "string": Parameter(string_param="text"),
        "double": Parameter(double_param=0.5),
        "uint64": Parameter(uint64_param=2**64 - 1),
        "unset": Parameter(),
    }.items():
        yield f"parameter_{key}", request(parameters={"key": value})

    several = request(
        parameters={"timeout": Parameter(int64_param=5), "t": Parameter(double_param=1)}
    )
    add_raw(several, "x", "FP32", [1, 4], bytes(16))
    add_raw(several, "y", "INT64", [1, 1, 2], bytes(16))
    add_raw(several, "s", "BYTES", [1, 2], strings(b"a", b"bc"))
    add_raw(several, "b", "BOOL", [1, 1], b"\1")
    yield "several_inputs", several
    backwards = request()
    for tensor, raw in reversed(list(zip(several.inputs, several.raw_input_contents, strict=True))):
        backwards.inputs.add().CopyFrom(tensor)
        backwards.raw_input_contents.append(raw)
    yield "several_inputs_backwards", backwards
    left_out = request()
    left_out.inputs.extend(several.inputs[:2])
    left_out.raw_input_contents.extend(several.raw_input_contents[:2])
    yield "optional_left_out", left_out

    typed = request()
    typed.inputs.add(name="x", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend(
        range(4)
    )
    typed.inputs.add(name="y", datatype="INT64", shape=[1, 1, 2]).contents.int64_contents.extend(
        [1, 2]
    )
    typed.inputs.add(name="s", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"z")
    typed.inputs.add(name="b", datatype="BOOL", shape=[1, 1]).contents.bool_contents.append(True)
    yield "several_typed_inputs", typed

    shared = request()
    shared.inputs.add(name="x", datatype="FP32", shape=[1, 4]).parameters[
        "shared_memory_region"
    ].string_param = "region"
    yield "shared_memory", shared

    for name, shape, raw in (
        ("rows_zero", [0, 4], b""),
        ("rows_many", [9, 4], bytes(144)),
        ("negative_dimension", [1, -4], b""),
        ("huge_dimension", [2**62, 4], b""),
        ("high_rank", [1] * 8, bytes(4)),
        ("too_high_rank", [1] * 9, bytes(4)),
        ("short_data", [1, 4], bytes(15)),
    ):
        odd = request()
        add_raw(odd, "x", "FP32", shape, raw)
        yield name, odd
    claim = request()
    add_raw(claim, "x", "BYTES", [1, 1], b"\xff\xff\xff\xffabc")
    yield "bytes_claim", claim
    wrong = request()
    wrong.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(300)
    yield "out_of_range", wrong
    mixed = request()
    add_raw(mixed, "x", "INT8", [1], b"a")
    mixed.inputs[0].contents.int_contents.append(1)
    yield "raw_and_typed", mixed


def beyond_the_generator() -> Iterator[tuple[str, bytes]]:
    """Wire forms protobuf reads but does not write."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor
    base = tensor(name="x", datatype="FP32").SerializeToString() + b"\x18\x01\x18\x04"
    halves = b"".join(
        tensor(contents=service_pb2.InferTensorContents(fp32_contents=half)).SerializeToString()
        for half in ([1, 2], [3, 4])
    )
    split = base + halves
    yield "contents_split", b"\x0a\x01m\x2a" + bytes([len(split)]) + split
    single = base + b"\x2a\x14" + b"\x35\0\0\x80\x3f" * 4
    yield "not_packed", b"\x2a" + bytes([len(single)]) + single
    yield "group", b"\x7b\x08\x01\x7c\x0a\x01m"
    yield "unknown_fields", b"\x78\x01\x79" + bytes(8) + b"\x7a\x01z\x7d" + bytes(4) + b"\x0a\x01m"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for messages in (of_each_datatype(), of_each_feature()):
        for name, message in messages:
            (folder / name).write_bytes(message.SerializeToString(deterministic=True))
    for name, wire in beyond_the_generator():
        (folder / name).write_bytes(wire)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
