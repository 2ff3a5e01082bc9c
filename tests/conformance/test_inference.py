"""What an answer carries: ids, names, versions, the outputs asked for."""

from __future__ import annotations

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import wire


def pair(**fields: object) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="pair", **fields)
    for name, value in (("b", 2), ("a", 5)):
        array = np.full((1, 4), value, np.float32)
        message.inputs.add(name=name, datatype="FP32", shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    return message


def test_ids_and_names_come_back(channel: grpc.Channel) -> None:
    response = wire.infer(channel, pair(id="my request"))
    assert response.id == "my request"
    assert response.model_name == "pair"
    assert response.model_version == "1"


def test_inputs_go_by_name_and_all_outputs_come(channel: grpc.Channel) -> None:
    response = wire.infer(channel, pair())
    assert [output.name for output in response.outputs] == ["sum", "difference"]
    np.testing.assert_array_equal(wire.answer(response, 0), np.full((1, 4), 7))
    np.testing.assert_array_equal(wire.answer(response, 1), np.full((1, 4), 3))


def test_requested_outputs_come_in_the_order_asked_for(channel: grpc.Channel) -> None:
    message = pair()
    message.outputs.add(name="difference")
    response = wire.infer(channel, message)
    assert [output.name for output in response.outputs] == ["difference"]
    message.outputs.add(name="sum")
    response = wire.infer(channel, message)
    assert [output.name for output in response.outputs] == ["difference", "sum"]
    np.testing.assert_array_equal(wire.answer(response, 0), np.full((1, 4), 3))


def test_classification(channel: grpc.Channel) -> None:
    array = np.array([[0.1, 3, 2], [9, 7, 8]], np.float32)
    message = wire.request("echo_fp32", "FP32", array)
    output = message.outputs.add(name="y")
    output.parameters["classification"].int64_param = 2
    response = wire.infer(channel, message)
    assert response.outputs[0].datatype == "BYTES"
    assert list(response.outputs[0].shape) == [2, 2]
    classes = [item.decode().split(":") for item in wire.answer(response).reshape(-1)]
    assert [(float(value), int(index)) for value, index in classes] == [
        (3, 1),
        (2, 2),
        (9, 0),
        (8, 2),
    ]


def test_a_model_without_a_batch_dimension(channel: grpc.Channel) -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    response = wire.infer(channel, wire.request("whole", "INT32", array))
    np.testing.assert_array_equal(wire.answer(response), array.T)


def test_versions(channel: grpc.Channel) -> None:
    array = np.zeros((1, 1), np.float32)
    for asked, answered in (("", "3"), ("1", "1"), ("3", "3")):
        response = wire.infer(channel, wire.request("versions", "FP32", array, model_version=asked))
        assert response.model_version == answered


def test_unknown_parameters_do_not_matter(channel: grpc.Channel) -> None:
    message = wire.request("echo_fp32", "FP32", np.ones((1, 2), np.float32))
    message.parameters["tag"].string_param = "blue"
    message.parameters["weight"].double_param = 0.5
    message.parameters["flag"].bool_param = True
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, message)), np.ones((1, 2)))


def test_many_at_once_are_not_mixed_up(channel: grpc.Channel) -> None:
    call = channel.unary_unary(
        wire.SERVICE + "ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
    )
    futures = []
    for i in range(2_000):
        array = np.full((1 + i % 3, 4), i, np.float32)
        message = wire.request("echo_fp32", "FP32", array, id=str(i))
        futures.append(call.future(message.SerializeToString(), timeout=20))
    for i, future in enumerate(futures):
        response = future.result()
        assert response.id == str(i)
        np.testing.assert_array_equal(wire.answer(response), np.full((1 + i % 3, 4), i))
