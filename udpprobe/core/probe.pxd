# What compiled modules see of probe.py.
cimport cython
from udpprobe.core.siphash cimport SipHash


@cython.final
cdef class Payloads:
    cdef readonly Py_ssize_t longest
    cdef const unsigned char[::1] data, token_size
    cdef const unsigned int[::1] words, start, length, token_at, sum
    cdef const int[::1] order
    cdef const unsigned int[::1] first, count


@cython.final
cdef class Tasks:
    cdef readonly unsigned long long[::1] destination_high, destination_low
    cdef readonly unsigned short[::1] source_port, port, choice


@cython.final
cdef class Batch:
    cdef readonly Py_ssize_t stride
    cdef readonly unsigned int[::1] task, attempt, size, length
    cdef readonly unsigned short[::1] source
    cdef readonly unsigned char[::1] ttl, packets
    cdef unsigned int[::1] words
    cdef inline int put(self, Py_ssize_t word, unsigned long long value) except -1 nogil


@cython.final
cdef class QuotedProbe:
    cdef public unsigned long long source_high, source_low, destination_high, destination_low
    cdef public long long source_port, port, ident, udp_length, checksum
    cdef public Py_ssize_t begin, payload_at, payload_end
    cdef const unsigned char[::1] data
    cpdef int load(self, buffer) except -1
    cdef int is_padding(self, Py_ssize_t at) except -1 nogil


@cython.final
cdef class Prober:
    cdef SipHash hash
    cdef readonly Payloads payloads
    cdef unsigned long long[::1] sources_high, sources_low
    cdef Py_ssize_t source_count
    cdef readonly Py_ssize_t first_port, ports, port_bits
    cdef int label_per_flow

    # the current probe
    cdef readonly unsigned long long source_high, source_low, destination_high, destination_low, token
    cdef readonly long long family, source_port, port, row, header, length, ident, checksum
    cdef unsigned long long rest
    cdef Py_ssize_t length_bits

    # how a quote agrees with it
    cdef readonly Py_ssize_t agree, shared, disagree, changed
    cdef Py_ssize_t hidden

    # the best of several
    cdef readonly Py_ssize_t source, attempt
    cdef Py_ssize_t score

    cdef int select(self, Tasks tasks, Py_ssize_t task, Py_ssize_t source, Py_ssize_t attempt, Py_ssize_t size) except -1 nogil
    cdef int compute(self, unsigned long long source_high, unsigned long long source_low,
                     unsigned long long destination_high, unsigned long long destination_low,
                     unsigned long long source_port, unsigned long long port,
                     Py_ssize_t choice, Py_ssize_t attempt, Py_ssize_t size) except -1 nogil
    cdef inline int sum_up(self) except -1 nogil
    cdef Py_ssize_t write_all(self, Tasks tasks, Batch batch, Py_ssize_t count) except -1 nogil
    cdef int write(self, Batch batch, Py_ssize_t row, unsigned long long ttl) except -1 nogil
    cdef inline int write_payload(self, Batch batch, Py_ssize_t at) except -1 nogil
    cpdef unsigned long long mark_of(self, QuotedProbe quoted, unsigned long long reply_id) except? 0xFFFFFFFFFFFFFFFF nogil
    cdef int compare(self, QuotedProbe quoted) except -1 nogil
    cdef inline int compare_payload(self, QuotedProbe quoted) except -1 nogil
    cdef inline int compare_ident(self, QuotedProbe quoted) except -1 nogil
    cdef inline int compare_checksum(self, QuotedProbe quoted) except -1 nogil
    cdef Py_ssize_t search(self, QuotedProbe quoted, Tasks tasks, Py_ssize_t task, Py_ssize_t attempts, Py_ssize_t size) except -2 nogil
    cdef int consider(self, QuotedProbe quoted, Tasks tasks, Py_ssize_t task, Py_ssize_t source, Py_ssize_t attempt,
                      Py_ssize_t size) except -1 nogil
    cdef Py_ssize_t source_of(self, QuotedProbe quoted) except -2 nogil
