/* Several walks at a time. A lane is a thread that asks for one page and passes its bytes on in blocks; the caller's
 * thread reads the pages of all lanes in turn, each whole, so that while it works on one the cluster works on others.
 * A lane asks for the next page of its walk only when the one before was judged. What a lane holds is bounded by its
 * blocks, whatever the size of a document.
 */
#include "surface/search/search_internal.h"

#include "base/seam.h"
#include "base/thread.h"

#define BLOCK_BYTES (256u << 10)
#define BLOCKS 16u
#define BODY_MAX (2u << 20)

struct block {
    size_t len;
    uint8_t data[BLOCK_BYTES];
};
struct lane {
    const struct search_client *c;
    struct search_walk *walk; /* of the caller's thread; NULL when there is no more */
    const atomic_bool *cancel;
    pthread_t thread;
    bool started;
    struct queue *go, *idle, *full; /* turns to take; empty blocks; full ones, and `end` after a page */
    struct block *blocks[BLOCKS], *now;
    size_t n_blocks;
    struct buf path, body; /* of the request */
    unsigned refused;      /* how often it was, for want of room */
    /* of the page that ended */
    struct buf text;
    uint64_t bytes;
    int status, rc, wait_ms;
    struct error err;
    char end;
};

static int block_get(struct lane *l, struct error *err) {
    void *p = NULL;
    int r = 0;
    if (!queue_try_pop(l->idle, &p) && l->n_blocks < BLOCKS) {
        r = mem_alloc(sizeof(struct block), &p, err);
        if (r == 0) l->blocks[l->n_blocks++] = p;
    } else if (!p && !queue_pop(l->idle, &p)) {
        r = error_set(err, ERR_INTERRUPTED, "reading was given up");
    }
    if (r == 0) {
        l->now = p;
        l->now->len = 0;
    }
    return r;
}

static int take(void *ctx, struct bytes piece, struct error *err) {
    struct lane *l = ctx;
    l->bytes += piece.len;
    while (piece.len) {
        int r = l->now ? 0 : block_get(l, err);
        if (r < 0) return r;
        size_t n = BLOCK_BYTES - l->now->len < piece.len ? BLOCK_BYTES - l->now->len : piece.len;
        memcpy(l->now->data + l->now->len, piece.ptr, n);
        l->now->len += n;
        piece = BYTES_OF(piece.ptr + n, piece.len - n);
        if (l->now->len < BLOCK_BYTES) continue;
        queue_push(l->full, l->now);
        l->now = NULL;
    }
    return 0;
}

static void fetch(struct lane *l) {
    struct error e = ERROR_INIT;
    buf_clear(&l->text);
    l->bytes = 0;
    struct bytes slice = buf_bytes(&l->body);
    struct search_request q = {.method = "POST",
                               .path = (const char *)l->path.ptr,
                               .body = &slice,
                               .body_count = 1,
                               .take = take,
                               .take_ctx = l,
                               .text = &l->text,
                               .cancel = l->cancel,
                               .ret_wait_ms = &l->wait_ms};
    l->rc = search_send(l->c, &q, &l->status, &e);
    l->err = e;
    if (l->now) queue_push(l->full, l->now);
    l->now = NULL;
    queue_push(l->full, &l->end);
}

static void *run(void *arg) {
    struct lane *l = arg;
    void *p;
    while (queue_pop(l->go, &p)) fetch(l);
    return NULL;
}

/* What the cluster has lost of what it keeps for us is said apart: it was there, and the reading took too long. */
static int refused(struct lane *l, struct error *err) {
    struct bytes text = buf_bytes(&l->text);
    bool lost = text.len && memmem(text.ptr, text.len, "search_context_missing", 22) != NULL;
    int r = search_refused(l->walk->r->c, l->status, text, true, "read a page of documents", err);
    if (err->code != ERR_SEARCH_REPLY) return r;
    struct error e = *err;
    error_clear(err);
    return error_set(err, ERR_SEARCH_PARTIAL, "%s%s", e.text,
                     lost ? ": the cluster dropped what it had frozen for this reading" : "");
}

/* A page of a point in time says where it begins, so it can be asked for again: nothing of it has come. One of a scroll
 * cannot, since nobody knows whether the scroll went on. */
static bool put_off(const struct lane *l) {
    return l->status == 429 && l->walk->r->way != SEARCH_SCROLL && l->refused < SEARCH_BUSY_TRIES;
}

