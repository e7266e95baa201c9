# What compiled modules see of sweep.py.
cimport cython

from udpprobe.core.believer cimport Believer
from udpprobe.core.capture cimport Records
from udpprobe.core.decode cimport Decoder
from udpprobe.core.directory cimport Directory
from udpprobe.core.probe cimport Prober, QuotedProbe, Tasks
from udpprobe.core.rows cimport Rows


@cython.final
cdef class Refusals:
    cdef readonly object came_ns, took_ns, length, mark


@cython.final
cdef class Sweep:
    cdef Prober _prober
    cdef Tasks _tasks
    cdef Directory _directory
    cdef Believer _believer
    cdef Decoder _decoder
    cdef Rows _rows
    cdef QuotedProbe _quoted
    cdef Py_ssize_t _size, _requested_count, _per_host
    cdef long long _fault_count
    cdef const unsigned int[::1] _hosts, _attempts, _sent
    cdef const unsigned short[::1] _sources
    cdef const long long[::1] _sent_ns
    cdef unsigned char[::1] _state, _has_reply, _drew_error, _uneven, _waits
    cdef list _waiting
    cdef const unsigned char[::1] _watched
    cdef unsigned int[::1] _undecided_of, _refusal_count, _error_origin, _length
    cdef int[::1] _error_task
    cdef long long[::1] _came_ns, _took_ns, _rtt_ns, _hit_ns
    cdef unsigned long long[::1] _mark
    cdef short[::1] _header_bits, _header_bits_of_host
    cdef readonly unsigned int[::1] taken, new_hosts
    cdef readonly Py_ssize_t count, new_host_count, settled
    cdef readonly long long bytes, first_ns, last_ns

    cdef bint _run(self, Records records, long long since_ns, bint is_first) except -1 nogil
    cdef void _return_later(self)
    cdef void _wait(self, Py_ssize_t task)
    cdef Py_ssize_t _ordinary(self, Records records, bint is_first) except -2 nogil
    cdef Py_ssize_t _task_of(self, Records records) except -2 nogil
    cdef bint _proves(self, Py_ssize_t task, bint is_first) except -1 nogil
    cdef inline Py_ssize_t _source(self, Py_ssize_t task) except -2 nogil
    cdef long long _faults(self) except -1 nogil
    cdef int _take(self, Py_ssize_t task, long long time_ns, long long length) except -1 nogil
