#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "base/thread.h"
#include <isa-l/crc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOB_MAX ((size_t)256 << 20)
#define LIST_MAX ((size_t)64 << 20) /* the repository's list of snapshots */
#define TRIES 10
#define STEP_MS 100
#define PARTS_MAX 1000000u /* of a shard */

struct part { /* a file of a shard */
    char name[140];
    uint64_t bytes;
    uint32_t crc;
    bool has_crc;
};
struct carry {
    const struct search_settings *s;
    struct sink *sink;
    struct engine_carried *ret;
    const char *uuid;
    struct engine_files *files;
    struct part *parts;
    size_t n, cap;
    struct buf file, plain;
};

/* ---- one file ---- */
static int close_item(struct carry *c, struct sink_item *it, uint64_t bytes, struct error *err) {
    int r = c->sink->ops->close(it, BYTES_STR("{\"type\":\"repository_file\"}"), NULL, err);
    c->ret->items++;
    c->ret->bytes += bytes;
    return r;
}

/* To its end; crc is of all but the last eight bytes. */
static int pump(struct carry *c, struct engine_file *f, struct sink_item *it, const char *path, uint32_t *crc,
                struct error *err) {
    uint64_t done = 0, body = f->bytes > 8 ? f->bytes - 8 : 0;
    for (;;) {
        uint8_t *p;
        size_t room, n;
        int r = stop_check(err);
        if (r == 0) r = c->sink->ops->space(it, &p, &room, err);
        if (r == 0) r = engine_file_next(f, p, room, &n, err);
        if (r < 0) return r;
        if (n == 0) break;
        if (done < body) *crc = crc32_gzip_refl(*crc, p, body - done < n ? body - done : n);
        done += n;
        if ((r = c->sink->ops->advance(it, n, err)) < 0) return r;
        search_progress(c->s, "carry", c->ret->bytes + done, c->ret->items);
    }
    return done == f->bytes ? 0 : error_set(err, ERR_ENGINE_FILES, "%s changed its size while it was read", path);
}

/* A name below shards is never used for other bytes, so what is known under it with its size is the same. */
static int carry_file(struct carry *c, const char *path, int layout, const struct part *want, struct error *err) {
    char name[700];
    struct item_known known;
    struct sink_item *it = NULL;
    struct engine_file f = {.fd = -1};
    uint32_t crc = 0;
    snprintf(name, sizeof name, "snapshot/%s", path);
    int r = engine_file_open(c->files, path, layout, &f, err);
    uint64_t bytes = f.bytes;
    if (r == 0 && want && bytes != want->bytes)
        r = error_set(err, ERR_ENGINE_FILES, "%s of the cluster's repository has %llu bytes, and not %llu", path,
                      (unsigned long long)bytes, (unsigned long long)want->bytes);
    if (r == 0 && want && !c->s->ctx->full_read && c->sink->ops->known(c->sink, BYTES_STR(name), &known) &&
        known.bytes == bytes) {
        r = c->sink->ops->keep(c->sink, c->ret->seq++, BYTES_STR(name), known.attr, err);
        c->ret->items++, c->ret->kept++;
        c->ret->bytes += bytes;
        engine_file_close(&f);
        return r;
    }
    if (r == 0) r = c->sink->ops->open(c->sink, c->ret->seq, BYTES_STR(name), ITEM_FILE, &it, err);
    if (r == 0) c->ret->seq++;
    if (r == 0) r = pump(c, &f, it, path, &crc, err);
    if (r == 0 && want && want->has_crc && bytes > 16 && crc != want->crc)
        r = error_set(err, ERR_ENGINE_FILES, "%s of the cluster's repository is damaged: its checksum is another",
                      path);
    if (r == 0)
        r = close_item(c, it, bytes, err);
    else
        c->sink->ops->drop(it);
    engine_file_close(&f);
    return r;
}

