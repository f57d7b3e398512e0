#include "work/witnesses_offer.h"

#include "base/http.h"
#include "base/seam.h"
#include "ledger/add_checkpoint.h"
#include "ledger/audit.h"
#include "platform/open_store.h"
#include "work/witness.h"
#include "work/witnesses.h"

#include <inttypes.h>
#include <stdio.h>

#define TIMEOUT_MS 10000
#define TRIES 3 /* a witness that says which size it has is asked again from there */

struct offer {
    struct work *w;
    const struct config_witness *c;
    struct http *http;
    struct store *place; /* where cosignatures go */
    struct buf note;
    struct checkpoint_parts parts;
    char origin[64];
};

static void warn(const struct offer *o, const char *url, const char *text) {
    const struct work_events *e = &o->w->options.events;
    char line[700];
    snprintf(line, sizeof line, "the witness at %.200s did not vouch for the log's %" PRIu64 " entries: %.400s", url,
             o->parts.head.size, text);
    if (e->warning) e->warning(e->ctx, "repository", line);
}

/* What size a witness had last is remembered in the cache, as a guess. */
static bool memo_path(const struct offer *o, const char *url, char out[4200]) {
    struct digest d;
    char hex[65];
    sha256(BYTES_STR(url), &d);
    hex_encode(d.b, DIGEST_BYTES, hex);
    return snprintf(out, 4200, "%.4000s/%s/asked-%.16s", o->w->cache_dir, repo_id_hex(o->w->repo), hex) < 4200;
}

static uint64_t memo_read(const struct offer *o, const char *url) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(65);
    struct error e = ERROR_INIT;
    char path[4200];
    uint64_t size;
    if (!memo_path(o, url, path) || io_read_file(AT_FDCWD, path, 64, &b, &e) < 0 ||
        !add_checkpoint_size(buf_bytes(&b), &size))
        return 0;
    return size <= o->parts.head.size ? size : 0;
}

static void memo_write(const struct offer *o, const char *url) {
    char path[4200], text[32];
    struct error e = ERROR_INIT;
    snprintf(text, sizeof text, "%" PRIu64 "\n", o->parts.head.size);
    if (memo_path(o, url, path)) (void)!io_replace_file(AT_FDCWD, path, BYTES_STR(text), 0600, &e);
}

/* Lines by others than the witnesses that are named are nobody's. */
static int lines_keep(struct offer *o, struct bytes answer, unsigned *ret_kept, struct error *err) {
    *ret_kept = 0;
    for (size_t at = 0, n; at < answer.len; at += n) {
        const uint8_t *end = memchr(answer.ptr + at, '\n', answer.len - at);
        if (!end) break;
        n = (size_t)(end - (answer.ptr + at)) + 1;
        for (size_t i = 0; i < o->c->keys.count; i++) {
            CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
            struct checkpoint_parts p;
            struct note_key key;
            struct error no = ERROR_INIT;
            char name[WITNESS_KEY_BYTES];
            int64_t time_s = 0;
            if (note_key_parse(o->c->keys.items[i], &key, &no) < 0 ||
                buf_append(&note, o->note.ptr, o->note.len, &no) < 0 ||
                buf_append(&note, answer.ptr + at, n, &no) < 0 ||
                checkpoint_split(buf_bytes(&note), o->origin, &p, &no) < 0 ||
                checkpoint_signed_by(&p, &key, &time_s, &no) < 0)
                continue;
            witness_object(key.pub, o->parts.head.size, time_s, name);
            int rc = store_create(o->place, name, buf_bytes(&note), &no);
            if (rc < 0 && rc != -ERR_OBJECT_EXISTS) {
                *err = no;
                return error_wrap(err, "its cosignature could not be stored");
            }
            ++*ret_kept;
        }
    }
    return 0;
}

static int post(struct offer *o, const char *url, uint64_t old_size, struct buf *text, struct http_response *ret,
                struct error *err) {
    CLEANUP(buf_free) struct buf body = BUF_INIT(ADD_CHECKPOINT_BYTES_MAX);
    struct add_checkpoint a = {.old_size = old_size, .note = buf_bytes(&o->note)};
    char full[1100];
    const size_t n = strlen(url);
    int rc =
        old_size ? ledger_prove_consistency(repo_ledger(o->w->repo), old_size, o->parts.head.size, &a.proof, err) : 0;
    if (rc == 0) rc = add_checkpoint_format(&a, &body, err);
    if (rc < 0) return rc;
    snprintf(full, sizeof full, "%.*s" ADD_CHECKPOINT_PATH, (int)(n && url[n - 1] == '/' ? n - 1 : n), url);
    struct bytes part = buf_bytes(&body);
    const char *const headers[] = {"content-type: text/plain; charset=utf-8"};
    struct http_request q = {.method = "POST",
                             .url = full,
                             .headers = headers,
                             .header_count = 1,
                             .body = &part,
                             .body_count = 1,
                             .text = text,
                             .timeout_ms = TIMEOUT_MS};
    buf_clear(text);
    return http_send(o->http, &q, ret, err);
}

