#include "surface/files/capture_internal.h"
#include "surface/files/files_internal.h"

#define QUEUE_TASKS 256
#define PROGRESS_NS (NS_PER_S / 10)

void capture_fail(struct capture *c, const struct error *err) {
    pthread_mutex_lock(&c->fail_lock);
    if (!atomic_load(&c->failed)) {
        c->err = *err;
        c->rc = -(int)err->code;
        atomic_store(&c->failed, true);
    }
    pthread_mutex_unlock(&c->fail_lock);
}

void capture_note(struct capture *c, enum note_kind kind, struct bytes name, const char *text) {
    const struct surface_events *e = &c->ctx->events;
    if (e->note) e->note(e->ctx, kind, name, text);
}

void capture_progress(struct capture *c) {
    const struct surface_events *e = &c->ctx->events;
    if (!e->progress) return;
    int64_t now = time_monotonic_ns(), last = atomic_load_explicit(&c->progress_ns, memory_order_relaxed);
    if (now - last < PROGRESS_NS || !atomic_compare_exchange_strong(&c->progress_ns, &last, now)) return;
    e->progress(e->ctx, "reading", atomic_load(&c->bytes_done), 0, atomic_load(&c->items_done));
}

static void *reader_run(void *arg) {
    struct capture *c = arg;
    struct reread *again = NULL;
    void *p;
    while (queue_pop(c->queue, &p)) {
        struct task *t = p;
        if (t->held) t = reread_run(&again, c, t);
        if (t) task_run(t);
    }
    reread_free(again);
    return NULL;
}

static int capture_begin(struct capture *c, struct error *err) {
    unsigned jobs = c->ctx->jobs ? c->ctx->jobs : 1;
    if (jobs > JOBS_MAX) jobs = JOBS_MAX;
    int rc = links_init(c, err);
    if (rc == 0) rc = tally_init(&c->tally, err);
    if (rc == 0) rc = queue_new(QUEUE_TASKS, &c->queue, err);
    if (rc == 0) rc = scan_new(c->tree, jobs, &c->scan, err);
    while (rc == 0 && c->n_readers < jobs) {
        rc = thread_start(&c->readers[c->n_readers], reader_run, c, err);
        if (rc == 0) c->n_readers++;
    }
    return rc;
}

/* Every root is looked at before the first is read: a missing one must not cost hours first. */
static int roots_walk(struct capture *c, struct error *err) {
    size_t n = c->tree->n_roots, opened = 0, walked = 0;
    void *p;
    int rc = mem_alloc(n * sizeof(struct folder *), &p, err);
    if (rc) return rc;
    struct folder **tops = p;
    while (rc == 0 && opened < n) {
        rc = scan_top(c->scan, &c->tree->roots[opened], &tops[opened], err);
        if (rc == 0) opened++;
    }
    while (rc == 0 && walked < n) rc = capture_walk(c, tops[walked++], err);
    if (rc) scan_stop(c->scan);
    while (walked < opened) scan_leave(c->scan, tops[walked++]);
    seam_free(tops);
    return rc;
}

int capture_run(struct capture *c, const struct surface_context *ctx, const struct tree *t, struct sink *sink,
                bool full_read, struct error *err) {
    *c = (struct capture){.ctx = ctx, .sink = sink, .tree = t, .full_read = full_read, .since_ns = time_now_ns()};
    pthread_mutex_init(&c->links_lock, NULL);
    pthread_mutex_init(&c->fail_lock, NULL);
    owners_init(&c->owners);
    int rc = capture_begin(c, err);
    if (rc == 0) rc = roots_walk(c, err);
    if (rc && err->code) capture_fail(c, err);
    if (c->queue) queue_close(c->queue);
    while (c->n_readers > 0) pthread_join(c->readers[--c->n_readers], NULL);
    if (c->rc) {
        *err = c->err;
        return c->rc;
    }
    return rc;
}

