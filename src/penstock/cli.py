"""The command line: ``penstock serve REPOSITORY...`` and the commands that look at servers."""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from penstock import __version__, exits, logs
from penstock.options import MAX_PORT, OptionsError, ServerOptions

EPILOG = """\
signals:
  SIGTERM, SIGINT  readiness turns false, clients are sent away (GOAWAY), open
                   calls are answered, then exit 0; a second signal exits at once
  SIGHUP           reads the TLS files again; without TLS, as SIGTERM

exit status:
  0    stopped by a signal
  1    unexpected failure
  2    bad usage or configuration
  3    cannot listen on an address
  4    no model could be loaded, or with --strict-readiness not all of them
  129  ended at once by a second SIGHUP
  130  ended at once by a second SIGINT
  143  ended at once by a second SIGTERM
"""

_COMMANDS = {
    "profile": (
        "penstock.terminal.profile",
        "Build the reference profile that a model's live rows are held against.",
    ),
    "watch": ("penstock.terminal.watch", "Watch a server's models in the terminal."),
    "merge": (
        "penstock.terminal.merge",
        "Show several replicas as one: the quantiles and the drift of their union.",
    ),
}
"""Module and description of each command with a module of its own."""

_DEFAULTS = ServerOptions()
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``penstock``; names in its result are those of ServerOptions."""
    parser = argparse.ArgumentParser(prog="penstock", description="Serve ONNX models over gRPC.")
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve model repositories",
        description="Serve model repositories to clients of the Open Inference Protocol.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument(
        "repositories", nargs="+", metavar="REPOSITORY", help="folder: MODEL/VERSION/model.onnx"
    )
    _add_addresses(serve)
    _add_models(serve)
    _add_limits(serve)
    _add_logging(serve)
    for name, (_, text) in _COMMANDS.items():
        # Its flags are added by _run_command(): to serve, nothing of it is imported.
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _run_command(name: str, arguments: Sequence[str]) -> int:
    """Run another command than ``serve``."""
    home, text = _COMMANDS[name]
    command = import_module(home)
    parser = argparse.ArgumentParser(prog=f"penstock {name}", description=text)
    command.add_arguments(parser)
    status: int = command.run(parser.parse_args(arguments))
    return status


def _add_addresses(serve: argparse.ArgumentParser) -> None:
    group = serve.add_argument_group("where to listen")
    _add(group, "--host", "HOST", str, "address of the gRPC and the HTTP port")
    _add(group, "--grpc-port", "PORT", _port, "0: any free port; off: none")
    _add(group, "--http-port", "PORT", _port, "health and metrics; 0: any free port; off: none")
    _add(group, "--unix-socket", "PATH", str, "speak gRPC on a Unix-domain socket as well")
    _add(group, "--tls-cert", "PEM", str, "certificate chain, leaf first; gRPC speaks TLS then")
    _add(group, "--tls-key", "PEM", str, "its private key")
    _add(group, "--tls-client-ca", "PEM", str, "clients must show a certificate signed by it")


def _add_models(serve: argparse.ArgumentParser) -> None:
    group = serve.add_argument_group("models")
    group.add_argument(
        "--model-control",
        choices=("none", "poll", "explicit"),
        default=_DEFAULTS.model_control,
        help="load all at start, follow the files as well, or load on request (default: none)",
    )
    group.add_argument(
        "--load-model",
        action="append",
        dest="load_models",
        metavar="NAME",
        default=[],
        help="with explicit: load it at start, * for all; repeatable",
    )
    _add(group, "--poll-interval", "SECONDS", _seconds, "with poll: between two looks at the files")
    group.add_argument(
        "--strict-readiness",
        action="store_true",
        help="one model that does not load fails the start",
    )
    _add(group, "--drain-timeout", "SECONDS", _seconds, "longest wait for open calls at the end")


def _add_limits(serve: argparse.ArgumentParser) -> None:
    group = serve.add_argument_group("limits", "sizes may end in K, M or G (powers of 1024)")
    _add(group, "--transport-threads", "N", int, "default: one per two cores, at least one")
    _add(group, "--max-connections", "N", int, "open connections")
    _add(group, "--max-streams", "N", int, "open calls of one connection")
    _add(group, "--max-header-bytes", "SIZE", _size, "metadata of one call")
    _add(group, "--max-message-bytes", "SIZE", _size, "one message, decompressed, each way")
    _add(group, "--max-bytes-in-flight", "SIZE", _size, "messages held, of all connections")
    _add(group, "--max-queued-requests", "N", int, "waiting requests of one model version")
    _add(group, "--idle-timeout", "SECONDS", _seconds, "a connection without calls is closed")
    _add(group, "--keepalive-time", "SECONDS", _seconds, "silence before a connection is pinged")
    _add(group, "--keepalive-timeout", "SECONDS", _seconds, "for the answer to that ping")
    _add(group, "--stall-timeout", "SECONDS", _seconds, "a client that takes no bytes is cut off")
    _add(group, "--handshake-timeout", "SECONDS", _seconds, "for TLS and the HTTP/2 preface")


def _add_logging(serve: argparse.ArgumentParser) -> None:
    group = serve.add_argument_group("logs, on standard output")
    group.add_argument(
        "--log-level", choices=logs.LEVELS, default="info", help="default: %(default)s"
    )
    group.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help="json: one object per line; the one with event 'ready' says where it listens",
    )


def _add(group: argparse._ArgumentGroup, flag: str, metavar: str, kind: Any, text: str) -> None:
    """A flag with the default of the ServerOptions field that it is named after."""
    name = flag.removeprefix("--").replace("-", "_")
    if kind is _seconds:
        name += "_s"
    default = getattr(_DEFAULTS, name)
    if default is not None:
        text += f" (default: {_size_text(default) if kind is _size else default})"
    group.add_argument(flag, dest=name, metavar=metavar, type=kind, default=default, help=text)


def _port(text: str) -> int | None:
    if text == "off":
        return None
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r}, expected 0 to {MAX_PORT} or off")
    return int(text)


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)", text.upper().removesuffix("IB").removesuffix("B"))
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}, expected bytes, or a number with K, M or G")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _size_text(size: int) -> str:
    unit = max((u for u in _SIZE_UNITS if size % _SIZE_UNITS[u] == 0), key=_SIZE_UNITS.__getitem__)
    return f"{size // _SIZE_UNITS[unit]}{unit}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number of seconds, or inf")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status (see ``penstock serve --help``).

    Args:
        arguments: those of the process if None.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    if arguments and arguments[0] in _COMMANDS:
        return _run_command(arguments[0], arguments[1:])
    parser = make_parser()
    chosen = vars(parser.parse_args(arguments))
    del chosen["command"]
    logs.configure(chosen.pop("log_level"), chosen["log_format"])
    json_lines = chosen.pop("log_format") == "json"
    repositories = chosen.pop("repositories")
    try:
        options = ServerOptions(**chosen)
    except OptionsError as error:
        print(f"penstock serve: error: {_as_flags(str(error))}", file=sys.stderr)
        return exits.USAGE
    from penstock.serve import serve

    # Whoever reads the log may go; that is no reason to print a traceback for each line.
    logging.raiseExceptions = False
    status = serve(repositories, options, show_banner=not json_lines)
    try:
        sys.stdout.flush()
    except OSError:
        # Or the interpreter tries again, and makes the status 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _as_flags(message: str) -> str:
    """A message about options, in the words of the command line."""
    for name in sorted(ServerOptions.__dataclass_fields__, key=len, reverse=True):
        flag = "--" + name.removesuffix("_s").replace("_", "-")
        message = re.sub(rf"\b{name}\b", "--load-model" if name == "load_models" else flag, message)
    return message
