/* Base backups by the replication protocol, from every version of the server that is here. The oracles are stock programs:
 * pg_verifybackup, the server that starts on what was restored, pg_checksums.
 *
 * Environment: PK_TEST_PG_SERVERS as pgphys_bed.h says; PK_TEST_ONLY for one test; PK_TEST_FAULTS, how many calls are failed. */
#include "base/thread.h"
#include "fake_sink.h"
#include "harness/claims.h"
#include "harness/fault.h"
#include "harness/scratch.h"
#include "pgphys_bed.h"
#include "surface/pgphys/pgphys_internal.h"
#include "surface/pgphys/stream_incremental.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct cluster found[8];
static size_t found_count;

struct heard {
    char text[4096];
    uint64_t done, total, items;
};
static void on_progress(void *ctx, const char *phase, uint64_t done, uint64_t total, uint64_t items) {
    struct heard *h = ctx;
    (void)phase;
    h->done = done, h->total = total, h->items = items;
}
static void on_note(void *ctx, enum note_kind kind, struct bytes name, const char *text) {
    struct heard *h = ctx;
    size_t at = strlen(h->text);
    (void)kind;
    snprintf(h->text + at, sizeof h->text - at, "%.*s: %s\n", (int)name.len, (const char *)name.ptr, text);
}

typedef int (*capture_way)(const struct surface_context *, struct sink *, struct capture_result *, struct error *);
static int captured(capture_way way, struct cluster *c, struct fake *f, struct heard *heard, struct capture_result *ret,
                    struct error *err) {
    struct surface_context ctx;
    *heard = (struct heard){0};
    cluster_context(c, &ctx, (struct surface_events){heard, on_progress, on_note});
    int rc = way(&ctx, fake_sink(f), ret, err);
    cluster_context_free(&ctx);
    if (rc == 0)
        rc = fake_seal(f, err);
    else
        fake_abandon(f);
    return rc;
}

static int capture(struct cluster *c, struct fake *f, struct heard *heard, struct capture_result *ret,
                   struct error *err) {
    return captured(pgphys_capture_stream, c, f, heard, ret, err);
}

static int capture_host(struct cluster *c, struct fake *f, struct heard *heard, struct capture_result *ret,
                        struct error *err) {
    return captured(pgphys_capture_host, c, f, heard, ret, err);
}

static void result_free(struct capture_result *r) {
    json_decref(r->facts);
    json_decref(r->invariants);
}

static const char schema[] =
    "CREATE TABLE t AS SELECT i, md5(i::text) AS m, repeat(chr(65 + i % 26), 200) AS pad FROM generate_series(1, "
    "60000) i;"
    "CREATE INDEX ON t (m); CREATE UNLOGGED TABLE u AS SELECT i FROM generate_series(1, 1000) i;"
    "CREATE TABLE far (i int) TABLESPACE far; INSERT INTO far SELECT generate_series(1, 5000);"
    "CREATE TABLE \"near\" (i int) TABLESPACE \"near\"; INSERT INTO \"near\" SELECT generate_series(1, 7000);"
    "VACUUM t; CHECKPOINT;";

static void fill(struct cluster *c) {
    char sql[512];
    assert_int_equal(cluster_shell(c, "mkdir -p %s/space/far", c->folder), 0);
    snprintf(sql, sizeof sql, "CREATE TABLESPACE far LOCATION '%.64s/space/far'", c->folder);
    cluster_ask(c, sql);
    cluster_ask(c, "SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"near\" LOCATION ''");
    cluster_ask(c, schema);
}

static const char sums[] =
    "SELECT count(*), sum(hashtext(t::text)::bigint) FROM t UNION ALL SELECT count(*), sum(i) FROM far"
    " UNION ALL SELECT count(*), sum(i) FROM \"near\" ORDER BY 1";

/* What was captured, written out, verifies by the stock program, and comes up with the same content; and offline, every
 * page of it has its checksum. */
