/* The receiver against a real server: what it stores is what the server has, it goes on where it ended, and says why it
 * cannot. */
#include "receive_bed.h"

#include "base/thread.h"
#include "base/time.h"
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static struct bed bed;

static int setup(void **state) {
    (void)state;
    bed_open(&bed, "");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    bed_close(&bed);
    return 0;
}

static const struct receive_options once = {.once = true, .create_slot = true, .piece_ns = NS_PER_S / 5};

/* Every segment of the folder is one of the archive's or of pg_wal, byte for byte; every part is the beginning of one.
 */
static void same_as_the_server(void) {
    assert_int_equal(
        bed_shell(
            "cd %s && n=0 && for f in [0-9A-F]*; do case $f in *.part) s=$(stat -c %%s $f); w=${f%%.part};"
            " cmp -n $s $f %s/data/pg_wal/$w || exit 1;; *)"
            " cmp $f %s/$f 2>/dev/null || cmp $f %s/data/pg_wal/$f || exit 1;; esac; n=$((n+1)); done; [ $n -gt 0 ]",
            bed.folder.path, bed.server.folder, bed.archive, bed.server.folder),
        0);
}

static unsigned whole_segments(void) {
    unsigned n = 0;
    char line[400], out[64];
    snprintf(line, sizeof line, "ls %s | grep -c '^[0-9A-F]\\{24\\}$'", bed.folder.path);
    FILE *p = popen(line, "r");
    if (!fgets(out, sizeof out, p)) abort();
    n = (unsigned)atoi(out);
    pclose(p);
    return n;
}

static void a_missing_slot_is_said_and_made_on_demand(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct receive_state s;
    struct receive_options o = once;
    o.create_slot = false;
    claim_fails(bed_receive(&bed, &o, &s, &err), err, ERR_RECEIVE_SLOT, "there is no replication slot 'proofkeep'");
    o.slot = "Bad-Name";
    claim_fails(bed_receive(&bed, &o, &s, &err), err, ERR_USAGE, "'Bad-Name' is no name of a replication slot");
    pg_server_sql(&bed.server, "postgres", "SELECT pg_create_physical_replication_slot('plain', true)");
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    assert_string_equal(
        pg_server_ask(&bed.server, "postgres",
                      "SELECT slot_type, temporary FROM pg_replication_slots WHERE slot_name = 'proofkeep'"),
        "physical|f");
    assert_non_null(strstr(bed_events(&bed), "made: slot proofkeep was made; it holds WAL from 0/"));
    pg_server_sql(&bed.server, "postgres", "SELECT pg_drop_replication_slot('plain')");
}

static void what_is_received_is_the_server_s_own(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct receive_state s;
    bed_fill(&bed, 6);
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    assert_true(s.segments >= 5 && s.segment_bytes == BED_SEGMENT && s.timeline == 1);
    assert_true(whole_segments() >= s.segments);
    assert_true(s.durable >= s.server_end - 8192 && s.unsaved_ns == 0);
    same_as_the_server();
    /* The stock pg_waldump reads from the first of them to the last. */
    assert_int_equal(
        bed_shell("cd %s && w=$(ls | grep '^[0-9A-F]\\{24\\}$') && %s/pg_waldump -q $(echo \"$w\" | head -n 1)"
                  " $(echo \"$w\" | tail -n 1) 2>&1 | sed '/invalid record length\\|missing contrecord/d' | grep . && "
                  "exit 1; :",
                  bed.folder.path, bed.server.bin),
        0);
}

static void the_slot_is_confirmed_as_far_as_is_durable(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct receive_state s;
    bed_fill(&bed, 2);
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    uint64_t stored = bed_stored(&bed, NULL);
    assert_true(stored == s.durable);
    assert_true(bed_lsn(&bed, "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'proofkeep'") == stored);
    /* With nothing new it ends at once and changes nothing. */
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    assert_true(bed_stored(&bed, NULL) >= stored);
}

static void pieces_come_while_a_segment_is_open(void **state) {
    (void)state;
    const struct receive_options o = {.create_slot = true, .piece_ns = NS_PER_S / 2};
    pid_t child = bed_start(&bed, &o);
    bed_await(&bed, "SELECT active FROM pg_replication_slots WHERE slot_name = 'proofkeep'", "t");
    pg_server_sql(&bed.server, "postgres", "INSERT INTO filler (t) VALUES ('one row')");
    uint64_t want = bed_lsn(&bed, "SELECT pg_current_wal_flush_lsn()");
    int64_t begun = time_monotonic_ns();
    while (bed_stored(&bed, NULL) < want && time_monotonic_ns() - begun < 60 * NS_PER_S) usleep(20000);
    int64_t took = time_monotonic_ns() - begun;
    print_message("# a row was durable after %.2f s, with pieces every 0.5 s\n", (double)took / 1e9);
    assert_true(took < 60 * NS_PER_S);
    same_as_the_server();
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
}

static void what_came_is_put_when_asked_to_stop(void **state) {
    (void)state;
    const struct receive_options o = {.piece_ns = 3600 * NS_PER_S};
    pid_t child = bed_start(&bed, &o);
    bed_await(&bed, "SELECT active FROM pg_replication_slots WHERE slot_name = 'proofkeep'", "t");
    pg_server_sql(&bed.server, "postgres", "INSERT INTO filler (t) VALUES ('before the end')");
    uint64_t want = bed_lsn(&bed, "SELECT pg_current_wal_flush_lsn()");
    bed_await(&bed,
              "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'proofkeep' AND write_lsn = "
              "pg_current_wal_flush_lsn()",
              "1");
    assert_true(bed_stored(&bed, NULL) < want);
    assert_int_equal(bed_stop(child, SIGINT), ERR_INTERRUPTED);
    assert_true(bed_stored(&bed, NULL) >= want);
    assert_true(bed_lsn(&bed, "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'proofkeep'") ==
                bed_stored(&bed, NULL));
}

