/* The repository end to end on a real folder: what goes in comes out, and only what is whole counts. */
#include "repo_kit.h"

#include "base/seam.h"
#include "base/time.h"
#include "crypto/parts.h"
#include "repo/repo_internal.h"
#include "repo/writer_internal.h"

#include "../harness/fault.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define BIG (5u << 20)

static uint8_t *text, *noise;

static size_t items_of(struct kit_item *it) {
    size_t n = 0;
    it[n++] = (struct kit_item){"a", CONTENT_NONE, NULL, 0};
    it[n++] = (struct kit_item){"a/empty", CONTENT_FILE, text, 0};
    it[n++] = (struct kit_item){"a/one", CONTENT_FILE, text, 1};
    it[n++] = (struct kit_item){"a/small", CONTENT_FILE, text + 100, 70000};
    it[n++] = (struct kit_item){"a.b", CONTENT_FILE, noise, 300000};
    it[n++] = (struct kit_item){"big", CONTENT_FILE, text, BIG};
    it[n++] = (struct kit_item){"copy", CONTENT_FILE, text, BIG};
    it[n++] = (struct kit_item){"noise", CONTENT_OPAQUE, noise, BIG};
    it[n++] = (struct kit_item){"pages", CONTENT_PAGES, text + 5, BIG - 4096};
    it[n++] = (struct kit_item){"parts", CONTENT_PARTS, text + 9, BIG - 4096};
    it[n++] = (struct kit_item){"parts-none", CONTENT_PARTS, text, 0};
    it[n++] = (struct kit_item){"parts-one", CONTENT_PARTS, text + 3, 131072};
    it[n++] = (struct kit_item){"records", CONTENT_RECORDS, text + 17, BIG - 17};
    return n;
}

static void restores_what_was_stored(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct writer_stats st;
    kit_begin(&k);
    uint64_t seq = kit_backup(&k, "t", it, n, true, &st);
    assert_int_equal(st.items, n);
    kit_expect(&k, seq, it, n);
    kit_reopen(&k, true);
    kit_expect(&k, seq, it, n);
    kit_end(&k);
}

static void second_backup_stores_nothing_new(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct writer_stats st;
    kit_begin(&k);
    kit_backup(&k, "t", it, n, true, NULL);
    uint64_t kept = kit_backup(&k, "t", it, n, true, &st);
    assert_int_equal(st.new_bytes, 0);
    assert_true(st.kept_bytes > 0 && st.dup_bytes == 0);
    uint64_t reread = kit_backup(&k, "t", it, n, false, &st);
    assert_int_equal(st.new_bytes, 0);
    assert_true(st.dup_bytes > 0 && st.kept_bytes == 0);
    kit_reopen(&k, true);
    uint64_t rebuilt = kit_backup(&k, "t", it, n, true, &st);
    assert_int_equal(st.new_bytes, 0);
    assert_true(st.kept_bytes > 0);
    kit_expect(&k, kept, it, n);
    kit_expect(&k, reread, it, n);
    kit_expect(&k, rebuilt, it, n);
    kit_end(&k);
}

static void records_need_not_be_asked_about_to_become_deltas(void **state) {
    (void)state;
    struct kit k;
    struct writer_stats st;
    uint8_t *changed = malloc(BIG);
    kit_begin(&k);
    k.silent = true;
    struct kit_item it[2] = {{"a", CONTENT_RECORDS, text, BIG}, {"b", CONTENT_RECORDS, text, BIG / 2}};
    kit_backup(&k, "t", it, 2, false, NULL);
    memcpy(changed, text, BIG);
    for (size_t i = 0; i < BIG; i += 60000) changed[i] ^= 1;
    it[0].data = it[1].data = changed;
    uint64_t second = kit_backup(&k, "t", it, 2, false, &st);
    assert_true(st.delta_chunks > 20);
    assert_true(st.delta_bytes * 10 > st.new_bytes * 9);
    kit_expect(&k, second, it, 2);
    free(changed);
    kit_end(&k);
}

