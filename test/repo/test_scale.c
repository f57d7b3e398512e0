/* What keeps a large repository small to handle, with the limits turned down: names in sets, lists in parts, runs that
 * are merged, local copies that are checked as they are read, collections in several entries. */
#include "repo/nameset.h"
#include "repo/objects.h"
#include "repo/packlist.h"
#include "repo/repair.h"
#include "repo/run_image.h"
#include "repo/run_merge.h"
#include "repo/scrub.h"
#include "repo_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void name_make(uint64_t i, struct digest *ret) {
    sha256(BYTES_OF(&i, sizeof i), ret);
}

/* ---- nameset ---- */

static void a_set_has_what_was_added_once_and_in_order(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct nameset s = {0};
    struct digest d;
    for (uint64_t i = 0; i < 5000; i++) {
        name_make(i * 7 % 3000, &d);
        kit_ok(nameset_add(&s, d.b, &err), &err);
        if (i % 1700 == 0) nameset_sort(&s);
    }
    nameset_sort(&s);
    assert_int_equal(s.count, 3000);
    for (size_t i = 1; i < s.count; i++) assert_true(memcmp(s.names[i - 1], s.names[i], NAME_PREFIX_BYTES) < 0);
    for (uint64_t i = 0; i < 4000; i++) {
        name_make(i, &d);
        const size_t at = nameset_find(&s, d.b);
        assert_true((at != NAMESET_NONE) == (i < 3000));
        if (i < 3000) assert_memory_equal(s.names[at], d.b, NAME_PREFIX_BYTES);
    }
    uint8_t bits[3000 / 8 + 1] = {0};
    for (uint64_t i = 0; i < 3000; i += 3) {
        name_make(i, &d);
        assert_true(bit_take(bits, nameset_find(&s, d.b)));
        assert_false(bit_take(bits, nameset_find(&s, d.b)));
    }
    nameset_drop(&s, bits);
    assert_int_equal(s.count, 2000);
    for (uint64_t i = 0; i < 3000; i++) {
        name_make(i, &d);
        assert_true((nameset_find(&s, d.b) != NAMESET_NONE) == (i % 3 != 0));
    }
    nameset_free(&s);
    nameset_sort(&s);
    assert_true(nameset_find(&s, d.b) == NAMESET_NONE);
}

/* ---- lists in parts ---- */

struct span {
    uint64_t from, end, without; /* without: every so many-th is left out; 0: none */
};

static int span_each(void *ctx, name_cb cb, void *cb_ctx, struct error *err) {
    const struct span *s = ctx;
    int rc = 0;
    for (uint64_t i = s->from; i < s->end && rc == 0; i++) {
        struct digest d;
        if (s->without && i % s->without == 0) continue;
        name_make(i, &d);
        rc = cb(cb_ctx, &d, err);
        if (rc == 0 && i % 5 == 0) rc = cb(cb_ctx, &d, err); /* a source may say things twice */
    }
    return rc;
}

static int set_collect(void *ctx, const struct digest *d, struct error *err) {
    return nameset_add(ctx, d->b, err);
}

static void list_is(struct repo *r, const struct digest *list, struct span want) {
    struct error err = ERROR_INIT;
    struct nameset got = {0}, expected = {0};
    kit_ok(packlist_each(r, list, set_collect, &got, &err), &err);
    kit_ok(span_each(&want, set_collect, &expected, &err), &err);
    const size_t told = got.count;
    nameset_sort(&got);
    nameset_sort(&expected);
    assert_int_equal(told, got.count); /* no list says a name twice */
    assert_int_equal(got.count, expected.count);
    assert_memory_equal(got.names, expected.names, got.count * NAME_PREFIX_BYTES);
    nameset_free(&got);
    nameset_free(&expected);
}

static void list_put(struct repo *r, struct span s, const struct digest *former, struct digest *ret,
                     struct digests *parts) {
    struct error err = ERROR_INIT;
    uint64_t bytes;
    kit_ok(packlist_make(r, span_each, &s, former, ret, &bytes, parts, &err), &err);
    kit_ok(store_commit(r->store, &err), &err);
    list_is(r, ret, s);
}

static size_t in_common(const struct digests *a, const struct digests *b) {
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) n += digest_in(b->d, b->n, &a->d[i]);
    return n;
}