static void commits_that_wait_for_us_do_not_wait_for_the_interval(void **state) {
    (void)state;
    const struct receive_options o = {
        .piece_ns = 3600 * NS_PER_S, .watch_ns = NS_PER_S / 5, .application_name = "keeper"};
    pg_server_sql(&bed.server, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'keeper'");
    pid_t child = bed_start(&bed, &o);
    pg_server_sql(&bed.server, "postgres", "SET synchronous_commit = local; SELECT pg_reload_conf()");
    bed_await(&bed, "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'keeper'", "sync");
    usleep(500000);
    int64_t begun = time_monotonic_ns();
    for (int i = 0; i < 5; i++) pg_server_sql(&bed.server, "postgres", "INSERT INTO filler (t) VALUES ('synchronous')");
    int64_t took = (time_monotonic_ns() - begun) / 5;
    print_message("# a synchronous commit, with a psql, took %.3f s\n", (double)took / 1e9);
    assert_true(took < 60 * NS_PER_S); /* the interval is an hour */
    uint64_t want = bed_lsn(&bed, "SELECT flush_lsn FROM pg_stat_replication WHERE application_name = 'keeper'");
    assert_int_equal(bed_stop(child, SIGKILL), -SIGKILL);
    assert_true(bed_stored(&bed, NULL) >= want);
    pg_server_sql(&bed.server, "postgres",
                  "SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names");
    pg_server_sql(&bed.server, "postgres", "SET synchronous_commit = local; SELECT pg_reload_conf()");
}

static void two_cannot_use_one_slot(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct receive_state s;
    const struct receive_options o = {.piece_ns = NS_PER_S};
    pid_t child = bed_start(&bed, &o);
    bed_await(&bed, "SELECT active FROM pg_replication_slots WHERE slot_name = 'proofkeep'", "t");
    struct receive_options second = once;
    second.patience_ns = NS_PER_S;
    claim_fails(bed_receive(&bed, &second, &s, &err), err, ERR_RECEIVE_BUSY, "is active for PID");
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
}

static void another_cluster_is_refused(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct receive_state s;
    struct receive_options o = once;
    o.system = 4711;
    claim_fails(bed_receive(&bed, &o, &s, &err), err, ERR_RECEIVE_SYSTEM, "and the cluster has 4711");
}

static void a_server_that_is_behind_what_is_stored_is_refused(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct receive_state s;
    char path[400];
    snprintf(path, sizeof path, "%s/0000000100000009000000AA", bed.folder.path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    claim_fails(bed_receive(&bed, &once, &s, &err), err, ERR_RECEIVE_BRANCH,
                "WAL is stored up to 9/AA00000 of timeline 1");
    unlink(path);
    snprintf(path, sizeof path, "%s/000000070000000000000001", bed.folder.path);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    claim_fails(bed_receive(&bed, &once, &s, &err), err, ERR_RECEIVE_BRANCH, "it was not promoted when the other was");
    unlink(path);
}

static void a_switch_ends_the_segment_when_there_is_something_in_it(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct receive_state s;
    json_t *settings = json_pack("{s:{s:s, s:s}}", "connect", "host", bed.server.folder, "user", "postgres");
    struct surface_context ctx = {.name = "db", .settings = settings};
    bool switched = false;
    struct wal_name name;
    char text[WAL_NAME_BYTES];
    pg_server_sql(&bed.server, "postgres", "INSERT INTO filler (t) VALUES ('before a switch')");
    claim_ok(pgphys_wal_switch(&ctx, &switched, &name, &err), err);
    assert_true(switched);
    wal_name_format(&name, text);
    /* A server writes a little of its own now and then. */
    for (int i = 0; switched && i < 20; i++) claim_ok(pgphys_wal_switch(&ctx, &switched, &name, &err), err);
    assert_false(switched);
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    char path[400];
    snprintf(path, sizeof path, "%s/%s", bed.folder.path, text);
    assert_int_equal(access(path, F_OK), 0);
    same_as_the_server();
    json_decref(settings);
}

static void a_slot_is_dropped(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    json_t *settings = json_pack("{s:{s:s, s:s}}", "connect", "host", bed.server.folder, "user", "postgres");
    struct surface_context ctx = {.name = "db", .settings = settings};
    claim_ok(pgphys_slot_drop(&ctx, NULL, &err), err);
    claim_fails(pgphys_slot_drop(&ctx, NULL, &err), err, ERR_RECEIVE_SLOT, "slot proofkeep: DROP_REPLICATION_SLOT: ");
    json_decref(settings);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_slot_is_said_and_made_on_demand),
        cmocka_unit_test(what_is_received_is_the_server_s_own),
        cmocka_unit_test(the_slot_is_confirmed_as_far_as_is_durable),
        cmocka_unit_test(pieces_come_while_a_segment_is_open),
        cmocka_unit_test(what_came_is_put_when_asked_to_stop),
        cmocka_unit_test(commits_that_wait_for_us_do_not_wait_for_the_interval),
        cmocka_unit_test(two_cannot_use_one_slot),
        cmocka_unit_test(another_cluster_is_refused),
        cmocka_unit_test(a_server_that_is_behind_what_is_stored_is_refused),
        cmocka_unit_test(a_switch_ends_the_segment_when_there_is_something_in_it),
        cmocka_unit_test(a_slot_is_dropped),
    };
    if (!bed_find(&bed)) return 0;
    return cmocka_run_group_tests(tests, setup, teardown);
}
