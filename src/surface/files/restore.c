#include "surface/files/files_internal.h"
#include "surface/files/restore_internal.h"
#include "surface/files/target.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define QUEUE_TASKS 64 /* batches */
#define PROGRESS_NS (NS_PER_S / 10)

void restore_fail(struct restore *r, const struct error *err) {
    pthread_mutex_lock(&r->fail_lock);
    if (!atomic_load(&r->failed)) {
        r->err = *err;
        atomic_store(&r->failed, true);
    }
    pthread_mutex_unlock(&r->fail_lock);
}

void restore_note(struct restore *r, enum note_kind kind, struct bytes name, const char *text) {
    const struct surface_events *e = &r->ctx->events;
    if (e->note) e->note(e->ctx, kind, name, text);
}

void restore_progress(struct restore *r) {
    const struct surface_events *e = &r->ctx->events;
    if (!e->progress) return;
    int64_t now = time_monotonic_ns(), last = atomic_load_explicit(&r->progress_ns, memory_order_relaxed);
    if (now - last < PROGRESS_NS || !atomic_compare_exchange_strong(&r->progress_ns, &last, now)) return;
    e->progress(e->ctx, "restoring", atomic_load(&r->bytes), r->bytes_total, atomic_load(&r->items));
}

const char *restore_temp(struct restore *r, const char *comp, char out[TEMP_BYTES]) {
    if (!r->in_place) return comp;
    snprintf(out, TEMP_BYTES, ".proofkeep-%s-%llu", r->temp_tag,
             (unsigned long long)atomic_fetch_add(&r->temp_count, 1));
    return out;
}

int restore_settle(struct restore *r, int dir, const char *temp, const char *comp, struct bytes name,
                   struct error *err) {
    char text[NAME_TEXT_BYTES];
    if (!r->in_place || seam_renameat2(dir, temp, dir, comp, 0) == 0) return 0;
    if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST)
        return error_set(err, ERR_IO_EXISTS, "a folder stands where '%s' belongs", name_text(name, text));
    return error_set_errno(err, ERR_IO_WRITE, "rename '%s' into place", name_text(name, text));
}

static void rdir_free(struct dir *d) {
    seam_free(d);
}

/* ---- the passes ---- */

static int workers_start(struct restore *r, struct error *err) {
    unsigned n = surface_writers(r->ctx->jobs);
    if (n > WORKERS_MAX) n = WORKERS_MAX;
    int rc = queue_new(QUEUE_TASKS, &r->queue, err);
    while (rc == 0 && r->n_workers < n) {
        rc = thread_start(&r->workers[r->n_workers], restore_work, r, err);
        if (rc == 0) r->n_workers++;
    }
    return rc;
}

static void workers_end(struct restore *r) {
    if (r->queue) queue_close(r->queue);
    while (r->n_workers > 0) pthread_join(r->workers[--r->n_workers], NULL);
}

/* Links and folders, while the last contents go to the disk. */
static int restore_finish(struct restore *r, struct error *err) {
    int rc = stand_ins_fill(r, err);
    if (rc) return rc;
    flush_ask(&r->flush);
    return restore_pass(r, PASS_FINISH, err);
}

static int restore_make(struct restore *r, struct error *err) {
    flush_start(&r->flush, r->base->dir.fd);
    int rc = workers_start(r, err);
    if (rc == 0) rc = restore_pass(r, PASS_MAKE, err);
    if (rc) restore_fail(r, err);
    workers_end(r);
    if (atomic_load(&r->failed)) {
        *err = r->err;
        rc = -(int)err->code;
    }
    if (rc == 0) rc = restore_finish(r, err);
    errno = flush_end(&r->flush, rc == 0);
    return rc == 0 && errno ? error_set_errno(err, ERR_IO_SYNC, "make the restored contents durable") : rc;
}

static int restore_begin(struct restore *r, const struct surface_context *ctx, struct source *src,
                         const struct restore_request *req, struct error *err) {
    *r = (struct restore){.ctx = ctx, .src = src, .in_place = req->in_place, .root = geteuid() == 0};
    r->behind = ctx->jobs > 1 ? 2 : 0;
    r->owners_wanted = r->root && !req->no_owner;
    r->path = BUF_INIT(SIZE_MAX);
    r->last = BUF_INIT(SIZE_MAX);
    pthread_mutex_init(&r->fail_lock, NULL);
    owners_init(&r->owners);
    dirs_init(&r->dirs, false, rdir_free);
    void *p;
    int rc = mem_alloc(STAND_INS * sizeof *r->stand_ins, &p, err);
    if (rc == 0) r->stand_ins = p;
    if (rc == 0) rc = filter_init(&r->filter, req->include, req->facts, err);
    if (rc == 0) rc = mem_alloc(sizeof(struct rdir) + 1, &p, err);
    if (rc) return rc;
    r->base = p;
    dir_init(&r->base->dir, NULL, r->base->comp);
    uint8_t tag[8];
    rc = random_bytes(tag, sizeof tag, err);
    hex_encode(tag, sizeof tag, r->temp_tag);
    return rc;
}

