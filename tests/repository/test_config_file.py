"""config.pbtxt as text: what it says, and how its errors read."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.backends.base import LoadError
from penstock.repository.config_file import ModelConfig, parse_override, parse_text, read_config


def folder_with(tmp_path: Path, text: str | bytes) -> Path:
    folder = tmp_path / "fraud"
    folder.mkdir()
    data = text.encode() if isinstance(text, str) else text
    (folder / "config.pbtxt").write_bytes(data)
    return folder


def test_a_model_without_a_file_has_an_empty_configuration(tmp_path: Path) -> None:
    config = read_config(tmp_path)
    assert not config.given
    assert not config.batch_size_given
    assert config.message.ByteSize() == 0


def test_tritons_syntax(tmp_path: Path) -> None:
    config = read_config(
        folder_with(
            tmp_path,
            """
            # A comment.
            name: "fraud"
            backend: 'onnxruntime'
            max_batch_size: 8
            input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] },
                    { name: "y" data_type: TYPE_STRING dims: [ 1 ] reshape: { shape: [ ] } } ]
            dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
            parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
            version_policy: { specific { versions: [ 1, 3 ] } }
            """,
        )
    )
    message = config.message
    assert (message.name, message.backend, message.max_batch_size) == ("fraud", "onnxruntime", 8)
    assert [list(each.dims) for each in message.input] == [[3, -1], [1]]
    assert message.input[1].HasField("reshape")
    assert list(message.dynamic_batching.preferred_batch_size) == [4, 8]
    assert message.parameters["intra_op_thread_count"].string_value == "2"
    assert list(message.version_policy.specific.versions) == [1, 3]
    assert config.given and config.batch_size_given


@pytest.mark.parametrize(
    ("text", "given"),
    [("", False), ("max_batch_size: 0", True), ("max_batch_size: 4", True), ('name: "m"', False)],
)
def test_a_written_zero_is_not_a_missing_one(text: str, given: bool) -> None:
    assert parse_text(text, "config.pbtxt").batch_size_given is given


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            'name: "m"\nmax_batchsize: 3\n',
            'fraud/config.pbtxt:2:1: Message type "inference.ModelConfig" has no field named '
            "\"max_batchsize\", expected 'max_batch_size'",
        ),
        (
            'input [\n  { name: "x" data_type: TYPE_FP31 }\n]',
            'fraud/config.pbtxt:2:26: .*Enum type "inference.DataType" has no value named '
            "TYPE_FP31, expected 'TYPE_FP32'",
        ),
        (
            "version_policy { qqq {} }",
            'fraud/config.pbtxt:1:18: Message type "inference.ModelVersionPolicy" has no field '
            'named "qqq", expected one of latest, all, specific',
        ),
        ("max_batch_size: many", "fraud/config.pbtxt:1:17: .*Couldn't parse integer: many"),
        ("max_batch_size: 99999999999", "fraud/config.pbtxt:1:17: .*99999999999"),
        ("name: 3", "fraud/config.pbtxt:1:7: .*xpected string"),
        ("dynamic_batching {", 'fraud/config.pbtxt:1:.*Expected "}"'),
        ("max_batch_size: 1\nmax_batch_size: 2", 'fraud/config.pbtxt:2.*"max_batch_size"'),
        ("dynamic_batching {}\nsequence_batching {}", "fraud/config.pbtxt:2.*scheduling_choice"),
    ],
)
def test_errors_say_where_and_what(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(LoadError, match=error):
        read_config(folder_with(tmp_path, text))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"^fraud/config\.pbtxt:2: not UTF-8 text$"):
        read_config(folder_with(tmp_path, b"# fine\n\xff\n"))


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "fraud" / "config.pbtxt").mkdir(parents=True)
    with pytest.raises(LoadError, match=r"^fraud/config\.pbtxt: Is a directory$"):
        read_config(tmp_path / "fraud")


class TestOverride:
    """The configuration of a load request."""

    @pytest.mark.parametrize(
        "text",
        [
            '{"max_batch_size": 16, "instance_group": [{"count": 2, "kind": "KIND_CPU"}]}',
            ' {"maxBatchSize": 16, "instanceGroup": [{"count": 2, "kind": "KIND_CPU"}]}',
            "max_batch_size: 16 instance_group { count: 2 kind: KIND_CPU }",
        ],
    )
    def test_json_and_text(self, text: str) -> None:
        config: ModelConfig = parse_override(text)
        assert config.message.max_batch_size == 16
        assert config.message.instance_group[0].count == 2
        assert config.batch_size_given

    def test_json_without_a_batch_size(self) -> None:
        assert not parse_override('{"backend": "onnxruntime"}').batch_size_given
        # Neither null nor the words in another place are one.
        assert not parse_override('{"max_batch_size": null}').batch_size_given
        text = '{"parameters": {"max_batch_size": {"string_value": "3"}}}'
        assert not parse_override(text).batch_size_given

    @pytest.mark.parametrize("text", ["{", '{"max_batch": 3}', '{"max_batch_size": "x"}'])
    def test_bad_json(self, text: str) -> None:
        with pytest.raises(LoadError, match=r"^the config of the load request: "):
            parse_override(text)

    def test_bad_text(self) -> None:
        with pytest.raises(LoadError, match=r"^the config of the load request:1:1: .*nme"):
            parse_override("nme: 'm'")
