/* Items finish in any order and enter the manifest in the order of their sequence numbers, or of their names at the end
 * when they have none; manifest chunks end at names that the names themselves choose, so that an unchanged folder gives
 * unchanged chunks. */
#include "repo/writer_internal.h"

#define MANIFEST_MIN (32u << 10)
#define MANIFEST_MAX (192u << 10)

static void wait_some(struct writer *w) {
    struct timespec ts = {0}; /* without a clock it does not wait, which is right, only busy */
    if (seam_clock_gettime(CLOCK_REALTIME, &ts) < 0) ts = (struct timespec){0};
    ts.tv_nsec += 100000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&w->order_cond, &w->order_lock, &ts);
}

/* Under order_lock. */
static int enter(struct writer *w, uint64_t seq, struct error *err) {
    const bool any = seq == WRITER_ANY_ORDER;
    if (any ? w->ordered : w->gather != NULL)
        return error_set(err, ERR_INTERNAL, "items came both by number and in any order");
    w->ordered = !any;
    if (any && !w->gather) {
        int rc = gather_new(w->repo->cache_dir, GATHER_BYTES, &w->gather, err);
        if (rc < 0) return rc;
    }
    if (any) w->unfinished++;
    return 0;
}

int order_wait(struct writer *w, uint64_t seq, struct error *err) {
    pthread_mutex_lock(&w->order_lock);
    int rc = enter(w, seq, err);
    const bool any = seq == WRITER_ANY_ORDER;
    if (rc == 0 && any) rc = writer_alive(w, err);
    while (rc == 0 && !any && seq >= w->next_seq + ORDER_WINDOW && (rc = writer_alive(w, err)) == 0) wait_some(w);
    pthread_mutex_unlock(&w->order_lock);
    return rc;
}

void memory_put(struct writer *w, enum chunk_kind kind, const struct digest *id, struct bytes body) {
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&w->memo_lock);
    if (w->memo && memo_put(w->memo, kind, id, body, &e) < 0) {
        memo_writer_free(w->memo);
        w->memo = NULL;
    }
    pthread_mutex_unlock(&w->memo_lock);
}

int meta_put(struct writer *w, enum chunk_kind kind, struct bytes body, struct digest *ret_id, struct error *err) {
    struct digest sha;
    sha256(body, &sha);
    int rc = chunk_put(w, kind, body, &sha, NULL, ret_id, err);
    if (rc == 0 && (kind == CHUNK_MANIFEST || kind == CHUNK_LIST)) memory_put(w, kind, ret_id, body);
    return rc;
}

static int manifest_flush(struct writer *w, struct error *err) {
    if (!w->manifest_items) return 0;
    struct digest id;
    int rc = meta_put(w, CHUNK_MANIFEST, buf_bytes(&w->manifest), &id, err);
    if (rc == 0) rc = buf_append(&w->root_chunks, id.b, DIGEST_BYTES, err);
    if (rc == 0) rc = buf_append_u32(&w->root_chunks, (uint32_t)w->manifest.len, err);
    if (rc == 0) rc = buf_append_u32(&w->root_chunks, w->manifest_items, err);
    if (rc == 0) rc = buf_append_varint(&w->root_chunks, w->first_name.len, err);
    if (rc == 0) rc = buf_append(&w->root_chunks, w->first_name.ptr, w->first_name.len, err);
    w->root_count++;
    w->manifest_items = 0;
    buf_clear(&w->manifest);
    buf_clear(&w->last_name);
    return rc;
}

static bool chunk_ends(const struct writer *w, struct bytes name) {
    if (w->manifest.len < MANIFEST_MIN) return false;
    if (w->manifest.len >= MANIFEST_MAX) return true;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.len; i++) h = (h ^ name.ptr[i]) * 16777619u;
    return (h >> 8 & 0x1ff) == 0;
}

static int emit(void *ctx, struct bytes name, struct bytes body, struct error *err) {
    struct writer *w = ctx;
    size_t shared = 0;
    int rc = 0;
    if (w->manifest_items) {
        while (shared < name.len && shared < w->last_name.len && name.ptr[shared] == w->last_name.ptr[shared]) shared++;
    } else {
        buf_clear(&w->first_name);
        rc = buf_append(&w->first_name, name.ptr, name.len, err);
    }
    if (rc == 0) rc = buf_append_varint(&w->manifest, shared, err);
    if (rc == 0) rc = buf_append_varint(&w->manifest, name.len - shared, err);
    if (rc == 0) rc = buf_append(&w->manifest, name.ptr + shared, name.len - shared, err);
    if (rc == 0) rc = buf_append(&w->manifest, body.ptr, body.len, err);
    buf_clear(&w->last_name);
    if (rc == 0) rc = buf_append(&w->last_name, name.ptr, name.len, err);
    w->manifest_items++;
    w->items++;
    if (rc == 0 && chunk_ends(w, name)) rc = manifest_flush(w, err);
    return rc;
}

int order_done(struct writer *w, uint64_t seq, struct buf name, struct buf body, bool dropped, struct error *err) {
    int rc = writer_alive(w, err);
    if (rc < 0) {
        buf_free(&name);
        buf_free(&body);
        return rc;
    }
    pthread_mutex_lock(&w->order_lock);
    if (seq == WRITER_ANY_ORDER) {
        w->unfinished--;
        if (!dropped) rc = gather_add(w->gather, buf_bytes(&name), buf_bytes(&body), err);
        pthread_mutex_unlock(&w->order_lock);
        buf_free(&name);
        buf_free(&body);
        return rc < 0 ? writer_fail(w, err) : 0;
    }
    struct done_item *d = &w->window[seq % ORDER_WINDOW];
    *d = (struct done_item){true, dropped, name, body};
    while (rc == 0 && w->window[w->next_seq % ORDER_WINDOW].done) {
        d = &w->window[w->next_seq % ORDER_WINDOW];
        if (!d->dropped) rc = emit(w, buf_bytes(&d->name), buf_bytes(&d->body), err);
        buf_free(&d->name);
        buf_free(&d->body);
        d->done = false;
        w->next_seq++;
    }
    pthread_cond_broadcast(&w->order_cond);
    pthread_mutex_unlock(&w->order_lock);
    return rc < 0 ? writer_fail(w, err) : 0;
}

int order_finish(struct writer *w, struct error *err) {
    for (size_t i = 0; i < ORDER_WINDOW; i++)
        if (w->window[i].done)
            return error_set(err, ERR_INTERNAL, "an item before number %llu was never finished",
                             (unsigned long long)w->next_seq);
    if (w->unfinished)
        return error_set(err, ERR_INTERNAL, "%llu items were never finished", (unsigned long long)w->unfinished);
    int rc = w->gather ? gather_each(w->gather, emit, w, err) : 0;
    return rc == 0 ? manifest_flush(w, err) : rc;
}
