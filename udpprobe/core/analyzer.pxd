cimport cython

from udpprobe.core cimport views
from udpprobe.core.capture cimport Records
from udpprobe.core.decode cimport Decoder
from udpprobe.core.duplicates cimport Duplicates
from udpprobe.core.filter cimport Filter
from udpprobe.core.findings cimport Findings
from udpprobe.core.flows cimport Conversations
from udpprobe.core.ports cimport Ports
from udpprobe.core.recent cimport Match, Recent
from udpprobe.core.rows cimport Rows


@cython.final
cdef class Kept:
    cdef public Rows rows
    cdef public unsigned long long[::1] words
    cdef public object messages
    cdef unsigned char[::1] message_bytes
    cdef public Py_ssize_t messages_end
    cdef int add(self, Rows rows, Py_ssize_t row, unsigned char[::1] messages) except -1 nogil
    cdef int put_match(self, Py_ssize_t row, Match match, unsigned long long finding, unsigned long long before) except -1 nogil
    cdef int load_match(self, Py_ssize_t row, Match match) except -1 nogil


@cython.final
cdef class Analyzer:
    cdef public Decoder decoder
    cdef public Conversations conversations
    cdef public Recent recent
    cdef public Duplicates duplicates
    cdef public Findings findings
    cdef public Ports ports
    cdef public object secret, events, head, unsure
    cdef public bint keeps_events, is_first, is_ordered
    cdef public long long packets, bytes, first_ns, last_ns, frames, since_ns, until_ns
    cdef public Py_ssize_t head_left
    cdef public unsigned long long head_datagrams
    cdef Match match
    cdef Kept _event, _head, _unsure
    cdef Rows _rows
    cdef unsigned long long[::1] _identities
    cdef unsigned long long _touched
    cdef int[::1] _ways
    cdef long long[::1] _places
    cdef unsigned char[::1] _links
    cdef unsigned char[::1] _message_bytes
    # frames out of order
    cdef Kept _waiting
    cdef long long[::1] _heap, _free, _arrivals
    cdef long long _arrived
    cdef Py_ssize_t _heap_size, _free_size
    cdef long long _latest_ns, _older_ns
    cdef Filter filter
    cdef readonly bint is_filtered
    cdef bint _is_joining
    cdef int _run(self, Records records) except -1 nogil
    cdef bint _has_room(self) except -1 nogil
    cdef bint _fits(self, Kept kept) except -1 nogil
    cdef int _follow(self, Rows rows, unsigned char[::1] messages) except -1 nogil
    cdef int _datagram(self, Rows rows, Py_ssize_t row, bint is_head) except -1 nogil
    cdef int _error(self, Rows rows, Py_ssize_t row, unsigned char[::1] messages, bint is_head) except -1 nogil
    cdef int _settle(self, Rows rows, Py_ssize_t row, unsigned char[::1] messages, Match match, unsigned long long before) except -1 nogil
    cdef int _wait(self) except -1 nogil
    cdef long long _second_before(self, long long time_ns) except? -1 nogil
    cdef bint _is_before(self, Py_ssize_t one, Py_ssize_t other) except -1 nogil
    cdef int _follow_released(self) except -1 nogil
    cdef int _release(self, long long until_ns, Py_ssize_t most) except -1 nogil
