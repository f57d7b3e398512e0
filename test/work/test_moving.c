/* Reading that is overtaken: between opening and reading, a collection of another process moves or removes the packs.
 */
#include "work_kit.h"

#include "base/time.h"
#include "work/backup.h"
#include "work/export.h"
#include "work/inspect.h"
#include "work/restore.h"
#include "work/verify.h"

#include <stdio.h>
#include <stdlib.h>

#define FILES 6
#define BYTES 300000u

static char tree[128];

static void tree_write(uint32_t seed) {
    struct error err = ERROR_INIT;
    uint8_t *mem = malloc(BYTES);
    for (uint32_t i = 0; i < FILES; i++) {
        char path[200];
        kit_random(mem, BYTES, seed + i);
        snprintf(path, sizeof path, "%s/file-%u", tree, i);
        kit_ok(io_replace_file(AT_FDCWD, path, BYTES_OF(mem, BYTES), 0644, &err), &err);
    }
    free(mem);
}

static void tree_expect(const char *folder, uint32_t seed) {
    uint8_t *mem = malloc(BYTES);
    for (uint32_t i = 0; i < FILES; i++) {
        struct error err = ERROR_INIT;
        struct buf b = BUF_INIT(1u << 20);
        char path[4200];
        kit_random(mem, BYTES, seed + i);
        snprintf(path, sizeof path, "%s/file-%u", folder, i);
        kit_ok(io_read_file(AT_FDCWD, path, b.max_bytes, &b, &err), &err);
        assert_int_equal(b.len, BYTES);
        assert_memory_equal(b.ptr, mem, BYTES);
        buf_free(&b);
    }
    free(mem);
}

static uint64_t backed_up(struct work_kit *k) {
    struct error err = ERROR_INIT;
    const char *paths[] = {tree, NULL};
    struct work_surface s;
    struct backup_options o = {.full_read = true};
    struct backup_result r;
    kit_ok(backup_adhoc_surface(paths, 1, "tree", &s, &err), &err);
    kit_ok(backup_surface(k->work, &s, &o, &r, &err), &err);
    work_surface_close(&s);
    assert_true(r.complete);
    return r.seq;
}

/* What another process does: every old pack is rewritten and removed; `forget` (0: none) goes before. */
static void collected(struct work_kit *k, uint64_t forget) {
    struct error err = ERROR_INIT;
    struct gc_options o = {.now_ns = time_now_ns() + NS_PER_S, .repack_below = 1.1};
    struct gc_plan done;
    kit_ok(repo_sync(k->kit.repo, &err), &err);
    if (forget) kit_ok(repo_forget(k->kit.repo, &forget, 1, "test", &err), &err);
    kit_ok(gc_run(k->kit.repo, &o, &done, &err), &err);
    assert_true(done.repack_packs + done.dead_packs > 0);
    gc_plan_free(&done);
}

static const struct snapshot_info *info_of(struct work_kit *k, uint64_t seq) {
    for (size_t i = 0; i < repo_snapshot_count(k->work->repo); i++)
        if (repo_snapshot(k->work->repo, i)->seq == seq) return repo_snapshot(k->work->repo, i);
    fail_msg("no snapshot");
    return NULL;
}

static int begin(void **state) {
    static struct work_kit k;
    struct error err = ERROR_INIT;
    work_kit_begin(&k, NULL);
    k.work->options.repository = k.kit.repo_dir; /* for addresses of an environment that is not configured */
    snprintf(tree, sizeof tree, "%s/tree", k.kit.dir);
    kit_ok(io_mkdirs(tree, 0755, &err), &err);
    *state = &k;
    return 0;
}

static int end(void **state) {
    work_kit_end(*state);
    return 0;
}

struct reading {
    struct work_kit *k;
    struct snapshot *s;
    unsigned items, collections;
    uint64_t bytes;
};

