/* Chunks on their way out: what lies about its id is never handed out, and seen past where another copy is true; what
 * somebody has already is taken by its id. */
#include "repo/repo_internal.h"
#include "repo/writer_internal.h"
#include "repo_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNKS 12u
#define SIZE (CHUNKS * PAGE_CHUNK)

static uint8_t *truth, *lie, *changed;

static int begin(void **state) {
    (void)state;
    truth = malloc(3 * SIZE);
    lie = malloc(PAGE_CHUNK);
    changed = malloc(SIZE);
    kit_random(truth, 3 * SIZE, 11);
    kit_random(lie, PAGE_CHUNK, 12);
    return 0;
}

static int end(void **state) {
    (void)state;
    free(truth);
    free(lie);
    free(changed);
    return 0;
}

static struct writer *writer_begin(struct kit *k, const char *surface) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = surface, .threads = 1, .checkpoint_bytes = 64u << 20};
    struct writer *w = NULL;
    kit_ok(writer_open(k->repo, &o, &w, &err), &err);
    return w;
}

/* Stores `lie` under the id of every third chunk of data, from the second on. */
static void tell_lies(struct writer *w, const uint8_t *data) {
    struct error err = ERROR_INIT;
    struct digest sha, id;
    for (unsigned i = 1; i < CHUNKS; i += 3) {
        sha256(BYTES_OF(data + i * PAGE_CHUNK, PAGE_CHUNK), &sha);
        kit_ok(chunk_put_part(w, PART_PAGES, BYTES_OF(lie, PAGE_CHUNK), &sha, NULL, &id, &err), &err);
    }
}

static void tell_truth(struct writer *w, const uint8_t *data) {
    struct error err = ERROR_INIT;
    struct digest sha;
    struct witem *it;
    kit_ok(writer_item_open(w, 0, BYTES_STR("table"), CONTENT_PAGES, &it, &err), &err);
    for (size_t at = 0; at < SIZE;) {
        uint8_t *p;
        size_t room;
        kit_ok(witem_space(it, &p, &room, &err), &err);
        const size_t n = SIZE - at < room ? SIZE - at : room;
        memcpy(p, data + at, n);
        kit_ok(witem_advance(it, n, &err), &err);
        at += n;
    }
    kit_ok(witem_close(it, BYTES_STR("attr"), &sha, &err), &err);
}

static uint64_t commit(struct writer *w, const char *surface) {
    struct error err = ERROR_INIT;
    json_t *root = json_pack("{s:s}", "facts", "of a test");
    uint64_t seq = 0;
    kit_ok(writer_finish(w, root, &err), &err);
    kit_ok(kit_commit(w, surface, &seq, &err), &err);
    json_decref(root);
    writer_free(w);
    return seq;
}

struct reading {
    struct snapshot *s;
    const uint8_t *data;
    size_t given, from_hand; /* from_hand: taken by a match */
    const uint8_t *have;     /* what somebody has already, or NULL */
    bool other_digest;
    bool apart;  /* by the ids alone; what is had is shown in pieces and a half */
    bool late;   /* read it first without a look at the ids */
    int late_rc; /* what that came to */
    int rc;
    struct error err;
};

/* What is given is not looked at either: the end alone tells. */
static int read_late(struct reading *r, const struct item_head *h, struct error *err) {
    struct error why = ERROR_INIT;
    struct ritem *it;
    struct bytes piece;
    size_t given = 0;
    kit_ok(ritem_open(r->s, h, &it, err), err);
    ritem_late(it);
    int rc;
    while ((rc = ritem_next(it, &piece, &why)) == 0 && piece.len) given += piece.len;
    ritem_close(it);
    assert_int_equal(given, SIZE);
    if (rc < 0) assert_non_null(strstr(why.text, "does not have the SHA-256 recorded for it"));
    return rc;
}

