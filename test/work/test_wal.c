/* WAL of a surface in its repository: whose it is, whole and in pieces, what there is of it, and what is left of a
 * crash. */
#include "work_kit.h"

#include "repo/objects.h"
#include "repo/scrub.h"
#include "repo/writer.h"
#include "work/wal.h"
#include "work/wal_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SYSTEM UINT64_C(7351234567890123456)
#define SEGMENT (1u << 20) /* the smallest that servers have */

static uint8_t file[SEGMENT];

static struct bytes segment(uint32_t timeline, uint32_t number, uint64_t system, uint8_t fill) {
    memset(file, fill, sizeof file);
    memset(file, 0, 40);
    put_u16(file, 0xD110);
    put_u16(file + 2, 2);
    put_u32(file + 4, timeline);
    put_u64(file + 8, (uint64_t)number * SEGMENT);
    put_u64(file + 24, system);
    put_u32(file + 32, SEGMENT);
    put_u32(file + 36, 8192);
    return BYTES_OF(file, sizeof file);
}

static struct wal_name name(uint32_t timeline, uint32_t number) {
    return (struct wal_name){WAL_SEGMENT, timeline, 0, number, 0};
}

static struct work_wal *open_wal(struct work_kit *k) {
    struct error err = ERROR_INIT;
    struct work_wal *h = NULL;
    kit_ok(work_wal_open(k->work, "dev", "db", &h, &err), &err);
    return h;
}

static int put(struct work_wal *h, uint32_t timeline, uint32_t number, uint8_t fill, struct error *err) {
    struct wal_name n = name(timeline, number);
    return work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, segment(timeline, number, SYSTEM, fill), err);
}

static int put_piece(struct work_wal *h, uint32_t number, uint32_t from, uint32_t to, uint8_t fill, struct error *err) {
    struct wal_name n = name(1, number);
    struct bytes whole = segment(1, number, SYSTEM, fill);
    return work_wal_sink(h)->ops->put_piece(work_wal_sink(h), SYSTEM, &n, from, BYTES_OF(whole.ptr + from, to - from),
                                            err);
}

static int get(struct work_wal *h, uint32_t number, struct buf *b, struct error *err) {
    struct wal_name n = name(1, number);
    buf_clear(b);
    return work_wal_source(h)->ops->get(work_wal_source(h), SYSTEM, &n, b, err);
}

static void a_surface_is_one_cluster(void **s) {
    (void)s;
    struct work_kit k;
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    uint64_t system = 0;
    struct wal_name n = name(1, 2);
    assert_false(work_wal_system(h, &system));
    assert_works(put(h, 1, 1, 7, &err));
    assert_true(work_wal_system(h, &system) && system == SYSTEM);
    assert_fails(work_wal_sink(h)->ops->put(work_wal_sink(h), 5, &n, segment(1, 2, 5, 7), &err), ERR_PG_WAL,
                 "is the cluster 7351234567890123456");
    assert_fails(work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, segment(1, 2, 5, 7), &err), ERR_PG_WAL,
                 "system identifier 5");
    assert_fails(put(h, 1, 1, 8, &err), ERR_WAL_DIFFERS, "other bytes");
    assert_works(work_wal_register(h, false, &err)); /* the first waits for nothing */
    assert_int_equal(wal_log_count(k.work->repo), 1);
    assert_works(put(h, 1, 2, 7, &err));
    assert_works(work_wal_register(h, false, &err));
    assert_int_equal(wal_log_count(k.work->repo), 1);
    work_wal_close(h);
    h = open_wal(&k); /* who comes later finds what waits */
    assert_true(work_wal_system(h, &system) && system == SYSTEM);
    assert_works(work_wal_register(h, true, &err));
    assert_int_equal(wal_log_count(k.work->repo), 2);
    assert_works(work_wal_register(h, true, &err));
    assert_int_equal(wal_log_count(k.work->repo), 2);
    work_wal_close(h);
    work_kit_end(&k);
}

