/* Names, headers and histories of the write-ahead log: made ones, and those of a real server. */
#include "base/seam.h"
#include "harness/claims.h"
#include "surface/pg_server.h"
#include "surface/wal.h"
#include <stdlib.h>

static struct error err;

static void every_kind_of_name_comes_back(void **s) {
    (void)s;
    static const struct {
        const char *text;
        enum wal_kind kind;
    } good[] = {{"0000000100000016000000B3", WAL_SEGMENT},
                {"0000000100000016000000B3.partial", WAL_PARTIAL},
                {"0000000100000016000000B3.00000028.backup", WAL_BACKUP},
                {"0000000A.history", WAL_HISTORY},
                {"FFFFFFFFFFFFFFFF00000FFF", WAL_SEGMENT}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct wal_name n;
        char out[WAL_NAME_BYTES];
        claim_ok(wal_name_parse(good[i].text, &n, &err), err);
        assert_int_equal(n.kind, good[i].kind);
        wal_name_format(&n, out);
        assert_string_equal(out, good[i].text);
    }
}

static void what_is_no_name_is_refused(void **s) {
    (void)s;
    static const char *const bad[] = {"",
                                      "00000001",
                                      "0000000100000016000000b3",
                                      "0000000100000016000000B3.Partial",
                                      "0000000100000016000000B",
                                      "0000000100000016000000B3.bak",
                                      "00000000.history",
                                      "0000000000000016000000B3",
                                      "000000010000001600001000",
                                      "0000000100000016000000B3 ",
                                      "../0000000100000016000000B3",
                                      "0000000100000016000000B3.0000028.backup",
                                      "00000001.history.partial",
                                      "RECOVERYXLOG"};
    struct wal_name n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        claim_fails(wal_name_parse(bad[i], &n, &err), err, ERR_PG_WAL_NAME, "no name of a WAL file");
}

static void names_and_places_belong_together(void **s) {
    (void)s;
    static const uint32_t sizes[] = {WAL_SEGMENT_MIN, 16u << 20, WAL_SEGMENT_MAX};
    for (size_t i = 0; i < 3; i++) {
        struct wal_name n = wal_name_at(7, UINT64_C(0x16B374D848), sizes[i]);
        uint64_t lsn = wal_name_lsn(&n, sizes[i]);
        assert_true(lsn <= UINT64_C(0x16B374D848) && UINT64_C(0x16B374D848) - lsn < sizes[i]);
        assert_int_equal(n.timeline, 7);
        struct wal_name last = wal_name_at(1, UINT64_C(0x1FFFFFFFF), sizes[i]);
        struct wal_name next = wal_name_at(1, UINT64_C(0x200000000), sizes[i]);
        assert_int_equal(last.log, 1);
        assert_int_equal(wal_name_lsn(&last, sizes[i]) + sizes[i], UINT64_C(0x200000000));
        assert_true(next.log == 2 && next.seg == 0);
    }
}

