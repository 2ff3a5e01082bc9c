"""ModelConfig to ModelSpec, and each field's error."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.backends.base import LoadError, Reshapes
from penstock.repository.config_file import parse_text
from penstock.repository.features import left_out, refuse_unserved
from penstock.repository.validation import specify
from penstock.spec import Batching, ModelSpec, QueuePolicy, TensorSpec
from tests import models

TENSORS = """
name: "m"
input { name: "x" data_type: TYPE_FP32 dims: 3 }
output { name: "y" data_type: TYPE_FP32 dims: 2 }
"""


def specified(text: str, folder: Path = Path(), *, utf8: bool = True) -> tuple[ModelSpec, Reshapes]:
    message = parse_text(text, "m/config.pbtxt").message
    return specify(message, 4, folder, utf8=utf8, parameters_matter=False)


def spec_of(text: str) -> ModelSpec:
    return specified(TENSORS + text)[0]


def test_a_plain_model() -> None:
    assert spec_of("") == ModelSpec(
        name="m",
        version=4,
        inputs=(TensorSpec("x", "FP32", (3,)),),
        outputs=(TensorSpec("y", "FP32", (2,)),),
        batching=Batching(),
    )


def test_batches_form_without_a_dynamic_batching_section() -> None:
    assert spec_of("max_batch_size: 8").batching == Batching(max_batch_size=8)


def test_dynamic_batching() -> None:
    spec = spec_of(
        """
        max_batch_size: 16
        dynamic_batching {
          preferred_batch_size: [ 8, 4, 8 ]
          max_queue_delay_microseconds: 500
          preserve_ordering: true
          priority_levels: 2
          default_priority_level: 1
          default_queue_policy { max_queue_size: 10 allow_timeout_override: true }
          priority_queue_policy {
            key: 2
            value { timeout_action: DELAY default_timeout_microseconds: 700 }
          }
        }
        parameters { key: "latency_budget_us" value { string_value: "20000" } }
        """
    )
    assert spec.batching == Batching(
        max_batch_size=16,
        max_queue_delay_us=500,
        preferred_batch_sizes=(4, 8),
        preserve_ordering=True,
        priority_levels=2,
        default_priority_level=1,
        default_queue_policy=QueuePolicy(max_queue_size=10, allow_timeout_override=True),
        priority_queue_policies={
            2: QueuePolicy(
                timeout_action="delay", default_timeout_us=700, allow_timeout_override=False
            )
        },
        latency_budget_us=20_000,
    )


def test_requests_may_set_a_timeout_unless_a_policy_says_otherwise() -> None:
    batching = "max_batch_size: 2 dynamic_batching { %s }"
    assert spec_of(batching % "").batching.default_queue_policy.allow_timeout_override
    policy = "default_queue_policy { max_queue_size: 1 }"
    assert not spec_of(batching % policy).batching.default_queue_policy.allow_timeout_override


@pytest.mark.parametrize(
    ("groups", "count"),
    [
        ("", 1),
        ("instance_group { }", 1),
        ("instance_group { count: 3 kind: KIND_CPU }", 3),
        ("instance_group [ { count: 2 }, { count: 1 }, { count: 9 passive: true } ]", 3),
    ],
)
def test_instances(groups: str, count: int) -> None:
    assert spec_of(groups).instance_count == count


@pytest.mark.parametrize("name", sorted(set(models.TYPES) - {"BYTES"}))
def test_datatypes(name: str) -> None:
    text = TENSORS.replace("TYPE_FP32", f"TYPE_{name}")
    assert specified(text)[0].inputs[0].datatype == name


def test_strings() -> None:
    text = TENSORS.replace("TYPE_FP32", "TYPE_STRING")
    spec, _ = specified(text)
    assert spec.inputs[0] == TensorSpec("x", "BYTES", (3,), utf8=True)
    assert spec.outputs[0] == TensorSpec("y", "BYTES", (2,))
    assert not specified(text, utf8=False)[0].inputs[0].utf8


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\nGürteltier\n")
    text = TENSORS.replace("dims: 2", 'dims: 3 label_filename: "labels.txt"')
    spec, _ = specified(text, tmp_path)
    assert spec.outputs[0].labels == ("cat", "dog", "Gürteltier")


def test_reshapes() -> None:
    text = """
    max_batch_size: 4
    input [ { name: "a" data_type: TYPE_FP32 dims: 1 reshape { shape: [ ] } },
            { name: "b" data_type: TYPE_FP32 dims: [ 4, -1 ] reshape { shape: [ -1, 2, 2 ] } },
            { name: "c" data_type: TYPE_FP32 dims: 3 reshape { shape: 3 } } ]
    output { name: "y" data_type: TYPE_FP32 dims: [ 2, 3 ] reshape { shape: 6 } }
    """
    spec, reshapes = specified(text)
    assert [tensor.dims for tensor in spec.inputs] == [(1,), (4, -1), (3,)]
    assert reshapes == Reshapes({"a": (), "b": (-1, 2, 2)}, {"y": (6,)})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max_batch_size: -1", "max_batch_size is -1, expected 0 to 65536"),
        ("max_batch_size: 65537", "max_batch_size is 65537, expected 0 to 65536"),
        (
            "max_batch_size: 4 dynamic_batching { preferred_batch_size: 5 }",
            "dynamic_batching: preferred_batch_size is 5, expected 1 to 4, the max_batch_size",
        ),
        (
            "max_batch_size: 4 dynamic_batching { preferred_batch_size: 0 }",
            "dynamic_batching: preferred_batch_size is 0, expected 1 to 4, the max_batch_size",
        ),
        (
            "max_batch_size: 4 dynamic_batching { priority_levels: 2 }",
            "dynamic_batching: default_priority_level is 0, expected 1 to 2",
        ),
        (
            "max_batch_size: 4 dynamic_batching { priority_levels: 2 default_priority_level: 3 }",
            "dynamic_batching: default_priority_level is 3, expected 1 to 2",
        ),
        (
            "max_batch_size: 4 dynamic_batching { default_priority_level: 1 }",
            "dynamic_batching: default_priority_level is 1, expected 0 without priority_levels",
        ),
        (
            "max_batch_size: 4 dynamic_batching { priority_levels: 5000000 "
            "default_priority_level: 1 }",
            "dynamic_batching: priority_levels is 5000000, expected 0 to 1024",
        ),
        (
            "max_batch_size: 4 dynamic_batching { priority_queue_policy { key: 1 value { } } }",
            "dynamic_batching: priority_queue_policy for level 1, expected none without "
            "priority_levels",
        ),
        ("instance_group { count: -1 }", "instance_group: count is -1, expected 1 to 1024"),
        (
            "instance_group [ { count: 1000 }, { count: 1000 } ]",
            "instance_group: 2000 instances, expected 1024 at most",
        ),
        (
            "instance_group { count: 1 passive: true }",
            "instance_group: all groups are passive, nothing would run",
        ),
        (
            'parameters { key: "latency_budget_us" value { string_value: "soon" } }',
            "parameter latency_budget_us is 'soon', expected microseconds, 1 or more",
        ),
        (
            'parameters { key: "latency_budget_us" value { string_value: "0" } }',
            "parameter latency_budget_us is '0', expected microseconds, 1 or more",
        ),
        (
            'input { name: "z" data_type: TYPE_FP32 dims: [ 2, 0 ] }',
            "input 'z': dims are [2, 0], expected sizes of 1 or more, or -1",
        ),
        (
            'input { name: "z" data_type: TYPE_FP32 dims: -2 }',
            "input 'z': dims are [-2], expected sizes of 1 or more, or -1",
        ),
        (
            'max_batch_size: 1 input { name: "z" data_type: TYPE_FP32 dims: [1,1,1,1,1,1,1,1] }',
            "input 'z' has 9 dimensions, expected 8 at most",
        ),
        (
            'max_batch_size: 1024 input { name: "z" data_type: TYPE_FP64 dims: 1000000 }',
            "input 'z': a batch of 1024 rows takes 8192000000 bytes, expected 1073741824 at most; "
            "max_batch_size can make it less",
        ),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: 1 }',
            "input 'x' is there twice",
        ),
        (
            'input { name: "z" data_type: TYPE_FP32 dims: 4 reshape { shape: 5 } }',
            "input 'z': reshape from [4] to [5], expected as many elements and as many -1",
        ),
        (
            'input { name: "z" data_type: TYPE_FP32 dims: [ 4, -1 ] reshape { shape: 4 } }',
            "input 'z': reshape from [4, -1] to [4], expected as many elements and as many -1",
        ),
        (
            'input { name: "z" data_type: TYPE_FP32 dims: 4 reshape { shape: [ 2, -2 ] } }',
            "input 'z': reshape to [2, -2], expected sizes of 1 or more, or -1",
        ),
        (
            f"dynamic_batching {{ max_queue_delay_microseconds: {2**63} }}",
            f"dynamic_batching: max_queue_delay_microseconds is {2**63}, expected less than 2^53",
        ),
        (
            'output { name: "z" data_type: TYPE_FP32 dims: 1 label_filename: "nowhere.txt" }',
            "output 'z': label_filename 'nowhere.txt': No such file or directory",
        ),
        (
            'output { name: "z" data_type: TYPE_FP32 dims: 1 label_filename: "../secret" }',
            "output 'z': label_filename '../secret', expected a file in the folder ''",
        ),
    ],
)  # fmt: skip
def test_values_that_cannot_work(text: str, error: str) -> None:
    with pytest.raises(LoadError) as raised:
        spec_of(text)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("sequence_batching { }", "sequence_batching"),
        ("ensemble_scheduling { }", "ensemble_scheduling"),
        ("model_transaction_policy { decoupled: true }", "model_transaction_policy: decoupled"),
        ('model_repository_agents { agents { name: "checksum" } }', "model_repository_agents"),
        ("batch_input { kind: BATCH_ELEMENT_COUNT }", "batch_input"),
        ("batch_output { }", "batch_output"),
        ('input { name: "z" allow_ragged_batch: true }', "allow_ragged_batch of input 'z'"),
        ('output { name: "z" is_shape_tensor: true }', "is_shape_tensor of 'z'"),
        (
            'input { name: "z" is_non_linear_format_io: true }',
            "is_non_linear_format_io of 'z'",
        ),
    ],
)  # fmt: skip
def test_features_that_are_not_served_say_so(text: str, feature: str) -> None:
    config = parse_text(text, "m/config.pbtxt")
    with pytest.raises(LoadError) as raised:
        refuse_unserved(config.message, config.source)
    assert str(raised.value) == f"m/config.pbtxt: {feature} is not served"


def test_what_changes_no_answer_is_only_mentioned() -> None:
    config = parse_text(
        "response_cache { enable: true } optimization { cuda { graphs: true } } "
        "instance_group { rate_limiter { priority: 2 } }",
        "m/config.pbtxt",
    )
    refuse_unserved(config.message, config.source)
    assert left_out(config.message) == [
        "response_cache",
        "instance_group.rate_limiter",
        "optimization.cuda",
    ]
    assert left_out(parse_text(TENSORS, "m/config.pbtxt").message) == []
