/* Names, headers and histories of the write-ahead log: made ones, and those of a real server. */
#include "base/crc32c.h"
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

/* Eight pages from 5/2000000 on: a record that goes on for three, one more, a switch, and zeros. */
static void pages_of(uint8_t p[65536]) {
    memset(p, 0, 65536);
    page(p, 3, UINT64_C(0x502000000), 99, 16u << 20);
    for (uint32_t i = 1; i < 5; i++) {
        uint8_t *h = p + (size_t)i * 8192;
        const uint32_t left[] = {0, 8168 + 8168 + 40, 8168 + 40, 40, 0};
        put_u16(h, 0xD110);
        put_u16(h + 2, left[i] ? 1 : 0);
        put_u32(h + 4, 3);
        put_u64(h + 8, UINT64_C(0x502000000) + (uint64_t)i * 8192);
        put_u32(h + 16, left[i]);
    }
}

static int pages_checked(const uint8_t p[65536], size_t step, uint64_t until) {
    struct wal_pages w;
    const struct wal_name n = wal_name_at(3, UINT64_C(0x502000000), 16u << 20);
    wal_pages_begin(&w, &n, 16u << 20);
    for (size_t at = 0; at < 65536; at += step)
        wal_pages_feed(&w, BYTES_OF(p + at, 65536 - at < step ? 65536 - at : step));
    return wal_pages_check(&w, UINT64_C(0x502000000) + until, &err);
}

static void every_page_of_a_segment_is_looked_at(void **s) {
    (void)s;
    static uint8_t p[65536];
    static const struct {
        uint32_t page, at;
        uint8_t with;
        const char *why;
    } t[] = {{1, 0, 0x11, "the page at 5/2002000 of 000000030000000500000002 is no page of WAL: it has not the mark"},
             {2, 3, 0x40, "5/2004000 of 000000030000000500000002 is no page of WAL: it has flags that no page has"},
             {2, 2, 0x03, "it has the other kind of header"},
             {2, 9, 0x60, "it is of another place"},
             {2, 4, 0x04, "it is of another timeline"},
             {4, 2, 0x01, "it does not tell whether it goes on with a record"},
             {3, 16, 0x41, "it does not go on with the record before it"},
             {7, 0, 0x10, "it is behind pages of zeros"}};
    static const size_t steps[] = {1, 24, 8191, 8192, 65536};
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        pages_of(p);
        assert_int_equal(pages_checked(p, steps[k], 32u << 20), 0); /* it ends in a later one */
        assert_int_equal(pages_checked(p, steps[k], 5 * 8192), 0);
        assert_int_equal(pages_checked(p, steps[k], 16u << 20), 0); /* a standby's ends where a switch ended it */
        claim_fails(pages_checked(p, steps[k], 5 * 8192 + 1), err, ERR_PG_WAL, "it is zeros");
        for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
            pages_of(p);
            p[t[i].page * 8192 + t[i].at] = t[i].with;
            claim_fails(pages_checked(p, steps[k], 32u << 20), err, ERR_PG_WAL, t[i].why);
            assert_int_equal(pages_checked(p, steps[k], t[i].page > 4 ? 5 * 8192 : t[i].page * 8192), 0);
        }
        pages_of(p); /* the server crashed in the middle of the record, and what came after says so */
        put_u16(p + 2 * 8192 + 2, 8);
        put_u32(p + 2 * 8192 + 16, 0);
        put_u16(p + 3 * 8192 + 2, 0);
        put_u32(p + 3 * 8192 + 16, 0);
        assert_int_equal(pages_checked(p, steps[k], 32u << 20), 0);
        memset(p + 2 * 8192, 0, 6 * 8192); /* no switch is in the middle of a record */
        claim_fails(pages_checked(p, steps[k], 32u << 20), err, ERR_PG_WAL, "5/2004000");
    }
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

/* ---- what WAL says of wal_level ---- */
#define PAGE 8192u
#define CHANGE_BYTES 54u

struct told {
    unsigned n;
    struct {
        uint64_t lsn;
        bool minimal;
    } at[16];
};

static void on_level(void *ctx, uint64_t lsn, bool minimal) {
    struct told *t = ctx;
    assert_true(t->n < 16);
    t->at[t->n].lsn = lsn;
    t->at[t->n++].minimal = minimal;
}