static void held_items_are_confirmed_or_written_anew(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct writer_stats st;
    uint8_t *changed = malloc(BIG);
    kit_begin(&k);
    k.hold = true;
    uint64_t first = kit_backup(&k, "t", it, n, false, NULL);
    uint64_t same = kit_backup(&k, "t", it, n, false, &st);
    assert_int_equal(st.new_bytes, 0);
    assert_true(st.dup_bytes > BIG && st.kept_bytes == 0);
    kit_expect(&k, same, it, n);
    /* what differs is written, and still finds its former self for deltas */
    memcpy(changed, text, BIG);
    for (size_t i = 0; i < BIG; i += 60000) changed[i] ^= 1;
    for (size_t i = 0; i < n; i++)
        if (strcmp(it[i].name, "big") == 0) it[i].data = changed;
    uint64_t other = kit_backup(&k, "t", it, n, false, &st);
    assert_true(st.new_bytes > 0 && st.new_bytes <= BIG);
    assert_true(st.delta_chunks > 20);
    kit_expect(&k, other, it, n);
    items_of(it);
    kit_expect(&k, first, it, n);
    /* confirmed ones are remembered for the run after */
    uint64_t back = kit_backup(&k, "t", it, n, true, &st);
    assert_true(st.kept_bytes > 0);
    kit_expect(&k, back, it, n);
    kit_reopen(&k, true);
    kit_expect(&k, same, it, n);
    free(changed);
    kit_end(&k);
}

static void scattered_changes_become_deltas(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[1] = {{"records", CONTENT_RECORDS, text, BIG}},
                    pages[1] = {{"records", CONTENT_PAGES, text, BIG}};
    struct writer_stats st;
    uint8_t *changed = malloc(BIG + 64);
    kit_begin(&k);
    uint64_t one = kit_backup(&k, "rec", it, 1, true, NULL);
    memcpy(changed, text, 1000);
    memcpy(changed + 1000, "inserted bytes shift it", 23);
    memcpy(changed + 1023, text + 1000, BIG - 1000);
    for (size_t i = 0; i < BIG; i += 50000) changed[i] ^= 1;
    struct kit_item after[1] = {{"records", CONTENT_RECORDS, changed, BIG + 23}};
    uint64_t two = kit_backup(&k, "rec", after, 1, true, &st);
    assert_true(st.delta_chunks > 20);
    assert_true(st.delta_stored * 20 < st.delta_bytes);
    uint64_t p1 = kit_backup(&k, "pag", pages, 1, true, NULL);
    for (size_t i = 0; i < BIG; i += 30000) changed[i] ^= 3;
    struct kit_item pages2[1] = {{"records", CONTENT_PAGES, changed, BIG}};
    memcpy(changed, text, BIG);
    for (size_t i = 7; i < BIG; i += 60000) changed[i] ^= 1;
    uint64_t p2 = kit_backup(&k, "pag", pages2, 1, true, &st);
    assert_true(st.delta_chunks > 20);
    /* a third generation has its delta against the plain ancestor: depth one */
    for (size_t i = 9; i < BIG; i += 60000) changed[i] ^= 1;
    uint64_t p3 = kit_backup(&k, "pag", pages2, 1, true, &st);
    assert_true(st.delta_chunks > 20);
    kit_expect(&k, p3, pages2, 1);
    kit_expect(&k, one, it, 1);
    kit_expect(&k, p1, pages, 1);
    (void)two;
    (void)p2;
    struct check_options o = {.level = VERIFY_DECODE};
    struct check_totals totals;
    struct error err = ERROR_INIT;
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_VERIFIED);
    free(changed);
    kit_end(&k);
}

struct finding {
    unsigned n, paths, snapshots;
    char object[128], path[64];
    enum check_result result;
};

static int note(void *ctx, const struct check_finding *f, struct error *err) {
    struct finding *x = ctx;
    (void)err;
    x->n++;
    x->result = f->result;
    snprintf(x->object, sizeof x->object, "%s", f->object);
    x->paths += (unsigned)f->paths_total;
    if (f->path_count) snprintf(x->path, sizeof x->path, "%.*s", (int)f->paths[0].len, (const char *)f->paths[0].ptr);
    for (size_t i = 0; f->snapshots[i]; i++) x->snapshots++;
    return 0;
}

static int first_pack(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    snprintf(ctx, 128, "%s", o->key);
    return 1;
}

