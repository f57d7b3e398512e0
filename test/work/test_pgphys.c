/* A cluster through the whole writer, and back out of the repository: the stock pg_verifybackup and server judge what
 * came. */
#include "../repo/repo_kit.h"

#include "../surface/pgphys_bed.h"
#include "work/context.h"

#include <stdio.h>

static struct cluster cluster;
static struct sink_ops hooked;
static const struct sink_ops *plain;
static unsigned opens_left;

static int hooked_open(struct sink *s, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                       struct error *err) {
    if (opens_left && --opens_left == 0) cluster_stop(&cluster, "data", "immediate");
    return plain->open(s, seq, name, kind, ret, err);
}

/* die_at: the server ends when so many items were begun; what came until then is kept for the next run. */
static int backup(struct kit *k, unsigned die_at, struct writer_stats *stats, uint64_t *ret_seq, struct error *err) {
    const struct writer_options o = {
        .environment = "dev", .surface = "cluster", .threads = 2, .checkpoint_bytes = 4u << 20};
    struct surface_context ctx;
    struct capture_result r = {0};
    struct work_sink sink;
    struct writer *w = NULL;
    cluster_context(&cluster, &ctx, (struct surface_events){0});
    int rc = writer_open(k->repo, &o, &w, err);
    if (rc < 0) return rc;
    work_sink_init(&sink, w);
    plain = sink.sink.ops;
    hooked = *plain;
    hooked.open = hooked_open;
    sink.sink.ops = &hooked;
    opens_left = die_at;
    rc = pgphys_capture_stream(&ctx, &sink.sink, &r, err);
    if (rc == 0) rc = writer_finish(w, r.facts, err);
    if (rc == 0) rc = kit_commit(w, "cluster", ret_seq, err);
    writer_stats_get(w, stats);
    writer_free(w);
    json_decref(r.facts);
    json_decref(r.invariants);
    cluster_context_free(&ctx);
    return rc;
}

static const char sums[] = "SELECT count(*), sum(hashtext(t::text)::bigint) FROM t";

/* It verifies and starts as what it was. */
static void comes_back(struct kit *k, uint64_t seq, const char *name, const char *want) {
    struct error err = ERROR_INIT;
    struct snapshot *s;
    struct work_source src;
    kit_ok(snapshot_open(k->repo, kit_snapshot(k, seq), &s, &err), &err);
    work_source_init(&src, s);
    cluster_restore(&cluster, &src.source, name);
    snapshot_close(s);
    assert_int_equal(cluster_shell(&cluster, "%s/pg_verifybackup -e -q %s/%s", cluster.server, cluster.folder, name),
                     0);
    cluster_stop(&cluster, "data", "fast");
    cluster_run(&cluster, name);
    assert_string_equal(cluster_ask(&cluster, sums), want);
    cluster_stop(&cluster, name, "fast");
    cluster_run(&cluster, "data");
}

static void a_cluster_is_stored_once_and_then_what_changed_of_it(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct writer_stats broken, first, second;
    char want1[128], want2[128];
    uint64_t seq1 = 0, seq2 = 0;
    kit_begin(&k);
    cluster_start(&cluster, "", "");
    /* text that repeats little, so that what is stored tells of what was new */
    cluster_ask(
        &cluster,
        "CREATE TABLE t AS SELECT i, (SELECT string_agg(md5((i * 7 + k)::text), '') FROM generate_series(1, 8) k)"
        " AS pad FROM generate_series(1, 60000) i; CREATE INDEX ON t (i); VACUUM t; CHECKPOINT");
    snprintf(want1, sizeof want1, "%s", cluster_ask(&cluster, sums));
    assert_int_equal(backup(&k, 800, &broken, &seq1, &err), -ERR_PG_BASE);
    assert_int_equal(repo_snapshot_count(k.repo), 0);
    err = ERROR_INIT;
    cluster_run(&cluster, "data");
    kit_ok(backup(&k, 0, &first, &seq1, &err), &err);
    if (broken.packs) assert_true(first.dup_bytes > 1 << 20); /* what the broken one had stored is not stored again */
    cluster_ask(&cluster, "UPDATE t SET i = i + 1000000 WHERE i % 3000 = 0; CHECKPOINT");
    snprintf(want2, sizeof want2, "%s", cluster_ask(&cluster, sums));
    kit_ok(backup(&k, 0, &second, &seq2, &err), &err);
    print_message(
        "# first %llu bytes, %llu new, %llu stored; second %llu new, %llu of them as deltas in %llu, %llu stored\n",
        (unsigned long long)first.bytes, (unsigned long long)first.new_bytes, (unsigned long long)first.stored_bytes,
        (unsigned long long)second.new_bytes, (unsigned long long)second.delta_bytes,
        (unsigned long long)second.delta_stored, (unsigned long long)second.stored_bytes);
    assert_true(first.bytes > 50 << 20);
    assert_true(second.delta_chunks > 10);
    assert_true(second.delta_stored < second.delta_bytes / 20);
    comes_back(&k, seq1, "back1", want1);
    comes_back(&k, seq2, "back2", want2);
    cluster_remove(&cluster);
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cluster_is_stored_once_and_then_what_changed_of_it),
    };
    if (cluster_find(&cluster, 1) == 0) {
        puts("1..0 # SKIP no PostgreSQL server is installed");
        return 0;
    }
    return cmocka_run_group_tests_name("work/pgphys", tests, NULL, NULL);
}