static void pieces_make_a_beginning_and_give_way(void **s) {
    (void)s;
    struct work_kit k;
    struct buf b = BUF_INIT(4 * SEGMENT);
    uint32_t timeline, bytes;
    uint64_t lsn;
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    assert_works(work_wal_sink(h)->ops->resume(work_wal_sink(h), SYSTEM, &timeline, &lsn, &bytes, &err));
    assert_true(lsn == 0);
    assert_works(put(h, 1, 1, 7, &err));
    assert_works(put_piece(h, 2, 0, 3000, 9, &err));
    assert_works(put_piece(h, 2, 3000, 8192, 9, &err));
    assert_works(put_piece(h, 2, 0, 3000, 9, &err));
    assert_works(get(h, 2, &b, &err));
    assert_int_equal(b.len, SEGMENT);
    assert_works(put_piece(h, 2, 20000, 30000, 9, &err)); /* nothing goes before it */
    assert_works(put_piece(h, 3, 100, 200, 9, &err));
    assert_fails(put_piece(h, 2, 0, 3000, 8, &err), ERR_WAL_DIFFERS, "pieces/00000000-00000BB8");
    assert_works(work_wal_sink(h)->ops->resume(work_wal_sink(h), SYSTEM, &timeline, &lsn, &bytes, &err));
    assert_true(timeline == 1 && lsn == 2 * SEGMENT + 8192 && bytes == SEGMENT);
    assert_memory_equal(b.ptr, segment(1, 2, SYSTEM, 9).ptr, 8192);
    for (size_t i = 8192; i < SEGMENT; i++) assert_int_equal(b.ptr[i], 0);
    assert_fails(get(h, 2, &b, &err), ERR_OBJECT_MISSING, "a later piece of it shows that it was stored");
    assert_fails(get(h, 3, &b, &err), ERR_OBJECT_MISSING, "000000010000000000000003 is not all there");
    assert_fails(get(h, 4, &b, &err), ERR_WAL_ABSENT, "is not in the repository");
    assert_works(put(h, 1, 2, 9, &err));
    assert_works(get(h, 2, &b, &err));
    assert_memory_equal(b.ptr, segment(1, 2, SYSTEM, 9).ptr, SEGMENT);
    assert_works(work_wal_register(h, true, &err));
    struct live_objects live;
    assert_works(repo_live_objects(k.work->repo, &live, &err));
    unsigned wal = 0;
    for (size_t i = 0; i < live.count; i++) wal += live.items[i].kind == LIVE_WAL;
    assert_int_equal(wal, 3); /* two segments, and the piece of one that is not whole */
    live_objects_free(&live);
    uint64_t gone, freed;
    assert_works(work_wal_collect(k.work, &gone, &freed, &err));
    assert_int_equal(gone, 3);
    assert_works(get(h, 2, &b, &err));
    assert_works(work_wal_collect(k.work, &gone, &freed, &err));
    assert_int_equal(gone, 0);
    work_wal_close(h);
    struct wal_view v;
    assert_works(work_wal_verify(k.work, "dev", "db", true, NULL, NULL, &v, &err));
    assert_true(v.missing == 0 && v.damaged == 0 && v.gap_count == 0 && v.range_count == 1 && v.objects == 3);
    wal_view_free(&v);
    buf_free(&b);
    work_kit_end(&k);
}

static void gaps_are_found_within_and_between_timelines(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_view v;
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    static const uint32_t first[] = {1, 2, 5, 6};
    for (size_t i = 0; i < 4; i++) assert_works(put(h, 1, first[i], 7, &err));
    assert_works(put(h, 2, 9, 7, &err));
    assert_works(work_wal_register(h, false, &err));
    work_wal_close(h);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_int_equal(v.range_count, 3);
    assert_int_equal(v.gap_count, 2);
    assert_true(v.gaps[0].timeline == 1 && v.gaps[0].from == 3 * SEGMENT && v.gaps[0].to == 5 * SEGMENT);
    assert_true(v.gaps[1].timeline == 2 && v.gaps[1].to == 0); /* its history */
    wal_view_free(&v);
    h = open_wal(&k);
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = 2};
    assert_fails(work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, BYTES_STR("nonsense"), &err), ERR_PG_WAL,
                 "line 1");
    assert_works(work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, BYTES_STR("1\t0/900100\tpromoted\n"), &err));
    work_wal_close(h);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_int_equal(v.gap_count, 2);
    assert_true(v.gaps[1].timeline == 1 && v.gaps[1].needed_by == 2 && v.gaps[1].from == 7 * SEGMENT &&
                v.gaps[1].to == 9 * SEGMENT);
    wal_view_free(&v);
    work_kit_end(&k);
}

