# What compiled modules see of directory.py.
cimport cython

from udpprobe.core.table cimport Table


@cython.final
cdef class Directory:
    cdef readonly const unsigned int[::1] by_host, starts
    cdef readonly const unsigned short[::1] ports, controls
    cdef readonly Py_ssize_t requested_count
    cdef Table table

    cpdef Py_ssize_t host_of(self, unsigned long long high, unsigned long long low) except -2 nogil
    cpdef Py_ssize_t find(self, unsigned long long high, unsigned long long low, Py_ssize_t port) except -2 nogil
    cdef Py_ssize_t search(self, Py_ssize_t first, Py_ssize_t end, Py_ssize_t port) except -2 nogil
