#include "base/seam.h"
#include "store/s3/s3_internal.h"

#define BATCH_MAX 1000 /* of the interface */

/* Whether there is one that was not removed. */
static int see(void *ctx, const char *path, struct bytes text, struct error *err) {
    (void)text, (void)err;
    if (strcmp(path, "DeleteResult/Error") == 0 || strcmp(path, "Error") == 0) *(bool *)ctx = true;
    return 0;
}

/* All of them by one request. *ret_done is false when the server does not do that, or not for all: then each is asked
 * for by itself, which says why. */
static int batch(struct s3_store *s, const char *const *keys, size_t n, bool *ret_done, struct error *err) {
    CLEANUP(buf_free) struct buf body = BUF_INIT(S3_TEXT_BYTES_MAX), text = BUF_INIT(S3_TEXT_BYTES_MAX);
    bool refused = false;
    struct error ignored = ERROR_INIT;
    int rc =
        buf_append_str(&body, "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>", err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = buf_printf(&body, err, "<Object><Key>%s%s</Key></Object>", s->place.prefix, keys[i]);
    if (rc == 0) rc = buf_append_str(&body, "</Delete>", err);
    if (rc < 0) return rc;
    struct bytes part = buf_bytes(&body);
    struct s3_call c = {.what = "remove objects",
                        .action = "s3:DeleteObject",
                        .method = "POST",
                        .query = "delete=",
                        .body = &part,
                        .body_count = 1,
                        .digest = true,
                        .text = &text,
                        .expected = {400, 403, 405, 501}};
    rc = s3_call(s, &c, err);
    *ret_done =
        rc == 0 && c.answer.status == 200 && xml_walk(buf_bytes(&text), see, &refused, &ignored) == 0 && !refused;
    if (rc == 0 && c.answer.status != 200) atomic_store(&s->no_batch, true);
    s3_call_free(&c);
    return rc;
}

int s3_remove_many(struct store *st, const char *const *keys, size_t n, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    for (size_t at = 0; at < n;) {
        const size_t some = n - at < BATCH_MAX ? n - at : BATCH_MAX;
        bool done = false;
        int rc = 0;
        /* Without a digest that the server checks it would want another kind. */
        if (some > 1 && s->place.digests && !atomic_load(&s->no_checksum) && !atomic_load(&s->no_batch))
            rc = batch(s, keys + at, some, &done, err);
        if (rc == 0 && !done) rc = s3_remove_each(s, keys + at, some, err);
        if (rc < 0) return rc;
        at += some;
    }
    return 0;
}