static void comes_back(struct cluster *c, struct fake *f, const char *name, const char *want) {
    cluster_restore(c, fake_source(f), name);
    /* a version's own tool where it is here, which reads WAL too; another's for the rest, but 15's knows no manifests
     * of 17 */
    char tool[300];
    snprintf(tool, sizeof tool, "%s/pg_verifybackup", c->server);
    const bool own = access(tool, X_OK) == 0;
    if (own || c->major < 17)
        assert_int_equal(cluster_shell(c, "%s/pg_verifybackup %s -e -q %s/%s", own ? c->server : c->client,
                                       own ? "" : "-n", c->folder, name),
                         0);
    cluster_remap(c, name);
    cluster_stop(c, "data", "fast");
    cluster_run(c, name);
    assert_string_equal(cluster_ask(c, sums), want);
    assert_string_equal(cluster_ask(c, "SELECT count(*) FROM u"), "0"); /* an unlogged table comes back empty */
    assert_string_equal(cluster_ask(c, "SELECT pg_is_in_recovery()"), "f");
    cluster_stop(c, name, "fast");
    snprintf(tool, sizeof tool, "%s/pg_checksums", c->server);
    if (access(tool, X_OK) == 0)
        assert_int_equal(cluster_shell(c, "%s -c -D %s/%s >/dev/null", tool, c->folder, name), 0);
    cluster_run(c, "data");
}

static void fact_is(struct cluster *c, const json_t *fact, const char *sql) {
    const char *want = cluster_ask(c, sql);
    char number[32];
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(fact));
    assert_string_equal(json_is_string(fact) ? json_string_value(fact) : number, want);
}

static void facts_are_the_servers(struct cluster *c, const json_t *f) {
    static const char *const replica[] = {"max_connections", "max_worker_processes", "max_wal_senders",
                                          "max_prepared_transactions", "max_locks_per_transaction"};
    char sql[160];
    fact_is(c, json_object_get(f, "server_build"), "SELECT version()");
    fact_is(c, json_object_get(f, "block_bytes"), "SELECT setting FROM pg_settings WHERE name = $$block_size$$");
    fact_is(c, json_object_get(f, "wal_block_bytes"),
            "SELECT setting FROM pg_settings WHERE name = $$wal_block_size$$");
    fact_is(c, json_object_get(f, "segment_blocks"), "SELECT setting FROM pg_settings WHERE name = $$segment_size$$");
    for (size_t i = 0; i < 5; i++) {
        snprintf(sql, sizeof sql, "SELECT setting FROM pg_settings WHERE name = $$%s$$", replica[i]);
        fact_is(c, json_object_get(json_object_get(f, "replica_settings"), replica[i]), sql);
    }
    const json_t *database = json_array_get(json_object_get(f, "databases"), 0);
    fact_is(c, json_object_get(database, "name"), "SELECT min(datname COLLATE \"C\") FROM pg_database");
    fact_is(c, json_object_get(database, "locale_provider"),
            "SELECT datlocprovider FROM pg_database WHERE datname = $$postgres$$");
    const json_t *version = json_object_get(database, "collation_version"); /* C.UTF-8 of the C library may have none */
    if (version) fact_is(c, version, "SELECT datcollversion FROM pg_database WHERE datname = $$postgres$$");
    snprintf(sql, sizeof sql, "%zu", json_array_size(json_object_get(f, "collation_versions")));
    assert_string_equal(sql, cluster_ask(c, "SELECT count(*) FROM (SELECT FROM pg_collation WHERE collversion IS NOT"
                                            " NULL GROUP BY collprovider, collversion) x"));
}

static void whole_cluster(void **state) {
    (void)state;
    for (size_t i = 0; i < found_count; i++) {
        struct cluster *c = &found[i];
        struct fake *f = fake_new();
        struct heard heard;
        struct capture_result r = {0};
        struct error err = ERROR_INIT;
        struct fake_view v;
        cluster_start(c, "", "allow_in_place_tablespaces = on");
        fill(c);
        char want[256];
        snprintf(want, sizeof want, "%s", cluster_ask(c, sums));
        claim_ok(capture(c, f, &heard, &r, &err), err);
        print_message("# PostgreSQL %d: %zu items, %llu bytes; heard: %s\n", c->major, fake_count(f),
                      (unsigned long long)r.bytes, heard.text);
        assert_true(fake_find(f, "backup_label", &v));
        assert_true(fake_find(f, "backup_manifest", &v));
        assert_true(fake_find(f, "global/pg_control", &v));
        assert_int_equal(v.kind, ITEM_FILE);
        assert_true(fake_find(f, "base/1/1259", &v));
        assert_int_equal(v.kind, ITEM_PAGES);
        assert_string_equal(r.method, "physical_basebackup");
        assert_int_equal(r.items, fake_count(f));
        assert_int_equal(r.unreadable, 0);
        assert_null(json_object_get(r.facts, "bad_pages"));
        assert_true(json_integer_value(json_object_get(r.facts, "pages_checked")) > 1000);
        assert_true(heard.text[0] == 0);
        facts_are_the_servers(c, r.facts);
        /* no page of a server's own is bad to us */
        comes_back(c, f, "back", want);
        result_free(&r);
        fake_free(f);
        cluster_remove(c);
    }
}

