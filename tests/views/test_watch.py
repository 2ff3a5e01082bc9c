"""``penstock watch`` shows what the server says, and says so when it cannot."""

from __future__ import annotations

import argparse
import importlib.util
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.terminal import numbers, watch
from penstock.terminal.source import SourceError, base_url, fetch_reports
from tests.views import fake

PATIENCE_S = 30

SCRIPT = """
import argparse, sys
from penstock.terminal import watch
parser = argparse.ArgumentParser()
watch.add_arguments(parser)
sys.exit(watch.run(parser.parse_args()))
"""

needs_rich = pytest.mark.skipif(
    importlib.util.find_spec("rich") is None, reason="the package rich is not installed"
)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    watch.add_arguments(parser)
    return watch.run(parser.parse_args(arguments))


@pytest.fixture
def answers() -> fake.Answers:
    return fake.Answers()


@pytest.fixture
def url(answers: fake.Answers) -> Iterator[str]:
    with fake.serve(answers) as found:
        yield found


def line_with(text: str, start: str) -> list[str]:
    """The cells of the line of a table that begins so; cells are two blanks or more apart."""
    line = next(line for line in text.splitlines() if line.strip().startswith(start))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@needs_rich
@pytest.mark.parametrize("window", ["1m", "5m", "start"])
def test_once_prints_the_numbers_of_the_window(
    url: str, answers: fake.Answers, window: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(url, "--once", "--window", window) == 0
    shown = capsys.readouterr().out
    report = answers.reports[0]
    traffic, total = report["traffic"][window], report["latency"][window]["total"]
    assert line_with(shown, "digits v3") == [
        "digits v3",
        f"{traffic['rate']:.3g}",
        f"{traffic['failures']:,}",
        *(f"{total[name] * 1e3:.3g} ms" for name in ("p50", "p95", "p99")),
        f"{traffic['mean_batch_rows']:.3g}",
        report["drift"][window]["verdict"],
    ]
    assert line_with(shown, fake.HOSTILE)[-1] == "no profile"
    assert line_with(shown, "fresh v1")[-1] == "learning, 1,234 of 5,000 rows"


@needs_rich
def test_once_prints_the_most_drifted_first(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, "--once", "--model", "digits", "--features", "4") == 0
    shown = capsys.readouterr().out
    features = shown[shown.index("Features") :]
    income = line_with(features, "income")
    assert income[1:6] == ["drifted", "0.431", "2.6e-08", "4.2%", "0.4%"]
    places = [features.index(name) for name in ("income", "country", fake.HOSTILE, "pixel_11")]
    assert places == sorted(places)
    assert "pixel_10" not in features
    assert "13 more features" in features
    assert "fresh" not in shown


@needs_rich
def test_a_pipe_gets_no_control_codes(url: str, answers: fake.Answers) -> None:
    answers.reports[0]["model"] = "evil\x1b[2J\u202e"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, "--once"],
        capture_output=True,
        env=os.environ | {"FORCE_COLOR": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "40"},
        timeout=PATIENCE_S,
        check=True,
    )
    text = done.stdout.decode()
    assert all(each.isprintable() or each == "\n" for each in text)
    assert "evil\\x1b[2J\\u202e v3" in text
    assert "▄" in text


@needs_rich
def test_a_terminal_without_blocks_gets_plain_signs(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, "--once"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=PATIENCE_S,
        check=True,
    )
    assert b"income" in done.stdout
    assert done.stdout.isascii()


@needs_rich
def test_no_traffic_and_no_model_are_told(
    url: str, answers: fake.Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(url, "--once", "--model", "fresh") == 0
    assert "No traffic in this window" in capsys.readouterr().out
    answers.reports.clear()
    assert run(url, "--once") == 0
    assert "No model is watched" in capsys.readouterr().out


@needs_rich
@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ((503, b'{"error": "it drains"}'), "status 503: it drains"),
        ((500, b"\xff"), "answered with status 500"),
        ((200, b"<html>"), "not JSON"),
        ((200, b"[]"), "in schema 'list', expected 1"),
        ((200, b'{"schema": 2}'), "in schema 2, expected 1"),
        ((200, b'{"schema": 1}'), "models is NoneType, expected a list"),
        ((200, b'{"schema": 1, "models": [{"model": 3}]}'), "a model's model is int"),
        (
            (200, b'{"schema": 1, "models": [{"model": "m", "version": "1"}]}'),
            "report of another shape (KeyError: 'traffic')",
        ),
    ],
)
def test_once_tells_what_is_wrong(
    broken: tuple[int, bytes], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake.serve(fake.Answers(broken=broken)) as url:
        assert run(url, "--once") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("penstock watch: error: ")
    assert shown.err.count("\n") == 1
    assert told in shown.err


@needs_rich
def test_once_tells_that_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with fake.serve(fake.Answers()) as url:
        pass
    assert run(url, "--once") == 1
    assert f"{url}/v1/monitor cannot be reached: " in capsys.readouterr().err


@needs_rich
def test_an_unknown_model_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, "--once", "--model", "nobody") == 1
    assert "watches no model 'nobody'; it watches: " in capsys.readouterr().err


