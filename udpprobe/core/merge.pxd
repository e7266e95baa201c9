# What compiled modules see of merge.py.

cimport cython

from udpprobe.core.capture cimport Records


@cython.final
cdef class Merge:
    cdef list _captures
    cdef long long[::1] _keys, _ranks, _heap
    cdef Py_ssize_t _count, _turn
    cdef public long long until_ns
    cdef readonly long long frames

    cpdef Records turn(self)
    cdef long long _bound(self) except? -1
    cdef int _sift(self) except -1
    cdef bint _is_before(self, Py_ssize_t one, Py_ssize_t other) except -1
