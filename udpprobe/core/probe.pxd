# What other compiled modules may use of probe.py without Python between them.

cdef class SipHash:
    cdef unsigned long long key_low, key_high, a, b, c, d

    cdef int start(self) except -1 nogil
    cdef int turn(self) except -1 nogil
    cdef int take(self, unsigned long long word) except -1 nogil
    cdef int turn_thrice(self) except -1 nogil
    cdef int take_five(self, unsigned long long v, unsigned long long w, unsigned long long x, unsigned long long y,
                       unsigned long long z) except -1 nogil


cdef class Payloads:
    cdef readonly Py_ssize_t longest
    cdef const unsigned char[::1] data
    cdef const unsigned int[::1] words, start, length, sum, first, count
    cdef const unsigned char[::1] token_size
    cdef const unsigned int[::1] token_at
    cdef const int[::1] order

cdef class Tasks:
    cdef readonly object destination_high, destination_low, source_port, port, choice
    cdef unsigned long long[::1] high, low
    cdef unsigned short[::1] from_port, to_port, payload


cdef class Batch:
    cdef readonly Py_ssize_t stride
    cdef readonly object task, source, attempt, ttl, size, length, packets
    cdef unsigned int[::1] tasks, attempts, sizes, lengths, words
    cdef unsigned short[::1] sources
    cdef unsigned char[::1] ttls, data

    cdef int put(self, Py_ssize_t word, unsigned long long value) except -1 nogil


cdef class Quoted:
    cdef public unsigned long long source_high, source_low, destination_high, destination_low
    cdef public int source_port, port, ident, udp_length, checksum
    cdef public Py_ssize_t payload_at, payload_end
    cdef public object buffer
    cdef const unsigned char[::1] data

    cdef int is_padding(self, Py_ssize_t at) except -1 nogil


cdef class Prober:
    cdef SipHash hash
    cdef Payloads payloads
    cdef unsigned long long[::1] sources_high, sources_low
    cdef readonly Py_ssize_t first_port, ports, port_bits
    cdef Py_ssize_t source_count
    cdef bint label_per_flow
    # the probe at hand
    cdef readonly unsigned long long source_high, source_low, destination_high, destination_low, token
    cdef readonly Py_ssize_t family, source_port, port, row, header, length, ident, checksum
    cdef Py_ssize_t length_bits, hidden
    cdef unsigned long long rest
    # how a quote compares with it
    cdef readonly Py_ssize_t source, attempt, agree, shared, disagree, changed

    cdef int aim(self, Tasks tasks, Py_ssize_t task, Py_ssize_t source, Py_ssize_t attempt, Py_ssize_t size) except -1 nogil
    cdef int set(self, unsigned long long source_high, unsigned long long source_low,
                 unsigned long long destination_high, unsigned long long destination_low, Py_ssize_t source_port,
                 Py_ssize_t port, Py_ssize_t choice, Py_ssize_t attempt, Py_ssize_t size) except -1 nogil
    cdef int sum_up(self) except -1 nogil
    cdef int put(self, Batch batch, Py_ssize_t row, unsigned long long ttl) except -1 nogil
    cdef int put_payload(self, Batch batch, Py_ssize_t at) except -1 nogil
    cdef Py_ssize_t craft_some(self, Tasks tasks, Batch batch, Py_ssize_t count) except -1 nogil
    cdef int compare(self, Quoted quoted) except -1 nogil
    cdef int compare_payload(self, Quoted quoted) except -1 nogil
    cdef int compare_ident(self, Quoted quoted) except -1 nogil
    cdef int compare_checksum(self, Quoted quoted) except -1 nogil
    cdef Py_ssize_t find_source(self, Quoted quoted) except -2 nogil
    cdef Py_ssize_t search(self, Quoted quoted, Tasks tasks, Py_ssize_t task, Py_ssize_t attempts, Py_ssize_t size) except -2 nogil
