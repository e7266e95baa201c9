# What compiled modules see of siphash.py.
cimport cython


@cython.final
cdef class SipHash:
    cdef unsigned long long key_low, key_high
    cdef unsigned long long a, b, c, d
    cdef readonly unsigned long long first, second
    cdef inline int start(self) except -1 nogil
    cdef inline int turn(self) except -1 nogil
    cdef inline int take(self, unsigned long long word) except -1 nogil
    cdef inline unsigned long long finish(self) except? 0xFFFFFFFFFFFFFFFF nogil
    cpdef int five(self, unsigned long long v, unsigned long long w, unsigned long long x, unsigned long long y,
                   unsigned long long z) except -1 nogil
