"""One screen that says what is served, with what shapes, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock import __version__

if TYPE_CHECKING:
    from penstock.server import Server
    from penstock.spec import ModelSpec, TensorSpec

MAX_MODELS = 12
MAX_TENSORS = 3
MAX_REASON = 100


def banner_text(server: Server, seconds: float) -> str:
    """For a terminal of some 100 columns and 24 lines.

    Args:
        seconds: from process start to ready.
    """
    specs = [loaded.spec for loaded in server.versions()]
    lines = [f"Penstock {__version__}, ready in {seconds:.2f} s", ""]
    if specs:
        lines += _table(
            [("MODEL", "VERSION", "BATCH", "INPUTS", "OUTPUTS"), *map(_row, specs[:MAX_MODELS])]
        )
    if len(specs) > MAX_MODELS:
        lines.append(f"  and {len(specs) - MAX_MODELS} more")
    if not specs:
        lines.append("  no model is loaded yet")
    lines += _failures(list(server.failures.items()))
    return "\n".join([*lines, "", *_places(server), ""])


def _row(spec: ModelSpec) -> tuple[str, ...]:
    rows = spec.batching.max_batch_size
    return (
        spec.name,
        str(spec.version),
        str(rows) if rows > 0 else "-",
        _tensors(spec.inputs, rows > 0),
        _tensors(spec.outputs, rows > 0),
    )


def _tensors(tensors: Sequence[TensorSpec], batches: bool) -> str:
    shown = []
    for tensor in tensors[:MAX_TENSORS]:
        dims = (-1, *tensor.dims) if batches else tensor.dims
        shown.append(f"{tensor.name} {tensor.datatype}[{','.join(map(str, dims))}]")
    if len(tensors) > MAX_TENSORS:
        shown.append(f"and {len(tensors) - MAX_TENSORS} more")
    return ", ".join(shown)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _failures(failures: Sequence[tuple[str, str]]) -> list[str]:
    if not failures:
        return []
    lines = ["", f"  {len(failures)} did not load:"]
    for name, reason in failures[:MAX_MODELS]:
        text = " ".join(reason.split())
        lines.append(f"  {name}: {text if len(text) <= MAX_REASON else text[:MAX_REASON] + '...'}")
    if len(failures) > MAX_MODELS:
        lines.append(f"  and {len(failures) - MAX_MODELS} more; see the log")
    return lines


def _places(server: Server) -> list[str]:
    options = server.options
    tls = "" if options.tls is None else ", TLS"
    if options.tls_client_ca is not None:
        tls = ", TLS with client certificates"
    places = []
    if options.grpc_port is not None:
        places.append(f"  gRPC  {server.grpc_address}{tls}")
    if options.unix_socket is not None:
        places.append(f"  gRPC  unix:{options.unix_socket}{tls}")
    if options.http_port is not None:
        places.append(f"  HTTP  http://{server.http_address}/v2/health/ready, /metrics")
    return places
