#include "ledger/add_checkpoint.h"

#include "ledger/note_internal.h"
#include <inttypes.h>

#define HASH_TEXT_BYTES 44u /* padded */

int add_checkpoint_parse(struct bytes request, struct add_checkpoint *ret, struct error *err) {
    struct add_checkpoint a = {.old_size = 0};
    struct bytes line;
    if (request.len > ADD_CHECKPOINT_BYTES_MAX)
        return error_set(err, ERR_LEDGER_BROKEN, "a request for a cosignature has at most %u bytes",
                         ADD_CHECKPOINT_BYTES_MAX);
    if (!note_line(&request, &line) || line.len < 5 || memcmp(line.ptr, "old ", 4) != 0 ||
        !note_number(BYTES_OF(line.ptr + 4, line.len - 4), &a.old_size))
        return error_set(err, ERR_LEDGER_BROKEN, "the request does not begin with an old size");
    for (;;) {
        if (!note_line(&request, &line))
            return error_set(err, ERR_LEDGER_BROKEN, "the request's proof does not end with an empty line");
        if (line.len == 0) break;
        if (a.proof.count == ADD_CHECKPOINT_PROOF_MAX)
            return error_set(err, ERR_LEDGER_BROKEN, "the request's proof has more than %u hashes",
                             ADD_CHECKPOINT_PROOF_MAX);
        if (line.len != HASH_TEXT_BYTES || !note_base64(line, a.proof.hashes[a.proof.count].b, DIGEST_BYTES))
            return error_set(err, ERR_LEDGER_BROKEN, "line %zu of the request's proof is no hash", a.proof.count + 1);
        a.proof.count++;
    }
    a.note = request;
    *ret = a;
    return 0;
}

int add_checkpoint_format(const struct add_checkpoint *a, struct buf *ret, struct error *err) {
    int rc = buf_printf(ret, err, "old %" PRIu64 "\n", a->old_size);
    for (size_t i = 0; i < a->proof.count && rc == 0; i++) {
        rc = base64_encode(ret, BYTES_OF(a->proof.hashes[i].b, DIGEST_BYTES), err);
        if (rc == 0) rc = buf_append_str(ret, "\n", err);
    }
    if (rc == 0) rc = buf_append_str(ret, "\n", err);
    return rc < 0 ? rc : buf_append(ret, a->note.ptr, a->note.len, err);
}

bool add_checkpoint_size(struct bytes body, uint64_t *ret) {
    struct bytes line;
    return note_line(&body, &line) && body.len == 0 && note_number(line, ret);
}
