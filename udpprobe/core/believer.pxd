# What other compiled modules may use of believer.py without Python between them.

cdef class Believer:
    cdef readonly object misses
    cdef readonly unsigned long long all_misses
    cdef object _errors
    cdef unsigned int[::1] missed

    cdef int alone(self, Py_ssize_t destination, Py_ssize_t bits, Py_ssize_t shared, int is_rewritten) except -1 nogil
