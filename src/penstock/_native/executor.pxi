# One instance of a model: the loop that its thread runs, and the batch that
# its backend sees.


class RequestError(Exception):
    """An answer with a status code of its own."""

    def __init__(self, int code, str message):
        super().__init__(message)
        if not 1 <= code <= 16:
            raise ValueError(f"code {code} is not a gRPC status code of an error, 1 to 16")
        self.code = code
        self.message = message

    def __reduce__(self):
        return (type(self), (self.code, self.message))


@cython.final
cdef class Batch:
    cdef CInstance* native
    cdef object spec
    # The instance, while it runs: what `native` points to may be gone later.
    cdef object owner
    # Arrays that outputs point into until they are scattered.
    cdef list held

    def __init__(self):
        raise TypeError("a Batch comes from an Instance")

    cdef CInstance* core(self) except NULL:
        if self.owner is None:
            raise RuntimeError("a Batch is valid inside Backend.run only")
        return self.native

    @property
    def rows(self):
        return self.core().rows()

    @property
    def static(self):
        return self.core().is_static()

    @property
    def input_count(self):
        return len(self.spec.inputs)

    cdef const BatchTensor* input_at(self, Py_ssize_t index) except NULL:
        if not 0 <= index < len(self.spec.inputs):
            raise IndexError(f"input {index} of {len(self.spec.inputs)}")
        return &self.core().input(index)

    def input_address(self, Py_ssize_t index):
        cdef const BatchTensor* tensor = self.input_at(index)
        return <size_t>tensor.data if tensor.present else 0

    def input_shape(self, Py_ssize_t index):
        return shape_of(self.input_at(index).shape)

    def input(self, Py_ssize_t index):
        cdef const BatchTensor* tensor = self.input_at(index)
        if not tensor.present:
            return None
        shape = shape_of(tensor.shape)
        datatype = self.spec.inputs[index].datatype
        if datatype == "BYTES":
            return decode_elements(tensor.data, tensor.bytes, shape)
        return array_over(<char*>tensor.data, tensor.bytes, _DTYPES[datatype], shape, self.owner)

    def output_address(self, Py_ssize_t index):
        if not 0 <= index < len(self.spec.outputs):
            raise IndexError(f"output {index} of {len(self.spec.outputs)}")
        return <size_t>self.core().output_address(index)

    def set_output(self, Py_ssize_t index, value):
        if not 0 <= index < len(self.spec.outputs):
            raise IndexError(f"output {index} of {len(self.spec.outputs)}")
        spec = self.spec.outputs[index]
        array = np.ascontiguousarray(value)
        # ascontiguousarray makes a scalar an array of one element.
        cdef vector[int64_t] shape = np.shape(value)
        cdef const uint8_t[::1] view
        if spec.datatype == "BYTES":
            if array.dtype.kind not in "OSU":
                raise self.wrong_dtype(spec, array)
            try:
                data = encode_elements(array)
            except TypeError as error:
                raise RequestError(13, f"output {spec.name!r} of model {self.spec.name!r}: {error}")
        elif array.dtype != _DTYPES[spec.datatype]:
            raise self.wrong_dtype(spec, array)
        else:
            data = array.reshape(-1).view(np.uint8)
        self.held.append(data)
        cdef const uint8_t* address = NULL
        cdef size_t size = len(data)
        if size > 0:
            view = data
            address = &view[0]
        cdef Status status = self.core().give_output(
            index, address, size, DimSpan(shape.data(), shape.size())
        )
        if not status.ok():
            raise error_of(status)

    def wrong_dtype(self, spec, array):
        return RequestError(
            13,
            f"output {spec.name!r} of model {self.spec.name!r}: the backend gave dtype "
            f"{array.dtype}, expected {_DTYPES[spec.datatype]} ({spec.datatype})",
        )

    @property
    def parameters(self):
        # Those that the server acts on are one client's own: no model sees them.
        cdef ParameterSpan parameters = self.core().parameters()
        cdef size_t i
        return {
            text_of(parameters[i].key): parameter_value(parameters[i])
            for i in range(parameters.size())
            if not is_reserved_parameter(parameters[i].key)
        }

    cdef check_outputs(self):
        cdef size_t missing = self.core().outputs_missing()
        if missing > 0:
            raise RequestError(
                13,
                f"model {self.spec.name!r}: the backend gave no value for {missing} of its outputs",
            )


