#include "surface/neo4j/bolt_internal.h"

#include "base/seam.h"
#include "crypto/crypto.h"
#include <stdio.h>

#define REQUEST_MAX (64u << 20)
#define LOGIN_ROOM 8192

enum {
    HELLO = 0x01,
    GOODBYE = 0x02,
    RESET = 0x0F,
    RUN = 0x10,
    BEGIN = 0x11,
    COMMIT = 0x12,
    DISCARD = 0x2F,
    PULL = 0x3F,
    LOGON = 0x6A
};

/* ---- requests ---- */
static int begin(struct bolt *b, unsigned fields, uint8_t tag, struct error *err) {
    buf_clear(&b->request);
    return ps_put_struct(&b->request, fields, tag, err);
}

static int pair(struct bolt *b, const char *key, const char *value, struct error *err) {
    int r = ps_put_str(&b->request, key, err);
    return r == 0 ? ps_put_str(&b->request, value, err) : r;
}

/* Who asks for what: "mode" is the word for it on the wire. */
static int put_extra(struct bolt *b, const char *database, enum bolt_access a, struct error *err) {
    int r = ps_put_map(&b->request, (database != NULL) + (a == BOLT_READ), err);
    if (r == 0 && a == BOLT_READ) r = pair(b, "mode", "r", err);
    return r == 0 && database ? pair(b, "db", database, err) : r;
}

int bolt_put_run(struct bolt *b, const char *database, enum bolt_access a, struct bytes query, struct bytes params,
                 struct error *err) {
    int r = begin(b, 3, RUN, err);
    if (r == 0) r = ps_put_text(&b->request, query, err);
    if (r == 0) r = params.len ? ps_put_raw(&b->request, params, err) : ps_put_map(&b->request, 0, err);
    if (r == 0) r = put_extra(b, database, a, err);
    return r == 0 ? bolt_put(b, err) : r;
}

int bolt_put_begin(struct bolt *b, const char *database, enum bolt_access a, struct error *err) {
    int r = begin(b, 1, BEGIN, err);
    if (r == 0) r = put_extra(b, database, a, err);
    return r == 0 ? bolt_put(b, err) : r;
}

static int put_bare(struct bolt *b, uint8_t tag, struct error *err) {
    int r = begin(b, 0, tag, err);
    return r == 0 ? bolt_put(b, err) : r;
}

int bolt_put_commit(struct bolt *b, struct error *err) {
    return put_bare(b, COMMIT, err);
}

static int put_n(struct bolt *b, uint8_t tag, int64_t n, struct error *err) {
    int r = begin(b, 1, tag, err);
    if (r == 0) r = ps_put_map(&b->request, 1, err);
    if (r == 0) r = ps_put_str(&b->request, "n", err);
    if (r == 0) r = ps_put_int(&b->request, n, err);
    return r == 0 ? bolt_put(b, err) : r;
}

int bolt_put_pull(struct bolt *b, int64_t n, struct error *err) {
    return put_n(b, PULL, n, err);
}

int bolt_put_discard(struct bolt *b, struct error *err) {
    return put_n(b, DISCARD, -1, err);
}

/* ---- answers ---- */
int bolt_next(struct bolt *b, struct bolt_message *ret, struct error *err) {
    struct bytes whole;
    struct ps_value v;
    int r = b->out.len ? bolt_flush(b, err) : 0;
    if (r == 0) r = bolt_take(b, &whole, err);
    if (r < 0) return r;
    struct ps_in in = ps_of(whole);
    r = ps_need(&in, PACK_STRUCT, "a message", &v, err);
    if (r == 0 && v.tag == BOLT_IGNORED) {
        *ret = (struct bolt_message){.kind = BOLT_IGNORED};
        return 0;
    }
    if (r == 0 && (v.count != 1 || (v.tag != BOLT_SUCCESS && v.tag != BOLT_RECORD && v.tag != BOLT_FAILURE)))
        r = error_set(err, ERR_NEO4J_PROTOCOL, "a message of unknown kind %02x", v.tag);
    *ret = (struct bolt_message){(enum bolt_kind)v.tag, BYTES_OF(in.at, (size_t)(in.end - in.at))};
    if (r == 0) return 0;
    b->broken = true;
    return error_wrap(err, "%s", b->where);
}

static void text_of(struct bytes map, const char *key, char *out, size_t n) {
    struct error ignored = ERROR_INIT;
    struct ps_in in;
    struct ps_value v;
    bool found = false;
    out[0] = 0;
    if (ps_find(map, key, &in, &found, &ignored) < 0 || !found || ps_next(&in, &v, &ignored) < 0) return;
    if (v.kind == PACK_TEXT && v.text.len)
        snprintf(out, n, "%.*s", (int)(v.text.len < n ? v.text.len : n), (const char *)v.text.ptr);
}

static enum error_code code_of(const char *code) {
    static const struct {
        const char *begin;
        enum error_code code;
    } table[] = {
        {"Neo.ClientError.Security.Forbidden", ERR_NEO4J_DENIED},
        {"Neo.ClientError.Security.", ERR_NEO4J_AUTH},
        {"Neo.ClientError.Database.DatabaseNotFound", ERR_NEO4J_DATABASE},
        {"Neo.TransientError.", ERR_NEO4J_BUSY},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strncmp(code, table[i].begin, strlen(table[i].begin))) return table[i].code;
    return ERR_NEO4J_REPLY;
}

