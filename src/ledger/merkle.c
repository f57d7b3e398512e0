#include "base/seam.h"
#include "ledger/ledger.h"
#include "ledger/tree.h"
#include <assert.h>

/* One hash for every set bit of the size: the roots of the full subtrees, largest leftmost. */
struct merkle {
    uint64_t size;
    struct digest peaks[64];
};

int merkle_new(struct merkle **ret, struct error *err) {
    void *p;
    if (mem_alloc(sizeof(struct merkle), &p, err) < 0) return error_wrap(err, "Merkle tree");
    *ret = p;
    return 0;
}

void merkle_free(struct merkle *m) {
    seam_free(m);
}
uint64_t merkle_size(const struct merkle *m) {
    return m->size;
}

int merkle_add(struct merkle *m, const struct digest *leaf, struct error *err) {
    if (m->size == UINT64_MAX) return error_set(err, ERR_INTERNAL, "the Merkle tree is full");
    struct digest h = *leaf;
    unsigned k = 0;
    for (; m->size >> k & 1; k++) merkle_node(&m->peaks[k], &h, &h);
    m->peaks[k] = h;
    m->size++;
    return 0;
}

void merkle_root(const struct merkle *m, struct digest *ret) {
    if (m->size == 0) {
        sha256(BYTES_OF(NULL, 0), ret);
        return;
    }
    struct digest acc = {{0}};
    bool have = false;
    for (unsigned k = 0; k < 64; k++) {
        if (!(m->size >> k & 1)) continue;
        if (have)
            merkle_node(&m->peaks[k], &acc, &acc);
        else
            acc = m->peaks[k];
        have = true;
    }
    *ret = acc;
}

void merkle_leaf(struct bytes entry, struct digest *ret) {
    uint8_t in[1 + UINT16_MAX];
    assert(entry.len <= UINT16_MAX); /* what an entry bundle can hold */
    in[0] = 0;
    if (entry.len) memcpy(in + 1, entry.ptr, entry.len);
    sha256(BYTES_OF(in, 1 + entry.len), ret);
}

void merkle_node(const struct digest *left, const struct digest *right, struct digest *ret) {
    uint8_t in[1 + 2 * DIGEST_BYTES];
    in[0] = 1;
    memcpy(in + 1, left->b, DIGEST_BYTES);
    memcpy(in + 1 + DIGEST_BYTES, right->b, DIGEST_BYTES);
    sha256(BYTES_OF(in, sizeof(in)), ret);
}