static int put_bytes(struct carry *c, const char *path, struct bytes content, struct error *err) {
    char name[700];
    struct sink_item *it = NULL;
    snprintf(name, sizeof name, "snapshot/%s", path);
    int r = c->sink->ops->open(c->sink, c->ret->seq, BYTES_STR(name), ITEM_FILE, &it, err);
    if (r < 0) return r;
    c->ret->seq++;
    r = sink_write(c->sink, it, content, err);
    if (r == 0) return close_item(c, it, content.len, err);
    c->sink->ops->drop(it);
    return r;
}

/* ---- the list of snapshots: index-N ---- */
/* What it says of one snapshot alone, in the order that the products read. */
static int only(const struct carry *c, json_t *all, json_t **ret_lookup, struct error *err) {
    json_t *snapshots = json_object_get(all, "snapshots"), *one, *of;
    const char *name;
    void *next;
    bool found = false;
    for (size_t i = 0; i < json_array_size(snapshots);) {
        one = json_array_get(snapshots, i);
        if (strcmp(json_text(one, "uuid", ""), c->uuid) != 0) {
            json_array_remove(snapshots, i);
            continue;
        }
        *ret_lookup = json_object_get(one, "index_metadata_lookup");
        found = true;
        i++;
    }
    if (!found)
        return error_set(err, ERR_ENGINE_FILES,
                         "%s is another repository's: it does not know the snapshot that was just made",
                         engine_files_name(c->files));
    json_object_foreach_safe(json_object_get(all, "indices"), next, name, of) {
        json_t *uuids = json_object_get(of, "snapshots");
        bool in = false;
        for (size_t i = 0; i < json_array_size(uuids);) {
            /* a name, or {"name", "uuid"} in some versions */
            const json_t *u = json_array_get(uuids, i);
            const char *text = json_is_object(u) ? json_text(u, "uuid", "") : json_string_value(u);
            bool its = text && !strcmp(text, c->uuid);
            in |= its;
            if (its)
                i++;
            else
                json_array_remove(uuids, i);
        }
        if (!in) json_object_del(json_object_get(all, "indices"), name);
    }
    return 0;
}

static bool knows(const struct carry *c, const json_t *list) {
    const json_t *one;
    size_t i;
    json_array_foreach(json_object_get(list, "snapshots"), i,
                       one) if (!strcmp(json_text(one, "uuid", ""), c->uuid)) return true;
    return false;
}

static int read_list(struct carry *c, json_t **ret, struct error *err) {
    char path[64];
    for (int i = 1;; i++) {
        /* What the repository says that its newest list is may be behind the list itself. */
        int r = engine_files_newest(c->files, i == 1, &c->ret->generation, err);
        if (r < 0) return r;
        snprintf(path, sizeof path, "index-%llu", (unsigned long long)c->ret->generation);
        buf_clear(&c->file);
        r = engine_file_read(c->files, path, ENGINE_FIXED, LIST_MAX, &c->file, err);
        if (r == 0) r = json_parse(buf_bytes(&c->file), LIST_MAX, path, ret, err);
        if (r == 0 && (i > 1 || knows(c, *ret))) return 0;
        /* It was replaced between the look and the reading, or is not written to its end. */
        if (r < 0 && (i == TRIES || r == -ERR_NO_MEMORY)) return r;
        if (r == 0) json_decref(*ret);
        *ret = NULL;
        error_clear(err);
        if (i > 1) (void)!seam_poll(NULL, 0, STEP_MS);
    }
}

static int put_list(struct carry *c, const json_t *list, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(LIST_MAX);
    char path[64];
    snprintf(path, sizeof path, "index-%llu", (unsigned long long)c->ret->generation);
    int r = json_write_pretty(list, &text, err);
    return r == 0 ? put_bytes(c, path, buf_bytes(&text), err) : r;
}

static int put_latest(struct carry *c, struct error *err) {
    uint8_t latest[8];
    uint64_t n = c->ret->generation;
    for (int i = 7; i >= 0; i--, n >>= 8) latest[i] = (uint8_t)n;
    return put_bytes(c, "index.latest", BYTES_OF(latest, sizeof latest), err);
}

