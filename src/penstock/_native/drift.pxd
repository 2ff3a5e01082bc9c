# For engine.pyx: bins as the core has them.

from libcpp.memory cimport shared_ptr

from penstock._native.kernels cimport DriftFeatures


cdef class Features:
    cdef shared_ptr[const DriftFeatures] native
    cdef readonly tuple bins
