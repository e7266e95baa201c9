cimport cython

from udpprobe.core.rows cimport Rows


@cython.final
cdef class Duplicates:
    cdef public unsigned long long count
    cdef unsigned long long[::1] heads, sightings, links
    cdef long long[::1] times
    cdef public Py_ssize_t window
    cdef unsigned long long _key
    cdef public int step, falls
    cdef public long long since_ns
    cdef unsigned long long identity(self, Rows rows, Py_ssize_t row, unsigned long long flow, int way) except? 0xffffffffffffffff nogil
    cdef unsigned long long _mixed(self, unsigned long long word) noexcept nogil
    cdef unsigned long long _before(self, unsigned long long identity) except? 0xffffffffffffffff nogil
    cdef int _remember(self, unsigned long long identity, long long time_ns, unsigned long long link, unsigned long long same, int ttl, int fall, unsigned long long state) except -1 nogil
    cdef unsigned long long touch(self, unsigned long long identity) except? 0xffffffffffffffff nogil
    cdef int see(self, Rows rows, Py_ssize_t row, unsigned long long identity) except -1 nogil
    cdef bint _shown_by_another(self, unsigned long long link, int ttl, unsigned long long same, long long time_ns) except -1 nogil
    cdef unsigned long long _came_round(self, unsigned long long link, int ttl, unsigned long long same, long long time_ns, bint has_id) except? 0xffffffffffffffff nogil
    cdef int see_error(self, Rows rows, Py_ssize_t row) except -1 nogil