/* ---- what happens to a server while it is captured ---- */

static struct sink_ops hooked;
static const struct sink_ops *plain;
static struct cluster *victim;
static void (*when_begun)(void);
static unsigned opens_left;

static int hooked_open(struct sink *s, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                       struct error *err) {
    if (opens_left && --opens_left == 0) when_begun();
    return plain->open(s, seq, name, kind, ret, err);
}

static int capture_by(bool host, struct cluster *c, void (*what)(void), struct capture_result *ret, struct error *err) {
    struct fake *f = fake_new();
    struct surface_context ctx;
    struct heard heard = {0};
    struct sink *s = fake_sink(f);
    plain = s->ops;
    hooked = *plain;
    hooked.open = hooked_open;
    s->ops = &hooked;
    victim = c;
    when_begun = what;
    opens_left = 20;
    cluster_context(c, &ctx, (struct surface_events){&heard, on_progress, on_note});
    int rc = host ? pgphys_capture_host(&ctx, s, ret, err) : pgphys_capture_stream(&ctx, s, ret, err);
    cluster_context_free(&ctx);
    assert_int_equal(opens_left, 0);
    fake_abandon(f);
    fake_free(f);
    return rc;
}

static int capture_with(struct cluster *c, void (*what)(void), struct capture_result *ret, struct error *err) {
    return capture_by(false, c, what, ret, err);
}

/* WAL of some pages since the backup began, and the second of them is none. */
static void spoil_wal(void) {
    char segment[64];
    cluster_ask(victim, "CREATE TABLE w AS SELECT generate_series(1, 20000) i");
    snprintf(segment, sizeof segment, "%s", cluster_ask(victim, "SELECT pg_walfile_name(pg_current_wal_flush_lsn())"));
    assert_int_equal(cluster_shell(victim,
                                   "yes | head -c 8192 | dd of=%s/data/pg_wal/%s bs=8192 seek=1 conv=notrunc "
                                   "status=none",
                                   victim->folder, segment),
                     0);
}

static void wal_that_is_not_wal_is_refused(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r;
    struct error err = ERROR_INIT;
    cluster_start(c, "", "");
    claim_fails(capture_by(false, c, spoil_wal, &r, &err), err, ERR_PG_WAL, "is no page of WAL: it has not the mark");
    cluster_ask(c, "DROP TABLE w");
    claim_fails(capture_by(true, c, spoil_wal, &r, &err), err, ERR_PG_WAL, "is no page of WAL: it has not the mark");
    cluster_remove(c);
}

/* A segment is removed before it is opened, or when it was read. */
static const char *gone_folder;
static bool gone_later;
static void gone_now(const char *path) {
    char full[256];
    if (strncmp(path, "pg_wal/0000", 11) != 0 || strlen(path) != 31) return;
    snprintf(full, sizeof full, "%.100s/data/%.40s", gone_folder, path);
    unlink(full);
}
static int gone_openat(int dirfd, const char *path, int flags, mode_t mode) {
    if (!gone_later) gone_now(path);
    return seam_system.openat(dirfd, path, flags, mode);
}
static int gone_fstatat(int dirfd, const char *path, struct stat *st, int flags) {
    if (gone_later) gone_now(path);
    return seam_system.fstatat(dirfd, path, st, flags);
}

static void from_the_host_wal_that_is_gone_is_missed(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r;
    struct error err = ERROR_INIT;
    struct heard heard;
    struct seam going = seam_system;
    going.openat = gone_openat;
    going.fstatat = gone_fstatat;
    for (int i = 0; i < 2; i++) {
        struct fake *f = fake_new();
        cluster_start(c, "", "");
        gone_folder = c->folder;
        gone_later = i == 1;
        seam_table = &going;
        int rc = capture_host(c, f, &heard, &r, &err);
        seam_table = &seam_system;
        claim_fails(rc, err, ERR_PG_BASE, "which completes the backup, is gone from pg_wal");
        fake_free(f);
        cluster_remove(c);
    }
}

static struct {
    unsigned n, control, behind; /* opens; which of them was pg_control; how many came after it, but for the end's */
} order;
static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static int ordered_openat(int dirfd, const char *path, int flags, mode_t mode) {
    pthread_mutex_lock(&order_lock);
    order.n++;
    if (strcmp(path, PGPHYS_CONTROL) == 0)
        order.control = order.n, order.behind = 0;
    else if (strncmp(path, "base/", 5) == 0 || strncmp(path, "global/", 7) == 0 || strncmp(path, "pg_xact/", 8) == 0)
        order.behind++;
    pthread_mutex_unlock(&order_lock);
    return seam_system.openat(dirfd, path, flags, mode);
}

