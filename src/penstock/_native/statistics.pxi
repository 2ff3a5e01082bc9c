# Counters of the core, merged over threads, as Python dictionaries.


cdef dict version_statistics(Version version):
    cdef ModelVersion* native = version.native.get()
    cdef QueueSnapshot queue = native.queue_snapshot()
    cdef InstanceStats* stats
    cdef size_t rows
    cdef uint32_t index
    totals = dict.fromkeys(
        (
            "success", "success_ns", "failure_ns", "queue_ns", "compute_input_ns",
            "compute_infer_ns", "compute_output_ns", "inference_count", "execution_count",
        ),
        0,
    )
    totals["failure_ns"] = queue.refused_ns
    failed_in_backend = 0
    last = 0
    sizes = {}
    for index in range(version.spec.instance_count):
        stats = &native.stats(index)
        totals["success"] += stats.success.get()
        totals["success_ns"] += stats.success_ns.get()
        totals["failure_ns"] += stats.failure_ns.get()
        totals["queue_ns"] += stats.queue_ns.get()
        totals["compute_input_ns"] += stats.compute_input_ns.get()
        totals["compute_infer_ns"] += stats.compute_infer_ns.get()
        totals["compute_output_ns"] += stats.compute_output_ns.get()
        totals["inference_count"] += stats.rows.get()
        totals["execution_count"] += stats.batches.get()
        failed_in_backend += stats.failure.get()
        last = max(last, stats.last_inference_ms.get())
        for rows in range(stats.by_rows.size()):
            if stats.by_rows[rows].count.get() == 0:
                continue
            size = sizes.setdefault(
                rows,
                {"count": 0, "compute_input_ns": 0, "compute_infer_ns": 0, "compute_output_ns": 0},
            )
            size["count"] += stats.by_rows[rows].count.get()
            size["compute_input_ns"] += stats.by_rows[rows].compute_input_ns.get()
            size["compute_infer_ns"] += stats.by_rows[rows].compute_infer_ns.get()
            size["compute_output_ns"] += stats.by_rows[rows].compute_output_ns.get()
    failure = {
        text_of(refusal_name(<Refusal>i)): queue.refused[i] for i in range(queue.refused.size())
    }
    failure["backend"] = failed_in_backend
    return totals | {
        "failure": failure,
        "batch_sizes": sizes,
        "released": {
            text_of(release_name(<Release>i)): queue.released[i]
            for i in range(queue.released.size())
        },
        "last_inference_ms": last,
        "queue_depth": queue.queued_requests,
        "queued_rows": queue.queued_rows,
        "in_flight": queue.in_flight,
        "cost_us": (queue.cost.a / 1e3, queue.cost.b / 1e3) if queue.cost_known else None,
    }


cdef uint64_t version_activity(Version version):
    cdef ModelVersion* native = version.native.get()
    cdef QueueSnapshot queue = native.queue_snapshot()
    cdef uint64_t events = 0
    for i in range(queue.refused.size()):
        events += queue.refused[i]
    for index in range(version.spec.instance_count):
        events += native.stats(index).batches.get() + native.stats(index).failure.get()
    return events


cdef dict transport_statistics(ServerStats stats):
    return {
        "connections": stats.connections,
        "connections_total": stats.connections_total,
        "streams": stats.streams,
        "requests_total": stats.requests_total,
        "bytes_in_flight": stats.bytes_in_flight,
        "bytes_received": stats.bytes_received,
        "bytes_sent": stats.bytes_sent,
        "answers": {name: stats.answers()[i] for i, name in enumerate(_CODE_NAMES)},
        "limits": {
            text_of(limit_name(<Limit>i)): stats.limits()[i] for i in range(<int>Limit.kCount)
        },
    }


_CODE_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)
