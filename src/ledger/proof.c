#include "ledger/proof.h"

#include "ledger/ledger_internal.h"
#include <assert.h>
#include <inttypes.h>

/* Largest power of two below n, n >= 2. */
static uint64_t split(uint64_t n) {
    return UINT64_C(1) << (63 - __builtin_clzll(n - 1));
}

static void push_range(const struct tree *t, uint64_t begin, uint64_t end, struct proof *p) {
    assert(p->count < PROOF_MAX);
    tree_range(t, begin, end, &p->hashes[p->count++]);
}

void tree_prove_inclusion(const struct tree *t, uint64_t index, uint64_t size, struct proof *ret) {
    assert(index < size && size <= tree_size(t));
    /* from the root down, so the hashes come out in reverse */
    uint64_t begin = 0, end = size;
    ret->count = 0;
    while (end - begin > 1) {
        uint64_t mid = begin + split(end - begin);
        if (index < mid) {
            push_range(t, mid, end, ret);
            end = mid;
        } else {
            push_range(t, begin, mid, ret);
            begin = mid;
        }
    }
    for (size_t i = 0; i < ret->count / 2; i++) {
        struct digest d = ret->hashes[i];
        ret->hashes[i] = ret->hashes[ret->count - 1 - i];
        ret->hashes[ret->count - 1 - i] = d;
    }
}

void tree_prove_consistency(const struct tree *t, uint64_t old_size, uint64_t new_size, struct proof *ret) {
    assert(old_size <= new_size && new_size <= tree_size(t));
    ret->count = 0;
    if (old_size == 0 || old_size == new_size) return;
    uint64_t begin = 0, end = new_size;
    bool known = true; /* the verifier has the hash of [begin, old_size) as its old root */
    while (end != old_size) {
        uint64_t mid = begin + split(end - begin);
        if (old_size <= mid) {
            push_range(t, mid, end, ret);
            end = mid;
        } else {
            push_range(t, begin, mid, ret);
            begin = mid;
            known = false;
        }
    }
    if (!known) push_range(t, begin, end, ret);
    for (size_t i = 0; i < ret->count / 2; i++) {
        struct digest d = ret->hashes[i];
        ret->hashes[i] = ret->hashes[ret->count - 1 - i];
        ret->hashes[ret->count - 1 - i] = d;
    }
}

/* The hashes below a summary are not at hand; who wants proofs opens the log without a ledger_start. */
static int cut_log(const struct ledger *l, struct error *err) {
    return error_set(err, ERR_NO_POINT,
                     "a proof was asked for of a handle that began at a summary of %" PRIu64 " entries",
                     tree_base(l->tree));
}

static int short_log(const struct ledger *l, uint64_t size, struct error *err) {
    return error_set(err, ERR_NO_POINT, "a proof over %" PRIu64 " entries was asked for, but the log has %" PRIu64,
                     size, tree_size(l->tree));
}

int ledger_prove_inclusion(const struct ledger *l, uint64_t index, uint64_t size, struct proof *ret,
                           struct error *err) {
    if (size > tree_size(l->tree)) return short_log(l, size, err);
    if (index >= size)
        return error_set(err, ERR_NO_POINT, "entry %" PRIu64 " is not among the first %" PRIu64, index, size);
    if (tree_base(l->tree)) return cut_log(l, err);
    tree_prove_inclusion(l->tree, index, size, ret);
    return 0;
}

int ledger_prove_consistency(const struct ledger *l, uint64_t old_size, uint64_t new_size, struct proof *ret,
                             struct error *err) {
    if (new_size > tree_size(l->tree)) return short_log(l, new_size, err);
    if (old_size > new_size)
        return error_set(err, ERR_NO_POINT, "a log of %" PRIu64 " entries cannot begin with %" PRIu64, new_size,
                         old_size);
    if (tree_base(l->tree)) return cut_log(l, err);
    tree_prove_consistency(l->tree, old_size, new_size, ret);
    return 0;
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
