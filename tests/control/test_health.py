"""grpc.health.v1: what a probe is told, and what a watcher sees change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import protos
from penstock._native.engine import RequestError
from penstock.control.health import HealthService
from penstock.control.readiness import Readiness
from tests.control.fakes import (
    WATCH,
    FakeEngine,
    FakeLoaded,
    FakeRepository,
    bridge_with,
    run,
    spec,
)

Request = protos.message("grpc.health.v1.HealthCheckRequest")
Response = protos.message("grpc.health.v1.HealthCheckResponse")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3

OK = (0, "")


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.close()


async def check(service: HealthService, name: str) -> int:
    handler = service.handlers()["/grpc.health.v1.Health/Check"].unary
    assert handler is not None
    response: Any = await handler(Request(service=name))
    return int(response.status)


def statuses(messages: list[bytes]) -> list[int]:
    return [Response.FromString(message).status for message in messages]


def test_check() -> None:
    async def test() -> None:
        readiness = Readiness()
        repository = FakeRepository(FakeLoaded(spec("fraud")), unavailable=("broken",))
        service = HealthService(repository, readiness)  # type: ignore[arg-type]
        server = ("", "inference.GRPCInferenceService", "grpc.health.v1.Health")
        for name in (*server, "fraud", "broken"):
            assert await check(service, name) == NOT_SERVING
        readiness.set("ready")
        for name in (*server, "fraud"):
            assert await check(service, name) == SERVING
        assert await check(service, "broken") == NOT_SERVING
        with pytest.raises(RequestError) as error:
            await check(service, "nobody")
        assert (error.value.code, error.value.message) == (
            5,
            "service 'nobody' is not known here",
        )
        readiness.set("draining")
        assert await check(service, "fraud") == NOT_SERVING

    run(test())


def test_a_drain_is_final() -> None:
    async def test() -> None:
        readiness = Readiness()
        readiness.set("draining")
        readiness.set("ready")
        assert readiness.draining and not readiness.ready

    run(test())


def test_watch_tells_the_state_and_each_change(engine: FakeEngine) -> None:
    async def test() -> None:
        readiness = Readiness()
        repository = FakeRepository()
        service = HealthService(repository, readiness)  # type: ignore[arg-type]
        bridge_with(engine, service.handlers())
        for call, name in enumerate(("", "fraud")):
            engine.push(call, WATCH, Request(service=name).SerializeToString())
        assert statuses(await engine.answers(0, 1)) == [NOT_SERVING]
        assert statuses(await engine.answers(1, 1)) == [SERVICE_UNKNOWN]
        readiness.set("ready")
        assert statuses(await engine.answers(0, 2)) == [NOT_SERVING, SERVING]
        repository.loaded.append(FakeLoaded(spec("fraud")))
        readiness.notify()
        assert statuses(await engine.answers(1, 2)) == [SERVICE_UNKNOWN, SERVING]
        # Nothing new to tell.
        readiness.notify()
        await asyncio.sleep(0.02)
        assert len(engine.sent[0]) == len(engine.sent[1]) == 2
        readiness.set("draining")
        for call in (0, 1):
            assert await engine.status(call) == OK
            assert statuses(engine.sent[call])[2:] == [NOT_SERVING]

    run(test())


def test_a_watcher_may_go(engine: FakeEngine) -> None:
    async def test() -> None:
        readiness = Readiness()
        service = HealthService(FakeRepository(), readiness)  # type: ignore[arg-type]
        bridge_with(engine, service.handlers())
        engine.push(1, WATCH, Request().SerializeToString())
        await engine.answers(1, 1)
        engine.gone(1, WATCH)
        await asyncio.sleep(0.02)
        readiness.set("ready")
        await asyncio.sleep(0.02)
        assert statuses(engine.sent[1]) == [NOT_SERVING]
        assert engine.finished == {}

    run(test())
