"""The contract in its private pool, beside tritonclient in either order of import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock import protos

ROOT = Path(__file__).resolve().parents[1]


def run_python(source: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


OURS = """
from penstock import protos
ours = protos.message("inference.ModelInferRequest")(model_name="m", id="7")
config = protos.message("inference.ModelConfig")(name="m", max_batch_size=8)
"""
THEIRS = """
from tritonclient.grpc import model_config_pb2, service_pb2
theirs = service_pb2.ModelInferRequest(model_name="m", id="7")
"""
COMPARE = """
assert ours.SerializeToString() == theirs.SerializeToString()
assert type(ours) is not type(theirs)
assert model_config_pb2.ModelConfig.FromString(config.SerializeToString()).max_batch_size == 8
print("both")
"""


@pytest.mark.parametrize("order", [OURS + THEIRS, THEIRS + OURS], ids=["ours", "theirs first"])
def test_tritonclient_can_be_imported_before_and_after(order: str) -> None:
    pytest.importorskip("tritonclient.grpc")
    assert run_python(order + COMPARE) == "both"


def test_it_brings_neither_grpc_nor_tritonclient() -> None:
    loaded = run_python(
        "import sys; from penstock import protos; protos.message('inference.ModelConfig');"
        "print([m for m in ('grpc', 'tritonclient', 'numpy') if m in sys.modules])"
    )
    assert loaded == "[]"


def test_an_unknown_message_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="Nothing"):
        protos.message("inference.Nothing")


def test_a_message_has_one_class() -> None:
    assert protos.message("inference.ModelConfig") is protos.message("inference.ModelConfig")


def test_services_know_how_their_methods_stream() -> None:
    methods = {method.path: method for methods in protos.services().values() for method in methods}
    unary = methods["/inference.GRPCInferenceService/ModelInfer"]
    assert unary.request == "inference.ModelInferRequest"
    assert unary.response == "inference.ModelInferResponse"
    assert (unary.client_streaming, unary.server_streaming) == (False, False)
    stream = methods["/inference.GRPCInferenceService/ModelStreamInfer"]
    assert (stream.client_streaming, stream.server_streaming) == (True, True)
    watch = methods["/grpc.health.v1.Health/Watch"]
    assert (watch.client_streaming, watch.server_streaming) == (False, True)


@pytest.mark.parametrize(
    "symbol",
    [
        "inference.ModelInferRequest",
        "inference.ModelInferRequest.model_name",
        "inference.ModelInferRequest.InferInputTensor",
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.DataType",
        "inference.ModelInstanceGroup.Kind",
    ],
)
def test_the_file_of_a_symbol(symbol: str) -> None:
    file = protos.file_of(symbol)
    assert file is not None
    assert symbol.split(".")[1].encode() in protos.descriptor_set_files()[file]


@pytest.mark.parametrize("symbol", ["", "inference", "inference.GRPCInferenceService.Nothing"])
def test_what_is_not_declared_has_no_file(symbol: str) -> None:
    assert protos.file_of(symbol) is None


def test_files_come_after_those_they_import() -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    seen: set[str] = set()
    for name, data in protos.descriptor_set_files().items():
        file = FileDescriptorProto.FromString(data)
        assert file.name == name
        assert set(file.dependency) <= seen
        seen.add(name)


class TestCompiling:
    """build_protos.py."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        pytest.importorskip("grpc_tools")
        folder = tmp_path / "protos"
        folder.mkdir()
        (folder / "a.proto").write_text('syntax = "proto3"; package a; message A { int32 x = 1; }')
        self._age(folder)
        return folder

    @staticmethod
    def _age(folder: Path) -> None:
        """What is written from now on is newer, whatever the clock's resolution."""
        past = time.time() - 10
        for path in (*folder.iterdir(), folder):
            os.utime(path, (past, past))

    def test_it_does_nothing_twice(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "out" / "set.binpb"
        compile_protos = self._module().compile_protos
        assert compile_protos(source, target)
        first = target.stat().st_mtime_ns
        assert not compile_protos(source, target)
        assert target.stat().st_mtime_ns == first
        assert b"a.proto" in target.read_bytes()

    def test_it_follows_changed_and_removed_files(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "set.binpb"
        compile_protos = self._module().compile_protos
        (source / "b.proto").write_text('syntax = "proto3"; message B {}')
        assert compile_protos(source, target)
        os.utime(target, (0, 0))
        (source / "b.proto").unlink()
        assert compile_protos(source, target)
        assert b"b.proto" not in target.read_bytes()

    def test_a_broken_file_leaves_the_old_set(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "set.binpb"
        compile_protos = self._module().compile_protos
        compile_protos(source, target)
        before = target.read_bytes()
        os.utime(target, (0, 0))
        (source / "a.proto").write_text("message {")
        with pytest.raises(RuntimeError, match="protoc ended with status 1"):
            compile_protos(source, target)
        assert target.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["protos"]

    def test_a_folder_without_protos_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no \.proto files"):
            self._module().compile_protos(tmp_path, tmp_path / "set.binpb")

    @staticmethod
    def _module():  # type: ignore[no-untyped-def]
        import importlib.util

        path = ROOT / "build_protos.py"
        if not path.exists():
            pytest.skip("not a source checkout")
        spec = importlib.util.spec_from_file_location("build_protos", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
