cimport cython

from udpprobe.core.addresses cimport is_group
from udpprobe.core.histogram cimport Histograms
from udpprobe.core.ranking cimport Ranking, kind_of
from udpprobe.core.stencils cimport Filler
from udpprobe.core.table cimport Table


@cython.final
cdef class Destinations:
    cdef Ranking ranking
    cdef Table findings, loops, endpoints, _refusals
    cdef Histograms endpoint_rtt, rtt
    cdef object are_loops
    cdef bint by_flow, by_reporter
    cdef dict _looping
    cdef bint _is_ipv4(self, Py_ssize_t at) except -1 nogil
