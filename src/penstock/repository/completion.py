"""What config.pbtxt leaves out, taken from the model file; what it says, held against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from penstock.backends.base import DTYPES, DeclaredTensor, LoadError, Signature
from penstock.repository.config_file import ModelConfig
from penstock.repository.platforms import Platform
from penstock.spec import DYNAMIC

DEFAULT_MAX_BATCH_SIZE = 256
DEFAULT_BATCH_BYTES = 16 << 20
"""Of a full batch's inputs and outputs, if config.pbtxt has no max_batch_size."""

TYPE_NAMES = {name: "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}" for name in DTYPES}
"""config.pbtxt's name of each of the protocol's datatypes."""

_STRING_BYTES = 16
"""An element of a BYTES tensor, for want of anything better."""


def complete(
    config: ModelConfig, name: str, platform: Platform, signature: Signature | None
) -> Any:
    """A whole ``inference.ModelConfig``.

    Args:
        signature: what the model file declares; None if it does not tell, so that config.pbtxt
            has to.

    Raises:
        LoadError: config.pbtxt and the model contradict each other, or say too little.
    """
    message = type(config.message)()
    message.CopyFrom(config.message)
    if message.name not in ("", name):
        raise LoadError(f"{config.source}: name is {message.name!r}, expected {name!r}, the folder")
    message.name = name
    message.backend = platform.backend
    message.platform = "" if platform.platform == platform.backend else platform.platform
    message.default_model_filename = message.default_model_filename or platform.filename
    if not message.version_policy.WhichOneof("policy_choice"):
        message.version_policy.latest.num_versions = 1
    if signature is not None:
        _Completion(config, message, signature).run()
    _check_said(config.source, message)
    return message


class _Completion:
    """Inputs, outputs and batch size of one model."""

    def __init__(self, config: ModelConfig, message: Any, signature: Signature) -> None:
        self._source = config.source
        self._message = message
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._given = config.batch_size_given

    def run(self) -> None:
        message = self._message
        # An optional input is served only if config.pbtxt has it.
        required = [tensor for tensor in self._inputs if not tensor.optional]
        inputs = self._listed("input", message.input, self._inputs) or required
        outputs = self._listed("output", message.output, self._outputs) or self._outputs
        for tensor in required:
            if tensor not in inputs:
                raise LoadError(f"{self._source}: input {tensor.name!r} of the model is missing")
        batches = message.max_batch_size > 0
        if not self._given:
            batches = self._should_batch(inputs, outputs)
        if batches:
            self._check_batch_dimension([("input", t) for t in inputs])
            self._check_batch_dimension([("output", t) for t in outputs])
        for role, listed, tensors in (
            ("input", message.input, inputs),
            ("output", message.output, outputs),
        ):
            if not listed:
                for tensor in tensors:
                    listed.add(name=tensor.name)
            for entry, tensor in zip(listed, tensors, strict=True):
                self._complete_tensor(role, entry, tensor, batches)
        if batches and not self._given:
            message.max_batch_size = default_max_batch_size([*inputs, *outputs])

    def _listed(
        self, role: str, entries: Any, declared: Sequence[DeclaredTensor]
    ) -> list[DeclaredTensor]:
        """The model's tensors that config.pbtxt names, in its order."""
        by_name = {tensor.name: tensor for tensor in declared}
        for entry in entries:
            if entry.name not in by_name:
                expected = ", ".join(map(repr, by_name))
                raise LoadError(
                    f"{self._source}: {role} {entry.name!r} is not in the model, "
                    f"expected {expected}"
                )
        return [by_name[entry.name] for entry in entries]

    def _should_batch(
        self, inputs: Sequence[DeclaredTensor], outputs: Sequence[DeclaredTensor]
    ) -> bool:
        """Whether the tensors have a batch dimension that config.pbtxt does not count as theirs."""
        if not can_batch([*inputs, *outputs]):
            return False
        pairs = [
            *zip(self._message.input, inputs, strict=False),
            *zip(self._message.output, outputs, strict=False),
        ]
        return not any(
            _wanted(entry) and len(_wanted(entry)) == len(tensor.dims) for entry, tensor in pairs
        )

    def _check_batch_dimension(self, tensors: Iterable[tuple[str, DeclaredTensor]]) -> None:
        for role, tensor in tensors:
            unknown = role == "output" and not tensor.dims
            if not unknown and tensor.dims[:1] != (DYNAMIC,):
                raise LoadError(
                    f"{self._source}: max_batch_size is {self._message.max_batch_size}, but "
                    f"{role} {tensor.name!r} of the model has shape {_shape(tensor.dims)}, "
                    "expected a dynamic first dimension"
                )

    def _complete_tensor(
        self, role: str, entry: Any, tensor: DeclaredTensor, batches: bool
    ) -> None:
        where = f"{self._source}: {role} {entry.name!r}"
        if role == "input" and entry.optional and not tensor.optional:
            raise LoadError(f"{where} is optional, the model cannot do without it")
        enum = entry.DESCRIPTOR.fields_by_name["data_type"].enum_type
        declared = TYPE_NAMES[tensor.datatype]
        if entry.data_type == 0:
            entry.data_type = enum.values_by_name[declared].number
        given = enum.values_by_number[entry.data_type].name
        if given != declared:
            raise LoadError(f"{where} is {given}, the model has {declared}")
        dims = tensor.dims[1:] if batches else tensor.dims
        if not entry.dims and not entry.HasField("reshape"):
            entry.dims.extend(dims)
            return
        # ONNX Runtime shows an output of unknown shape as one without dimensions.
        if role == "output" and not tensor.dims:
            return
        wanted = _wanted(entry)
        if len(wanted) != len(dims) or any(
            have not in (DYNAMIC, want) for want, have in zip(wanted, dims, strict=True)
        ):
            field = "reshape" if entry.HasField("reshape") else "dims"
            beside = " beside the batch dimension" if batches else ""
            raise LoadError(
                f"{where} has {field} {_shape(wanted)}, the model has {_shape(dims)}{beside}"
            )