static void damage_is_named(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct error err = ERROR_INIT;
    char key[128] = "", path[256];
    kit_begin(&k);
    kit_backup(&k, "t", it, n, true, NULL);
    assert_int_equal(store_list(k.store, "packs/d/", first_pack, key, &err), 1);
    snprintf(path, sizeof path, "%s/%s", k.repo_dir, key);
    struct finding found = {0};
    struct check_options o = {.level = VERIFY_DECODE, .ctx = &found, .finding = note};
    struct check_totals totals;
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_VERIFIED);
    assert_int_equal(seam_fchmodat(AT_FDCWD, path, 0600, 0), 0);
    FILE *f = fopen(path, "r+b");
    fseek(f, 5000, SEEK_SET);
    int c = fgetc(f);
    fseek(f, 5000, SEEK_SET);
    fputc(c ^ 4, f);
    fclose(f);
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_CORRUPT);
    assert_string_equal(found.object, key);
    assert_int_equal(found.result, CHECK_CORRUPT);
    assert_int_equal(found.snapshots, 1);
    assert_true(found.paths >= 1);
    o.level = VERIFY_CHECKSUM;
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_CORRUPT);
    o.level = VERIFY_PRESENT;
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_VERIFIED);
    kit_ok(store_remove(k.store, key, &err), &err);
    memset(&found, 0, sizeof found);
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_CORRUPT);
    assert_int_equal(found.result, CHECK_MISSING);
    assert_true(found.paths >= 1);
    kit_end(&k);
}

#define PART 131072u

static struct ref ref_of(struct kit *k, const uint8_t *data, uint64_t len) {
    struct error err = ERROR_INIT;
    struct ref ref = {.type = REF_CHUNK, .len = len};
    struct bytes key;
    struct digest sha;
    sha256(BYTES_OF(data, (size_t)len), &sha);
    kit_ok(repo_id_key(k->repo, 0, &key, &err), &err);
    chunk_id(key, CHUNK_DATA, &sha, &ref.id);
    return ref;
}

/* A snapshot of one item of kind 5 with these references, which no writer of ours makes. */
static uint64_t parts_forge(struct kit *k, struct bytes refs, size_t n, uint64_t bytes, const struct digest *sha) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = "forged", .threads = 1};
    struct writer *w = NULL;
    struct buf name = BUF_INIT(16), body = BUF_INIT(1u << 20);
    json_t *root = json_object();
    uint64_t seq;
    kit_ok(writer_open(k->repo, &o, &w, &err), &err);
    kit_ok(buf_append(&name, "x", 1, &err), &err);
    kit_ok(manifest_body(&body, CONTENT_PARTS, BYTES_STR("attr"), bytes, sha, n, refs, &err), &err);
    kit_ok(order_wait(w, 0, &err), &err);
    kit_ok(order_done(w, 0, name, body, false, &err), &err);
    kit_ok(writer_finish(w, root, &err), &err);
    kit_ok(kit_commit(w, "forged", &seq, &err), &err);
    writer_free(w);
    json_decref(root);
    return seq;
}

struct reading {
    struct snapshot *s;
    struct bytes have; /* what is in the place of the item already: it is held against that first */
    bool apart;
};

static int read_item(void *ctx, const struct item_head *h, struct error *err) {
    struct reading *g = ctx;
    struct ritem *it;
    struct ritem_extent x;
    struct bytes piece = {0};
    bool same = false;
    int rc = ritem_open(g->s, h, &it, err);
    if (rc < 0) return rc;
    if (g->apart) ritem_apart(it);
    do {
        same = false;
        if (g->have.ptr && (rc = ritem_peek(it, &x, err)) == 0 && x.len && !x.hole && x.at + x.len <= g->have.len)
            rc = ritem_match(it, BYTES_OF(g->have.ptr + x.at, (size_t)x.len), &same, err);
        if (rc == 0 && !same) rc = ritem_next(it, &piece, err);
    } while (rc == 0 && (same || piece.len));
    ritem_close(it);
    return rc;
}

static void reading_says(struct kit *k, uint64_t seq, struct reading g, int code, const char *says) {
    struct error err = ERROR_INIT;
    kit_ok(snapshot_open(k->repo, kit_snapshot(k, seq), &g.s, &err), &err);
    int rc = snapshot_walk(g.s, BYTES_OF(NULL, 0), read_item, &g, &err);
    if (rc != -code || !strstr(err.text, says)) fail_msg("%d, %s: not '%s'", rc, err.text, says);
    snapshot_close(g.s);
}