static void from_the_host_the_control_file_comes_last(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r = {0};
    struct error err = ERROR_INIT;
    struct heard heard;
    struct fake *f = fake_new();
    struct seam ordered = seam_system;
    ordered.openat = ordered_openat;
    cluster_start(c, "", "");
    seam_table = &ordered;
    int rc = capture_host(c, f, &heard, &r, &err);
    seam_table = &seam_system;
    claim_ok(rc, err);
    assert_true(order.control > 900);
    assert_int_equal(order.behind, 0);
    result_free(&r);
    fake_free(f);
    cluster_remove(c);
}

static void die(void) {
    cluster_stop(victim, "data", "immediate");
}

static void end_senders(void) {
    cluster_ask(victim, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'");
}

static void promote(void) {
    assert_int_equal(cluster_shell(victim, "%s/pg_ctl -D %s/data promote -w -s", victim->server, victim->folder), 0);
}

static void from_the_host_another_clusters_folder_and_label_are_refused(void **state) {
    (void)state;
    struct cluster *c = &found[0], other = found[0];
    struct surface_context ctx;
    struct pg_settings *settings = NULL;
    struct pgphys_session s;
    struct capture_result r;
    struct error err = ERROR_INIT;
    struct heard heard = {0};
    struct fake *f = fake_new();
    char folder[128];
    cluster_start(c, "", "");
    cluster_start(&other, "", "");
    cluster_context(c, &ctx, (struct surface_events){&heard, on_progress, on_note});
    snprintf(folder, sizeof folder, "%s/data", other.folder);
    json_object_set_new((json_t *)ctx.settings, "data_directory", json_string(folder));
    claim_fails(pgphys_capture_host(&ctx, fake_sink(f), &r, &err), err, ERR_PG_BASE,
                "the data folder is of another cluster: its system identifier is ");
    fake_abandon(f);
    fake_free(f);
    claim_ok(pg_settings_load(&ctx, NULL, &settings, &err), err);
    claim_ok(pgphys_session_start(&s, settings, &err), err);
    s.timeline = 7; /* as pg_control would say */
    claim_fails(pgphys_session_stop(&s, &err), err, ERR_PG_BASE,
                "the backup began on timeline 7, and its label says 1");
    pgphys_session_end(&s);
    pg_settings_free(settings);
    cluster_context_free(&ctx);
    cluster_remove(&other);
    cluster_remove(c);
}

static void a_server_that_dies_or_ends_the_backup_leaves_an_error(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r;
    struct error err = ERROR_INIT;
    cluster_start(c, "", "");
    cluster_ask(c,
                "CREATE TABLE big AS SELECT i, repeat('x', 500) AS pad FROM generate_series(1, 80000) i; CHECKPOINT");
    claim_fails(capture_with(c, end_senders, &r, &err), err, ERR_PG_BASE, "the server ended the base backup: ");
    claim_fails(capture_with(c, die, &r, &err), err, ERR_PG_BASE, "the server ended the base backup: ");
    struct heard heard;
    struct fake *f = fake_new();
    claim_fails(capture(c, f, &heard, &r, &err), err, ERR_PG_CONNECT, "connect to database postgres");
    fake_free(f);
    cluster_remove(c);
}

/* From a standby, which then becomes a primary in the middle of another backup. */
static void a_standby_is_captured_and_its_promotion_ends_a_backup(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r = {0};
    struct error err = ERROR_INIT;
    struct heard heard;
    struct fake *f = fake_new();
    cluster_start(c, "", "allow_in_place_tablespaces = on");
    fill(c);
    char want[256];
    snprintf(want, sizeof want, "%s", cluster_ask(c, sums));
    /* no primary is needed to be in recovery: the log it has will do, up to a checkpoint that a restart point can be
     * made of */
    cluster_ask(c, "CHECKPOINT; CREATE TABLE later (i int); CHECKPOINT");
    cluster_stop(c, "data", "fast");
    assert_int_equal(cluster_shell(c, "touch %s/data/standby.signal", c->folder), 0);
    cluster_run(c, "data");
    assert_string_equal(cluster_ask(c, "SELECT pg_is_in_recovery()"), "t");
    claim_ok(capture(c, f, &heard, &r, &err), err);
    assert_true(json_is_true(json_object_get(r.facts, "from_standby")));
    struct fake_view v;
    assert_false(fake_find(f, "standby.signal", &v));
    result_free(&r);
    claim_fails(capture_with(c, promote, &r, &err), err, ERR_PG_BASE, "promoted during online backup");
    comes_back(c, f, "back", want);
    fake_free(f);
    cluster_remove(c);
}

static void a_rotten_page_is_reported_and_the_backup_marked(void **state) {
    (void)state;
    for (size_t i = 0; i < found_count; i++) {
        struct cluster *c = &found[i];
        struct capture_result r = {0};
        struct error err = ERROR_INIT;
        struct heard heard;
        struct fake_view v;
        struct pgphys_attr a;
        struct fake *f = fake_new();
        char file[128];
        cluster_start(c, "", "");
        cluster_ask(c, "CREATE TABLE t AS SELECT i, repeat('x', 200) AS pad FROM generate_series(1, 10000) i; VACUUM "
                       "t; CHECKPOINT");
        snprintf(file, sizeof file, "%s", cluster_ask(c, "SELECT pg_relation_filepath('t')"));
        cluster_stop(c, "data", "fast");
        /* the highest byte of the LSN of block 5: it says that the page is newer than all that the server has written
         */
        assert_int_equal(cluster_shell(c, "printf Y | dd of=%s/data/%s bs=1 seek=%u conv=notrunc status=none",
                                       c->folder, file, 5 * 8192 + 3),
                         0);
        for (unsigned block = 3; block <= 7; block += 4) /* one bit of a byte in the middle of blocks 3 and 7 */
            assert_int_equal(cluster_shell(c, "printf Y | dd of=%s/data/%s bs=1 seek=%u conv=notrunc status=none",
                                           c->folder, file, block * 8192 + 4000),
                             0);
        cluster_run(c, "data");
        cluster_ask(c, "CHECKPOINT");
        claim_ok(capture(c, f, &heard, &r, &err), err);
        assert_int_equal(r.unreadable, 1);
        const json_t *bad = json_object_get(r.facts, "bad_pages"),
                     *one = json_array_get(json_object_get(bad, "files"), 0);
        assert_int_equal(json_integer_value(json_object_get(bad, "count")), 3);
        assert_string_equal(json_string_value(json_object_get(one, "name")), file);
        assert_int_equal(json_integer_value(json_array_get(json_object_get(one, "blocks"), 0)), 3);
        assert_int_equal(json_integer_value(json_array_get(json_object_get(one, "blocks"), 1)), 5);
        assert_int_equal(json_integer_value(json_array_get(json_object_get(one, "blocks"), 2)), 7);
        assert_non_null(strstr(heard.text, "3 pages with a wrong checksum, block 3, 5, 7"));
        assert_true(fake_find(f, file, &v));
        claim_ok(pgphys_attr_decode(v.attr, &a, &err), err);
        assert_int_equal(a.flags, PGPHYS_BAD_PAGES);
        /* the bytes are kept as they are */
        assert_int_equal(v.data[3 * 8192 + 4000], 'Y');
        result_free(&r);
        fake_free(f);
        f = fake_new();
        claim_ok(capture_host(c, f, &heard, &r, &err), err);
        bad = json_object_get(r.facts, "bad_pages");
        assert_int_equal(json_integer_value(json_object_get(bad, "count")), 3);
        assert_true(json_is_integer(json_object_get(r.facts, "pages_unchecked")));
        result_free(&r);
        fake_free(f);
        cluster_remove(c);
    }
}

/* A file that the server takes for pages, and we do not. */
static void bad_pages_that_only_the_server_saw_mark_the_backup(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r = {0};
    struct error err = ERROR_INIT;
    struct heard heard;
    if (c->major >= 17) skip(); /* there it goes by the name as well */
    struct fake *f = fake_new();
    cluster_start(c, "", "");
    assert_int_equal(cluster_shell(c, "{ head -c 8 /dev/zero; yes | head -c 8184; } > %s/data/base/1/odd", c->folder),
                     0);
    claim_ok(capture(c, f, &heard, &r, &err), err);
    assert_int_equal(r.unreadable, 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r.facts, "bad_pages"), "count")), 0);
    assert_non_null(json_object_get(r.facts, "bad_pages"));
    assert_non_null(strstr(heard.text, "the server found pages with a wrong checksum and does not say where"));
    result_free(&r);
    fake_free(f);
    cluster_remove(c);
}

