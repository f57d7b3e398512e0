#include "surface/search/search_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include <stdio.h>

#define BATCH_BYTES (6u << 20)
#define BATCH_BYTES_MIN (256u << 10) /* for a cluster that has no room for more */
#define BATCH_DOCUMENTS 10000u
#define DOCUMENT_MAX ((size_t)192 << 20)
#define THREADS_MAX 4u

struct batch {
    struct bulk *b;
    struct buf body;
    size_t *ends; /* of each document in body */
    size_t n, cap;
    size_t part;      /* documents sent at once, where all of them found no room; 0: all */
    bool bounded;     /* by what is taken at all (413) */
    bool sent_before; /* a former try may have come through */
};
struct bulk {
    const struct search_client *c;
    const char *index, *path;
    bool create_only;   /* a data stream takes nothing else */
    struct queue *idle; /* batches */
    pthread_mutex_t lock;
    struct error err; /* the first */
    atomic_bool failed;
    atomic_size_t batch_bytes;
    uint64_t documents, bytes;
};

/* What became of a request: those that were put off move to the batch's front, and stay. */
struct verdict {
    uint64_t refused;
    char type[100]; /* of the first that was refused */
    size_t later;
    bool too_large; /* for the room that there is, as a whole */
};

static size_t sent_of(const struct batch *t) {
    return t->part && t->part < t->n ? t->part : t->n;
}

/* So many of the sent ones stay, which end at `at`; behind them, what was not sent. */
static void settle(struct batch *t, size_t sent, size_t at, size_t kept) {
    const size_t from = t->ends[sent - 1], rest = t->body.len - from;
    memmove(t->body.ptr + at, t->body.ptr + from, rest);
    for (size_t i = sent; i < t->n; i++) t->ends[kept++] = t->ends[i] - from + at;
    t->body.len = at + rest;
    t->n = kept;
}

/* All of them were taken, as the answer says in the form that it mostly has; anything else is read with care. */
static bool all_taken(size_t sent, struct bytes text) {
    static const char head[] = "{\"errors\":false,\"items\":[", tail[] = "]}";
    static const char *const forms[] = {"{\"index\":{\"status\":201}}", "{\"index\":{\"status\":200}}",
                                        "{\"create\":{\"status\":201}}"};
    const uint8_t *p = text.ptr, *end = text.ptr + text.len;
    if (text.len < sizeof head + sizeof tail || memcmp(p, head, sizeof head - 1) != 0) return false;
    p += sizeof head - 1;
    for (size_t i = 0; i < sent; i++) {
        size_t n = 0;
        if (i && (p == end || *p++ != ',')) return false;
        for (size_t k = 0; k < sizeof forms / sizeof *forms && !n; k++) {
            size_t len = strlen(forms[k]);
            if ((size_t)(end - p) >= len && memcmp(p, forms[k], len) == 0) n = len;
        }
        if (!n) return false;
        p += n;
    }
    return (size_t)(end - p) == sizeof tail - 1 && memcmp(p, tail, sizeof tail - 1) == 0;
}

static int judge(struct batch *t, size_t sent, const json_t *answer, struct verdict *v, struct error *err) {
    const json_t *items = json_object_get(answer, "items"), *one;
    size_t i, at = 0, from = 0, kept = 0;
    if (json_array_size(items) != sent)
        return error_set(err, ERR_SEARCH_PROTOCOL, "%zu documents were sent, and the answer is of %zu", sent,
                         json_array_size(items));
    json_array_foreach(items, i, one) {
        const json_t *x = json_object_get(one, t->b->create_only ? "create" : "index");
        int64_t status = json_integer_value(json_object_get(x, "status"));
        size_t end = t->ends[i];
        if (status == 429) {
            memmove(t->body.ptr + at, t->body.ptr + from, end - from);
            at += end - from;
            t->ends[kept++] = at;
        } else if (status / 100 != 2 && !(status == 409 && t->b->create_only && t->sent_before)) {
            const char *type = json_string_value(json_object_get(json_object_get(x, "error"), "type"));
            if (v->refused++ == 0) snprintf(v->type, sizeof v->type, "%.90s", type ? type : "no reason given");
        }
        from = end;
    }
    settle(t, sent, at, kept);
    v->later = kept;
    return 0;
}