static void content_by_parts_that_is_not_in_parts_is_refused(void **state) {
    (void)state;
    static const char stored[] = "an item that has a digest by parts is not stored in them", none[] = "",
                      size[] = "does not have the size recorded for it", sha[] = "does not have the SHA-256";
    const uint64_t bytes = 2 * PART + 1000;
    struct kit k;
    struct kit_item it[4] = {{"file", CONTENT_FILE, noise, 2 * PART},
                             {"less", CONTENT_FILE, noise + PART, 1000},
                             {"parts", CONTENT_PARTS, noise, bytes},
                             {"second", CONTENT_FILE, noise + 1000, PART}};
    struct error err = ERROR_INIT;
    struct digest whole, part[3];
    struct sha256_state *all = NULL;
    kit_begin(&k);
    kit_backup(&k, "t", it, 4, false, NULL);
    kit_ok(sha256_new(&all, &err), &err);
    parts_update(all, BYTES_OF(noise, bytes), part);
    sha256_finish(all, &whole);
    sha256_free(all);
    const struct ref first = ref_of(&k, noise, PART), second = ref_of(&k, noise + PART, PART),
                     third = ref_of(&k, noise + 2 * PART, 1000), both = ref_of(&k, noise, 2 * PART),
                     less = ref_of(&k, noise + PART, 1000), hole = {.type = REF_HOLE, .len = PART};
    struct ref unknown = second, shorter = second;
    unknown.id.b[0] ^= 1;
    shorter.len = PART - 1;
    const struct {
        const char *what;
        struct ref refs[4];
        size_t n, cut;
        int code;
        const char *says;
    } all_of[] = {
        {"what it should be", {first, second, third}, 3, 0, 0, none},
        {"a chunk of two parts", {both, third}, 2, 0, ERR_OBJECT_CORRUPT, stored},
        {"a short one before the last", {first, less, second}, 3, 0, ERR_OBJECT_CORRUPT, stored},
        {"a hole", {first, hole, third}, 3, 0, ERR_OBJECT_CORRUPT, stored},
        {"a whole one at the end", {first, second, second}, 3, 0, ERR_RESTORE_DIFFERS, size},
        {"one more", {first, second, third, third}, 4, 0, ERR_RESTORE_DIFFERS, size},
        {"one less", {first, second}, 2, 0, ERR_RESTORE_DIFFERS, size},
        {"none", {first}, 0, 0, ERR_RESTORE_DIFFERS, size},
        {"another order", {second, first, third}, 3, 0, ERR_RESTORE_DIFFERS, sha},
        {"a chunk that is nowhere", {first, unknown, third}, 3, 0, ERR_OBJECT_MISSING, "is in no pack"},
        {"a length that is not the chunk's", {first, shorter, third}, 3, 0, ERR_OBJECT_CORRUPT, stored},
        {"half a reference", {first, second, third}, 3, 5, ERR_OBJECT_CORRUPT, "an item's references are malformed"}};
    for (size_t i = 0; i < sizeof all_of / sizeof *all_of; i++) {
        CLEANUP(buf_free) struct buf refs = BUF_INIT(4096);
        for (size_t r = 0; r < all_of[i].n; r++) kit_ok(ref_append(&refs, &all_of[i].refs[r], &err), &err);
        refs.len -= all_of[i].cut;
        const uint64_t seq = parts_forge(&k, buf_bytes(&refs), all_of[i].n, bytes, &whole);
        print_message("%s\n", all_of[i].what);
        reading_says(&k, seq, (struct reading){0}, all_of[i].code, all_of[i].says);
        /* over an old copy it is no different, but that nobody hashes the whole of what is judged apart */
        reading_says(&k, seq, (struct reading){.have = BYTES_OF(noise, BIG)}, all_of[i].code, all_of[i].says);
        const int apart = all_of[i].says == sha ? 0 : all_of[i].code;
        reading_says(&k, seq, (struct reading){.have = BYTES_OF(noise, BIG), .apart = true}, apart,
                     apart ? all_of[i].says : none);
    }
    kit_end(&k);
}