static void files_that_are_not_whole_are_refused(void **s) {
    (void)s;
    struct work_kit k;
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    struct wal_name n = name(1, 1);
    struct bytes b = segment(1, 1, SYSTEM, 1);
    b.len = 9000;
    assert_fails(work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, b, &err), ERR_PG_WAL, "9000 bytes");
    n.kind = WAL_PARTIAL;
    assert_fails(work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, b, &err), ERR_PG_WAL, "9000 bytes");
    n = (struct wal_name){WAL_BACKUP, 1, 0, 1, 0x28};
    assert_fails(work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, BYTES_OF("", 0), &err), ERR_PG_WAL,
                 "0 bytes");
    assert_works(
        work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &n, BYTES_STR("START WAL LOCATION: 0/100028\n"), &err));
    work_wal_close(h);
    work_kit_end(&k);
}

static void a_mark_is_of_one_very_file(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_spool spool;
    struct stat st = {.st_dev = 1, .st_ino = 2, .st_size = 3, .st_mtim = {4, 5}};
    struct wal_name n = name(1, 1), other = name(1, 2);
    work_kit_begin(&k, NULL);
    assert_works(wal_spool_open(k.work, "one", "dev", "db", &spool, &err));
    assert_works(wal_mark_set(&spool, &n, &st, &err));
    assert_true(wal_mark_holds(&spool, &n, &st));
    assert_false(wal_mark_holds(&spool, &other, &st));
    struct stat x = st;
    x.st_mtim.tv_nsec++;
    assert_false(wal_mark_holds(&spool, &n, &x));
    x = st;
    x.st_ino++;
    assert_false(wal_mark_holds(&spool, &n, &x));
    x = st;
    x.st_size++;
    assert_false(wal_mark_holds(&spool, &n, &x));
    struct wal_spool another; /* of a repository that was made anew in the same place */
    assert_works(wal_spool_open(k.work, "two", "dev", "db", &another, &err));
    assert_false(wal_mark_holds(&another, &n, &st));
    wal_mark_drop(&spool, &n);
    assert_false(wal_mark_holds(&spool, &n, &st));
    work_kit_end(&k);
}

static void what_waits_for_the_log_outlives_a_crash(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_spool spool;
    struct wal_row row = {.key = "wal/1/00000001/000000010000000000000001", .object_bytes = 9}, *rows;
    size_t n;
    int lock, second;
    bool more;
    work_kit_begin(&k, NULL);
    assert_works(wal_spool_open(k.work, "one", "dev", "db", &spool, &err));
    assert_works(wal_pending_add(&spool, &row, &err));
    assert_works(wal_pending_take(&spool, false, &rows, &n, &lock, &err));
    assert_true(n == 0 && lock < 0);
    assert_works(wal_pending_take(&spool, true, &rows, &n, &lock, &err));
    assert_true(n == 1 && lock >= 0 && strcmp(rows[0].key, row.key) == 0 && rows[0].object_bytes == 9);
    seam_free(rows);
    assert_works(wal_pending_take(&spool, true, &rows, &n, &second, &err));
    assert_true(n == 0 && second < 0);      /* one at a time */
    assert_works(wal_pending_done(&spool, false, &more, &lock, &err)); /* it could not be registered */
    row.object_bytes = 10;
    assert_works(wal_pending_add(&spool, &row, &err));
    assert_works(wal_pending_take(&spool, false, &rows, &n, &lock, &err));
    assert_true(n == 1 && rows[0].object_bytes == 9);
    seam_free(rows);
    assert_works(wal_pending_done(&spool, true, &more, &lock, &err));
    assert_false(more);
    assert_works(wal_pending_take(&spool, true, &rows, &n, &lock, &err));
    assert_true(n == 1 && rows[0].object_bytes == 10);
    seam_free(rows);
    assert_works(wal_pending_done(&spool, true, &more, &lock, &err));
    assert_false(more);
    assert_works(wal_pending_take(&spool, true, &rows, &n, &lock, &err));
    assert_int_equal(n, 0);
    work_kit_end(&k);
}