static int read_all(void *ctx, const struct item_head *head, struct error *err) {
    struct reading *r = ctx;
    struct item_head h = *head;
    struct ritem_extent x;
    struct ritem *it;
    struct bytes piece;
    if (r->other_digest) h.sha256.b[0] ^= 1;
    if (r->late) r->late_rc = read_late(r, &h, err);
    kit_ok(ritem_open(r->s, &h, &it, err), err);
    if (r->apart) ritem_apart(it);
    for (unsigned n = 0;; n++) {
        bool same = false;
        if (r->have) {
            kit_ok(ritem_peek(it, &x, err), err);
            if (x.len) {
                const uint64_t left = h.bytes - x.at, shown = r->apart ? x.len * (2 + n % 4) / 2 : x.len;
                assert_int_equal(x.at, r->given);
                kit_ok(ritem_match(it, BYTES_OF(r->have + x.at, shown < left ? shown : left), &same, err), err);
            }
        }
        if (same) {
            assert_memory_equal(r->have + x.at, r->data + x.at, x.len);
            r->given += x.len;
            r->from_hand += x.len;
            continue;
        }
        r->rc = ritem_next(it, &piece, &r->err);
        if (r->rc < 0 || piece.len == 0) break;
        assert_memory_equal(piece.ptr, r->data + r->given, piece.len);
        r->given += piece.len;
    }
    ritem_close(it);
    return 0;
}

static void read_item(struct kit *k, uint64_t seq, struct reading *r) {
    struct error err = ERROR_INIT;
    kit_ok(snapshot_open(k->repo, kit_snapshot(k, seq), &r->s, &err), &err);
    kit_ok(snapshot_walk(r->s, BYTES_OF(NULL, 0), read_all, r, &err), &err);
    snapshot_close(r->s);
}

static void what_lies_about_its_id_is_not_handed_out(void **state) {
    struct kit k;
    struct reading r = {.data = truth};
    (void)state;
    kit_begin(&k);
    struct writer *w = writer_begin(&k, "x");
    tell_lies(w, truth);
    tell_truth(w, truth); /* of which the chunks with lies are known */
    uint64_t seq = commit(w, "x");
    read_item(&k, seq, &r);
    assert_int_equal(r.rc, -ERR_OBJECT_CORRUPT);
    assert_non_null(strstr(r.err.text, "is not what its id says"));
    assert_int_equal(r.given, PAGE_CHUNK);
    /* nor does it count when it is handed out unlooked at, and then the ids tell what it was */
    struct reading late = {.data = truth, .late = true};
    read_item(&k, seq, &late);
    assert_int_equal(late.late_rc, -ERR_RESTORE_DIFFERS);
    assert_int_equal(late.rc, -ERR_OBJECT_CORRUPT);
    assert_non_null(strstr(late.err.text, "is not what its id says"));
    assert_int_equal(late.given, PAGE_CHUNK);
    /* to have the true bytes already is as good as a copy; to have the lie is not */
    struct reading own = {.data = truth, .have = truth};
    read_item(&k, seq, &own);
    kit_ok(own.rc, &own.err);
    assert_int_equal(own.from_hand, SIZE);
    memcpy(changed, truth, SIZE);
    memcpy(changed + 4 * PAGE_CHUNK, lie, PAGE_CHUNK);
    for (int apart = 0; apart < 2; apart++) {
        struct reading lied = {.data = truth, .have = changed, .apart = apart};
        read_item(&k, seq, &lied);
        assert_int_equal(lied.rc, -ERR_OBJECT_CORRUPT);
        assert_non_null(strstr(lied.err.text, "is not what its id says"));
        assert_int_equal(lied.given, 4 * PAGE_CHUNK);
    }
    kit_end(&k);
}

