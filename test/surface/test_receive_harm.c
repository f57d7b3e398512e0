/* The receiver among kills and failures: nothing is missing, nothing differs, nothing is confirmed that is not stored.
 */
#include "receive_bed.h"

#include "base/time.h"
#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE_NS (NS_PER_S)

static struct bed bed;
static const struct receive_options steady = {.create_slot = true, .piece_ns = PIECE_NS, .watch_ns = NS_PER_S / 5};
static const struct receive_options once = {.create_slot = true, .once = true};

static void begin(const char *settings) {
    assert_true(pg_server_find(&bed.server));
    bed_open(&bed, settings);
}

static int end(void **state) {
    (void)state;
    bed_close(&bed);
    return 0;
}

/* By the stock tools: every name from the first to the last is there, pg_waldump reads them all, and each is what the
 * server archived or has. */
static void whole_and_the_same(const char *timeline, const struct pg_server *server) {
    assert_int_equal(bed_shell("cd %s && for f in %s*; do case $f in *.part) s=$(stat -c %%s $f); w=${f%%.part};"
                               " cmp -n $s $f %s/data/pg_wal/$w || cmp -n $s $f %s/$w || cmp -n $s $f %s/$w.partial || "
                               "exit 1;; *.history) cmp $f %s/$f || exit 1;; *)"
                               " cmp $f %s/$f 2>/dev/null || cmp $f %s/data/pg_wal/$f || exit 1;; esac; done",
                               bed.folder.path, timeline, server->folder, bed.archive, bed.archive, bed.archive,
                               bed.archive, server->folder),
                     0);
    assert_int_equal(
        bed_shell("cd %s && w=$(ls | grep '^%s[0-9A-F]\\{16\\}$') && %s/pg_waldump -q $(echo \"$w\" | head -n 1)"
                  " $(echo \"$w\" | tail -n 1) 2>&1 | sed '/invalid record length\\|missing contrecord/d' | grep . && "
                  "exit 1; :",
                  bed.folder.path, timeline, server->bin),
        0);
}

static pid_t load_start(void) {
    assert_int_equal(
        pg_server_shell(&bed.server, "%s/pgbench -i -q -s 2 postgres 2>/dev/null >/dev/null", bed.server.bin), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)!pg_server_shell(&bed.server, "exec %s/pgbench -n -c 2 -T 300 postgres >/dev/null 2>&1", bed.server.bin);
        _exit(0);
    }
    return child;
}

/* pgbench ends by itself when its server sends it away. */
static void load_stop(pid_t child) {
    (void)!pg_server_shell(&bed.server,
                           "%s/psql -qAt postgres -c \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                           " WHERE application_name = \\$\\$pgbench\\$\\$\" >/dev/null 2>&1",
                           bed.server.bin);
    waitpid(child, NULL, 0);
}

static void a_receiver_killed_at_any_moment_loses_nothing(void **state) {
    (void)state;
    begin("");
    pid_t load = load_start();
    srandom((unsigned)getpid());
    uint64_t was = 0;
    for (int i = 0; i < 8; i++) {
        pid_t child = bed_start(&bed, &steady);
        usleep((useconds_t)(200000 + random() % 1500000));
        assert_int_equal(bed_stop(child, SIGKILL), -SIGKILL);
        uint64_t stored = bed_stored(&bed, NULL);
        /* What the server believes to be flushed is there. */
        bed_await(&bed, "SELECT count(*) FROM pg_replication_slots WHERE active", "0");
        assert_true(bed_lsn(&bed, "SELECT coalesce(max(restart_lsn), '0/0') FROM pg_replication_slots") <= stored ||
                    was == 0);
        assert_true(stored >= was);
        was = stored;
    }
    load_stop(load);
    struct error err = ERROR_INIT;
    struct receive_state s;
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    whole_and_the_same("00000001", &bed.server);
}