static void collection_keeps_what_lives(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16], other[1] = {{"x", CONTENT_FILE, noise + 7, BIG - 7}};
    size_t n = items_of(it);
    struct error err = ERROR_INIT;
    struct gc_plan plan;
    struct gc_options o = {.now_ns = INT64_MAX / 2};
    kit_begin(&k);
    uint64_t a = kit_backup(&k, "t", it, n, true, NULL), b = kit_backup(&k, "u", other, 1, true, NULL),
             c = kit_backup(&k, "t", it, n, true, NULL);
    kit_ok(gc_run(k.repo, &o, &plan, &err), &err);
    assert_int_equal(plan.dead_packs, 0);
    gc_plan_free(&plan);
    kit_ok(repo_forget(k.repo, (uint64_t[]){a, b}, 2, "test", &err), &err);
    kit_ok(gc_run(k.repo, &o, &plan, &err), &err);
    assert_true(plan.dead_packs > 0);
    gc_plan_free(&plan);
    kit_expect(&k, c, it, n);
    /* half of what it holds dies: packs are rewritten, the snapshot stays whole */
    struct kit_item few[2] = {it[3], it[8]};
    uint64_t d = kit_backup(&k, "t", few, 2, true, NULL);
    kit_ok(repo_forget(k.repo, (uint64_t[]){c}, 1, "test", &err), &err);
    o.repack_below = 0.9;
    kit_ok(gc_run(k.repo, &o, &plan, &err), &err);
    assert_true(plan.repack_packs > 0);
    gc_plan_free(&plan);
    kit_reopen(&k, true);
    kit_expect(&k, d, few, 2);
    struct check_options co = {.level = VERIFY_DECODE};
    struct check_totals totals;
    kit_ok(repo_check(k.repo, &co, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_VERIFIED);
    uint64_t e = kit_backup(&k, "t", it, n, true, NULL);
    kit_expect(&k, e, it, n);
    kit_end(&k);
}

static void index_is_rebuilt_from_packs(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct error err = ERROR_INIT;
    struct writer_stats st;
    kit_begin(&k);
    uint64_t a = kit_backup(&k, "t", it, n, true, NULL);
    kit_ok(repo_reindex(k.repo, &err), &err);
    kit_reopen(&k, true);
    kit_expect(&k, a, it, n);
    kit_backup(&k, "t", it, n, false, &st);
    assert_int_equal(st.new_bytes, 0);
    kit_end(&k);
}

static void roles_are_kept_apart(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct error err = ERROR_INIT;
    struct writer_stats st;
    kit_begin(&k);
    struct keyring *writer = NULL;
    kit_ok(keyring_derive(repo_keys(k.repo), ROLE_WRITER, &writer, &err), &err);
    uint8_t wkey[32] = {9};
    struct unlock wu = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(wkey, 32)}, admin = k.unlock;
    kit_ok(repo_key_add(k.repo, writer, &wu, "db host", &err), &err);
    k.unlock = wu;
    kit_reopen(&k, true);
    assert_int_equal(repo_keys(k.repo)->role, ROLE_WRITER);
    uint64_t seq = kit_backup(&k, "t", it, n, true, NULL);
    kit_backup(&k, "t", it, n, true, &st);
    assert_true(st.kept_bytes > 0 && st.new_bytes == 0); /* its own past, from its cache */
    assert_int_equal(kit_expect_try(&k, seq, it, n, &err), -ERR_KEY_ROLE);
    assert_non_null(strstr(err.text, "needs a restore or admin key, and this one is a writer key"));
    error_clear(&err);
    assert_int_equal(repo_forget(k.repo, &seq, 1, "thief", &err), -ERR_KEY_ROLE);
    error_clear(&err);
    struct gc_plan plan;
    struct gc_options o = {.now_ns = INT64_MAX / 2};
    assert_int_equal(gc_run(k.repo, &o, &plan, &err), -ERR_KEY_ROLE);
    error_clear(&err);
    k.unlock = admin;
    kit_reopen(&k, true);
    kit_expect(&k, seq, it, n);
    uint8_t pub[32];
    memcpy(pub, writer->sign_public, 32);
    kit_ok(repo_key_remove(k.repo, pub, &err), &err);
    k.unlock.secret = BYTES_OF(wkey, 32);
    assert_int_equal(repo_open(k.store, &k.unlock, NULL, &(struct repo *){NULL}, &err), -ERR_KEY_WRONG);
    assert_non_null(strstr(err.text, "key slots opens"));
    keyring_free(writer);
    kit_end(&k);
}

static int forged(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    const struct snapshot_info *info = ctx;
    (void)seq;
    char hex[65];
    hex_encode(info->entry.b, 32, hex);
    *ret = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:I, s:s, s:s, s:s}}", "_type", STATEMENT_TYPE, "subject",
                     "name", "x", "digest", "sha256", hex, "predicateType", PREDICATE_VERIFICATION, "predicate", "seq",
                     (json_int_t)info->seq, "receipt", hex, "level", "full", "result", "PASSED");
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

