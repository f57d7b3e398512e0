#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include <stdio.h>

#define ITEM_NAME_MAX 4096
#define LIST_BYTES_MAX (64u << 20)

/* ---- reading what there is ---- */
struct walk {
    const struct pg_settings *s;
    struct source *src;
    struct pg_folder *f;
    size_t cap;
    struct buf raw;
    size_t prefix;
    int32_t *dump_ids; /* of f->items, until the table of contents is known */
    size_t id_cap;
};

static int read_contents(struct walk *w, const struct source_head *h, struct error *err) {
    struct source_item *it;
    struct bytes piece;
    int r = w->src->ops->open(w->src, h, &it, err);
    if (r < 0) return r;
    while ((r = w->src->ops->next(it, &piece, err)) == 0 && piece.len > 0) {
        r = piece.ptr ? buf_append(&w->raw, piece.ptr, piece.len, err)
                      : error_set(err, ERR_PG_ARCHIVE, "the table of contents has a hole");
        if (r < 0) break;
    }
    w->src->ops->close(it);
    return r;
}

static int add_item(struct walk *w, const struct source_head *h, int32_t dump_id, struct error *err) {
    struct pg_folder *f = w->f;
    int r = mem_grow((void **)&f->items, &w->cap, f->item_count + 1, sizeof *f->items, err);
    if (r == 0) r = mem_grow((void **)&w->dump_ids, &w->id_cap, f->item_count + 1, sizeof *w->dump_ids, err);
    if (r < 0) return r;
    struct pg_data_item *it = &f->items[f->item_count];
    *it = (struct pg_data_item){.head = *h};
    it->head.attr = (struct bytes){0};
    r = mem_alloc(h->name.len + 1, (void **)&it->name, err);
    if (r < 0) return r;
    memcpy(it->name, h->name.ptr, h->name.len);
    it->head.name = BYTES_OF(it->name, h->name.len);
    w->dump_ids[f->item_count++] = dump_id;
    return 0;
}

static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct walk *w = ctx;
    struct bytes rest = BYTES_OF(h->name.ptr + w->prefix, h->name.len - w->prefix);
    if (bytes_equal(rest, BYTES_STR("contents"))) return read_contents(w, h, err);
    if (bytes_equal(rest, BYTES_STR("archive"))) return add_item(w, h, 0, err);
    json_t *attr;
    int64_t id = 0;
    int r = json_parse(h->attr, JSON_MAX_BYTES, "an item's attributes", &attr, err);
    if (r < 0) return r;
    r = json_need_int(attr, "dump_id", "an item's attributes", &id, err);
    json_decref(attr);
    return r < 0 ? r : add_item(w, h, (int32_t)id, err);
}

static bool is_taken(const struct pg_folder *f, const struct pg_entry *e) {
    return f->all || f->take[e - f->toc->entries];
}

/* Every entry with data has exactly one item: a snapshot with less is not what was captured. */
static int match_items(struct walk *w, struct error *err) {
    struct pg_folder *f = w->f;
    uint8_t *seen;
    size_t want = 0;
    int r = mem_alloc(f->toc->entry_count + 1, (void **)&seen, err);
    if (r < 0) return r;
    for (size_t i = 0; i < f->toc->entry_count; i++) want += f->toc->entries[i].has_data;
    for (size_t i = 0; r == 0 && i < f->item_count; i++) {
        const struct pg_entry *e = pg_toc_find(f->toc, w->dump_ids[i]);
        if (!e || !e->has_data || seen[e - f->toc->entries]++)
            r = error_set(err, ERR_RESTORE_DIFFERS, "%s does not belong to this dump", f->items[i].name);
        f->items[i].entry = e;
        want--;
    }
    if (r == 0 && want) r = error_set(err, ERR_RESTORE_DIFFERS, "the data of %zu tables is not in the snapshot", want);
    seam_free(seen);
    return r;
}

int pg_folder_open(const struct pg_settings *s, struct source *src, const char *database, const char *const *include,
                   struct pg_folder *ret, struct error *err) {
    CLEANUP(buf_free) struct buf prefix = BUF_INIT(ITEM_NAME_MAX);
    struct pg_folder f = {0};
    struct walk w = {.s = s, .src = src, .f = &f, .raw = BUF_INIT(PG_TOC_BYTES_MAX + 64)};
    int r = pg_item_name(&prefix, BYTES_STR(database), "", err);
    w.prefix = prefix.len;
    if (r == 0) r = src->ops->walk(src, buf_bytes(&prefix), on_item, &w, err);
    f.all = pg_selects_all(include, database);
    if (r == 0 && w.raw.len) {
        r = pg_toc_parse(buf_bytes(&w.raw), &f.toc, err);
        if (r == 0) r = match_items(&w, err);
        if (r == 0 && !f.all) r = pg_select(&f, database, include, err);
    } else if (r == 0 && f.item_count != 1) {
        r = error_set(err, ERR_NO_POINT, "the snapshot has no database %s", database);
    } else if (r == 0 && !f.all) {
        r = error_set(err, ERR_NO_POINT, "database %s is kept as one whole archive; tables cannot be chosen from it",
                      database);
    }
    buf_free(&w.raw);
    seam_free(w.dump_ids);
    if (r < 0)
        pg_folder_free(&f);
    else
        *ret = f;
    return r;
}

