/* Which transactions were committed, and what they touched, out of what pg_waldump prints: here a program that prints
 * what we say. */
#include "harness/claims.h"
#include "harness/scratch.h"

#include "base/time.h"
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

static void program(const char *dir, const char *text, int status) {
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
            "#!/bin/sh\ncat %s/lines\nprintf '%%s\\n' \"$*\" >%s/arguments\necho 'pg_waldump: error: it ends' "
            ">&2\nexit %d\n",
            dir, dir, status);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
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

static void the_end_of_the_wal_is_an_end_only_there(void **state) {
    const char *dir = *state;
    struct wal_commits c = {0};
    struct wal_stretch s = {.bin = dir, .folder = dir, .timeline = 1, .from = 0x150, .to = 0x1000, .last = true};
    struct told t = {0};
    struct error err = ERROR_INIT;
    char path[600], said[400] = "";
    program(dir, text, 1);
    claim_ok(wal_commits_read(&c, &s, on_commit, &t, &err), err);
    assert_true(t.n == 2 && t.list[0].xid == 11 && !t.list[0].touched);
    snprintf(path, sizeof path, "%s/arguments", dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(said, sizeof said, f));
    fclose(f);
    assert_non_null(
        strstr(said, "--timeline=1 --start=0/150 --end=0/1000 --rmgr=Transaction\n")); /* and no heap records */
    c.seen = 0;
    s.last = false;
    claim_fails(wal_commits_read(&c, &s, on_commit, &t, &err), err, ERR_PG_WAL, "it ends");
    s.bin = "/nowhere";
    claim_fails(wal_commits_read(&c, &s, on_commit, &t, &err), err, ERR_PG_SCRATCH, "look for pg_waldump in /nowhere");
    wal_commits_free(&c);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