@cython.final
cdef class Instance:
    cdef unique_ptr[CInstance] native
    # Requests come back through the engine's transport: it must outlive us.
    cdef Engine engine
    cdef object spec
    cdef Batch batch

    def __init__(self):
        raise TypeError("an Instance comes from a Version")

    cdef begin(self):
        """One thread at a time has the buffers."""
        if self.batch.owner is not None:
            raise RuntimeError("this instance is running already")
        self.batch.owner = self

    def run(self, backend):
        run = backend.run
        self.begin()
        try:
            self.take_batches(run)
        finally:
            self.batch.owner = None

    cdef take_batches(self, run):
        cdef CInstance* native = self.native.get()
        cdef bint more
        batch = self.batch
        while True:
            with nogil:
                more = native.next()
            if not more:
                return
            try:
                run(batch)
                self.batch.check_outputs()
            except BaseException as error:
                self.fail(error)
            else:
                with nogil:
                    native.complete()
            # The requests have gone: what their outputs pointed into may go.
            self.batch.held.clear()

    cdef fail(self, error):
        # Whatever a model raises, its executor goes on.
        cdef Status status = make_status(13, f"model {self.spec.name!r}: the backend failed")
        try:
            if isinstance(error, RequestError) and 1 <= error.code <= 16:
                status = make_status(error.code, error.message)
            else:
                _log.error(
                    "model %s version %s failed on a batch of %d rows",
                    self.spec.name,
                    self.spec.version,
                    self.native.get().rows(),
                    exc_info=error,
                )
                status = make_status(
                    13, f"model {self.spec.name!r}: {type(error).__name__}: {error}"
                )
        except BaseException as worse:
            _log.error("the error of model %s cannot be told", self.spec.name, exc_info=worse)
        with nogil:
            self.native.get().fail(status)

    def warm_up(self, backend, int64_t rows, dims=None):
        limit = max(self.spec.batching.max_batch_size, 1)
        if not 1 <= rows <= limit:
            raise ValueError(f"cannot warm up with {rows} rows, expected 1 to {limit}")
        if dims is None:
            dims = [spec.dims for spec in self.spec.inputs]
        cdef vector[vector[int64_t]] shapes
        for shape in dims:
            if any(dim < 0 for dim in shape):
                raise ValueError(
                    f"warm-up of model {self.spec.name!r} needs a size for each dynamic "
                    f"dimension of {tuple(shape)}"
                )
            shapes.push_back(tuple(shape))
        self.begin()
        cdef Status status = self.native.get().begin_warm_up(
            rows, DimsSpan(shapes.data(), shapes.size())
        )
        if not status.ok():
            self.batch.owner = None
            raise ValueError(status.message().decode())
        try:
            backend.run(self.batch)
            self.batch.check_outputs()
        finally:
            self.batch.held.clear()
            self.batch.owner = None


cdef Instance make_instance(Engine engine, shared_ptr[ModelVersion] version, uint32_t index, spec):
    cdef Instance instance = Instance.__new__(Instance)
    instance.native.reset(new CInstance(version, index))
    instance.engine = engine
    instance.spec = spec
    cdef Batch batch = Batch.__new__(Batch)
    batch.native = instance.native.get()
    batch.spec = spec
    batch.held = []
    instance.batch = batch
    return instance


@cython.final
cdef class Version:
    cdef shared_ptr[ModelVersion] native
    cdef list instances
    cdef readonly object spec
    cdef object __weakref__

    def __init__(self):
        raise TypeError("a Version comes from Engine.add_version")

    def instance(self, Py_ssize_t index):
        return self.instances[index]

    def close(self):
        with nogil:
            self.native.get().close()

    def statistics(self):
        return version_statistics(self)

    def activity(self):
        return version_activity(self)

    def latencies(self):
        return version_latencies(self)

    def watch(self, features):
        monitor_of(self).watch(<shared_ptr[const WatchPlan]>plan_of(self.spec, list(features)))

    def drift_counts(self):
        return version_drift(self)

    def capture(self, size_t rows):
        monitor_of(self).capture(rows)

    def captured(self):
        return version_captured(self)
