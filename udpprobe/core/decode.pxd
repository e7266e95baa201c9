cimport cython

from udpprobe.core cimport views
from udpprobe.core.encapsulation cimport Encapsulation
from udpprobe.core.headers cimport Headers
from udpprobe.core.rows cimport Rows


@cython.final
cdef class Decoder:
    cdef public Rows rows
    cdef Headers headers, quote
    cdef Encapsulation encapsulation, quoted_encapsulation
    cdef public long long[::1] faults, quote_faults
    cdef public bint keeps_messages
    cdef public object messages
    cdef unsigned char[::1] message_bytes
    cdef public Py_ssize_t messages_end
    cdef const unsigned char[::1] data
    cdef void load(self, object data)
    cdef int frame(self, Py_ssize_t at, long long captured, long long length, long long time_ns, int link_type, long long frame) except -1 nogil
    cdef int _packet(self, int protocol, long long time_ns, long long frame, unsigned long long link) except -1 nogil
    cdef inline bint _may_tunnel(self, Py_ssize_t row) except -1 nogil
    cdef int _rare_link(self, Py_ssize_t at, Py_ssize_t end, bint cut, long long time_ns, int link_type, long long frame) except -1 nogil
    cdef int _rest_of_aggregate(self, Py_ssize_t before, long long time_ns, long long frame, unsigned long long link) except -1 nogil
    cdef bint _has(self, long long size, int fault) except -1 nogil
    cdef unsigned long long _sender(self, Py_ssize_t at, long long captured, int link_type) except? 0xffffffffffffffff nogil
    cdef int _datagram(self, long long time_ns, long long frame, unsigned long long link) except -1 nogil
    cdef unsigned long long _id(self, Headers headers) except? 0xffffffffffffffff nogil
    cdef int _payload(self, Py_ssize_t row, long long size, unsigned long long high, unsigned long long low) except -1 nogil
    cdef int _finish_checksum(self, Py_ssize_t row, long long udp_length, long long checksum) except -1 nogil
    cdef bint _is_error(self) except -1 nogil
    cdef int _error(self, long long time_ns, long long frame, unsigned long long link) except -1 nogil
    cdef int _quote_row(self, long long time_ns, long long frame, unsigned long long link, Py_ssize_t at, Py_ssize_t first) except -1 nogil
    cdef long long _quote_length(self) except -1 nogil
    cdef long long _next_hop_mtu(self, long long kind) except -2 nogil
    cdef int _quoted_udp(self, Py_ssize_t row) except -1 nogil
    cdef unsigned long long _notes(self) except? 0xffffffffffffffff nogil
    cdef int _keep_message(self, Py_ssize_t row, Py_ssize_t at, Py_ssize_t end) except -1 nogil
