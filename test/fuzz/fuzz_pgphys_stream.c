/* What a server sends in a base backup: the archives of files, its manifest, a control file. Whatever the bytes, an
 * error that says why, or members that could be files of a cluster. The first byte chooses; the second is how the
 * pieces are cut. */
#include "surface/pgphys/stream_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

struct seen {
    bool within;
    uint64_t left;
};

static int on_begin(void *ctx, const struct tar_member *m, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    need(!s->within && m->name.len > 0 && m->name.ptr[0] != '/' && m->name.ptr[m->name.len - 1] != '/');
    need((m->type == TAR_LINK) == (m->target.len > 0) && (m->type == TAR_FILE || m->bytes == 0) && m->mode <= 07777);
    *s = (struct seen){true, m->bytes};
    return 0;
}

static int on_content(void *ctx, struct bytes piece, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    need(s->within && piece.len > 0 && piece.len <= s->left);
    s->left -= piece.len;
    return 0;
}

static int on_end(void *ctx, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    need(s->within && s->left == 0);
    s->within = false;
    return 0;
}

static const struct tar_ops look = {on_begin, on_content, on_end};

static int archive(struct bytes in, size_t step, struct error *err) {
    struct seen s = {0};
    struct tar t;
    int rc = 0;
    tar_init(&t, &look, &s);
    for (size_t at = 0; at < in.len && rc == 0; at += step)
        rc = tar_feed(&t, BYTES_OF(in.ptr + at, in.len - at < step ? in.len - at : step), err);
    if (rc == 0) rc = tar_finish(&t, err);
    need(rc < 0 || !s.within);
    return rc;
}

/* Of two files, "a" and "b/c". */
static int manifest(struct bytes in, size_t step, struct error *err) {
    static const char *const names[] = {"a", "b/c"};
    struct stream_tally *t;
    struct digest d;
    int rc = stream_tally_new(NULL, &t, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        sha256(BYTES_STR(names[i]), &d);
        rc = stream_tally_add(t, BYTES_STR(names[i]), i + 1, &d, err);
    }
    for (size_t at = 0; at < in.len && rc == 0; at += step)
        rc = stream_tally_manifest(t, BYTES_OF(in.ptr + at, in.len - at < step ? in.len - at : step), err);
    if (rc == 0) rc = stream_tally_finish(t, err);
    stream_tally_free(t);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct pgphys_control c;
    if (size < 2) return 0;
    const struct bytes in = BYTES_OF(data + 2, size - 2);
    const size_t step = data[1] ? data[1] * 7u : 1;
    const int rc = data[0] % 3 == 0   ? archive(in, step, &err)
                   : data[0] % 3 == 1 ? manifest(in, step, &err)
                                      : pgphys_control_read(in, &c, &err);
    need(rc == -(int)err.code && (rc == 0 || err.text[0]));
    return 0;
}
