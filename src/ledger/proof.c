#include "ledger/proof.h"

#include "base/seam.h"
#include "ledger/ledger_internal.h"
#include <assert.h>
#include <inttypes.h>

/* Largest power of two below n, n >= 2. */
static uint64_t split(uint64_t n) {
    return UINT64_C(1) << (63 - __builtin_clzll(n - 1));
}

/* Leaves whose root a proof has. */
struct range {
    uint64_t begin, end;
};

static void push_range(struct range *r, size_t *n, uint64_t begin, uint64_t end) {
    assert(*n < PROOF_MAX);
    r[(*n)++] = (struct range){begin, end};
}

/* They are found from the root down, and a proof has them the other way round. */
static void turn(struct range *r, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        struct range x = r[i];
        r[i] = r[n - 1 - i];
        r[n - 1 - i] = x;
    }
}

static size_t inclusion_ranges(uint64_t index, uint64_t size, struct range r[PROOF_MAX]) {
    uint64_t begin = 0, end = size;
    size_t n = 0;
    while (end - begin > 1) {
        uint64_t mid = begin + split(end - begin);
        if (index < mid) {
            push_range(r, &n, mid, end);
            end = mid;
        } else {
            push_range(r, &n, begin, mid);
            begin = mid;
        }
    }
    turn(r, n);
    return n;
}

static size_t consistency_ranges(uint64_t old_size, uint64_t new_size, struct range r[PROOF_MAX]) {
    size_t n = 0;
    if (old_size == 0 || old_size == new_size) return 0;
    uint64_t begin = 0, end = new_size;
    bool known = true; /* the verifier has the hash of [begin, old_size) as its old root */
    while (end != old_size) {
        uint64_t mid = begin + split(end - begin);
        if (old_size <= mid) {
            push_range(r, &n, mid, end);
            end = mid;
        } else {
            push_range(r, &n, begin, mid);
            begin = mid;
            known = false;
        }
    }
    if (!known) push_range(r, &n, begin, end);
    turn(r, n);
    return n;
}

static void of_tree(const struct tree *t, const struct range *r, size_t n, struct proof *ret) {
    ret->count = n;
    for (size_t i = 0; i < n; i++) tree_range(t, r[i].begin, r[i].end, &ret->hashes[i]);
}

void tree_prove_inclusion(const struct tree *t, uint64_t index, uint64_t size, struct proof *ret) {
    struct range r[PROOF_MAX];
    assert(index < size && size <= tree_size(t));
    of_tree(t, r, inclusion_ranges(index, size, r), ret);
}

void tree_prove_consistency(const struct tree *t, uint64_t old_size, uint64_t new_size, struct proof *ret) {
    struct range r[PROOF_MAX];
    assert(old_size <= new_size && new_size <= tree_size(t));
    of_tree(t, r, consistency_ranges(old_size, new_size, r), ret);
}

static int of_ledger(struct ledger *l, const struct range *r, size_t n, struct proof *ret, struct error *err) {
    CLEANUP(past_end) struct past p = {.ledger = l};
    ret->count = n;
    for (size_t i = 0; i < n; i++)
        if (past_range(&p, r[i].begin, r[i].end, &ret->hashes[i], err) < 0) return -(int)err->code;
    return 0;
}

static int short_log(const struct ledger *l, uint64_t size, struct error *err) {
    return error_set(err, ERR_NO_POINT, "a proof over %" PRIu64 " entries was asked for, but the log has %" PRIu64,
                     size, tree_size(l->tree));
}

int ledger_prove_inclusion(struct ledger *l, uint64_t index, uint64_t size, struct proof *ret, struct error *err) {
    if (size > tree_size(l->tree)) return short_log(l, size, err);
    if (index >= size)
        return error_set(err, ERR_NO_POINT, "entry %" PRIu64 " is not among the first %" PRIu64, index, size);
    struct range r[PROOF_MAX];
    return of_ledger(l, r, inclusion_ranges(index, size, r), ret, err);
}

