"""The HTTP port: health for probes, metrics for Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from penstock import __version__
from penstock._native.engine import Engine
from penstock.control.inference_service import EXTENSIONS
from penstock.control.monitor_routes import monitor_routes
from penstock.control.readiness import Readiness
from penstock.control.worker import in_thread

if TYPE_CHECKING:
    from penstock.repository import ModelRepository


def make_app(engine: Engine, repository: ModelRepository, readiness: Readiness) -> Starlette:
    """The application: ``/v2``, ``/v2/health/{live,ready}`` and ``/metrics``."""

    scraping = asyncio.Lock()

    async def metadata(_request: Request) -> Response:
        return JSONResponse(
            {"name": "penstock", "version": __version__, "extensions": list(EXTENSIONS)}
        )

    async def live(_request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_request: Request) -> Response:
        status = 200 if readiness.ready else 503
        return JSONResponse({"ready": readiness.ready}, status_code=status)

    async def metrics(request: Request) -> Response:
        async with scraping:
            body, content_type = await in_thread(scrape, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    def scrape(accept: str) -> tuple[bytes, str]:
        # Imported by the first scrape: the start does not wait for it.
        from prometheus_client import CollectorRegistry, ProcessCollector

        from penstock.control.exposition import encode
        from penstock.control.metrics import PenstockCollector

        registry = CollectorRegistry()
        registry.register(PenstockCollector(engine, repository, readiness))
        ProcessCollector(registry=registry)
        return encode(registry, accept)

    async def not_found(request: Request, _error: Exception) -> Response:
        return PlainTextResponse(
            f"{request.url.path} is not served here; served: /v2, /v2/health/live, "
            "/v2/health/ready, /metrics, /v1/monitor, /\n",
            status_code=404,
        )

    return Starlette(
        routes=[
            Route("/v2", metadata),
            Route("/v2/health/live", live),
            Route("/v2/health/ready", ready),
            Route("/metrics", metrics),
            *monitor_routes(repository),
        ],
        exception_handlers={404: not_found},
    )