static void a_cluster_of_odd_sizes_is_captured(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r = {0};
    struct error err = ERROR_INIT;
    struct heard heard;
    struct fake *f = fake_new();
    cluster_start(c, "--wal-segsize=1 -g", "allow_in_place_tablespaces = on\nmin_wal_size = 4MB\nmax_wal_size = 8MB");
    fill(c);
    char want[256];
    snprintf(want, sizeof want, "%s", cluster_ask(c, sums));
    claim_ok(capture(c, f, &heard, &r, &err), err);
    assert_int_equal(json_integer_value(json_object_get(r.facts, "wal_segment_bytes")), 1 << 20);
    comes_back(c, f, "back", want);
    result_free(&r);
    fake_free(f);
    cluster_remove(c);
}

/* Calls of ours fail from one on, in sampled places: an error that says so, no hang, and nothing of it in a snapshot.
 */
static void a_failing_system_is_told(void **state) {
    (void)state;
    const char *more = getenv("PK_TEST_FAULTS"); /* how many runs */
    const unsigned runs = more ? (unsigned)atoi(more) : 24;
    struct cluster *c = &found[0];
    struct error err = ERROR_INIT;
    struct heard heard = {0};
    struct surface_context ctx;
    cluster_start(c, "", "");
    cluster_context(c, &ctx, (struct surface_events){&heard, on_progress, on_note});
    uint64_t calls = 0;
    unsigned failed = 0;
    for (unsigned i = 0; i <= runs; i++) {
        struct capture_result r = {0};
        struct fake *f = fake_new();
        err = ERROR_INIT;
        fault_install();
        if (i) fault_fail(i <= runs / 2 ? i * 2 : calls * (i - runs / 2) / (runs / 2 + 1), 0, i % 3 == 0);
        int rc = pgphys_capture_stream(&ctx, fake_sink(f), &r, &err);
        if (!i) calls = fault_calls();
        fault_remove();
        fake_abandon(f);
        heard.text[0] = 0;
        assert_int_equal(rc, -(int)err.code);
        if (i == 0) claim_ok(rc, err);
        if (rc < 0) assert_true(strlen(err.text) > 5 && err.code != ERR_INTERNAL), failed++;
        if (rc == 0) result_free(&r);
        fake_free(f);
    }
    assert_true(calls > 2000);
    assert_true(failed > runs / 2);
    cluster_context_free(&ctx);
    cluster_remove(c);
}