static void a_forged_entry_is_void(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct error err = ERROR_INIT;
    kit_begin(&k);
    struct keyring *writer = NULL;
    kit_ok(keyring_derive(repo_keys(k.repo), ROLE_WRITER, &writer, &err), &err);
    uint8_t wkey[32] = {9};
    struct unlock wu = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(wkey, 32)};
    kit_ok(repo_key_add(k.repo, writer, &wu, "thief", &err), &err);
    uint64_t seq = kit_backup(&k, "t", it, n, true, NULL);
    /* past repo_append, as a thief would */
    struct snapshot_info copy = *kit_snapshot(&k, seq);
    kit_ok(ledger_append(repo_ledger(k.repo), secret_bytes(writer->sign_seed), forged, &copy, NULL, NULL, &err), &err);
    kit_reopen(&k, true);
    const char *why;
    assert_int_equal(repo_void_entries(k.repo, &why), 1);
    assert_non_null(strstr(why, "says verification/v1, which a writer key may not"));
    assert_int_equal(kit_snapshot(&k, seq)->verified, VERIFY_NONE);
    kit_expect(&k, seq, it, n);
    keyring_free(writer);
    kit_end(&k);
}

static void an_unfinished_run_is_resumed(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    size_t n = items_of(it);
    struct error err = ERROR_INIT;
    struct writer_stats st;
    kit_begin(&k);
    struct writer_options o = {.environment = "dev", .surface = "t", .threads = 2};
    struct writer *w = NULL;
    kit_ok(writer_open(k.repo, &o, &w, &err), &err);
    for (size_t i = 0; i < 6; i++) {
        struct witem *item;
        kit_ok(writer_item_open(w, i, BYTES_STR(it[i].name), it[i].kind, &item, &err), &err);
        for (size_t at = 0; at < it[i].len;) {
            uint8_t *p;
            size_t room;
            kit_ok(witem_space(item, &p, &room, &err), &err);
            size_t part = it[i].len - at < room ? it[i].len - at : room;
            memcpy(p, it[i].data + at, part);
            kit_ok(witem_advance(item, part, &err), &err);
            at += part;
        }
        kit_ok(witem_close(item, BYTES_STR("attr"), NULL, &err), &err);
    }
    kit_ok(writer_checkpoint(w, &err), &err);
    writer_free(w);
    kit_reopen(&k, false);
    uint64_t seq = kit_backup(&k, "t", it, n, true, &st);
    assert_true(st.dup_bytes + st.kept_bytes > BIG / 2);
    kit_expect(&k, seq, it, n);
    kit_end(&k);
}

static atomic_int ahead_s;

static int clock_ahead(clockid_t id, struct timespec *ts) {
    int rc = seam_system.clock_gettime(id, ts);
    if (id == CLOCK_MONOTONIC) ts->tv_sec += atomic_load(&ahead_s);
    return rc;
}

static int count_one(void *ctx, const struct store_object *o, struct error *err) {
    (void)o, (void)err;
    return ++*(int *)ctx, 0;
}

static int resume_points(struct kit *k) {
    struct error err = ERROR_INIT;
    int n = 0;
    kit_ok(store_list(k->store, "sess/", count_one, &n, &err), &err);
    return n;
}

static void feed(struct witem *item, size_t *at, size_t until) {
    struct error err = ERROR_INIT;
    while (*at < until) {
        uint8_t *p;
        size_t room;
        kit_ok(witem_space(item, &p, &room, &err), &err);
        if (room > until - *at) room = until - *at;
        memcpy(p, noise + *at, room);
        kit_ok(witem_advance(item, room, &err), &err);
        *at += room;
    }
}

