# What compiled modules see of believer.py.
cimport cython


@cython.final
cdef class Believer:
    cdef readonly unsigned int[::1] misses
    cdef readonly unsigned long long all_misses
    cdef dict errors
    cdef int alone(self, Py_ssize_t destination, Py_ssize_t bits, Py_ssize_t shared, int is_rewritten) except -1 nogil
    cdef inline bint is_proof(self, Py_ssize_t bits, Py_ssize_t shared) except -1 nogil
