# cython: language_level=3, freethreading_compatible=False
# distutils: language = c++
"""The native core: sockets, HTTP/2, gRPC, queues, batches."""

import logging
import numbers

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memcpy
from libcpp.memory cimport make_shared
from libcpp.utility cimport move

from penstock._native.core cimport *
from penstock._native.drift cimport Features
from penstock._native.kernels cimport CLatencySketch, kDriftSlots, kSketchSlots
from penstock._native.sketch cimport LatencySketch

_log = logging.getLogger("penstock.engine")

include "convert.pxi"
include "executor.pxi"
include "statistics.pxi"
include "monitor.pxi"
include "local.pxi"


@cython.final
cdef class Engine:
    cdef unique_ptr[CEngine] native
    cdef list control_paths
    cdef uint32_t max_queued_requests
    cdef bint stopped

    def __init__(
        self,
        *,
        unsigned transport_threads,
        control_methods=(),
        uint32_t max_connections=16_384,
        uint32_t max_streams=1_024,
        uint32_t max_header_bytes=16 * 1024,
        uint64_t max_message_bytes=64 << 20,
        uint64_t max_bytes_in_flight=1 << 30,
        uint32_t max_queued_requests=65_536,
        idle_timeout_s=float("inf"),
        keepalive_time_s=60.0,
        keepalive_timeout_s=20.0,
        stall_timeout_s=30.0,
        handshake_timeout_s=10.0,
        tls=None,
    ):
        cdef ServerOptions options
        if self.native.get() != NULL:
            raise RuntimeError("an Engine is made once")
        options.threads = transport_threads
        options.limits.max_connections = max_connections
        options.limits.max_streams = max_streams
        options.limits.max_header_bytes = max_header_bytes
        options.limits.max_message_bytes = max_message_bytes
        options.limits.max_bytes_in_flight = max_bytes_in_flight
        options.limits.idle_timeout = nanos(idle_timeout_s)
        options.limits.keepalive_time = nanos(keepalive_time_s)
        options.limits.keepalive_timeout = nanos(keepalive_timeout_s)
        options.limits.stall_timeout = nanos(stall_timeout_s)
        options.limits.handshake_timeout = nanos(handshake_timeout_s)
        cdef TlsOptions tls_options
        if tls is not None:
            tls_options.certificate = tls["certificate"].encode()
            tls_options.key = tls["key"].encode()
            tls_options.client_ca = tls.get("client_ca", "").encode()
            options.tls = tls_options
        cdef vector[Method] methods
        cdef Method method
        self.control_paths = []
        for path, client_streaming, server_streaming in control_methods:
            method.path = path.encode()
            method.client_streaming = client_streaming
            method.server_streaming = server_streaming
            methods.push_back(method)
            self.control_paths.append(path)
        self.max_queued_requests = max_queued_requests
        self.native.reset(new CEngine(options, methods))

    cdef CServer* transport(self) except NULL:
        if self.native.get().transport.get() == NULL:
            raise RuntimeError("this engine has no transport threads")
        return self.native.get().transport.get()

    def listen_tcp(self, str host, uint16_t port):
        cdef uint16_t bound = 0
        cdef Status status = self.transport().listen_tcp(host.encode(), port, &bound)
        if not status.ok():
            raise OSError(status.message().decode("utf-8", "replace"))
        return bound

    def listen_unix(self, path):
        cdef Status status = self.transport().listen_unix(str(path).encode())
        if not status.ok():
            raise OSError(status.message().decode("utf-8", "replace"))

    def start(self):
        cdef Status status = self.transport().start()
        if not status.ok():
            raise ValueError(status.message().decode("utf-8", "replace"))

    def reload_tls(self):
        cdef Status status = self.transport().reload_tls()
        if not status.ok():
            raise ValueError(status.message().decode("utf-8", "replace"))

    def drain(self):
        cdef CServer* transport = self.transport()
        with nogil:
            transport.drain()

    def wait_drained(self, timeout_s):
        cdef CServer* transport = self.transport()
        cdef int64_t until = saturating_add(steady_now(), nanos(timeout_s))
        cdef int64_t slice
        cdef bint drained = False
        while not drained:
            slice = next_slice(until)
            with nogil:
                drained = transport.wait_drained(slice)
            if slice < kSignalSlice:
                break
            PyErr_CheckSignals()
        return drained

    def stop(self):
        cdef CServer* transport = self.transport()
        self.stopped = True
        with nogil:
            transport.stop()

    def add_version(self, spec):
        cdef Version version = Version.__new__(Version)
        cdef vector[vector[string]] labels
        cdef vector[string] classes
        for output in spec.outputs:
            classes.clear()
            for label in output.labels:
                classes.push_back(label.encode())
            labels.push_back(classes)
        version.spec = spec
        version.native = make_shared[ModelVersion](
            signature_of(spec),
            batching_of(spec, self.max_queued_requests),
            labels,
            monitor_options_of(spec),
        )
        version.instances = [
            make_instance(self, version.native, index, spec)
            for index in range(spec.instance_count)
        ]
        return version

    def publish(self, routes, unavailable=None):
        cdef shared_ptr[RoutingTable] table = make_shared[RoutingTable]()
        cdef vector[shared_ptr[ModelVersion]] versions
        cdef Version version
        for model, members in routes.items():
            versions.clear()
            for version in members:
                versions.push_back(version.native)
            if not versions.empty():
                table.get().add(model.encode(), versions)
        for model, reason in (unavailable or {}).items():
            table.get().add_unavailable(
                model.encode(), reason.encode("utf-8", "backslashreplace")
            )
        self.native.get().router.publish(<shared_ptr[const RoutingTable]>table)

    @property
    def control_fd(self):
        return self.native.get().control.fd()

    def take_control_calls(self):
        cdef vector[ControlEvent] events = self.native.get().control.take()
        cdef size_t i
        names = {
            <int>ControlKind.kMessage: "message",
            <int>ControlKind.kHalfClose: "half_close",
            <int>ControlKind.kGone: "gone",
        }
        return [
            {
                "id": events[i].call,
                "event": names[<int>events[i].kind],
                "method": self.control_paths[events[i].method],
                "message": PyBytes_FromStringAndSize(
                    <const char*>events[i].message.data(), events[i].message.size()
                ),
                "first": events[i].first,
            }
            for i in range(events.size())
        ]

    def control_send(self, uint64_t call_id, bytes message not None):
        cdef Buffer buffer
        if self.stopped:
            return
        buffer.resize(kMessagePrefix)
        buffer.append(<const char*>message, len(message))
        self.native.get().service.control_send(call_id, move(buffer))

    def control_finish(self, uint64_t call_id, int code, str message):
        if not self.stopped:
            self.native.get().service.control_finish(call_id, make_status(code, message))

    def statistics(self):
        return transport_statistics(self.transport().stats())
