# What the executors noted, as sketches and counts.

_STAGES = tuple(text_of(stage_name(<Stage>i)) for i in range(<int>Stage.kCount))


cdef VersionMonitor* monitor_of(Version version) except NULL:
    cdef VersionMonitor* monitor = version.native.get().monitor()
    if monitor == NULL:
        raise RuntimeError(f"model {version.spec.name!r} is not monitored")
    return monitor


cdef dict stage_sketches(VersionMonitor* monitor, int slice):
    cdef LatencySketch sketch
    cdef uint64_t[::1] counts
    cdef StageExtremes extremes
    sketches = {}
    for index, name in enumerate(_STAGES):
        array = np.zeros(kSketchSlots, np.uint64)
        counts = array
        extremes = monitor.add_latencies(<Stage><int>index, slice, &counts[0])
        sketch = LatencySketch()
        (<CLatencySketch*>sketch.native).merge(
            &counts[0], extremes.sum, extremes.minimum, extremes.maximum
        )
        sketches[name] = sketch
    return sketches


cdef dict version_latencies(Version version):
    cdef VersionMonitor* monitor = monitor_of(version)
    cdef vector[string] slices = monitor.slices()
    return {
        "all": stage_sketches(monitor, -1),
        "slices": {
            slices[i].decode("utf-8", "replace"): stage_sketches(monitor, i)
            for i in range(slices.size())
        },
    }


cdef shared_ptr[WatchPlan] plan_of(spec, features) except *:
    """Neighbouring columns of a tensor are counted in one go."""
    cdef shared_ptr[WatchPlan] plan = make_shared[WatchPlan]()
    cdef WatchedColumns columns
    if not features:
        # Nothing to count is no plan.
        return shared_ptr[WatchPlan]()
    cdef Features native = Features([feature.bins for feature in features])
    plan.get().features = native.native
    last = None
    cdef vector[WatchedColumns] runs
    roles = {
        "input": WatchedWhat.kInput, "output": WatchedWhat.kOutput, "class": WatchedWhat.kClass
    }
    follows = None
    for index, feature in enumerate(features):
        tensors = spec.inputs if feature.role == "input" else spec.outputs
        names = [tensor.name for tensor in tensors]
        if feature.tensor not in names:
            raise ValueError(
                f"feature {index} is of {feature.role} {feature.tensor!r}; the model's are "
                f"{', '.join(repr(name) for name in names)}"
            )
        where = names.index(feature.tensor)
        texts = isinstance((feature.bins.values or (0,))[0], str)
        if texts != (tensors[where].datatype == "BYTES"):
            raise ValueError(
                f"feature {index} has bins of {'texts' if texts else 'numbers'}; "
                f"{feature.tensor!r} is {tensors[where].datatype}"
            )
        if (feature.role, where, feature.column) == follows:
            columns.columns += 1
        else:
            if follows is not None:
                runs.push_back(columns)
            columns.what = roles[feature.role]
            columns.tensor = where
            columns.column = feature.column
            columns.columns = 1
            columns.feature = index
        follows = (feature.role, where, feature.column + 1)
        if feature.role == "class":
            for dim in tensors[where].dims:
                columns.columns *= max(dim, 1)
            # Not to be gone on with.
            follows = (feature.role, where, -1)
    runs.push_back(columns)
    plan.get().columns = runs
    return plan


cdef tuple version_drift(Version version):
    cdef VersionMonitor* monitor = monitor_of(version)
    cdef shared_ptr[const WatchPlan] plan = monitor.plan()
    if plan.get() == NULL:
        return None
    array = np.zeros((plan.get().features.get().size(), kDriftSlots), np.uint64)
    cdef uint64_t[:, ::1] counts = array
    cdef uint64_t rows = 0
    if counts.shape[0]:
        rows = monitor.add_drift(plan.get()[0], &counts[0, 0])
    return rows, array


cdef tuple version_captured(Version version):
    cdef Captured captured = monitor_of(version).captured()
    spec = version.spec
    tensors = {}
    owners = [("input", tensor) for tensor in spec.inputs]
    owners += [("output", tensor) for tensor in spec.outputs]
    for index, (role, tensor) in enumerate(owners):
        if index >= captured.tensors.size():
            break
        data = &captured.tensors[index]
        if tensor.datatype == "BYTES":
            values = decode_elements(data.data(), data.size(), (-1,))
        else:
            raw = PyBytes_FromStringAndSize(<const char*>data.data(), data.size())
            values = np.frombuffer(raw, _DTYPES[tensor.datatype])
        # Where requests decide the size, rows are not alike.
        if captured.rows and values.size % captured.rows == 0:
            tensors[role, tensor.name] = values.reshape(captured.rows, -1)
    return captured.rows, tensors
