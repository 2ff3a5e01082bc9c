"""A stand-in for a Penstock server: fixed answers of ``/v1/monitor``, and the page's files."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

HOSTILE = "<img src=x onerror=alert(1)>"
"""A name that must stay a text."""

POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
NOW = 1_790_000_000.0
VERDICTS = ("stable", "warning", "drifted", "insufficient data")


def summary(count: int, scale: float) -> dict[str, float | int]:
    """Latency of one stage whose median is ``scale`` seconds."""
    factors = {"mean": 1.21, "p50": 1.0, "p95": 2.83, "p99": 4.71, "p999": 9.13, "max": 14.7}
    return {"count": count, **{name: scale * factor for name, factor in factors.items()}}


def stages(count: int) -> dict[str, Any]:
    """Queue, compute and total."""
    if count == 0:
        return {"queue": None, "compute": None, "total": None}
    scales = {"queue": 0.000412, "compute": 0.00187, "total": 0.00234}
    return {name: summary(count, scale) for name, scale in scales.items()}


def feature(
    name: str, verdict: str, column: int, counts: Sequence[int], kind: str = "numeric", **more: Any
) -> dict[str, Any]:
    """One element of ``drift[window].features``."""
    told: dict[str, Any] = {
        "name": name, "role": "input", "tensor": "x", "column": column, "kind": kind,
        "verdict": verdict, "p_value": 0.21, "p_adjusted": 0.64, "test": "chi2",
        "psi": 0.0131, "psi_p_value": 0.3, "js": 0.0021, "js_p_value": 0.31,
        "ks": 0.0183, "ks_upper": 0.0911, "ks_p_value": 0.52,
        "wasserstein": 0.0401, "wasserstein_p_value": 0.44, "chi2": 9.1, "chi2_p_value": 0.21,
        "out_of_range": 0.0, "missing": 0.0, "counts": list(counts),
    }  # fmt: skip
    return told | more


def reference(told: dict[str, Any], counts: Sequence[int], **bins: Any) -> dict[str, Any]:
    """The same feature's element of ``reference``."""
    identity = {key: told[key] for key in ("name", "role", "tensor", "column", "kind")}
    shape = {"edges": None, "values": None} | bins
    numbers = {"mean": 0.5, "std": 0.3, "minimum": 0.0, "maximum": 1.0, "distinct": 900}
    return identity | shape | {"counts": list(counts), "summary": numbers | {"missing": 0}}