static void a_request_to_stop_is_heard(void **state) {
    (void)state;
    struct cluster *c = &found[0];
    struct capture_result r;
    struct error err = ERROR_INIT;
    struct heard heard;
    struct fake *f = fake_new();
    cluster_start(c, "", "");
    atomic_store(&stop_signal, 15);
    claim_fails(capture(c, f, &heard, &r, &err), err, ERR_TERMINATED, "");
    atomic_store(&stop_signal, 0);
    fake_free(f);
    cluster_remove(c);
}

/* A role with REPLICATION and nothing else will do; one without is told so. No slot is left behind. */
static void a_role_that_may_replicate_is_enough(void **state) {
    (void)state;
    for (size_t i = 0; i < found_count; i++) {
        struct cluster *c = &found[i];
        struct error err = ERROR_INIT;
        struct heard heard = {0};
        struct surface_context ctx;
        struct capture_result r = {0};
        struct fake *f = fake_new();
        cluster_start(c, "", "max_wal_senders = 1");
        cluster_ask(c, "CREATE ROLE copier LOGIN REPLICATION; CREATE ROLE reader LOGIN");
        cluster_context(c, &ctx, (struct surface_events){&heard, on_progress, on_note});
        json_t *connect = json_object_get(ctx.settings, "connect");
        json_object_set_new(connect, "user", json_string("copier"));
        claim_ok(pgphys_capture_stream(&ctx, fake_sink(f), &r, &err), err);
        claim_ok(fake_seal(f, &err), err);
        assert_true(r.items > 900);
        /* one sender is all there is, so that none is left to keep WAL: it goes on, and says so */
        assert_non_null(strstr(heard.text, "pg_wal: no slot keeps WAL for the time of the backup: "));
        assert_string_equal(cluster_ask(c, "SELECT count(*) FROM pg_replication_slots"), "0");
        result_free(&r);
        json_object_set_new(connect, "user", json_string("reader"));
        claim_fails(pgphys_capture_stream(&ctx, fake_sink(f), &r, &err), err, ERR_PG_CONNECT,
                    "connect for replication: ");
        fake_abandon(f);
        cluster_context_free(&ctx);
        fake_free(f);
        cluster_remove(c);
    }
}

/* ---- the parts ---- */

