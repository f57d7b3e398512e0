#include "surface/redis/live.h"

#include "base/seam.h"
#include "surface/redis/crc64.h"

/* What is there, so that it can be had back. A user who may not ask for it may still restore. */
static int remember(struct live *l, struct error *err) {
    struct resp_reply h;
    int r = resp_words(&l->c, err, "FUNCTION", "DUMP", NULL);
    if (r == 0) r = resp_flush(&l->c, err);
    if (r == 0) r = resp_next(&l->c, &h, err);
    if (r < 0) return r;
    return h.kind == RESP_BULK ? resp_bulk(&l->c, &h, &l->functions, err) : resp_skip(&l->c, &h, err);
}

int live_functions_undo(struct live *l, struct error *err) {
    struct bytes args[] = {BYTES_STR("FUNCTION"), BYTES_STR("RESTORE"), buf_bytes(&l->functions), BYTES_STR("FLUSH")};
    struct resp_reply h;
    if (l->functions.len == 0)
        return error_set(err, ERR_REDIS_DENIED, "the user may not read the libraries that were there before");
    int r = resp_command(&l->c, 4, args, err);
    if (r == 0) r = resp_flush(&l->c, err);
    if (r == 0) r = resp_next(&l->c, &h, err);
    if (r < 0) return r;
    return h.kind == RESP_ERROR ? resp_refused(&l->c, h.text, "FUNCTION RESTORE", err) : 0;
}

/* Libraries go in as one FUNCTION RESTORE: all or none. */
int live_functions(struct live *l, uint64_t *ret_libraries, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(REDIS_TEXT_MAX + 64);
    uint8_t foot[10];
    int64_t version = 0;
    struct resp_reply h;
    int r = redis_item_read(l->src, "functions", &text, err);
    if (r < 0 || text.len == 0) return r;
    r = json_need_int(l->q->facts, "rdb_version", "the snapshot's facts", &version, err);
    put_u16(foot, (uint16_t)version);
    put_u64(foot + 2, redis_crc64(redis_crc64(0, buf_bytes(&text)), BYTES_OF(foot, 2)));
    if (r == 0) r = buf_append(&text, foot, sizeof foot, err);
    bool replace = (l->conflicts == CONFLICT_REPLACE || l->q->swap) && !l->q->as_scratch;
    if (r == 0) r = remember(l, err);
    struct bytes args[] = {BYTES_STR("FUNCTION"), BYTES_STR("RESTORE"), buf_bytes(&text),
                           BYTES_STR(replace ? "REPLACE" : "APPEND")};
    if (r == 0) r = resp_command(&l->c, 4, args, err);
    l->functions_changed = r == 0; /* for all that is known, until it answers */
    if (r == 0) r = resp_flush(&l->c, err);
    if (r == 0) r = resp_next(&l->c, &h, err);
    if (r < 0) return r;
    l->functions_changed = h.kind == RESP_STATUS;
    const json_t *count = json_object_get(json_object_get(l->q->invariants, "functions"), "value");
    if (h.kind == RESP_STATUS) {
        *ret_libraries = (uint64_t)json_integer_value(count);
        return 0;
    }
    if (h.kind != RESP_ERROR)
        return error_set(err, ERR_REDIS_PROTOCOL, "%s answered FUNCTION with what is no answer", l->c.where);
    bool exists = memmem(h.text.ptr, h.text.len, "already exists", 14) != NULL;
    if (exists && l->conflicts == CONFLICT_SKIP) {
        redis_note(l->s, NOTE_SKIPPED, "functions", "the server has one of the libraries already: none was restored");
        return 0;
    }
    if (exists) return error_set(err, ERR_REDIS_EXISTS, "%s has one of the libraries of functions already", l->c.where);
    return resp_refused(&l->c, h.text, "FUNCTION RESTORE", err);
}