/* ---- one shard ---- */
static int on_blob(void *ctx, const struct engine_blob *b, struct error *err) {
    struct carry *c = ctx;
    uint64_t parts = b->part_bytes ? (b->bytes + b->part_bytes - 1) / b->part_bytes : 1;
    if (parts > PARTS_MAX || c->n + parts > PARTS_MAX)
        return error_set(err, ERR_ENGINE_FILES, "a shard has more files than are known to be sane");
    for (uint64_t i = 0; i < parts; i++) {
        int r = mem_grow((void **)&c->parts, &c->cap, c->n + 1, sizeof *c->parts, err);
        if (r < 0) return r;
        struct part *p = &c->parts[c->n++];
        *p = (struct part){.bytes = b->bytes, .crc = b->crc, .has_crc = b->has_crc && parts == 1};
        int len = (int)b->name.len;
        if (parts == 1) {
            snprintf(p->name, sizeof p->name, "%.*s", len, (const char *)b->name.ptr);
            continue;
        }
        snprintf(p->name, sizeof p->name, "%.*s.part%llu", len, (const char *)b->name.ptr, (unsigned long long)i);
        p->bytes = i + 1 < parts ? b->part_bytes : b->bytes - i * b->part_bytes;
    }
    return 0;
}

static int by_part(const void *a, const void *b) {
    return strcmp(((const struct part *)a)->name, ((const struct part *)b)->name);
}

static int shard(struct carry *c, const char *folder, int layout, struct error *err) {
    char path[600], snap[400];
    uint64_t files = 0, bytes = 0;
    snprintf(snap, sizeof snap, "%.200ssnap-%.100s.dat", folder, c->uuid);
    c->n = 0;
    buf_clear(&c->file);
    int r = engine_file_read(c->files, snap, layout, BLOB_MAX, &c->file, err);
    if (r < 0) return error_wrap(err, "a shard's part of the snapshot");
    r = engine_blob_open(buf_bytes(&c->file), &c->plain, err);
    if (r == 0) r = engine_blob_files(buf_bytes(&c->plain), on_blob, c, &files, &bytes, err);
    if (r < 0) return error_wrap(err, "%s", snap);
    c->ret->files += files;
    c->ret->file_bytes += bytes;
    if (c->n) qsort(c->parts, c->n, sizeof *c->parts, by_part);
    for (size_t i = 0; i < c->n && r == 0; i++) {
        snprintf(path, sizeof path, "%.200s%s", folder, c->parts[i].name);
        r = carry_file(c, path, layout, &c->parts[i], err);
    }
    return r == 0 ? carry_file(c, snap, layout, NULL, err) : r;
}

/* ---- all of it, in the order of names ---- */
enum what { FILE_AS_IT_IS, LIST, LATEST, SHARD };
struct entry {
    enum what what;
    int layout;
    char path[240]; /* of a shard: its folder, with a slash */
};
struct entries {
    struct entry *of;
    size_t n, cap;
};

static int by_path(const void *a, const void *b) {
    return name_compare(BYTES_STR(((const struct entry *)a)->path), BYTES_STR(((const struct entry *)b)->path));
}

static int add(struct entries *l, enum what what, int layout, struct error *err, const char *form, ...)
    __attribute__((format(printf, 5, 6)));
static int add(struct entries *l, enum what what, int layout, struct error *err, const char *form, ...) {
    va_list args;
    int r = mem_grow((void **)&l->of, &l->cap, l->n + 1, sizeof *l->of, err);
    if (r < 0) return r;
    struct entry *x = &l->of[l->n++];
    *x = (struct entry){.what = what, .layout = layout};
    va_start(args, form);
    vsnprintf(x->path, sizeof x->path, form, args);
    va_end(args);
    return 0;
}