static int read_item(void *ctx, const struct item_head *h, struct error *err) {
    struct reading *r = ctx;
    struct ritem *it;
    struct bytes piece;
    if (h->kind == CONTENT_NONE) return 0;
    int rc = ritem_open(r->s, h, &it, err);
    if (rc < 0) return rc;
    /* between opening the item and its first byte, time and again */
    if (r->k && r->items < 3) {
        collected(r->k, 0);
        r->collections++;
    }
    r->items++;
    while ((rc = ritem_next(it, &piece, err)) == 0 && piece.len) r->bytes += piece.len;
    ritem_close(it);
    return rc;
}

static void a_walk_survives_three_collections(void **state) {
    struct work_kit *k = *state;
    struct reading r = {.k = k};
    tree_write(1);
    uint64_t seq = backed_up(k);
    size_t known = ledger_size(repo_ledger(k->work->repo));
    assert_works(snapshot_open(k->work->repo, info_of(k, seq), &r.s, &err));
    assert_works(snapshot_walk(r.s, BYTES_OF(NULL, 0), read_item, &r, &err));
    snapshot_close(r.s);
    assert_int_equal(r.items, FILES);
    assert_int_equal(r.bytes, FILES * BYTES);
    assert_int_equal(r.collections, 3);
    /* what others hold of the handle stays as it was */
    assert_int_equal(ledger_size(repo_ledger(k->work->repo)), known);
}

static void a_restore_from_a_plan_made_before_a_collection_is_whole(void **state) {
    struct work_kit *k = *state;
    struct restore_plan p;
    struct restore_done d;
    char into[200];
    tree_write(20);
    backed_up(k);
    snprintf(into, sizeof into, "%s/back", k->kit.dir);
    struct restore_options o = {.into = into};
    assert_works(restore_plan_make(k->work, "local/tree", &o, &p, &err));
    collected(k, 0);
    assert_works(restore_run(k->work, &p, NULL, &d, &err));
    char where[500];
    snprintf(where, sizeof where, "%s%s", into, tree);
    struct stat st;
    tree_expect(seam_fstatat(AT_FDCWD, where, &st, 0) == 0 ? where : into, 20);
    json_decref(d.facts);
    restore_plan_free(&p);
}

/* A handle of another repository, or of a copy, has something else at the same place of its log. */
static void a_plan_is_carried_out_for_no_other_point(void **state) {
    struct work_kit *k = *state;
    struct restore_plan p;
    struct restore_done d;
    struct stat st;
    char into[200];
    tree_write(30);
    backed_up(k);
    snprintf(into, sizeof into, "%s/back", k->kit.dir);
    struct restore_options o = {.into = into};
    assert_works(restore_plan_make(k->work, "local/tree", &o, &p, &err));
    json_t *own = json_incref(json_object_get(p.doc, "receipt"));
    json_object_set(p.doc, "receipt", json_object_get(p.doc, "repository"));
    assert_fails(restore_run(k->work, &p, NULL, &d, &err), ERR_PLAN_STALE, "its recovery point is not there any more");
    json_object_set(p.doc, "repository", own);
    assert_fails(restore_run(k->work, &p, NULL, &d, &err), ERR_PLAN_STALE, "it is for another repository");
    assert_int_equal(seam_fstatat(AT_FDCWD, into, &st, 0), -1);
    json_decref(own);
    restore_plan_free(&p);
}

static int see(void *ctx, const struct surface_driver *d, const struct change *c, struct error *e) {
    (void)d;
    (void)e;
    *(unsigned *)ctx += c->kind == CHANGE_CONTENT || c->kind == CHANGE_BOTH;
    return 0;
}

static void an_export_and_a_diff_are_too(void **state) {
    struct work_kit *k = *state;
    struct diff_totals t;
    char to[200];
    tree_write(40);
    uint64_t a = backed_up(k);
    tree_write(41);
    uint64_t b = backed_up(k);
    collected(k, 0);
    snprintf(to, sizeof to, "%s/export", k->kit.dir);
    assert_works(export_snapshot(k->work, info_of(k, a), to, &err));
    collected(k, 0);
    unsigned seen = 0;
    struct error err = ERROR_INIT;
    kit_ok(inspect_diff(k->work, info_of(k, a), info_of(k, b), see, &seen, &t, &err), &err);
    assert_int_equal(seen, FILES);
    assert_in_range(t.changed, FILES, FILES + 1); /* their folder, too, when its time has moved on by a second */
}

