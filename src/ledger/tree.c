#include "ledger/tree.h"

#include "base/seam.h"
#include <assert.h>

struct level {
    struct digest *hashes; /* from number `first` on */
    uint64_t first, count; /* count: of the whole level */
    size_t cap;
};

struct tree {
    uint64_t base;
    struct level levels[TREE_LEVELS];
};

static size_t held(const struct level *l) {
    return (size_t)(l->count - l->first);
}

int hash_tree_new(struct tree **ret, struct error *err) {
    void *p;
    if (mem_alloc(sizeof(struct tree), &p, err) < 0) return error_wrap(err, "log tree");
    *ret = p;
    return 0;
}

static uint64_t hashes_of(uint64_t size, unsigned level) {
    return size >> 8 * level;
}

size_t tree_edge_count(uint64_t size) {
    size_t n = 0;
    for (unsigned i = 0; i < TREE_LEVELS; i++) n += hashes_of(size, i) % TREE_FANOUT;
    return n;
}

void tree_edge(const struct tree *t, uint64_t size, struct digest *ret) {
    for (unsigned i = 0; i < TREE_LEVELS; i++) {
        uint64_t end = hashes_of(size, i), begin = end - end % TREE_FANOUT;
        if (begin == end) continue;
        memcpy(ret, tree_hashes(t, i, begin), (size_t)(end - begin) * sizeof(*ret));
        ret += end - begin;
    }
}

int hash_tree_begin(uint64_t size, const struct digest *edge, struct tree **ret, struct error *err) {
    struct tree *t;
    if (hash_tree_new(&t, err) < 0) return -(int)err->code;
    t->base = size;
    for (unsigned i = 0; i < TREE_LEVELS; i++) {
        struct level *l = &t->levels[i];
        l->count = hashes_of(size, i);
        l->first = l->count - l->count % TREE_FANOUT;
        if (held(l) == 0) continue;
        void *p = NULL;
        if (mem_grow(&p, &l->cap, held(l), sizeof(*l->hashes), err) < 0) {
            hash_tree_free(t);
            return error_wrap(err, "log tree");
        }
        l->hashes = p;
        memcpy(l->hashes, edge, held(l) * sizeof(*edge));
        edge += held(l);
    }
    *ret = t;
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
        if (mem_grow(&p, &l->cap, held(l) + want, sizeof(struct digest), err) < 0) return error_wrap(err, "log tree");
        l->hashes = p;
        want = want / TREE_FANOUT + 1;
    }
    return 0;
}

void tree_reduce(const struct digest *hashes, size_t n, struct digest *ret) {
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
        assert(held(l) < l->cap);
        l->hashes[held(l)] = h;
        l->count++;
        if (l->count % TREE_FANOUT != 0) return;
        tree_reduce(&l->hashes[held(l) - TREE_FANOUT], TREE_FANOUT, &h);
    }
}

uint64_t tree_size(const struct tree *t) {
    return t->levels[0].count;
}

const struct digest *tree_level(const struct tree *t, unsigned level, uint64_t *ret_count) {
    assert(level < TREE_LEVELS && t->levels[level].first == 0);
    *ret_count = t->levels[level].count;
    return t->levels[level].hashes;
}

const struct digest *tree_hashes(const struct tree *t, unsigned level, uint64_t index) {
    assert(level < TREE_LEVELS && index >= t->levels[level].first && index < t->levels[level].count);
    return &t->levels[level].hashes[index - t->levels[level].first];
}

bool tree_has(const struct tree *t, unsigned level, uint64_t index) {
    return level < TREE_LEVELS && index >= t->levels[level].first && index < t->levels[level].count;
}

uint64_t tree_base(const struct tree *t) {
    return t->base;
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
        tree_reduce(tree_hashes(t, k / 8, at << k % 8), (size_t)1 << k % 8, &part);
        if (have)
            merkle_node(&part, &acc, &acc);
        else
            acc = part;
        have = true;
    }
    *ret = acc;
}

void tree_root(const struct tree *t, uint64_t size, struct digest *ret) {
    assert(size >= t->base || size == 0);
    if (size == 0)
        sha256(BYTES_OF(NULL, 0), ret);
    else
        tree_range(t, 0, size, ret);
}
