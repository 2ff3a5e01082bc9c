"""HTTP/2 clients that people have at hand: curl and h2load."""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import http2, wire

VALUES = np.arange(12, dtype=np.float32).reshape(2, 6)
MESSAGE = wire.encoded(wire.request("echo_fp32", "FP32", VALUES))


def curl(address: str, folder: Path, body: bytes, *headers: str) -> tuple[dict[str, str], bytes]:
    """Fields of headers and trailers, and the body of the answer."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    data, out = folder / "body", folder / "out"
    data.write_bytes(body)
    command = ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--max-time", "10"]
    command += ["--output", str(out), "--dump-header", "-", "--data-binary", f"@{data}"]
    for header in ("content-type: application/grpc", "te: trailers", *headers):
        command += ["--header", header]
    command.append(f"http://{address}{wire.SERVICE}ModelInfer")
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in told.splitlines()]
    assert lines[0] == "HTTP/2 200"
    return dict(line.split(": ", 1) for line in lines if ": " in line), out.read_bytes()


def test_curl(address: str, tmp_path: Path) -> None:
    fields, body = curl(address, tmp_path, http2.message(MESSAGE))
    assert fields["content-type"].startswith("application/grpc")
    assert fields["grpc-status"] == "0"
    flag, size = struct.unpack_from(">BI", body)
    assert (flag, size) == (0, len(body) - 5)
    response = pb.ModelInferResponse.FromString(body[5:])
    np.testing.assert_array_equal(wire.answer(response), VALUES)


def test_curl_with_gzip(address: str, tmp_path: Path) -> None:
    zipped = gzip.compress(MESSAGE)
    body = struct.pack(">BI", 1, len(zipped)) + zipped
    fields, _ = curl(address, tmp_path, body, "grpc-encoding: gzip")
    assert fields["grpc-status"] == "0"


def test_curl_with_a_bad_request(address: str, tmp_path: Path) -> None:
    bad = wire.encoded(wire.request("echo_fp32", "FP64", VALUES))
    fields, body = curl(address, tmp_path, http2.message(bad))
    assert fields["grpc-status"] == "3"
    assert fields["grpc-message"]
    assert body == b""


@pytest.mark.parametrize(("connections", "streams"), [(1, 1), (1, 100), (8, 32)])
def test_h2load(address: str, tmp_path: Path, connections: int, streams: int) -> None:
    if shutil.which("h2load") is None:
        pytest.skip("h2load is not installed")
    body = tmp_path / "body"
    body.write_bytes(http2.message(MESSAGE))
    count = 200 if streams == 1 else 3_000
    command = ["h2load", f"--requests={count}", f"--clients={connections}", f"--data={body}"]
    command += [f"--max-concurrent-streams={streams}", "--header=content-type: application/grpc"]
    command += ["--header=te: trailers", f"http://{address}{wire.SERVICE}ModelInfer"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in told
    # It knows nothing of gRPC: an answer with a message is larger than one without.
    received = re.search(r"\((\d+)\) data", told)
    assert received is not None
    assert int(received[1]) > count * VALUES.nbytes
