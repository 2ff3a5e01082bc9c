# Requests from this process.


cdef void on_settled(void* argument) noexcept with gil:
    request, callback = <object>argument
    Py_DECREF(<object>argument)
    try:
        callback(request)
    except BaseException as error:
        _log.error("the callback of a request failed", exc_info=error)


@cython.final
cdef class LocalRequest:
    cdef shared_ptr[CLocalRequest] native

    def __init__(self):
        raise TypeError("a LocalRequest comes from submit()")

    def done(self):
        return self.native.get().done()

    def result(self, timeout_s=None):
        cdef int64_t until = saturating_add(steady_now(), nanos(timeout_s))
        cdef int64_t slice
        cdef CLocalRequest* native = self.native.get()
        cdef bint done = native.done()
        while not done:
            slice = next_slice(until)
            with nogil:
                done = native.wait(slice)
            if slice < kSignalSlice:
                break
            PyErr_CheckSignals()
        if not done:
            raise TimeoutError(f"no answer within {timeout_s} s")
        if not native.status.ok():
            raise error_of(native.status)
        # One copy into memory that the arrays own together.
        memory = np.empty(native.answer.size(), np.uint8)
        cdef uint8_t[::1] into
        if native.answer.size() > 0:
            into = memory
            memcpy(&into[0], native.answer.data(), native.answer.size())
        arrays = {}
        cdef size_t i
        cdef LocalOutput* output
        for i in range(native.outputs.size()):
            output = &native.outputs[i]
            datatype = text_of(datatype_name(output.datatype))
            shape = shape_of(output.shape)
            if datatype == "BYTES":
                array = decode_elements(
                    native.answer.data() + output.offset, output.bytes, shape
                )
            else:
                part = memory[output.offset : output.offset + output.bytes]
                array = part.view(_DTYPES[datatype]).reshape(shape)
            arrays[output.name.decode()] = array
        return arrays

    def add_done_callback(self, callback):
        argument = (self, callback)
        Py_INCREF(argument)
        cdef CLocalRequest* native = self.native.get()
        with nogil:
            native.on_done(on_settled, <void*>argument)

    def cancel(self):
        cdef CLocalRequest* native = self.native.get()
        with nogil:
            native.cancel()


def submit(Version version not None, inputs, *, parameters=None, timeout_s=None):
    cdef LocalRequest request = LocalRequest.__new__(LocalRequest)
    request.native = make_shared[CLocalRequest]()
    cdef CLocalRequest* native = request.native.get()
    specs = {spec.name: spec for spec in version.spec.inputs}
    # What views point into must lie in the request's own body: names, then data.
    encoded = []
    for name, value in inputs.items():
        spec = specs.get(name)
        array = np.asarray(value)
        if spec is None:
            datatype = "BYTES"
            data = b""
        elif spec.datatype == "BYTES":
            datatype = spec.datatype
            try:
                data = encode_elements(array)
            except (TypeError, UnicodeEncodeError) as error:
                raise RequestError(3, f"input {name!r} of model {version.spec.name!r}: {error}")
        else:
            datatype = spec.datatype
            if array.dtype != _DTYPES[datatype]:
                raise RequestError(
                    3,
                    f"input {name!r} of model {version.spec.name!r} has dtype {array.dtype}, "
                    f"expected {_DTYPES[datatype]} ({datatype})",
                )
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if array.ndim > kMaxRank:
            raise RequestError(
                3, f"input {name!r} has {array.ndim} dimensions, at most {kMaxRank} are served"
            )
        encoded.append((name.encode(), datatype.encode(), array.shape, data))
    named = {key.encode(): value for key, value in (parameters or {}).items()}
    cdef size_t total = sum([len(n) + len(d) + len(b) for n, d, _, b in encoded])
    for key, value in named.items():
        total += len(key) + (len(value.encode()) if isinstance(value, str) else 0)
    native.body.resize(total)
    cdef size_t offset = 0
    cdef InputView view
    cdef Parameter parameter
    cdef size_t axis
    for name, datatype, shape, data in encoded:
        view.name = place_text(native, &offset, name)
        view.datatype = place_text(native, &offset, datatype)
        view.shape.rank = len(shape)
        for axis in range(len(shape)):
            view.shape.dims_data()[axis] = shape[axis]
        native.view.inputs.push_back(view)
        native.view.raw_input_contents.push_back(place_bytes(native, &offset, data))
    for key, value in named.items():
        parameter.key = place_text(native, &offset, key)
        if isinstance(value, bool):
            parameter.value = ParameterValue(<cbool>value)
        elif isinstance(value, numbers.Integral):
            if not -(1 << 63) <= value < 1 << 64:
                raise RequestError(3, f"parameter {key.decode()!r} is {value}, beyond 64 bits")
            if value < 1 << 63:
                parameter.value = ParameterValue(<int64_t>value)
            else:
                parameter.value = ParameterValue(<uint64_t>value)
        elif isinstance(value, float):
            parameter.value = ParameterValue(<double>value)
        elif isinstance(value, str):
            parameter.value = ParameterValue(place_text(native, &offset, value.encode()))
        else:
            raise RequestError(
                3,
                f"parameter {key.decode()!r} is a {type(value).__name__}, expected bool, int, "
                "float or str",
            )
        native.view.parameters.push_back(parameter)
    cdef int64_t deadline = kNever
    if timeout_s is not None:
        deadline = saturating_add(steady_now(), nanos(timeout_s))
    with nogil:
        CLocalRequest.submit(request.native, version.native, deadline)
    return request


cdef ByteSpan place_bytes(CLocalRequest* request, size_t* offset, data) except *:
    cdef const uint8_t[::1] view
    cdef size_t size = len(data)
    cdef uint8_t* place = request.body.data() + offset[0]
    if size > 0:
        view = data
        with nogil:
            memcpy(place, &view[0], size)
    offset[0] += size
    return ByteSpan(place, size)


cdef string_view place_text(CLocalRequest* request, size_t* offset, bytes text) except *:
    cdef ByteSpan placed = place_bytes(request, offset, text)
    return string_view(<const char*>placed.data(), placed.size())
