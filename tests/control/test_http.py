"""The HTTP port, asked over ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import __version__
from penstock.control.http import make_app
from penstock.control.readiness import Readiness
from tests.control.fakes import TRANSPORT, FakeEngine, FakeLoaded, FakeRepository, run, spec


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    made.counters = TRANSPORT
    yield made
    made.close()


class Client:
    def __init__(self, engine: FakeEngine) -> None:
        self.readiness = Readiness()
        self.app = make_app(
            engine,  # type: ignore[arg-type]
            FakeRepository(FakeLoaded(spec("fraud"))),  # type: ignore[arg-type]
            self.readiness,
        )

    async def ask(
        self, path: str, method: str = "GET", accept: str = "*/*"
    ) -> tuple[int, dict[str, str], bytes]:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"accept", accept.encode())],
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent[1:])


@pytest.fixture
def client(engine: FakeEngine) -> Client:
    return Client(engine)


def test_health(client: Client) -> None:
    async def test() -> None:
        assert (await client.ask("/v2/health/live"))[::2] == (200, b'{"live":true}')
        assert (await client.ask("/v2/health/ready"))[::2] == (503, b'{"ready":false}')
        client.readiness.set("ready")
        assert (await client.ask("/v2/health/ready"))[::2] == (200, b'{"ready":true}')
        client.readiness.set("draining")
        assert (await client.ask("/v2/health/ready"))[::2] == (503, b'{"ready":false}')
        assert (await client.ask("/v2/health/live"))[0] == 200

    run(test())


def test_metadata(client: Client) -> None:
    status, headers, body = run(client.ask("/v2"))
    assert (status, headers["content-type"]) == (200, "application/json")
    metadata = json.loads(body)
    assert (metadata["name"], metadata["version"]) == ("penstock", __version__)
    assert "statistics" in metadata["extensions"]


def test_metrics_in_the_format_that_is_asked_for(client: Client) -> None:
    status, headers, body = run(client.ask("/metrics"))
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert b'\npenstock_requests_total{model="fraud",version="1"} 8.0\n' in body
    assert b"\nprocess_resident_memory_bytes " in body
    accept = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    status, headers, body = run(client.ask("/metrics", accept=accept))
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_scrapes_at_once_all_get_an_answer(client: Client) -> None:
    async def test() -> list[int]:
        answers = await asyncio.gather(*(client.ask("/metrics") for _ in range(8)))
        return [status for status, _, _ in answers]

    assert run(test()) == [200] * 8


def test_what_is_not_served(client: Client) -> None:
    status, _, body = run(client.ask("/v2/models/fraud/infer"))
    assert (status, body) == (
        404,
        b"/v2/models/fraud/infer is not served here; served: /v2, /v2/health/live, "
        b"/v2/health/ready, /metrics, /v1/monitor, /\n",
    )
    assert run(client.ask("/v2/health/live", method="POST"))[0] == 405
