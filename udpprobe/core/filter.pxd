# What compiled modules see of filter.py.

cimport cython


@cython.final
cdef class Filter:
    cdef object _compiled
    cdef const unsigned char[::1] data
    cdef unsigned long long[::1] _programs, _memory
    cdef int[::1] _links
    cdef long long[::1] _starts
    cdef Py_ssize_t _known
    cdef readonly long long unfilterable

    cpdef int passes(self, Py_ssize_t at, Py_ssize_t captured, Py_ssize_t length, int link_type) except -1 nogil
    cdef long long _run(self, Py_ssize_t counter, Py_ssize_t at, unsigned long long captured,
                        unsigned long long length) except -1 nogil