static void a_long_list_is_made_of_the_former_ones_parts(void **state) {
    (void)state;
    struct kit k;
    struct digest first, second, third, fourth, small;
    struct digests a = {0}, b = {0}, c = {0}, d = {0}, none = {0};
    struct packlist l;
    struct error err = ERROR_INIT;
    kit_begin(&k);
    k.repo->part_names = 16;
    list_put(k.repo, (struct span){0, 15, 0}, NULL, &small, &none);
    assert_int_equal(none.n, 0);
    kit_ok(packlist_open(k.repo, &small, &l, &err), &err);
    assert_int_equal(l.part_count, 0); /* plain, as older programs write it */
    packlist_close(&l);
    list_put(k.repo, (struct span){0, 1000, 0}, NULL, &first, &a);
    assert_int_equal(a.n, 62); /* and 8 by itself */
    list_put(k.repo, (struct span){0, 1040, 10}, &first, &second, &b);
    assert_int_equal(in_common(&a, &b), 62);
    assert_int_equal(b.n, 64); /* 44 that were in no part, of which 32 fill two */
    list_put(k.repo, (struct span){900, 1040, 10}, &second, &third, &c); /* most parts are of no use any more */
    assert_true(c.n > 0 && c.n <= 12);
    list_put(k.repo, (struct span){0, 1040, 9}, &small, &fourth, &d); /* a plain list has no parts to give */
    assert_int_equal(d.n, (1040 - 116) / 16);
    digests_free(&a);
    digests_free(&b);
    digests_free(&c);
    digests_free(&d);
    kit_end(&k);
}

static void a_list_with_parts_that_lie_is_refused(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct digest names[4], part, inner, list;
    struct digests parts = {0};
    uint8_t row[DIGEST_BYTES + 8 + 1];
    struct nameset s = {0};
    kit_begin(&k);
    for (uint64_t i = 0; i < 4; i++) name_make(i, &names[i]);
    kit_ok(packlist_write(k.repo, names, 4, &part, NULL, &err), &err);
    struct span all = {0, 100, 0};
    k.repo->part_names = 16;
    kit_ok(packlist_make(k.repo, span_each, &all, NULL, &inner, NULL, &parts, &err), &err);
    digests_free(&parts);
    static const struct {
        uint32_t count, meant;
        uint8_t bits;
        size_t rows, len;
        bool nested;
        const char *text;
    } lies[] = {
        {5, 5, 0, 1, DIGEST_BYTES + 8, false, "another number of names than a list says"},
        {4, 0, 0, 1, DIGEST_BYTES + 8, false, "names a part of it wrongly"},
        {4, 5, 0, 1, DIGEST_BYTES + 8, false, "names a part of it wrongly"},
        {4, 2, 1, 1, sizeof row, false, "counts a part of it wrongly"},
        {4, 2, 3, 2, sizeof row, false, "does not add up"},
        {4, 2, 3, 1, sizeof row - 1, false, "counts a part of it wrongly"},
        {4, 4, 0, 1, sizeof row, false, "does not add up"},
        {4, 4, 0, 0, DIGEST_BYTES + 8, false, "does not add up"},
        {6, 6, 0, 1, DIGEST_BYTES + 8, true, "its header is not that of such an object"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(row, (lies[i].nested ? &inner : &part)->b, DIGEST_BYTES);
        put_u32(row + DIGEST_BYTES, lies[i].count);
        put_u32(row + DIGEST_BYTES + 4, lies[i].meant);
        row[DIGEST_BYTES + 8] = lies[i].bits;
        kit_ok(run_write_body(k.repo, RUN_TYPE_PARTS, lies[i].rows, 0, BYTES_OF(row, lies[i].len), &list, NULL, &err),
               &err);
        kit_ok(store_commit(k.repo->store, &err), &err);
        assert_int_equal(packlist_each(k.repo, &list, set_collect, &s, &err), -ERR_OBJECT_CORRUPT);
        if (!strstr(err.text, lies[i].text)) fail_msg("lie %zu: %s", i, err.text);
        error_clear(&err);
    }
    nameset_free(&s);
    kit_end(&k);
}

/* ---- whole repositories with such lists ---- */

#define FILE_BYTES (3u << 20)
static uint8_t data[4][FILE_BYTES];

static void items_make(struct kit_item items[4], unsigned generation) {
    static const char *const names[] = {"/a", "/b", "/c", "/d"};
    for (unsigned i = 0; i < 4; i++) {
        kit_random(data[i], FILE_BYTES, i <= generation ? generation * 10 + i + 1 : i + 1);
        items[i] = (struct kit_item){names[i], CONTENT_FILE, data[i], FILE_BYTES};
    }
}

static size_t objects_in(struct kit *k, const char *folder) {
    char command[200];
    unsigned long n = 0;
    snprintf(command, sizeof command, "find %s/%s -type f | wc -l", k->repo_dir, folder);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &n), 1);
    pclose(f);
    return n;
}

