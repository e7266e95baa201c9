# What the names in views.py mean to C.
ctypedef unsigned char[::1] u8s
ctypedef const unsigned char[::1] const_u8s
ctypedef unsigned int[::1] u32s
ctypedef long long[::1] i64s
ctypedef unsigned long long[::1] u64s
