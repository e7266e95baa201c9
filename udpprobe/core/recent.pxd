cimport cython

from udpprobe.core cimport views
from udpprobe.core.flows cimport Conversations
from udpprobe.core.rows cimport Rows
from udpprobe.core.table cimport Table


@cython.final
cdef class Match:
    cdef public int sureness, rank, evidence, way, steps
    cdef public bint is_ambiguous
    cdef public unsigned long long detail, notes, ordinal
    cdef public long long frame, time_ns
    cdef public Py_ssize_t conversation
    cdef int clear(self) except -1 nogil


@cython.final
cdef class Recent:
    cdef public unsigned long long[::1] words
    cdef public unsigned long long count
    cdef public Py_ssize_t room
    cdef public Table fragments
    cdef Conversations conversations
    cdef object _memory
    cdef int _evidence, _by_id, _by_sums
    cdef unsigned long long[::1] _index
    cdef unsigned long long _indexed
    cdef int add(self, Rows rows, Py_ssize_t row, Py_ssize_t conversation, int way) except -1 nogil
    cdef int _put_fragment_key(self, Rows rows, Py_ssize_t row) except -1 nogil
    cdef int look(self, Rows rows, Py_ssize_t row, Py_ssize_t conversation, int way, unsigned long long behind, Match match) except -1 nogil
    cdef int _walk(self, Rows rows, Py_ssize_t row, Py_ssize_t conversation, int way, unsigned long long behind, Match match) except -1 nogil
    cdef int _rank(self, Rows rows, Py_ssize_t row, Py_ssize_t at, int kind) except -2 nogil
    cdef bint _is_super_packet(self, unsigned long long entry, unsigned long long length, unsigned long long quoted_id, unsigned long long proof) except -1 nogil
    cdef unsigned long long _segments(self, unsigned long long whole, unsigned long long length) noexcept nogil
    cdef long long _time(self, Py_ssize_t at) except? -1 nogil
    cdef int _take(self, Py_ssize_t conversation, int way, unsigned long long ordinal, int rank, int kind, Match match) except -1 nogil
    cdef int _look_by_end(self, Rows rows, Py_ssize_t row, int kind, unsigned long long behind, Match match) except -1 nogil
    cdef int _look_by_name(self, Rows rows, Py_ssize_t row, int kind, unsigned long long name, unsigned long long behind, Match match) except -1 nogil
    cdef int _fill_index(self) except -1 nogil
    cdef unsigned long long _payload_name(self, unsigned long long payload) except? 0xffffffffffffffff nogil
    cdef Py_ssize_t _bucket(self, unsigned long long high, unsigned long long low, unsigned long long port, unsigned long long name, bint by_source) except -1 nogil
    cdef Py_ssize_t _link(self, unsigned long long ordinal, bint by_source) except -1 nogil
    cdef int _look_for_fragment(self, Rows rows, Py_ssize_t row, unsigned long long behind, Match match) except -1 nogil
