# What sketch.pyx, drift.pyx and engine.pyx use of csrc/kernels.

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.string_view cimport string_view


cdef extern from "kernels/latency_sketch.h" namespace "penstock::kernels" nogil:
    cdef cppclass SketchScale:
        @staticmethod
        double upper_bound(int64_t)
    const size_t SKETCH_BUCKETS "penstock::kernels::SketchScale::kBuckets"
    const int SKETCH_FIRST "penstock::kernels::SketchScale::kFirst"
    const double SKETCH_LOWEST "penstock::kernels::SketchScale::kLowest"
    const double SKETCH_HIGHEST "penstock::kernels::SketchScale::kHighest"
    const size_t kSketchLow, kSketchHigh, kSketchNegative, kSketchNan, kSketchSlots
    cdef cppclass CLatencySketch "penstock::kernels::LatencySketch":
        CLatencySketch() except +
        void add(double, uint64_t)
        void add_many(const void*, size_t, ptrdiff_t)
        void merge(const uint64_t*, double, double, double)
        void copy_counts(uint64_t*)
        double sum() const
        double minimum() const
        double maximum() const
        void clear()


cdef extern from "<span>" namespace "std" nogil:
    cdef cppclass NumberSpan "std::span<const double>":
        NumberSpan(const double*, size_t)
    cdef cppclass TextSpan "std::span<const std::string>":
        TextSpan(const string*, size_t)


cdef extern from "kernels/drift_bins.h" namespace "penstock::kernels" nogil:
    const size_t kDriftSlots
    const size_t kMaxBins
    cdef cppclass DriftTable:
        const void* data
        size_t rows
        size_t columns
        ptrdiff_t row_stride
        ptrdiff_t column_stride


cdef extern from "kernels/drift_histogram.h" namespace "penstock::kernels" nogil:
    cdef enum class Element "penstock::kernels::Element":
        kBool, kInt8, kInt16, kInt32, kInt64, kUint8, kUint16, kUint32, kUint64
        kHalf, kFloat, kDouble
    cdef cppclass DriftFeatures:
        DriftFeatures() except +
        void add_numeric(NumberSpan) except +
        void add_category(NumberSpan) except +
        void add_text_category "add_category"(TextSpan) except +
        size_t size()
        cbool is_text(size_t)
    cdef cppclass DriftCounts:
        DriftCounts(shared_ptr[const DriftFeatures]) except +
        void count_numbers(size_t, Element, const DriftTable&)
        void count_text(size_t, string_view)
        void add_to(uint64_t*)
        void add_from(const uint64_t*)
