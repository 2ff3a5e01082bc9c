"""``penstock watch``: a server's latency and drift as a live table, or once for a pipe."""

from __future__ import annotations

import argparse
import importlib.util
import math
import signal
import sys
import time
from typing import TYPE_CHECKING

from penstock import exits
from penstock.terminal.numbers import ASCII_BLOCKS, BLOCKS, printable
from penstock.terminal.source import SourceError, base_url, fetch_reports

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

DEFAULT_URL = "http://127.0.0.1:8000"
WINDOWS = ("1m", "5m", "start")
PIPE_WIDTH = 160
"""Columns where nobody's window limits them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``penstock watch``."""
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        type=_url,
        default=DEFAULT_URL,
        help="the server's HTTP port, as HOST:PORT or http://HOST:PORT (default: %(default)s)",
    )
    parser.add_argument("--model", metavar="NAME", help="this model alone (default: all)")
    parser.add_argument(
        "--window", choices=WINDOWS, default="5m", help="what is counted (default: %(default)s)"
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=2.0,
        help="between two looks (default: 2)",
    )
    parser.add_argument(
        "--features",
        metavar="N",
        type=_count,
        help="features shown (default: as many as fit, 20 with --once)",
    )
    parser.add_argument(
        "--once", action="store_true", help="print the tables once and end; 1 without an answer"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show a server until interrupted, or once.

    Args:
        arguments: of a parser with :func:`add_arguments`.

    Returns:
        0 after ``--once``; 1 if then the server gave no answer; 2 without the package rich;
        130 after Ctrl-C.
    """
    if importlib.util.find_spec("rich") is None:
        _complain("the package rich is missing: pip install 'penstock[watch]'")
        return exits.USAGE
    try:
        return _once(arguments) if arguments.once else _live(arguments)
    except KeyboardInterrupt:
        return exits.SIGNAL + signal.SIGINT


def _once(arguments: argparse.Namespace) -> int:
    try:
        shown = _look(arguments, _console(), 20)
    except SourceError as error:
        _complain(printable(str(error)))
        return exits.FAILURE
    _console().print(shown)
    return 0


def _live(arguments: argparse.Namespace) -> int:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    console = _console()
    shown: RenderableType = Text(f"asking {arguments.url} ...", style="dim")
    # The other screen: what was in the terminal before is there again afterwards.
    with Live(shown, console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            live.update(shown, refresh=True)
            try:
                shown = _look(arguments, console, max(3, (console.height - 14) // 2))
                trouble = None
            except SourceError as error:
                trouble = Text(
                    f"{time.strftime('%H:%M:%S')} {printable(str(error))}; trying again",
                    style="bold red",
                )
            live.update(shown if trouble is None else Group(trouble, shown), refresh=True)
            time.sleep(arguments.interval)


def _look(arguments: argparse.Namespace, console: Console, features: int) -> RenderableType:
    """The tables as of now.

    Raises:
        SourceError: there is no answer, or one of another shape.
    """
    from penstock.terminal.tables import Look, tables

    reports = fetch_reports(arguments.url, arguments.model)
    look = Look(
        window=arguments.window,
        features=arguments.features or features,
        spark_width=32 if console.width >= 110 else 16,
        blocks=BLOCKS if console.encoding.startswith("utf") else ASCII_BLOCKS,
    )
    try:
        return tables(reports, look)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(
            f"{arguments.url} answered with a report of another shape "
            f"({type(error).__name__}: {error})"
        ) from error


def _console() -> Console:
    from rich.console import Console

    if sys.stdout.isatty():
        return Console()
    return Console(force_terminal=False, color_system=None, width=PIPE_WIDTH)


def _complain(text: str) -> None:
    print(f"penstock watch: error: {text}", file=sys.stderr)


def _url(text: str) -> str:
    try:
        return base_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r}, expected seconds from 0.1 to 3600")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number of features")
    return int(text)
