cimport cython

from udpprobe.core cimport views


@cython.final
cdef class Stencil:
    cdef Py_ssize_t size
    cdef bytes text
    cdef const unsigned char[::1] bytes
    cdef long long[::1] ends, places
    cdef unsigned long long[::1] kinds


@cython.final
cdef class Columns:
    cdef const unsigned long long[::1] high, low, sent_bytes
    cdef const unsigned short[::1] port
    cdef const long long[::1] time_ns, rtt_ns


@cython.final
cdef class Filler:
    cdef public unsigned long long[::1] words
    cdef unsigned char[::1] _memory
    cdef Py_ssize_t _room, _size
    cdef bytes _minute
    cdef unsigned long long _minute_begin
    cpdef int fill(self, Stencil stencil) except -1
    cdef int _reserve(self, Py_ssize_t size) except -1
    cdef int _put_number(self, unsigned long long number, Py_ssize_t digits) except -1 nogil
    cdef int _put_address(self, unsigned long long high, unsigned long long low) except -1
    cdef int _put_time(self, unsigned long long biased_ns) except -1
    cdef int _put_ms(self, unsigned long long ns) except -1 nogil
    cdef int _put_byte(self, unsigned long long byte) except -1 nogil
