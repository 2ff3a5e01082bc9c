"""Asks a server for ``/v1/monitor``."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

SCHEMA = 1
"""Of the answers that are understood here."""

MAX_ANSWER_BYTES = 64 << 20
"""More is no answer of ours."""


class SourceError(Exception):
    """The server is gone, or what it says is not understood; the text says which."""


def base_url(text: str) -> str:
    """``host:port`` or a URL, as the URL under which ``/v1/monitor`` is.

    Raises:
        ValueError: it is neither.
    """
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r}, expected HOST:PORT or http://HOST:PORT")
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r} has a query or a fragment, expected http://HOST:PORT")
    _ = parts.port  # Raises for one that is no port.
    return url


def fetch_reports(url: str, model: str | None, timeout_s: float = 5.0) -> list[dict[str, Any]]:
    """The report of every version that the server watches, or of those of one model.

    Args:
        url: of :func:`base_url`.
        model: all if None.
        timeout_s: for each answer.

    Raises:
        SourceError: the server cannot be reached, answers something else, or has no such model.
    """
    index = _get(f"{url}/v1/monitor", timeout_s)
    listed = [(_text(entry, "model"), _text(entry, "version")) for entry in _list(index, "models")]
    chosen = [(name, version) for name, version in listed if model in (None, name)]
    if model is not None and not chosen:
        names = ", ".join(sorted({name for name, _ in listed})) or "none"
        raise SourceError(f"{url} watches no model {model!r}; it watches: {names}")
    return [
        _get(f"{url}/v1/monitor/{quote(name, safe='')}?version={quote(version)}", timeout_s)
        for name, version in chosen
    ]


def _get(url: str, timeout_s: float) -> dict[str, Any]:
    try:
        with urlopen(Request(url, headers={"accept": "application/json"}), None, timeout_s) as got:
            body = got.read(MAX_ANSWER_BYTES + 1)
    except HTTPError as error:
        raise SourceError(f"{url} answered with status {error.code}{_reason(error)}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise SourceError(f"{url} cannot be reached: {reason}") from error
    if len(body) > MAX_ANSWER_BYTES:
        raise SourceError(f"{url} answered with more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise SourceError(f"{url} answered with something that is not JSON") from error
    if not isinstance(answer, dict) or answer.get("schema") != SCHEMA:
        came = answer.get("schema") if isinstance(answer, dict) else type(answer).__name__
        raise SourceError(f"{url} answered in schema {came!r}, expected {SCHEMA}")
    return answer


def _reason(error: HTTPError) -> str:
    """What the server itself says of a refusal."""
    try:
        told = json.loads(error.read(1 << 16))["error"]
    except (OSError, ValueError, TypeError, KeyError, HTTPException):
        return ""
    return f": {told}"


def _list(answer: dict[str, Any], key: str) -> list[Any]:
    value = answer.get(key)
    if not isinstance(value, list):
        raise SourceError(f"the answer's {key} is {type(value).__name__}, expected a list")
    return value


def _text(entry: Any, key: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise SourceError(f"a model's {key} is {type(value).__name__}, expected a text")
    return value