static void a_checksum_holds_for_its_block_only(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1024, 8192, 32768};
    for (size_t k = 0; k < 3; k++) {
        static _Alignas(64) uint8_t pages[3 * 32768];
        const uint32_t n = sizes[k];
        for (size_t i = 0; i < sizeof pages; i++) pages[i] = (uint8_t)(i * 7 + i / 251);
        memset(pages + 2 * n, 0, n); /* a new page */
        for (uint32_t b = 0; b < 2; b++) {
            memset(pages + b * n, 0, 8); /* an LSN below all */
            put_u16(pages + b * n + 8, pgphys_page_checksum(pages + b * n, n, 131072 + b));
        }
        struct pgphys_pages p = {.block_bytes = n, .first_block = 131072, .start_lsn = 100};
        pgphys_pages_check(&p, 0, BYTES_OF(pages, 3 * n));
        assert_int_equal(p.checked, 2);
        assert_int_equal(p.skipped, 1);
        assert_int_equal(p.bad_count, 0);
        pgphys_pages_check(&p, 1, BYTES_OF(pages, n)); /* elsewhere */
        assert_int_equal(p.bad_count, 1);
        assert_int_equal(p.bad[0], 131073);
        pages[n - 1] ^= 1;
        pages[n + 4] = 200; /* written since the backup began: WAL mends it */
        p = (struct pgphys_pages){.block_bytes = n, .first_block = 131072, .start_lsn = 100};
        pgphys_pages_check(&p, 0, BYTES_OF(pages, 3 * n));
        assert_int_equal(p.checked, 1);
        assert_int_equal(p.skipped, 2);
        assert_int_equal(p.bad_count, 1);
        pages[2 * n + n - 1] = 1; /* no new page has a byte */
        pgphys_pages_check(&p, 2, BYTES_OF(pages + 2 * n, n));
        assert_int_equal(p.bad_count, 2);
    }
}

/* So many readings of pg_control find it half written. */
static unsigned tears_left;
static int tearing_openat(int dirfd, const char *path, int flags, mode_t mode) {
    const bool torn = !strcmp(path, PGPHYS_CONTROL) && tears_left && tears_left--;
    return seam_system.openat(dirfd, torn ? "torn" : path, flags, mode);
}

static void a_torn_control_file_is_read_again(const uint8_t file[8192]) {
    struct seam tearing = seam_system;
    struct pgphys_control k = {0};
    struct error err = ERROR_INIT;
    struct scratch sc;
    uint8_t out[PGPHYS_CONTROL_BYTES];
    char torn[8192];
    size_t n;
    scratch_make(&sc);
    assert_int_equal(mkdir(scratch_path(&sc, "global"), 0700), 0);
    scratch_write(&sc, PGPHYS_CONTROL, (const char *)file, 8192);
    memcpy(torn, file, sizeof torn);
    torn[32] ^= 1;
    scratch_write(&sc, "torn", torn, sizeof torn);
    int fd = open(sc.path, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    tearing.openat = tearing_openat;
    seam_table = &tearing;
    tears_left = 3;
    claim_ok(pgphys_control_load(fd, out, &n, &k, &err), err);
    assert_int_equal(tears_left, 0);
    assert_memory_equal(out, file, sizeof out);
    tears_left = 1000;
    claim_fails(pgphys_control_load(fd, out, &n, &k, &err), err, ERR_PG_CONTROL, "has the checksum");
    seam_table = &seam_system;
    /* Of all files this one may not vanish. */
    assert_int_equal(unlink(scratch_path(&sc, PGPHYS_CONTROL)), 0);
    claim_fails(pgphys_control_load(fd, out, &n, &k, &err), err, ERR_PG_CONTROL, "open global/pg_control");
    close(fd);
    scratch_remove(&sc);
}

static void a_control_file_is_read_or_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < found_count; i++) {
        struct cluster *c = &found[i];
        struct pgphys_control k;
        struct error err = ERROR_INIT;
        char path[160], says[128];
        uint8_t file[8192];
        cluster_start(c, "", "max_prepared_transactions = 7\nmax_locks_per_transaction = 77");
        snprintf(
            says, sizeof says, "%s",
            cluster_ask(c, "SELECT system_identifier, redo_lsn::text, checkpoint_lsn::text, timeline_id, "
                           "pg_control_version, catalog_version_no FROM pg_control_system(), pg_control_checkpoint()"));
        snprintf(path, sizeof path, "%.64s/data/global/pg_control", c->folder);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        assert_int_equal(fread(file, 1, sizeof file, f), sizeof file);
        fclose(f);
        claim_ok(pgphys_control_read(BYTES_OF(file, sizeof file), &k, &err), err);
        char redo[24], checkpoint[24], is[128];
        wal_lsn_format(k.redo, redo);
        wal_lsn_format(k.checkpoint, checkpoint);
        snprintf(is, sizeof is, "%llu|%s|%s|%u|%u|%u", (unsigned long long)k.system, redo, checkpoint, k.timeline,
                 k.version, k.catalog);
        assert_string_equal(is, says);
        assert_int_equal(k.block_bytes, 8192);
        assert_int_equal(k.segment_blocks, 131072);
        assert_int_equal(k.wal_segment_bytes, 16 << 20);
        assert_int_equal(k.checksum_version, 1);
        assert_int_equal(k.max_connections, 20);
        assert_int_equal(k.max_prepared_xacts, 7);
        assert_int_equal(k.max_locks_per_xact, 77);
        assert_int_equal(k.state, 6); /* in production */
        a_torn_control_file_is_read_again(file);
        file[40] ^= 1;
        claim_fails(pgphys_control_read(BYTES_OF(file, sizeof file), &k, &err), err, ERR_PG_CONTROL,
                    "has the checksum");
        put_u32(file + 8, 1201);
        claim_fails(pgphys_control_read(BYTES_OF(file, sizeof file), &k, &err), err, ERR_PG_CONTROL, "of version 1201");
        claim_fails(pgphys_control_read(BYTES_OF(file, 100), &k, &err), err, ERR_PG_CONTROL, "only 100 bytes");
        cluster_remove(c);
    }
}