static int send_once(struct batch *t, struct verdict *v, bool *ret_again, int *ret_wait_ms, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
    const size_t sent = sent_of(t);
    struct bytes slice = BYTES_OF(t->body.ptr, t->ends[sent - 1]);
    struct search_request q = {.method = "POST",
                               .path = t->b->path,
                               .body = &slice,
                               .body_count = 1,
                               .lines = true,
                               .text = &text,
                               .ret_wait_ms = ret_wait_ms};
    json_t *answer = NULL;
    int status = 0, r = search_send(t->b->c, &q, &status, err);
    /* By its id each document comes to be the same, however often it is sent. */
    *ret_again = r == -ERR_NET_BROKEN || r == -ERR_NET_STALL || r == -ERR_NET_REFUSED;
    if (r < 0) return r;
    v->too_large = status == 429 || (status == 413 && sent > 1);
    t->bounded |= status == 413;
    *ret_again = v->too_large || status == 502 || status == 503 || status == 504;
    if (status / 100 != 2) return search_refused(t->b->c, status, buf_bytes(&text), false, "send documents", err);
    if (all_taken(sent, buf_bytes(&text))) {
        settle(t, sent, 0, 0);
        return 0;
    }
    r = search_answer_parse(buf_bytes(&text), SEARCH_ANSWER_MAX, "the answer to _bulk", &answer, err);
    if (r == 0) r = judge(t, sent, answer, v, err);
    json_decref(answer);
    return r;
}

/* It, and those that follow, are to be smaller. */
static void shrink(struct batch *t) {
    const size_t bytes = atomic_load(&t->b->batch_bytes);
    t->part = sent_of(t) > 1 ? sent_of(t) / 2 : 1;
    if (bytes > BATCH_BYTES_MIN) atomic_store(&t->b->batch_bytes, bytes / 2);
}

static int send_batch(struct batch *t, struct error *err) {
    const size_t all = t->n;
    for (unsigned tries = 1;; tries++) {
        struct verdict v = {0};
        bool again = false;
        int wait_ms = 0, r = send_once(t, &v, &again, &wait_ms, err);
        if (r == 0 && v.refused)
            return error_set(err, ERR_SEARCH_BULK, "%llu of %zu documents sent to the index %s were refused: %s",
                             (unsigned long long)v.refused, all, t->b->index, v.type);
        if (t->n == 0) return 0;
        if (r == 0 && !v.later) {
            tries = 0;
            if (!t->bounded) t->part *= 2; /* 0, all, stays */
            continue;
        }
        if (r < 0 && (!again || tries == SEARCH_BUSY_TRIES)) return r;
        t->sent_before |= r < 0;
        if (v.too_large) shrink(t);
        if (tries == SEARCH_BUSY_TRIES)
            return error_set(err, ERR_SEARCH_BUSY, "%zu of %zu documents for the index %s were put off %u times",
                             v.later, all, t->b->index, tries);
        error_clear(err);
        r = search_busy_wait(tries, wait_ms, &t->b->failed, err);
        if (r < 0) return r;
    }
}

static void run(void *arg) {
    struct batch *t = arg;
    struct bulk *b = t->b;
    struct error err = ERROR_INIT;
    uint64_t n = t->n, bytes = t->body.len;
    int r = atomic_load(&b->failed) ? 0 : send_batch(t, &err);
    pthread_mutex_lock(&b->lock);
    if (r < 0 && !b->err.code) b->err = err;
    if (r == 0) b->documents += n, b->bytes += bytes;
    uint64_t done = b->documents, all = b->bytes;
    pthread_mutex_unlock(&b->lock);
    if (r < 0) atomic_store(&b->failed, true);
    search_progress(b->c->s, "restore", all, done);
    /* What one large document needed is given back. */
    if (t->body.cap > 2 * BATCH_BYTES) buf_free(&t->body);
    buf_clear(&t->body);
    t->n = t->part = 0;
    t->sent_before = t->bounded = false;
    queue_push(b->idle, t);
}

