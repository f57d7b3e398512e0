/* Which transactions were committed, and what they touched, out of what pg_waldump prints: here a program that prints
 * what we say. */
#include "harness/claims.h"
#include "harness/scratch.h"

#include "base/time.h"
#include "surface/pg_server.h"
#include "surface/pgphys/commits.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LINE(rmgr, xid, lsn, desc)                                                                                     \
    "rmgr: " rmgr "        len (rec/tot):     54/    54, tx:        " xid ", lsn: " lsn ", prev 0/0151C5F8, "          \
    "desc: " desc

static bool parse(const char *line, struct waldump_record *ret) {
    return waldump_line(BYTES_STR(line), ret);
}

static void lines_of_all_versions_are_read(void **state) {
    (void)state;
    struct waldump_record r;
    const uint32_t files[] = {16390, 16401};
    int64_t when;
    assert_true(parse(
        LINE("Heap", "731", "0/0151C630", "DELETE off 34 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/5/16401 blk 64"),
        &r));
    assert_int_equal(r.kind, WALDUMP_HEAP);
    assert_int_equal(r.xid, 731);
    assert_int_equal(r.lsn, 0x0151C630);
    assert_true(r.deletes && !r.updates && waldump_touches(&r, 5, files, 2));
    assert_false(waldump_touches(&r, 6, files, 2));
    assert_false(waldump_touches(&r, 5, files, 1));
    assert_true(parse(LINE("Heap", "731", "A/0151C630",
                           "UPDATE old_xmax: 731, old_off: 1, new_off: 2, blkref #0: rel 1663/5/9 blk 0, blkref #1: "
                           "rel 1663/5/16390 blk 1"),
                      &r));
    assert_true(r.updates && !r.deletes && waldump_touches(&r, 5, files, 2));
    assert_int_equal(r.lsn, UINT64_C(0xA0151C630));
    assert_true(parse(LINE("Heap", "731", "0/1", "INSERT off 3 flags 0x00, blkref #0: rel 1663/5/16401 blk 64"), &r) &&
                !r.deletes && !r.updates);
    assert_true(parse(LINE("Heap2", "0", "0/1",
                           "PRUNE latestRemovedXid 0 nredirected 0 ndead 13, blkref #0: rel 1663/5/16401 blk 64"),
                      &r) &&
                !r.deletes && !r.updates);
    assert_true(parse(LINE("Transaction", "735", "0/01546B78", "COMMIT 2026-11-21 13:10:52.456263 UTC"), &r));
    assert_true(time_parse("2026-11-21T13:10:52.456263Z", &when));
    assert_true(r.kind == WALDUMP_COMMIT && r.time_ns == when && !r.ddl && r.subxacts.len == 0);
    assert_true(parse(LINE("Transaction", "0", "0/2",
                           "COMMIT_PREPARED 736: 2026-11-21 13:10:52.764717 UTC; rels: base/5/1 base/5/2; subxacts: "
                           "740 741; inval msgs: catcache 80"),
                      &r));
    assert_true(r.xid == 736 && r.ddl && r.subxacts.len > 8);
    assert_true(parse(LINE("Transaction", "737", "0/3", "ABORT 2026-11-21 13:10:52.764717 UTC; subxacts: 738"), &r) &&
                r.kind == WALDUMP_ABORT);
    assert_true(parse(LINE("XLOG", "0", "0/4", "RESTORE_POINT before, the end"), &r) && r.kind == WALDUMP_POINT);
    assert_true(bytes_equal(r.name, BYTES_STR("before, the end")));
    assert_false(parse(LINE("XLOG", "0", "0/4", "SWITCH "), &r));
}

static void what_is_no_record_is_passed_over(void **state) {
    (void)state;
    struct waldump_record r;
    const char *const not [] = {
        "",
        "first record is after 0/3000000, at 0/3000028, skipping over 40 bytes",
        "rmgr: ",
        LINE("Transaction", "736", "0/01546D58", "PREPARE gid ab: 2026-11-21 13:10:52.764609 UTC"),
        LINE("Transaction", "736", "0/01546D58", "COMMIT yesterday"),
        LINE("Transaction", "x", "0/1", "COMMIT 2026-11-21 13:10:52.764609 UTC"),
        LINE("Transaction", "1", "nowhere", "COMMIT 2026-11-21 13:10:52.764609 UTC"),
        LINE("Btree", "736", "0/1", "INSERT_LEAF off 3")};
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++) assert_false(parse(not [i], &r));
}

/* ---- a stretch ---- */
struct told {
    struct wal_commit list[16];
    size_t n;
};

