#include "surface/pgphys/pgphys_internal.h"

#include "base/crc32c.h"
#include "crypto/parts.h"

#include <errno.h>
#include <stdio.h>

#define LOOKS 3
#define LOOK_PAUSE_MS 20
#define BLOCK_BYTES_MAX 32768
#define TOLD_NS (NS_PER_S / 10)
#define QUEUE_FILES 32 /* fewer than a sink remembers the former selves of */
#define PIECE_BYTES (256u << 10)

static void sha256_freep(struct sha256_state **s) {
    sha256_free(*s);
}

struct file {
    struct pgphys_reading *r;
    struct pgphys_entry *e;
    int fd;
    struct sink_item *item;
    bool held; /* the item has, perhaps, the content of the last snapshot */
    struct digest held_sha256;
    uint32_t held_crc32c;
    enum item_kind kind;
    struct pgphys_pages pages; /* block_bytes 0: not judged */
    struct pgphys_bad bad;
};

/* What is no more than a part has one digest in any case. */
enum item_kind pgphys_kind_of(const struct pgphys_entry *e) {
    if (e->type != PGPHYS_FILE) return ITEM_NONE;
    return !e->pages ? ITEM_FILE : e->bytes > PART_BYTES ? ITEM_PARTS : ITEM_PAGES;
}

int pgphys_attr_of(const struct pgphys_entry *e, struct buf *out, struct error *err) {
    struct pgphys_attr a = {.type = e->type,
                            .mode = e->mode,
                            .flags = e->flags,
                            .mtime_ns = e->mtime_ns,
                            .target = e->target ? BYTES_STR(e->target) : BYTES_OF(NULL, 0),
                            .has_crc = pgphys_kind_of(e) == ITEM_PARTS,
                            .crc32c = e->crc32c};
    return pgphys_attr_encode(&a, out, err);
}

int pgphys_put(struct sink *sink, const char *name, enum item_kind kind, struct pgphys_attr attr, struct bytes content,
               struct digest *ret_sha256, struct error *err) {
    CLEANUP(buf_free) struct buf record = BUF_INIT(PATH_MAX + 64);
    struct sink_item *item = NULL;
    int rc = pgphys_attr_encode(&attr, &record, err);
    if (rc == 0) rc = sink->ops->open(sink, SINK_ANY_ORDER, BYTES_STR(name), kind, &item, err);
    if (rc == 0) rc = sink_write(sink, item, content, err);
    if (rc == 0) return sink->ops->close(item, buf_bytes(&record), ret_sha256, err);
    if (item) sink->ops->drop(item);
    return rc;
}

static void tell(struct pgphys_reading *r) {
    const struct surface_events *e = &r->ctx->events;
    int64_t now = time_monotonic_ns(), last = atomic_load_explicit(&r->told_ns, memory_order_relaxed);
    if (!e->progress || now - last < TOLD_NS || !atomic_compare_exchange_strong(&r->told_ns, &last, now)) return;
    e->progress(e->ctx, "reading", atomic_load(&r->bytes), r->list->bytes, atomic_load(&r->items));
}

/* One page whose checksum is wrong: it may be in the middle of being written. One that has changed since is not bad,
 * since the WAL has all of it; one that stays as it is has been so before the backup began. */
static int look_again(struct file *f, uint32_t at, uint8_t *page, bool *ret_bad, struct error *err) {
    uint32_t size = f->pages.block_bytes;
    uint8_t again[BLOCK_BYTES_MAX];
    bool changed = false;
    *ret_bad = false;
    for (int i = 0; i < LOOKS; i++) {
        size_t n;
        pgphys_pause(LOOK_PAUSE_MS);
        int rc = io_pread_full(f->fd, again, size, (uint64_t)at * size, &n, f->e->name, err);
        if (rc < 0) return rc;
        if (n < size) return 0; /* cut off meanwhile */
        changed = memcmp(page, again, size) != 0;
        memcpy(page, again, size);
        struct pgphys_pages one = {.block_bytes = size,
                                   .first_block = f->pages.first_block,
                                   .start_lsn = f->pages.start_lsn,
                                   .position = f->pages.position};
        pgphys_pages_check(&one, at, BYTES_OF(page, size));
        if (one.bad_count == 0) return 0;
    }
    *ret_bad = !changed;
    return 0;
}