static void a_server_that_crashes_is_waited_for(void **state) {
    (void)state;
    begin("wal_sender_timeout = 60s\n");
    pid_t child = bed_start(&bed, &steady);
    for (int i = 0; i < 3; i++) {
        pid_t load = load_start();
        sleep(1);
        pg_server_kill(&bed.server);
        waitpid(load, NULL, 0);
        pg_server_run(&bed.server);
        bed_fill(&bed, 2);
    }
    bed_await_stored(&bed);
    assert_non_null(strstr(bed_events(&bed), "disconnected: "));
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
    whole_and_the_same("00000001", &bed.server);
    /* An orderly stop waits for us, and we do not make it wait. */
    child = bed_start(&bed, &steady);
    bed_await(&bed, "SELECT count(*) FROM pg_replication_slots WHERE active", "1");
    bed_fill(&bed, 1);
    int64_t begun = time_monotonic_ns();
    pg_server_stop(&bed.server, "fast");
    assert_true(time_monotonic_ns() - begun < 45 * NS_PER_S); /* not until wal_sender_timeout */
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
    pg_server_run(&bed.server);
    struct error err = ERROR_INIT;
    struct receive_state s;
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    whole_and_the_same("00000001", &bed.server);
}

static void a_store_that_fails_is_tried_again_and_nothing_is_confirmed(void **state) {
    (void)state;
    begin("");
    pid_t child = bed_start(&bed, &steady);
    bed_fill(&bed, 1);
    bed_await_stored(&bed);
    wal_folder_harm(&bed.folder, ".fail", "");
    uint64_t stored = bed_stored(&bed, NULL);
    bed_fill(&bed, 12);
    assert_true(bed_await_event(&bed, "fails: WAL cannot be stored: the folder is told to fail"));
    pg_server_sql(&bed.server, "postgres", "CHECKPOINT");
    sleep(2);
    assert_true(bed_lsn(&bed, "SELECT restart_lsn FROM pg_replication_slots") <= stored);
    assert_true(bed_lsn(&bed, "SELECT flush_lsn FROM pg_stat_replication") <= stored);
    assert_true(bed_stored(&bed, NULL) == stored);
    wal_folder_harm(&bed.folder, ".fail", NULL);
    assert_true(bed_await_event(&bed, "works: "));
    bed_await_stored(&bed);
    /* Stopped while it fails, it says so and ends; the slot has the rest. */
    wal_folder_harm(&bed.folder, ".fail", "");
    bed_fill(&bed, 1);
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
    stored = bed_stored(&bed, NULL);
    assert_true(bed_lsn(&bed, "SELECT restart_lsn FROM pg_replication_slots") <= stored);
    wal_folder_harm(&bed.folder, ".fail", NULL);
    struct error err = ERROR_INIT;
    struct receive_state s;
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    whole_and_the_same("00000001", &bed.server);
}

static void other_bytes_under_a_name_end_it(void **state) {
    (void)state;
    begin("");
    pid_t child = bed_start(&bed, &steady);
    bed_await_stored(&bed);
    wal_folder_harm(&bed.folder, ".differs", "");
    bed_fill(&bed, 3);
    assert_int_equal(bed_stop(child, 0), ERR_WAL_DIFFERS);
    assert_true(bed_lsn(&bed, "SELECT restart_lsn FROM pg_replication_slots") <= bed_stored(&bed, NULL));
}

static unsigned kib_of(pid_t child, const char *field) {
    char path[64], line[256];
    unsigned kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)child);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field))) kib = (unsigned)strtoul(line + strlen(field) + 1, NULL, 10);
    if (f) fclose(f);
    return kib;
}

static void a_slow_store_costs_neither_the_stream_nor_memory(void **state) {
    (void)state;
    begin("wal_sender_timeout = 2s\n");
    pid_t child = bed_start(&bed, &steady);
    bed_await(&bed, "SELECT count(*) FROM pg_replication_slots WHERE active", "1");
    bed_await_stored(&bed);
    unsigned before = kib_of(child, "VmHWM:");
    wal_folder_harm(&bed.folder, ".slow", "2.5");
    bed_fill(&bed, 40);
    sleep(7);
    unsigned after = kib_of(child, "VmHWM:");
    print_message("# memory %u KiB before, %u KiB behind a slow store\n", before, after);
    assert_true(before > 0 && after < before + 24 * 1024);
    assert_string_equal(
        pg_server_ask(&bed.server, "postgres", "SELECT count(*) FROM pg_replication_slots WHERE active"), "1");
    assert_null(strstr(bed_events(&bed), "disconnected"));
    wal_folder_harm(&bed.folder, ".slow", NULL);
    bed_await_stored(&bed);
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
    whole_and_the_same("00000001", &bed.server);
}