static void change_put(uint8_t out[CHANGE_BYTES], uint32_t level) {
    memset(out, 0, CHANGE_BYTES);
    put_u32(out, CHANGE_BYTES);
    out[16] = 0x60;
    out[24] = 0xFF;
    out[25] = 28;
    put_u32(out + 46, level);
    put_u32(out + 20, crc32c(crc32c(0, BYTES_OF(out + 24, CHANGE_BYTES - 24)), BYTES_OF(out, 20)));
}

/* Three pages from `lsn` on: one record of another kind up to where a change of the level begins, and nothing behind
 * it. */
static void pages_make(uint8_t out[3 * PAGE], uint64_t lsn, size_t at, const uint8_t change[CHANGE_BYTES]) {
    const size_t left = at < PAGE ? PAGE - at : 0, first = left < CHANGE_BYTES ? left : CHANGE_BYTES;
    memset(out, 0, 3 * PAGE);
    for (unsigned i = 0; i < 3; i++) put_u64(out + i * PAGE + 8, lsn + i * PAGE);
    put_u32(out + 24, (uint32_t)at - 24);
    memcpy(out + at, change, first);
    if (first == CHANGE_BYTES) return;
    put_u16(out + PAGE + 2, 1);
    put_u32(out + PAGE + 16, CHANGE_BYTES - (uint32_t)first);
    memcpy(out + PAGE + 24, change + first, CHANGE_BYTES - first);
}

static struct told told_of(const uint8_t *pages, uint64_t lsn, size_t cut) {
    struct wal_levels w = {0};
    struct told t = {0};
    /* in two pieces, as segments follow each other */
    wal_levels_read(&w, lsn, PAGE, BYTES_OF(pages, cut), on_level, &t);
    wal_levels_read(&w, lsn + cut, PAGE, BYTES_OF(pages + cut, 3 * PAGE - cut), on_level, &t);
    return t;
}

static void a_change_of_the_level_is_seen_wherever_it_lies(void **s) {
    (void)s;
    const uint64_t lsn = 5 * WAL_SEGMENT_MIN + 7 * PAGE;
    uint8_t pages[3 * PAGE], change[CHANGE_BYTES];
    for (uint32_t level = 0; level < 3; level++)
        for (size_t at = 48; at < PAGE; at += at < PAGE - 128 ? 1024 - 8 : 8) {
            change_put(change, level);
            pages_make(pages, lsn, at, change);
            for (size_t cut = 0; cut <= 2 * PAGE; cut += PAGE) {
                struct told t = told_of(pages, lsn, cut);
                assert_int_equal(t.n, 1);
                assert_true(t.at[0].lsn == lsn + at && t.at[0].minimal == (level == 0));
            }
        }
    /* a piece that begins within a page is read from the next one on */
    struct wal_levels w = {0};
    struct told t = {0};
    pages_make(pages, lsn, PAGE - 16, change);
    wal_levels_read(&w, lsn + 8, PAGE, BYTES_OF(pages + 8, sizeof pages - 8), on_level, &t);
    assert_int_equal(t.n, 0);
}

static void what_is_no_change_of_the_level_is_none(void **s) {
    (void)s;
    const uint64_t lsn = 5 * WAL_SEGMENT_MIN;
    uint8_t pages[3 * PAGE], change[CHANGE_BYTES];
    const struct {
        size_t at;
        uint8_t to;
    } others[] = {{16, 0x50}, {17, 10}, {24, 0}, {25, 27}, {20, 0}, {46, 7}, {53, 1}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        change_put(change, 0);
        change[others[i].at] = others[i].at == 20 ? change[20] ^ 1 : others[i].to;
        pages_make(pages, lsn, 4096, change);
        assert_int_equal(told_of(pages, lsn, 0).n, 0);
    }
    change_put(change, 0);
    pages_make(pages, lsn, 4096, change);
    assert_int_equal(told_of(pages, lsn + WAL_SEGMENT_MIN, 0).n, 0); /* a recycled page */
    put_u32(pages + 24, 4096 - 32);                                  /* the same bytes in the midst of a record */
    put_u32(pages + 4096 - 8, 1024);
    assert_int_equal(told_of(pages, lsn, 0).n, 0);
    pages_make(pages, lsn, PAGE - 16, change);
    put_u16(pages + PAGE + 2, 0); /* it was broken off by a crash */
    assert_int_equal(told_of(pages, lsn, 0).n, 0);
    pages_make(pages, lsn, PAGE - 16, change);
    put_u32(pages + PAGE + 16, CHANGE_BYTES); /* the page goes on with another */
    assert_int_equal(told_of(pages, lsn, 0).n, 0);
    memset(pages, 0, sizeof pages);
    assert_int_equal(told_of(pages, lsn, 0).n, 0);
}

