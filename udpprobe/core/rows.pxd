cimport cython


@cython.final
cdef class Packet:
    cdef public bint is_error, is_tunnelled, is_fragmented, has_df
    cdef public int family, source_port, destination_port, ip_id, udp_length, udp_checksum, ttl
    cdef public int icmp_type, icmp_code, reply_id, reply_ttl, quoted_family, tunnel_bytes
    cdef public long long frame, time_ns, ip_length, length, quoted_bytes, mtu
    cdef public unsigned long long notes
    cdef public tuple source, destination, reporter
    cdef public bytes data


@cython.final
cdef class Rows:
    cdef public Py_ssize_t size, room
    cdef public unsigned char[::1] is_error
    cdef public long long[::1] frame, time_ns, ip_length, payload_at, payload_end, mtu, quoted_ip_length, length, quoted_bytes, message, message_end
    cdef public unsigned long long[::1] source_high, source_low, destination_high, destination_low, ports, detail, link
    cdef public unsigned long long[::1] payload_high, payload_low, proof, outer, kind, reporter_high, reporter_low, notes
    cdef Py_ssize_t start_row(self) except -1 nogil
    cdef Py_ssize_t copy_row(self, Rows other, Py_ssize_t row) except -1 nogil
