/* What the previous snapshot (or the interrupted run before it) knows of an item. */
#include "repo/writer_internal.h"

struct former *former_take(struct writer *w, struct bytes name) {
    struct former *f = NULL;
    pthread_mutex_lock(&w->former_lock);
    if (w->known_valid && bytes_equal(w->known.name, name)) known_close(w);
    for (size_t i = 0; i < sizeof w->formers / sizeof *w->formers && !f; i++)
        if (w->formers[i] && bytes_equal(w->formers[i]->name, name)) {
            f = w->formers[i];
            w->formers[i] = NULL;
        }
    pthread_mutex_unlock(&w->former_lock);
    return f;
}

void former_hold(struct writer *w, const struct memo_item *m, struct former **ret) {
    struct error e = ERROR_INIT;
    if (!w->delta || !w->fetcher || m->ref_count == 0 || m->kind == CONTENT_NONE || m->kind == CONTENT_OPAQUE) return;
    (void)!former_make(w, m, ret, &e); /* a delta not found costs space, nothing else */
}

struct former *former_find(struct writer *w, struct bytes name) {
    struct former *f = NULL;
    struct memo_item m;
    pthread_mutex_lock(&w->former_lock);
    /* What was asked about last stays: another thread may be about to hold it. */
    if (memo_find(w->part, name, &m) || memo_find(w->prev, name, &m)) former_hold(w, &m, &f);
    pthread_mutex_unlock(&w->former_lock);
    return f;
}

/* The item asked about last was not kept, so it will be written anew: put its former self where open finds it. Under
 * former_lock. */
void known_close(struct writer *w) {
    if (!w->known_valid) return;
    w->known_valid = false;
    struct former *f = NULL;
    former_hold(w, &w->known, &f);
    if (!f) return;
    struct former **slot = &w->formers[w->former_next++ % (sizeof w->formers / sizeof *w->formers)];
    former_free(*slot);
    *slot = f;
}

/* Every chunk it names is there still; marks their packs as used. */
static bool refs_usable(struct writer *w, struct bytes refs) {
    struct cursor c = cursor_of(refs);
    struct ref ref;
    while (ref_take(&c, &ref)) {
        if (ref.type == REF_HOLE) continue;
        if (!chunk_use(w, ref.id.b)) return false;
        if (ref.type == REF_LIST) {
            struct bytes body;
            if (!memo_list(w->part, &ref.id, &body) && !memo_list(w->prev, &ref.id, &body)) return false;
            if (!refs_usable(w, body)) return false;
        }
    }
    return !c.bad;
}

static bool known_find(struct writer *w, struct bytes name, struct known_item *ret) {
    known_close(w);
    struct memo_item m;
    struct error e = ERROR_INIT;
    /* By former_find other threads move about in the same memories, in which a name stays only until then. */
    if (!memo_find(w->part, name, &m) && !memo_find(w->prev, name, &m)) return false;
    if (m.kind != CONTENT_NONE) {
        pthread_rwlock_rdlock(&w->index_lock);
        bool usable = refs_usable(w, m.refs);
        pthread_rwlock_unlock(&w->index_lock);
        if (!usable) return false;
    }
    buf_clear(&w->known_name);
    if (buf_append(&w->known_name, name.ptr, name.len, &e) < 0) return false;
    w->known = m;
    w->known.name = buf_bytes(&w->known_name);
    w->known_valid = true;
    *ret = (struct known_item){m.attr, m.kind, m.bytes, m.sha256};
    return true;
}

bool writer_known(struct writer *w, struct bytes name, struct known_item *ret) {
    pthread_mutex_lock(&w->former_lock);
    bool found = known_find(w, name, ret);
    pthread_mutex_unlock(&w->former_lock);
    return found;
}

static int memo_item_copy(const struct memo_item *m, struct memo_item **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof *m + m->refs.len, &mem, err);
    if (rc < 0) return rc;
    struct memo_item *copy = mem;
    uint8_t *refs = (uint8_t *)(copy + 1);
    *copy = *m;
    if (m->refs.len) memcpy(refs, m->refs.ptr, m->refs.len);
    copy->refs = BYTES_OF(refs, m->refs.len);
    copy->name = copy->attr = BYTES_OF(NULL, 0);
    *ret = copy;
    return 0;
}

int known_again(struct writer *w, struct bytes name, struct memo_item **ret, struct former **ret_was,
                struct error *err) {
    struct memo_item m;
    int rc = 0;
    if (!w->fetcher) return 0;
    pthread_mutex_lock(&w->former_lock);
    bool found = memo_find(w->prev, name, &m) && m.kind != CONTENT_NONE;
    if (found) {
        pthread_rwlock_rdlock(&w->index_lock);
        found = refs_usable(w, m.refs);
        pthread_rwlock_unlock(&w->index_lock);
    }
    if (found) rc = former_make(w, &m, ret_was, err);
    if (found && rc == 0 && !former_whole(*ret_was)) {
        former_free(*ret_was);
        *ret_was = NULL;
        found = false;
    }
    if (found && rc == 0) rc = memo_item_copy(&m, ret, err);
    pthread_mutex_unlock(&w->former_lock);
    return rc;
}

/* Lists of a kept item must be in the new memory as well. */
void lists_copy(struct writer *w, const struct memo_item *m) {
    if (m->kind == CONTENT_NONE) return;
    struct cursor c = cursor_of(m->refs);
    struct ref ref;
    while (ref_take(&c, &ref)) {
        struct bytes body;
        if (ref.type != REF_LIST || (!memo_list(w->part, &ref.id, &body) && !memo_list(w->prev, &ref.id, &body)))
            continue;
        memory_put(w, CHUNK_LIST, &ref.id, body);
    }
}

const struct memo_item *known_take(struct writer *w, struct bytes name) {
    pthread_mutex_lock(&w->former_lock);
    bool found = w->known_valid && bytes_equal(w->known.name, name);
    if (found) w->known_valid = false;
    pthread_mutex_unlock(&w->former_lock);
    return found ? &w->known : NULL;
}

int writer_keep(struct writer *w, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) {
    const struct memo_item *m = known_take(w, name);
    if (!m) return error_set(err, ERR_INTERNAL, "an item was to be kept that was not known");
    if (seq == WRITER_ANY_ORDER) return error_set(err, ERR_INTERNAL, "an item was to be kept that has no number");
    struct buf n = BUF_INIT(1u << 20), body = BUF_INIT(8u << 20);
    int rc = order_wait(w, seq, err);
    if (rc == 0) lists_copy(w, m);
    if (rc == 0) rc = buf_append(&n, name.ptr, name.len, err);
    if (rc == 0) rc = manifest_body(&body, m->kind, attr, m->bytes, &m->sha256, m->ref_count, m->refs, err);
    if (rc < 0) {
        buf_free(&n);
        buf_free(&body);
        return writer_fail(w, err);
    }
    w->bytes += m->bytes;
    w->kept_bytes += m->bytes;
    return order_done(w, seq, n, body, false, err);
}