/* "index" of the action's line becomes "create". */
static int as_create(struct batch *t, size_t from, struct error *err) {
    static const char was[] = "{\"index\":", now[] = "{\"create\":";
    size_t rest = from + sizeof was - 1;
    if (t->body.len < rest || memcmp(t->body.ptr + from, was, sizeof was - 1) != 0)
        return error_set(err, ERR_RESTORE_DIFFERS, "a document of the index %s begins with no action", t->b->index);
    int r = buf_reserve(&t->body, 1, err);
    if (r < 0) return r;
    memmove(t->body.ptr + rest + 1, t->body.ptr + rest, t->body.len - rest);
    memcpy(t->body.ptr + from, now, sizeof now - 1);
    t->body.len++;
    return 0;
}

static int fill(struct batch *t, struct search_lines *l, bool *end, struct error *err) {
    int r = 0;
    const size_t bytes = atomic_load(&t->b->batch_bytes);
    while (r == 0 && !*end && t->n < BATCH_DOCUMENTS && t->body.len < bytes) {
        size_t from = t->body.len;
        r = search_lines_next(l, &t->body, end, err);
        if (r < 0 || *end) break;
        if (t->b->create_only) r = as_create(t, from, err);
        if (r < 0) break;
        r = mem_grow((void **)&t->ends, &t->cap, t->n + 1, sizeof *t->ends, err);
        if (r == 0) t->ends[t->n++] = t->body.len;
    }
    return r;
}

static int pump(struct bulk *b, struct pool *pool, struct search_lines *l, struct error *err) {
    bool end = false;
    int r = 0;
    while (r == 0 && !end && !atomic_load(&b->failed)) {
        void *p = NULL;
        r = stop_check(err);
        if (r < 0 || !queue_pop(b->idle, &p)) break;
        struct batch *t = p;
        r = fill(t, l, &end, err);
        if (r == 0 && t->n)
            pool_submit(pool, run, t);
        else
            queue_push(b->idle, t);
    }
    return r;
}

int search_bulk(const struct search_client *c, struct source *src, const char *item, const char *index,
                bool create_only, uint64_t *ret_documents, uint64_t *ret_bytes, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    unsigned threads = c->s->ctx->jobs < THREADS_MAX ? c->s->ctx->jobs + 1 : THREADS_MAX;
    struct batch batches[THREADS_MAX + 1] = {0};
    size_t n = threads + 1;
    struct bulk b = {.c = c,
                     .index = index,
                     .create_only = create_only,
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .batch_bytes = BATCH_BYTES};
    struct pool *pool = NULL;
    struct search_lines l = {0};
    bool there = false;
    int r = search_path(&path, "/", index, "/_bulk?pipeline=_none&filter_path=errors,items.*.status,items.*.error.type",
                        err);
    b.path = (const char *)path.ptr;
    if (r == 0) r = queue_new(n + 1, &b.idle, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        batches[i] = (struct batch){.b = &b, .body = BUF_INIT(DOCUMENT_MAX)};
        queue_push(b.idle, &batches[i]);
    }
    if (r == 0) r = search_lines_open(src, item, &l, &there, err);
    if (r == 0 && !there)
        r = error_set(err, ERR_RESTORE_DIFFERS, "the snapshot has no documents of the index %s", index);
    if (r == 0) r = pool_new(threads, n, &pool, err);
    if (r == 0) r = pump(&b, pool, &l, err);
    if (r < 0) atomic_store(&b.failed, true); /* what waits to be sent again stops */
    pool_free(pool);
    search_lines_close(&l);
    if (r == 0 && b.err.code) {
        *err = b.err;
        r = -(int)err->code;
    }
    for (void *p; b.idle && queue_try_pop(b.idle, &p);) {}
    for (size_t i = 0; i < n; i++) {
        buf_free(&batches[i].body);
        seam_free(batches[i].ends);
    }
    queue_free(b.idle);
    pthread_mutex_destroy(&b.lock);
    *ret_documents = b.documents;
    *ret_bytes = b.bytes;
    return r < 0 ? error_wrap(err, "restore the documents of %s", index) : 0;
}
