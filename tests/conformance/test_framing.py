"""Below the client libraries: frames, headers and encodings as curl can bend them."""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.conformance import wire
from tests.conformance.conftest import Running

OK, INVALID_ARGUMENT, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED = 0, 3, 5, 8, 12
MESSAGE = wire.request("echo_fp32", "FP32", np.ones((1, 4), np.float32)).SerializeToString()


def frame(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


@pytest.fixture
def post(address: str, tmp_path: Path) -> Callable[..., dict[str, str]]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def ask(body: bytes, *headers: str, method: str = "ModelInfer", verb: str = "POST") -> Any:
        data = tmp_path / "body"
        data.write_bytes(body)
        command = [
            "curl",
            "--silent",
            "--show-error",
            "--http2-prior-knowledge",
            "--max-time",
            "10",
        ]
        command += ["--request", verb, "--output", str(tmp_path / "out"), "--dump-header", "-"]
        wanted = [*headers]
        if not any(header.startswith("content-type") for header in headers):
            wanted.append("content-type: application/grpc")
        wanted.append("te: trailers")
        for header in wanted:
            command += ["--header", header]
        if verb == "POST":
            command += ["--data-binary", f"@{data}"]
        command.append(f"http://{address}{wire.SERVICE}{method}")
        # Debian's curl complains (92) of the RST_STREAM(NO_ERROR) by which RFC 9113 section 8.1
        # lets a server stop an upload that it has answered already, and may lose the answer.
        for _ in range(20):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode in (0, 92), done.stderr
            if done.stdout:
                break
        lines = [line.strip() for line in done.stdout.splitlines()]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        fields[":status"] = re.match(r"HTTP/2 (\d+)", lines[0])[1]
        return fields

    return ask


@pytest.fixture(autouse=True)
def still_serving(channel: grpc.Channel) -> Any:
    yield
    wire.infer(channel, MESSAGE)


Post = Callable[..., dict[str, str]]


def test_a_good_frame(post: Post) -> None:
    fields = post(frame(MESSAGE))
    assert fields[":status"] == "200"
    assert fields["content-type"].startswith("application/grpc")
    assert fields["grpc-status"] == str(OK)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        frame(MESSAGE)[:-1],
        frame(MESSAGE, length=len(MESSAGE) + 10),
        frame(MESSAGE, length=len(MESSAGE) - 10),
        frame(MESSAGE) + b"\0",
        frame(MESSAGE) * 2,
    ],
    ids=[
        "no message",
        "half a prefix",
        "cut off",
        "length too long",
        "length too short",
        "a byte too many",
        "two messages",
    ],
)
def test_bad_frames(post: Post, body: bytes) -> None:
    fields = post(body)
    assert fields["grpc-status"] == str(INVALID_ARGUMENT), fields
    assert fields["grpc-message"]


def test_gzip(post: Post) -> None:
    zipped = frame(gzip.compress(MESSAGE), flag=1)
    fields = post(zipped, "grpc-encoding: gzip", "grpc-accept-encoding: gzip,identity")
    assert fields["grpc-status"] == str(OK)
    assert fields["grpc-encoding"] == "gzip"
    # Not every message of a compressed call is compressed.
    assert post(frame(MESSAGE), "grpc-encoding: gzip")["grpc-status"] == str(OK)


def test_bad_compression(post: Post) -> None:
    corrupt = frame(gzip.compress(MESSAGE)[:-9] + b"123456789", flag=1)
    assert post(corrupt, "grpc-encoding: gzip")["grpc-status"] != str(OK)
    without = post(frame(gzip.compress(MESSAGE), flag=1))
    assert without["grpc-status"] != str(OK)
    unknown = post(frame(MESSAGE, flag=1), "grpc-encoding: snappy")
    assert unknown["grpc-status"] == str(UNIMPLEMENTED)
    assert "gzip" in unknown["grpc-accept-encoding"]
    flag = post(frame(MESSAGE, flag=7))
    assert flag["grpc-status"] != str(OK)


def test_a_gzip_bomb_meets_the_message_limit(ours: Running, post: Post) -> None:
    bomb = gzip.compress(bytes(80 << 20))
    fields = post(frame(bomb, flag=1), "grpc-encoding: gzip")
    assert fields["grpc-status"] == str(EXHAUSTED)
    assert "max_message_bytes" in fields["grpc-message"]


def test_wrong_content_type(post: Post) -> None:
    assert post(frame(MESSAGE), "content-type: application/json")[":status"] == "415"


def test_wrong_verb(post: Post) -> None:
    assert post(b"", verb="GET")[":status"] in ("405", "200")


def test_unknown_method(post: Post) -> None:
    fields = post(frame(MESSAGE), method="Nothing")
    assert fields["grpc-status"] == str(UNIMPLEMENTED)
    assert "Nothing" in fields["grpc-message"]


@pytest.mark.parametrize("value", ["1", "S", "abcS", "123456789S", "-1S"])
def test_bad_timeouts(post: Post, value: str) -> None:
    assert post(frame(MESSAGE), f"grpc-timeout: {value}")["grpc-status"] != str(OK)


def test_messages_are_percent_encoded(post: Post) -> None:
    message = wire.request("m\N{SNOWMAN}\n%", "FP32", np.ones((1, 1), np.float32))
    fields = post(frame(message.SerializeToString()))
    assert fields["grpc-status"] == str(NOT_FOUND)
    assert fields["grpc-message"].isascii()
    assert "%25" in fields["grpc-message"]


def test_a_message_over_the_limit(models: Path, start: Any) -> None:
    flags = ["--model-control", "explicit", "--load-model", "echo_fp32"]
    with start(models, *flags, "--max-message-bytes", "1M") as own, own.channel() as channel:
        small = wire.request("echo_fp32", "FP32", np.ones((8, 1_000), np.float32))
        large = wire.request("echo_fp32", "FP32", np.ones((8, 100_000), np.float32))
        error = wire.refusal(channel, large)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_message_bytes" in error.details()
        assert str(1 << 20) in error.details()
        wire.infer(channel, small)


def test_headers_over_the_limit(ours: Running, channel: grpc.Channel) -> None:
    call = channel.unary_unary(wire.SERVICE + "ModelInfer")
    with pytest.raises(grpc.RpcError) as error:
        call(MESSAGE, timeout=5, metadata=[("big", "x" * 30_000)])
    assert error.value.code() != grpc.StatusCode.OK