static int on_commit(void *ctx, const struct wal_commit *c, struct error *err) {
    struct told *t = ctx;
    (void)err;
    assert_true(t->n < 16);
    t->list[t->n++] = *c;
    return 0;
}

static void program_saying(const char *dir, const char *text, int status, const char *said) {
    char path[600];
    snprintf(path, sizeof path, "%s/lines", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/pg_waldump", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "#!/bin/sh\ncat %s/lines\nprintf '%%s\\n' \"$*\" >%s/arguments\necho 'pg_waldump: error: %s' "
            ">&2\nexit %d\n",
            dir, dir, said, status);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

static void program(const char *dir, const char *text, int status) {
    program_saying(dir, text, status, "it ends");
}

static const char
    text
        [] =
            LINE("Heap", "10", "0/100", "DELETE off 1, blkref #0: rel 1663/5/77 blk 0") "\n" LINE("Heap", "12", "0/110", "HOT_UPDATE off 1, blkref #0: rel 1663/5/77 blk 0") "\n" LINE(
                "Heap", "14", "0/120",
                "DELETE off 1, blkref #0: rel 1663/5/78 blk 0") "\n" LINE("Heap", "15", "0/130",
                                                                          "DELETE off 1, blkref #0: rel 1663/5/77 blk "
                                                                          "0") "\n" LINE("Transaction", "14", "0/140",
                                                                                         "COMMIT 2026-11-21 "
                                                                                         "13:10:52.000001 "
                                                                                         "UTC") "\n" LINE("Transaction",
                                                                                                          "10", "0/150",
                                                                                                          "ABORT "
                                                                                                          "2026-11-21 "
                                                                                                          "13:10:52."
                                                                                                          "000002 "
                                                                                                          "UTC") "\n" LINE("T"
                                                                                                                           "r"
                                                                                                                           "a"
                                                                                                                           "n"
                                                                                                                           "s"
                                                                                                                           "a"
                                                                                                                           "c"
                                                                                                                           "t"
                                                                                                                           "i"
                                                                                                                           "o"
                                                                                                                           "n",
                                                                                                                           "1"
                                                                                                                           "1",
                                                                                                                           "0"
                                                                                                                           "/"
                                                                                                                           "1"
                                                                                                                           "6"
                                                                                                                           "0",
                                                                                                                           "C"
                                                                                                                           "O"
                                                                                                                           "M"
                                                                                                                           "M"
                                                                                                                           "I"
                                                                                                                           "T"
                                                                                                                           " "
                                                                                                                           "2"
                                                                                                                           "0"
                                                                                                                           "2"
                                                                                                                           "6"
                                                                                                                           "-"
                                                                                                                           "1"
                                                                                                                           "1"
                                                                                                                           "-"
                                                                                                                           "2"
                                                                                                                           "1"
                                                                                                                           " "
                                                                                                                           "1"
                                                                                                                           "3"
                                                                                                                           ":"
                                                                                                                           "1"
                                                                                                                           "0"
                                                                                                                           ":"
                                                                                                                           "5"
                                                                                                                           "2"
                                                                                                                           "."
                                                                                                                           "0"
                                                                                                                           "0"
                                                                                                                           "0"
                                                                                                                           "0"
                                                                                                                           "0"
                                                                                                                           "3"
                                                                                                                           " "
                                                                                                                           "U"
                                                                                                                           "T"
                                                                                                                           "C"
                                                                                                                           ";"
                                                                                                                           " "
                                                                                                                           "s"
                                                                                                                           "u"
                                                                                                                           "b"
                                                                                                                           "x"
                                                                                                                           "a"
                                                                                                                           "c"
                                                                                                                           "t"
                                                                                                                           "s"
                                                                                                                           ":"
                                                                                                                           " "
                                                                                                                           "1"
                                                                                                                           "2"
                                                                                                                           " "
                                                                                                                           "1"
                                                                                                                           "3") "\n" LINE("Transaction",
                                                                                                                                          "16",
                                                                                                                                          "0/170",
                                                                                                                                          "COMMIT 2026-11-21 13:10:52.000004 UTC; inval msgs: catcache 1") "\n";
static const char more[] =
    LINE("Transaction", "16", "0/170", "COMMIT 2026-11-21 13:10:52.000004 UTC; inval msgs: catcache 1") "\n" LINE(
        "Transaction", "0", "0/180",
        "COMMIT_PREPARED 15: 2026-11-21 13:10:52.000005 UTC") "\n" LINE("Transaction", "10", "0/190",
                                                                        "COMMIT 2026-11-21 13:10:52.000006 UTC") "\n";

static void those_that_touched_are_told_from_those_that_did_not(void **state) {
    const char *dir = *state;
    const uint32_t files[] = {77};
    struct wal_commits c = {.database = 5, .files = files, .file_count = 1};
    struct wal_stretch s = {.bin = dir, .folder = dir, .timeline = 3, .from = 1, .to = 0x1000};
    struct told t = {0};
    struct error err = ERROR_INIT;
    program(dir, text, 0);
    claim_ok(wal_commits_read(&c, &s, on_commit, &t, &err), err);
    assert_int_equal(t.n, 3);
    assert_true(t.list[0].xid == 14 && !t.list[0].touched && !t.list[0].ddl && t.list[0].timeline == 3);
    assert_true(t.list[1].xid == 11 && t.list[1].touched && t.list[1].lsn == 0x160);
    assert_true(t.list[2].xid == 16 && !t.list[2].touched && t.list[2].ddl);
    /* the next window overlaps, and what is open goes on */
    program(dir, more, 0);
    claim_ok(wal_commits_read(&c, &s, on_commit, &t, &err), err);
    assert_int_equal(t.n, 5);
    assert_true(t.list[3].xid == 15 && t.list[3].touched);
    assert_true(t.list[4].xid == 10 && !t.list[4].touched);
    wal_commits_free(&c);
    /* and those that only updated are left out on demand */
    c = (struct wal_commits){.database = 5, .files = files, .file_count = 1, .deletes_only = true};
    t.n = 0;
    program(dir, text, 0);
    claim_ok(wal_commits_read(&c, &s, on_commit, &t, &err), err);
    assert_true(t.n == 3 && !t.list[0].touched && !t.list[1].touched && !t.list[2].touched);
    wal_commits_free(&c);
}

static void many_transactions_may_be_open(void **state) {
    const char *dir = *state;
    const uint32_t files[] = {77};
    struct wal_commits c = {.database = 5, .files = files, .file_count = 1};
    struct wal_stretch s = {.bin = dir, .folder = dir, .timeline = 1, .from = 1, .to = UINT32_MAX};
    struct told t = {0};
    struct error err = ERROR_INIT;
    char *lines = malloc(4u << 20);
    size_t at = 0;
    assert_non_null(lines);
    for (unsigned x = 1; x <= 5000; x++)
        at += (size_t)sprintf(lines + at,
                              "rmgr: Heap len (rec/tot): 54/54, tx: %u, lsn: 0/%X, prev 0/1, desc: DELETE off 1, "
                              "blkref #0: rel 1663/5/77 blk 0\n",
                              x * 64, 0x1000 + x);
    at += (size_t)sprintf(lines + at, "rmgr: Transaction len (rec/tot): 54/54, tx: 7, lsn: 0/90000, prev 0/1, desc: "
                                      "COMMIT 2026-11-21 13:10:52.000003 UTC; subxacts:");
    for (unsigned x = 1; x < 5000; x++) at += (size_t)sprintf(lines + at, " %u", x * 64);
    sprintf(lines + at, "\nrmgr: Transaction len (rec/tot): 54/54, tx: 320000, lsn: 0/90001, prev 0/1, desc: COMMIT "
                        "2026-11-21 13:10:52.000003 UTC\n");
    program(dir, lines, 0);
    free(lines);
    claim_ok(wal_commits_read(&c, &s, on_commit, &t, &err), err);
    assert_true(t.n == 2 && t.list[0].touched && t.list[1].touched);
    assert_int_equal(c.open_count, 0);
    wal_commits_free(&c);
}

static void what_it_was_asked(const char *dir, char said[400]) {
    char path[600];
    snprintf(path, sizeof path, "%s/arguments", dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(said, 400, f));
    fclose(f);
}

static void the_end_of_the_wal_is_an_end_only_there(void **state) {
    static const char *const ends[] = {
        "error in WAL record at 0/2FFFFF8: invalid record length at 0/3000028: wanted 24, got 0",
        "error in WAL record at 0/1000028: there is no contrecord flag at 0/3002000",
        "error in WAL record at 0/1000028: bad magic number in 000000010000000000000003, offset 8192",
        "could not find a valid record after 0/3000000"};
    static const char *const others[] = {
        "error in WAL record at 0/1000028: incorrect checksum in record at 0/1000060",
        "could not find a valid record after 0/1000000",
        "could not read from file 000000010000000000000003, offset 8192: read 0 of 8192",
        "could not open file 000000010000000000000003: Permission denied",
        "could not locate WAL file 000000010000000000000003",
        "out of memory",
        ""};
    const char *dir = *state;
    struct wal_commits c = {0};
    struct wal_stretch s = {.bin = dir,
                            .folder = dir,
                            .timeline = 1,
                            .from = 0x150,
                            .to = 0x4000000,
                            .end = 0x2000000,
                            .segment_bytes = 16 << 20};
    struct told t = {0};
    struct error err = ERROR_INIT;
    char said[400] = "";
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        program_saying(dir, text, 1, ends[i]);
        c.seen = t.n = 0;
        claim_ok(wal_commits_read(&c, &s, on_commit, &t, &err), err);
        assert_true(t.n == 2 && t.list[0].xid == 11 && !t.list[0].touched);
    }
    what_it_was_asked(dir, said);
    assert_non_null(
        strstr(said, "--timeline=1 --start=0/150 --end=0/4000000 --rmgr=Transaction\n")); /* and no heap records */
    /* What it could not do is no end, though it be in the last segments. */
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        program_saying(dir, text, 1, others[i]);
        c.seen = t.n = 0;
        claim_fails(wal_commits_read(&c, &s, on_commit, &t, &err), err, ERR_PG_WAL, others[i]);
    }
    c.seen = t.n = 0;
    s.end = UINT64_MAX;
    program_saying(dir, text, 1, ends[0]);
    claim_fails(wal_commits_read(&c, &s, on_commit, &t, &err), err, ERR_PG_WAL, ends[0]);
    s.bin = "/nowhere";
    claim_fails(wal_commits_read(&c, &s, on_commit, &t, &err), err, ERR_PG_SCRATCH, "look for pg_waldump in /nowhere");
    wal_commits_free(&c);
}

