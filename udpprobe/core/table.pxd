cimport cython


@cython.final
cdef class Table:
    cdef public Py_ssize_t width, key_width, size, room
    cdef public unsigned long long[::1] words, slots, keys, secret
    cdef object _memory
    cdef int _shift
    cdef unsigned long long _factor0, _factor1, _factor2, _factor3, _factor4, _factor5
    cdef Py_ssize_t _mask
    cdef unsigned long long hash(self, Py_ssize_t at) except? 0xffffffffffffffff nogil
    cdef unsigned long long hash5(self, unsigned long long first, unsigned long long second, unsigned long long third, unsigned long long fourth, unsigned long long fifth) noexcept nogil
    cdef Py_ssize_t touch(self, unsigned long long hash) except -2 nogil
    cdef Py_ssize_t find(self, unsigned long long hash, Py_ssize_t at) except -2 nogil
    cdef bint is_key(self, Py_ssize_t row, Py_ssize_t at) except -1 nogil
    cdef Py_ssize_t add(self, unsigned long long hash, Py_ssize_t at) except -2 nogil
    cdef int _index(self, unsigned long long hash, Py_ssize_t row) except -1 nogil
