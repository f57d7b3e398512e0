#include "work/set_handles.h"

#include "work/any_copy.h"

static int give_typed(void *ctx, struct buf *ret, struct error *err) {
    const struct bytes b = secret_bytes(ctx);
    return buf_append(ret, b.ptr, b.len, err);
}

static void requests_add(void *ctx, const struct store_requests *r) {
    store_requests_add(ctx, r);
}

static int open_like(struct work *w, const char *environment, struct work **ret, struct error *err) {
    struct work_options o = w->options;
    o.ask_passphrase = w->typed ? give_typed : NULL;
    o.ask_ctx = w->typed;
    int rc = work_open(&o, ret, err);
    if (rc < 0) return rc;
    /* a copy may help, and not stand in: what lies at a place of one log is something else in another's */
    rc = work_open_repo(*ret, environment, err);
    (*ret)->any_copy = w->any_copy;
    if (rc == 0 && w->any_copy) rc = any_copy_attach(*ret, environment, err);
    if (rc == 0) return 0;
    work_close(*ret);
    return rc;
}

void set_handles_open(struct set_handles *h, struct work *w, const char *environment, unsigned want, unsigned threads) {
    *h = (struct set_handles){.of = {w}, .count = 1, .jobs = w->jobs};
    for (; h->count < want && h->count < SET_HANDLES_MAX; h->count++) {
        struct error e = ERROR_INIT;
        if (open_like(w, environment, &h->of[h->count], &e) < 0) break;
    }
    for (unsigned i = 0; h->count > 1 && i < h->count; i++) {
        h->of[i]->jobs = threads;
        h->of[i]->shared = true;
    }
}

void set_handles_close(struct set_handles *h) {
    if (h->count == 0) return;
    h->of[0]->jobs = h->jobs;
    h->of[0]->shared = false;
    for (unsigned i = 1; i < h->count; i++) {
        struct work_events *e = &h->of[i]->options.events;
        e->requests = requests_add;
        e->ctx = &h->of[0]->others;
        e->warning = NULL;
        work_close(h->of[i]);
    }
    *h = (struct set_handles){0};
}
