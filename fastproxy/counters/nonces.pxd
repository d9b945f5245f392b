# Nonces of digest authentication (features.md 3.21). See nonces.pyx.

from libc.stdint cimport int64_t, uint32_t

from fastproxy.counters.layout cimport Region

# 1: `count` is above every count this nonce has come with, and is noted; 0: it is not, or what is
# known of the nonce was forgotten. `issued_s` and `now_s` are seconds of one clock, `lifetime_s`
# is how long the caller accepts a nonce.
cdef bint nonce_advance(
    Region* region, const char* nonce, size_t size, uint32_t count, int64_t issued_s,
    int64_t lifetime_s, int64_t now_s
) noexcept nogil
