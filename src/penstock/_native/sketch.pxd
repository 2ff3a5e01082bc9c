# For Cython code that counts latencies without the GIL:
#
#     from penstock._native.sketch cimport LatencySketch
#     sketch.observe(seconds, 1)

from libc.stdint cimport uint64_t


cdef extern from *:
    """
    namespace penstock::kernels { class LatencySketch; }
    """
    cdef cppclass NativeSketch "penstock::kernels::LatencySketch":
        pass


cdef class LatencySketch:
    cdef NativeSketch* native
    cdef void observe(self, double value, uint64_t times) noexcept nogil
