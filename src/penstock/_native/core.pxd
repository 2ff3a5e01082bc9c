# What engine.pyx uses of csrc.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.map cimport map
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.optional cimport optional
from libcpp.string cimport string
from libcpp.string_view cimport string_view
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from penstock._native.kernels cimport DriftFeatures


cdef extern from "<span>" namespace "std" nogil:
    cdef cppclass ByteSpan "std::span<const std::uint8_t>":
        ByteSpan()
        ByteSpan(const uint8_t*, size_t)
        const uint8_t* data()
        size_t size()
    cdef cppclass DimSpan "std::span<const std::int64_t>":
        DimSpan(const int64_t*, size_t)
    cdef cppclass DimsSpan "std::span<const std::vector<std::int64_t>>":
        DimsSpan(const vector[int64_t]*, size_t)
    cdef cppclass ParameterSpan "std::span<const penstock::oip::Parameter>":
        size_t size()
        const Parameter& operator[](size_t)


cdef extern from "base/clock.h" namespace "penstock" nogil:
    const int64_t kNever
    int64_t steady_now()
    int64_t saturating_add(int64_t, int64_t)


cdef extern from "base/status.h" namespace "penstock" nogil:
    cdef enum class Code "penstock::Code":
        pass
    cdef cppclass Status:
        Status()
        Status(Code, string)
        cbool ok()
        Code code()
        const string& message()


cdef extern from "base/buffer.h" namespace "penstock" nogil:
    cdef cppclass Buffer:
        Buffer()
        uint8_t* data()
        size_t size()
        void resize(size_t) except +
        void append(const void*, size_t) except +


cdef extern from "base/counter.h" namespace "penstock" nogil:
    cdef cppclass Counter:
        uint64_t get()


cdef extern from "oip/signature.h" namespace "penstock::oip" nogil:
    cdef enum class DataType "penstock::oip::DataType":
        kBytes
    cdef cppclass TensorSpec:
        string name
        DataType datatype
        vector[int64_t] dims
        cbool optional_ "optional"
        cbool utf8
    cdef cppclass Signature:
        string model
        string version
        vector[TensorSpec] inputs
        vector[TensorSpec] outputs
        int64_t max_batch_size
        cbool parameters_matter
        void index_names() except +
    const size_t kMaxRank


cdef extern from "oip/datatype.h" namespace "penstock::oip" nogil:
    optional[DataType] parse_datatype(string_view)
    string_view datatype_name "penstock::oip::name"(DataType)


cdef extern from "<variant>" namespace "std" nogil:
    const cbool* parameter_bool "std::get_if<bool>"(const ParameterValue*)
    const int64_t* parameter_int "std::get_if<std::int64_t>"(const ParameterValue*)
    const string_view* parameter_text "std::get_if<std::string_view>"(const ParameterValue*)
    const double* parameter_double "std::get_if<double>"(const ParameterValue*)
    const uint64_t* parameter_unsigned "std::get_if<std::uint64_t>"(const ParameterValue*)


cdef extern from "oip/infer_request.h" namespace "penstock::oip" nogil:
    cdef cppclass ParameterValue:
        ParameterValue()
        ParameterValue(cbool)
        ParameterValue(int64_t)
        ParameterValue(uint64_t)
        ParameterValue(double)
        ParameterValue(string_view)
    cdef cppclass Parameter:
        string_view key
        ParameterValue value
    cdef cppclass Shape:
        int64_t* dims_data "dims.data"()
        uint8_t rank
    cdef cppclass InputView:
        string_view name
        string_view datatype
        Shape shape
    cbool is_reserved_parameter(string_view)
    cdef cppclass InferRequestView:
        vector[Parameter] parameters
        vector[InputView] inputs
        vector[ByteSpan] raw_input_contents