/* A full disk takes a part of a line, and what comes behind it is another's. */
static void a_line_that_was_cut_off_harms_no_other(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_spool spool;
    struct wal_row row = {.key = "wal/1/00000001/000000010000000000000001", .object_bytes = 9}, *rows;
    char path[WAL_SPOOL_BYTES + 80];
    size_t n;
    int lock;
    bool more;
    work_kit_begin(&k, NULL);
    assert_works(wal_spool_open(k.work, "one", "dev", "db", &spool, &err));
    snprintf(path, sizeof path, "%s/pending", spool.path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    char hex[2 * DIGEST_BYTES + 1];
    memset(hex, 'a', sizeof hex - 1);
    hex[sizeof hex - 1] = 0;
    assert_true(fprintf(f, "1 wal/1/x %s 0000000000000000016\n1 wal/1/y %s 7\n1 wal/1/00000001/0000", hex, hex) > 0);
    assert_int_equal(fclose(f), 0);
    assert_works(wal_pending_add(&spool, &row, &err));
    row.object_bytes = 10;
    assert_works(wal_pending_add(&spool, &row, &err));
    assert_works(wal_pending_take(&spool, true, &rows, &n, &lock, &err));
    assert_true(n == 3 && rows[0].object_bytes == 7 && rows[1].object_bytes == 9 && rows[2].object_bytes == 10);
    seam_free(rows);
    assert_works(wal_pending_done(&spool, true, &more, &lock, &err));
    work_kit_end(&k);
}

/* More than is read at once: what a log that was out of reach for days leaves. */
static void very_many_that_wait_are_taken_in_turns(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_spool spool;
    struct wal_row *rows;
    char path[WAL_SPOOL_BYTES + 80];
    uint64_t taken = 0;
    size_t n, turns = 0;
    int lock;
    bool more = true;
    enum { ALL = 150000 };
    work_kit_begin(&k, NULL);
    assert_works(wal_spool_open(k.work, "one", "dev", "db", &spool, &err));
    snprintf(path, sizeof path, "%s/pending", spool.path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < ALL; i++) assert_true(fprintf(f, "1 wal/1/00000001/00000001%016d %064d %d\n", i, 0, i + 1) > 0);
    assert_int_equal(fclose(f), 0);
    while (more) {
        assert_works(wal_pending_take(&spool, true, &rows, &n, &lock, &err));
        assert_true(n > 0 && rows[0].object_bytes == taken + 1 && rows[n - 1].object_bytes == taken + n);
        seam_free(rows);
        taken += n;
        turns++;
        if (turns == 2) { /* one that could not be registered comes again */
            assert_works(wal_pending_done(&spool, false, &more, &lock, &err));
            taken -= n;
            more = true;
            continue;
        }
        assert_works(wal_pending_done(&spool, true, &more, &lock, &err));
    }
    assert_true(taken == ALL && turns > 3);
    assert_works(wal_pending_take(&spool, true, &rows, &n, &lock, &err));
    assert_int_equal(n, 0);
    work_kit_end(&k);
}

static int count_findings(void *ctx, const char *object, enum check_result r, const char *text, struct error *err) {
    (void)err, (void)text;
    if (strstr(object, "wal/")) ((unsigned *)ctx)[r == CHECK_MISSING]++;
    return 0;
}

static void whoever_has_no_key_can_check_it(void **s) {
    (void)s;
    struct work_kit k;
    unsigned found[2] = {0};
    struct scrub_options o = {.threads = 1, .ctx = found, .finding = count_findings};
    struct scrub_totals t;
    char key[WAL_OBJECT_KEY_BYTES];
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    for (uint32_t i = 1; i < 4; i++) assert_works(put(h, 1, i, 7, &err));
    assert_works(work_wal_register(h, true, &err));
    work_wal_close(h);
    assert_works(repo_scrub(k.work->store, &o, &t, &err));
    assert_int_equal(t.findings, 0);
    struct wal_name n = name(1, 2);
    wal_object_name(SYSTEM, &n, key);
    assert_works(store_remove(k.work->store, key, &err));
    assert_works(store_create(k.work->store, key, BYTES_STR("something else"), &err));
    n = name(1, 3);
    wal_object_name(SYSTEM, &n, key);
    assert_works(store_remove(k.work->store, key, &err));
    assert_works(repo_scrub(k.work->store, &o, &t, &err));
    assert_true(t.findings == 2 && found[0] == 1 && found[1] == 1);
    struct wal_view v;
    assert_works(work_wal_verify(k.work, "dev", "db", true, NULL, NULL, &v, &err));
    assert_true(v.missing == 1 && v.damaged == 1 && v.checked == 2);
    wal_view_free(&v);
    work_kit_end(&k);
}

/* ---- retention ---- */

struct base_receipt {
    struct writer *w;
    const char *kind;
};

static int base_receipt_build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    const struct base_receipt *b = ctx;
    (void)seq;
    int rc = kit_receipt(b->w, "db", ret, err);
    if (rc == 0)
        json_object_set_new(json_object_get(json_object_get(*ret, "predicate"), "repository"), "kind",
                            json_string(b->kind));
    return rc;
}

