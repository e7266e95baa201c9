cimport cython


@cython.final
cdef class Headers:
    cdef const unsigned char[::1] data
    cdef const unsigned long long[::1] longs
    cdef Py_ssize_t limit
    cdef public long long[::1] faults
    cdef public Py_ssize_t at, end, ip_start
    cdef public int family, ttl, ip_id, protocol, depth, stop, fault
    cdef public long long ip_length, fragment_id
    cdef public unsigned long long first, second, third
    cdef public bint cut, quoted, closed, first_fragment, later_fragment
    cdef public unsigned long long source_high, source_low, destination_high, destination_low
    cdef void load(self, object data)
    cdef inline long long u8(self, Py_ssize_t at) except -1 nogil
    cdef inline long long u16(self, Py_ssize_t at) except -1 nogil
    cdef inline long long u32(self, Py_ssize_t at) except -1 nogil
    cdef unsigned long long word64(self, Py_ssize_t at) except? 0xffffffffffffffff nogil
    cdef inline unsigned long long _joined(self, unsigned long long first, unsigned long long second, unsigned long long shift) noexcept nogil
    cdef int read(self, Py_ssize_t at) except -1 nogil
    cdef long long word_sum(self, Py_ssize_t at, Py_ssize_t end) except -1 nogil
    cdef long long pseudo_sum(self, long long length, int protocol) except -1 nogil
    cdef int walk_link(self, Py_ssize_t at, Py_ssize_t end, bint cut, int link_type) except -2 nogil
    cdef int start_message(self, Py_ssize_t size, unsigned long long source_high, unsigned long long source_low, unsigned long long destination_high, unsigned long long destination_low) except -1 nogil
    cdef int walk_quote(self, Py_ssize_t at, Py_ssize_t end, bint cut, int family) except -2 nogil
    cdef int walk(self, int kind) except -2 nogil
    cdef int _fail(self, int fault) except -2 nogil
    cdef bint _has(self, long long size, int header) except -1 nogil
    cdef int _ether_type(self, Py_ssize_t size, long long number) except -2 nogil
    cdef int _ethernet(self) except -2 nogil
    cdef int _link_layer(self, int kind) except -2 nogil
    cdef int _mpls(self) except -2 nogil
    cdef int _ppp(self) except -2 nogil
    cdef int _null(self) except -2 nogil
    cdef int _raw_ip(self) except -2 nogil
    cdef int _ipv4(self) except -2 nogil
    cdef int _follow_options(self, Py_ssize_t at, Py_ssize_t end) except -1 nogil
    cdef int _follow_route(self, Py_ssize_t at, long long size) except -1 nogil
    cdef int _set_destination_byte(self, long long place, unsigned long long byte) except -1 nogil
    cdef int _ipv6(self) except -2 nogil
    cdef int _end_at_length(self, long long length, long long header) except -1 nogil
    cdef int _fragment(self, long long offset, bint more, long long fragment_id, int protocol, long long size) except -2 nogil
    cdef int _inside_ip(self, int protocol) except -2 nogil
    cdef int _gre(self) except -2 nogil
    cdef int _gre_payload(self, long long flags, int protocol) except -2 nogil
    cdef int _erspan(self, bint has_sequence, bint is_third) except -2 nogil
    cdef int walk_tunnel(self, int port) except -2 nogil
    cdef int _vxlan(self) except -2 nogil
    cdef int _geneve(self) except -2 nogil
    cdef int _gtp_u(self) except -2 nogil
