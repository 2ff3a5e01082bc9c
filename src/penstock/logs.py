"""Structured logs: events with fields, as text or as one JSON object per line.

Any logger below ``penstock`` may be used as it is; :func:`event` adds fields to a record.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_FIELDS = "penstock_fields"


def event(log: logging.Logger, level: int, name: str, /, **fields: Any) -> None:
    """Log that something happened.

    Args:
        name: which kind of thing, in snake case: what is searched for.
        fields: what is to be known of it; JSON values.
    """
    log.log(level, name, extra={_FIELDS: fields})


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send what is logged below ``penstock`` to ``stream`` (standard output).

    Args:
        level: one of :data:`LEVELS`; what weighs less is dropped.
        form: one of :data:`FORMATS`.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stdout)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    for name, least in (("penstock", logging.DEBUG), ("uvicorn.error", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.setLevel(max(least, logging.getLevelNamesMapping()[level.upper()]))
        log.propagate = False


class JsonFormatter(logging.Formatter):
    """``time`` (UTC), ``level``, ``logger``, ``event`` or ``message``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = _fields_of(record)
        line = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message" if fields is None else "event": record.getMessage(),
            **(fields or {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """``TIME LEVEL logger: event key=value ...``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it."""
        fields = _fields_of(record) or {}
        line = " ".join(
            (
                _utc(record),
                f"{record.levelname:<7}",
                f"{record.name}:",
                record.getMessage(),
                *(f"{key}={_quoted(value)}" for key, value in fields.items()),
            )
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields_of(record: logging.LogRecord) -> dict[str, Any] | None:
    fields: dict[str, Any] | None = getattr(record, _FIELDS, None)
    return fields


def _utc(record: logging.LogRecord) -> str:
    return f"{time.strftime('%FT%T', time.gmtime(record.created))}.{record.msecs:03.0f}Z"


def _quoted(value: object) -> str:
    """As it is if it is one word, else as JSON has it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    plain = text and not any(letter.isspace() or letter in "\"'=" for letter in text)
    return text if plain or not isinstance(value, str) else json.dumps(value, ensure_ascii=False)
