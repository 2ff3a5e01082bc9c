"""The one place where a configuration becomes what the core serves: ModelConfig -> ModelSpec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.backends.base import DTYPES, LoadError, Reshapes
from penstock.repository.completion import TYPE_NAMES
from penstock.repository.layout import file_inside
from penstock.repository.monitoring_settings import monitoring_settings
from penstock.spec import DYNAMIC, Batching, ModelSpec, QueuePolicy, TensorSpec

MAX_BATCH_SIZE = 65_536
MAX_BATCH_BYTES = 1 << 30
"""Of one fixed-size tensor of a full batch: each instance holds that much."""
MAX_INSTANCES = 1024
MAX_RANK = 8
"""Batch dimension included."""
MAX_PRIORITY_LEVELS = 1024

_DATATYPES = {type_name: datatype for datatype, type_name in TYPE_NAMES.items()}


def specify(
    message: Any,
    version: int,
    folder: Path,
    *,
    utf8: bool,
    parameters_matter: bool,
) -> tuple[ModelSpec, Reshapes]:
    """Check a complete ``inference.ModelConfig``.

    Args:
        folder: the model's, where its label files are.
        utf8: whether the model takes BYTES as text.
        parameters_matter: whether parameters of requests reach the model.

    Raises:
        LoadError: a field's value cannot work; with the field, what came and what was expected.
    """
    batching = _batching(message)
    rows = batching.max_batch_size
    inputs = tuple(
        TensorSpec(
            name=entry.name,
            datatype=_datatype(entry),
            dims=_dims("input", entry, rows),
            optional=entry.optional,
            utf8=utf8 and _datatype(entry) == "BYTES",
        )
        for entry in message.input
    )
    outputs = tuple(
        TensorSpec(
            name=entry.name,
            datatype=_datatype(entry),
            dims=_dims("output", entry, rows),
            labels=_labels(folder, entry),
        )
        for entry in message.output
    )
    _check_names("input", inputs)
    _check_names("output", outputs)
    spec = ModelSpec(
        name=message.name,
        version=version,
        inputs=inputs,
        outputs=outputs,
        batching=batching,
        instance_count=instance_count(message),
        parameters_matter=parameters_matter,
        monitoring=monitoring_settings(message),
    )
    return spec, Reshapes(_reshapes("input", message.input), _reshapes("output", message.output))


def instance_count(message: Any) -> int:
    """Instances over all groups that are given requests; 1 if there is no group."""
    groups = [group for group in message.instance_group if not group.passive]
    for group in groups:
        if not 0 <= group.count <= MAX_INSTANCES:
            raise LoadError(
                f"instance_group: count is {group.count}, expected 1 to {MAX_INSTANCES}"
            )
    if message.instance_group and not groups:
        raise LoadError("instance_group: all groups are passive, nothing would run")
    total = sum(group.count or 1 for group in groups) or 1
    if total > MAX_INSTANCES:
        raise LoadError(f"instance_group: {total} instances, expected {MAX_INSTANCES} at most")
    return total


def latency_budget_us(message: Any) -> int:
    """Penstock's own parameter ``latency_budget_us``; 0 if there is none."""
    if "latency_budget_us" not in message.parameters:
        return 0
    text = message.parameters["latency_budget_us"].string_value
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**53:
        raise LoadError(
            f"parameter latency_budget_us is {text!r}, expected microseconds, 1 or more"
        )
    return int(text)


def _batching(message: Any) -> Batching:
    rows = message.max_batch_size
    if not 0 <= rows <= MAX_BATCH_SIZE:
        raise LoadError(f"max_batch_size is {rows}, expected 0 to {MAX_BATCH_SIZE}")
    budget = latency_budget_us(message)
    # Without a dynamic_batching section Triton computes each request alone. Here batches form
    # all the same, out of what is queued when an instance turns idle: nobody waits for them.
    if not message.HasField("dynamic_batching"):
        return Batching(max_batch_size=rows, latency_budget_us=budget)
    section = message.dynamic_batching
    for size in section.preferred_batch_size:
        if not 1 <= size <= rows:
            raise LoadError(
                f"dynamic_batching: preferred_batch_size is {size}, expected 1 to {rows}, "
                "the max_batch_size"
            )
    levels = section.priority_levels
    if levels > MAX_PRIORITY_LEVELS:
        raise LoadError(
            f"dynamic_batching: priority_levels is {levels}, expected 0 to {MAX_PRIORITY_LEVELS}"
        )
    default = section.default_priority_level
    if not (1 <= default <= levels or default == levels == 0):
        wanted = f"1 to {levels}" if levels else "0 without priority_levels"
        raise LoadError(f"dynamic_batching: default_priority_level is {default}, expected {wanted}")
    for level in section.priority_queue_policy:
        if not 1 <= level <= levels:
            wanted = f"1 to {levels}" if levels else "none without priority_levels"
            raise LoadError(
                f"dynamic_batching: priority_queue_policy for level {level}, expected {wanted}"
            )
    policy = QueuePolicy()
    if section.HasField("default_queue_policy"):
        policy = _queue_policy(section.default_queue_policy)
    return Batching(
        max_batch_size=rows,
        max_queue_delay_us=_microseconds(section, "max_queue_delay_microseconds"),
        preferred_batch_sizes=tuple(sorted(set(section.preferred_batch_size))),
        preserve_ordering=section.preserve_ordering,
        priority_levels=levels,
        default_priority_level=default,
        default_queue_policy=policy,
        priority_queue_policies={
            level: _queue_policy(each)
            for level, each in sorted(section.priority_queue_policy.items())
        },
        latency_budget_us=budget,
    )