cdef extern from "serving/options.h" namespace "penstock::serving" nogil:
    cdef enum class TimeoutAction "penstock::serving::QueuePolicy::TimeoutAction":
        kReject
        kDelay
    cdef cppclass QueuePolicy:
        TimeoutAction timeout_action
        int64_t default_timeout
        cbool allow_timeout_override
        uint32_t max_queue_size
    cdef cppclass BatchingOptions:
        int64_t max_batch_size
        int64_t queue_delay
        vector[int64_t] preferred_batch_sizes
        cbool preserve_ordering
        uint32_t priority_levels
        uint32_t default_priority_level
        QueuePolicy default_policy
        map[uint32_t, QueuePolicy] priority_policies
        int64_t latency_budget
        uint32_t max_queued
        uint32_t instances


cdef extern from "serving/batcher.h" namespace "penstock::serving" nogil:
    cdef enum class Release "penstock::serving::Release":
        kCount
    cdef enum class Refusal "penstock::serving::Refusal":
        kCount
    string_view release_name "penstock::serving::name"(Release)
    string_view refusal_name "penstock::serving::name"(Refusal)


cdef extern from "serving/monitor.h" namespace "penstock::serving" nogil:
    cdef enum class Stage "penstock::serving::Stage":
        kCount
    string_view stage_name "penstock::serving::name"(Stage)
    cdef enum class WatchedWhat "penstock::serving::WatchedColumns::What":
        kInput
        kOutput
        kClass
    cdef cppclass WatchedColumns:
        WatchedWhat what
        size_t tensor
        size_t column
        size_t columns
        size_t feature
    cdef cppclass WatchPlan:
        vector[WatchedColumns] columns
        shared_ptr[const DriftFeatures] features
    cdef cppclass Captured "penstock::serving::VersionMonitor::Captured":
        size_t rows
        vector[Buffer] tensors
    cdef cppclass StageExtremes "penstock::serving::VersionMonitor::Extremes":
        double sum
        double minimum
        double maximum
    cdef cppclass VersionMonitor:
        void watch(shared_ptr[const WatchPlan]) except +
        shared_ptr[const WatchPlan] plan()
        void capture(size_t) except +
        Captured captured() except +
        vector[string] slices() except +
        StageExtremes add_latencies(Stage, int, uint64_t*)
        uint64_t add_drift(const WatchPlan&, uint64_t*)


cdef extern from "serving/options.h" namespace "penstock::serving" nogil:
    cdef cppclass MonitorOptions:
        cbool enabled
        size_t max_slices


cdef extern from "serving/model_version.h" namespace "penstock::serving" nogil:
    cdef cppclass BatchSizeStats "penstock::serving::InstanceStats::BatchSize":
        Counter count
        Counter compute_input_ns
        Counter compute_infer_ns
        Counter compute_output_ns
    cdef cppclass InstanceStats:
        Counter success, success_ns, failure, failure_ns
        Counter queue_ns, compute_input_ns, compute_infer_ns, compute_output_ns
        Counter rows, batches, last_inference_ms
        vector[BatchSizeStats] by_rows
    cdef cppclass CostLine "penstock::serving::CostModel::Line":
        double a
        double b
    cdef cppclass RefusedCounts "std::array<std::uint64_t, static_cast<std::size_t>(penstock::serving::Refusal::kCount)>":
        uint64_t operator[](size_t)
        size_t size()
    cdef cppclass ReleasedCounts "std::array<std::uint64_t, static_cast<std::size_t>(penstock::serving::Release::kCount)>":
        uint64_t operator[](size_t)
        size_t size()
    cdef cppclass QueueSnapshot "penstock::serving::ModelVersion::QueueSnapshot":
        RefusedCounts refused
        uint64_t refused_ns
        ReleasedCounts released
        uint64_t queued_requests
        int64_t queued_rows
        uint64_t in_flight
        cbool cost_known
        CostLine cost
    cdef cppclass ModelVersion:
        ModelVersion(Signature, BatchingOptions, vector[vector[string]], MonitorOptions) except +
        const Signature& signature()
        void close()
        InstanceStats& stats(uint32_t)
        VersionMonitor* monitor()
        QueueSnapshot queue_snapshot()