static void whole(struct kit *k) {
    struct error err = ERROR_INIT;
    struct check_totals t;
    struct check_options o = {.level = VERIFY_DECODE, .threads = 2};
    kit_ok(repo_check(k->repo, &o, &t, &err), &err);
    assert_int_equal(t.result, CHECK_VERIFIED);
}

static int remove_nothing(struct store *s, const char *key, struct error *err) {
    (void)s;
    (void)key;
    (void)err;
    return 0;
}

static void snapshots_with_parts_live_and_die_like_others(void **state) {
    (void)state;
    struct kit k;
    struct kit_item items[4];
    struct error err = ERROR_INIT;
    uint64_t seq[4];
    kit_begin(&k);
    k.repo->part_names = 3;
    for (unsigned g = 0; g < 4; g++) {
        items_make(items, g);
        seq[g] = kit_backup(&k, "files", items, 4, true, NULL);
        struct packlist l;
        kit_ok(packlist_open(k.repo, &kit_snapshot(&k, seq[g])->packs, &l, &err), &err);
        assert_true(l.part_count > 0);
        packlist_close(&l);
        whole(&k);
    }
    kit_expect(&k, seq[3], items, 4);
    /* in an entry each, a few packs at a time, whether the store lets go of them or not */
    kit_ok(repo_forget(k.repo, seq, 2, "test", &err), &err);
    struct gc_plan plan, left;
    struct gc_options o = {.now_ns = time_now_ns() + NS_PER_S, .dead_max = 2};
    const size_t before = objects_in(&k, "packs"), deletes = k.repo->state.delete_count;
    const struct store_ops *ops = k.store->ops;
    struct store_ops keeping = *ops;
    keeping.remove = remove_nothing;
    k.store->ops = &keeping;
    kit_ok(gc_run(k.repo, &o, &plan, &err), &err);
    assert_int_equal(objects_in(&k, "packs"), before);
    assert_int_equal(k.repo->state.delete_count - deletes, (plan.dead_packs + 1) / 2);
    gc_plan_free(&plan);
    k.store->ops = ops;
    kit_ok(gc_run(k.repo, &o, &plan, &err), &err);
    assert_true(plan.dead_packs > 4 && plan.dead_count == 2);
    assert_int_equal(objects_in(&k, "packs"), before - plan.dead_packs);
    assert_int_equal(k.repo->state.delete_count - deletes, (plan.dead_packs + 1) / 2);
    kit_ok(gc_plan_make(k.repo, &o, &left, &err), &err);
    assert_int_equal(left.dead_packs, 0);
    gc_plan_free(&left);
    gc_plan_free(&plan);
    whole(&k);
    /* packs that are mostly dead are rewritten, and lists in parts follow */
    o = (struct gc_options){.now_ns = time_now_ns() + NS_PER_S, .repack_below = 1.1};
    kit_ok(gc_run(k.repo, &o, &plan, &err), &err);
    assert_true(plan.repack_count > 0);
    gc_plan_free(&plan);
    whole(&k);
    kit_reopen(&k, true);
    k.repo->part_names = 3;
    whole(&k);
    items_make(items, 3);
    kit_expect(&k, seq[3], items, 4);
    kit_expect(&k, kit_backup(&k, "files", items, 4, true, NULL), items, 4);
    whole(&k);
    kit_end(&k);
}

static void a_missing_part_is_a_finding_of_every_list_that_names_it(void **state) {
    (void)state;
    struct kit k;
    struct kit_item items[4];
    struct error err = ERROR_INIT;
    struct packlist l;
    struct check_totals t;
    struct check_options o = {.level = VERIFY_PRESENT, .threads = 2};
    char key[96];
    kit_begin(&k);
    k.repo->part_names = 3;
    items_make(items, 0);
    kit_backup(&k, "files", items, 4, true, NULL);
    uint64_t seq = kit_backup(&k, "files", items, 4, true, NULL);
    kit_ok(packlist_open(k.repo, &kit_snapshot(&k, seq)->packs, &l, &err), &err);
    run_key(&l.parts[0].name, key);
    packlist_close(&l);
    kit_ok(store_remove(k.store, key, &err), &err);
    kit_ok(repo_check(k.repo, &o, &t, &err), &err);
    assert_int_equal(t.result, CHECK_CORRUPT);
    assert_int_equal(t.findings, 2);
    struct gc_plan plan;
    struct gc_options g = {.now_ns = time_now_ns() + NS_PER_S};
    assert_int_equal(gc_run(k.repo, &g, &plan, &err), -ERR_OBJECT_MISSING); /* it must not take the packs for dead */
    error_clear(&err);
    /* the next backup needs no part of the former list */
    kit_expect(&k, kit_backup(&k, "files", items, 4, true, NULL), items, 4);
    kit_end(&k);
}