def _queue_policy(section: Any) -> QueuePolicy:
    # ModelQueuePolicy.TimeoutAction: 0 REJECT, 1 DELAY.
    return QueuePolicy(
        timeout_action="delay" if section.timeout_action == 1 else "reject",
        default_timeout_us=_microseconds(section, "default_timeout_microseconds"),
        allow_timeout_override=section.allow_timeout_override,
        max_queue_size=section.max_queue_size,
    )


def _microseconds(section: Any, field: str) -> int:
    value: int = getattr(section, field)
    if value >= 2**53:
        raise LoadError(f"dynamic_batching: {field} is {value}, expected less than 2^53")
    return value


def _datatype(entry: Any) -> str:
    enum = entry.DESCRIPTOR.fields_by_name["data_type"].enum_type
    value = enum.values_by_number.get(entry.data_type)
    if value is None or value.name not in _DATATYPES:
        raise LoadError(f"{entry.name!r}: data_type is {entry.data_type}, which is not known")
    return _DATATYPES[value.name]


def _dims(role: str, entry: Any, rows: int) -> tuple[int, ...]:
    dims = tuple(entry.dims)
    for dim in dims:
        if dim != DYNAMIC and dim < 1:
            raise LoadError(
                f"{role} {entry.name!r}: dims are {list(dims)}, expected sizes of 1 or more, or -1"
            )
    rank = len(dims) + (rows > 0)
    if rank > MAX_RANK:
        raise LoadError(f"{role} {entry.name!r} has {rank} dimensions, expected {MAX_RANK} at most")
    size = max(rows, 1) * max(DTYPES[_datatype(entry)].itemsize, 1)
    for dim in dims:
        size *= max(dim, 1)
    if DYNAMIC not in dims and size > MAX_BATCH_BYTES:
        raise LoadError(
            f"{role} {entry.name!r}: a batch of {max(rows, 1)} rows takes {size} bytes, expected "
            f"{MAX_BATCH_BYTES} at most; max_batch_size can make it less"
        )
    return dims


def _labels(folder: Path, entry: Any) -> tuple[str, ...]:
    name = entry.label_filename
    if not name:
        return ()
    where = f"output {entry.name!r}: label_filename {name!r}"
    path = file_inside(folder, name, f"output {entry.name!r}: label_filename")
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise LoadError(f"{where}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LoadError(f"{where}: not UTF-8 text") from None


def _check_names(role: str, tensors: Sequence[TensorSpec]) -> None:
    seen = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise LoadError(f"{role} {tensor.name!r} is there twice")
        seen.add(tensor.name)


def _reshapes(role: str, entries: Any) -> dict[str, tuple[int, ...]]:
    found = {}
    for entry in entries:
        if not entry.HasField("reshape"):
            continue
        dims, shape = tuple(entry.dims), tuple(entry.reshape.shape)
        if min(shape, default=1) < DYNAMIC or 0 in shape:
            raise LoadError(
                f"{role} {entry.name!r}: reshape to {list(shape)}, expected sizes of 1 or more, "
                "or -1"
            )
        if _elements(dims) != _elements(shape):
            raise LoadError(
                f"{role} {entry.name!r}: reshape from {list(dims)} to {list(shape)}, "
                "expected as many elements and as many -1"
            )
        if dims != shape:
            found[entry.name] = shape
    return found


def _elements(dims: Sequence[int]) -> tuple[int, int]:
    """Product of the fixed dimensions, and number of the dynamic ones."""
    product = 1
    for dim in dims:
        product *= abs(dim)
    return product, dims.count(DYNAMIC)
