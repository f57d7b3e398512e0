#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "base/thread.h"
#include <errno.h>
#include <isa-l/crc.h>
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
    int dir; /* of the repository */
    struct part *parts;
    size_t n, cap;
    struct buf file, plain;
};

static int missing(const char *path, struct error *err) {
    return error_set(err, ERR_ENGINE_FILES, "the cluster's repository has no file %s, which the snapshot needs", path);
}

/* ---- one file ---- */
static int open_file(const struct carry *c, const char *path, int *ret, uint64_t *ret_bytes, struct error *err) {
    struct stat st;
    int fd = seam_openat(c->dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0 && errno == ENOENT) return missing(path, err);
    if (fd < 0) return error_set_errno(err, ERR_ENGINE_FILES, "open %s of the cluster's repository", path);
    if (seam_fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        io_close(&fd);
        return error_set(err, ERR_ENGINE_FILES, "%s of the cluster's repository is no file", path);
    }
    *ret = fd;
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}

static int close_item(struct carry *c, struct sink_item *it, uint64_t bytes, struct error *err) {
    int r = c->sink->ops->close(it, BYTES_STR("{\"type\":\"repository_file\"}"), NULL, err);
    c->ret->items++;
    c->ret->bytes += bytes;
    return r;
}

/* From where fd stands to its end, which is `bytes` away; crc is of all but the last eight. */
static int pump(struct carry *c, int fd, struct sink_item *it, uint64_t bytes, const char *path, uint32_t *crc,
                struct error *err) {
    uint64_t done = 0, body = bytes > 8 ? bytes - 8 : 0;
    for (;;) {
        uint8_t *p;
        size_t room, n;
        int r = stop_check(err);
        if (r == 0) r = c->sink->ops->space(it, &p, &room, err);
        if (r == 0) r = io_read_full(fd, p, room, &n, path, err);
        if (r < 0) return r;
        if (n == 0) break;
        if (done < body) *crc = crc32_gzip_refl(*crc, p, body - done < n ? body - done : n);
        done += n;
        if ((r = c->sink->ops->advance(it, n, err)) < 0) return r;
        search_progress(c->s, "carry", c->ret->bytes + done, c->ret->items);
    }
    return done == bytes ? 0 : error_set(err, ERR_ENGINE_FILES, "%s changed its size while it was read", path);
}

/* A name below shards is never used for other bytes, so what is known under it with its size is the same. */
static int carry_file(struct carry *c, const char *path, const struct part *want, struct error *err) {
    char name[700];
    struct item_known known;
    struct sink_item *it = NULL;
    uint64_t bytes = 0;
    uint32_t crc = 0;
    int fd = -1;
    snprintf(name, sizeof name, "snapshot/%s", path);
    int r = open_file(c, path, &fd, &bytes, err);
    if (r == 0 && want && bytes != want->bytes)
        r = error_set(err, ERR_ENGINE_FILES, "%s of the cluster's repository has %llu bytes, and not %llu", path,
                      (unsigned long long)bytes, (unsigned long long)want->bytes);
    if (r == 0 && want && !c->s->ctx->full_read && c->sink->ops->known(c->sink, BYTES_STR(name), &known) &&
        known.bytes == bytes) {
        r = c->sink->ops->keep(c->sink, c->ret->seq++, BYTES_STR(name), known.attr, err);
        c->ret->items++, c->ret->kept++;
        c->ret->bytes += bytes;
        io_close(&fd);
        return r;
    }
    if (r == 0) r = c->sink->ops->open(c->sink, c->ret->seq, BYTES_STR(name), ITEM_FILE, &it, err);
    if (r == 0) c->ret->seq++;
    if (r == 0) r = pump(c, fd, it, bytes, path, &crc, err);
    if (r == 0 && want && want->has_crc && bytes > 16 && crc != want->crc)
        r = error_set(err, ERR_ENGINE_FILES, "%s of the cluster's repository is damaged: its checksum is another",
                      path);
    if (r == 0)
        r = close_item(c, it, bytes, err);
    else
        c->sink->ops->drop(it);
    io_close(&fd);
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
static int newest(const struct carry *c, uint64_t *ret, struct error *err) {
    bool found = false;
    int fd = seam_openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return error_set_errno(err, ERR_ENGINE_FILES, "list the folder of the cluster's repository");
    }
    for (const struct dirent *e; (e = seam_readdir(d));) {
        char *end;
        if (strncmp(e->d_name, "index-", 6) != 0) continue;
        uint64_t n = strtoull(e->d_name + 6, &end, 10);
        if (*end || end == e->d_name + 6) continue;
        if (!found || n > *ret) *ret = n;
        found = true;
    }
    (void)seam_closedir(d);
    return found ? 0 : error_set(err, ERR_ENGINE_FILES, "the folder is no snapshot repository: it has no index-N");
}

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
                         "the folder is another repository's: it does not know the snapshot that was just made");
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