static int count_finding(void *ctx, const char *object, enum check_result r, const char *text, bool mends,
                         struct error *err) {
    (void)object;
    (void)r;
    (void)text;
    (void)err;
    ++*(unsigned *)ctx;
    assert_true(mends);
    return 0;
}

/* Opened as a repair does, with no cache that would hide anything. */
static void damaged_open(struct kit *k) {
    struct error err = ERROR_INIT;
    kit_close(k);
    kit_ok(io_remove_tree(AT_FDCWD, k->cache_dir, &err), &err);
    kit_ok(store_local_open(k->repo_dir, false, &k->store, &err), &err);
    kit_ok(repo_open_damaged(k->store, &k->unlock, k->cache_dir, &k->repo, &err), &err);
    k->repo->part_names = 3;
}

static unsigned repaired(struct kit *k, size_t lists) {
    struct error err = ERROR_INIT;
    struct repair_plan p;
    struct repair_result done;
    unsigned found = 0;
    struct repair_options o = {.threads = 2, .ctx = &found, .finding = count_finding};
    damaged_open(k);
    kit_ok(repair_plan_make(k->repo, &o, &p, &err), &err);
    assert_int_equal(p.list_count, lists);
    assert_int_equal(repair_plan_empty(&p), lists == 0);
    if (lists) kit_ok(repair_run(k->repo, &o, &p, "a test", &done, &err), &err);
    repair_plan_free(&p);
    kit_reopen(k, true);
    k->repo->part_names = 3;
    return found;
}

static bool lives_by(const struct live_objects *o, const struct digest *name) {
    char key[96];
    run_key(name, key);
    return live_object_find(o, key) != NULL;
}

static void lists_in_parts_are_kept_scrubbed_and_repaired(void **state) {
    (void)state;
    struct kit k;
    struct kit_item items[4];
    struct error err = ERROR_INIT;
    struct packlist l;
    struct live_objects live;
    struct scrub_totals t;
    struct gc_plan plan;
    struct gc_options g = {.now_ns = time_now_ns() + NS_PER_S};
    uint64_t epoch_keys, seq[2];
    unsigned epoch;
    char key[96];
    kit_begin(&k);
    k.repo->part_names = 3;
    items_make(items, 0);
    seq[0] = kit_backup(&k, "files", items, 4, true, NULL);
    kit_ok(repo_epoch_begin(k.repo, &epoch, &epoch_keys, &err), &err); /* its keys are no run, and not damaged either */
    seq[1] = kit_backup(&k, "files", items, 4, true, NULL);
    kit_ok(repo_live_objects(k.repo, &live, &err), &err);
    kit_ok(packlist_open(k.repo, &kit_snapshot(&k, seq[0])->packs, &l, &err), &err);
    assert_true(l.part_count > 1);
    for (size_t i = 0; i < l.part_count; i++) assert_true(lives_by(&live, &l.parts[i].name));
    assert_true(lives_by(&live, &kit_snapshot(&k, seq[0])->packs));
    live_objects_free(&live);
    run_key(&l.parts[0].name, key);
    packlist_close(&l);
    kit_ok(repo_scrub(k.store, &(struct scrub_options){.threads = 2}, &t, &err), &err);
    assert_int_equal(t.result, CHECK_VERIFIED);
    assert_int_equal(repaired(&k, 0), 0);
    /* a part that is lost: new lists for all that named it, of the parts that are left and new ones */
    kit_ok(store_remove(k.store, key, &err), &err);
    assert_int_equal(repaired(&k, 2), 2);
    whole(&k);
    kit_ok(packlist_open(k.repo, &kit_snapshot(&k, seq[0])->packs, &l, &err), &err);
    assert_true(l.part_count > 1);
    packlist_close(&l);
    kit_ok(repo_reindex(k.repo, &err), &err);
    bool named = false;
    for (size_t i = 0; i < k.repo->state.run_count; i++)
        named |= state_epoch_object(&k.repo->state, &k.repo->state.runs[i]);
    assert_true(named); /* older programs know by it that they do not know everything */
    kit_ok(gc_run(k.repo, &g, &plan, &err), &err);
    assert_int_equal(plan.dead_packs, 0);
    gc_plan_free(&plan);
    whole(&k);
    assert_int_equal(repaired(&k, 0), 0);
    kit_expect(&k, seq[0], items, 4);
    kit_expect(&k, seq[1], items, 4);
    kit_end(&k);
}