def test_without_rich_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("127.0.0.1:1", "--once") == 2
    assert "pip install 'penstock[watch]'" in capsys.readouterr().err


@contextmanager
def in_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The live table in a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "140", "LINES": "50"},
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """What the terminal was sent, up to ``wanted``."""
    text = b""
    while wanted not in text:
        ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
        assert ready, f"{wanted!r} did not come; last: {text[-400:]!r}"
        text += os.read(descriptor, 1 << 16)
    return text


@needs_rich
def test_it_goes_on_when_the_server_comes_back_and_ends_quietly(answers: fake.Answers) -> None:
    with fake.serve(answers) as url:
        port = urlsplit(url).port or 0
    with in_terminal(url, "--interval", "0.1") as (process, terminal):
        read_until(terminal, b"cannot be reached")
        with fake.serve(answers, port):
            read_until(terminal, b"income")
        read_until(terminal, b"trying again")
        with fake.serve(answers, port):
            read_until(terminal, b"income")
            process.send_signal(signal.SIGINT)
            after = b""
            try:
                while part := os.read(terminal, 1 << 16):
                    after += part
            except OSError:
                pass  # How a terminal's end is told.
        assert process.wait(PATIENCE_S) == 130
        assert b"Traceback" not in after


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("https://host/prefix/", "https://host/prefix"),
    ],
)
def test_urls_that_are_some(given: str, url: str) -> None:
    assert base_url(given) == url


@pytest.mark.parametrize("given", ["", "ftp://host", "http://", "http://host:port", "h:1?x=2"])
def test_urls_that_are_none(given: str) -> None:
    with pytest.raises(ValueError):
        base_url(given)


@pytest.mark.parametrize(
    "arguments", [["ftp://x"], ["--interval", "0"], ["--interval", "nan"], ["--features", "0"]]
)
def test_bad_usage_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_names_are_quoted_in_the_path(answers: fake.Answers) -> None:
    answers.reports[:] = [fake.idle("a/b?c#d %")]
    with fake.serve(answers) as url:
        (report,) = fetch_reports(url, None)
    assert report["model"] == "a/b?c#d %"


def test_an_answer_cut_short_is_told() -> None:
    cut = fake.Answers(broken=(200, b'{"schema": 1, "mod'))
    with fake.serve(cut) as url, pytest.raises(SourceError, match="not JSON"):
        fetch_reports(url, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0, "0"), (2.5, "2.5 s"), (0.99996, "1 s"), (0.0123, "12.3 ms"),
        (0.00099999, "1 ms"), (4.2e-7, "420 ns"), (1234.5, "1,234 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("p", "text"), [(None, "-"), (0.0, "<1e-12"), (3.21e-7, "3.2e-07"), (0.0123, "0.012"), (1, "1")]
)
def test_probabilities(p: float | None, text: str) -> None:
    assert numbers.probability(p) == text


def test_a_share_that_is_not_zero_is_not_shown_as_zero() -> None:
    assert numbers.percent(1e-6) == "<0.1%"
    assert numbers.percent(0.0) == "0%"
    assert numbers.percent(0.0417) == "4.2%"


def test_sparklines_have_one_scale() -> None:
    above, below = numbers.sparklines([50, 50, 0, 0], [0, 0, 0, 8], 4)
    assert above == "▄▄  "
    assert below == "   █"
    assert numbers.sparklines([10**6, 1], [0, 0], 2) == ("█▁", "  ")


@pytest.mark.parametrize("width", [1, 3, 16, 32, 100])
def test_sparklines_fit(width: int) -> None:
    counts: list[Any] = list(range(32))
    above, below = numbers.sparklines(counts, counts, width)
    assert above == below
    assert len(above) <= width
    assert sum(numbers.pooled(counts, width)) == sum(counts)
