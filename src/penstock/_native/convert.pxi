# Between Python's values and the core's.

import numpy as np

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "FP16": np.dtype(np.float16),
    # NumPy has no bfloat16: the bits.
    "BF16": np.dtype(np.uint16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
_SECOND = 1_000_000_000


cdef str text_of(string_view view):
    return view.data()[: view.size()].decode("utf-8", "replace")


cdef int64_t nanos(seconds) except *:
    """Nanoseconds; infinity, or anything beyond 292 years, is never."""
    if seconds is not None and seconds != seconds:
        raise ValueError("a time of nan seconds came, expected a number")
    if seconds is None or seconds >= 9.2e9:
        return kNever
    return <int64_t>(seconds * _SECOND)


# A thread that waits in the core looks for Ctrl-C this often.
cdef int64_t kSignalSlice = 100_000_000


cdef int64_t next_slice(int64_t until) noexcept:
    """What to wait for now; less than kSignalSlice if it is the last of it."""
    if until == kNever:
        return kSignalSlice
    return min(max(until - steady_now(), 0), kSignalSlice)


cdef int64_t micros(int64_t us):
    return us * 1_000 if us < kNever // 1_000 else kNever


cdef Status make_status(int code, str message) except *:
    return Status(<Code>code, message.encode("utf-8", "backslashreplace"))


cdef object error_of(const Status& status):
    return RequestError(<int>status.code(), status.message().decode("utf-8", "replace"))


cdef DataType datatype_of(str name) except *:
    cdef bytes encoded = name.encode()
    cdef optional[DataType] found = parse_datatype(string_view(encoded, len(encoded)))
    if not found.has_value():
        raise ValueError(f"datatype {name!r} is not one of {', '.join(_DTYPES)}")
    return found.value()


cdef TensorSpec tensor_spec_of(spec) except *:
    cdef TensorSpec native
    native.name = spec.name.encode()
    native.datatype = datatype_of(spec.datatype)
    native.dims = spec.dims
    native.optional_ = spec.optional
    native.utf8 = spec.utf8
    return native


cdef Signature signature_of(spec) except *:
    cdef Signature native
    native.model = spec.name.encode()
    native.version = str(spec.version).encode()
    for tensor in spec.inputs:
        native.inputs.push_back(tensor_spec_of(tensor))
    for tensor in spec.outputs:
        native.outputs.push_back(tensor_spec_of(tensor))
    native.max_batch_size = spec.batching.max_batch_size
    native.parameters_matter = spec.parameters_matter
    native.index_names()
    return native


cdef QueuePolicy queue_policy_of(policy) except *:
    cdef QueuePolicy native
    native.timeout_action = (
        TimeoutAction.kDelay if policy.timeout_action == "delay" else TimeoutAction.kReject
    )
    native.default_timeout = (
        micros(policy.default_timeout_us) if policy.default_timeout_us else kNever
    )
    native.allow_timeout_override = policy.allow_timeout_override
    native.max_queue_size = policy.max_queue_size
    return native


cdef BatchingOptions batching_of(spec, uint32_t max_queued) except *:
    cdef BatchingOptions native
    batching = spec.batching
    native.max_batch_size = batching.max_batch_size
    native.queue_delay = micros(batching.max_queue_delay_us)
    native.preferred_batch_sizes = batching.preferred_batch_sizes
    native.preserve_ordering = batching.preserve_ordering
    native.priority_levels = batching.priority_levels
    native.default_priority_level = batching.default_priority_level
    native.default_policy = queue_policy_of(batching.default_queue_policy)
    for level, policy in batching.priority_queue_policies.items():
        native.priority_policies[<uint32_t>level] = queue_policy_of(policy)
    native.latency_budget = (
        micros(batching.latency_budget_us) if batching.latency_budget_us else kNever
    )
    native.max_queued = max_queued
    native.instances = spec.instance_count
    return native


cdef MonitorOptions monitor_options_of(spec) except *:
    cdef MonitorOptions native
    native.enabled = spec.monitoring.enabled
    native.max_slices = spec.monitoring.max_slices
    return native


@cython.final
cdef class CoreMemory:
    """Memory of the core, kept by whoever looks at it: arrays may outlive their batch."""

    cdef char* data
    cdef Py_ssize_t size
    cdef object owner

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.size, 0, flags)


cdef object array_over(char* data, size_t size, dtype, shape, owner):
    """A writable array over memory that `owner` keeps."""
    cdef CoreMemory memory
    if size == 0:
        return np.empty(shape, dtype)
    memory = CoreMemory.__new__(CoreMemory)
    memory.data = data
    memory.size = size
    memory.owner = owner
    return np.frombuffer(memory, dtype).reshape(shape)


cdef object decode_elements(const uint8_t* data, size_t size, shape):
    """BYTES elements, each behind its length, as an object array of bytes."""
    cdef size_t offset = 0
    cdef uint32_t length
    elements = []
    while offset + 4 <= size:
        memcpy(&length, data + offset, 4)
        offset += 4
        elements.append(PyBytes_FromStringAndSize(<const char*>data + offset, length))
        offset += length
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


cdef bytes encode_elements(array):
    """The reverse, for an array of bytes or str."""
    cdef uint32_t length
    parts = []
    for element in array.reshape(-1).tolist():
        if isinstance(element, str):
            element = element.encode()
        elif not isinstance(element, (bytes, bytearray)):
            raise TypeError(f"a BYTES element must be bytes or str, not {type(element).__name__}")
        length = len(element)
        parts.append(PyBytes_FromStringAndSize(<const char*>&length, 4))
        parts.append(bytes(element))
    return b"".join(parts)


cdef tuple shape_of(const vector[int64_t]& dims):
    cdef size_t i
    return tuple([dims[i] for i in range(dims.size())])


cdef object parameter_value(const Parameter& parameter):
    cdef const ParameterValue* value = &parameter.value
    if parameter_bool(value) != NULL:
        return <bint>(parameter_bool(value)[0])
    if parameter_int(value) != NULL:
        return parameter_int(value)[0]
    if parameter_unsigned(value) != NULL:
        return parameter_unsigned(value)[0]
    if parameter_double(value) != NULL:
        return parameter_double(value)[0]
    return text_of(parameter_text(value)[0])