static void the_slot_s_growth_is_told(void **state) {
    (void)state;
    begin("");
    struct receive_options o = steady;
    o.slot_warn_bytes = 4u << 20;
    pid_t child = bed_start(&bed, &o);
    bed_await_stored(&bed);
    wal_folder_harm(&bed.folder, ".fail", "");
    bed_fill(&bed, 10);
    assert_true(bed_await_event(&bed, "slot: slot proofkeep holds "));
    assert_non_null(strstr(bed_events(&bed), "nothing limits that: pg_wal may fill its disk"));
    wal_folder_harm(&bed.folder, ".fail", NULL);
    bed_await_stored(&bed);
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
}

static void wal_that_the_server_gave_up_is_a_gap_with_its_place(void **state) {
    (void)state;
    begin("max_slot_wal_keep_size = 3MB\n");
    struct error err = ERROR_INIT;
    struct receive_state s;
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
    uint64_t stored = bed_stored(&bed, NULL);
    char at[24], says[80];
    wal_lsn_format(stored, at);
    snprintf(says, sizeof says, "WAL of timeline 1 from %s on is not stored", at);
    for (int i = 0; i < 4; i++) {
        bed_fill(&bed, 8);
        pg_server_sql(&bed.server, "postgres", "SELECT pg_switch_wal(); CHECKPOINT");
    }
    assert_string_equal(pg_server_ask(&bed.server, "postgres", "SELECT wal_status FROM pg_replication_slots"), "lost");
    claim_fails(bed_receive(&bed, &once, &s, &err), err, ERR_RECEIVE_GAP, says);
    claim_fails(bed_receive(&bed, &once, &s, &err), err, ERR_RECEIVE_GAP, "has given the slot up");
    assert_true(bed_stored(&bed, NULL) == stored);
    /* A new slot does not bring the WAL back. */
    pg_server_sql(&bed.server, "postgres", "SELECT pg_drop_replication_slot('proofkeep')");
    claim_fails(bed_receive(&bed, &once, &s, &err), err, ERR_RECEIVE_GAP, says);
    struct receive_options accept = once;
    accept.accept_gap = true;
    claim_ok(bed_receive(&bed, &accept, &s, &err), err);
    assert_non_null(strstr(bed_events(&bed), "is lost: the gap was accepted"));
    assert_true(bed_stored(&bed, NULL) > stored + (8u << 20));
    /* From there on it is as before. */
    bed_fill(&bed, 1);
    claim_ok(bed_receive(&bed, &once, &s, &err), err);
}

static void a_slot_given_up_while_it_is_used_is_a_gap_too(void **state) {
    (void)state;
    begin("max_slot_wal_keep_size = 3MB\n");
    pid_t child = bed_start(&bed, &steady);
    bed_await_stored(&bed);
    wal_folder_harm(&bed.folder, ".fail", "");
    for (int i = 0; i < 6; i++) {
        bed_fill(&bed, 8);
        pg_server_sql(&bed.server, "postgres", "SELECT pg_switch_wal(); CHECKPOINT");
    }
    bed_await(&bed, "SELECT wal_status FROM pg_replication_slots", "lost");
    wal_folder_harm(&bed.folder, ".fail", NULL);
    assert_int_equal(bed_stop(child, 0), ERR_RECEIVE_GAP);
    /* What had come before is stored: the gap begins behind it. */
    assert_non_null(strstr(bed_events(&bed), "works: "));
}

/* A receiver that listens at a standby when it is promoted. */
static void the_promotion_of_the_server_is_followed(void **state) {
    (void)state;
    struct pg_server standby, primary;
    begin("");
    bed_standby(&bed, &standby);
    bed_fill(&bed, 2);
    primary = bed.server;
    snprintf(bed.hosts, sizeof bed.hosts, "%s", standby.folder);
    pid_t child = bed_start(&bed, &steady);
    assert_true(bed_await_event(&bed, "started: receiving timeline 1"));
    bed_fill(&bed, 2);
    bed_await_stored(&bed);
    /* The end of the old timeline cannot be stored while the new one has begun. */
    wal_folder_harm(&bed.folder, ".fail", "");
    uint64_t stored = bed_stored(&bed, NULL);
    bed_fill(&bed, 1);
    uint64_t sent = bed_lsn(&bed, "SELECT pg_current_wal_flush_lsn()");
    bed.server = standby;
    for (int i = 0; i < 600 && bed_lsn(&bed, "SELECT pg_last_wal_receive_lsn()") < sent; i++) usleep(100000);
    pg_server_sql(&standby, "postgres", "SELECT pg_promote()");
    assert_true(bed_await_event(&bed, "timeline: timeline 1 was left at "));
    assert_true(bed_await_event(&bed, "started: receiving timeline 2"));
    sleep(1);
    assert_true(bed_lsn(&bed, "SELECT flush_lsn FROM pg_stat_replication WHERE application_name = 'proofkeep'") <=
                stored);
    assert_true(bed_lsn(&bed, "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'proofkeep'") <= stored);
    wal_folder_harm(&bed.folder, ".fail", NULL);
    bed_fill(&bed, 3);
    bed_await_stored(&bed);
    uint32_t timeline;
    (void)bed_stored(&bed, &timeline);
    assert_int_equal(timeline, 2);
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
    whole_and_the_same("00000002", &standby);
    whole_and_the_same("00000001", &primary);
    bed.server = primary;
    pg_server_remove(&standby);
}