int bolt_refused(const struct bolt *b, struct bytes body, struct error *err) {
    char code[128], words[600];
    text_of(body, "neo4j_code", code, sizeof code); /* since 5.7 */
    if (!code[0]) text_of(body, "code", code, sizeof code);
    text_of(body, "message", words, sizeof words);
    return error_set(err, code_of(code), "%s: %s: %s", b->where, code[0] ? code : "no code", words);
}

int bolt_success(struct bolt *b, struct bytes *ret_meta, struct error *err) {
    struct bolt_message m;
    int r = bolt_next(b, &m, err);
    if (r < 0) return r;
    if (ret_meta) *ret_meta = m.body;
    if (m.kind == BOLT_SUCCESS) return 0;
    if (m.kind == BOLT_FAILURE) return bolt_refused(b, m.body, err);
    return error_set(err, ERR_NEO4J_PROTOCOL, "%s: an answer was expected to end, and did not", b->where);
}

int bolt_reset(struct bolt *b, struct error *err) {
    struct bolt_message m;
    buf_clear(&b->out);
    int r = put_bare(b, RESET, err);
    /* What was asked before is answered, and ignored, first. */
    do r = r == 0 ? bolt_next(b, &m, err) : r;
    while (r == 0 && m.kind != BOLT_SUCCESS);
    return r;
}

/* ---- begin and end ---- */
static int put_credentials(struct bolt *b, const struct bolt_server *s, struct error *err) {
    int r = pair(b, "scheme", s->user ? "basic" : "none", err);
    if (r < 0 || !s->user) return r;
    r = pair(b, "principal", s->user, err);
    if (r == 0) r = ps_put_str(&b->request, "credentials", err);
    return r == 0 ? ps_put_text(&b->request, s->password, err) : r;
}

static int hello(struct bolt *b, const struct bolt_server *s, struct error *err) {
    const unsigned login = s->user ? 3 : 1;
    const bool apart = b->minor >= 1; /* logging in is a request of its own */
    int r = begin(b, 1, HELLO, err);
    if (r == 0) r = ps_put_map(&b->request, apart ? 2 : 1 + login, err);
    if (r == 0) r = pair(b, "user_agent", "proofkeep/1", err);
    if (r == 0 && apart) r = ps_put_str(&b->request, "bolt_agent", err);
    if (r == 0 && apart) r = ps_put_map(&b->request, 1, err);
    if (r == 0 && apart) r = pair(b, "product", "proofkeep/1", err);
    if (r == 0 && !apart) r = put_credentials(b, s, err);
    if (r == 0) r = bolt_put(b, err);
    if (r < 0 || !apart) return r;
    r = begin(b, 1, LOGON, err);
    if (r == 0) r = ps_put_map(&b->request, login, err);
    if (r == 0) r = put_credentials(b, s, err);
    return r == 0 ? bolt_put(b, err) : r;
}

static int log_in(struct bolt *b, const struct bolt_server *s, struct error *err) {
    struct bytes meta;
    int r = hello(b, s, err);
    if (r == 0) r = bolt_flush(b, err);
    if (b->out.ptr) wipe(b->out.ptr, b->out.cap);
    if (b->request.ptr) wipe(b->request.ptr, b->request.cap);
    if (r == 0) r = bolt_success(b, &meta, err);
    if (r < 0) return r;
    text_of(meta, "server", b->agent, sizeof b->agent);
    return b->minor >= 1 ? bolt_success(b, NULL, err) : 0;
}

int bolt_open(const struct bolt_server *s, struct bolt **ret, struct error *err) {
    struct bolt *b;
    int r = mem_alloc(sizeof *b, (void **)&b, err);
    if (r < 0) return r;
    b->fd = -1;
    b->timeout_ms = b->patience_ms = s->patience_ms;
    b->long_message = BUF_INIT(BOLT_MESSAGE_MAX);
    b->out = BUF_INIT(REQUEST_MAX);
    b->request = BUF_INIT(REQUEST_MAX);
    snprintf(b->where, sizeof b->where, "%s port %u", s->host, s->port);
    /* What is doubled may leave a copy behind; so a password finds room. */
    r = buf_reserve(&b->out, LOGIN_ROOM + s->password.len, err);
    if (r == 0) r = buf_reserve(&b->request, LOGIN_ROOM + s->password.len, err);
    if (r == 0) r = bolt_connect(b, s, err);
    if (r == 0) r = log_in(b, s, err);
    if (r < 0) {
        b->broken = true;
        bolt_close(b);
    } else {
        *ret = b;
    }
    return r;
}

void bolt_close(struct bolt *b) {
    struct error ignored = ERROR_INIT;
    if (!b) return;
    buf_clear(&b->out);
    if (!b->broken && put_bare(b, GOODBYE, &ignored) == 0) (void)!bolt_flush(b, &ignored); /* manners only */
    bolt_disconnect(b);
    seam_free(b);
}

void bolt_closep(struct bolt **b) {
    bolt_close(*b);
}

const char *bolt_where(const struct bolt *b) {
    return b->where;
}

const char *bolt_agent(const struct bolt *b) {
    return b->agent;
}

unsigned bolt_minor(const struct bolt *b) {
    return b->minor;
}
