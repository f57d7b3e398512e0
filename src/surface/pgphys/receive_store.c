#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <errno.h>
#include <unistd.h>

#define RING_MAX 8
#define BACKOFF_FIRST_NS (NS_PER_S / 4)
#define BACKOFF_LAST_NS (20 * NS_PER_S)

struct entry {
    struct wal_name name;
    bool file; /* put as it is; else a segment, or a part of a long one */
    uint8_t *bytes;
    uint32_t at; /* of the part in its segment */
    uint32_t filled, durable, size;
    int64_t since_ns; /* when the oldest byte came that is not durable */
    bool checked, ended;
};
struct receive_store {
    struct wal_sink *sink;
    uint64_t system;
    uint32_t segment_bytes, part_bytes; /* part: that are in memory at a time */
    int64_t piece_ns;
    int wake_fd;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    struct entry ring[RING_MAX];
    size_t first, count, segments, segments_max;
    uint8_t *spare[RING_MAX]; /* segments' memory that is not in use */
    size_t spares;
    bool hurry, closing;
    int64_t retry_ns; /* not before; 0: at once */
    int64_t backoff_ns;
    struct receive_stored seen;
};

static struct entry *entry_at(struct receive_store *s, size_t i) {
    return &s->ring[(s->first + i) % RING_MAX];
}

static void pop(struct receive_store *s) {
    struct entry *e = entry_at(s, 0);
    if (e->file) {
        seam_free(e->bytes);
    } else {
        s->spare[s->spares++] = e->bytes;
        s->segments--;
    }
    s->first = (s->first + 1) % RING_MAX;
    s->count--;
}

/* Nothing more will come of it, and what came needs no storing or is too little to be told what it is. */
static bool spent(const struct receive_store *s, const struct entry *e) {
    bool part =
        s->part_bytes < s->segment_bytes && e->filled == e->size; /* a whole segment is put whole all the same */
    return !e->file && (e->ended || part) && (e->filled <= e->durable || !e->checked);
}

/* What is to be done with the oldest entry; else until when to wait (INT64_MAX: for news). */
static bool ready(struct receive_store *s, int64_t now, int64_t *ret_wait) {
    *ret_wait = INT64_MAX;
    while (s->count && spent(s, entry_at(s, 0))) pop(s);
    if (s->count == 0) return false;
    const struct entry *e = entry_at(s, 0);
    int64_t due = 0;
    if (!e->file && e->filled < e->size) {
        if (e->filled <= e->durable || !e->checked) return false;
        if (!e->ended && !s->hurry && !s->closing) due = e->since_ns + s->piece_ns;
    }
    if (!s->closing && s->retry_ns > due) due = s->retry_ns;
    if (due <= now) return true;
    *ret_wait = due;
    return false;
}

/* Trying again mends a store that is out of reach or full, and never what was refused, differs or is damaged; nor a
 * handle that takes no more writes before it is opened anew. */
static bool hopeless(const struct error *e) {
    switch (error_info(e->code)->status) {
    case EXIT_INTEGRITY:
    case EXIT_REFUSED:
    case EXIT_WRONG_KEY:
    case EXIT_USAGE:
    case EXIT_NO_REPOSITORY:
        return true;
    default:
        return e->code == ERR_INTERNAL || e->code == ERR_REPO_LATCHED;
    }
}

static void failed(struct receive_store *s, const struct error *e, int64_t now) {
    uint8_t dice = 0;
    (void)!seam_getrandom(&dice, 1);
    if (s->seen.failing_ns == 0) s->seen.failing_ns = now;
    s->seen.failures++;
    s->seen.failure = *e;
    s->seen.dead = hopeless(e);
    s->backoff_ns = s->backoff_ns ? s->backoff_ns * 2 : BACKOFF_FIRST_NS;
    if (s->backoff_ns > BACKOFF_LAST_NS) s->backoff_ns = BACKOFF_LAST_NS;
    s->retry_ns = now + s->backoff_ns / 2 + s->backoff_ns / 2 * dice / 255;
}

static void stored(struct receive_store *s, struct entry *e, uint32_t to, bool whole, int64_t begun) {
    s->seen.failing_ns = s->retry_ns = s->backoff_ns = 0;
    if (e->file) {
        pop(s);
        return;
    }
    s->seen.timeline = e->name.timeline;
    s->seen.lsn = wal_name_lsn(&e->name, s->segment_bytes) + e->at + to;
    s->seen.bytes += to - (whole ? 0 : e->durable);
    if (e->at + to == s->segment_bytes)
        s->seen.segments++;
    else
        s->seen.pieces++;
    e->durable = to;
    e->since_ns = e->filled > to ? begun : 0; /* what came while it was put */
    if (to == e->size) pop(s);
}

/* With the lock held, which is let go while the sink works. */
static void put(struct receive_store *s) {
    struct entry *e = entry_at(s, 0); /* stays where it is: only this thread pops */
    uint32_t to = e->filled, from = e->durable;
    bool whole = e->file || to == s->segment_bytes;
    struct error err = ERROR_INIT;
    int64_t begun = time_monotonic_ns();
    pthread_mutex_unlock(&s->lock);
    int rc = whole ? s->sink->ops->put(s->sink, s->system, &e->name, BYTES_OF(e->bytes, to), &err)
                   : s->sink->ops->put_piece(s->sink, s->system, &e->name, e->at + from,
                                             BYTES_OF(e->bytes + from, to - from), &err);
    pthread_mutex_lock(&s->lock);
    if (rc == 0)
        stored(s, e, to, whole, begun);
    else
        failed(s, &err, time_monotonic_ns());
}

