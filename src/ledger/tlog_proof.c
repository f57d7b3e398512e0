#include "ledger/tlog_proof.h"

#include "ledger/note_internal.h"
#include <inttypes.h>

#define HEAD "c2sp.org/tlog-proof@v1"
#define INDEX "index "
#define EXTRA "extra "

int tlog_proof_write(const struct tlog_proof *p, struct buf *ret, struct error *err) {
    size_t before = ret->len;
    int rc = buf_printf(ret, err, HEAD "\n" INDEX "%" PRIu64 "\n", p->index);
    for (size_t i = 0; i < p->path.count && rc == 0; i++) {
        rc = base64_encode(ret, BYTES_OF(p->path.hashes[i].b, DIGEST_BYTES), err);
        if (rc == 0) rc = buf_append_str(ret, "\n", err);
    }
    if (rc == 0) rc = buf_append_str(ret, "\n", err);
    if (rc == 0) rc = buf_append(ret, p->note.ptr, p->note.len, err);
    if (rc < 0) ret->len = before;
    return rc < 0 ? error_wrap(err, "proof") : 0;
}

static bool begins(struct bytes line, const char *word) {
    return line.len >= strlen(word) && memcmp(line.ptr, word, strlen(word)) == 0;
}

static int malformed(struct error *err, const char *what) {
    return error_set(err, ERR_LEDGER_BROKEN, "this is no proof of the form " HEAD ": %s", what);
}

int tlog_proof_parse(struct bytes text, struct tlog_proof *ret, struct error *err) {
    struct tlog_proof p = {0};
    struct bytes line;
    if (text.len > TLOG_PROOF_MAX_BYTES) return malformed(err, "it is too long");
    if (!note_line(&text, &line) || !bytes_equal(line, BYTES_STR(HEAD)))
        return malformed(err, "its first line is another");
    if (!note_line(&text, &line)) return malformed(err, "it ends early");
    if (begins(line, EXTRA) && !note_line(&text, &line)) return malformed(err, "it ends early");
    if (!begins(line, INDEX) || !note_number(BYTES_OF(line.ptr + strlen(INDEX), line.len - strlen(INDEX)), &p.index))
        return malformed(err, "it has no index");
    for (;;) {
        if (!note_line(&text, &line)) return malformed(err, "it has no checkpoint");
        if (line.len == 0) break;
        if (p.path.count == PROOF_MAX) return malformed(err, "it has more hashes than a tree can");
        if (!note_base64(line, p.path.hashes[p.path.count].b, DIGEST_BYTES))
            return malformed(err, "a hash is malformed");
        p.path.count++;
    }
    p.note = text;
    *ret = p;
    return 0;
}
