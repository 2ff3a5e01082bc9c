"""Log lines, for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from penstock import logs

log = logging.getLogger("penstock.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    kept = [
        (each, each.handlers, each.level, each.propagate)
        for each in map(logging.getLogger, ("penstock", "uvicorn.error"))
    ]
    yield
    for each, handlers, level, propagate in kept:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


def configured(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, form, stream)
    return stream


def test_events_as_json() -> None:
    stream = configured("json")
    logs.event(log, logging.INFO, "ready", grpc="127.0.0.1:8001", shape=[-1, 4], why=None)
    line = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "penstock.test",
        "event": "ready",
        "grpc": "127.0.0.1:8001",
        "shape": [-1, 4],
        "why": None,
    }


def test_plain_records_as_json() -> None:
    stream = configured("json")
    log.warning("two\nlines, %s", "grün")
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert line["message"] == "two\nlines, grün"
    assert line["level"] == "warning"
    assert "event" not in line


def test_tracebacks() -> None:
    for form in logs.FORMATS:
        stream = configured(form)
        try:
            raise KeyError("oops")
        except KeyError:
            log.exception("it failed")
        written = stream.getvalue()
        text = json.loads(written)["exception"] if form == "json" else written
        assert "Traceback" in text and "KeyError: 'oops'" in text


def test_events_as_text() -> None:
    stream = configured("text")
    logs.event(log, logging.ERROR, "failed", model="a", reason="it = 'odd'", empty="", dims=[1, 2])
    time, rest = stream.getvalue().split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert rest == (
        'ERROR   penstock.test: failed model=a reason="it = \'odd\'" empty="" dims=[1, 2]\n'
    )


def test_levels() -> None:
    stream = configured("text", "warning")
    log.info("no")
    log.warning("yes")
    assert stream.getvalue().endswith("penstock.test: yes\n")
    assert stream.getvalue().count("\n") == 1


def test_the_http_server_is_quiet() -> None:
    stream = configured("text", "debug")
    logging.getLogger("uvicorn.error").info("Uvicorn running")
    logging.getLogger("uvicorn.error").error("it broke")
    assert stream.getvalue().endswith("uvicorn.error: it broke\n")
    assert stream.getvalue().count("\n") == 1