static void wake(const struct receive_store *s) {
    static const uint8_t byte = 0;
    (void)!seam_write(s->wake_fd, &byte, 1); /* a full pipe wakes as well */
}

static void *run(void *arg) {
    struct receive_store *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->seen.dead) {
        int64_t wait_ns;
        if (ready(s, time_monotonic_ns(), &wait_ns)) {
            bool last = s->closing;
            unsigned before = s->seen.failures;
            put(s);
            wake(s);
            if (last && s->seen.failures != before) break;
        } else if (s->closing) {
            break;
        } else if (wait_ns == INT64_MAX) {
            pthread_cond_wait(&s->changed, &s->lock);
        } else {
            struct timespec until = {wait_ns / NS_PER_S, wait_ns % NS_PER_S};
            pthread_cond_timedwait(&s->changed, &s->lock, &until);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int receive_store_new(struct wal_sink *sink, uint64_t system, uint32_t segment_bytes, int64_t piece_ns, int wake_fd,
                      struct receive_store **ret, struct error *err) {
    struct receive_store *s;
    int rc = mem_alloc(sizeof *s, (void **)&s, err);
    if (rc < 0) return rc;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&s->lock, NULL);
    s->sink = sink;
    s->system = system;
    s->segment_bytes = segment_bytes;
    s->part_bytes = segment_bytes > WAL_WHOLE_MAX ? WAL_PIECE_MAX : segment_bytes;
    s->piece_ns = piece_ns;
    s->wake_fd = wake_fd;
    s->segments_max = RECEIVE_BYTES_MAX / s->part_bytes;
    if (s->segments_max > RING_MAX / 2) s->segments_max = RING_MAX / 2;
    if (s->segments_max < 2) s->segments_max = 2;
    rc = thread_start(&s->thread, run, s, err);
    if (rc < 0) {
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
        seam_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void receive_store_free(struct receive_store *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    while (s->count) pop(s);
    for (size_t i = 0; i < s->spares; i++) seam_free(s->spare[i]);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    seam_free(s);
}

static int add(struct receive_store *s, const struct entry *e, struct error *err) {
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (s->count == RING_MAX)
        rc = error_set(err, ERR_INTERNAL, "no room for another WAL file");
    else
        *entry_at(s, s->count++) = *e;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int receive_store_begin(struct receive_store *s, const struct wal_name *name, uint32_t at, uint32_t durable,
                        uint32_t *ret_lacks, struct error *err) {
    struct entry e = {.name = *name, .at = at, .size = s->part_bytes, .checked = at > 0};
    e.durable = durable < at ? 0 : durable - at < e.size ? durable - at : e.size;
    pthread_mutex_lock(&s->lock);
    if (s->spares) e.bytes = s->spare[--s->spares];
    s->segments++;
    pthread_mutex_unlock(&s->lock);
    if (!e.bytes) e.bytes = seam_alloc(s->part_bytes);
    int rc =
        e.bytes ? add(s, &e, err) : error_set_errno(err, ERR_NO_MEMORY, "%u bytes of a WAL segment", s->part_bytes);
    if (rc == 0) *ret_lacks = s->part_bytes;
    if (rc == 0) return 0;
    seam_free(e.bytes);
    pthread_mutex_lock(&s->lock);
    s->segments--;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int receive_store_append(struct receive_store *s, struct bytes data, uint32_t *ret_lacks, struct error *err) {
    pthread_mutex_lock(&s->lock);
    struct entry *e = entry_at(s, s->count - 1);
    pthread_mutex_unlock(&s->lock);
    memcpy(e->bytes + e->filled, data.ptr, data.len);
    uint32_t filled = e->filled + (uint32_t)data.len;
    bool checked = e->checked;
    if ((!checked && filled >= 40) || (filled == e->size && e->at == 0)) {
        int rc = wal_segment_check(&e->name, BYTES_OF(e->bytes, filled), s->system, err);
        if (rc < 0) return error_wrap(err, "what the server sent");
        checked = true;
    }
    pthread_mutex_lock(&s->lock);
    if (e->since_ns == 0 && filled > e->durable) e->since_ns = time_monotonic_ns();
    e->filled = filled;
    e->checked = checked;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    *ret_lacks = e->size - filled;
    return 0;
}

void receive_store_end(struct receive_store *s) {
    pthread_mutex_lock(&s->lock);
    if (s->count) entry_at(s, s->count - 1)->ended = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

int receive_store_file(struct receive_store *s, const struct wal_name *name, struct bytes file, struct error *err) {
    struct entry e = {.name = *name, .file = true, .size = (uint32_t)file.len, .filled = (uint32_t)file.len};
    int rc = mem_dup(file.ptr, file.len, (void **)&e.bytes, err);
    if (rc == 0) rc = add(s, &e, err);
    if (rc < 0) seam_free(e.bytes);
    return rc;
}

void receive_store_hurry(struct receive_store *s, bool hurry) {
    pthread_mutex_lock(&s->lock);
    s->hurry = hurry;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void receive_store_look(struct receive_store *s, struct receive_stored *ret) {
    pthread_mutex_lock(&s->lock);
    *ret = s->seen;
    ret->idle = true;
    ret->unsaved_ns = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = entry_at(s, i);
        if (e->file || e->filled > e->durable) ret->idle = false;
        if (!e->file && e->filled > e->durable && ret->unsaved_ns == 0) ret->unsaved_ns = e->since_ns;
    }
    ret->room = s->segments < s->segments_max && s->count < RING_MAX - 1;
    pthread_mutex_unlock(&s->lock);
}