static void found(void *ctx, const struct verify_finding *f) {
    (void)f;
    ++*(unsigned *)ctx;
}

static void a_verification_is_taken_again_and_finds_nothing(void **state) {
    static const enum verify_level levels[] = {VERIFY_PRESENT, VERIFY_CHECKSUM, VERIFY_DECODE, VERIFY_FULL};
    struct work_kit *k = *state;
    tree_write(60);
    for (size_t i = 0; i < 4; i++) {
        struct verify_result r;
        unsigned findings = 0;
        uint64_t seq = backed_up(k);
        const struct snapshot_info *list[] = {info_of(k, seq)};
        collected(k, 0);
        assert_works(verify_snapshots(k->work, list, 1, levels[i], found, &findings, &r, &err));
        assert_true(r.passed);
        assert_int_equal(findings, 0);
        assert_int_equal(r.points, 1);
        json_decref(r.differences);
        assert_int_equal(info_of(k, seq)->verified, levels[i]);
    }
}

static void what_was_forgotten_meanwhile_is_said_to_be(void **state) {
    struct work_kit *k = *state;
    struct restore_plan p;
    struct restore_done d;
    struct verify_result r;
    char into[200];
    tree_write(80);
    uint64_t seq = backed_up(k);
    tree_write(90);
    backed_up(k);
    snprintf(into, sizeof into, "%s/gone", k->kit.dir);
    char address[160];
    snprintf(address, sizeof address, "local/tree@%s", info_of(k, seq)->id);
    struct restore_options o = {.into = into};
    assert_works(restore_plan_make(k->work, address, &o, &p, &err));
    collected(k, seq);
    struct error err = ERROR_INIT;
    assert_int_equal(restore_run(k->work, &p, NULL, &d, &err), -ERR_OBJECT_MISSING);
    if (!strstr(err.state, "was forgotten by entry")) fail_msg("%s", err.state);
    assert_non_null(strstr(err.state, info_of(k, seq)->id));
    struct stat st;
    assert_int_equal(seam_fstatat(AT_FDCWD, into, &st, 0), -1);
    json_decref(d.facts);
    restore_plan_free(&p);
    const struct snapshot_info *list[] = {info_of(k, seq)};
    error_clear(&err);
    int rc = verify_snapshots(k->work, list, 1, VERIFY_DECODE, NULL, NULL, &r, &err);
    if (rc != -ERR_NO_POINT || !strstr(err.text, "was forgotten in the meantime")) fail_msg("%d %s", rc, err.text);
}

static int remove_data(void *ctx, const struct store_object *o, struct error *err) {
    struct work_kit *k = ctx;
    return strncmp(o->key, "packs/d/", 8) == 0 ? store_remove(k->kit.store, o->key, err) : 0;
}

static void what_is_really_missing_stays_so(void **state) {
    struct work_kit *k = *state;
    struct reading r = {0};
    tree_write(100);
    uint64_t seq = backed_up(k);
    /* somebody else's entry is news, but says nothing of it */
    work_kit_verify(k, seq, VERIFY_PRESENT, true);
    assert_works(store_list(k->kit.store, "packs/", remove_data, k, &err));
    assert_works(snapshot_open(k->work->repo, info_of(k, seq), &r.s, &err));
    assert_fails(snapshot_walk(r.s, BYTES_OF(NULL, 0), read_item, &r, &err), ERR_OBJECT_MISSING, "packs/d/");
    snapshot_close(r.s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_walk_survives_three_collections, begin, end),
        cmocka_unit_test_setup_teardown(a_restore_from_a_plan_made_before_a_collection_is_whole, begin, end),
        cmocka_unit_test_setup_teardown(a_plan_is_carried_out_for_no_other_point, begin, end),
        cmocka_unit_test_setup_teardown(an_export_and_a_diff_are_too, begin, end),
        cmocka_unit_test_setup_teardown(a_verification_is_taken_again_and_finds_nothing, begin, end),
        cmocka_unit_test_setup_teardown(what_was_forgotten_meanwhile_is_said_to_be, begin, end),
        cmocka_unit_test_setup_teardown(what_is_really_missing_stays_so, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