/* 1: to be asked again from *old_size. */
static int judge(struct offer *o, const struct http_response *r, struct bytes text, uint64_t *old_size,
                 struct error *err) {
    const char *type = http_header(r, "content-type");
    uint64_t theirs;
    unsigned kept;
    if (r->status == 200) {
        int rc = lines_keep(o, text, &kept, err);
        if (rc == 0 && !kept)
            rc = error_set(err, ERR_NET_ANSWER, "it answered with no signature by a witness that witness.keys names");
        return rc;
    }
    if (r->status == 409 && type && strncmp(type, ADD_CHECKPOINT_SIZE_TYPE, strlen(ADD_CHECKPOINT_SIZE_TYPE)) == 0 &&
        add_checkpoint_size(text, &theirs)) {
        if (theirs > ledger_size(repo_ledger(o->w->repo)))
            return error_set(err, ERR_LEDGER_ROLLBACK,
                             "it has vouched for %" PRIu64 " entries, and this log has %" PRIu64
                             ": it may have been rolled back",
                             theirs, ledger_size(repo_ledger(o->w->repo)));
        if (theirs > o->parts.head.size) return 0; /* somebody else was quicker */
        *old_size = theirs;
        return 1;
    }
    if (r->status == 409 || r->status == 422)
        return error_set(err, ERR_LEDGER_ROLLBACK,
                         "it answers %d: the log is not the one, grown, that it vouched for; it may have been forked",
                         r->status);
    return error_set(err, ERR_NET_ANSWER, "it answers %d%s", r->status,
                     r->status == 404   ? ": it does not know this log"
                     : r->status == 403 ? ": it does not know the key that signed the checkpoint"
                                        : "");
}

static int ask(struct offer *o, const char *url, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(CHECKPOINT_MAX_BYTES);
    uint64_t old_size = memo_read(o, url);
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return error_set(err, ERR_USAGE, "witness.ask wants addresses that begin with https:// or http://");
    for (unsigned tries = 1;; tries++) {
        struct http_response r = {.status = 0};
        int rc = post(o, url, old_size, &text, &r, err);
        if (rc == 0) rc = judge(o, &r, buf_bytes(&text), &old_size, err);
        http_response_free(&r);
        if (rc == 0) memo_write(o, url);
        if (rc <= 0) return rc;
        if (tries == TRIES) return error_set(err, ERR_NET_ANSWER, "it names another size each time");
    }
}

static int begin(struct offer *o, const struct config_repository *r, struct error *err) {
    const struct http_options h = {.connect_timeout_ms = TIMEOUT_MS / 2, .stall_ms = TIMEOUT_MS};
    bool found = false;
    repo_origin(o->w->repo, o->origin);
    int rc = ledger_note(repo_ledger(o->w->repo), &o->note, &found, err);
    if (rc == 0 && !found) rc = error_set(err, ERR_UNVERIFIABLE, "the log has no checkpoint");
    if (rc == 0) rc = checkpoint_split(buf_bytes(&o->note), o->origin, &o->parts, err);
    /* others may have published since */
    if (rc == 0 && o->parts.head.size > ledger_size(repo_ledger(o->w->repo))) rc = repo_sync(o->w->repo, err);
    if (rc == 0 && r->witness->from) rc = config_open_store(o->w->config, NULL, r->witness->from, true, &o->place, err);
    if (rc == 0 && !o->place) o->place = o->w->store;
    if (rc == 0) rc = http_new(&h, &o->http, err);
    return rc;
}

void witnesses_offer(struct work *w) {
    const struct config_repository *r = w->repo ? config_repository_at(w->config, w->url) : NULL;
    if (!r || !r->witness || !r->witness->ask.count || ledger_size(repo_ledger(w->repo)) <= w->size_opened) return;
    struct offer o = {.w = w, .c = r->witness, .note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1)};
    struct error e = ERROR_INIT;
    int rc = begin(&o, r, &e);
    for (size_t i = 0; i < o.c->ask.count; i++) {
        struct error one = rc < 0 ? e : ERROR_INIT;
        if (rc < 0 || ask(&o, o.c->ask.items[i], &one) < 0) warn(&o, o.c->ask.items[i], one.text);
    }
    http_free(o.http);
    if (o.place != w->store) store_close(o.place);
    buf_free(&o.note);
}