/* ---- merging ---- */

static void run_put(struct repo *r, uint64_t from, size_t n) {
    struct error err = ERROR_INIT;
    uint8_t row[RUN_PACK_BYTES];
    struct digest d;
    void *mem;
    kit_ok(mem_alloc(n * sizeof(struct run_entry), &mem, &err), &err);
    struct run_entry *e = mem;
    name_make(from + (UINT64_C(1) << 40), &d);
    memcpy(row, d.b, DIGEST_BYTES);
    put_u64(row + DIGEST_BYTES, 1u << 20);
    for (size_t i = 0; i < n; i++) {
        name_make(from + i, &d);
        memcpy(e[i].id, d.b, ID_PREFIX_BYTES);
        e[i].plain_len = 4096;
        e[i].flags = CHUNK_DATA << ENTRY_KIND_SHIFT;
    }
    kit_ok(run_write(r, e, n, row, 1, &d, &err), &err);
    kit_ok(store_commit(r->store, &err), &err);
    kit_ok(index_add(r, &r->index, &d, &err), &err);
    seam_free(mem);
}

static void runs_stay_few_and_each_entry_is_written_seldom(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    uint64_t entries = 0, written = 0;
    kit_begin(&k);
    struct index *x = &k.repo->index;
    while (x->count) index_drop(k.repo, x, 0, false);
    for (unsigned round = 0; round < 700; round++) {
        struct digests added = {0}, removed = {0};
        const size_t n = 30 + round * 13 % 40;
        run_put(k.repo, entries, n);
        entries += n;
        written += n;
        kit_ok(runs_merge(k.repo, &added, &removed, &err), &err);
        for (size_t i = 0; i < added.n; i++) {
            kit_ok(index_add(k.repo, x, &added.d[i], &err), &err);
            written += index_entry_count(x, x->count - 1);
        }
        for (size_t i = 0; i < removed.n; i++)
            for (size_t j = 0; j < x->count; j++)
                if (digest_equal(&x->names[j], &removed.d[i])) {
                    index_drop(k.repo, x, j, true);
                    break;
                }
        digests_free(&added);
        digests_free(&removed);
        assert_true(x->count <= 28);
    }
    assert_true(written <= 5 * entries);
    for (uint64_t i = 0; i < entries; i += 7) {
        struct location l;
        struct digest d;
        name_make(i, &d);
        assert_true(index_find(x, d.b, &l));
    }
    kit_end(&k);
}

static void many_backups_leave_few_runs(void **state) {
    (void)state;
    struct kit k;
    uint8_t bytes[8000];
    struct kit_item item = {"/log", CONTENT_FILE, bytes, sizeof bytes};
    uint64_t last = 0;
    kit_begin(&k);
    for (unsigned i = 0; i < 60; i++) {
        kit_random(bytes, sizeof bytes, i + 1);
        last = kit_backup(&k, "log", &item, 1, false, NULL);
        assert_true(k.repo->state.run_count <= 9);
    }
    kit_expect(&k, last, &item, 1);
    whole(&k);
    kit_reopen(&k, true);
    kit_expect(&k, last, &item, 1);
    kit_end(&k);
}

/* ---- local copies ---- */

static void cached_run(struct kit *k, char path[300]) {
    char hex[65];
    hex_encode(k->repo->index.names[0].b, DIGEST_BYTES, hex);
    snprintf(path, 300, "%s/run-%s", k->repo->cache_dir, hex);
}

static void byte_flip(const char *path, long at) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    fputc(c ^ 0x40, f);
    fclose(f);
}

static void all_found(const struct index *x, size_t n) {
    for (uint64_t i = 0; i < n; i++) {
        struct location l;
        struct digest d;
        uint64_t bytes;
        name_make(i, &d);
        assert_true(index_find(x, d.b, &l));
        assert_int_equal(l.plain_len, 4096);
        index_pack(x, &l, &d, &bytes, NULL);
        assert_int_equal(bytes, 1u << 20);
    }
    struct location l;
    struct digest d;
    name_make(1u << 30, &d);
    assert_false(index_find(x, d.b, &l));
}