/* A backup of `SYSTEM` that begins at `lsn`; NULL: one that does not say. */
static uint64_t base(struct work_kit *k, uint32_t timeline, const char *lsn) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = "db", .threads = 1};
    struct base_receipt b = {.kind = "postgres-physical"};
    char system[24];
    uint64_t seq = 0;
    snprintf(system, sizeof system, "%llu", (unsigned long long)SYSTEM);
    json_t *root = json_pack("{s:{s:s, s:I, s:s?}}", "facts", "system_identifier", system, "timeline",
                             (json_int_t)timeline, "start_lsn", lsn);
    kit_ok(repo_sync(k->kit.repo, &err), &err);
    kit_ok(writer_open(k->kit.repo, &o, &b.w, &err), &err);
    kit_ok(writer_finish(b.w, root, &err), &err);
    kit_ok(writer_commit(b.w, base_receipt_build, &b, &seq, NULL, &err), &err);
    writer_free(b.w);
    json_decref(root);
    kit_ok(repo_sync(k->work->repo, &err), &err);
    return seq;
}

static struct wal_leaving leaving(struct work_kit *k, int64_t grace_ns, wal_base_goes goes, void *ctx) {
    struct wal_leaving l = {0};
    assert_works(work_wal_leaving(k->work, SYSTEM, grace_ns, goes, ctx, &l, &err));
    return l;
}

static void stays(struct work_kit *k, wal_base_goes goes, void *ctx, const char *why) {
    struct wal_leaving l = leaving(k, 0, goes, ctx);
    if (l.objects || l.first_count || !strstr(l.why, why)) fail_msg("%d go: '%s'", (int)l.objects, l.why);
    wal_leaving_free(&l);
}

static bool is_it(void *ctx, uint64_t seq) {
    return seq == *(uint64_t *)ctx;
}

/* Timelines 1 (segments 1-8), 2 (from 5 on, 5-12) and 3, which nobody comes from. */
static void stored(struct work_kit *k) {
    struct wal_name history = {.kind = WAL_HISTORY, .timeline = 2}, backup = {WAL_BACKUP, 1, 0, 2, 0x28};
    struct work_wal *h = open_wal(k);
    for (uint32_t i = 1; i <= 8; i++)
        if (i != 4) assert_works(put(h, 1, i, 7, &err));
    assert_works(put_piece(h, 4, 0, 3000, 7, &err));
    assert_works(work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &backup, BYTES_STR("START\n"), &err));
    assert_works(
        work_wal_sink(h)->ops->put(work_wal_sink(h), SYSTEM, &history, BYTES_STR("1\t0/500100\tpromoted\n"), &err));
    for (uint32_t i = 5; i <= 12; i++) assert_works(put(h, 2, i, 7, &err));
    assert_works(put(h, 3, 3, 7, &err));
    assert_works(work_wal_register(h, true, &err));
    work_wal_close(h);
}

static bool there(struct work_kit *k, uint32_t timeline, uint32_t number) {
    struct wal_name n = name(timeline, number);
    char key[WAL_OBJECT_KEY_BYTES];
    struct error e = ERROR_INIT;
    wal_object_name(SYSTEM, &n, key);
    return store_stat(k->work->store, key, NULL, NULL, &e) == 0;
}