static int read_list(struct carry *c, json_t **ret, struct error *err) {
    char path[64];
    for (int i = 1;; i++) {
        int r = newest(c, &c->ret->generation, err);
        if (r < 0) return r;
        snprintf(path, sizeof path, "index-%llu", (unsigned long long)c->ret->generation);
        buf_clear(&c->file);
        r = io_read_file(c->dir, path, LIST_MAX, &c->file, err);
        if (r == 0) r = json_parse(buf_bytes(&c->file), LIST_MAX, path, ret, err);
        /* It was replaced between the look and the reading, or is not written to its end. */
        if (r == 0 || i == TRIES || r == -ERR_NO_MEMORY) return r;
        error_clear(err);
        (void)!seam_poll(NULL, 0, STEP_MS);
    }
}

static int put_list(struct carry *c, const json_t *list, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(LIST_MAX);
    char path[64];
    uint8_t latest[8];
    uint64_t n = c->ret->generation;
    snprintf(path, sizeof path, "index-%llu", (unsigned long long)n);
    for (int i = 7; i >= 0; i--, n >>= 8) latest[i] = (uint8_t)n;
    int r = json_write_pretty(list, &text, err);
    if (r == 0) r = put_bytes(c, path, buf_bytes(&text), err);
    return r == 0 ? put_bytes(c, "index.latest", BYTES_OF(latest, sizeof latest), err) : r;
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

static int shard(struct carry *c, const char *id, const char *number, struct error *err) {
    char path[600], snap[400];
    uint64_t files = 0, bytes = 0;
    int r;
    snprintf(snap, sizeof snap, "indices/%.100s/%.20s/snap-%.100s.dat", id, number, c->uuid);
    c->n = 0;
    buf_clear(&c->file);
    r = io_read_file(c->dir, snap, BLOB_MAX, &c->file, err);
    if (r < 0) return error_wrap(err, "a shard's part of the snapshot");
    r = engine_blob_open(buf_bytes(&c->file), &c->plain, err);
    if (r == 0) r = engine_blob_files(buf_bytes(&c->plain), on_blob, c, &files, &bytes, err);
    if (r < 0) return error_wrap(err, "%s", snap);
    c->ret->files += files;
    c->ret->file_bytes += bytes;
    if (c->n) qsort(c->parts, c->n, sizeof *c->parts, by_part);
    for (size_t i = 0; i < c->n && r == 0; i++) {
        snprintf(path, sizeof path, "indices/%.100s/%.20s/%s", id, number, c->parts[i].name);
        r = carry_file(c, path, &c->parts[i], err);
    }
    return r == 0 ? carry_file(c, snap, NULL, err) : r;
}

/* ---- one index ---- */
struct numbered {
    char text[12];
};
static int by_number(const void *a, const void *b) {
    return strcmp(((const struct numbered *)a)->text, ((const struct numbered *)b)->text);
}

static int index_of(struct carry *c, const char *id, unsigned primaries, const json_t *list, const json_t *lookup,
                    struct error *err) {
    struct numbered *numbers;
    void *mem;
    char path[300];
    const char *meta = json_string_value(json_object_get(lookup, id));
    const char *blob = meta ? json_text(json_object_get(list, "index_metadata_identifiers"), meta, NULL) : c->uuid;
    if (!blob || strchr(blob, '/'))
        return error_set(err, ERR_ENGINE_FILES, "the repository does not say where an index's metadata is");
    int r = mem_alloc((primaries + 1) * sizeof *numbers, &mem, err);
    if (r < 0) return r;
    numbers = mem;
    for (unsigned i = 0; i < primaries; i++) snprintf(numbers[i].text, sizeof numbers[i].text, "%u", i);
    if (primaries) qsort(numbers, primaries, sizeof *numbers, by_number);
    for (unsigned i = 0; i < primaries && r == 0; i++) r = shard(c, id, numbers[i].text, err);
    seam_free(mem);
    snprintf(path, sizeof path, "indices/%.100s/meta-%.100s.dat", id, blob);
    return r == 0 ? carry_file(c, path, NULL, err) : r;
}

struct chosen {
    const char *id;
    const struct search_index *index;
};
static int by_id(const void *a, const void *b) {
    return strcmp(((const struct chosen *)a)->id, ((const struct chosen *)b)->id);
}

static int indices_of(struct carry *c, const json_t *list, const json_t *lookup, const struct search_indices *l,
                      struct error *err) {
    struct chosen *order;
    void *mem;
    size_t n = 0;
    int r = mem_alloc((l->n + 1) * sizeof *order, &mem, err);
    if (r < 0) return r;
    order = mem;
    for (size_t i = 0; i < l->n && r == 0; i++) {
        const char *id = json_text(json_object_get(json_object_get(list, "indices"), l->of[i].name), "id", NULL);
        if (!l->of[i].open) continue;
        if (!id || !*id || strpbrk(id, "/.") || strlen(id) > 100)
            r = error_set(err, ERR_ENGINE_FILES, "the repository does not say where the index %s is", l->of[i].name);
        else
            order[n++] = (struct chosen){id, &l->of[i]};
        if (r == 0) r = json_put_str(c->ret->ids, l->of[i].name, id, err);
    }
    if (n) qsort(order, n, sizeof *order, by_id);
    for (size_t i = 0; i < n && r == 0; i++) r = index_of(c, order[i].id, order[i].index->primaries, list, lookup, err);
    seam_free(mem);
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

int engine_carry(const struct search_settings *s, struct sink *sink, const char *folder, const char *uuid,
                 const struct search_indices *indices, struct engine_carried *ret, struct error *err) {
    struct carry c = {
        .s = s, .sink = sink, .ret = ret, .uuid = uuid, .file = BUF_INIT(BLOB_MAX), .plain = BUF_INIT(BLOB_MAX)};
    json_t *list = NULL, *lookup = NULL;
    char path[300];
    ret->ids = json_object();
    if (!*uuid || strchr(uuid, '/'))
        return error_set(err, ERR_ENGINE_FILES, "the cluster does not say which snapshot it made");
    c.dir = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int r = c.dir < 0
                ? error_set_errno(err, ERR_ENGINE_FILES, "open the folder of the cluster's repository, %s", folder)
            : ret->ids ? read_list(&c, &list, err)
                       : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = only(&c, list, &lookup, err);
    if (r == 0) r = put_list(&c, list, err);
    if (r == 0) r = indices_of(&c, list, lookup, indices, err);
    snprintf(path, sizeof path, "meta-%.100s.dat", uuid);
    if (r == 0) r = carry_file(&c, path, NULL, err);
    snprintf(path, sizeof path, "snap-%.100s.dat", uuid);
    if (r == 0) r = carry_file(&c, path, NULL, err);
    if (r == 0) r = still_there(&c, err);
    json_decref(list);
    io_close(&c.dir);
    seam_free(c.parts);
    buf_free(&c.file);
    buf_free(&c.plain);
    return r;
}