static int index_of(struct entries *l, const struct search_index *x, const json_t *list, const json_t *lookup,
                    const char *uuid, json_t *ids, struct error *err) {
    const json_t *of = json_object_get(json_object_get(list, "indices"), x->name);
    const char *id = json_text(of, "id", ""), *meta = json_string_value(json_object_get(lookup, id));
    const char *blob = meta ? json_text(json_object_get(list, "index_metadata_identifiers"), meta, NULL) : uuid;
    int layout = (int)json_integer_value(json_object_get(of, "shard_path_type")), r = 0;
    if (!*id || strpbrk(id, "/.") || strlen(id) > 100)
        return error_set(err, ERR_ENGINE_FILES, "the repository does not say where the index %s is", x->name);
    if (layout < ENGINE_FIXED || layout > ENGINE_INFIX)
        return error_set(err, ERR_ENGINE_FILES, "the shards of the index %s are laid out in a way that is not known",
                         x->name);
    if (!blob || strchr(blob, '/'))
        return error_set(err, ERR_ENGINE_FILES, "the repository does not say where an index's metadata is");
    for (unsigned i = 0; i < x->primaries && r == 0; i++) {
        char hash[20] = "";
        if (layout != ENGINE_FIXED) engine_shard_hash(id, i, hash);
        r = add(l, SHARD, layout, err, "%s%sindices/%s/%u/", hash, *hash ? "/" : "", id, i);
    }
    if (r == 0) r = add(l, FILE_AS_IT_IS, ENGINE_FIXED, err, "indices/%s/meta-%.100s.dat", id, blob);
    return r == 0 ? json_put_str(ids, x->name, id, err) : r;
}

static int carry_all(struct carry *c, const json_t *list, const json_t *lookup, const struct search_indices *indices,
                     struct error *err) {
    struct entries l = {0};
    int r = add(&l, LIST, ENGINE_FIXED, err, "index-%llu", (unsigned long long)c->ret->generation);
    if (r == 0) r = add(&l, LATEST, ENGINE_FIXED, err, "index.latest");
    if (r == 0) r = add(&l, FILE_AS_IT_IS, ENGINE_FIXED, err, "meta-%.100s.dat", c->uuid);
    if (r == 0) r = add(&l, FILE_AS_IT_IS, ENGINE_FIXED, err, "snap-%.100s.dat", c->uuid);
    for (size_t i = 0; i < indices->n && r == 0; i++)
        if (indices->of[i].open) r = index_of(&l, &indices->of[i], list, lookup, c->uuid, c->ret->ids, err);
    if (r == 0) qsort(l.of, l.n, sizeof *l.of, by_path);
    for (size_t i = 0; i < l.n && r == 0; i++) {
        const struct entry *x = &l.of[i];
        r = x->what == LIST     ? put_list(c, list, err)
            : x->what == LATEST ? put_latest(c, err)
            : x->what == SHARD  ? shard(c, x->path, x->layout, err)
                                : carry_file(c, x->path, x->layout, NULL, err);
    }
    seam_free(l.of);
    return r;
}

/* After the last file: had the snapshot been removed meanwhile, some of what was read may be another's. */
static int still_there(struct carry *c, struct error *err) {
    json_t *list = NULL, *lookup = NULL;
    uint64_t was = c->ret->generation;
    int r = read_list(c, &list, err);
    if (r == 0 && only(c, list, &lookup, err) < 0) {
        error_clear(err);
        r = error_set(err, ERR_ENGINE_GONE,
                      "the snapshot was removed from the cluster's repository while it was carried");
    }
    json_decref(list);
    c->ret->generation = was;
    return r;
}

int engine_carry(const struct search_settings *s, struct sink *sink, struct engine_files *files, const char *uuid,
                 const struct search_indices *indices, struct engine_carried *ret, struct error *err) {
    struct carry c = {.s = s,
                      .sink = sink,
                      .ret = ret,
                      .uuid = uuid,
                      .files = files,
                      .file = BUF_INIT(BLOB_MAX),
                      .plain = BUF_INIT(BLOB_MAX)};
    json_t *list = NULL, *lookup = NULL;
    ret->ids = json_object();
    if (!*uuid || strchr(uuid, '/') || strlen(uuid) > 100)
        return error_set(err, ERR_ENGINE_FILES, "the cluster does not say which snapshot it made");
    int r = ret->ids ? read_list(&c, &list, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = only(&c, list, &lookup, err);
    if (r == 0) r = carry_all(&c, list, lookup, indices, err);
    if (r == 0) r = still_there(&c, err);
    json_decref(list);
    seam_free(c.parts);
    buf_free(&c.file);
    buf_free(&c.plain);
    return r;
}
