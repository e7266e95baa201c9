cimport cython

from udpprobe.core.addresses cimport is_group
from udpprobe.core.table cimport Table


@cython.final
cdef class Ranking:
    cdef public Table subjects
    cdef Table findings, loops, endpoints
    cdef public bint by_flow
    cdef public long long[::1] order, endpoint_of, starts, found_rows
    cdef long long[::1] _subject_of, _spare
    cdef unsigned long long[::1] _keys
    cdef Py_ssize_t _key_words
    cdef int _put_subject(self, Py_ssize_t at) except -1 nogil
    cdef Py_ssize_t _add_subject(self) except -1 nogil
    cdef bint _is_long(self, Py_ssize_t at) except -1 nogil
    cdef int _merge(self, Py_ssize_t width) except -1 nogil
    cdef bint _is_before(self, Py_ssize_t one, Py_ssize_t other) except -1 nogil


cpdef unsigned long long kind_of(Table findings, Py_ssize_t row, bint is_loop) except? 0xffffffffffffffff nogil
