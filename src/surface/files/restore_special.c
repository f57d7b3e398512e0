#include "surface/files/restore_internal.h"
#include <errno.h>
#include <sys/sysmacros.h>

/* ---- first names that were not selected ---- */

static struct stand_in **bucket_of(struct restore *r, struct bytes first) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < first.len; i++) h = (h ^ first.ptr[i]) * 16777619u;
    return &r->stand_ins[h % STAND_INS];
}

struct stand_in *stand_in_find(struct restore *r, struct bytes first) {
    struct stand_in *s = *bucket_of(r, first);
    while (s && !bytes_equal(s->first, first)) s = s->next;
    return s;
}

int stand_in_note(struct restore *r, struct bytes name, const struct attr *a, struct error *err) {
    if (filter_selects(&r->filter, a->target) || stand_in_find(r, a->target)) return 0;
    void *p;
    int rc = mem_alloc(sizeof(struct stand_in) + a->target.len + name.len, &p, err);
    if (rc) return rc;
    struct stand_in *s = p, **at = bucket_of(r, a->target);
    uint8_t *text = (uint8_t *)(s + 1);
    memcpy(text, a->target.ptr, a->target.len);
    memcpy(text + a->target.len, name.ptr, name.len);
    *s = (struct stand_in){*at, BYTES_OF(text, a->target.len), BYTES_OF(text + a->target.len, name.len)};
    *at = s;
    return 0;
}

void stand_ins_free(struct restore *r) {
    for (size_t i = 0; r->stand_ins && i < STAND_INS; i++) {
        for (struct stand_in *s = r->stand_ins[i], *next; s; s = next) {
            next = s->next;
            seam_free(s);
        }
    }
    seam_free(r->stand_ins);
    r->stand_ins = NULL;
}

struct fill {
    struct restore *r;
    struct stand_in *s;
    struct bounce *b;
    bool done;
};

static const char *last_of(struct bytes name, char out[256]) {
    const uint8_t *slash = memrchr(name.ptr, '/', name.len);
    size_t at = slash ? (size_t)(slash + 1 - name.ptr) : 0;
    memcpy(out, name.ptr + at, name.len - at);
    out[name.len - at] = 0;
    return out;
}

static int fill_one(void *ctx, const struct source_head *h, struct error *err) {
    struct fill *f = ctx;
    if (f->done || !bytes_equal(h->name, f->s->first)) return 0;
    char comp[256];
    CLEANUP(io_close) int dir = -1;
    struct attr a;
    int rc = attr_decode(h->attr, &a, err);
    if (rc) return rc;
    if (a.type != FILE_REGULAR) return 0;
    rc = restore_folder_of(f->r, f->s->name, &dir, err);
    if (rc == 0) rc = restore_file(f->r, dir, NULL, last_of(f->s->name, comp), f->s->name, h, f->b, err);
    f->done = rc == 0;
    return rc;
}

int stand_ins_fill(struct restore *r, struct error *err) {
    struct bounce b = {0};
    int rc = 0;
    for (size_t i = 0; i < STAND_INS && rc == 0; i++) {
        for (struct stand_in *s = r->stand_ins[i]; s && rc == 0; s = s->next) {
            struct fill f = {r, s, &b, false};
            char text[NAME_TEXT_BYTES];
            rc = r->src->ops->walk(r->src, s->first, fill_one, &f, err);
            if (rc == 0 && !f.done)
                rc = error_set(err, ERR_OBJECT_CORRUPT, "the snapshot has no file '%s', of which others are names",
                               name_text(s->first, text));
        }
    }
    bounce_free(&b);
    return rc;
}

/* ---- the items ---- */

int restore_hardlink(struct restore *r, int dir, const char *comp, struct bytes name, const struct attr *a,
                     struct error *err) {
    struct stand_in *s = stand_in_find(r, a->target);
    if (s && bytes_equal(s->name, name)) return 0;
    struct bytes first = s ? s->name : a->target;
    CLEANUP(io_close) int from = -1;
    char temp[TEMP_BYTES], last[256], text[NAME_TEXT_BYTES];
    int rc = restore_folder_of(r, first, &from, err);
    if (rc) return rc;
    const char *as = restore_temp(r, comp, temp);
    if (seam_linkat(from, last_of(first, last), dir, as, 0) < 0) {
        if (errno == ENOENT)
            return error_set(err, ERR_OBJECT_CORRUPT, "'%s' is a name of a file that the snapshot does not have",
                             name_text(name, text));
        return error_set_errno(err, ERR_IO_WRITE, "link '%s'", name_text(name, text));
    }
    rc = restore_settle(r, dir, as, comp, name, err);
    /* To rename one name of a file over another of the same file does nothing. */
    if (r->in_place) seam_unlinkat(dir, as, 0);
    if (rc == 0) atomic_fetch_add(&r->items, 1);
    return rc;
}

static int special_make(int dir, const char *as, const struct attr *a, struct error *err) {
    if (a->type == FILE_LINK) {
        void *p;
        int rc = mem_alloc(a->target.len + 1, &p, err);
        if (rc) return rc;
        memcpy(p, a->target.ptr, a->target.len);
        int made = seam_symlinkat(p, dir, as), why = errno;
        seam_free(p);
        errno = why;
        return made;
    }
    mode_t type = a->type == FILE_FIFO ? S_IFIFO : a->type == FILE_CHAR ? S_IFCHR : S_IFBLK;
    return seam_mknodat(dir, as, type | 0600, makedev(a->rdev_major, a->rdev_minor));
}

int restore_special(struct restore *r, int dir, const char *comp, struct bytes name, const struct attr *a,
                    struct error *err) {
    char temp[TEMP_BYTES], text[NAME_TEXT_BYTES];
    bool device = a->type == FILE_CHAR || a->type == FILE_BLOCK;
    if (device && !r->root) {
        atomic_fetch_add(&r->skipped, 1);
        restore_note(r, NOTE_SKIPPED, name, "a device: only root can make it");
        return 0;
    }
    const char *as = restore_temp(r, comp, temp);
    if (special_make(dir, as, a, err)) {
        if (err->code) return -(int)err->code;
        if (device && errno == EPERM) {
            atomic_fetch_add(&r->skipped, 1);
            restore_note(r, NOTE_SKIPPED, name, "a device: this system does not let us make it");
            return 0;
        }
        return error_set_errno(err, ERR_IO_WRITE, "create '%s'", name_text(name, text));
    }
    int rc = restore_attr_at(r, dir, as, name, a, err);
    if (rc == 0) rc = restore_settle(r, dir, as, comp, name, err);
    if (rc && r->in_place) seam_unlinkat(dir, as, 0);
    if (rc == 0) atomic_fetch_add(&r->items, 1);
    return rc;
}
