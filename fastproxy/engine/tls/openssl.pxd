"""OpenSSL 3 as far as TLS needs it: declarations only."""

from libc.stdint cimport uint64_t

cdef extern from "openssl/err.h" nogil:
    unsigned long ERR_peek_error()
    unsigned long ERR_peek_last_error()
    void ERR_clear_error()
    int ERR_GET_REASON(unsigned long)
    const char* ERR_reason_error_string(unsigned long)

cdef extern from "openssl/bio.h" nogil:
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    BIO_METHOD* BIO_meth_new(int, const char*)
    int BIO_meth_set_write(BIO_METHOD*, int (*)(BIO*, const char*, int) noexcept nogil)
    int BIO_meth_set_read(BIO_METHOD*, int (*)(BIO*, char*, int) noexcept nogil)
    int BIO_meth_set_ctrl(BIO_METHOD*, long (*)(BIO*, int, long, void*) noexcept nogil)
    int BIO_meth_set_create(BIO_METHOD*, int (*)(BIO*) noexcept nogil)
    int BIO_meth_set_destroy(BIO_METHOD*, int (*)(BIO*) noexcept nogil)
    int BIO_get_new_index()
    BIO* BIO_new(const BIO_METHOD*)
    BIO* BIO_new_mem_buf(const void*, int)
    int BIO_free(BIO*)
    void BIO_set_data(BIO*, void*)
    void* BIO_get_data(BIO*)
    void BIO_set_init(BIO*, int)
    void BIO_set_flags(BIO*, int)
    void BIO_clear_flags(BIO*, int)
    int BIO_test_flags(const BIO*, int)
    void BIO_set_retry_read(BIO*)
    void BIO_set_retry_write(BIO*)
    void BIO_clear_retry_flags(BIO*)
    enum: BIO_CTRL_FLUSH
    enum: BIO_CTRL_EOF
    enum: BIO_TYPE_SOURCE_SINK

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    void EVP_PKEY_free(EVP_PKEY*)
    EVP_PKEY* d2i_AutoPrivateKey(EVP_PKEY**, const unsigned char**, long)
    EVP_CIPHER* EVP_CIPHER_fetch(void*, const char*, const char*)
    int EVP_EncryptInit_ex(
        EVP_CIPHER_CTX*, const EVP_CIPHER*, void*, const unsigned char*, const unsigned char*
    )
    int EVP_DecryptInit_ex(
        EVP_CIPHER_CTX*, const EVP_CIPHER*, void*, const unsigned char*, const unsigned char*
    )
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX*, const OSSL_PARAM*)

cdef extern from "openssl/params.h" nogil:
    ctypedef struct OSSL_PARAM:
        pass
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char*, void*, size_t)
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char*, char*, size_t)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "openssl/rand.h" nogil:
    int RAND_bytes(unsigned char*, int)

cdef extern from "openssl/pem.h" nogil:
    ctypedef int (*pem_password_cb)(char*, int, int, void*) noexcept nogil
    X509* PEM_read_bio_X509(BIO*, X509**, pem_password_cb, void*)
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO*, EVP_PKEY**, pem_password_cb, void*)
    enum: PEM_R_NO_START_LINE

cdef extern from "openssl/x509v3.h" nogil:
    ctypedef struct X509:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct X509_NAME_ENTRY:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    ctypedef struct STACK_OF_X509 "STACK_OF(X509)":
        pass
    ctypedef struct GENERAL_NAMES:
        pass
    ctypedef struct ASN1_STRING:
        pass
    ctypedef struct GENERAL_NAME:
        int type
    enum: GEN_DNS
    enum: GEN_IPADD
    enum: NID_commonName
    enum: NID_subject_alt_name
    enum: X509_V_OK
    enum: X509_V_FLAG_PARTIAL_CHAIN
    enum: X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    enum: X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
    void X509_free(X509*)
    int X509_up_ref(X509*)
    X509* d2i_X509(X509**, const unsigned char**, long)
    int i2d_X509(X509*, unsigned char**)
    int i2d_PrivateKey(const EVP_PKEY*, unsigned char**)
    int X509_check_private_key(const X509*, const EVP_PKEY*)
    X509_NAME* X509_get_subject_name(const X509*)
    int X509_NAME_get_index_by_NID(const X509_NAME*, int, int)
    X509_NAME_ENTRY* X509_NAME_get_entry(const X509_NAME*, int)
    ASN1_STRING* X509_NAME_ENTRY_get_data(const X509_NAME_ENTRY*)
    int ASN1_STRING_to_UTF8(unsigned char**, const ASN1_STRING*)
    const unsigned char* ASN1_STRING_get0_data(const ASN1_STRING*)
    int ASN1_STRING_length(const ASN1_STRING*)
    void* X509_get_ext_d2i(const X509*, int, int*, int*)
    void* GENERAL_NAME_get0_value(const GENERAL_NAME*, int*)
    int sk_GENERAL_NAME_num(const GENERAL_NAMES*)
    GENERAL_NAME* sk_GENERAL_NAME_value(const GENERAL_NAMES*, int)
    void GENERAL_NAMES_free(GENERAL_NAMES*)
    STACK_OF_X509* sk_X509_new_null()
    int sk_X509_push(STACK_OF_X509*, X509*)
    int sk_X509_num(const STACK_OF_X509*)
    X509* sk_X509_value(const STACK_OF_X509*, int)
    void sk_X509_pop_free(STACK_OF_X509*, void (*)(X509*) noexcept nogil)
    const char* X509_verify_cert_error_string(long)
    int X509_STORE_add_cert(X509_STORE*, X509*)
    int X509_STORE_set_flags(X509_STORE*, unsigned long)
    int X509_VERIFY_PARAM_set1_ip(X509_VERIFY_PARAM*, const unsigned char*, size_t)
    int X509_VERIFY_PARAM_set1_host(X509_VERIFY_PARAM*, const char*, size_t)
    void X509_VERIFY_PARAM_set_hostflags(X509_VERIFY_PARAM*, unsigned int)