cdef extern from "serving/instance.h" namespace "penstock::serving" nogil:
    cdef cppclass BatchTensor:
        uint8_t* data
        size_t bytes
        vector[int64_t] shape
        cbool present
    cdef cppclass CInstance "penstock::serving::Instance":
        CInstance(shared_ptr[ModelVersion], uint32_t) except +
        cbool next() except +
        void complete() except +
        void fail(const Status&) except +
        Status begin_warm_up(int64_t, DimsSpan) except +
        const Signature& signature()
        int64_t rows()
        cbool is_static()
        const BatchTensor& input(size_t)
        uint8_t* output_address(size_t)
        size_t output_row_bytes(size_t)
        Status give_output(size_t, const uint8_t*, size_t, DimSpan) except +
        ParameterSpan parameters()
        size_t outputs_missing()


cdef extern from "serving/router.h" namespace "penstock::serving" nogil:
    cdef cppclass RoutingTable:
        RoutingTable() except +
        void add(const string&, vector[shared_ptr[ModelVersion]]) except +
        void add_unavailable(const string&, string) except +
    cdef cppclass Router:
        void publish(shared_ptr[const RoutingTable])


cdef extern from "grpc/service.h" namespace "penstock::grpc" nogil:
    const size_t kMessagePrefix
    cdef cppclass Method:
        string path
        cbool client_streaming
        cbool server_streaming


cdef extern from "grpc/server.h" namespace "penstock::grpc" nogil:
    cdef cppclass TlsOptions:
        string certificate
        string key
        string client_ca
    cdef cppclass Limits:
        uint32_t max_connections
        uint32_t max_streams
        uint32_t max_header_bytes
        uint64_t max_message_bytes
        uint64_t max_bytes_in_flight
        int64_t idle_timeout
        int64_t keepalive_time
        int64_t keepalive_timeout
        int64_t stall_timeout
        int64_t handshake_timeout
    cdef cppclass ServerOptions:
        unsigned threads
        Limits limits
        optional[TlsOptions] tls
    cdef enum class Limit "penstock::grpc::Limit":
        kCount
    string_view limit_name "penstock::grpc::name"(Limit)
    cdef cppclass ServerStats:
        uint64_t connections
        uint64_t connections_total
        uint64_t streams
        uint64_t requests_total
        uint64_t bytes_in_flight
        uint64_t bytes_received
        uint64_t bytes_sent
        uint64_t* answers "answers.data"()
        uint64_t* limits "limits.data"()
    cdef cppclass CServer "penstock::grpc::Server":
        Status listen_tcp(const string&, uint16_t, uint16_t*) except +
        Status listen_unix(const string&) except +
        Status start() except +
        Status reload_tls() except +
        void drain()
        cbool wait_drained(int64_t)
        void stop()
        ServerStats stats()


cdef extern from "server/control_queue.h" namespace "penstock::server" nogil:
    cdef enum class ControlKind "penstock::server::ControlEvent::Kind":
        kMessage
        kHalfClose
        kGone
    cdef cppclass ControlEvent:
        uint64_t call
        ControlKind kind
        uint32_t method
        Buffer message
        cbool first
    cdef cppclass ControlQueue:
        int fd()
        vector[ControlEvent] take() except +


cdef extern from "server/inference_service.h" namespace "penstock::server" nogil:
    cdef cppclass InferenceService:
        void control_send(uint64_t, Buffer) except +
        void control_finish(uint64_t, Status) except +


cdef extern from "server/engine.h" namespace "penstock::server" nogil:
    cdef cppclass CEngine "penstock::server::Engine":
        CEngine(const ServerOptions&, vector[Method]) except +
        Router router
        ControlQueue control
        InferenceService service
        unique_ptr[CServer] transport


cdef extern from "server/local_request.h" namespace "penstock::server" nogil:
    cdef cppclass LocalOutput "penstock::server::LocalRequest::Output":
        string name
        DataType datatype
        vector[int64_t] shape
        size_t offset
        size_t bytes
    cdef cppclass CLocalRequest "penstock::server::LocalRequest":
        @staticmethod
        void submit(const shared_ptr[CLocalRequest]&, shared_ptr[ModelVersion], int64_t) except +
        Buffer body
        InferRequestView view
        Status status
        Buffer answer
        vector[LocalOutput] outputs
        cbool wait(int64_t)
        cbool done()
        void cancel() except +
        void on_done(void (*)(void*) noexcept, void*) except +