void pg_folder_free(struct pg_folder *f) {
    for (size_t i = 0; i < f->item_count; i++) seam_free(f->items[i].name);
    seam_free(f->items);
    seam_free(f->take);
    seam_free(f->hit);
    pg_toc_free(f->toc);
    *f = (struct pg_folder){0};
}

/* ---- writing ---- */
struct writing {
    const struct pg_settings *s;
    struct source *src;
    struct pg_folder *f;
    int dirfd;
    bool durable;
    pthread_mutex_t lock;
    bool failed;
    struct error err;
};
struct task {
    struct writing *w;
    const struct pg_data_item *item;
};

int pg_open_dir(const char *path, struct error *err) {
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return fd >= 0 ? fd : error_set_errno(err, ERR_IO_READ, "open %s", path);
}

static int create(struct writing *w, const char *name, int *ret_fd, struct error *err) {
    int fd = seam_openat(w->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "create %s", name);
    if (w->s->become && seam_fchownat(fd, "", w->s->uid, w->s->gid, AT_EMPTY_PATH) < 0) {
        int r = error_set_errno(err, ERR_IO_WRITE, "give %s to %s", name, w->s->run_as);
        io_close(&fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static int finish(struct writing *w, int *fd, const char *name, struct error *err) {
    int r = w->durable && seam_fdatasync(*fd) < 0 ? error_set_errno(err, ERR_IO_SYNC, "make %s durable", name) : 0;
    int closed = seam_close(*fd);
    *fd = -1;
    return r == 0 && closed < 0 ? error_set_errno(err, ERR_IO_WRITE, "close %s", name) : r;
}

static int write_whole(struct writing *w, const char *name, struct bytes content, struct error *err) {
    int fd = -1, r = create(w, name, &fd, err);
    if (r == 0) r = io_write_full(fd, content.ptr, content.len, name, err);
    if (r == 0) r = finish(w, &fd, name, err);
    io_close(&fd);
    return r;
}

static int counted(struct writing *w, uint64_t bytes, uint64_t items, struct error *err) {
    pthread_mutex_lock(&w->lock);
    w->f->bytes += bytes;
    w->f->items_written += items;
    uint64_t done = w->f->bytes, n = w->f->items_written;
    bool failed = w->failed;
    pthread_mutex_unlock(&w->lock);
    const struct surface_events *e = &w->s->ctx->events;
    if (e->progress && items) e->progress(e->ctx, "fetch", done, 0, n);
    if (failed) return error_set(err, ERR_INTERRUPTED, "another file failed first");
    return stop_check(err);
}

static int write_rows(struct writing *w, struct source_item *it, const char *name, struct error *err) {
    struct bytes piece = {0};
    int fd = -1, r = create(w, name, &fd, err);
    while (r == 0) {
        r = w->src->ops->next(it, &piece, err);
        if (r < 0 || piece.len == 0) break;
        r = piece.ptr ? io_write_full(fd, piece.ptr, piece.len, name, err)
                      : error_set(err, ERR_PG_ARCHIVE, "the data for %s has a hole", name);
        if (r == 0) r = counted(w, piece.len, 0, err);
    }
    if (r == 0) r = finish(w, &fd, name, err);
    io_close(&fd);
    return r;
}

/* ---- large objects ---- */
struct objects {
    struct writing *w;
    struct source_item *it;
    struct bytes left;
    struct buf list;
};

/* Up to n bytes of the stream; fewer only where a piece of the source ends, none only at its end. */
static int some(struct objects *o, size_t n, struct bytes *ret, struct error *err) {
    if (o->left.len == 0) {
        int r = o->w->src->ops->next(o->it, &o->left, err);
        if (r < 0) return r;
        if (o->left.len && !o->left.ptr) return error_set(err, ERR_PG_ARCHIVE, "the large objects have a hole");
    }
    *ret = (struct bytes){0};
    if (o->left.len == 0) return 0;
    if (n > o->left.len) n = o->left.len;
    *ret = BYTES_OF(o->left.ptr, n);
    o->left.ptr += n;
    o->left.len -= n;
    return 0;
}

static int number(struct objects *o, uint32_t *ret, struct error *err) {
    uint8_t b[4];
    for (size_t have = 0; have < 4;) {
        struct bytes p = {0};
        int r = some(o, 4 - have, &p, err);
        if (r < 0) return r;
        if (p.len == 0) return error_set(err, ERR_PG_ARCHIVE, "the large objects end too early");
        memcpy(b + have, p.ptr, p.len);
        have += p.len;
    }
    *ret = get_u32(b);
    return 0;
}

static int write_object(struct objects *o, uint32_t oid, struct error *err) {
    char name[32];
    int fd = -1;
    snprintf(name, sizeof name, "blob_%u.dat", oid);
    int r = create(o->w, name, &fd, err);
    while (r == 0) {
        uint32_t len;
        r = number(o, &len, err);
        if (r < 0 || len == 0) break;
        while (r == 0 && len > 0) {
            struct bytes p = {0};
            r = some(o, len, &p, err);
            if (r == 0 && p.len == 0) r = error_set(err, ERR_PG_ARCHIVE, "the large objects end too early");
            if (r == 0) r = io_write_full(fd, p.ptr, p.len, name, err);
            if (r == 0) r = counted(o->w, p.len, 0, err);
            len -= (uint32_t)p.len;
        }
    }
    if (r == 0) r = finish(o->w, &fd, name, err);
    io_close(&fd);
    return r == 0 ? buf_printf(&o->list, err, "%u %s\n", oid, name) : r;
}

static int write_objects(struct writing *w, struct source_item *it, const char *name, struct error *err) {
    struct objects o = {.w = w, .it = it, .list = BUF_INIT(2u << 30)};
    struct bytes rest = {0};
    int r = 0;
    while (r == 0) {
        uint32_t oid = 0;
        r = number(&o, &oid, err);
        if (r < 0 || oid == 0) break;
        r = write_object(&o, oid, err);
    }
    if (r == 0) r = some(&o, 1, &rest, err);
    if (r == 0 && rest.len) r = error_set(err, ERR_PG_ARCHIVE, "bytes follow the large objects");
    if (r == 0) r = write_whole(w, name, buf_bytes(&o.list), err);
    buf_free(&o.list);
    return r;
}

static void run_task(void *arg) {
    struct task *t = arg;
    struct writing *w = t->w;
    struct error err = ERROR_INIT;
    struct source_item *it = NULL;
    char name[32] = "archive.dump";
    bool objects = t->item->entry && pg_entry_is_large_objects(w->f->toc, t->item->entry);
    if (t->item->entry) pg_toc_file_name(w->f->toc, t->item->entry, name);
    int r = counted(w, 0, 0, &err);
    if (r == 0) r = w->src->ops->open(w->src, &t->item->head, &it, &err);
    if (r == 0) r = objects ? write_objects(w, it, name, &err) : write_rows(w, it, name, &err);
    if (it) w->src->ops->close(it);
    if (r == 0) r = counted(w, 0, 1, &err);
    if (r == 0) return;
    error_wrap(&err, "%s", t->item->name);
    pthread_mutex_lock(&w->lock);
    if (!w->failed) w->err = err;
    w->failed = true;
    pthread_mutex_unlock(&w->lock);
}

static int write_list(struct writing *w, struct error *err) {
    const struct pg_toc *t = w->f->toc;
    CLEANUP(buf_free) struct buf list = BUF_INIT(LIST_BYTES_MAX);
    int r = 0;
    for (size_t i = 0; r == 0 && i < t->entry_count; i++)
        if (is_taken(w->f, &t->entries[i])) r = buf_printf(&list, err, "%d;\n", t->entries[i].dump_id);
    return r == 0 ? write_whole(w, "list.txt", buf_bytes(&list), err) : r;
}

static int write_contents(struct writing *w, struct error *err) {
    CLEANUP(buf_free) struct buf out = BUF_INIT(2 * PG_TOC_BYTES_MAX);
    size_t lists = 0;
    for (size_t i = 0; i < w->f->toc->entry_count; i++)
        lists += pg_entry_is_large_objects(w->f->toc, &w->f->toc->entries[i]);
    if (w->f->toc->minor < 16 && lists > 1)
        return error_set(err, ERR_PG_ARCHIVE, "the dump has %zu lists of large objects, its version may have one",
                         lists);
    int r = pg_toc_directory(w->f->toc, &out, err);
    if (r == 0) r = write_whole(w, "toc.dat", buf_bytes(&out), err);
    return r == 0 && !w->f->all ? write_list(w, err) : r;
}

int pg_folder_write(const struct pg_settings *s, struct source *src, struct pg_folder *f, int dirfd, bool durable,
                    struct error *err) {
    struct writing w = {
        .s = s, .src = src, .f = f, .dirfd = dirfd, .durable = durable, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct pool *pool = NULL;
    struct task *tasks = NULL;
    int r = f->toc ? write_contents(&w, err) : 0;
    if (r == 0) r = mem_alloc((f->item_count + 1) * sizeof *tasks, (void **)&tasks, err);
    if (r == 0) r = pool_new(s->ctx->jobs ? s->ctx->jobs : 1, 16, &pool, err);
    for (size_t i = 0; r == 0 && i < f->item_count; i++) {
        if (f->items[i].entry && !is_taken(f, f->items[i].entry)) continue;
        tasks[i] = (struct task){&w, &f->items[i]};
        pool_submit(pool, run_task, &tasks[i]);
    }
    pool_free(pool);
    seam_free(tasks);
    if (r == 0 && w.failed) {
        *err = w.err;
        r = -(int)w.err.code;
    }
    if (r == 0 && durable && seam_fsync(dirfd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make the folder durable");
    pthread_mutex_destroy(&w.lock);
    return r;
}