/* The page that is on its way, to its end. */
static int page(struct lane *l, const struct hits_events *ev, bool *ret_again, struct error *err) {
    struct hits hits;
    void *p;
    int r = 0;
    hits_open(&hits, ev);
    while (queue_pop(l->full, &p) && p != &l->end) {
        struct block *b = p;
        if (r == 0) r = hits_feed(&hits, BYTES_OF(b->data, b->len), err);
        if (r < 0) break; /* the lane is ended by its queues */
        queue_push(l->idle, b);
    }
    if (r == 0 && l->rc < 0) {
        *err = l->err;
        r = l->rc;
    }
    *ret_again = r == 0 && put_off(l);
    if (r == 0 && !*ret_again && l->status / 100 != 2) r = refused(l, err);
    if (r == 0 && !*ret_again) r = search_page_take(l->walk, &hits, l->bytes, err);
    hits_free(&hits);
    if (r == 0 && *ret_again) {
        search_page_shrink(l->walk);
        r = search_busy_wait(++l->refused, l->wait_ms, NULL, err);
    } else {
        l->refused = 0;
    }
    return r == 0 ? search_reader_keep(l->walk->r, err) : r;
}

/* The ids that a request names may be changed by what another lane brings: it is written here, not by the lane. */
static int go(struct lane *l, struct search_walk *walk, struct error *err) {
    l->walk = walk;
    int r = walk ? search_page_request(walk, &l->path, &l->body, err) : 0;
    if (r == 0 && walk) queue_push(l->go, l);
    return r;
}

static int open_lane(struct lane *l, const atomic_bool *cancel, struct error *err) {
    l->cancel = cancel;
    l->path = BUF_INIT(BODY_MAX);
    l->body = BUF_INIT(BODY_MAX);
    l->text = BUF_INIT(SEARCH_ANSWER_MAX);
    int r = queue_new(2, &l->go, err);
    if (r == 0) r = queue_new(BLOCKS + 1, &l->idle, err);
    if (r == 0) r = queue_new(BLOCKS + 2, &l->full, err);
    if (r == 0) r = thread_start(&l->thread, run, l, err);
    l->started = r == 0;
    return r;
}

static void close_lane(struct lane *l) {
    void *p;
    if (l->go) queue_close(l->go);
    if (l->idle) queue_close(l->idle);
    if (l->full) queue_close(l->full);
    if (l->started) pthread_join(l->thread, NULL);
    while (l->idle && queue_try_pop(l->idle, &p)) {}
    while (l->full && queue_try_pop(l->full, &p)) {}
    while (l->go && queue_try_pop(l->go, &p)) {}
    queue_free(l->go);
    queue_free(l->idle);
    queue_free(l->full);
    for (size_t i = 0; i < l->n_blocks; i++) seam_free(l->blocks[i]);
    buf_free(&l->path);
    buf_free(&l->body);
    buf_free(&l->text);
}

static unsigned lanes_of(const struct search_walk *w, size_t walks) {
    unsigned n = w->r->c->s->ctx->jobs + 1;
    if (n > SEARCH_LANES_MAX) n = SEARCH_LANES_MAX;
    return n > walks ? (unsigned)walks : n;
}

int search_lanes_run(struct search_walk *walks, size_t n, const struct hits_events *ev, struct error *err) {
    struct lane lanes[SEARCH_LANES_MAX] = {0};
    unsigned open = lanes_of(walks, n), busy = 0;
    atomic_bool cancel = false;
    size_t next = 0;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < open; i++) {
        lanes[i].c = walks->r->c;
        r = open_lane(&lanes[i], &cancel, err);
        if (r == 0) r = go(&lanes[i], &walks[next++], err);
        busy++;
    }
    for (unsigned i = 0; r == 0 && busy; i = (i + 1) % open) {
        struct lane *l = &lanes[i];
        if (!l->walk) continue;
        bool again = false;
        r = stop_check(err);
        if (r == 0) r = page(l, ev, &again, err);
        if (r == 0) r = go(l, again || !l->walk->over ? l->walk : next < n ? &walks[next++] : NULL, err);
        if (r == 0 && !l->walk) busy--;
    }
    atomic_store(&cancel, true);
    for (unsigned i = 0; i < open; i++) close_lane(&lanes[i]);
    return r;
}
