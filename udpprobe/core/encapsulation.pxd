cimport cython

from udpprobe.core.headers cimport Headers


@cython.final
cdef class Encapsulation:
    cdef Headers headers
    cdef public unsigned long long sender
    cdef public Py_ssize_t msdu_at, msdus_end
    cdef public bint msdus_cut
    cdef int enter_link(self, int link_type) except -2 nogil
    cdef int _behind_link(self, int link_type) except -2 nogil
    cdef bint _has_link(self, long long size) except -1 nogil
    cdef long long _little16(self, Py_ssize_t at) except -1 nogil
    cdef long long _little32(self, Py_ssize_t at) except -1 nogil
    cdef int _skip(self, Py_ssize_t size, int kind) except -2 nogil
    cdef int _sized(self, long long size, long long least, int kind) except -2 nogil
    cdef int _typed(self, Py_ssize_t size) except -2 nogil
    cdef int _radiotap(self) except -2 nogil
    cdef int _ppi(self) except -2 nogil
    cdef int _prism(self) except -2 nogil
    cdef int _wlan(self, bint is_padded, bint is_swapped) except -2 nogil
    cdef int next_msdu(self) except -2 nogil
    cdef bint _is_pktap(self) except -1 nogil
    cdef int _pktap(self) except -2 nogil
    cdef int _nflog(self) except -2 nogil
    cdef int _erf(self) except -2 nogil
    cdef int _frame_relay(self) except -2 nogil
    cdef int _atm(self) except -2 nogil
    cdef int enter_protocol(self, int protocol) except -2 nogil
    cdef int enter_datagram(self, int source, int destination) except -2 nogil
    cdef int _l2tp(self, long long flags) except -2 nogil
    cdef int _gue(self) except -2 nogil
    cdef int _capwap(self) except -2 nogil
    cdef int _recognize(self, Py_ssize_t at, long long size, long long first, bint is_wireguard) except -2 nogil
    cdef bint _is_ip(self, Py_ssize_t at, long long size) except -1 nogil
