#include "ledger/tree.h"

#include "base/seam.h"
#include <assert.h>

struct level {
    struct digest *hashes;
    size_t count, cap;
};

struct tree {
    struct level levels[TREE_LEVELS];
};

int hash_tree_new(struct tree **ret, struct error *err) {
    void *p;
    if (mem_alloc(sizeof(struct tree), &p, err) < 0) return error_wrap(err, "log tree");
    *ret = p;
    return 0;
}

void hash_tree_free(struct tree *t) {
    if (!t) return;
    for (unsigned i = 0; i < TREE_LEVELS; i++) seam_free(t->levels[i].hashes);
    seam_free(t);
}

void hash_tree_freep(struct tree **t) {
    hash_tree_free(*t);
}

int tree_reserve(struct tree *t, size_t more, struct error *err) {
    size_t want = more;
    for (unsigned i = 0; i < TREE_LEVELS; i++) {
        struct level *l = &t->levels[i];
        void *p = l->hashes;
        if (mem_grow(&p, &l->cap, l->count + want, sizeof(struct digest), err) < 0) return error_wrap(err, "log tree");
        l->hashes = p;
        want = want / TREE_FANOUT + 1;
    }
    return 0;
}

/* Root over n = 2^k hashes, n <= 256. */
static void reduce(const struct digest *hashes, size_t n, struct digest *ret) {
    struct digest row[TREE_FANOUT];
    memcpy(row, hashes, n * sizeof(*row));
    for (; n > 1; n /= 2)
        for (size_t i = 0; i < n / 2; i++) merkle_node(&row[2 * i], &row[2 * i + 1], &row[i]);
    *ret = row[0];
}

void tree_add(struct tree *t, const struct digest *leaf) {
    struct digest h = *leaf;
    for (unsigned i = 0; i < TREE_LEVELS; i++) {
        struct level *l = &t->levels[i];
        assert(l->count < l->cap);
        l->hashes[l->count++] = h;
        if (l->count % TREE_FANOUT != 0) return;
        reduce(&l->hashes[l->count - TREE_FANOUT], TREE_FANOUT, &h);
    }
}

uint64_t tree_size(const struct tree *t) {
    return t->levels[0].count;
}

const struct digest *tree_level(const struct tree *t, unsigned level, uint64_t *ret_count) {
    assert(level < TREE_LEVELS);
    *ret_count = t->levels[level].count;
    return t->levels[level].hashes;
}

void tree_range(const struct tree *t, uint64_t begin, uint64_t end, struct digest *ret) {
    assert(begin < end && end <= tree_size(t));
    uint64_t size = end - begin;
    struct digest acc = {{0}};
    bool have = false;
    for (unsigned k = 0; size >> k; k++) {
        if (!(size >> k & 1)) continue;
        uint64_t at = (begin + (size >> k >> 1 << k << 1)) >> k; /* index among subtrees of 2^k leaves */
        struct digest part;
        reduce(&t->levels[k / 8].hashes[at << k % 8], (size_t)1 << k % 8, &part);
        if (have)
            merkle_node(&part, &acc, &acc);
        else
            acc = part;
        have = true;
    }
    *ret = acc;
}

void tree_root(const struct tree *t, uint64_t size, struct digest *ret) {
    if (size == 0)
        sha256(BYTES_OF(NULL, 0), ret);
    else
        tree_range(t, 0, size, ret);
}