static void a_resume_point_is_made_every_half_minute(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct seam clock = seam_system;
    clock.clock_gettime = clock_ahead;
    seam_table = &clock;
    kit_begin(&k);
    struct writer_options o = {.environment = "dev", .surface = "t", .threads = 2};
    struct writer_stats st = {0};
    struct writer *w = NULL;
    struct witem *item;
    size_t at = 0;
    kit_ok(writer_open(k.repo, &o, &w, &err), &err);
    kit_ok(writer_item_open(w, 0, BYTES_STR("big"), CONTENT_OPAQUE, &item, &err), &err);
    atomic_store(&ahead_s, 40);
    feed(item, &at, 4096);
    assert_int_equal(resume_points(&k), 0); /* nothing was stored that could be resumed */
    for (; st.packs == 0; writer_stats_get(w, &st)) feed(item, &at, at + 4096 < BIG - 4096 ? at + 4096 : at);
    int made = resume_points(&k);
    assert_true(made <= 1);
    feed(item, &at, at + 1024);
    assert_int_equal(resume_points(&k), 1);
    atomic_store(&ahead_s, 65);
    feed(item, &at, at + 1024);
    assert_int_equal(resume_points(&k), 1);
    kit_ok(witem_close(item, BYTES_STR("attr"), NULL, &err), &err);
    writer_free(w);
    kit_end(&k);
    seam_table = &seam_system;
}

static void many_small_runs_are_merged(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    kit_begin(&k);
    uint64_t seqs[20];
    struct kit_item it[20];
    for (unsigned i = 0; i < 20; i++) {
        it[i] = (struct kit_item){"f", CONTENT_FILE, noise + i * 1000, 5000};
        seqs[i] = kit_backup(&k, "t", &it[i], 1, false, NULL);
    }
    uint64_t packs, bytes;
    kit_ok(repo_totals(k.repo, &packs, &bytes, &err), &err);
    kit_reopen(&k, true);
    for (unsigned i = 0; i < 20; i++) kit_expect(&k, seqs[i], &it[i], 1);
    kit_end(&k);
}

/* Entries half noted would be taken for the next pack's, which gets the number of the one that failed. */
static void a_pack_whose_entries_find_no_memory_leaves_none(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct session s = {0};
    struct pack_out *p;
    struct run_entry *entries;
    size_t n = 5, cap = 5; /* of packs before */
    unsigned failed = 0;
    kit_begin(&k);
    kit_ok(session_new(k.repo, &s, &err), &err);
    kit_ok(pack_out_new(k.repo, &s, false, &p, &err), &err);
    for (unsigned i = 0; i < 200; i++) {
        struct pack_slot slot;
        struct member m = {.len = 10};
        m.id.b[0] = (uint8_t)i;
        kit_ok(pack_out_reserve(p, 10, 10, CODEC_RAW, CHUNK_DATA, NULL, &m, 1, &slot, &err), &err);
    }
    assert_non_null(entries = seam_alloc(cap * sizeof *entries));
    for (uint64_t call = 1;; call++) {
        struct error e = ERROR_INIT;
        fault_install();
        fault_fail(call, 0, false);
        int rc = pack_out_entries(p, 3, &entries, &n, &cap, &e);
        fault_remove();
        if (rc == 0) break;
        failed++;
        assert_int_equal(rc, -ERR_NO_MEMORY);
        assert_int_equal(n, 5);
        seam_free(entries);
        cap = 5;
        assert_non_null(entries = seam_alloc(cap * sizeof *entries));
    }
    assert_true(failed > 1);
    assert_int_equal(n, 205);
    for (unsigned i = 0; i < 200; i++) assert_true(entries[5 + i].frame == i && entries[5 + i].pack == 3);
    seam_free(entries);
    pack_out_free(p);
    session_clear(&s);
    kit_end(&k);
}

/* Other threads go on looking chunks up, and mark the pack in which one is found. */
static void a_run_that_finds_no_memory_for_its_marks_is_not_in_the_index(void **state) {
    (void)state;
    const struct writer_options o = {.environment = "t", .surface = "s", .threads = 1};
    struct kit k;
    struct error err = ERROR_INIT;
    struct writer *w;
    unsigned failed = 0;
    kit_begin(&k);
    kit_ok(writer_open(k.repo, &o, &w, &err), &err);
    for (uint64_t at = 2, hits = 2; at % 2 || hits; at++) { /* each call twice, as arrays grow now and then */
        struct error e = ERROR_INIT;
        struct digest sha, id;
        uint8_t data[1000];
        if (at % 2 == 0) hits = 0;
        kit_random(data, sizeof data, (uint32_t)at);
        sha256(BYTES_OF(data, sizeof data), &sha);
        kit_ok(chunk_put(w, CHUNK_DATA, BYTES_OF(data, sizeof data), &sha, NULL, &id, &err), &err);
        kit_ok(groups_flush(w, &err), &err);
        pool_drain(w->pool);
        kit_ok(packs_close(w, &err), &err);
        fault_install();
        fault_fail(at / 2, 0, false);
        int rc = run_flush(w, &e);
        hits += fault_hits();
        fault_remove();
        assert_int_equal(rc, -(int)e.code);
        if (w->used_count != k.repo->index.count)
            fail_msg("call %llu: %zu runs, marks for %zu: %s", (unsigned long long)at / 2, k.repo->index.count,
                     w->used_count, e.text);
        assert_true(chunk_use(w, id.b));
        failed += rc < 0;
        if (rc == -ERR_IO_SYNC) { /* the store takes no more */
            writer_free(w);
            kit_reopen(&k, false);
            kit_ok(writer_open(k.repo, &o, &w, &err), &err);
        }
    }
    assert_true(failed > 10);
    writer_free(w);
    kit_end(&k);
}

