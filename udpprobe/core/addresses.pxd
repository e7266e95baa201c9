cpdef bint is_group(unsigned long long high, unsigned long long low) except -1 nogil