static int judge(struct file *f, uint64_t from, uint8_t *data, size_t n, struct error *err) {
    uint32_t size = f->pages.block_bytes, at = (uint32_t)(from / size);
    struct pgphys_pages all = f->pages;
    all.checked = all.skipped = all.bad_count = 0;
    pgphys_pages_check(&all, at, BYTES_OF(data, n));
    atomic_fetch_add(&f->r->checked, all.checked);
    atomic_fetch_add(&f->r->unchecked, all.skipped);
    for (size_t i = 0; all.bad_count && i + size <= n; i += size, at++) {
        struct pgphys_pages one = f->pages;
        bool bad;
        one.bad_count = 0;
        pgphys_pages_check(&one, at, BYTES_OF(data + i, size));
        if (one.bad_count == 0) continue;
        int rc = look_again(f, at, data + i, &bad, err);
        if (rc < 0) return rc;
        if (bad && f->bad.count < sizeof f->bad.blocks / sizeof *f->bad.blocks)
            f->bad.blocks[f->bad.count] = f->pages.first_block + at;
        f->bad.count += bad;
    }
    return 0;
}

/* Whole pages, no more of them than may be read now. */
static int paced(struct file *f, size_t *want, struct error *err) {
    const uint32_t block = f->pages.block_bytes;
    size_t n = meter_grant(&f->r->meter, *want);
    if (n < block) n = *want < block ? *want : block;
    if (block && n > block) n -= n % block;
    meter_wait(&f->r->meter, n);
    *want = n;
    return stop_check(err);
}

/* The listed size, whatever the file has become: what is missing at its end is read as zeros. */
static int content(struct file *f, struct error *err) {
    static const uint8_t zeros[4096];
    const struct sink_ops *ops = f->r->sink->ops;
    uint64_t at = 0, size = f->e->bytes;
    uint32_t block = f->pages.block_bytes;
    f->e->crc32c = 0;
    while (at < size) {
        uint8_t *p;
        size_t room, n;
        int rc = ops->space(f->item, &p, &room, err);
        if (rc < 0) return rc;
        size_t want = room < size - at ? room : (size_t)(size - at);
        if ((rc = paced(f, &want, err)) < 0) return rc;
        rc = io_pread_full(f->fd, p, want, at, &n, f->e->name, err);
        if (rc == 0 && block && n >= block) rc = judge(f, at, p, n, err);
        if (rc == 0 && f->kind == ITEM_PARTS) f->e->crc32c = crc32c(f->e->crc32c, BYTES_OF(p, n));
        if (rc == 0) rc = ops->advance(f->item, n, err);
        if (rc < 0) return rc;
        at += n;
        atomic_fetch_add_explicit(&f->r->bytes, n, memory_order_relaxed);
        tell(f->r);
        if (n == want) continue;
        f->e->flags |= PGPHYS_GREW_SHORT;
        atomic_fetch_add(&f->r->shrunk, 1);
        for (uint64_t left = f->kind == ITEM_PARTS ? size - at : 0; left > 0; left -= n) {
            n = left < sizeof zeros ? (size_t)left : sizeof zeros;
            f->e->crc32c = crc32c(f->e->crc32c, BYTES_OF(zeros, n));
        }
        return ops->hole(f->item, size - at, err);
    }
    return 0;
}

/* Whether the content is the one that the item is held with. All of it is read and its pages are judged in any case: an
 * unchanged time of change only says that this is worth trying. */
static int compare(struct file *f, bool *ret_same, struct error *err) {
    CLEANUP(sha256_freep) struct sha256_state *sha = NULL;
    struct digest is;
    uint64_t at = 0, size = f->e->bytes;
    const bool parts = f->kind == ITEM_PARTS;
    uint8_t *p = seam_alloc_aligned(4096, PIECE_BYTES);
    int rc = p ? sha256_new(&sha, err) : error_set(err, ERR_NO_MEMORY, "no memory to read %s", f->e->name);
    size_t n = 0, want = 0, have = 0; /* have: what lies in p, not yet hashed */
    for (; rc == 0 && at < size; at += n) {
        want = size - at < PIECE_BYTES - have ? (size_t)(size - at) : PIECE_BYTES - have;
        rc = paced(f, &want, err);
        if (rc == 0) rc = io_pread_full(f->fd, p + have, want, at, &n, f->e->name, err);
        if (rc == 0 && f->pages.block_bytes && n >= f->pages.block_bytes) rc = judge(f, at, p + have, n, err);
        if (rc == 0) have += n;
        if (rc == 0 && !parts) sha256_update(sha, BYTES_OF(p, have));
        if (rc == 0 && parts && (have == PIECE_BYTES || at + n == size)) parts_update(sha, BYTES_OF(p, have), NULL);
        if (!parts || have == PIECE_BYTES) have = 0;
        if (rc < 0 || n < want) break;
        atomic_fetch_add_explicit(&f->r->bytes, n, memory_order_relaxed);
        tell(f->r);
    }
    seam_free(p);
    if (rc < 0) return rc;
    sha256_finish(sha, &is);
    *ret_same = at == size && digest_equal(&is, &f->held_sha256);
    return 0;
}

