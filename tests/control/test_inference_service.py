"""The slow methods of GRPCInferenceService, each answered out of the repository."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from penstock import __version__, protos
from penstock._native.engine import RequestError
from penstock.control.inference_service import MAX_CHANGES, InferenceService
from penstock.control.readiness import Readiness
from tests.control.fakes import FakeLoaded, FakeRepository, counters, run, spec

Parameter = protos.message("inference.ModelRepositoryParameter")


class Client:
    def __init__(self, repository: FakeRepository) -> None:
        self.readiness = Readiness()
        self.handlers = InferenceService(
            repository,  # type: ignore[arg-type]
            self.readiness,
        ).handlers()

    async def call(self, method: str, **fields: Any) -> dict[str, Any]:
        handler = self.handlers[f"/inference.GRPCInferenceService/{method}"].unary
        assert handler is not None
        answer = await handler(protos.message(f"inference.{method}Request")(**fields))
        assert answer.DESCRIPTOR.full_name == f"inference.{method}Response"
        return dict(MessageToDict(answer, preserving_proto_field_name=True))

    def ask(self, method: str, **fields: Any) -> dict[str, Any]:
        return run(self.call(method, **fields))


@pytest.fixture
def repository() -> FakeRepository:
    return FakeRepository(
        FakeLoaded(spec("fraud", 1)),
        FakeLoaded(spec("fraud", 3), success=50),
        FakeLoaded(spec("whole", 1, max_batch_size=0, dims=(-1, 3)), failure={}),
        unavailable=("broken",),
    )


@pytest.fixture
def client(repository: FakeRepository) -> Client:
    return Client(repository)


def refusal(client: Client, method: str, **fields: Any) -> tuple[int, str]:
    with pytest.raises(RequestError) as error:
        client.ask(method, **fields)
    return error.value.code, error.value.message


def test_live_and_ready(client: Client) -> None:
    assert client.ask("ServerLive") == {"live": True}
    assert client.ask("ServerReady") == {}
    client.readiness.set("ready")
    assert client.ask("ServerReady") == {"ready": True}
    client.readiness.set("draining")
    assert client.ask("ServerReady") == {}
    assert client.ask("ModelReady", name="fraud") == {"ready": True}
    assert client.ask("ModelReady", name="fraud", version="3") == {"ready": True}
    assert client.ask("ModelReady", name="fraud", version="2") == {}
    assert client.ask("ModelReady", name="broken") == {}


def test_server_metadata(client: Client) -> None:
    assert client.ask("ServerMetadata") == {
        "name": "penstock",
        "version": __version__,
        "extensions": [
            "classification",
            "model_configuration",
            "model_repository",
            "schedule_policy",
            "statistics",
        ],
    }


def test_model_metadata(client: Client) -> None:
    assert client.ask("ModelMetadata", name="fraud") == {
        "name": "fraud",
        "versions": ["1", "3"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": ["-1"]},
            {"name": "score", "datatype": "FP32", "shape": ["-1", "2"]},
        ],
    }
    # No batch dimension where the model has none.
    assert client.ask("ModelMetadata", name="whole")["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}
    ]
    assert refusal(client, "ModelMetadata", name="nobody") == (5, "no 'nobody' ''")


def test_model_config(client: Client) -> None:
    assert client.ask("ModelConfig", name="fraud", version="1") == {
        "config": {"name": "fraud", "max_batch_size": 8}
    }
    assert refusal(client, "ModelConfig", name="fraud", version="2") == (5, "no 'fraud' '2'")


def test_statistics_of_one_version(client: Client) -> None:
    (stats,) = client.ask("ModelStatistics", name="fraud", version="1")["model_stats"]
    assert stats == {
        "name": "fraud",
        "version": "1",
        "last_inference": "1700000000123",
        "inference_count": "9",
        "execution_count": "3",
        "inference_stats": {
            "success": {"count": "5", "ns": "5000"},
            "fail": {"count": "3", "ns": "300"},
            "queue": {"count": "5", "ns": "1000"},
            "compute_input": {"count": "5", "ns": "20"},
            "compute_infer": {"count": "5", "ns": "3000"},
            "compute_output": {"count": "5", "ns": "40"},
        },
        "batch_stats": [
            {
                "batch_size": "1",
                "compute_input": {"count": "1", "ns": "4"},
                "compute_infer": {"count": "1", "ns": "1000"},
                "compute_output": {"count": "1", "ns": "10"},
            },
            {
                "batch_size": "4",
                "compute_input": {"count": "2", "ns": "16"},
                "compute_infer": {"count": "2", "ns": "2000"},
                "compute_output": {"count": "2", "ns": "30"},
            },
        ],
    }


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [("fraud", "1"), ("fraud", "3"), ("whole", "1")]),
        ({"name": "fraud"}, [("fraud", "1"), ("fraud", "3")]),
        ({"version": "1"}, [("fraud", "1"), ("whole", "1")]),
    ],
)
def test_whose_statistics(
    client: Client, asked: dict[str, str], found: list[tuple[str, str]]
) -> None:
    stats = client.ask("ModelStatistics", **asked)["model_stats"]
    assert [(each["name"], each["version"]) for each in stats] == found


def test_statistics_of_nobody(client: Client) -> None:
    assert refusal(client, "ModelStatistics", name="nobody") == (5, "no 'nobody' ''")


def test_counters_of_a_fresh_version(repository: FakeRepository, client: Client) -> None:
    zeros = {key: 0 for key, value in counters().items() if isinstance(value, int)}
    repository.loaded = [
        FakeLoaded(spec("fresh"), **zeros, failure={}, batch_sizes={}, cost_us=None)
    ]
    (stats,) = client.ask("ModelStatistics")["model_stats"]
    assert "batch_stats" not in stats
    assert stats["inference_stats"]["success"] == {}


def test_repository_index(client: Client) -> None:
    ready = [
        {"name": "fraud", "version": "1", "state": "READY"},
        {"name": "fraud", "version": "3", "state": "READY"},
        {"name": "whole", "version": "1", "state": "READY"},
    ]
    broken = {"name": "broken", "state": "UNAVAILABLE", "reason": "not loaded"}
    assert client.ask("RepositoryIndex") == {"models": [*ready, broken]}
    assert client.ask("RepositoryIndex", ready=True) == {"models": ready}


def test_load_and_unload(client: Client, repository: FakeRepository) -> None:
    assert client.ask("RepositoryModelLoad", model_name="a") == {}
    parameters = {
        "config": Parameter(string_param="{}"),
        "file:1/model.onnx": Parameter(bytes_param=b"onnx"),
    }
    assert client.ask("RepositoryModelLoad", model_name="b", parameters=parameters) == {}
    assert client.ask("RepositoryModelUnload", model_name="a") == {}
    parameters = {"unload_dependents": Parameter(bool_param=True)}
    assert client.ask("RepositoryModelUnload", model_name="b", parameters=parameters) == {}
    assert repository.changes == [
        ("load", "a", None, None),
        ("load", "b", "{}", {"1/model.onnx": b"onnx"}),
        ("unload", "a", False),
        ("unload", "b", True),
    ]


def test_loads_that_are_refused(client: Client, repository: FakeRepository) -> None:
    assert refusal(
        client,
        "RepositoryModelLoad",
        model_name="a",
        parameters={"speed": Parameter(int64_param=1)},
    ) == (3, "load parameter 'speed' is not known, expected 'config' or 'file:<path>'")
    for method in ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"):
        assert refusal(client, method, repository_name="r") == (
            12,
            "repository_name 'r' came, only the empty name is served",
        )
    assert repository.changes == []


def test_few_loads_run_at_once(client: Client, repository: FakeRepository) -> None:
    lock = threading.Lock()
    release = threading.Event()
    running = most = 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait(10)
        with lock:
            running -= 1

    async def test() -> None:
        repository.on_change = work
        calls = [
            asyncio.create_task(client.call("RepositoryModelLoad", model_name=str(i)))
            for i in range(3 * MAX_CHANGES)
        ]
        while running < MAX_CHANGES:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        release.set()
        await asyncio.gather(*calls)

    run(test())
    assert most == MAX_CHANGES
    assert len(repository.changes) == 3 * MAX_CHANGES


def test_a_client_that_leaves_frees_no_place(client: Client, repository: FakeRepository) -> None:
    """Loads go on when nobody waits for them any more, and count for as long."""
    gate = threading.Event()
    running = 0
    most = 0
    lock = threading.Lock()

    def load(*_args: Any) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(10)
        with lock:
            running -= 1

    repository.load = load  # type: ignore[method-assign]

    async def test() -> None:
        async def ask() -> None:
            await client.call("RepositoryModelLoad", model_name="m")

        for _ in range(5 * MAX_CHANGES):
            impatient = asyncio.create_task(ask())
            await asyncio.sleep(0.002)
            impatient.cancel()
        assert most == MAX_CHANGES
        gate.set()
        await asyncio.wait_for(ask(), 10)

    run(test())


@pytest.mark.parametrize("config", [{"string_param": ""}, {"string_param": " "}, {"bool_param": 1}])
def test_an_empty_configuration_is_none(client: Client, config: dict[str, Any]) -> None:
    code, text = refusal(
        client, "RepositoryModelLoad", model_name="m", parameters={"config": Parameter(**config)}
    )
    assert code == 3
    assert text.startswith("load parameter 'config' came empty, or as ")