static void restore_end(struct restore *r) {
    restore_pass_end(r);
    if (r->base) dir_unref(&r->dirs, &r->base->dir);
    for (size_t i = 0; i < r->n_made; i++) seam_free(r->made[i]);
    seam_free(r->made);
    seam_free(r->levels);
    buf_free(&r->path);
    buf_free(&r->last);
    stand_ins_free(r);
    filter_free(&r->filter);
    restore_queue_end(r);
    owners_end(&r->owners);
    dirs_end(&r->dirs);
    pthread_mutex_destroy(&r->fail_lock);
}

/* ---- in place ---- */

static int run_in_place(struct restore *r, const struct target *t, struct error *err) {
    if (dir_open_base(&r->dirs, &r->base->dir, t->path) < 0)
        return error_set_errno(err, ERR_IO_NOT_FOUND, "open the live folder '%s'", t->path);
    int rc = restore_make(r, err);
    if (rc == 0 && seam_syncfs(r->base->dir.fd) < 0) rc = error_set_errno(err, ERR_IO_SYNC, "sync '%s'", t->path);
    if (rc) error_state(err, "each selected file is either as it was or wholly restored; running it again is safe");
    return rc;
}

/* ---- beside ---- */

struct staging {
    int parent;
    char name[256];
    char kept[256]; /* what the live folder is called after a swap; empty without one */
};

static int stage_make(struct restore *r, const struct target *t, struct staging *s, struct error *err) {
    int rc = io_mkdirs(t->parent, 0755, err);
    if (rc) return rc;
    s->parent = seam_openat(AT_FDCWD, t->parent, O_RDONLY | O_DIRECTORY, 0);
    if (s->parent < 0) {
        error_set_errno(err, ERR_IO_WRITE, "open the folder '%s'", t->parent);
        return io_whose(t->parent, "list", err);
    }
    snprintf(s->name, sizeof s->name, "%.200s.proofkeep-partial-%s", t->name, r->temp_tag);
    if (seam_mkdirat(s->parent, s->name, 0700) < 0) {
        error_set_errno(err, ERR_IO_WRITE, "make the folder '%s' in '%s'", s->name, t->parent);
        s->name[0] = 0;
        return io_whose(t->parent, "write into", err);
    }
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    r->base->dir.fd = seam_openat2(s->parent, s->name, &how);
    if (r->base->dir.fd < 0)
        return error_set_errno(err, ERR_IO_WRITE, "open the folder '%s' in '%s'", s->name, t->parent);
    /* Held while it is filled, so that what a killed restore left can be told from what a living one makes. */
    if (io_lock(r->base->dir.fd) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "lock the folder '%s' in '%s'", s->name, t->parent);
    r->base->dir.pinned = true;
    atomic_fetch_add(&r->dirs.open, 1);
    /* What the parent would hand down must not get into the restored tree. */
    restore_acl_clear(r->base->dir.fd, true);
    if (seam_fchmod(r->base->dir.fd, 0700) < 0) return error_set_errno(err, ERR_IO_WRITE, "make '%s' private", s->name);
    return 0;
}

static int swap_in(const struct target *t, struct staging *s, struct error *err) {
    char stamp[24];
    time_format_compact(time_now_ns(), stamp);
    if (seam_renameat2(s->parent, s->name, s->parent, t->name, RENAME_EXCHANGE) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "exchange '%s' with the restored folder", t->path);
    /* The private name now holds the old live folder, which nobody may clean away. */
    char old[256];
    memcpy(old, s->name, sizeof old);
    s->name[0] = 0;
    snprintf(s->kept, sizeof s->kept, "%.200s.replaced-%s", t->name, stamp);
    if (seam_renameat2(s->parent, old, s->parent, s->kept, RENAME_NOREPLACE) < 0) memcpy(s->kept, old, sizeof old);
    return 0;
}