static int bad_keep(struct file *f, struct error *err) {
    struct pgphys_reading *r = f->r;
    char text[200];
    f->e->flags |= PGPHYS_BAD_PAGES;
    f->bad.entry = f->e;
    snprintf(text, sizeof text, "pages whose checksum is wrong at every reading: %llu; the first is block %u",
             (unsigned long long)f->bad.count, f->bad.blocks[0]);
    if (r->ctx->events.note) r->ctx->events.note(r->ctx->events.ctx, NOTE_UNREADABLE, BYTES_STR(f->e->name), text);
    pthread_mutex_lock(&r->lock);
    int rc = mem_grow((void **)&r->bad, &r->cap_bad, r->n_bad + 1, sizeof *r->bad, err);
    if (rc == 0) r->bad[r->n_bad++] = f->bad;
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static int file_end(struct file *f, bool confirmed, struct error *err) {
    CLEANUP(buf_free) struct buf record = BUF_INIT(PATH_MAX + 64);
    const struct sink_ops *ops = f->r->sink->ops;
    int rc = f->bad.count ? bad_keep(f, err) : 0;
    if (confirmed) {
        f->e->crc32c = f->held_crc32c;
        f->e->sha256 = f->held_sha256;
    }
    if (rc == 0) rc = pgphys_attr_of(f->e, &record, err);
    if (rc < 0) return rc;
    struct sink_item *item = f->item;
    f->item = NULL;
    if (!confirmed) return ops->close(item, buf_bytes(&record), &f->e->sha256, err);
    return ops->confirm(item, buf_bytes(&record), err);
}

static int file_into(struct file *f, struct error *err) {
    struct pgphys_reading *r = f->r;
    const struct sink_ops *ops = r->sink->ops;
    uint32_t segment;
    bool same = false;
    int rc = 0;
    if (f->e->pages && r->control->checksum_version) {
        (void)pgphys_relation(BYTES_STR(f->e->name), &segment, NULL);
        f->pages = (struct pgphys_pages){.block_bytes = r->control->block_bytes,
                                         .first_block = segment * r->control->segment_blocks,
                                         .start_lsn = r->start_lsn,
                                         .position = r->position};
    }
    if (!f->item)
        rc = ops->open(r->sink, SINK_ANY_ORDER, BYTES_STR(f->e->name), f->kind, &f->item, err);
    else
        rc = compare(f, &same, err);
    if (rc == 0 && f->held && !same) {
        f->bad.count = 0;
        rc = ops->restart(f->item, err);
    }
    if (rc == 0 && !same) rc = content(f, err);
    if (rc == 0 && f->pages.position) rc = pgphys_position_told(f->pages.position, err);
    return rc == 0 ? file_end(f, same, err) : rc;
}

static int file_read(struct file *f, struct error *err) {
    struct pgphys_entry *e = f->e;
    f->fd = seam_openat(f->r->dirfd, e->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    int rc = 0;
    if (f->fd >= 0) {
        rc = file_into(f, err);
    } else if (errno == ENOENT) {
        e->lost = true;
        atomic_fetch_add(&f->r->vanished, 1);
    } else {
        rc = error_set_errno(err, ERR_IO_READ, "open %s", e->name);
    }
    if (f->item) f->r->sink->ops->drop(f->item);
    f->item = NULL;
    io_close(&f->fd);
    return rc;
}

static bool failed(struct pgphys_reading *r) {
    pthread_mutex_lock(&r->lock);
    bool is = r->failed;
    pthread_mutex_unlock(&r->lock);
    return is || r->in_vain;
}

static void fail(struct pgphys_reading *r, const struct error *err) {
    pthread_mutex_lock(&r->lock);
    if (!r->failed) r->err = *err;
    r->failed = true;
    pthread_mutex_unlock(&r->lock);
}

static void *reader_run(void *arg) {
    struct pgphys_reading *r = arg;
    void *p;
    while (queue_pop(r->queue, &p)) {
        struct file *f = p;
        struct error err = ERROR_INIT;
        if (failed(r)) {
            if (f->item) r->sink->ops->drop(f->item);
        } else if (file_read(f, &err) < 0) {
            fail(r, &err);
        }
        atomic_fetch_add(&r->items, 1);
        seam_free(f);
    }
    return NULL;
}

static bool unchanged(const struct pgphys_entry *e, const struct item_known *k, uint32_t *ret_crc32c) {
    struct pgphys_attr a = {0};
    struct error ignored = ERROR_INIT;
    return k->bytes == e->bytes && e->bytes > 0 && k->kind == pgphys_kind_of(e) &&
           pgphys_attr_decode(k->attr, &a, &ignored) == 0 && a.mtime_ns == e->mtime_ns &&
           (k->kind != ITEM_PARTS || a.has_crc) && (*ret_crc32c = a.crc32c, true);
}

/* In the thread that asks what is known, in name order. */
static int submit(struct pgphys_reading *r, struct pgphys_entry *e, struct error *err) {
    struct item_known k;
    struct file *f;
    int rc = mem_alloc(sizeof *f, (void **)&f, err);
    if (rc < 0) return rc;
    *f = (struct file){.r = r, .e = e, .fd = -1, .kind = pgphys_kind_of(e)};
    if (r->sink->ops->known(r->sink, BYTES_STR(e->name), &k) && r->sink->ops->hold &&
        unchanged(e, &k, &f->held_crc32c)) {
        f->held = true;
        f->held_sha256 = k.sha256;
        rc = r->sink->ops->hold(r->sink, SINK_ANY_ORDER, BYTES_STR(e->name), &f->item, err);
    }
    if (rc < 0) {
        seam_free(f);
        return rc;
    }
    queue_push(r->queue, f);
    return 0;
}

static int folder_or_link(struct pgphys_reading *r, const struct pgphys_entry *e, struct error *err) {
    CLEANUP(buf_free) struct buf record = BUF_INIT(PATH_MAX + 64);
    struct sink_item *item;
    int rc = pgphys_attr_of(e, &record, err);
    if (rc == 0) rc = r->sink->ops->open(r->sink, SINK_ANY_ORDER, BYTES_STR(e->name), ITEM_NONE, &item, err);
    atomic_fetch_add(&r->items, 1);
    return rc == 0 ? r->sink->ops->close(item, buf_bytes(&record), NULL, err) : rc;
}

int pgphys_read_all(struct pgphys_reading *r, struct error *err) {
    pthread_t threads[PGPHYS_JOBS_MAX];
    unsigned jobs = r->ctx->jobs ? r->ctx->jobs : 1, n = 0;
    if (jobs > PGPHYS_JOBS_MAX) jobs = PGPHYS_JOBS_MAX;
    pthread_mutex_init(&r->lock, NULL);
    meter_init(&r->meter, r->ctx->bandwidth);
    int rc = queue_new(QUEUE_FILES, &r->queue, err);
    while (rc == 0 && n < jobs) {
        rc = thread_start(&threads[n], reader_run, r, err);
        if (rc == 0) n++;
    }
    for (size_t i = 0; rc == 0 && i < r->list->n && !failed(r); i++) {
        struct pgphys_entry *e = &r->list->entries[i];
        rc = e->type == PGPHYS_FILE ? submit(r, e, err) : folder_or_link(r, e, err);
    }
    if (rc < 0) fail(r, err);
    if (r->queue) queue_close(r->queue);
    while (n > 0) pthread_join(threads[--n], NULL);
    queue_free(r->queue);
    if (rc == 0 && r->failed) {
        *err = r->err;
        rc = -(int)r->err.code;
    }
    if (rc == 0 && r->in_vain) rc = error_set(err, ERR_INTERRUPTED, "the files were not all read");
    pthread_mutex_destroy(&r->lock);
    meter_free(&r->meter);
    return rc;
}