static void what_no_base_needs_goes(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_removed gone = {0};
    struct wal_view v;
    struct live_objects live;
    unsigned found[2] = {0};
    struct scrub_options o = {.threads = 1, .ctx = found, .finding = count_findings};
    struct scrub_totals t;
    work_kit_begin(&k, NULL);
    stored(&k);
    stays(&k, NULL, NULL, "no physical backup of that cluster is kept");
    uint64_t first = base(&k, 1, "0/380000"), second = base(&k, 2, "0/900100");
    struct wal_leaving l = leaving(&k, 0, NULL, NULL); /* the first needs 3 and on, of whatever timeline */
    assert_true(l.first_count == 2 && l.objects == 3); /* 1, 2 and what is told of a backup in 2 */
    assert_string_equal(l.first[0].name, "000000010000000000000003");
    assert_string_equal(l.first[1].name, "000000020000000000000003");
    wal_leaving_free(&l);
    l = leaving(&k, INT64_C(3600000000000), NULL, NULL);
    assert_true(l.first_count == 2 && l.objects == 0); /* too young */
    assert_works(work_wal_remove(k.work, &l, INT64_C(3600000000000), &gone, &err));
    assert_true(gone.objects == 0 && !wal_log_first(k.work->repo, SYSTEM, 1));
    wal_leaving_free(&l);
    uint64_t mute = base(&k, 2, NULL);
    stays(&k, is_it, &first, "does not tell where it begins");
    assert_works(repo_forget(k.work->repo, &mute, 1, "a test", &err));

    l = leaving(&k, 0, is_it, &first);
    assert_int_equal(l.objects, 8 + 1 + 4); /* timeline 1 with its backup file, and 5 to 8 of timeline 2 */
    assert_string_equal(l.first[0].name, "000000020000000000000009");
    assert_string_equal(l.first[1].name, "000000010000000000000009");
    wal_leaving_free(&l);
    assert_works(repo_forget(k.work->repo, &first, 1, "a test", &err));
    l = leaving(&k, 0, NULL, NULL);
    assert_works(work_wal_remove(k.work, &l, 0, &gone, &err));
    assert_true(gone.objects == 13 && gone.locked == 0 && gone.bytes > 0);
    wal_leaving_free(&l);
    for (uint32_t i = 1; i <= 8; i++) assert_false(there(&k, 1, i) || there(&k, 2, i));
    for (uint32_t i = 9; i <= 12; i++) assert_true(there(&k, 2, i));
    assert_true(there(&k, 3, 3));
    assert_string_equal(wal_log_first(k.work->repo, SYSTEM, 2), "000000020000000000000009");
    assert_null(wal_log_first(k.work->repo, SYSTEM, 3));

    /* nobody takes it for damage: neither who has no key, nor who copies */
    assert_works(repo_scrub(k.work->store, &o, &t, &err));
    assert_int_equal(t.findings, 0);
    assert_works(work_wal_verify(k.work, "dev", "db", true, NULL, NULL, &v, &err));
    assert_true(v.missing == 0 && v.damaged == 0 && v.objects == 4 + 1 + 1);
    assert_int_equal(v.gap_count, 1); /* the history of timeline 3, which never was there */
    assert_int_equal(v.gaps[0].timeline, 3);
    wal_view_free(&v);
    assert_works(repo_live_objects(k.work->repo, &live, &err));
    size_t wal = 0;
    for (size_t i = 0; i < live.count; i++) wal += live.items[i].kind == LIVE_WAL;
    assert_int_equal(wal, 4 + 1 + 1);
    live_objects_free(&live);

    /* again: nothing to do, and nothing to say */
    uint64_t size = ledger_size(repo_ledger(k.work->repo));
    l = leaving(&k, 0, NULL, NULL);
    assert_int_equal(l.objects, 0);
    assert_works(work_wal_remove(k.work, &l, 0, &gone, &err));
    wal_leaving_free(&l);
    assert_true(ledger_size(repo_ledger(k.work->repo)) == size);
    /* what is put back below goes again without another entry */
    struct work_wal *h = open_wal(&k);
    assert_works(put(h, 1, 2, 7, &err));
    work_wal_close(h);
    l = leaving(&k, 0, NULL, NULL);
    assert_int_equal(l.objects, 1);
    assert_works(work_wal_remove(k.work, &l, 0, &gone, &err));
    assert_true(gone.objects == 14 && !there(&k, 1, 2));
    wal_leaving_free(&l);
    assert_true(ledger_size(repo_ledger(k.work->repo)) == size);
    /* what is needed and missing is missing */
    struct wal_name n = name(2, 10);
    char key[WAL_OBJECT_KEY_BYTES];
    wal_object_name(SYSTEM, &n, key);
    assert_works(store_remove(k.work->store, key, &err));
    assert_works(repo_scrub(k.work->store, &o, &t, &err));
    assert_int_equal(found[1], 1);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.missing == 1 && v.gap_count == 2);
    wal_view_free(&v);
    (void)second;
    work_kit_end(&k);
}