static int stage_commit(struct restore *r, const struct target *t, bool exists, struct staging *s, struct error *err) {
    if (seam_syncfs(r->base->dir.fd) < 0) return error_set_errno(err, ERR_IO_SYNC, "make the restored tree durable");
    if (t->mode == TARGET_SWAP && exists) {
        int rc = swap_in(t, s, err);
        if (rc) return rc;
    } else {
        if (exists && seam_unlinkat(s->parent, t->name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
            if (errno == ENOTEMPTY || errno == EEXIST)
                return error_set(err, ERR_TARGET_NOT_EMPTY, "'%s' is no longer empty", t->path);
            return error_set_errno(err, ERR_IO_WRITE, "remove the empty folder '%s'", t->path);
        }
        if (seam_renameat2(s->parent, s->name, s->parent, t->name, RENAME_NOREPLACE) < 0) {
            if (errno == EEXIST) return error_set(err, ERR_TARGET_NOT_EMPTY, "something has appeared at '%s'", t->path);
            return error_set_errno(err, ERR_IO_WRITE, "rename the restored folder to '%s'", t->path);
        }
        s->name[0] = 0;
    }
    if (seam_fsync(s->parent) < 0) {
        int rc = error_set_errno(err, ERR_IO_SYNC, "make the name '%s' durable", t->path);
        error_state(err, "the restored tree stands under its name, but may lose it in a power failure");
        return rc;
    }
    return 0;
}

static int run_staged(struct restore *r, const struct target *t, struct staging *s, struct error *err) {
    bool exists, empty;
    int rc = target_look(t, &exists, &empty, err);
    if (rc == 0 && exists && !empty && t->mode == TARGET_NEW)
        rc = error_set(err, ERR_TARGET_NOT_EMPTY, "the target '%s' is not empty", t->path);
    if (rc == 0) rc = stage_make(r, t, s, err);
    if (rc == 0) rc = restore_make(r, err);
    if (rc == 0) rc = stage_commit(r, t, exists, s, err);
    if (rc) error_state(err, "nothing was put under the name '%s'", t->path);
    if (rc && s->name[0]) {
        struct error ignored = ERROR_INIT;
        if (io_remove_tree(s->parent, s->name, &ignored))
            error_next(err, "Remove what is left of it: '%s/%s'.", t->parent, s->name);
    }
    return rc;
}

static int result_fill(struct restore *r, const struct target *t, const struct staging *s, struct restore_result *ret,
                       struct error *err) {
    json_t *f = json_object();
    int rc = json_put(f, "target", json_name(BYTES_STR(t->path)), err);
    if (rc == 0) rc = json_put(f, "owners_restored", json_boolean(r->owners_wanted), err);
    if (rc == 0) rc = json_put_int(f, "items", (int64_t)atomic_load(&r->items), err);
    if (rc == 0) rc = json_put_int(f, "bytes", (int64_t)atomic_load(&r->bytes), err);
    if (rc == 0) rc = json_put_int(f, "skipped", (int64_t)atomic_load(&r->skipped), err);
    if (rc == 0 && s->kept[0]) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
        rc = buf_printf(&b, err, "%s/%s", t->parent[1] ? t->parent : "", s->kept);
        if (rc == 0) rc = json_put(f, "kept", json_name(buf_bytes(&b)), err);
    }
    if (rc) {
        json_decref(f);
        return rc;
    }
    *ret = (struct restore_result){.facts = f,
                                   .items = atomic_load(&r->items),
                                   .bytes = atomic_load(&r->bytes),
                                   .skipped = atomic_load(&r->skipped)};
    return 0;
}

int files_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *req,
                  struct restore_result *ret, struct error *err) {
    struct target t = {0};
    struct restore r = {0};
    struct staging s = {.parent = -1};
    int rc = target_decide(ctx, req, &t, err);
    if (rc) return rc;
    rc = restore_begin(&r, ctx, src, req, err);
    if (rc == 0) rc = restore_pass(&r, PASS_CHECK, err);
    if (rc == 0) rc = filter_check_hits(&r.filter, err);
    if (rc) error_state(err, "nothing was written");
    if (rc == 0) rc = t.mode == TARGET_IN_PLACE ? run_in_place(&r, &t, err) : run_staged(&r, &t, &s, err);
    if (rc == 0 && (rc = result_fill(&r, &t, &s, ret, err))) error_state(err, "the restore is complete");
    io_close(&s.parent);
    restore_end(&r);
    target_free(&t);
    return rc;
}