/* The copies are tried in the order in which the index has them; so each kind comes first once. */
static void lies_are_seen_past_where_there_is_a_true_copy(void **state) {
    const uint8_t *x = truth + SIZE, *y = truth + 2 * SIZE;
    struct kit k, other;
    struct error err = ERROR_INIT;
    struct writer_stats st;
    unsigned differed = 0;
    (void)state;
    kit_begin(&k);
    kit_ok(kit_open_try(&other, k.dir, &err), &err);
    struct writer *honest = writer_begin(&other, "x"), *liar = writer_begin(&k, "liar");
    tell_truth(honest, x);
    tell_lies(liar, x);
    uint64_t of_x = commit(honest, "x");
    commit(liar, "liar");
    kit_reopen(&k, false);
    kit_close(&other);
    kit_ok(kit_open_try(&other, k.dir, &err), &err);
    honest = writer_begin(&other, "y");
    liar = writer_begin(&k, "liar");
    tell_truth(honest, y);
    tell_lies(liar, y);
    commit(liar, "liar");
    uint64_t of_y = commit(honest, "y");
    kit_close(&other);
    for (int i = 0; i < 2; i++) {
        kit_reopen(&k, true);
        struct reading r = {.data = i ? y : x};
        read_item(&k, i ? of_y : of_x, &r);
        kit_ok(r.rc, &r.err);
        assert_int_equal(r.given, SIZE);
        struct reading late = {.data = i ? y : x, .late = true};
        read_item(&k, i ? of_y : of_x, &late);
        differed += late.late_rc == -ERR_RESTORE_DIFFERS;
        kit_ok(late.rc, &late.err);
        assert_int_equal(late.given, SIZE);
    }
    assert_int_equal(differed, 1); /* where the lie comes first */
    /* and so are bases of deltas, which nobody looks at before the delta is known not to fit */
    for (int i = 0; i < 2; i++) {
        const struct kit_item it[1] = {{"table", CONTENT_PAGES, changed, SIZE}};
        memcpy(changed, i ? y : x, SIZE);
        for (unsigned c = 0; c < CHUNKS; c++) changed[c * PAGE_CHUNK + 5000] ^= 1;
        uint64_t seq = kit_backup(&k, i ? "y" : "x", it, 1, false, &st);
        assert_int_equal(st.delta_chunks, CHUNKS);
        kit_reopen(&k, true);
        kit_expect(&k, seq, it, 1);
        struct reading late = {.data = changed, .late = true};
        read_item(&k, seq, &late);
        kit_ok(late.rc, &late.err);
        assert_int_equal(late.given, SIZE);
    }
    kit_end(&k);
}

/* Of whole blocks: all new, all deltas, known in part, twins within one; and an end that is none. */
static void pages_come_back_however_their_blocks_were_stored(void **state) {
    struct kit k;
    struct writer_stats st;
    const struct kit_item it[1] = {{"table", CONTENT_PAGES, changed, SIZE}};
    (void)state;
    kit_begin_packs(&k, 16u << 20); /* a frame is a block */
    memcpy(changed, truth, SIZE);
    kit_expect(&k, kit_backup(&k, "s", it, 1, false, &st), it, 1);
    assert_int_equal(st.delta_chunks, 0);
    for (unsigned c = 0; c < CHUNKS; c++) changed[c * PAGE_CHUNK + 5000] ^= 1;
    kit_expect(&k, kit_backup(&k, "s", it, 1, false, &st), it, 1);
    assert_int_equal(st.delta_chunks, CHUNKS);
    changed[2 * PAGE_CHUNK + 5] ^= 1;
    memcpy(changed + 5 * PAGE_CHUNK, lie, PAGE_CHUNK);
    kit_expect(&k, kit_backup(&k, "s", it, 1, false, &st), it, 1);
    assert_int_equal(st.new_chunks - st.delta_chunks,
                     1 + 2); /* the lie, which resembles nothing; a manifest and its root */
    kit_random(changed, SIZE, 77);
    memcpy(changed + 3 * PAGE_CHUNK, changed + PAGE_CHUNK, PAGE_CHUNK);
    kit_expect(&k, kit_backup(&k, "other", it, 1, false, &st), it, 1);
    assert_int_equal(st.new_chunks, CHUNKS - 1 + 2);
    kit_end(&k);
}