def can_batch(tensors: Sequence[DeclaredTensor]) -> bool:
    """Whether the first dimension of all ``tensors`` looks like one and the same batch.

    Names count: "batch" of one tensor and "sequence" of another are not the same. Exporters that
    name every dimension on its own (tf2onnx: ``unk__12``) name none.
    """
    if not all(tensor.dims[:1] == (DYNAMIC,) for tensor in tensors):
        return False
    symbols = {tensor.symbols[0] for tensor in tensors if tensor.symbols}
    named = {symbol for symbol in symbols if symbol and not symbol.startswith("unk_")}
    return len(named) <= 1


def default_max_batch_size(tensors: Iterable[DeclaredTensor]) -> int:
    """256 rows, or fewer if they take more than 16 MiB; dynamic dimensions count as 1."""
    row_bytes = 0
    for tensor in tensors:
        size = _STRING_BYTES if tensor.datatype == "BYTES" else DTYPES[tensor.datatype].itemsize
        for dim in tensor.dims[1:]:
            size *= max(dim, 1)
        row_bytes += size
    return max(1, min(DEFAULT_MAX_BATCH_SIZE, DEFAULT_BATCH_BYTES // max(row_bytes, 1)))


def _wanted(entry: Any) -> tuple[int, ...]:
    """The dims that config.pbtxt expects of the model."""
    return tuple(entry.reshape.shape if entry.HasField("reshape") else entry.dims)


def _check_said(source: str, message: Any) -> None:
    """Everything a tensor needs is there."""
    for role, entries in (("input", message.input), ("output", message.output)):
        if not entries:
            raise LoadError(
                f"{source}: there is no {role}, and the model file does not tell; "
                f"expected {role} {{ name, data_type, dims }}"
            )
        for entry in entries:
            if not entry.name:
                raise LoadError(f"{source}: an {role} has no name")
            if entry.data_type == 0:
                raise LoadError(f"{source}: {role} {entry.name!r} has no data_type")


def _shape(dims: Iterable[int]) -> str:
    return str(list(dims))