/* What the real program says where real WAL ends, and where it cannot be read. */
static void the_real_program_tells_an_end_from_what_it_cannot_read(void **state) {
    struct pg_server g;
    struct wal_commits c = {.points = true};
    struct told t = {0};
    struct error err = ERROR_INIT;
    char folder[128];
    uint64_t from;
    (void)state;
    if (!pg_server_find(&g)) skip();
    pg_server_start(&g);
    pg_server_sql(&g, "postgres", "SELECT pg_switch_wal();");
    assert_true(wal_lsn_parse(pg_server_ask(&g, "postgres", "SELECT pg_current_wal_lsn()"), &from));
    pg_server_sql(&g, "postgres", "SELECT pg_create_restore_point('one'); CREATE TABLE flushed ();");
    snprintf(folder, sizeof folder, "%s/wal", g.folder);
    from -= from % (16 << 20);
    struct wal_name n = wal_name_at(1, from, 16 << 20);
    char name[WAL_NAME_BYTES];
    wal_name_format(&n, name);
    assert_int_equal(pg_server_shell(&g, "mkdir %s && cp %s/data/pg_wal/%s %s/", folder, g.folder, name, folder), 0);
    struct wal_stretch s = {.bin = g.bin,
                            .run_as = g.root ? "postgres" : NULL,
                            .folder = folder,
                            .timeline = 1,
                            .from = from,
                            .to = from + (16 << 20),
                            .end = from,
                            .segment_bytes = 16 << 20};
    claim_ok(wal_commits_read(&c, &s, on_commit, &t, &err), err);
    assert_true(t.n == 2 && t.list[0].name.len == strlen("one") && t.list[1].ddl);
    c.seen = t.n = 0;
    s.end = UINT64_MAX;
    claim_fails(wal_commits_read(&c, &s, on_commit, &t, &err), err, ERR_PG_WAL, "invalid record length");
    s.end = from;
    assert_int_equal(pg_server_shell(&g, "truncate -s 8192 %s/%s", folder, name), 0);
    c.seen = t.n = 0;
    claim_fails(wal_commits_read(&c, &s, on_commit, &t, &err), err, ERR_PG_WAL, "could not read");
    wal_commits_free(&c);
    pg_server_remove(&g);
}

static int scratch_setup(void **state) {
    static struct scratch s;
    scratch_make(&s);
    *state = s.path;
    return 0;
}

static int scratch_teardown(void **state) {
    scratch_remove((struct scratch *)*state); /* the path is its first member */
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_all_versions_are_read),
        cmocka_unit_test(what_is_no_record_is_passed_over),
        cmocka_unit_test_setup_teardown(those_that_touched_are_told_from_those_that_did_not, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(many_transactions_may_be_open, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(the_end_of_the_wal_is_an_end_only_there, scratch_setup, scratch_teardown),
        cmocka_unit_test(the_real_program_tells_an_end_from_what_it_cannot_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