static void the_newest_segment_stays(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_removed gone = {0};
    uint32_t timeline, bytes;
    uint64_t lsn;
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    for (uint32_t i = 1; i <= 3; i++) assert_works(put(h, 1, i, 7, &err));
    assert_works(work_wal_register(h, true, &err));
    base(&k, 1, "0/900028");
    struct wal_leaving l = leaving(&k, 0, NULL, NULL);
    assert_works(work_wal_remove(k.work, &l, 0, &gone, &err));
    wal_leaving_free(&l);
    assert_true(gone.objects == 2 && there(&k, 1, 3));
    assert_works(work_wal_sink(h)->ops->resume(work_wal_sink(h), SYSTEM, &timeline, &lsn, &bytes, &err));
    assert_true(timeline == 1 && lsn == 4 * SEGMENT && bytes == SEGMENT);
    work_wal_close(h);
    work_kit_end(&k);
}

static void only_who_may_prune_says_that_wal_is_gone(void **s) {
    (void)s;
    struct work_kit k;
    char path[160];
    struct wal_first f = {.system = SYSTEM, .name = "000000010000000000000003"};
    work_kit_begin(&k, NULL);
    stored(&k);
    base(&k, 1, "0/380000");
    work_kit_key(&k, ROLE_WRITER, path);
    work_kit_open(&k, path);
    assert_fails(wal_log_remove(k.work->repo, SYSTEM, &f, 1, &err), ERR_KEY_ROLE, "writer key");
    work_kit_open(&k, NULL);
    work_kit_key(&k, ROLE_PRUNE, path);
    work_kit_open(&k, path);
    stays(&k, NULL, NULL, "this key reads no backup");
    assert_works(wal_log_remove(k.work->repo, SYSTEM, &f, 1, &err));
    memcpy(f.name, "000000010000000000000002", sizeof f.name); /* never back */
    assert_works(wal_log_remove(k.work->repo, SYSTEM, &f, 1, &err));
    assert_string_equal(wal_log_first(k.work->repo, SYSTEM, 1), "000000010000000000000003");
    assert_true(wal_log_gone(k.work->repo, "wal/7351234567890123456/00000001/000000010000000000000002"));
    assert_true(wal_log_gone(k.work->repo,
                             "wal/7351234567890123456/00000001/000000010000000000000002.pieces/00000000-00000010"));
    assert_false(wal_log_gone(k.work->repo, "wal/7351234567890123456/00000001/000000010000000000000003"));
    assert_false(wal_log_gone(k.work->repo, "wal/7351234567890123456/00000001/00000001.history"));
    assert_false(wal_log_gone(k.work->repo, "wal/7351234567890123456/00000002/000000020000000000000001"));
    assert_false(wal_log_gone(k.work->repo, "wal/8/00000001/000000010000000000000001"));
    memcpy(f.name, "00000001000000000000000x", sizeof f.name);
    assert_false(wal_first_valid(f.name));
    work_kit_end(&k);
}

