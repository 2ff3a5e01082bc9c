"""RepositoryIndex, RepositoryModelLoad, RepositoryModelUnload."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.conformance import repository, wire
from tests.conformance.conftest import Target
from tests.conformance.models import MODELS
from tests.conformance.process import Running

Ask = Callable[..., Any]
Start = Callable[..., AbstractContextManager[Running]]
EXPLICIT = ["--model-control", "explicit"]
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND)
VERSIONS = next(model for model in MODELS if model.name == "versions")


def states(ask: Ask, **fields: Any) -> dict[tuple[str, str], str]:
    index = ask("RepositoryIndex", **fields).models
    return {(model.name, model.version): model.state for model in index}


def test_the_index(ask: Ask) -> None:
    found = states(ask)
    for model in MODELS:
        for version in model.versions:
            assert found[model.name, str(version)] == "READY"


def test_the_index_of_what_is_ready(ask: Ask) -> None:
    assert set(states(ask, ready=True).values()) == {"READY"}


@pytest.fixture
def own(models: Path, tmp_path: Path, start: Start) -> Iterator[tuple[Path, Running]]:
    """A repository of its own, of which only "pair" is loaded."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("pair", "whole", "versions"):
        shutil.copytree(models / name, folder / name)
    with start(folder, *EXPLICIT, "--load-model", "pair") as running:
        yield folder, running


@pytest.fixture
def client(own: tuple[Path, Running]) -> Iterator[Any]:
    with triton.InferenceServerClient(own[1].grpc) as open_client:
        yield open_client


@pytest.fixture
def near(own: tuple[Path, Running]) -> Iterator[grpc.Channel]:
    with own[1].channel() as open_channel:
        yield open_channel


def test_load_and_unload(client: Any, near: grpc.Channel) -> None:
    request = wire.request("whole", "INT32", np.zeros((2, 3), np.int32))
    assert client.is_model_ready("pair")
    assert not client.is_model_ready("whole")
    assert wire.refusal(near, request).code() in GONE
    for _ in range(2):
        client.load_model("whole")
        assert client.is_model_ready("whole")
        wire.infer(near, request)
        client.unload_model("whole")
        assert not client.is_model_ready("whole")
        assert wire.refusal(near, request).code() in GONE
    index = {m.name: m.state for m in client.get_model_repository_index().models}
    assert index["pair"] == "READY"
    assert index["whole"] != "READY"


def test_loading_what_is_loaded_takes_up_new_versions(
    own: tuple[Path, Running], client: Any, near: grpc.Channel
) -> None:
    folder, _ = own
    client.load_model("versions")
    assert wire.infer(near, wire.full("versions", 0)).model_version == "3"
    repository.write_model(folder, replace(VERSIONS, versions=(1, 3, 5)))
    client.load_model("versions")
    response = wire.infer(near, wire.full("versions", 0))
    assert response.model_version == "5"
    assert wire.answer(response).item() == 5
    assert wire.infer(near, wire.full("versions", 0, model_version="1")).model_version == "1"


def test_a_load_that_fails_says_why_and_leaves_the_old_version(
    own: tuple[Path, Running], client: Any, near: grpc.Channel
) -> None:
    folder, _ = own
    client.load_model("versions")
    for version in ("1", "3"):
        (folder / "versions" / version / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InferenceServerException, match="versions"):
        client.load_model("versions")
    assert client.is_model_ready("versions")
    assert wire.infer(near, wire.full("versions", 0)).model_version == "3"
    reasons = [m.reason for m in client.get_model_repository_index().models if m.name == "versions"]
    assert any(reasons)


def test_a_configuration_with_the_load(client: Any, near: grpc.Channel) -> None:
    """In JSON, as Triton's clients send it; for this load alone."""
    client.load_model("pair", config=json.dumps({"name": "pair", "max_batch_size": 2}))
    assert client.get_model_config("pair").config.max_batch_size == 2
    client.load_model("pair")
    assert client.get_model_config("pair").config.max_batch_size == 16


@pytest.mark.parametrize(
    "config", ["no JSON", '{"max_batch_size": "many"}', '{"nothing": 1}', "[]"]
)
def test_a_configuration_that_is_none(client: Any, config: str) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.load_model("pair", config=config)
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert client.is_model_ready("pair")


def test_what_is_not_there(client: Any) -> None:
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="nobody") as error:
            call("nobody")
        assert error.value.status() in ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT")


def test_field_numbers_are_tritons(near: grpc.Channel) -> None:
    """model_name is field 2 (in KServe 1); field 1 names a repository, of which there is one."""
    name = b"whole"
    load = wire.method(near, "RepositoryModelLoad")
    load(b"\x12\x05" + name, timeout=20)
    ready = wire.method(near, "ModelReady")
    assert ready(pb.ModelReadyRequest(name="whole").SerializeToString()) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as error:
        load(b"\x0a\x05" + name, timeout=20)
    assert error.value.code() in (
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
    )


def test_loading_is_refused_where_models_are_not_controlled(ask: Ask, ours: Running) -> None:
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        with pytest.raises(grpc.RpcError) as error:
            ask(method, model_name="pair")
        assert error.value.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.UNIMPLEMENTED,
        )
        assert "explicit" in error.value.details()
    assert ask("ModelReady", name="pair").ready


def test_a_swap_under_load_fails_nobody(client: Any, near: grpc.Channel) -> None:
    client.load_model("versions")
    call = wire.method(near)
    request = wire.encoded(wire.full("versions", 0))
    futures = []
    for _ in range(6):
        futures += [call.future(request, timeout=20) for _ in range(50)]
        client.load_model("versions")
    assert {future.code() for future in futures} == {grpc.StatusCode.OK}


def test_a_server_from_elsewhere_loads_what_comes_later(ask: Ask, target: Target) -> None:
    """With --oip-repository."""
    if target.repository is None:
        pytest.skip("its repository is not known (--oip-repository)")
    late = replace(VERSIONS, name="late", versions=(2,))
    repository.write_model(target.repository, late, python=True)
    try:
        assert not ask("ModelReady", name="late").ready
        ask("RepositoryModelLoad", model_name="late")
        assert ask("ModelReady", name="late", version="2").ready
        assert states(ask)["late", "2"] == "READY"
        ask("RepositoryModelUnload", model_name="late")
        with pytest.raises(grpc.RpcError):
            ask("ModelConfig", name="late")
    finally:
        shutil.rmtree(target.repository / "late")