static void places_are_read_and_written(void **s) {
    (void)s;
    uint64_t lsn;
    char out[24];
    assert_true(wal_lsn_parse("16/B374D848", &lsn) && lsn == UINT64_C(0x16B374D848));
    wal_lsn_format(lsn, out);
    assert_string_equal(out, "16/B374D848");
    wal_lsn_format(UINT64_MAX, out);
    assert_string_equal(out, "FFFFFFFF/FFFFFFFF");
    assert_true(wal_lsn_parse("0/0", &lsn) && lsn == 0 && wal_lsn_parse("a/b", &lsn));
    static const char *const bad[] = {"",    "/",           "1",           "1/",   "/1",  "1/2/3",
                                      "1/g", "123456789/0", "1/123456789", " 1/2", "1/2 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(wal_lsn_parse(bad[i], &lsn));
}

/* A first page as a server of 15 writes it. */
static void page(uint8_t p[8192], uint32_t timeline, uint64_t lsn, uint64_t system, uint32_t segment) {
    memset(p, 0, 8192);
    put_u16(p, 0xD110);
    put_u16(p + 2, 2);
    put_u32(p + 4, timeline);
    put_u64(p + 8, lsn);
    put_u64(p + 24, system);
    put_u32(p + 32, segment);
    put_u32(p + 36, 8192);
}

static void a_header_of_every_version_is_read_and_others_are_not(void **s) {
    (void)s;
    static const uint16_t good[] = {0xD110, 0xD113, 0xD116, 0xD118}, bad[] = {0, 0xD10D, 0xD119, 0x10D1};
    uint8_t p[8192];
    struct wal_header h;
    page(p, 3, UINT64_C(0x502000000), 99, 16u << 20);
    for (size_t i = 0; i < 4; i++) {
        put_u16(p, good[i]);
        claim_ok(wal_header_read(BYTES_OF(p, 40), &h, &err), err);
        assert_true(h.magic == good[i] && h.timeline == 3 && h.lsn == UINT64_C(0x502000000) && h.system == 99);
        assert_true(h.segment_bytes == 16u << 20 && h.block_bytes == 8192);
        put_u16(p, bad[i]);
        claim_fails(wal_header_read(BYTES_OF(p, 40), &h, &err), err, ERR_PG_WAL, "not WAL of PostgreSQL");
    }
    put_u16(p, 0xD110);
    claim_fails(wal_header_read(BYTES_OF(p, 39), &h, &err), err, ERR_PG_WAL, "too few");
    put_u16(p + 2, 1);
    claim_fails(wal_header_read(BYTES_OF(p, 40), &h, &err), err, ERR_PG_WAL, "long header");
    page(p, 3, UINT64_C(0x502000000), 99, 3u << 20);
    claim_fails(wal_header_read(BYTES_OF(p, 40), &h, &err), err, ERR_PG_WAL, "segments have");
    page(p, 3, UINT64_C(0x502000000), 99, 16u << 20);
    put_u32(p + 36, 100);
    claim_fails(wal_header_read(BYTES_OF(p, 40), &h, &err), err, ERR_PG_WAL, "pages have");
    page(p, 3, UINT64_C(0x502002000), 99, 16u << 20);
    claim_fails(wal_header_read(BYTES_OF(p, 40), &h, &err), err, ERR_PG_WAL, "no segment begins");
}

static void a_segment_is_held_against_its_name(void **s) {
    (void)s;
    static uint8_t p[8192];
    struct bytes b = BYTES_OF(p, sizeof p);
    struct wal_name n;
    page(p, 3, UINT64_C(0x502000000), 99, 16u << 20);
    claim_ok(wal_name_parse("000000030000000500000002", &n, &err), err);
    claim_ok(wal_segment_check(&n, b, 0, &err), err);
    claim_ok(wal_segment_check(&n, b, 99, &err), err);
    claim_fails(wal_segment_check(&n, b, 98, &err), err, ERR_PG_WAL, "system identifier 99, not 98");
    n.timeline = 4; /* a promotion left the first pages of timeline 3 in it */
    claim_ok(wal_segment_check(&n, b, 99, &err), err);
    n.timeline = 2;
    claim_fails(wal_segment_check(&n, b, 99, &err), err, ERR_PG_WAL, "is of timeline 3");
    n.timeline = 3;
    n.seg = 3;
    claim_fails(wal_segment_check(&n, b, 99, &err), err, ERR_PG_WAL,
                "begins at 5/2000000 by its first page, and at 5/3000000");
    n.seg = 0x102;
    claim_fails(wal_segment_check(&n, b, 99, &err), err, ERR_PG_WAL, "no name of a segment");
    n.seg = 2;
    b.len = (16u << 20) + 1; /* only its length is looked at */
    claim_fails(wal_segment_check(&n, b, 99, &err), err, ERR_PG_WAL, "16777217 bytes");
}

static void a_history_is_read(void **s) {
    (void)s;
    static const char text[] =
        "# comment\n\n1\t0/3000000\tno recovery target specified\n 2\t0/5000148\tat \t name\n7 1/A\n";
    struct wal_switch *l;
    size_t n;
    claim_ok(wal_history_parse(BYTES_STR(text), 9, &l, &n, &err), err);
    assert_int_equal(n, 3);
    assert_true(l[0].timeline == 1 && l[0].lsn == 0x3000000 && l[1].timeline == 2 && l[1].lsn == 0x5000148);
    assert_true(l[2].timeline == 7 && l[2].lsn == UINT64_C(0x10000000A));
    seam_free(l);
    static const struct {
        const char *text, *part;
    } bad[] = {{"", "does not say where it came from"},  {"1", "line 1"},
               {"x\t0/1\n", "does not name a timeline"}, {"1\t0-1\n", "does not name a timeline"},
               {"0\t0/1\n", "does not name a timeline"}, {"99999999999\t0/1\n", "does not name a timeline"},
               {"2\t0/1\n1\t0/2\n", "line 2"},           {"9\t0/1\n", "is out of order"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        claim_fails(wal_history_parse(BYTES_STR(bad[i].text), 9, &l, &n, &err), err, ERR_PG_WAL, bad[i].part);
}

static void segments_of_a_real_server_are_what_they_say(void **s) {
    (void)s;
    struct pg_server server;
    if (!pg_server_find(&server)) skip();
    pg_server_start(&server);
    pg_server_sql(
        &server, "postgres",
        "CREATE TABLE t AS SELECT generate_series(1, 1000) i; SELECT pg_switch_wal(); INSERT INTO t VALUES (1)");
    char name[64], path[256];
    uint64_t system =
        strtoull(pg_server_ask(&server, "postgres", "SELECT system_identifier FROM pg_control_system()"), NULL, 10);
    snprintf(name, sizeof name, "%s",
             pg_server_ask(&server, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())"));
    snprintf(path, sizeof path, "%s/data/pg_wal/%s", server.folder, name);
    struct buf b = BUF_INIT(64u << 20);
    struct wal_name n, at;
    struct wal_header h;
    uint64_t lsn;
    claim_ok(io_read_file(AT_FDCWD, path, b.max_bytes, &b, &err), err);
    claim_ok(wal_name_parse(name, &n, &err), err);
    claim_ok(wal_segment_check(&n, buf_bytes(&b), system, &err), err);
    claim_ok(wal_header_read(buf_bytes(&b), &h, &err), err);
    assert_true(h.system == system && h.timeline == 1 && b.len == h.segment_bytes);
    assert_true(wal_lsn_parse(pg_server_ask(&server, "postgres", "SELECT pg_current_wal_lsn()"), &lsn));
    at = wal_name_at(1, lsn, h.segment_bytes);
    assert_true(at.log == n.log && at.seg == n.seg);
    buf_free(&b);
    pg_server_remove(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_name_comes_back),
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(names_and_places_belong_together),
        cmocka_unit_test(places_are_read_and_written),
        cmocka_unit_test(a_header_of_every_version_is_read_and_others_are_not),
        cmocka_unit_test(a_segment_is_held_against_its_name),
        cmocka_unit_test(a_history_is_read),
        cmocka_unit_test(segments_of_a_real_server_are_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
