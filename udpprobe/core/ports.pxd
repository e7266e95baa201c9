cimport cython

from udpprobe.core.rows cimport Rows
from udpprobe.core.table cimport Table


@cython.final
cdef class Ports:
    cdef object secret
    cdef readonly Table own
    cdef unsigned char[::1] is_seen
    cdef public bint is_news
    cdef int see(self, Rows rows) except -1 nogil
