cimport cython

from udpprobe.core cimport views
from udpprobe.core.flows cimport Conversations
from udpprobe.core.histogram cimport Histograms
from udpprobe.core.recent cimport Match
from udpprobe.core.rows cimport Rows
from udpprobe.core.table cimport Table


@cython.final
cdef class Findings:
    cdef public Table table, loops, records, answers
    cdef public Histograms rtt
    cdef public bint by_flow
    cdef Conversations conversations
    cdef Py_ssize_t add(self, Rows rows, Py_ssize_t row, Match match, bint is_copy) except -1 nogil
    cdef int _add_record(self, Rows rows, Py_ssize_t row, Match match, unsigned long long high, unsigned long long low, unsigned long long ports) except -1 nogil
    cdef int add_answer(self, Py_ssize_t question, Py_ssize_t answer) except -1 nogil
    cdef int _count(self, Py_ssize_t found, Rows rows, Py_ssize_t row, Match match, bint is_copy, bint is_first) except -1 nogil
    cdef long long length_of(self, Rows rows, Py_ssize_t row, Match match) except -1 nogil
    cdef unsigned long long _mtu_notes(self, Rows rows, Py_ssize_t row, unsigned long long length) except? 0xffffffffffffffff nogil
    cdef int add_pass(self, Rows rows, Py_ssize_t row, int falls, int step, long long since_ns) except -1 nogil
    cdef unsigned long long _common(self, unsigned long long one, unsigned long long other) noexcept nogil