int ledger_prove_consistency(struct ledger *l, uint64_t old_size, uint64_t new_size, struct proof *ret,
                             struct error *err) {
    if (new_size > tree_size(l->tree)) return short_log(l, new_size, err);
    if (old_size > new_size)
        return error_set(err, ERR_NO_POINT, "a log of %" PRIu64 " entries cannot begin with %" PRIu64, new_size,
                         old_size);
    struct range r[PROOF_MAX];
    return of_ledger(l, r, consistency_ranges(old_size, new_size, r), ret, err);
}

int ledger_root_at(struct ledger *l, uint64_t size, struct digest *ret, struct error *err) {
    CLEANUP(past_end) struct past p = {.ledger = l};
    if (size > tree_size(l->tree)) return short_log(l, size, err);
    if (size == 0 || size >= tree_base(l->tree)) {
        tree_root(l->tree, size, ret);
        return 0;
    }
    return past_range(&p, 0, size, ret, err);
}

int proof_check_inclusion(const struct digest *leaf, uint64_t index, uint64_t size, const struct digest *root,
                          const struct proof *p, struct error *err) {
    bool good = index < size && p->count <= PROOF_MAX;
    uint64_t fn = index, sn = size - 1;
    struct digest r = *leaf;
    for (size_t i = 0; good && i < p->count; i++) {
        if (sn == 0) {
            good = false;
        } else if ((fn & 1) || fn == sn) {
            merkle_node(&p->hashes[i], &r, &r);
            while (!(fn & 1) && fn) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            merkle_node(&r, &p->hashes[i], &r);
        }
        fn >>= 1;
        sn >>= 1;
    }
    if (!good || sn != 0 || !digest_equal(&r, root))
        return error_set(err, ERR_LEDGER_BROKEN,
                         "the proof does not show that entry %" PRIu64 " is in the log of %" PRIu64 " entries", index,
                         size);
    return 0;
}

/* RFC 9162 §2.1.4.2; the case of equal sizes and of the empty tree are the caller's. */
static bool consistent(uint64_t old_size, const struct digest *old_root, uint64_t new_size,
                       const struct digest *new_root, const struct proof *p) {
    if (p->count == 0 || p->count > PROOF_MAX) return false;
    uint64_t fn = old_size - 1, sn = new_size - 1;
    while (fn & 1) {
        fn >>= 1;
        sn >>= 1;
    }
    size_t i = 0;
    struct digest fr, sr;
    fr = sr = fn == 0 ? *old_root : p->hashes[i++];
    for (; i < p->count; i++) {
        if (sn == 0) return false;
        if ((fn & 1) || fn == sn) {
            merkle_node(&p->hashes[i], &fr, &fr);
            merkle_node(&p->hashes[i], &sr, &sr);
            while (!(fn & 1) && fn) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            merkle_node(&sr, &p->hashes[i], &sr);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && digest_equal(&fr, old_root) && digest_equal(&sr, new_root);
}

int proof_check_consistency(uint64_t old_size, const struct digest *old_root, uint64_t new_size,
                            const struct digest *new_root, const struct proof *p, struct error *err) {
    bool good;
    struct digest empty;
    sha256(BYTES_OF(NULL, 0), &empty);
    if (old_size == 0)
        good = p->count == 0 && digest_equal(old_root, &empty) && (new_size > 0 || digest_equal(new_root, &empty));
    else if (old_size == new_size)
        good = p->count == 0 && digest_equal(old_root, new_root);
    else
        good = old_size < new_size && consistent(old_size, old_root, new_size, new_root, p);
    if (!good)
        return error_set(err, ERR_LEDGER_BROKEN,
                         "the proof does not show that the log of %" PRIu64 " entries continues that of %" PRIu64,
                         new_size, old_size);
    return 0;
}
