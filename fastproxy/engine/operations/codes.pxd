"""The numbers of operations in the compiled table, for its writer and its reader.

operations.py takes them from here too, as a Python enumeration. A number is never given to another
operation: the tables of two versions may meet in one process tree while it is replaced.
"""

cpdef enum OperationCode:
    STRIP_PREFIXES = 1
    ADD_PREFIX = 2
    REPLACE_PATH = 3
    REWRITE_PREFIX = 4
    ALLOW_NETWORKS = 5
    REDIRECT_ROOT = 6
    REDIRECT_ENTRY_POINT = 7
    EDIT_REQUEST_HEADERS = 8
    SECURE_REQUEST = 9
    MAX_CONNECTIONS = 10
    RATE_LIMIT = 11
    CIRCUIT_BREAKER = 12
    AFFINITY = 13
    EDIT_RESPONSE_HEADERS = 14
    FIX_LOCATION = 15
    ERROR_PAGES = 16
    SCRIPTED = 17
    COMPRESS = 18
    OFFER_CERTIFICATE = 19  # done where the endpoints are connected to
    REWRITE_REGEX = 20
    REDIRECT_REGEX = 21
    BUFFER = 22
    REMEMBERED_HEADERS = 23
    REMEMBERED_USER = 24
    REMEMBERED_NONCE = 25
    ASK_SERVER = 26

cdef enum:
    OPERATION_CODES = 27  # one more than the largest

cdef enum:
    OPERATION_OF_BACKEND = 1  # a flag: it belongs to the backend, not to the route
