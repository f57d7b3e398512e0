#include "surface/tls.h"

#include "base/net.h"
#include "base/seam.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define WIRE_BYTES (32u << 10)

/* OpenSSL never sees the socket: sealed bytes pass through two buffers of its own, and we move them. */
struct tls {
    int fd, timeout_ms;
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    uint8_t wire[WIRE_BYTES];
};

static int failed(struct tls *t, struct error *err, const char *what) {
    char why[256] = "it was refused";
    unsigned long e = ERR_get_error();
    long verdict = t->ssl ? SSL_get_verify_result(t->ssl) : X509_V_OK;
    if (e) ERR_error_string_n(e, why, sizeof why);
    ERR_clear_error();
    if (verdict != X509_V_OK)
        return error_set(err, ERR_NET_TLS, "%s: %s", what, X509_verify_cert_error_string(verdict));
    return error_set(err, ERR_NET_TLS, "%s: %s", what, why);
}

static int push(struct tls *t, struct error *err) {
    int n, r = 0;
    while (r == 0 && (n = BIO_read(t->out, t->wire, sizeof t->wire)) > 0)
        r = net_send(t->fd, t->wire, (size_t)n, t->timeout_ms, err);
    return r;
}

static int pull(struct tls *t, bool *ret_end, struct error *err) {
    size_t n = 0;
    int r = net_recv(t->fd, t->wire, sizeof t->wire, t->timeout_ms, &n, err);
    *ret_end = n == 0;
    if (r == 0 && n && BIO_write(t->in, t->wire, (int)n) != (int)n)
        return error_set(err, ERR_NO_MEMORY, "no memory for a TLS record");
    return r;
}

static int name_server(struct tls *t, const char *name) {
    struct in6_addr any;
    if (inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), name);
    return SSL_set1_host(t->ssl, name) == 1 && SSL_set_tlsext_host_name(t->ssl, name) == 1;
}

static int prepare(struct tls *t, const char *name, const char *ca, struct error *err) {
    t->ctx = SSL_CTX_new(TLS_client_method());
    if (!t->ctx || SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) != 1) return failed(t, err, "TLS");
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    if (ca ? SSL_CTX_load_verify_locations(t->ctx, ca, NULL) != 1 : SSL_CTX_set_default_verify_paths(t->ctx) != 1)
        return failed(t, err, ca ? ca : "the system's certificates");
    t->ssl = SSL_new(t->ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out) {
        BIO_free(t->in);
        BIO_free(t->out);
        return failed(t, err, "TLS");
    }
    BIO_set_mem_eof_return(t->in, -1);
    BIO_set_mem_eof_return(t->out, -1);
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    return name_server(t, name) == 1 ? 0 : failed(t, err, name);
}

static int shake(struct tls *t, const char *name, struct error *err) {
    for (;;) {
        int done = SSL_do_handshake(t->ssl), why = SSL_get_error(t->ssl, done);
        struct error ignored = ERROR_INIT;
        bool end = false;
        int r =
            push(t, done == 1 || why == SSL_ERROR_WANT_READ ? err : &ignored); /* an alert may not arrive any more */
        if (done == 1) return r;
        if (why != SSL_ERROR_WANT_READ) return failed(t, err, name);
        if (r == 0) r = pull(t, &end, err);
        if (r < 0) return r;
        if (end) return error_set(err, ERR_NET_TLS, "%s ended the connection while TLS was agreed on", name);
    }
}

int tls_open(int fd, const char *name, const char *ca, int timeout_ms, struct tls **ret, struct error *err) {
    struct tls *t;
    int r = mem_alloc(sizeof *t, (void **)&t, err);
    if (r < 0) return r;
    t->fd = fd;
    t->timeout_ms = timeout_ms;
    ERR_clear_error();
    r = prepare(t, name, ca, err);
    if (r == 0) r = shake(t, name, err);
    if (r < 0)
        tls_free(t);
    else
        *ret = t;
    return r;
}

int tls_recv(struct tls *t, void *p, size_t n, size_t *ret_n, struct error *err) {
    for (;;) {
        bool end = false;
        int got = SSL_read(t->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n), why = SSL_get_error(t->ssl, got);
        *ret_n = got > 0 ? (size_t)got : 0;
        if (got > 0 || why == SSL_ERROR_ZERO_RETURN) return 0;
        if (why != SSL_ERROR_WANT_READ) return failed(t, err, "receive");
        int r = push(t, err);
        if (r == 0) r = pull(t, &end, err);
        if (r < 0) return r;
        if (end) return error_set(err, ERR_NET_BROKEN, "the connection ended without TLS's own end");
    }
}

int tls_send(struct tls *t, const void *p, size_t n, struct error *err) {
    const uint8_t *at = p;
    while (n) {
        int put = SSL_write(t->ssl, at, n > 65536 ? 65536 : (int)n);
        if (put <= 0) return failed(t, err, "send");
        int r = push(t, err);
        if (r < 0) return r;
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

void tls_free(struct tls *t) {
    if (!t) return;
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    seam_free(t);
}
