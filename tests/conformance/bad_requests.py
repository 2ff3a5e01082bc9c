"""Requests that are wrong in one way each, what they must get, and words of the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import wire

Change = Callable[[Any], object]
GOOD = np.ones((1, 4), np.float32)
CODE = grpc.StatusCode
INVALID, MISSING = CODE.INVALID_ARGUMENT, CODE.NOT_FOUND


def base() -> Any:
    message = pb.ModelInferRequest(model_name="pair", id="good")
    for name in ("a", "b"):
        message.inputs.add(name=name, datatype="FP32", shape=[1, 4])
        message.raw_input_contents.append(GOOD.tobytes())
    return message


def edit(change: Change) -> Any:
    message = base()
    change(message)
    return message


def set_to(name: str, value: str) -> Change:
    return lambda m: setattr(m, name, value)


def dtype(name: str) -> Change:
    return lambda m: setattr(m.inputs[0], "datatype", name)


def shape(*dims: int) -> Change:
    def change(message: Any) -> None:
        del message.inputs[0].shape[:]
        message.inputs[0].shape.extend(dims)

    return change


def raw(*sizes: int) -> Change:
    """Contents of these sizes instead of what was there."""

    def change(message: Any) -> None:
        del message.raw_input_contents[:]
        message.raw_input_contents.extend(bytes(size) for size in sizes)

    return change


def both(*changes: Change) -> Change:
    return lambda message: [change(message) for change in changes]


def remove_input(message: Any) -> None:
    del message.inputs[1]
    del message.raw_input_contents[1]


def extra_input(name: str) -> Change:
    def change(message: Any) -> None:
        message.inputs.add(name=name, datatype="FP32", shape=[1, 4])
        message.raw_input_contents.append(GOOD.tobytes())

    return change


def typed(field: str, count: int) -> Change:
    def change(message: Any) -> None:
        del message.raw_input_contents[:]
        for tensor in message.inputs:
            getattr(tensor.contents, field).extend([1] * count)

    return change


def contents_beside_raw(message: Any) -> None:
    message.inputs[0].contents.fp32_contents.extend([1.0] * 4)


def parameter(name: str, kind: str, value: object) -> Change:
    return lambda m: setattr(m.parameters[name], kind, value)


def shared_memory(message: Any) -> None:
    message.inputs[0].parameters["shared_memory_region"].string_param = "region"
    message.inputs[0].parameters["shared_memory_byte_size"].int64_param = 16


def shared_output(message: Any) -> None:
    output = message.outputs.add(name="sum")
    output.parameters["shared_memory_region"].string_param = "region"
    output.parameters["shared_memory_byte_size"].int64_param = 16


BAD: dict[str, tuple[Any, grpc.StatusCode, tuple[str, ...]]] = {
    "dtype": (edit(dtype("INT32")), INVALID, ("'a'", "INT32", "FP32")),
    "dtype of another size": (edit(dtype("FP64")), INVALID, ("'a'", "FP64", "FP32")),
    "dtype unknown": (edit(dtype("FP99")), INVALID, ("'a'", "FP99", "FP32")),
    "dtype missing": (edit(dtype("")), INVALID, ("'a'", "''", "FP32")),
    "shape": (edit(both(shape(1, 5), raw(20, 16))), INVALID, ("'a'", "[1,5]", "[-1,4]")),
    "shape and bytes": (edit(shape(1, 5)), INVALID, ("'a'", "[1,5]", "[-1,4]")),
    "no shape": (edit(shape()), INVALID, ("'a'", "[]", "[-1,4]")),
    "rank too low": (edit(shape(4)), INVALID, ("'a'", "[4]", "[-1,4]")),
    "rank too high": (edit(shape(1, 1, 4)), INVALID, ("'a'", "[1,1,4]", "[-1,4]")),
    "rank beyond any": (edit(shape(*[1] * 40)), INVALID, ("inputs[0]", "8")),
    "negative dimension": (edit(shape(1, -4)), INVALID, ("'a'", "[1,-4]", "[-1,4]")),
    "negative rows": (edit(shape(-1, 4)), INVALID, ("'a'", "[-1,4]")),
    "two negative dimensions": (edit(shape(-1, -4)), INVALID, ("'a'", "[-1,-4]")),
    "no rows": (edit(both(shape(0, 4), raw(0, 16))), INVALID, ("'a'", "[0,4]")),
    "overflowing dimensions": (edit(shape(2**62, 2**62)), INVALID, ("'a'",)),
    "dimensions that overflow to what is right": (edit(shape(2**62 + 1, 4)), INVALID, ("'a'",)),
    "more rows than a batch has": (
        edit(both(shape(17, 4), raw(17 * 16, 16))),
        INVALID,
        ("'a'", "17", "16"),
    ),
    "rows that differ": (
        edit(lambda m: (m.inputs[1].shape.__setitem__(0, 2), raw(16, 32)(m))),
        INVALID,
        ("'b'", "2", "1", "'a'"),
    ),
    "too few bytes": (edit(raw(15, 16)), INVALID, ("'a'", "15", "16")),
    "too many bytes": (edit(raw(16, 20)), INVALID, ("'b'", "20", "16")),
    "no bytes": (edit(raw(0, 16)), INVALID, ("'a'", "0", "16")),
    "no data": (edit(raw()), INVALID, ("'a'",)),
    "fewer contents than inputs": (edit(raw(16)), INVALID, ("1 ", "2 ")),
    "more contents than inputs": (edit(raw(16, 16, 16)), INVALID, ("3 ", "2 ")),
    "contents beside raw contents": (edit(contents_beside_raw), INVALID, ("'a'",)),
    "missing input": (edit(remove_input), INVALID, ("missing", "'b'")),
    "no inputs": (pb.ModelInferRequest(model_name="pair"), INVALID, ("missing", "'a'", "'b'")),
    "extra input": (edit(extra_input("c")), INVALID, ("'c'", "'a', 'b'")),
    "duplicated input": (edit(extra_input("a")), INVALID, ("'a'", "more than once")),
    "input without a name": (edit(lambda m: setattr(m.inputs[0], "name", "")), INVALID, ("''",)),
    "typed contents too short": (edit(typed("fp32_contents", 3)), INVALID, ("'a'", "12", "16")),
    "typed contents too long": (edit(typed("fp32_contents", 5)), INVALID, ("'a'", "20", "16")),
    "typed contents of another type": (
        edit(typed("int_contents", 4)),
        INVALID,
        ("'a'", "int_contents", "fp32_contents"),
    ),
    "unknown output": (
        edit(lambda m: m.outputs.add(name="product")),
        INVALID,
        ("'product'", "'sum', 'difference'"),
    ),
    "unknown model": (edit(set_to("model_name", "nobody")), MISSING, ("'nobody'",)),
    "model without a name": (edit(set_to("model_name", "")), MISSING, ("''",)),
    "unknown version": (edit(set_to("model_version", "7")), MISSING, ("'7'", "'pair'")),
    "version beyond any": (edit(set_to("model_version", "9" * 40)), MISSING, ("'pair'",)),
    "version that is no number": (
        edit(set_to("model_version", "latest")),
        MISSING,
        ("'latest'", "'pair'"),
    ),
    "shared memory": (edit(shared_memory), INVALID, ("'a'", "shared_memory")),
    "shared memory for an output": (edit(shared_output), INVALID, ("'sum'", "shared_memory")),
    "timeout below zero": (
        edit(parameter("timeout", "int64_param", -1)),
        INVALID,
        ("'timeout'", "-1"),
    ),
    "timeout that is a text": (
        edit(parameter("timeout", "string_param", "soon")),
        INVALID,
        ("'timeout'",),
    ),
    "priority below zero": (
        edit(parameter("priority", "int64_param", -1)),
        INVALID,
        ("'priority'", "-1"),
    ),
}
LENIENT: dict[str, set[grpc.StatusCode]] = {
    "dimensions that overflow to what is right": {INVALID, CODE.UNAVAILABLE},
    "duplicated input": {INVALID, CODE.INTERNAL},
    "more contents than inputs": {CODE.OK, INVALID},
    "version beyond any": {INVALID, MISSING},
    "version that is no number": {INVALID},
    "model without a name": {INVALID, MISSING},
    "timeout below zero": {CODE.OK, INVALID},
    "priority below zero": {CODE.OK, INVALID},
    "shared memory": {INVALID, MISSING, CODE.UNAVAILABLE},
    "shared memory for an output": {INVALID, MISSING, CODE.UNAVAILABLE},
}
"""Where the protocol lets servers differ: what others may answer."""

UNREAD: dict[str, bytes] = {
    "garbage": b"\xff" * 64,
    "cut off": wire.encoded(base())[:-3],
    "a length beyond the end": b"\x0a\x7fpair",
    "a varint of eleven bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "a field of another wire type": b"\x08\x01",
    "field number zero": b"\x02\x00",
    "a group that is not closed": b"\xa3\x06",
    "a name that is no text": b"\x0a\x04\xff\xfe\xfd\xfc",
    "groups without end": b"\xa3\x06" * 20_000,
}
