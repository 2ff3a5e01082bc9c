"""The same through Node's own gRPC."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).with_name("grpc_js")
PROTOS = Path(__file__).parents[2] / "protos"


def test_grpc_js(address: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (FOLDER / "node_modules").exists():
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=FOLDER, check=True
        )
    done = subprocess.run(
        ["node", "client.js", address, str(PROTOS)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
