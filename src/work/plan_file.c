#include "work/plan_file.h"

#include "base/seam.h"

#include <stdio.h>

#define PLAN_BYTES_MAX (16u << 20)

int plan_file_name(const char *prefix, char ret[PLAN_ID_BYTES], struct error *err) {
    uint8_t random[8];
    char hex[17];
    int rc = random_bytes(random, sizeof random, err);
    if (rc < 0) return rc;
    hex_encode(random, sizeof random, hex);
    snprintf(ret, PLAN_ID_BYTES, "%.16s-%s", prefix, hex);
    return 0;
}

bool plan_file_is(const char *id, const char *prefix) {
    size_t n = strlen(prefix);
    return !strncmp(id, prefix, n) && id[n] == '-' && strlen(id) == n + 17 &&
           strspn(id + n + 1, "0123456789abcdef") == 16;
}

int plan_file_path(struct work *w, const char *id, const char *suffix, char ret[4200], struct error *err) {
    char dir[4100];
    snprintf(dir, sizeof dir, "%.4000s/plans", w->cache_dir);
    snprintf(ret, 4200, "%s/%.*s%.20s", dir, PLAN_ID_BYTES, id, suffix);
    return io_mkdirs(dir, 0700, err);
}

static int digest_of(const json_t *doc, char hex[65], struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(PLAN_BYTES_MAX);
    struct digest d;
    json_t *copy = json_copy((json_t *)doc);
    if (!copy) return error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    json_object_del(copy, "digest");
    int rc = json_write(copy, &b, err);
    json_decref(copy);
    if (rc < 0) return rc;
    sha256(buf_bytes(&b), &d);
    hex_encode(d.b, sizeof d.b, hex);
    return 0;
}

int plan_file_save(struct work *w, const char *id, json_t *doc, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(PLAN_BYTES_MAX);
    char path[4200], digest[65];
    int rc = digest_of(doc, digest, err);
    if (rc == 0) rc = json_put_str(doc, "digest", digest, err);
    if (rc == 0) rc = plan_file_path(w, id, ".json", path, err);
    if (rc == 0) rc = json_write_pretty(doc, &b, err);
    return rc == 0 ? io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, err) : rc;
}

int plan_file_load(struct work *w, const char *id, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(PLAN_BYTES_MAX);
    char path[4200], digest[65];
    json_t *doc = NULL;
    int rc = plan_file_path(w, id, ".json", path, err);
    if (rc == 0) rc = io_read_file(AT_FDCWD, path, PLAN_BYTES_MAX, &b, err);
    if (rc == -ERR_IO_NOT_FOUND) {
        error_clear(err);
        rc = error_set(err, ERR_PLAN_STALE, "plan %s: it is not in this cache folder", id);
    }
    if (rc == 0) rc = json_parse(buf_bytes(&b), PLAN_BYTES_MAX, "plan", &doc, err);
    if (rc == 0) rc = digest_of(doc, digest, err);
    const char *said = json_string_value(json_object_get(doc, "digest"));
    if (rc == 0 && (!said || strcmp(said, digest) != 0))
        rc = error_set(err, ERR_PLAN_STALE, "plan %s: it was altered after it was made", id);
    if (rc < 0)
        json_decref(doc);
    else
        *ret = doc;
    return rc;
}