static int note_harm(void *ctx, const struct check_finding *f, struct error *err) {
    (void)err;
    if (f->snapshots[0] || strncmp(f->object, "packs/", 6) != 0) *(bool *)ctx = true;
    return 0;
}

/* Whoever vouches for a snapshot goes by whether a finding names it, or is for all. */
static void harm_is_named(struct kit *k) {
    unsigned failed = 0;
    for (uint64_t call = 1;; call++) {
        bool named = false;
        struct error err = ERROR_INIT;
        struct check_options o = {.level = VERIFY_CHECKSUM, .threads = 1, .finding = note_harm, .ctx = &named};
        struct check_totals t;
        fault_install();
        fault_fail(call, 0, false);
        int rc = repo_check(k->repo, &o, &t, &err);
        bool hit = fault_hits() > 0;
        const char *op = fault_hit();
        fault_remove();
        assert_int_equal(rc, -(int)err.code);
        if (rc == 0 && !named)
            fail_msg("call %llu, %s: %s, and nothing names the snapshot", (unsigned long long)call, op,
                     check_result_name(t.result));
        failed += rc < 0;
        if (!hit) break;
    }
    assert_true(failed > 10);
}

static void a_check_that_fails_half_way_leaves_no_harmed_snapshot_out(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it[16];
    char command[300];
    (void)items_of(it);
    kit_begin(&k);
    kit_backup(&k, "t", it, 5, false, NULL);
    snprintf(command, sizeof command,
             "f=$(find %s/repo/packs/d -type f | sort | head -1); chmod u+w $f; "
             "printf '\\377\\000\\377' | dd of=$f bs=1 seek=4000 conv=notrunc 2>/dev/null",
             k.dir);
    assert_int_equal(system(command), 0);
    kit_reopen(&k, true);
    harm_is_named(&k);
    kit_end(&k);
    /* and when the index does not have the packs */
    kit_begin(&k);
    kit_backup(&k, "t", it, 5, false, NULL);
    while (k.repo->index.count) index_drop(k.repo, &k.repo->index, 0, false);
    harm_is_named(&k);
    kit_end(&k);
}

int main(void) {
    text = malloc(BIG);
    noise = malloc(BIG);
    kit_text(text, BIG, 1);
    kit_random(noise, BIG, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restores_what_was_stored),
        cmocka_unit_test(second_backup_stores_nothing_new),
        cmocka_unit_test(records_need_not_be_asked_about_to_become_deltas),
        cmocka_unit_test(held_items_are_confirmed_or_written_anew),
        cmocka_unit_test(scattered_changes_become_deltas),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(content_by_parts_that_is_not_in_parts_is_refused),
        cmocka_unit_test(collection_keeps_what_lives),
        cmocka_unit_test(index_is_rebuilt_from_packs),
        cmocka_unit_test(roles_are_kept_apart),
        cmocka_unit_test(a_forged_entry_is_void),
        cmocka_unit_test(an_unfinished_run_is_resumed),
        cmocka_unit_test(a_resume_point_is_made_every_half_minute),
        cmocka_unit_test(many_small_runs_are_merged),
        cmocka_unit_test(a_pack_whose_entries_find_no_memory_leaves_none),
        cmocka_unit_test(a_run_that_finds_no_memory_for_its_marks_is_not_in_the_index),
        cmocka_unit_test(a_check_that_fails_half_way_leaves_no_harmed_snapshot_out),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    free(noise);
    return rc;
}
