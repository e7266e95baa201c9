# What compiled modules see of departures.py.
cimport cython

from udpprobe.core cimport views
from udpprobe.core.probe cimport Batch


@cython.final
cdef class Queue:
    cdef const unsigned int[::1] _hosts, _attempts
    cdef const unsigned char[::1] _state, _again
    cdef long long[::1] _last_ns
    cdef unsigned char[::1] _is_taken
    cdef Py_ssize_t _per_host, _at
    cdef readonly Py_ssize_t size
    cdef readonly unsigned int[::1] of_host
    cdef list _lists
    cdef const unsigned int[::1] _list


@cython.final
cdef class Departures:
    cdef Batch _batch
    cdef Py_ssize_t _ttl, _size, _per_host
    cdef const unsigned int[::1] _hosts, _zones
    cdef const unsigned short[::1] _sources
    cdef unsigned int[::1] _attempts, _sent, _frame
    cdef unsigned long long[::1] _sent_bytes
    cdef long long[::1] _last_ns
    cdef unsigned char[::1] _seen
