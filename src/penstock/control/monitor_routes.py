"""HTTP routes of the monitor: JSON for programs, a page for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from penstock.control.worker import in_thread
from penstock.monitoring.watcher import ModelWatcher

if TYPE_CHECKING:
    from penstock.repository import ModelRepository

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE_HEADERS = {
    # Nothing of the page comes from elsewhere, and no name of a model or a feature can be a script.
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def monitor_routes(repository: ModelRepository) -> list[Route]:
    """``/`` and ``/page/*``; ``/v1/monitor`` and what is under it."""

    def watchers() -> list[ModelWatcher]:
        return [loaded.watcher for loaded in repository.versions() if loaded.watcher is not None]

    def watcher_of(request: Request) -> ModelWatcher:
        """Raises ValueError if there is none to look at."""
        name = request.path_params["model"]
        version = request.query_params.get("version", "")
        if version and not (version.isascii() and version.isdigit()):
            raise ValueError(f"version {version!r} came, expected a number")
        found = [
            each
            for each in repository.versions()
            if each.spec.name == name and version in ("", str(each.spec.version))
        ]
        if not found:
            which = f"model {name!r}" + (f" version {version}" if version else "")
            raise ValueError(f"{which} is not loaded")
        newest = max(found, key=lambda each: each.spec.version)
        if newest.watcher is None:
            raise ValueError(f"model {name!r} is not monitored: its parameter monitoring is 'off'")
        return newest.watcher

    async def index(_request: Request) -> Response:
        from penstock.monitoring.report import index_report

        return JSONResponse(await in_thread(lambda: index_report(watchers())))

    def about_one(answer: Callable[[ModelWatcher], Any]) -> Callable[[Request], Any]:
        async def respond(request: Request) -> Response:
            try:
                watcher = watcher_of(request)
            except ValueError as error:
                return JSONResponse({"error": str(error)}, status_code=404)
            body = await in_thread(lambda: json.dumps(answer(watcher), allow_nan=False))
            return Response(body, media_type="application/json")

        return respond

    def report(watcher: ModelWatcher) -> dict[str, Any]:
        from penstock.monitoring.report import model_report

        return model_report(watcher)

    def state(watcher: ModelWatcher) -> dict[str, Any]:
        from penstock.monitoring.merge import replica_state

        return replica_state(watcher)

    def profile(watcher: ModelWatcher) -> Any:
        found = watcher.profile
        return json.loads(found.to_json()) if found is not None else None

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        suffix = name[name.rfind(".") :]
        # Route parameters hold no slash: only files of this one folder can be named.
        file = resources.files("penstock.control").joinpath("page", name)
        if suffix not in _TYPES or not file.is_file():
            return PlainTextResponse(f"{request.url.path} is no file of the page\n", 404)
        return Response(
            file.read_bytes(), headers={"content-type": _TYPES[suffix], **_PAGE_HEADERS}
        )

    return [
        Route("/", page),
        Route("/page/{name}", page),
        Route("/v1/monitor", index),
        Route("/v1/monitor/{model}", about_one(report)),
        Route("/v1/monitor/{model}/state", about_one(state)),
        Route("/v1/monitor/{model}/profile", about_one(profile)),
    ]
