#include "mem_store.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

struct mem_object *mem_store_find(struct mem_store *s, const char *key) {
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->objects[i].key, key) == 0) return &s->objects[i];
    return NULL;
}

void mem_store_put(struct mem_store *s, const char *key, struct bytes content) {
    struct mem_object *o = mem_store_find(s, key);
    if (!o) {
        if (s->count == sizeof s->objects / sizeof *s->objects) abort();
        o = &s->objects[s->count++];
        snprintf(o->key, sizeof o->key, "%s", key);
    }
    uint8_t *p = malloc(content.len + 1);
    if (!p) abort();
    if (content.len) memcpy(p, content.ptr, content.len);
    free(o->bytes);
    o->bytes = p;
    o->len = content.len;
}

static struct mem_object *find(struct store *s, const char *key, struct error *err) {
    struct mem_object *o = mem_store_find((struct mem_store *)s, key);
    if (!o) error_set(err, ERR_OBJECT_MISSING, "the object %s is not there", key);
    return o;
}

static int create(struct store *s, const char *key, struct bytes content, struct error *err) {
    if (mem_store_find((struct mem_store *)s, key))
        return error_set(err, ERR_OBJECT_EXISTS, "%s is there already", key);
    mem_store_put((struct mem_store *)s, key, content);
    return 0;
}

/* Nothing here needs the difference between staged and committed. */
static int stage(struct store *s, const char *key, const struct bytes *parts, size_t n, struct error *err) {
    struct buf all = BUF_INIT(64u << 20);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) rc = buf_append(&all, parts[i].ptr, parts[i].len, err);
    if (rc == 0) mem_store_put((struct mem_store *)s, key, buf_bytes(&all));
    buf_free(&all);
    return rc;
}

static int commit(struct store *s, struct error *err) {
    (void)s, (void)err;
    return 0;
}

static int replace(struct store *s, const char *key, struct bytes content, struct error *err) {
    (void)err;
    mem_store_put((struct mem_store *)s, key, content);
    return 0;
}

static int read_at(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                   struct error *err) {
    const struct mem_object *o = find(s, key, err);
    if (!o) return -ERR_OBJECT_MISSING;
    *ret_n = at >= o->len ? 0 : o->len - at < len ? o->len - at : len;
    if (*ret_n) memcpy(p, o->bytes + at, *ret_n);
    return 0;
}

static int stat_of(struct store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *err) {
    const struct mem_object *o = find(s, key, err);
    if (!o) return -ERR_OBJECT_MISSING;
    *ret_bytes = o->len;
    *ret_created_ns = 1;
    return 0;
}

static int list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    struct mem_store *m = (struct mem_store *)s;
    for (size_t i = 0; i < m->count; i++) {
        if (strncmp(m->objects[i].key, prefix, strlen(prefix)) != 0) continue;
        struct store_object o = {m->objects[i].key, m->objects[i].len, 1};
        int rc = cb(ctx, &o, err);
        if (rc) return rc;
    }
    return 0;
}

static int remove_key(struct store *s, const char *key, struct error *err) {
    struct mem_store *m = (struct mem_store *)s;
    struct mem_object *o = mem_store_find(m, key);
    (void)err;
    if (!o) return 0;
    free(o->bytes);
    *o = m->objects[--m->count];
    return 0;
}

static int free_space(struct store *s, uint64_t *ret_bytes, struct error *err) {
    (void)s, (void)err;
    *ret_bytes = UINT64_MAX;
    return 0;
}

static void close_none(struct store *s) {
    (void)s;
}

static const struct store_ops ops = {
    "memory",   STORE_ATOMIC_CREATE | STORE_READ_AFTER_WRITE | STORE_LIST_AFTER_WRITE | STORE_CHEAP_READ,
    stage,      commit,
    create,     replace,
    read_at,    stat_of,
    list,       remove_key,
    free_space, close_none};

static struct mem_store *filling;
static size_t skip;

static int load(const char *path, const struct stat *st, int type, struct FTW *f) {
    (void)f;
    if (type != FTW_F) return 0;
    FILE *in = fopen(path, "rb");
    uint8_t *p = malloc((size_t)st->st_size + 1);
    if (!in || !p || fread(p, 1, (size_t)st->st_size, in) != (size_t)st->st_size) abort();
    fclose(in);
    mem_store_put(filling, path + skip, BYTES_OF(p, st->st_size));
    free(p);
    return 0;
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct mem_object *)a)->key, ((const struct mem_object *)b)->key);
}

void mem_store_init(struct mem_store *s, const char *folder) {
    *s = (struct mem_store){.base = {&ops}};
    if (!folder) return;
    filling = s;
    skip = strlen(folder) + 1;
    if (nftw(folder, load, 16, FTW_PHYS) != 0) {
        fprintf(stderr, "cannot read %s\n", folder);
        exit(1);
    }
    qsort(s->objects, s->count, sizeof *s->objects, by_key);
}

void mem_store_free(struct mem_store *s) {
    for (size_t i = 0; i < s->count; i++) free(s->objects[i].bytes);
    s->count = 0;
}