static void a_gap_that_is_known_is_shown_and_no_failure(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_view v;
    struct wal_acknowledged *done;
    struct wal_name n = name(1, 4);
    size_t count;
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    static const uint32_t there[] = {1, 3, 5};
    for (size_t i = 0; i < 3; i++) assert_works(put(h, 1, there[i], 7, &err));
    assert_works(work_wal_register(h, true, &err));
    work_wal_close(h);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.gap_count == 2 && v.known_gaps == 0 && !v.gaps[0].known);
    wal_view_free(&v);
    assert_fails(work_wal_acknowledge(k.work, "dev", "db", &n, "", &done, &count, &err), ERR_USAGE, "a reason has");
    assert_works(work_wal_acknowledge(k.work, "dev", "db", &n, "a disk died", &done, &count, &err));
    assert_true(count == 1 && done[0].timeline == 1 && done[0].from == 4 * SEGMENT && done[0].to == 5 * SEGMENT);
    seam_free(done);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.gap_count == 2 && v.known_gaps == 1 && !v.gaps[0].known && v.gaps[1].known);
    assert_string_equal(v.gaps[1].why, "a disk died");
    wal_view_free(&v);
    /* what is lost behind it afterwards is another gap */
    char key[WAL_OBJECT_KEY_BYTES];
    n = name(1, 3);
    wal_object_name(SYSTEM, &n, key);
    assert_works(store_remove(k.work->store, key, &err));
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.gap_count == 1 && v.known_gaps == 0 && v.missing == 1 && v.known == 0);
    wal_view_free(&v);
    assert_works(work_wal_acknowledge(k.work, "dev", "db", NULL, "all of it", &done, &count, &err));
    assert_true(count == 1 && done[0].from == 2 * SEGMENT && done[0].to == 5 * SEGMENT);
    seam_free(done);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.gap_count == 1 && v.known_gaps == 1 && v.missing == 0 && v.known == 1);
    wal_view_free(&v);
    assert_fails(work_wal_acknowledge(k.work, "dev", "db", NULL, "again", &done, &count, &err), ERR_USAGE,
                 "no gap that is not known");
    /* what is whole cannot be acknowledged, nor what never was */
    static const uint32_t not_hurt[] = {1, 9};
    for (size_t i = 0; i < 2; i++) {
        n = name(1, not_hurt[i]);
        assert_fails(work_wal_acknowledge(k.work, "dev", "db", &n, "a slip", &done, &count, &err), ERR_USAGE,
                     "nothing of it is damaged or lost");
    }
    /* what came after all, and is lost then */
    h = open_wal(&k);
    assert_works(put(h, 1, 4, 7, &err));
    assert_works(work_wal_register(h, true, &err));
    work_wal_close(h);
    n = name(1, 4);
    wal_object_name(SYSTEM, &n, key);
    assert_works(store_remove(k.work->store, key, &err));
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.missing == 1 && v.known == 1);
    wal_view_free(&v);
    assert_works(work_wal_acknowledge(k.work, "dev", "db", &n, "again", &done, &count, &err));
    assert_true(count == 1 && done[0].from == 4 * SEGMENT && done[0].to == 5 * SEGMENT);
    seam_free(done);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.missing == 0 && v.known == 2);
    wal_view_free(&v);
    work_kit_end(&k);
}

static void a_history_that_is_none_spoils_no_other_timeline(void **s) {
    (void)s;
    struct work_kit k;
    struct wal_view v;
    struct wal_object_stored st;
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = 2};
    char key[WAL_OBJECT_KEY_BYTES];
    work_kit_begin(&k, NULL);
    struct work_wal *h = open_wal(&k);
    assert_works(put(h, 1, 1, 7, &err));
    assert_works(put(h, 1, 3, 7, &err));
    assert_works(put(h, 2, 4, 7, &err));
    wal_object_name(SYSTEM, &n, key);
    assert_works(wal_object_put(k.work->repo, key, BYTES_STR("this is no history\n"), 0, &st, &err));
    assert_works(work_wal_register(h, true, &err));
    work_wal_close(h);
    assert_works(work_wal_verify(k.work, "dev", "db", false, NULL, NULL, &v, &err));
    assert_true(v.gap_count == 2 && v.gaps[0].timeline == 1 && v.gaps[0].to == 3 * SEGMENT);
    assert_true(v.gaps[1].timeline == 2 && v.gaps[1].unreadable && v.gaps[1].to == 0);
    wal_view_free(&v);
    work_kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_surface_is_one_cluster),
        cmocka_unit_test(pieces_make_a_beginning_and_give_way),
        cmocka_unit_test(gaps_are_found_within_and_between_timelines),
        cmocka_unit_test(files_that_are_not_whole_are_refused),
        cmocka_unit_test(a_mark_is_of_one_very_file),
        cmocka_unit_test(what_waits_for_the_log_outlives_a_crash),
        cmocka_unit_test(a_line_that_was_cut_off_harms_no_other),
        cmocka_unit_test(very_many_that_wait_are_taken_in_turns),
        cmocka_unit_test(whoever_has_no_key_can_check_it),
        cmocka_unit_test(a_gap_that_is_known_is_shown_and_no_failure),
        cmocka_unit_test(a_history_that_is_none_spoils_no_other_timeline),
        cmocka_unit_test(what_no_base_needs_goes),
        cmocka_unit_test(the_newest_segment_stays),
        cmocka_unit_test(only_who_may_prune_says_that_wal_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