static void what_is_had_already_counts_as_read(void **state) {
    static uint8_t small[5000];
    struct kit k;
    const struct kit_item it[1] = {{"table", CONTENT_PAGES, truth, SIZE}};
    const struct kit_item one[1] = {{"table", CONTENT_PAGES, small, sizeof small}};
    (void)state;
    kit_begin(&k);
    uint64_t seq = kit_backup(&k, "x", it, 1, false, NULL), single = kit_backup(&k, "one", one, 1, false, NULL);
    memcpy(changed, truth, SIZE);
    changed[0] ^= 1;
    changed[5 * PAGE_CHUNK + 77] ^= 1;
    changed[SIZE - 1] ^= 1;
    changed[6 * PAGE_CHUNK] ^= 1; /* two that follow each other, and one on each side that does not differ */
    for (int apart = 0; apart < 2; apart++) {
        struct reading some = {.data = truth, .have = changed, .apart = apart};
        read_item(&k, seq, &some);
        kit_ok(some.rc, &some.err);
        assert_int_equal(some.given, SIZE);
        assert_int_equal(some.from_hand, SIZE - 4 * PAGE_CHUNK);
    }
    struct reading all = {.data = small, .have = small};
    read_item(&k, single, &all);
    kit_ok(all.rc, &all.err);
    assert_int_equal(all.from_hand, sizeof small);
    /* the whole is held against its digest all the same */
    for (int i = 0; i < 3; i++) {
        struct reading r = {.data = i == 1 ? small : truth, .other_digest = true};
        r.have = i == 2 ? changed : r.data;
        read_item(&k, i == 1 ? single : seq, &r);
        assert_int_equal(r.rc, -ERR_RESTORE_DIFFERS);
        assert_non_null(strstr(r.err.text, "does not have the SHA-256 recorded for it"));
    }
    /* but of what is judged apart, which is each of its pieces, and all of them */
    for (int i = 0; i < 3; i++) {
        struct reading r = {.data = i == 1 ? small : truth, .other_digest = true, .apart = true};
        r.have = i == 2 ? changed : r.data;
        read_item(&k, i == 1 ? single : seq, &r);
        kit_ok(r.rc, &r.err);
        assert_int_equal(r.given, i == 1 ? sizeof small : SIZE);
    }
    kit_end(&k);
}

/* A store in which the packs of one of two copies lie in an archive. */
static struct {
    const struct store_ops *ops;
    struct store_ops table;
    char packs[8][96];
    size_t count;
    bool listed; /* these packs are the cold ones, or the others are */
    unsigned refused;
} cold;

static int cold_list(void *ctx, const struct store_object *o, struct error *err) {
    (void)ctx, (void)err;
    assert_true(cold.count < 8);
    snprintf(cold.packs[cold.count++], sizeof cold.packs[0], "%s", o->key);
    return 0;
}

static int cold_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                     struct error *err) {
    bool is = false;
    for (size_t i = 0; i < cold.count; i++) is |= !strcmp(cold.packs[i], key);
    if (strncmp(key, "packs/d/", 8) != 0 || is != cold.listed) return cold.ops->read(s, key, at, p, len, ret_n, err);
    cold.refused++;
    return error_set(err, ERR_S3_ARCHIVED, "%s is in an archive", key);
}

/* What was thawed for a point are the packs that it names; the index may name another copy first. */
static void a_copy_in_an_archive_is_passed_over(void **state) {
    struct kit k, other;
    struct error err = ERROR_INIT;
    (void)state;
    kit_begin(&k);
    kit_ok(kit_open_try(&other, k.dir, &err), &err);
    struct writer *first = writer_begin(&k, "x"), *second = writer_begin(&other, "y");
    tell_truth(first, truth);
    uint64_t of_x = commit(first, "x");
    kit_ok(store_list(k.store, "packs/d/", cold_list, NULL, &err), &err);
    tell_truth(second, truth);
    commit(second, "y");
    kit_close(&other);
    unsigned passed = 0;
    for (int i = 0; i < 2; i++) {
        kit_reopen(&k, true);
        cold.listed = i == 0;
        cold.refused = 0;
        cold.ops = k.store->ops;
        cold.table = *cold.ops;
        cold.table.read = cold_read;
        k.store->ops = &cold.table;
        struct reading r = {.data = truth};
        read_item(&k, of_x, &r);
        k.store->ops = cold.ops;
        kit_ok(r.rc, &r.err);
        assert_int_equal(r.given, SIZE);
        passed += cold.refused > 0;
    }
    assert_int_equal(passed, 1);
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lies_about_its_id_is_not_handed_out),
        cmocka_unit_test(lies_are_seen_past_where_there_is_a_true_copy),
        cmocka_unit_test(pages_come_back_however_their_blocks_were_stored),
        cmocka_unit_test(what_is_had_already_counts_as_read),
        cmocka_unit_test(a_copy_in_an_archive_is_passed_over),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
