"""The judge of the load-and-fault test notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.faults.traffic import difference, make_request


def right_answer(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    x = np.frombuffer(request.raw_input_contents[0], np.float32)
    response = pb.ModelInferResponse(model_name="plus", model_version="3", id=request.id)
    response.raw_output_contents.append((x + np.float32(3)).tobytes())
    return response


@pytest.fixture
def request_sent() -> pb.ModelInferRequest:
    return make_request("plus", np.random.default_rng(0), 3, "mine")


def test_the_right_answer_passes(request_sent: pb.ModelInferRequest) -> None:
    assert difference(request_sent, right_answer(request_sent)) == ""


def another_id(response: pb.ModelInferResponse) -> None:
    response.id = "theirs"


def another_version(response: pb.ModelInferResponse) -> None:
    response.model_version = "4"


def rows_swapped(response: pb.ModelInferResponse) -> None:
    raw = response.raw_output_contents[0]
    response.raw_output_contents[0] = raw[16:32] + raw[:16] + raw[32:]


def a_row_short(response: pb.ModelInferResponse) -> None:
    response.raw_output_contents[0] = response.raw_output_contents[0][:-16]


def empty(response: pb.ModelInferResponse) -> None:
    response.raw_output_contents[0] = b""


@pytest.mark.parametrize("spoil", [another_id, another_version, rows_swapped, a_row_short, empty])
def test_a_wrong_answer_does_not(
    request_sent: pb.ModelInferRequest, spoil: Callable[[pb.ModelInferResponse], None]
) -> None:
    response = right_answer(request_sent)
    spoil(response)
    assert difference(request_sent, response) != ""