/* The primary dies with WAL that only we have; the standby that takes over has not seen it. */
static void a_failover_is_followed_and_the_branch_that_was_left_is_told(void **state) {
    (void)state;
    struct pg_server standby, primary;
    begin("");
    bed_standby(&bed, &standby);
    primary = bed.server;
    snprintf(bed.hosts, sizeof bed.hosts, "%s,%s", primary.folder, standby.folder);
    pid_t child = bed_start(&bed, &steady);
    bed_fill(&bed, 2);
    bed_await_stored(&bed);
    pg_server_stop(&standby, "fast");
    bed_fill(&bed, 3);
    bed_await_stored(&bed);
    uint64_t before = bed_stored(&bed, NULL);
    pg_server_kill(&primary);
    pg_server_run(&standby);
    bed.server = standby;
    pg_server_sql(&standby, "postgres", "SELECT pg_promote()");
    bed_fill(&bed, 1);
    bed_await_stored(&bed);
    bed_await(&bed, "SELECT count(*) FROM pg_replication_slots WHERE active", "1");
    for (int i = 0; i < 600 && !strstr(bed_events(&bed), "branch: "); i++) usleep(100000);
    assert_non_null(strstr(bed_events(&bed), "branch: timeline 1 was left at "));
    bed_fill(&bed, 6);
    bed_await_stored(&bed);
    uint32_t timeline;
    assert_true(bed_stored(&bed, &timeline) > before);
    assert_int_equal(timeline, 2);
    assert_int_equal(bed_stop(child, SIGTERM), ERR_TERMINATED);
    whole_and_the_same("00000002", &standby);
    /* The old primary, come back with its own branch, is refused. */
    pg_server_run(&primary);
    bed.server = primary;
    snprintf(bed.hosts, sizeof bed.hosts, "%s", primary.folder);
    struct error err = ERROR_INIT;
    struct receive_state s;
    claim_fails(bed_receive(&bed, &once, &s, &err), err, ERR_RECEIVE_BRANCH, "it was not promoted when the other was");
    pg_server_remove(&standby);
}

/* ---- how much is lost when all dies at once ---- */
struct commit {
    int64_t n, ns;
};

static void write_rows(const char *log) {
    char info[128];
    snprintf(info, sizeof info, "host=%s user=postgres dbname=postgres", bed.server.folder);
    PGconn *c = PQconnectdb(info);
    FILE *f = fopen(log, "w");
    for (int64_t n = 1; c && f; n++) {
        char sql[128];
        snprintf(sql, sizeof sql, "INSERT INTO commits VALUES (%lld, repeat('x', 200))", (long long)n);
        PGresult *r = PQexec(c, sql);
        if (PQresultStatus(r) != PGRES_COMMAND_OK) break;
        PQclear(r);
        struct commit done = {n, time_monotonic_ns()};
        if (fwrite(&done, sizeof done, 1, f) != 1 || fflush(f) != 0) break;
    }
    _exit(0);
}

/* The stock server replays the segments, and what there is of the last one with zeros behind it. */
static void replays(struct pg_server *copy) {
    char path[160];
    assert_int_equal(bed_shell("cd %s && for f in *.part; do [ -f $f ] || continue; cp $f ${f%%.part} &&"
                               " truncate -s %u ${f%%.part} || exit 1; done; chmod 644 0*",
                               bed.folder.path, BED_SEGMENT),
                     0);
    snprintf(path, sizeof path, "%s/data/postgresql.conf", copy->folder);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fprintf(f, "unix_socket_directories = '%s'\narchive_mode = off\nrestore_command = 'cp %s/%%f %%p'\n", copy->folder,
            bed.folder.path);
    fclose(f);
    assert_int_equal(pg_server_shell(copy, "touch %s/data/recovery.signal", copy->folder), 0);
}

