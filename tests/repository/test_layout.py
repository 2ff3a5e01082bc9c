"""Folders: which are models, which are versions, and what has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.backends.base import LoadError
from penstock.repository.config_file import parse_text
from penstock.repository.layout import (
    ModelFolder,
    file_inside,
    find_model,
    find_models,
    wanted_versions,
)
from penstock.repository.platforms import ONNX, PYTHON, choose_platform, model_file


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def test_models_are_folders(tmp_path: Path) -> None:
    make(tmp_path, "b/1/model.onnx", "a/1/model.onnx", "readme.txt", ".git/config")
    assert list(find_models([tmp_path])) == ["a", "b"]


def test_a_name_in_two_repositories(tmp_path: Path) -> None:
    make(tmp_path, "one/a/1/m", "two/a/1/m", "two/b/1/m")
    found = find_models([tmp_path / "one", tmp_path / "two"])
    assert {name: len(folders) for name, folders in found.items()} == {"a": 2, "b": 1}


@pytest.mark.parametrize("name", ["", "..", ".", "a/1", "../a", ".hidden", "none", "a\0"])
def test_names_that_are_no_model(tmp_path: Path, name: str) -> None:
    make(tmp_path, "a/1/m", ".hidden/1/m")
    assert find_model([tmp_path], name) == []


def test_versions_are_numbers(tmp_path: Path) -> None:
    for name in ("1", "10", "2", "0", "07", "latest", "-3", "1.5", "²", "9" * 40):
        (tmp_path / name).mkdir()
    make(tmp_path, "5")
    assert ModelFolder("m", tmp_path).versions() == [1, 2, 10]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("", [7]),
        ("version_policy { latest { } }", [7]),
        ("version_policy { latest { num_versions: 2 } }", [3, 7]),
        ("version_policy { latest { num_versions: 9 } }", [1, 3, 7]),
        ("version_policy { all { } }", [1, 3, 7]),
        ("version_policy { specific { versions: [ 3, 1, 3 ] } }", [1, 3]),
        ("version_policy { specific { versions: 5 } }", [5]),
    ],
)
def test_version_policies(policy: str, wanted: list[int]) -> None:
    message = parse_text(policy, "c").message.version_policy
    assert wanted_versions(message, [1, 3, 7], ModelFolder("m", Path())) == wanted


def test_a_model_without_versions() -> None:
    message = parse_text("", "c").message.version_policy
    with pytest.raises(LoadError) as raised:
        wanted_versions(message, [], ModelFolder("m", Path()))
    assert str(raised.value) == "model 'm' has no version: expected a folder m/1 or the like"


def test_specific_without_versions() -> None:
    message = parse_text("version_policy { specific { } }", "c").message.version_policy
    with pytest.raises(LoadError, match="specific names no versions"):
        wanted_versions(message, [1], ModelFolder("m", Path()))


class TestFingerprints:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> ModelFolder:
        make(tmp_path, "m/config.pbtxt", "m/labels.txt", "m/1/model.onnx", "m/1/data/weights")
        return ModelFolder("m", tmp_path / "m")

    def test_they_stay_while_nothing_changes(self, folder: ModelFolder) -> None:
        assert folder.fingerprint() == folder.fingerprint()
        assert [each[0] for each in folder.fingerprint()] == ["config.pbtxt", "labels.txt"]
        assert [each[0] for each in folder.version_fingerprint(1)] == ["model.onnx", "data/weights"]

    def test_a_file_of_a_version(self, folder: ModelFolder) -> None:
        shared, version = folder.fingerprint(), folder.version_fingerprint(1)
        make(folder.path, "1/data/more")
        assert folder.fingerprint() == shared
        assert folder.version_fingerprint(1) != version

    def test_a_touched_file(self, folder: ModelFolder) -> None:
        shared = folder.fingerprint()
        os.utime(folder.path / "labels.txt", (1, 1))
        assert folder.fingerprint() != shared

    def test_a_replaced_file_of_the_same_size_and_time(self, folder: ModelFolder) -> None:
        path = folder.path / "1" / "model.onnx"
        before, stat = folder.version_fingerprint(1), path.stat()
        make(folder.path, "1/new")
        os.utime(folder.path / "1" / "new", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        os.replace(folder.path / "1" / "new", path)
        assert folder.version_fingerprint(1) != before

    def test_hidden_files_and_compiled_python_do_not_count(self, folder: ModelFolder) -> None:
        before = folder.version_fingerprint(1)
        make(folder.path, "1/.model.onnx.part", "1/__pycache__/model.pyc")
        assert folder.version_fingerprint(1) == before


class TestPlatforms:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('backend: "onnxruntime"', ONNX),
            ('platform: "onnxruntime_onnx"', ONNX),
            ('platform: "onnxruntime"', ONNX),
            ('backend: "python"', PYTHON),
            ('default_model_filename: "net.onnx"', ONNX),
            ('default_model_filename: "net.py"', PYTHON),
        ],
    )
    def test_by_configuration(self, tmp_path: Path, text: str, expected: object) -> None:
        assert choose_platform(parse_text(text, "c"), tmp_path) is expected

    @pytest.mark.parametrize(("file", "expected"), [("model.onnx", ONNX), ("model.py", PYTHON)])
    def test_by_file(self, tmp_path: Path, file: str, expected: object) -> None:
        make(tmp_path, file)
        assert choose_platform(parse_text("", "c"), tmp_path) is expected

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            (
                'backend: "tensorrt"',
                "c: backend 'tensorrt' is not served, expected backend 'onnxruntime', 'python' "
                "or platform 'onnxruntime_onnx'",
            ),
            (
                'platform: "pytorch_libtorch"',
                "c: platform 'pytorch_libtorch' is not served, expected backend 'onnxruntime', "
                "'python' or platform 'onnxruntime_onnx'",
            ),
            ('platform: "ensemble"', "c: ensembles are not served"),
            ("ensemble_scheduling { }", "c: ensembles are not served"),
            ("", "no model in m/1: expected model.onnx or model.py"),
        ],
    )
    def test_what_is_not_served(self, tmp_path: Path, text: str, error: str) -> None:
        version = tmp_path / "m" / "1"
        version.mkdir(parents=True)
        with pytest.raises(LoadError) as raised:
            choose_platform(parse_text(text, "c"), version)
        assert str(raised.value) == error

    def test_the_model_file(self, tmp_path: Path) -> None:
        make(tmp_path, "m/1/net.onnx")
        version = tmp_path / "m" / "1"
        named = parse_text('default_model_filename: "net.onnx"', "c").message
        assert model_file(ONNX, named, version) == version / "net.onnx"
        with pytest.raises(LoadError, match=r"^no model in m/1: expected model\.onnx$"):
            model_file(ONNX, parse_text("", "c").message, version)
        outside = parse_text('default_model_filename: "../../secret.onnx"', "c").message
        with pytest.raises(LoadError, match="expected a file in the folder"):
            model_file(ONNX, outside, version)


def test_a_name_that_is_not_text_is_no_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "good/1/m")
    os.mkdir(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    assert list(find_models([tmp_path])) == ["good"]
    assert "is no model: its name is not UTF-8" in caplog.text


def test_a_link_to_itself_stops_nobody(tmp_path: Path) -> None:
    make(tmp_path, "good/1/m")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "good" / "2").symlink_to("2")
    assert list(find_models([tmp_path])) == ["good"]
    assert ModelFolder("good", tmp_path / "good").versions() == [1]


def test_hidden_folders_change_nothing(tmp_path: Path) -> None:
    make(tmp_path, "m/1/model.onnx", "m/config.pbtxt")
    folder = ModelFolder("m", tmp_path / "m")
    before = folder.fingerprint(), folder.version_fingerprint(1)
    make(tmp_path, "m/.incoming/x", "m/1/.tmp/y", "m/1/__pycache__/z")
    assert (folder.fingerprint(), folder.version_fingerprint(1)) == before
    make(tmp_path, "m/1/data/weights")
    assert folder.version_fingerprint(1) != before[1]


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_files_stay_inside(name: str) -> None:
    assert file_inside(Path("m"), "a/b.txt", "f") == Path("m/a/b.txt")
    with pytest.raises(LoadError, match=r"^label_filename .*, expected a file in the folder 'm'$"):
        file_inside(Path("m"), name, "label_filename")