/* pg_waldump is the judge of where they are. */
static void what_a_real_server_says_of_its_level_is_seen(void **s) {
    (void)s;
    struct pg_server server;
    struct told t = {0};
    struct wal_levels w = {0};
    uint64_t want[16];
    unsigned n = 0;
    char path[256], line[512];
    if (!pg_server_find(&server)) skip();
    pg_server_start(&server);
    const uint64_t segment = 16u << 20;
    uint64_t first, last;
    assert_true(wal_lsn_parse(pg_server_ask(&server, "postgres", "SELECT pg_current_wal_lsn()"), &first));
    pg_server_sql(&server, "postgres", "ALTER SYSTEM SET wal_keep_size = '1GB'");
    pg_server_sql(&server, "postgres", "ALTER SYSTEM SET wal_level = minimal");
    pg_server_sql(&server, "postgres", "ALTER SYSTEM SET max_wal_senders = 0");
    pg_server_stop(&server, "fast");
    pg_server_run(&server);
    pg_server_sql(&server, "postgres", "CREATE TABLE t AS SELECT generate_series(1, 20000) i");
    pg_server_sql(&server, "postgres", "SELECT pg_switch_wal()");
    pg_server_sql(&server, "postgres", "ALTER SYSTEM SET wal_level = logical");
    pg_server_stop(&server, "fast");
    pg_server_run(&server);
    assert_true(wal_lsn_parse(pg_server_ask(&server, "postgres", "SELECT pg_current_wal_lsn()"), &last));
    first -= first % segment;
    for (uint64_t lsn = first; lsn < last; lsn += segment) {
        struct buf b = BUF_INIT(64u << 20);
        const struct wal_name name = wal_name_at(1, lsn, (uint32_t)segment);
        char text[WAL_NAME_BYTES];
        wal_name_format(&name, text);
        snprintf(path, sizeof path, "%s/data/pg_wal/%s", server.folder, text);
        claim_ok(io_read_file(AT_FDCWD, path, b.max_bytes, &b, &err), err);
        wal_levels_read(&w, lsn, PAGE, buf_bytes(&b), on_level, &t);
        buf_free(&b);
    }
    pg_server_shell(&server,
                    "%s/pg_waldump -p %s/data/pg_wal -r XLOG -s %X/%X -e %X/%X | grep PARAMETER_CHANGE > %s/changes",
                    server.bin, server.folder, (unsigned)(first >> 32), (unsigned)first + 40, (unsigned)(last >> 32),
                    (unsigned)last, server.folder);
    snprintf(path, sizeof path, "%s/changes", server.folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (n < 16 && fgets(line, sizeof line, f)) {
        char *at = strstr(line, "lsn: ");
        assert_non_null(at);
        at[5 + strcspn(at + 5, ",")] = 0;
        assert_true(wal_lsn_parse(at + 5, &want[n++]));
    }
    fclose(f);
    assert_true(n >= 2);
    assert_int_equal(t.n, n);
    for (unsigned i = 0; i < n; i++) assert_true(t.at[i].lsn == want[i]);
    assert_true(t.at[n - 2].minimal && !t.at[n - 1].minimal);
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
        cmocka_unit_test(every_page_of_a_segment_is_looked_at),
        cmocka_unit_test(a_history_is_read),
        cmocka_unit_test(segments_of_a_real_server_are_what_they_say),
        cmocka_unit_test(a_change_of_the_level_is_seen_wherever_it_lies),
        cmocka_unit_test(what_is_no_change_of_the_level_is_none),
        cmocka_unit_test(what_a_real_server_says_of_its_level_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