cdef extern from "openssl/crypto.h" nogil:
    void OPENSSL_free(void*)
    void OPENSSL_cleanse(void*, size_t)

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    ctypedef int SSL_TICKET_STATUS
    ctypedef int SSL_TICKET_RETURN
    SSL_CTX* SSL_CTX_new(const SSL_METHOD*)
    void SSL_CTX_free(SSL_CTX*)
    const SSL_METHOD* TLS_server_method()
    const SSL_METHOD* TLS_client_method()
    uint64_t SSL_CTX_set_options(SSL_CTX*, uint64_t)
    uint64_t SSL_CTX_clear_options(SSL_CTX*, uint64_t)
    long SSL_CTX_set_mode(SSL_CTX*, long)
    void SSL_CTX_set_read_ahead(SSL_CTX*, int)
    void SSL_CTX_set_default_read_buffer_len(SSL_CTX*, size_t)
    long SSL_CTX_set_session_cache_mode(SSL_CTX*, long)
    long SSL_CTX_set_timeout(SSL_CTX*, long)
    int SSL_CTX_set_num_tickets(SSL_CTX*, size_t)
    int SSL_CTX_set_session_id_context(SSL_CTX*, const unsigned char*, unsigned int)
    int SSL_CTX_set_min_proto_version(SSL_CTX*, int)
    int SSL_CTX_set_cipher_list(SSL_CTX*, const char*)
    int SSL_CTX_set_ciphersuites(SSL_CTX*, const char*)
    void SSL_CTX_set_security_level(SSL_CTX*, int)
    void SSL_CTX_set_verify(SSL_CTX*, int, void*)
    void SSL_CTX_set_verify_depth(SSL_CTX*, int)
    X509_STORE* SSL_CTX_get_cert_store(const SSL_CTX*)
    int SSL_CTX_set_default_verify_paths(SSL_CTX*)
    int SSL_CTX_add_client_CA(SSL_CTX*, X509*)
    int SSL_CTX_use_cert_and_key(SSL_CTX*, X509*, EVP_PKEY*, STACK_OF_X509*, int)
    int SSL_use_cert_and_key(SSL*, X509*, EVP_PKEY*, STACK_OF_X509*, int)
    long SSL_CTX_set_tlsext_servername_callback(
        SSL_CTX*, int (*)(SSL*, int*, void*) noexcept nogil
    )
    long SSL_CTX_set_tlsext_servername_arg(SSL_CTX*, void*)
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX*,
        int (*)(
            SSL*, const unsigned char**, unsigned char*, const unsigned char*, unsigned int, void*
        ) noexcept nogil,
        void*,
    )
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX*,
        int (*)(
            SSL*, unsigned char*, unsigned char*, EVP_CIPHER_CTX*, EVP_MAC_CTX*, int
        ) noexcept nogil,
    )
    int SSL_CTX_set_session_ticket_cb(
        SSL_CTX*,
        int (*)(SSL*, void*) noexcept nogil,
        SSL_TICKET_RETURN (*)(
            SSL*, SSL_SESSION*, const unsigned char*, size_t, SSL_TICKET_STATUS, void*
        ) noexcept nogil,
        void*,
    )
    int SSL_SESSION_set1_ticket_appdata(SSL_SESSION*, const void*, size_t)
    int SSL_SESSION_get0_ticket_appdata(SSL_SESSION*, void**, size_t*)
    void SSL_CTX_sess_set_new_cb(SSL_CTX*, int (*)(SSL*, SSL_SESSION*) noexcept nogil)
    int SSL_CTX_set_app_data(SSL_CTX*, void*)
    void* SSL_CTX_get_app_data(const SSL_CTX*)
    int SSL_set_app_data(SSL*, void*)
    void* SSL_get_app_data(const SSL*)
    SSL* SSL_new(SSL_CTX*)
    void SSL_free(SSL*)
    void SSL_set_bio(SSL*, BIO*, BIO*)
    BIO* SSL_get_rbio(const SSL*)
    void SSL_set_accept_state(SSL*)
    void SSL_set_connect_state(SSL*)
    int SSL_do_handshake(SSL*)
    int SSL_read(SSL*, void*, int)
    int SSL_write(SSL*, const void*, int)
    int SSL_key_update(SSL*, int)
    int SSL_shutdown(SSL*)
    void SSL_set_shutdown(SSL*, int)
    int SSL_version(const SSL*)
    int SSL_pending(const SSL*)
    int SSL_has_pending(const SSL*)
    int SSL_get_error(const SSL*, int)
    int SSL_in_init(const SSL*)
    int SSL_is_server(const SSL*)
    int SSL_session_reused(const SSL*)
    SSL_CTX* SSL_get_SSL_CTX(const SSL*)
    SSL_SESSION* SSL_get_session(const SSL*)
    SSL_SESSION* SSL_get1_session(SSL*)
    int SSL_SESSION_is_resumable(const SSL_SESSION*)
    int SSL_set_session(SSL*, SSL_SESSION*)
    void SSL_SESSION_free(SSL_SESSION*)
    const char* SSL_get_servername(const SSL*, int)
    const char* SSL_SESSION_get0_hostname(const SSL_SESSION*)
    int SSL_client_hello_get0_ext(SSL*, unsigned int, const unsigned char**, size_t*)
    long SSL_set_tlsext_host_name(SSL*, const char*)
    X509_VERIFY_PARAM* SSL_get0_param(SSL*)
    long SSL_get_verify_result(const SSL*)
    X509* SSL_get0_peer_certificate(const SSL*)
    STACK_OF_X509* SSL_get_peer_cert_chain(const SSL*)
    void SSL_get0_alpn_selected(const SSL*, const unsigned char**, unsigned int*)
    const char* SSL_get_version(const SSL*)
    const SSL_CIPHER* SSL_get_current_cipher(const SSL*)
    const char* SSL_CIPHER_get_name(const SSL_CIPHER*)
    enum:
        SSL_OP_NO_RENEGOTIATION
        SSL_OP_NO_COMPRESSION
        SSL_OP_NO_TICKET
        SSL_OP_CIPHER_SERVER_PREFERENCE
        SSL_OP_PRIORITIZE_CHACHA
        SSL_OP_NO_SSLv3
        SSL_OP_IGNORE_UNEXPECTED_EOF
    enum:
        SSL_MODE_ENABLE_PARTIAL_WRITE
        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        SSL_MODE_RELEASE_BUFFERS
    enum:
        SSL_SESS_CACHE_OFF
        SSL_SESS_CACHE_CLIENT
        SSL_SESS_CACHE_NO_INTERNAL
    enum:
        SSL_VERIFY_NONE
        SSL_VERIFY_PEER
        SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    enum:
        SSL_ERROR_WANT_READ
        SSL_ERROR_WANT_WRITE
        SSL_ERROR_ZERO_RETURN
        SSL_ERROR_SYSCALL
    enum:
        SSL_TLSEXT_ERR_OK
        SSL_TLSEXT_ERR_ALERT_FATAL
        SSL_TLSEXT_ERR_NOACK
        TLSEXT_NAMETYPE_host_name
        SSL_AD_UNRECOGNIZED_NAME
        SSL_AD_INTERNAL_ERROR
        SSL_AD_REASON_OFFSET
    enum:
        SSL_TICKET_SUCCESS
        SSL_TICKET_SUCCESS_RENEW
        SSL_TICKET_RETURN_USE
        SSL_TICKET_RETURN_USE_RENEW
        SSL_TICKET_RETURN_IGNORE_RENEW
    enum:
        SSL_SENT_SHUTDOWN
        SSL_RECEIVED_SHUTDOWN
        TLS1_3_VERSION
        SSL_KEY_UPDATE_NOT_REQUESTED
    enum:
        SSL_R_CERTIFICATE_VERIFY_FAILED
        SSL_R_WRONG_VERSION_NUMBER
        SSL_R_HTTP_REQUEST
        SSL_R_HTTPS_PROXY_REQUEST
        SSL_R_UNKNOWN_PROTOCOL