void capture_free(struct capture *c) {
    if (!c->ctx) return;
    if (c->links) links_end(c);
    tally_end(&c->tally);
    queue_free(c->queue);
    scan_free(c->scan);
    owners_end(&c->owners);
    pthread_mutex_destroy(&c->links_lock);
    pthread_mutex_destroy(&c->fail_lock);
    *c = (struct capture){0};
}

/* ---- what the driver reports ---- */

static const char *root_type(const struct tree_root *r) {
    struct stat st;
    if (seam_fstatat(AT_FDCWD, r->path, &st, AT_SYMLINK_NOFOLLOW) < 0) return "other";
    return S_ISDIR(st.st_mode) ? "folder" : S_ISREG(st.st_mode) ? "file" : S_ISLNK(st.st_mode) ? "link" : "other";
}

static int roots_facts(const struct tree *t, json_t **ret, struct error *err) {
    json_t *roots = json_array();
    int rc = 0;
    for (size_t i = 0; i < t->n_roots && rc == 0; i++) {
        json_t *one = json_object();
        rc = json_put_str(one, "path", t->roots[i].path, err);
        if (rc == 0) rc = json_put_str(one, "type", root_type(&t->roots[i]), err);
        if (rc == 0)
            rc = json_push(roots, one, err);
        else
            json_decref(one);
    }
    if (rc)
        json_decref(roots);
    else
        *ret = roots;
    return rc;
}

static int capture_facts(struct capture *c, json_t *roots, json_t **ret, struct error *err) {
    json_t *f = json_object(), *exclude = json_array();
    char began[32];
    time_format(c->since_ns, began);
    int rc = json_put(f, "roots", roots, err);
    for (size_t i = 0; i < c->tree->n_exclude && rc == 0; i++)
        rc = json_push(exclude, json_string(c->tree->exclude[i]), err);
    if (rc == 0)
        rc = json_put(f, "exclude", exclude, err);
    else
        json_decref(exclude);
    if (rc == 0) rc = json_put(f, "one_file_system", json_boolean(c->tree->one_file_system), err);
    if (rc == 0) rc = json_put(f, "full_read", json_boolean(c->full_read), err);
    if (rc == 0) rc = json_put_str(f, "began", began, err);
    if (rc == 0) rc = json_put_int(f, "items", (int64_t)c->tally.items, err);
    if (rc == 0) rc = json_put_int(f, "files", (int64_t)c->tally.files, err);
    if (rc == 0) rc = json_put_int(f, "bytes", (int64_t)c->tally.bytes, err);
    if (rc == 0) rc = json_put_int(f, "bytes_read", (int64_t)atomic_load(&c->bytes_done), err);
    if (rc == 0) rc = json_put_int(f, "items_unchanged", (int64_t)atomic_load(&c->kept), err);
    if (rc == 0) rc = json_put_int(f, "items_vanished", (int64_t)atomic_load(&c->vanished), err);
    if (rc)
        json_decref(f);
    else
        *ret = f;
    return rc;
}

int files_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret, struct error *err) {
    struct tree t = {0};
    struct capture c = {0};
    struct capture_result r = {.method = "snapshot", .consistency = "fuzzy"};
    json_t *roots = NULL;
    int rc = tree_read_settings(ctx->settings, &t, err);
    if (rc) return rc;
    rc = capture_run(&c, ctx, &t, sink, ctx->full_read, err);
    if (rc == 0) rc = roots_facts(&t, &roots, err);
    if (rc == 0) rc = capture_facts(&c, roots, &r.facts, err);
    if (rc == 0) rc = tally_invariants(&c.tally, &r.invariants, err);
    r.items = c.tally.items;
    r.bytes = c.tally.bytes;
    r.unreadable = atomic_load(&c.unreadable);
    r.changed = atomic_load(&c.changed);
    r.skipped = atomic_load(&c.skipped);
    capture_free(&c);
    tree_free(&t);
    if (rc)
        json_decref(r.facts);
    else
        *ret = r;
    return rc;
}
