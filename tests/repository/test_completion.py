"""config.pbtxt held against what a model file declares."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.backends.base import DeclaredTensor, LoadError, Signature
from penstock.repository.completion import can_batch, complete, default_max_batch_size
from penstock.repository.config_file import parse_text
from penstock.repository.platforms import ONNX, PYTHON


def declared(
    name: str, dims: tuple[int | str, ...], datatype: str = "FP32", *, optional: bool = False
) -> DeclaredTensor:
    """A name in place of a size is a dynamic dimension; -1 is one without a name."""
    return DeclaredTensor(
        name,
        datatype,
        tuple(-1 if isinstance(dim, str) else dim for dim in dims),
        tuple(dim if isinstance(dim, str) else "" for dim in dims),
        optional,
    )


X = declared("x", ("N", 3))
Y = declared("y", ("N", 2))
BATCHING = Signature((X,), (Y,))
FIXED = Signature((declared("x", (1, 3)),), (declared("y", (1, 2)),))


def completed(text: str = "", signature: Signature | None = BATCHING) -> Any:
    return complete(parse_text(text, "m/config.pbtxt"), "m", ONNX, signature)


def shapes(entries: Any) -> list[tuple[str, list[int]]]:
    return [(entry.name, list(entry.dims)) for entry in entries]


def test_everything_from_the_model() -> None:
    message = completed()
    assert message.name == "m"
    assert (message.backend, message.platform) == ("onnxruntime", "onnxruntime_onnx")
    assert message.default_model_filename == "model.onnx"
    assert message.version_policy.latest.num_versions == 1
    assert message.max_batch_size == 256
    assert shapes(message.input) == [("x", [3])]
    assert shapes(message.output) == [("y", [2])]
    assert (
        message.input[0].data_type
        == message.input[0]
        .DESCRIPTOR.file.enum_types_by_name["DataType"]
        .values_by_name["TYPE_FP32"]
        .number
    )


def test_a_model_without_a_batch_dimension() -> None:
    message = completed("", FIXED)
    assert message.max_batch_size == 0
    assert shapes(message.input) == [("x", [1, 3])]
    assert shapes(message.output) == [("y", [1, 2])]


def test_a_batch_size_of_zero_keeps_the_first_dimension() -> None:
    message = completed("max_batch_size: 0")
    assert message.max_batch_size == 0
    assert shapes(message.input) == [("x", [-1, 3])]


def test_dims_tell_whether_the_model_batches() -> None:
    """As in Triton: dims with the batch dimension in them leave none."""
    with_it = completed('input { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] }')
    assert with_it.max_batch_size == 0
    without = completed('input { name: "x" data_type: TYPE_FP32 dims: 3 }')
    assert without.max_batch_size == 256


def test_a_given_batch_size_is_kept() -> None:
    assert completed("max_batch_size: 7").max_batch_size == 7


def test_parts_of_a_tensor_are_completed() -> None:
    message = completed('input { name: "x" } output { name: "y" data_type: TYPE_FP32 }')
    assert shapes(message.input) == [("x", [3])]
    assert message.input[0].data_type == message.output[0].data_type != 0


def test_outputs_may_be_left_out_and_reordered() -> None:
    signature = Signature((X,), (Y, declared("z", ("N", 1)), declared("w", ("N", 1))))
    message = completed('output [ { name: "w" }, { name: "y" } ]', signature)
    assert shapes(message.output) == [("w", [1]), ("y", [2])]


def test_a_fixed_size_may_stand_where_the_model_is_dynamic() -> None:
    signature = Signature((declared("x", ("N", "length")),), (Y,))
    message = completed('max_batch_size: 4 input { name: "x" dims: 16 }', signature)
    assert shapes(message.input) == [("x", [16])]


def test_reshape_is_held_against_the_model() -> None:
    signature = Signature((declared("x", ("N",)),), (Y,))
    text = 'max_batch_size: 4 input { name: "x" dims: 1 reshape { shape: [ ] } }'
    assert shapes(completed(text, signature).input) == [("x", [1])]


def test_optional_inputs_are_served_when_they_are_named() -> None:
    signature = Signature((X, declared("bias", (3,), optional=True)), (Y,))
    assert shapes(completed("", signature).input) == [("x", [3])]
    text = 'max_batch_size: 0 input [ { name: "x" }, { name: "bias" optional: true } ]'
    assert shapes(completed(text, signature).input) == [("x", [-1, 3]), ("bias", [3])]


def test_an_output_of_unknown_shape_has_the_configured_one() -> None:
    signature = Signature((X,), (declared("y", ()),))
    message = completed('max_batch_size: 4 output { name: "y" dims: 5 }', signature)
    assert shapes(message.output) == [("y", [5])]


def test_the_message_read_is_left_alone() -> None:
    config = parse_text("", "m/config.pbtxt")
    complete(config, "m", ONNX, BATCHING)
    assert config.message.ByteSize() == 0


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('name: "other"', "name is 'other', expected 'm', the folder"),
        ('input { name: "z" }', "input 'z' is not in the model, expected 'x'"),
        ('output { name: "x" }', "output 'x' is not in the model, expected 'y'"),
        ('input { name: "x" data_type: TYPE_INT32 }', "input 'x' is TYPE_INT32, the model has "
         "TYPE_FP32"),
        (
            'max_batch_size: 4 input { name: "x" dims: 4 }',
            "input 'x' has dims [4], the model has [3] beside the batch dimension",
        ),
        (
            'max_batch_size: 4 input { name: "x" dims: [ -1, 3 ] }',
            "input 'x' has dims [-1, 3], the model has [3] beside the batch dimension",
        ),
        (
            'max_batch_size: 0 input { name: "x" dims: [ 3 ] }',
            "input 'x' has dims [3], the model has [-1, 3]",
        ),
        (
            'max_batch_size: 4 input { name: "x" dims: -1 }',
            "input 'x' has dims [-1], the model has [3] beside the batch dimension",
        ),
        (
            'max_batch_size: 4 input { name: "x" dims: 1 reshape { shape: [ 1, 3 ] } }',
            "input 'x' has reshape [1, 3], the model has [3] beside the batch dimension",
        ),
        (
            'input { name: "x" optional: true }',
            "input 'x' is optional, the model cannot do without it",
        ),
    ],
)  # fmt: skip
def test_contradictions(text: str, error: str) -> None:
    with pytest.raises(LoadError) as raised:
        completed(text)
    assert str(raised.value) == f"m/config.pbtxt: {error}"


def test_a_required_input_must_be_named() -> None:
    signature = Signature((X, declared("b", ("N", 1))), (Y,))
    with pytest.raises(LoadError, match=r"^m/config\.pbtxt: input 'b' of the model is missing$"):
        completed('input { name: "x" }', signature)


def test_a_batch_size_needs_a_batch_dimension() -> None:
    with pytest.raises(LoadError) as raised:
        completed("max_batch_size: 8", FIXED)
    assert str(raised.value) == (
        "m/config.pbtxt: max_batch_size is 8, but input 'x' of the model has shape [1, 3], "
        "expected a dynamic first dimension"
    )


def test_a_file_that_does_not_tell_needs_config() -> None:
    config = parse_text('backend: "python"', "m/config.pbtxt")
    with pytest.raises(LoadError) as raised:
        complete(config, "m", PYTHON, None)
    assert str(raised.value) == (
        "m/config.pbtxt: there is no input, and the model file does not tell; "
        "expected input { name, data_type, dims }"
    )
    text = 'input { name: "x" data_type: TYPE_FP32 dims: 1 } output { name: "y" dims: 1 }'
    with pytest.raises(LoadError, match=r"output 'y' has no data_type$"):
        complete(parse_text(text, "m/config.pbtxt"), "m", PYTHON, None)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ([X, Y], True),
        ([declared("a", ("N", 1)), declared("b", (-1, 1))], True),
        ([declared("a", ("unk__6", 1)), declared("b", ("unk__7", 1))], True),
        ([declared("a", ("batch",)), declared("b", ("detections", 4))], False),
        ([declared("a", ("N", 1)), declared("b", (1, "N"))], False),
        ([declared("a", ("N", 1)), declared("b", ())], False),
    ],
)
def test_what_looks_like_a_batch(tensors: list[DeclaredTensor], expected: bool) -> None:
    assert can_batch(tensors) is expected


@pytest.mark.parametrize(
    ("tensors", "rows"),
    [
        ([X, Y], 256),
        # 600 kB a row: 27 of them in 16 MiB.
        ([declared("image", ("N", 3, 224, 224)), declared("classes", ("N", 1000))], 27),
        ([declared("huge", ("N", 1 << 24))], 1),
        ([declared("text", ("N", "length"), "BYTES")], 256),
    ],
)
def test_default_batch_size(tensors: list[DeclaredTensor], rows: int) -> None:
    assert default_max_batch_size(tensors) == rows


def test_an_optional_input_must_batch_too() -> None:
    """A default of fixed size would meet batches of any."""
    listed = 'input [ { name: "x" }, { name: "scale" optional: true } ]'
    signature = Signature((X, declared("scale", (3,), optional=True)), (Y,))
    with pytest.raises(LoadError, match="input 'scale' of the model has shape"):
        completed(f"max_batch_size: 8 {listed}", signature)
    assert completed(listed, signature).max_batch_size == 0
    # Nobody gives what is not listed.
    assert completed("max_batch_size: 8", signature).max_batch_size == 8
    optional = Signature((X, declared("scale", ("N", 3), optional=True)), (Y,))
    assert completed(f"max_batch_size: 8 {listed}", optional).max_batch_size == 8