def _numeric(count: int, bins: int, shift: int) -> list[int]:
    """Counts of ``bins`` bins that lean to the right by ``shift``; then below, above, missing."""
    each = [max(0, count // bins + shift * (2 * i - bins + 1) + 5 * (i % 3)) for i in range(bins)]
    return [*each, 0, 7 * shift, 4 * (shift // 6)]


def watched_features() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Live and reference of the model ``digits``: every kind of feature and of verdict."""
    live: list[dict[str, Any]] = []
    expected: list[dict[str, Any]] = []
    edges = [round(-2.0 + 0.2 * i**1.1, 3) for i in range(21)]

    def numeric(name: str, verdict: str, shift: int, **more: Any) -> None:
        column = len(live)
        live.append(feature(name, verdict, column, _numeric(1000, 20, shift), **more))
        expected.append(reference(live[-1], _numeric(10_000, 20, 0), edges=edges))

    numeric("age", "stable", 0, psi=0.0112, p_value=0.71)
    numeric("income", "drifted", 6, psi=0.4312, p_value=1.3e-9, p_adjusted=2.6e-8,
            out_of_range=0.0417, missing=0.004)  # fmt: skip
    numeric(HOSTILE, "warning", 3, psi=0.1873, p_value=0.0021, p_adjusted=0.0147, test="ks")
    for i in range(12):
        numeric(f"pixel_{i}", "stable", i % 2, psi=0.001 * (i + 1))
    more: dict[str, Any] = {"psi": 0.0871, "p_value": 0.0009, "p_adjusted": 0.008}
    live.append(
        feature("country", "drifted", 15, [410, 220, 190, 90, 88, 0, 2], "category", **more)
    )
    values = ["de", "fr", "pl", "the united kingdom"]
    expected.append(reference(live[-1], [5000, 3000, 1500, 480, 20, 0, 0], values=values))
    more = {"role": "class", "tensor": "scores", "psi": None, "p_value": None, "p_adjusted": None}
    more |= {"test": None, "ks": None, "ks_upper": None, "ks_p_value": None}
    live.append(
        feature("scores", "insufficient data", 0, [3, 1, 0, 2, 0, 0, 0], "category", **more)
    )
    expected.append(reference(live[-1], [300, 400, 200, 100, 0, 0, 0], values=[0.0, 1.0, 2.0, 3.0]))
    return live, expected


def history() -> list[dict[str, Any]]:
    """Five minutes, with a pause of three points."""
    points = []
    for i in range(60):
        quiet = 20 <= i < 23
        wave = 1 + 0.25 * ((i * 7) % 11) / 11
        p50, p95, p99 = (scale * wave for scale in (0.00234, 0.0066, 0.011))
        told = (
            {"p50": None, "p95": None, "p99": None}
            if quiet
            else {"p50": p50, "p95": p95, "p99": p99}
        )
        rate = 0.0 if quiet else 81.5 * wave
        points.append(
            {"time": NOW - 5 * (59 - i), "seconds": 5.0, "rate": rate, **told,
             "mean_batch_rows": None if quiet else 6.3}
        )  # fmt: skip
    return points


def digits() -> dict[str, Any]:
    """A busy model with a profile and slices."""
    live, expected = watched_features()
    windows = {"1m": (60.0, 4983), "5m": (300.0, 24_516), "start": (5025.3, 401_337)}
    return {
        "schema": 1, "model": "digits", "version": "3", "time": NOW, "uptime_s": 5025.3,
        "traffic": {
            name: {"seconds": seconds, "requests": n, "failures": n // 1000, "rows": 2 * n,
                   "batches": n // 3, "rate": (n + n // 1000) / seconds,
                   "mean_batch_rows": 2 * n / (n // 3)}
            for name, (seconds, n) in windows.items()
        },
        "latency": {name: stages(n) for name, (_, n) in windows.items()},
        "slices": {
            "eu": {name: stages(n // 2) for name, (_, n) in windows.items()},
            HOSTILE: {name: stages(n // 9) for name, (_, n) in windows.items()},
            "other": {"1m": stages(0), "5m": stages(12), "start": stages(13)},
        },
        "batch_rows": {str(rows): 40_000 // (1 + (rows - 8) ** 2) for rows in range(1, 33)},
        "history": history(),
        "profile": {"state": "watching", "origin": "file", "rows": 10_000,
                    "created": "2026-08-01T10:00:00+00:00", "content_hash": "sha256:ab",
                    "learned_rows": 0, "learn_rows": 0},
        "drift": {
            "1m": {"rows": 9966, "verdict": "warning", "features": live},
            "5m": {"rows": 49_032, "verdict": "drifted", "features": live},
            "start": {"rows": 802_674, "verdict": "stable", "features": live},
        },
        "reference": expected,
    }  # fmt: skip


def idle(model: str, state: str = "none") -> dict[str, Any]:
    """A model that nobody asked for anything, without a profile."""
    zero = {"seconds": 60.0, "requests": 0, "failures": 0, "rows": 0, "batches": 0, "rate": 0.0}
    learning = state == "learning"
    return {
        "schema": 1, "model": model, "version": "1", "time": NOW, "uptime_s": 61.0,
        "traffic": {name: zero | {"mean_batch_rows": None} for name in ("1m", "5m", "start")},
        "latency": {name: stages(0) for name in ("1m", "5m", "start")},
        "slices": {}, "batch_rows": {}, "history": [], "drift": None, "reference": None,
        "profile": {"state": state, "origin": None, "rows": None, "created": None,
                    "content_hash": None, "learned_rows": 1234 if learning else 0,
                    "learn_rows": 5000 if learning else 0},
    }  # fmt: skip


@dataclass
class Answers:
    """What the fake server says; a test may change it while the server runs."""

    reports: list[dict[str, Any]] = field(
        default_factory=lambda: [digits(), idle(HOSTILE), idle("fresh", "learning")]
    )
    broken: tuple[int, bytes] | None = None
    """Status and body of every answer of ``/v1`` instead of the right one."""
    asked: list[str] = field(default_factory=list)
    """Targets of the requests so far."""

    def index(self) -> dict[str, Any]:
        """Of ``GET /v1/monitor``."""
        models = []
        for report in self.reports:
            drift = report["drift"]
            total = report["latency"]["1m"]["total"]
            models.append(
                {"model": report["model"], "version": report["version"],
                 "state": report["profile"]["state"],
                 "verdict": drift["5m"]["verdict"] if drift else None,
                 "rate": report["traffic"]["1m"]["rate"], "p99": total["p99"] if total else None}
            )  # fmt: skip
        return {"schema": 1, "models": models}

    def find(self, model: str, version: str | None) -> dict[str, Any] | None:
        """The report of a model."""
        for report in self.reports:
            if report["model"] == model and version in (None, report["version"]):
                return report
        return None


class _Handler(BaseHTTPRequestHandler):
    answers: Answers

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.answers.asked.append(self.path)
        if parts.path.startswith("/v1/monitor"):
            self._monitor(parts.path.removeprefix("/v1/monitor").lstrip("/"), parts.query)
            return
        name = parts.path.removeprefix("/page/") if parts.path != "/" else "index.html"
        file = resources.files("penstock.control").joinpath("page", name)
        kind = TYPES.get(name.rpartition(".")[2])
        if "/" in name or kind is None or not file.is_file():
            self._send(404, "text/plain", b"not here")
        else:
            self._send(200, kind, file.read_bytes())

    def _monitor(self, model: str, query: str) -> None:
        if self.answers.broken is not None:
            status, body = self.answers.broken
            self._send(status, "application/json", body)
            return
        version = parse_qs(query).get("version", [None])[0]
        found = self.answers.find(unquote(model), version) if model else self.answers.index()
        status = 404 if found is None else 200
        told = found if found is not None else {"error": f"no model {model}"}
        self._send(status, "application/json", json.dumps(told).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", POLICY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@contextmanager
def serve(answers: Answers, port: int = 0) -> Iterator[str]:
    """Serve on a free port, or on ``port``; gives the URL."""
    handler = type("Handler", (_Handler,), {"answers": answers})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
