cimport cython

from udpprobe.core cimport views


@cython.final
cdef class Histograms:
    cdef public Py_ssize_t pending, room, owners, stored
    cdef public unsigned long long[::1] pending_owner, pending_ns
    cdef public unsigned long long[::1] starts, values, counts
    cdef unsigned long long[::1] buckets
    cdef int add(self, Py_ssize_t owner, long long duration_ns) except -1 nogil
    cdef Py_ssize_t _gather(self, unsigned long long[::1] ends, unsigned long long[::1] ns, unsigned long long[::1] weight, unsigned long long[::1] values, unsigned long long[::1] counts, Py_ssize_t owners) except -1 nogil
    cdef Py_ssize_t _many(self, Py_ssize_t first, Py_ssize_t last, unsigned long long[::1] ns, unsigned long long[::1] weight, unsigned long long[::1] values, unsigned long long[::1] counts, Py_ssize_t out) except -1 nogil
    cdef inline int _shift(self, unsigned long long value) except -1 nogil
    cdef bint has(self, Py_ssize_t owner) except -1 nogil
