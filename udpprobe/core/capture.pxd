# What compiled modules see of capture.py.

cimport cython

from udpprobe.core cimport views


@cython.final
cdef class Records:
    # the buffer
    cdef bytearray _buffer
    cdef readonly const unsigned char[::1] data
    cdef readonly bytes head
    cdef readonly long long begins, base, stop
    cdef const unsigned long long[::1] _longs
    cdef const unsigned int[::1] _words
    cdef Py_ssize_t _capacity, _last
    cdef readonly Py_ssize_t start, end
    cdef readonly bint is_pcapng, is_ring, is_gapless, is_broken
    cdef readonly bint is_big
    cdef public bint tells_blocks
    # the frame that `next` found
    cdef readonly Py_ssize_t record, at, captured, length
    cdef readonly long long time_ns
    cdef readonly int link_type
    cdef public long long frame
    # of all frames
    cdef readonly long long first_ns, latest_ns, held_ns
    cdef public long long until_ns
    cdef readonly bint is_disordered
    cdef readonly long long[::1] faults
    cdef readonly bint has_dropped
    cdef unsigned long long _dropped
    # blocks of a ring
    cdef long long _block_frames
    # pcap
    cdef bint _is_swapped
    cdef Py_ssize_t _header_bytes
    cdef long long _unit_ns
    # pcapng
    cdef long long _sections, _interfaces, _space, _snap_bytes
    cdef int[::1] _links, _resolutions
    cdef unsigned long long[::1] _offsets_ns, _drops, _powers
    cdef unsigned char[::1] _has_drops
    cdef long long _before_ns
    cdef readonly bint leans_on_time
    cdef readonly dict first_drops
    cdef long long _proof_steps

    cpdef int next(self) except -1 nogil
    cpdef int skip(self, long long frame) except -1 nogil
    cpdef int skip_to_times(self, views.i64s times) except -1 nogil
    cdef inline int _found(self, Py_ssize_t at, Py_ssize_t captured, Py_ssize_t length, long long time_ns,
                    Py_ssize_t behind) except -1 nogil
    cdef int _next_in_ring(self) except -1 nogil
    cdef int _wanting(self) except -1 nogil
    cdef int _give_up(self, Py_ssize_t fault) except -1 nogil
    cdef inline unsigned long long _pair(self, Py_ssize_t at) except? 0x5EED0FBAD1DEA nogil
    cdef inline long long _word(self, Py_ssize_t at) except -1 nogil
    cdef int _next_in_pcapng(self) except -1 nogil
    cdef inline int _take_packet(self, long long kind, Py_ssize_t at, long long length, Py_ssize_t behind) except -1 nogil
    cdef inline long long _time_ns(self, Py_ssize_t interface, unsigned long long high, unsigned long long low) except? -1 nogil
    cdef int _open_section(self, Py_ssize_t at) except -1 nogil
    cdef int _declare(self, Py_ssize_t at, long long length) except -1 nogil
    cdef int _count_drops(self, Py_ssize_t at, long long length) except -1 nogil
    cdef inline long long _half(self, Py_ssize_t at) except -1 nogil
    cdef unsigned long long _long(self, Py_ssize_t at) except? 1 nogil
    cdef int _set_order(self, bint is_big) except -1 nogil
    cdef int _look(self) except -1 nogil
    cpdef int find(self, bint is_last) except -1 nogil
    cdef int _prove(self, Py_ssize_t first, bint is_last) except -1 nogil
    cdef Py_ssize_t _plausible_size(self, Py_ssize_t at) except -1 nogil
