# What compiled modules see of blocks.py.

cimport cython

from udpprobe.core.capture cimport Records


@cython.final
cdef class PacketBlocks:
    cdef bytearray _buffer
    cdef unsigned char[::1] _bytes
    cdef Py_ssize_t _room
    cdef readonly Py_ssize_t size

    cpdef int copy(self, Records records, long long frame) except -1
    cpdef int add(self, Records records) except -1
    cdef inline int _put(self, Py_ssize_t at, unsigned long long value) except -1 nogil
