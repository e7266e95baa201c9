cimport cython

from udpprobe.core cimport views
from udpprobe.core.histogram cimport Histograms
from udpprobe.core.rows cimport Rows
from udpprobe.core.table cimport Table


@cython.final
cdef class Conversations:
    cdef public Table table, ends, endpoints
    cdef public Histograms rtt, endpoint_rtt
    cdef public bint by_flow
    cdef public unsigned long long open_until
    cdef unsigned long long[::1] hashes
    cdef public object secret
    cdef public Py_ssize_t forget_at, answered
    cdef public list answers
    cdef int put_key(self, Rows rows, Py_ssize_t row, Py_ssize_t slot) except -1 nogil
    cdef bint is_over(self, Py_ssize_t conversation, unsigned long long ordinal) except -1 nogil
    cdef Py_ssize_t begin(self, unsigned long long hash, Py_ssize_t at, Rows rows, Py_ssize_t row, int way, unsigned long long ordinal) except -1 nogil
    cdef int leave_uncounted(self, Py_ssize_t conversation) except -1 nogil
    cdef int count(self, Py_ssize_t conversation, int way, long long size, long long time_ns, unsigned long long ordinal) except -1 nogil
    cdef int _take_rtt(self, Py_ssize_t conversation, int way, unsigned long long duration_ns) except -1 nogil
    cdef unsigned long long head(self, Py_ssize_t conversation, int way) except? 0xffffffffffffffff nogil
    cdef unsigned long long set_head(self, Py_ssize_t conversation, int way, unsigned long long ordinal) except? 0xffffffffffffffff nogil
    cdef int _link_ends(self, Py_ssize_t conversation) except -1 nogil
    cdef Py_ssize_t newest_of(self, unsigned long long high, unsigned long long low, unsigned long long port) except -2 nogil
    cdef Py_ssize_t next_of(self, Py_ssize_t conversation, unsigned long long high, unsigned long long low, unsigned long long port) except -2 nogil
    cdef int way_from(self, Py_ssize_t conversation, unsigned long long high, unsigned long long low, unsigned long long port) except -2 nogil
    cdef int first_way(self, Py_ssize_t conversation) except -1 nogil
    cdef Py_ssize_t address_to(self, Py_ssize_t conversation, int way) except -1 nogil
    cdef unsigned long long port_to(self, Py_ssize_t conversation, int way) except? 0xffffffffffffffff nogil
    cdef bint goes_to(self, Py_ssize_t conversation, int way, unsigned long long high, unsigned long long low, long long port) except -1 nogil
    cdef int _match_question(self, Py_ssize_t conversation) except -1 nogil
    cdef int _answer_from_other_port(self, Py_ssize_t conversation, Py_ssize_t question) except -1 nogil
    cdef bint _waits(self, Py_ssize_t question, Py_ssize_t conversation, int asked_way) except -1 nogil