static void when_all_dies_no_more_is_lost_than_the_interval(void **state) {
    (void)state;
    struct pg_server copy;
    char log[160];
    int64_t worst = 0;
    begin("");
    pg_server_sql(&bed.server, "postgres", "CREATE TABLE commits (n bigint PRIMARY KEY, t text)");
    snprintf(log, sizeof log, "%s/commits.log", bed.server.folder);
    for (int round = 0; round < 3; round++) {
        char name[32];
        snprintf(name, sizeof name, "wal-%d", round);
        bed_fresh_folder(&bed, name);
        if (round > 0)
            pg_server_sql(&bed.server, "postgres", "TRUNCATE commits; SELECT pg_drop_replication_slot('proofkeep')");
        pid_t child = bed_start(&bed, &steady);
        assert_true(bed_await_event(&bed, "started: "));
        copy = bed.server;
        snprintf(copy.folder, sizeof copy.folder, "/tmp/pk-pg-XXXXXX");
        assert_non_null(mkdtemp(copy.folder));
        if (copy.root) assert_int_equal(bed_shell("chown postgres %s", copy.folder), 0);
        assert_int_equal(pg_server_shell(&copy,
                                         "%s/pg_basebackup -h %s -D %s/data -X none -c fast --no-sync 2>/dev/null",
                                         copy.bin, bed.server.folder, copy.folder),
                         0);
        fflush(NULL);
        pid_t writer = fork();
        if (writer == 0) write_rows(log);
        usleep(3000000 + (useconds_t)round * 370000);
        int64_t died = time_monotonic_ns();
        assert_int_equal(bed_stop(child, SIGKILL), -SIGKILL);
        pg_server_kill(&bed.server);
        waitpid(writer, NULL, 0);
        replays(&copy);
        pg_server_run(&copy);
        for (int i = 0; i < 600 && strcmp(pg_server_ask(&copy, "postgres", "SELECT pg_is_in_recovery()"), "f") != 0;
             i++)
            usleep(100000);
        const char *answer = pg_server_ask(&copy, "postgres", "SELECT count(*), coalesce(max(n), 0) FROM commits");
        long long count = 0, max = 0;
        assert_int_equal(sscanf(answer, "%lld|%lld", &count, &max), 2);
        assert_true(count == max && count > 0);
        FILE *f = fopen(log, "r");
        struct commit c;
        int64_t lost_since = died, total = 0;
        assert_non_null(f);
        while (fread(&c, sizeof c, 1, f) == 1) {
            if (c.ns > died) break;
            total = c.n;
            if (c.n > max && c.ns < lost_since) lost_since = c.ns;
        }
        fclose(f);
        int64_t lost = died - lost_since;
        print_message("# %lld committed, %lld recovered, the oldest lost one was %.2f s old (pieces every %.1f s)\n",
                      (long long)total, max, (double)lost / 1e9, (double)PIECE_NS / 1e9);
        if (lost > worst) worst = lost;
        pg_server_remove(&copy);
        pg_server_run(&bed.server);
    }
    assert_true(worst < PIECE_NS + NS_PER_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_receiver_killed_at_any_moment_loses_nothing, end),
        cmocka_unit_test_teardown(a_server_that_crashes_is_waited_for, end),
        cmocka_unit_test_teardown(a_store_that_fails_is_tried_again_and_nothing_is_confirmed, end),
        cmocka_unit_test_teardown(other_bytes_under_a_name_end_it, end),
        cmocka_unit_test_teardown(a_slow_store_costs_neither_the_stream_nor_memory, end),
        cmocka_unit_test_teardown(the_slot_s_growth_is_told, end),
        cmocka_unit_test_teardown(wal_that_the_server_gave_up_is_a_gap_with_its_place, end),
        cmocka_unit_test_teardown(a_slot_given_up_while_it_is_used_is_a_gap_too, end),
        cmocka_unit_test_teardown(the_promotion_of_the_server_is_followed, end),
        cmocka_unit_test_teardown(a_failover_is_followed_and_the_branch_that_was_left_is_told, end),
        cmocka_unit_test_teardown(when_all_dies_no_more_is_lost_than_the_interval, end),
    };
    if (!bed_find(&bed)) return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
