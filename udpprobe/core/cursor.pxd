# The C signatures of cursor.py: what other compiled modules see of it.
cimport cython


@cython.final
cdef class Cursor:
    cdef const unsigned char[::1] data
    cpdef int load(self, buffer) except -1
    cpdef inline long long u8(self, Py_ssize_t at) except -1 nogil
    cpdef inline long long u16(self, Py_ssize_t at) except -1 nogil
    cpdef inline long long u32(self, Py_ssize_t at) except -1 nogil
    cpdef inline unsigned long long u64(self, Py_ssize_t at) except? 0xFFFFFFFFFFFFFFFF nogil
    cpdef inline long long l16(self, Py_ssize_t at) except -1 nogil
    cpdef inline long long l32(self, Py_ssize_t at) except -1 nogil
    cpdef inline unsigned long long l64(self, Py_ssize_t at) except? 0xFFFFFFFFFFFFFFFF nogil
