"""What an answer carries: ids, names, versions, the outputs asked for."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import wire


def pair(**fields: Any) -> Any:
    """a = 5 and b = 2, b first."""
    message = pb.ModelInferRequest(model_name="pair", **fields)
    for name, value in (("b", 2), ("a", 5)):
        array = np.full((1, 4), value, np.float32)
        message.inputs.add(name=name, datatype="FP32", shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    return message


def names(response: Any) -> list[str]:
    return [output.name for output in response.outputs]


@pytest.mark.parametrize("id", ["", "my request", "\u20ac" * 1_000, "a\nb\t"])
def test_ids_and_names_come_back(channel: grpc.Channel, id: str) -> None:
    response = wire.infer(channel, pair(id=id))
    assert response.id == id
    assert response.model_name == "pair"
    assert response.model_version == "1"


def test_inputs_go_by_name_and_all_outputs_come(channel: grpc.Channel) -> None:
    outputs = wire.by_name(wire.infer(channel, pair()))
    np.testing.assert_array_equal(outputs["sum"], np.full((1, 4), 7))
    np.testing.assert_array_equal(outputs["difference"], np.full((1, 4), 3))


def test_all_outputs_come_in_the_models_order(channel: grpc.Channel, strict: bool) -> None:
    response = wire.infer(channel, pair())
    assert set(names(response)) == {"sum", "difference"}
    if strict:
        assert names(response) == ["sum", "difference"]


@pytest.mark.parametrize(
    "wanted", [["difference"], ["sum"], ["difference", "sum"], ["sum", "difference"]]
)
def test_requested_outputs_alone(channel: grpc.Channel, strict: bool, wanted: list[str]) -> None:
    message = pair()
    for name in wanted:
        message.outputs.add(name=name)
    response = wire.infer(channel, message)
    assert sorted(names(response)) == sorted(wanted)
    if strict:
        assert names(response) == wanted
    values = {"sum": 7, "difference": 3}
    for name, array in wire.by_name(response).items():
        np.testing.assert_array_equal(array, np.full((1, 4), values[name]))


def mixed(rows: int, length: int, order: list[int]) -> tuple[Any, dict[str, np.ndarray]]:
    """A request with text and numbers, inputs in ``order``, and the outputs it must get."""
    text = np.array([[b"row %d" % row, b""] for row in range(rows)], object)
    x = np.arange(rows * length, dtype=np.float32).reshape(rows, length)
    count = np.arange(rows, dtype=np.int64).reshape(rows, 1) + 2**40
    inputs = [("text", "BYTES", text), ("x", "FP32", x), ("count", "INT64", count)]
    message = pb.ModelInferRequest(model_name="mixed")
    for name, datatype, array in (inputs[i] for i in order):
        message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(wire.raw(array))
    return message, {"same": text, "double": 2 * x, "number": -count}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_text_and_numbers_in_any_order(channel: grpc.Channel, order: list[int]) -> None:
    message, expected = mixed(3, 5, order)
    outputs = wire.by_name(wire.infer(channel, message))
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)


def test_typed_contents_for_several_inputs(channel: grpc.Channel) -> None:
    message = pb.ModelInferRequest(model_name="mixed")
    for name, datatype, shape, field, values in (
        ("text", "BYTES", [1, 2], "bytes_contents", [b"one", b""]),
        ("count", "INT64", [1, 1], "int64_contents", [7]),
        ("x", "FP32", [1, 2], "fp32_contents", [1, 2]),
    ):
        tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
        getattr(tensor.contents, field).extend(values)
    outputs = wire.by_name(wire.infer(channel, message))
    assert outputs["same"].tolist() == [[b"one", b""]]
    assert outputs["number"].tolist() == [[-7]]
    assert outputs["double"].tolist() == [[2, 4]]


def test_optional_inputs(channel: grpc.Channel) -> None:
    x = np.array([1, 2], np.float32)
    message = wire.request("optional", "FP32", x)
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, message)), x + 10)
    message.inputs.add(name="shift", datatype="FP32", shape=[1])
    message.raw_input_contents.append(np.array([3], np.float32).tobytes())
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, message)), x + 3)


def test_a_model_without_a_batch_dimension(channel: grpc.Channel) -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    response = wire.infer(channel, wire.request("whole", "INT32", array))
    np.testing.assert_array_equal(wire.answer(response), array.T)


def test_versions(channel: grpc.Channel) -> None:
    """Each adds its own number; the highest answers where none is asked for."""
    for asked, answered in (("", "3"), ("1", "1"), ("3", "3")):
        response = wire.infer(channel, wire.full("versions", 100, model_version=asked))
        assert response.model_version == answered
        assert wire.answer(response).item() == 100 + int(answered)


def classified(model: str, rows: list[list[float]], count: int) -> Any:
    array = np.array(rows, np.float32)
    message = wire.request(model, "FP32", array)
    message.outputs.add(name="y").parameters["classification"].int64_param = count
    return message


def test_classification(channel: grpc.Channel) -> None:
    rows = [[0.1, 3, 2], [9, 7, 8]]
    response = wire.infer(channel, classified("echo_fp32", rows, 2))
    assert response.outputs[0].datatype == "BYTES"
    assert list(response.outputs[0].shape) == [2, 2]
    classes = [item.decode().split(":") for item in wire.answer(response).reshape(-1)]
    found = [(float(value), int(index)) for value, index in classes]
    assert found == [(3, 1), (2, 2), (9, 0), (8, 2)]


def test_classification_with_labels(channel: grpc.Channel) -> None:
    """And no more classes than there are."""
    response = wire.infer(channel, classified("labelled", [[0.5, 3, -2, 1]], 9))
    classes = [item.decode().split(":") for item in wire.answer(response).reshape(-1)]
    assert [label for _, _, label in classes] == ["birch", "elm", "ash", "cedar"]
    assert [float(value) for value, _, _ in classes] == [3, 1, 0.5, -2]


def test_unknown_parameters_do_not_matter(channel: grpc.Channel) -> None:
    message = wire.full("echo_fp32", 1, 1, 2)
    message.parameters["tag"].string_param = "blue"
    message.parameters["count"].int64_param = -(2**63)
    message.parameters["flag"].bool_param = True
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, message)), np.ones((1, 2)))


def test_parameters_reach_the_model_of_their_request_alone(channel: grpc.Channel) -> None:
    call = wire.method(channel)
    futures = []
    for i in range(200):
        message = wire.full("scaled", i)
        if i % 4:
            message.parameters["factor"].int64_param = i % 4
        futures.append(call.future(wire.encoded(message), timeout=20))
    for i, future in enumerate(futures):
        response = pb.ModelInferResponse.FromString(future.result())
        assert wire.answer(response).item() == i * (i % 4 or 1)


def test_fields_that_nobody_knows_do_not_matter(channel: grpc.Channel) -> None:
    """protobuf keeps contracts growing: numbers 100 (varint) and 101 (bytes)."""
    message = wire.encoded(wire.full("echo_fp32", 4))
    message = b"\xa0\x06\x07" + message + b"\xaa\x06\x03abc"
    assert wire.answer(wire.infer(channel, message)).item() == 4


def test_the_last_of_a_repeated_field_counts(channel: grpc.Channel) -> None:
    message = wire.encoded(wire.full("nobody", 4)) + wire.encoded(
        pb.ModelInferRequest(model_name="echo_fp32")
    )
    assert wire.answer(wire.infer(channel, message)).item() == 4


def test_many_at_once_are_not_mixed_up(channel: grpc.Channel) -> None:
    call = wire.method(channel)
    futures = []
    for i in range(2_000):
        message = wire.full("echo_fp32", i, 1 + i % 3, 4, id=str(i))
        futures.append(call.future(wire.encoded(message), timeout=30))
    for i, future in enumerate(futures):
        response = pb.ModelInferResponse.FromString(future.result())
        assert response.id == str(i)
        np.testing.assert_array_equal(wire.answer(response), np.full((1 + i % 3, 4), i))
