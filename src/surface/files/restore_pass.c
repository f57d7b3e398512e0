#include "surface/files/restore_internal.h"
#include <errno.h>

#define COMPONENT_BYTES_MAX 255
#define CHUNK_BYTES 3072 /* of a path, given to the system at once */

/* ---- checks ---- */

static int refuse(struct bytes name, const char *why, struct error *err) {
    char text[NAME_TEXT_BYTES];
    int rc = error_set(err, ERR_IO_ESCAPE, "the snapshot has an item '%s' that %s", name_text(name, text), why);
    return rc;
}

static int name_check(struct bytes name, struct error *err) {
    if (name.len == 0) return refuse(name, "has no name", err);
    if (memchr(name.ptr, 0, name.len)) return refuse(name, "has a zero byte in its name", err);
    for (size_t at = 0; at <= name.len;) {
        const uint8_t *p = name.ptr + at, *slash = memchr(p, '/', name.len - at);
        size_t len = slash ? (size_t)(slash - p) : name.len - at;
        if (len == 0) return refuse(name, "has an empty part, or a '/' at an end", err);
        if (len > COMPONENT_BYTES_MAX) return refuse(name, "has a part of more than 255 bytes", err);
        if (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.'))) return refuse(name, "has a '.' or '..' in it", err);
        at += len + 1;
    }
    return 0;
}

static int order_check(struct restore *r, struct bytes name, struct error *err) {
    if (r->last.len > 0 && name_compare(buf_bytes(&r->last), name) >= 0)
        return refuse(name, "does not come after the one before it", err);
    buf_clear(&r->last);
    return buf_append(&r->last, name.ptr, name.len, err);
}

static int content_check(const struct source_head *h, const struct attr *a, struct error *err) {
    bool file = a->type == FILE_REGULAR;
    if (file ? h->kind != ITEM_FILE || h->bytes != a->size || h->bytes > INT64_MAX : h->kind != ITEM_NONE || h->bytes) {
        char text[NAME_TEXT_BYTES];
        return error_set(err, ERR_OBJECT_CORRUPT, "the record of '%s' and its content do not go together",
                         name_text(h->name, text));
    }
    if (a->type != FILE_HARDLINK) return 0;
    int rc = name_check(a->target, err);
    if (rc) return rc;
    if (name_compare(a->target, h->name) >= 0) return refuse(h->name, "is a link to one that comes later", err);
    return 0;
}

/* ---- levels ---- */

static void level_drop(struct restore *r) {
    struct level *l = &r->levels[--r->n_levels];
    if (l->d) {
        if (l->d != r->base) dir_unpin(&r->dirs, &l->d->dir);
        dir_unref(&r->dirs, &l->d->dir);
    }
    buf_free(&l->attr);
    r->path.len = r->n_levels ? r->levels[r->n_levels - 1].name_len : 0;
}

static int level_push(struct restore *r, struct bytes name, bool item, bool selected, struct bytes attr,
                      struct error *err) {
    void *levels = r->levels;
    int rc = mem_grow(&levels, &r->levels_cap, r->n_levels + 1, sizeof *r->levels, err);
    r->levels = levels;
    if (rc) return rc;
    struct level *l = &r->levels[r->n_levels];
    *l = (struct level){.name_len = name.len, .item = item, .selected = selected, .attr = BUF_INIT(ATTR_BYTES_MAX)};
    if (item && r->pass == PASS_FINISH) rc = buf_append(&l->attr, attr.ptr, attr.len, err);
    if (rc == 0) {
        buf_clear(&r->path);
        rc = buf_append(&r->path, name.ptr, name.len, err);
    }
    if (rc) {
        buf_free(&l->attr);
        return rc;
    }
    r->n_levels++;
    return 0;
}

int restore_open_failed(struct restore *r, struct bytes name, struct error *err) {
    char text[NAME_TEXT_BYTES];
    name_text(name, text);
    if (errno == ELOOP || errno == EXDEV)
        return error_set(err, ERR_IO_ESCAPE, "'%s' is a link in the target, where the snapshot has a folder", text);
    if (errno == ESTALE) return error_set(err, ERR_IO_ESCAPE, "the folder '%s' was exchanged during the restore", text);
    if (errno == ENOTDIR)
        return error_set(err, r->in_place ? ERR_IO_EXISTS : ERR_IO_ESCAPE,
                         "'%s' in the target is no folder, and the snapshot has one there", text);
    return error_set_errno(err, ERR_IO_WRITE, "open the folder '%s' of the target", text);
}

static int made_note(struct restore *r, struct bytes name, struct error *err) {
    void *made = r->made, *copy;
    int rc = mem_grow(&made, &r->made_cap, r->n_made + 1, sizeof *r->made, err);
    r->made = made;
    if (rc == 0) rc = mem_alloc(name.len + 1, &copy, err);
    if (rc) return rc;
    memcpy(copy, name.ptr, name.len);
    r->made[r->n_made++] = copy;
    return 0;
}

static bool was_made(const struct restore *r, struct bytes name) {
    size_t low = 0, high = r->n_made;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = name_compare(BYTES_STR(r->made[mid]), name);
        if (c == 0) return true;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

/* Makes the folder of a level, in the make pass. */
static int level_mkdir(struct restore *r, struct rdir *up, struct rdir *d, struct bytes name, struct error *err) {
    char text[NAME_TEXT_BYTES];
    int dir = dir_get(&r->dirs, &up->dir), rc = 0;
    if (dir < 0) return restore_open_failed(r, name, err);
    if (seam_mkdirat(dir, d->comp, 0700) == 0) {
        if (r->in_place) rc = made_note(r, name, err);
    } else if (errno != EEXIST) {
        rc = error_set_errno(err, ERR_IO_WRITE, "make the folder '%s'", name_text(name, text));
    } else if (!r->in_place) {
        rc =
            error_set(err, ERR_IO_ESCAPE, "'%s' appeared in the private folder of this restore", name_text(name, text));
    }
    dir_put(&r->dirs, &up->dir);
    return rc;
}

static int level_open(struct restore *r, size_t i, struct error *err) {
    struct level *l = &r->levels[i];
    struct bytes name = BYTES_OF(r->path.ptr, l->name_len);
    struct rdir *up = i ? r->levels[i - 1].d : NULL;
    if (i == 0 || (i == 1 && r->filter.single && r->filter.roots[0].len == l->name_len)) {
        l->d = r->base;
        dir_ref(&r->base->dir);
        return 0;
    }
    size_t above = r->levels[i - 1].name_len, skip = above ? above + 1 : 0;
    void *p;
    int rc = mem_alloc(sizeof(struct rdir) + name.len - skip + 1, &p, err);
    if (rc) return rc;
    struct rdir *d = p;
    memcpy(d->comp, name.ptr + skip, name.len - skip);
    dir_init(&d->dir, &up->dir, d->comp);
    if (r->pass == PASS_MAKE) rc = level_mkdir(r, up, d, name, err);
    if (rc == 0 && dir_pin(&r->dirs, &d->dir) < 0) rc = restore_open_failed(r, name, err);
    if (rc) {
        dir_unref(&r->dirs, &d->dir);
        return rc;
    }
    l->d = d;
    /* In a deep descent only every so many levels stay open. */
    if (i > DIRS_STEP + 1 && (i - DIRS_STEP) % DIRS_STEP != 0) {
        struct level *far = &r->levels[i - DIRS_STEP];
        if (far->d != r->base) dir_unpin(&r->dirs, &far->d->dir);
    }
    return 0;
}

/* Something in the last level is wanted: its folder, and those above it, have to be there. */
static int levels_use(struct restore *r, struct error *err) {
    for (size_t i = 0; i < r->n_levels; i++) {
        r->levels[i].used = true;
        if (r->levels[i].d) continue;
        int rc = level_open(r, i, err);
        if (rc) return rc;
    }
    return 0;
}

/* The last level's folder is complete. */
static int level_finish(struct restore *r, struct error *err) {
    struct level *l = &r->levels[r->n_levels - 1];
    struct bytes name = buf_bytes(&r->path);
    int rc = 0;
    bool ours = !r->in_place || l->selected || was_made(r, name);
    /* The base's first level is the root's level over again. */
    bool doubled = r->n_levels == 1 && r->filter.single && r->filter.roots[0].len > 0;
    if (r->pass == PASS_FINISH && l->used && ours && !doubled) {
        int fd = dir_get(&r->dirs, &l->d->dir);
        struct attr a;
        struct stat st;
        if (fd < 0) return restore_open_failed(r, name, err);
        if (l->item) {
            rc = attr_decode(buf_bytes(&l->attr), &a, err);
            if (rc == 0) rc = restore_attr_stat(fd, name, &st, err);
            if (rc == 0) rc = restore_attr_fd(r, fd, -1, NULL, name, &a, &st, err);
        } else if (r->n_levels > 1 || !r->in_place) {
            if (seam_fchmod(fd, 0755) < 0)
                rc = error_set_errno(err, ERR_IO_WRITE, "set the mode of a folder of the target");
        }
        dir_put(&r->dirs, &l->d->dir);
    }
    level_drop(r);
    return rc;
}

/* ---- items ---- */

/* Leaves the folders that `name` is not in, and sees that it is in the one that is left. */
static int place(struct restore *r, struct bytes name, struct error *err) {
    int rc = 0;
    while (rc == 0 && r->n_levels > 1 && !name_beneath(name, buf_bytes(&r->path))) rc = level_finish(r, err);
    if (rc) return rc;
    const uint8_t *slash = memrchr(name.ptr, '/', name.len);
    struct bytes folder = slash ? BYTES_OF(name.ptr, (size_t)(slash - name.ptr)) : (struct bytes){0};
    if (bytes_equal(folder, buf_bytes(&r->path)) &&
        (r->levels[r->n_levels - 1].item || filter_is_root(&r->filter, folder)))
        return 0;
    if (!filter_is_root(&r->filter, name)) return refuse(name, "lies in no folder of the snapshot", err);
    for (size_t i = r->path.len ? r->path.len + 1 : 0; !r->filter.single && i < folder.len; i++) {
        if (i + 1 < folder.len && name.ptr[i + 1] != '/') continue;
        rc = level_push(r, BYTES_OF(name.ptr, i + 1), false, false, (struct bytes){0}, err);
        if (rc) return rc;
    }
    return 0;
}

static int item_make(struct restore *r, const struct source_head *h, const struct attr *a, struct error *err) {
    int rc = 0;
    if (a->type != FILE_FOLDER) rc = levels_use(r, err);
    if (rc == 0 && a->type == FILE_REGULAR) rc = restore_queue(r, r->levels[r->n_levels - 1].d, h, err);
    return rc;
}

static int item_finish(struct restore *r, const struct source_head *h, const struct attr *a, struct error *err) {
    int rc = a->type == FILE_FOLDER ? 0 : levels_use(r, err);
    if (rc || a->type == FILE_FOLDER || a->type == FILE_REGULAR) return rc;
    struct rdir *d = r->levels[r->n_levels - 1].d;
    const uint8_t *slash = memrchr(h->name.ptr, '/', h->name.len);
    struct bytes last = slash ? BYTES_OF(slash + 1, h->name.len - (size_t)(slash + 1 - h->name.ptr)) : h->name;
    char comp[COMPONENT_BYTES_MAX + 1] = "";
    memcpy(comp, last.ptr, last.len);
    int dir = dir_get(&r->dirs, &d->dir);
    if (dir < 0) return restore_open_failed(r, h->name, err);
    if (a->type == FILE_HARDLINK)
        rc = restore_hardlink(r, dir, comp, h->name, a, err);
    else
        rc = restore_special(r, dir, comp, h->name, a, err);
    dir_put(&r->dirs, &d->dir);
    restore_progress(r);
    return rc;
}

static int item_check(struct restore *r, const struct source_head *h, const struct attr *a, bool selected,
                      struct error *err) {
    int rc = content_check(h, a, err);
    if (rc || !selected) return rc;
    r->items_total++;
    if (a->type == FILE_REGULAR) r->bytes_total += h->bytes;
    if (a->type == FILE_REGULAR && r->src->ops->expect) r->src->ops->expect(r->src, h);
    if (a->type == FILE_HARDLINK) rc = stand_in_note(r, h->name, a, err);
    return rc;
}

static int pass_item(void *ctx, const struct source_head *h, struct error *err) {
    struct restore *r = ctx;
    struct attr a;
    if (atomic_load(&r->failed)) {
        *err = r->err;
        return -(int)err->code;
    }
    int rc = stop_check(err);
    if (rc == 0 && r->pass == PASS_CHECK) rc = name_check(h->name, err);
    if (rc == 0) rc = order_check(r, h->name, err);
    if (rc == 0) rc = attr_decode(h->attr, &a, err);
    if (rc == 0) rc = place(r, h->name, err);
    if (rc) return rc;
    bool selected = r->levels[r->n_levels - 1].selected || filter_names(&r->filter, h->name);
    if (r->pass == PASS_CHECK) rc = item_check(r, h, &a, selected, err);
    if (a.type == FILE_FOLDER && rc == 0) {
        rc = level_push(r, h->name, true, selected, h->attr, err);
        if (rc == 0 && selected && r->pass != PASS_CHECK) {
            rc = levels_use(r, err);
            if (r->pass == PASS_MAKE) atomic_fetch_add(&r->items, 1);
        }
    }
    if (rc || !selected) return rc;
    if (r->pass == PASS_MAKE) return item_make(r, h, &a, err);
    return r->pass == PASS_FINISH ? item_finish(r, h, &a, err) : 0;
}

int restore_pass(struct restore *r, int pass, struct error *err) {
    r->pass = pass;
    buf_clear(&r->last);
    int rc = level_push(r, (struct bytes){0}, false, false, (struct bytes){0}, err);
    if (rc == 0) rc = r->src->ops->walk(r->src, (struct bytes){0}, pass_item, r, err);
    while (rc == 0 && r->n_levels > 0) rc = level_finish(r, err);
    restore_queue_flush(r);
    restore_pass_end(r);
    return rc;
}

void restore_pass_end(struct restore *r) {
    while (r->n_levels > 0) level_drop(r);
}

int restore_folder_of(struct restore *r, struct bytes name, int *ret, struct error *err) {
    struct bytes p = filter_target_path(&r->filter, name);
    const uint8_t *slash = p.len ? memrchr(p.ptr, '/', p.len) : NULL;
    size_t len = slash ? (size_t)(slash - p.ptr) : 0;
    int fd = seam_openat(r->base->dir.fd, ".", O_RDONLY | O_DIRECTORY, 0);
    for (size_t at = 0; fd >= 0 && at < len;) {
        char chunk[CHUNK_BYTES + COMPONENT_BYTES_MAX + 2];
        size_t n = len - at;
        if (n > CHUNK_BYTES) {
            const uint8_t *end = memchr(p.ptr + at + CHUNK_BYTES, '/', len - at - CHUNK_BYTES);
            if (end) n = (size_t)(end - p.ptr) - at;
        }
        memcpy(chunk, p.ptr + at, n);
        chunk[n] = 0;
        struct open_how how = {.flags = O_RDONLY | O_DIRECTORY,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        int next = seam_openat2(fd, chunk, &how);
        io_close(&fd);
        fd = next;
        at += n + 1;
    }
    if (fd < 0) return restore_open_failed(r, name, err);
    *ret = fd;
    return 0;
}