static void only_a_file_is_left_out_for_its_name(void **state) {
    (void)state;
    struct fake *f = fake_new();
    struct surface_context ctx = {0};
    struct error err = ERROR_INIT;
    struct fake_view v;
    struct stream_incremental all = {0};
    struct stream_base b = {.ctx = &ctx,
                            .sink = fake_sink(f),
                            .incremental = &all,
                            .prefix = BUF_INIT(64),
                            .name = BUF_INIT(4096),
                            .head = BUF_INIT(4096)};
    struct tar_member m = {
        .name = BYTES_STR("standby.signal"), .type = TAR_LINK, .mode = 0777, .target = BYTES_STR("elsewhere")};
    assert_int_equal(stream_tally_new(NULL, &b.tally, &err), 0);
    assert_int_equal(stream_item_ops.begin(&b, &m, &err), 0);
    assert_int_equal(stream_item_ops.end(&b, &err), 0);
    m = (struct tar_member){.name = BYTES_STR("recovery.signal"), .type = TAR_FILE, .mode = 0600};
    assert_int_equal(stream_item_ops.begin(&b, &m, &err), 0);
    assert_int_equal(stream_item_ops.end(&b, &err), 0);
    assert_int_equal(fake_seal(f, &err), 0);
    assert_true(fake_find(f, "standby.signal", &v));
    assert_false(fake_find(f, "recovery.signal", &v));
    stream_base_clear(&b);
    fake_free(f);
}

int main(void) {
    found_count = cluster_find(found, sizeof found / sizeof *found);
    cmocka_set_test_filter(getenv("PK_TEST_ONLY"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checksum_holds_for_its_block_only),
        cmocka_unit_test(a_control_file_is_read_or_refused),
        cmocka_unit_test(only_a_file_is_left_out_for_its_name),
        cmocka_unit_test(whole_cluster),
        cmocka_unit_test(a_cluster_of_odd_sizes_is_captured),
        cmocka_unit_test(a_rotten_page_is_reported_and_the_backup_marked),
        cmocka_unit_test(bad_pages_that_only_the_server_saw_mark_the_backup),
        cmocka_unit_test(wal_that_is_not_wal_is_refused),
        cmocka_unit_test(from_the_host_wal_that_is_gone_is_missed),
        cmocka_unit_test(from_the_host_the_control_file_comes_last),
        cmocka_unit_test(from_the_host_another_clusters_folder_and_label_are_refused),
        cmocka_unit_test(a_server_that_dies_or_ends_the_backup_leaves_an_error),
        cmocka_unit_test(a_standby_is_captured_and_its_promotion_ends_a_backup),
        cmocka_unit_test(a_role_that_may_replicate_is_enough),
        cmocka_unit_test(a_failing_system_is_told),
        cmocka_unit_test(a_request_to_stop_is_heard),
    };
    if (found_count == 0) {
        puts("1..0 # SKIP no PostgreSQL server is installed");
        return 0;
    }
    return cmocka_run_group_tests_name("surface/pgphys_stream", tests, NULL, NULL);
}
