"""Numbers of methods."""

cdef enum Method:
    # those that are looked at, by llhttp's numbers
    METHOD_DELETE = 0
    METHOD_GET = 1
    METHOD_HEAD = 2
    METHOD_POST = 3
    METHOD_PUT = 4
    METHOD_CONNECT = 5
    METHOD_OPTIONS = 6
    METHOD_TRACE = 7
    METHOD_PATCH = 28
    METHOD_PRI = 34