static void a_rotten_local_copy_is_made_again_when_it_is_read(void **state) {
    (void)state;
    enum { N = 2000 };
    struct kit k;
    struct error err = ERROR_INIT;
    struct run_view v;
    char path[300], object[96];
    kit_begin(&k);
    struct index *x = &k.repo->index;
    while (x->count) index_drop(k.repo, x, 0, false);
    run_put(k.repo, 0, N);
    cached_run(&k, path);
    struct run *u = x->runs[0];
    const uint64_t size = u->checks_at, u_fan = u->fan_at;
    /* packs, entries, fan-out, filter; each is seen by who reads it */
    const uint64_t at[] = {IMAGE_BLOCK + 33, u->entries_at + 5, u->entries_at + (N - 3) * RUN_ENTRY_BYTES,
                           u->fan_at + 9, u->bloom_at + 70};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        struct digest name = x->names[0];
        index_drop(k.repo, x, 0, false);
        byte_flip(path, (long)at[i]);
        kit_ok(index_add(k.repo, x, &name, &err), &err); /* which does not read what it does not need */
        if (i % 2) all_found(x, N);
        kit_ok(index_scan(x, 0, true, &v, &err), &err);
        assert_int_equal(v.entry_count, N);
        index_scan_end(&v);
        all_found(x, N);
        if (at[i] < u_fan) {
            byte_flip(path, (long)at[i]); /* under a run that is open */
            all_found(x, N);
        }
    }
    /* the table of checksums is looked at when the file is opened */
    byte_flip(path, (long)size + 17);
    struct digest name = x->names[0];
    index_drop(k.repo, x, 0, false);
    kit_ok(index_add(k.repo, x, &name, &err), &err);
    all_found(x, N);
    assert_false(k.repo->index_behind);
    /* when it cannot be made again, nobody takes what it lacks for missing */
    run_key(&name, object);
    assert_non_null(x->runs[0]->hot); /* what is in memory by now is not read again: neither packs nor entries */
    for (int i = 0; i < 2; i++) byte_flip(path, (long)at[i]);
    all_found(x, N);
    assert_null(x->runs[0]->healed);
    for (int i = 0; i < 2; i++) byte_flip(path, (long)at[i]);
    index_drop(k.repo, x, 0, false);
    kit_ok(index_add(k.repo, x, &name, &err), &err);
    kit_ok(store_remove(k.store, object, &err), &err);
    byte_flip(path, (long)at[1]);
    struct location l;
    size_t found = 0;
    for (uint64_t i = 0; i < N; i++) {
        struct digest d;
        name_make(i, &d);
        found += index_find(x, d.b, &l);
    }
    assert_true(found < N);
    assert_int_equal(repo_index_whole(k.repo, &err), -ERR_IO_READ);
    error_clear(&err);
    assert_int_equal(index_scan(x, 0, true, &v, &err), -ERR_IO_READ);
    assert_non_null(strstr(err.text, "local copy of an index run is damaged"));
    kit_end(&k);
}

static void a_repository_without_a_cache_has_its_index_in_memory(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct repo *r;
    uint8_t bytes[8000];
    struct kit_item item = {"/log", CONTENT_FILE, bytes, sizeof bytes};
    kit_begin(&k);
    kit_random(bytes, sizeof bytes, 1);
    uint64_t seq = kit_backup(&k, "log", &item, 1, false, NULL);
    kit_ok(repo_open(k.store, &k.unlock, NULL, &r, &err), &err);
    assert_non_null(r->index.runs[0]->mem);
    struct repo *cached = k.repo;
    k.repo = r;
    kit_expect(&k, seq, &item, 1);
    whole(&k);
    k.repo = cached;
    repo_close(r);
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_has_what_was_added_once_and_in_order),
        cmocka_unit_test(a_long_list_is_made_of_the_former_ones_parts),
        cmocka_unit_test(a_list_with_parts_that_lie_is_refused),
        cmocka_unit_test(snapshots_with_parts_live_and_die_like_others),
        cmocka_unit_test(a_missing_part_is_a_finding_of_every_list_that_names_it),
        cmocka_unit_test(lists_in_parts_are_kept_scrubbed_and_repaired),
        cmocka_unit_test(runs_stay_few_and_each_entry_is_written_seldom),
        cmocka_unit_test(many_backups_leave_few_runs),
        cmocka_unit_test(a_rotten_local_copy_is_made_again_when_it_is_read),
        cmocka_unit_test(a_repository_without_a_cache_has_its_index_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
