/* What a base backup's stream is read with, on archives that the stock tar made and on what no server sends. */
#include "harness/claims.h"
#include "surface/pgphys/stream_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- tar ---- */

struct told { /* the members as lines */
    char text[8192];
    uint64_t bytes;
    struct sha256_state *sha;
};

static int on_begin(void *ctx, const struct tar_member *m, struct error *err) {
    struct told *t = ctx;
    const size_t at = strlen(t->text);
    (void)err;
    snprintf(t->text + at, sizeof t->text - at, "%c %03o %lld %llu %.*s%s%.*s\n", m->type, m->mode,
             (long long)m->mtime_s, (unsigned long long)m->bytes, (int)m->name.len, (const char *)m->name.ptr,
             m->target.len ? " -> " : "", (int)m->target.len, m->target.len ? (const char *)m->target.ptr : "");
    return 0;
}

static int on_content(void *ctx, struct bytes piece, struct error *err) {
    struct told *t = ctx;
    (void)err;
    t->bytes += piece.len;
    if (t->sha) sha256_update(t->sha, piece);
    return 0;
}

static int on_end(void *ctx, struct error *err) {
    (void)ctx, (void)err;
    return 0;
}

static const struct tar_ops tell = {on_begin, on_content, on_end};

static int feed(const uint8_t *p, size_t n, size_t step, struct told *t, struct error *err) {
    struct tar tar;
    int rc = 0;
    tar_init(&tar, &tell, t);
    for (size_t at = 0; at < n && rc == 0; at += step)
        rc = tar_feed(&tar, BYTES_OF(p + at, n - at < step ? n - at : step), err);
    return rc == 0 ? tar_finish(&tar, err) : rc;
}

static size_t slurp(const char *path, uint8_t *p, size_t n) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    const size_t got = fread(p, 1, n, f);
    fclose(f);
    return got;
}

static uint8_t archive[1 << 20];

static void what_the_stock_tar_made_is_read_in_pieces_of_any_size(void **state) {
    (void)state;
    char dir[] = "/tmp/pk-tar-XXXXXX", path[64], line[1024], deep[200] = "";
    struct error err = ERROR_INIT;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 6; i++) strcat(deep, "abcdefghijklmnopqrstuvwxy/");
    snprintf(
        line, sizeof line,
        "cd %s && mkdir -p d/%s && printf hello > d/%sfile && head -c 100000 /dev/zero | tr '\\0' x > d/big && : > "
        "d/empty &&"
        " ln -s /far/away d/link && chmod 750 d && chmod 640 d/big d/empty && find d -exec touch -h -d @1700000000 {} +"
        " && tar --format=ustar --sort=name -cf a.tar ./d",
        dir, deep, deep);
    assert_int_equal(system(line), 0);
    snprintf(path, sizeof path, "%s/a.tar", dir);
    const size_t n = slurp(path, archive, sizeof archive);
    struct digest want, is;
    struct told first = {0};
    char names[700];
    snprintf(names, sizeof names, "f 644 1700000000 5 d/%sfile\n", deep);
    for (size_t step = 1; step <= 70001; step = step * 3 + 7) {
        struct told t = {0};
        claim_ok(sha256_new(&t.sha, &err), err);
        claim_ok(feed(archive, n, step, &t, &err), err);
        sha256_finish(t.sha, &is);
        sha256_free(t.sha);
        if (!first.text[0]) first = t, want = is;
        assert_string_equal(t.text, first.text);
        assert_true(digest_equal(&is, &want));
        assert_int_equal(t.bytes, 100005);
    }
    assert_non_null(strstr(first.text, "d 750 1700000000 0 d\n"));
    assert_non_null(strstr(first.text, "f 640 1700000000 100000 d/big\n"));
    assert_non_null(strstr(first.text, "f 640 1700000000 0 d/empty\n"));
    assert_non_null(strstr(first.text, " 1700000000 0 d/link -> /far/away\n"));
    assert_non_null(strstr(first.text, names)); /* more than 100 bytes: prefix and name */
    struct told t = {0};
    claim_fails(feed(archive, 600, 512, &t, &err), err, ERR_PG_BASE, "the stream of files broke off");
    t = (struct told){0};
    claim_fails(feed(archive, 100, 512, &t, &err), err, ERR_PG_BASE, "the stream of files broke off");
    snprintf(line, sizeof line, "rm -rf %s", dir);
    assert_int_equal(system(line), 0);
}

static void seal(uint8_t h[512]) {
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++) sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
}

static void header(uint8_t h[512], const char *name, char type) {
    memset(h, 0, 512);
    snprintf((char *)h, 100, "%s", name);
    memcpy(h + 100,
           "0000600\0"
           "0000000\0"
           "0000000\0"
           "00000000000\0"
           "00000000000\0",
           48);
    h[156] = (uint8_t)type;
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    seal(h);
}

static void a_size_beyond_octal_digits_is_read(void **state) {
    (void)state;
    static uint8_t zeros[1 << 20];
    uint8_t h[1024];
    struct error err = ERROR_INIT;
    struct told t = {0};
    struct tar tar;
    const uint64_t size = (UINT64_C(9) << 30) + 5;
    header(h, "big", '0');
    h[124] = 0x80;
    for (int i = 0; i < 11; i++) h[125 + i] = i < 3 ? 0 : (uint8_t)(size >> (8 * (10 - i)));
    seal(h);
    tar_init(&tar, &tell, &t);
    claim_ok(tar_feed(&tar, BYTES_OF(h, 512), &err), err);
    assert_string_equal(t.text, "f 600 0 9663676421 big\n");
    for (uint64_t left = size; left; left -= left < sizeof zeros ? left : sizeof zeros)
        claim_ok(tar_feed(&tar, BYTES_OF(zeros, left < sizeof zeros ? left : sizeof zeros), &err), err);
    assert_int_equal(t.bytes, size);
    assert_int_equal(tar_finish(&tar, &err), -ERR_PG_BASE); /* its last block is not full */
    error_clear(&err);
    claim_ok(tar_feed(&tar, BYTES_OF(zeros, 507), &err), err);
    claim_ok(tar_finish(&tar, &err), err);
}

static void what_no_server_sends_is_refused(void **state) {
    (void)state;
    static const char *const names[] = {"/etc/passwd", "../up", "a/../b", "a//b", "./", "..", "a/./b", ""};
    uint8_t h[1536] = {0};
    struct error err = ERROR_INIT;
    struct told t = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        header(h, names[i], '0');
        claim_fails(feed(h, 512, 512, &t, &err), err, ERR_PG_BASE, "of the impossible name");
    }
    header(h, "fifo", '6');
    claim_fails(feed(h, 512, 512, &t, &err), err, ERR_PG_BASE, "fifo as a member of the unknown type '6'");
    header(h, "x", '2');
    claim_fails(feed(h, 512, 512, &t, &err), err, ERR_PG_BASE, "a link leads nowhere");
    header(h, "x", '0');
    h[3] ^= 1;
    claim_fails(feed(h, 512, 512, &t, &err), err, ERR_PG_BASE, "a header is damaged");
    header(h, "x", '0');
    memcpy(h + 124, "9z", 2);
    seal(h);
    claim_fails(feed(h, 512, 512, &t, &err), err, ERR_PG_BASE, "an impossible number");
    memset(h, 0, 512);
    header(h + 512, "x", '0');
    claim_fails(feed(h, 1024, 512, &t, &err), err, ERR_PG_BASE, "something follows its end");
}

/* ---- the server's manifest ---- */

static const char manifest_head[] = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [";

/* Of files "base/<i>" of i bytes whose digest is of their name. */
static void manifest_of(struct buf *out, struct stream_tally *t, unsigned n, int spoil, const char *how) {
    struct error err = ERROR_INIT;
    struct digest d;
    char hex[65], name[32];
    claim_ok(buf_append_str(out, manifest_head, &err), err);
    for (unsigned i = 0; i < n; i++) {
        const bool odd = i % 5 == 3; /* what is escaped */
        snprintf(name, sizeof name, odd ? "q\"\\\t\x01%u" : "base/%u", i);
        sha256(BYTES_STR(name), &d);
        claim_ok(stream_tally_add(t, BYTES_STR(name), i, &d, &err), err);
        hex_encode(d.b, 32, hex);
        if ((int)i == spoil && !strcmp(how, "digest")) hex[5] = hex[5] == 'a' ? 'b' : 'a';
        if ((int)i == spoil && !strcmp(how, "left out")) continue;
        if (i % 3 == 1) {
            char encoded[64];
            hex_encode(name, strlen(name), encoded);
            claim_ok(buf_printf(out, &err, "%s\n{ \"Encoded-Path\": \"%s\", ", i ? "," : "", encoded), err);
        } else if (odd)
            claim_ok(buf_printf(out, &err, "%s\n{ \"Path\": \"q\\\"\\\\\\t\\u0001%u\", ", i ? "," : "", i), err);
        else
            claim_ok(buf_printf(out, &err, "%s\n{ \"Path\": \"%s\", ", i ? "," : "", name), err);
        claim_ok(buf_printf(
                     out, &err,
                     "\"Size\": %u, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \"Checksum-Algorithm\": \"SHA256\","
                     " \"Checksum\": \"%s\" }",
                     i + ((int)i == spoil && !strcmp(how, "size")), hex),
                 err);
    }
    claim_ok(buf_append_str(out,
                            "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": "
                            "\"0/2000100\" }\n],\n",
                            &err),
             err);
    sha256(buf_bytes(out), &d);
    hex_encode(d.b, 32, hex);
    if (!strcmp(how, "sum")) hex[0] = hex[0] == '1' ? '2' : '1';
    claim_ok(buf_printf(out, &err, "\"Manifest-Checksum\": \"%s\"}\n", hex), err);
}

static int judge(unsigned n, int spoil, const char *how, size_t cut, struct error *err) {
    struct stream_tally *t;
    struct buf b = BUF_INIT(64 << 20);
    claim_ok(stream_tally_new("/dev/shm", &t, err), *err);
    manifest_of(&b, t, n, spoil, how);
    if (!strcmp(how, "more")) {
        struct digest d = {{0}};
        claim_ok(stream_tally_add(t, BYTES_STR("stowaway"), 1, &d, err), *err);
    }
    const size_t len = b.len - cut;
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0; at += 997)
        rc = stream_tally_manifest(t, BYTES_OF(b.ptr + at, len - at < 997 ? len - at : 997), err);
    if (rc == 0) rc = stream_tally_finish(t, err);
    stream_tally_free(t);
    buf_free(&b);
    return rc;
}

static void what_came_is_what_the_server_sent(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    claim_ok(judge(1, -1, "", 0, &err), err);
    claim_ok(judge(40000, -1, "", 0, &err), err); /* more than is kept in memory */
    claim_fails(judge(40000, 39999, "digest", 0, &err), err, ERR_PG_BASE,
                "base/39999 is not what the server says it sent: its SHA-256 is another");
    claim_fails(judge(40, 7, "size", 0, &err), err, ERR_PG_BASE,
                "base/7 is not what the server says it sent: 7 bytes came of 8");
    claim_fails(judge(40, 5, "left out", 0, &err), err, ERR_PG_BASE,
                "base/6 is not what the server says it sent: in its place came base/5");
    claim_fails(judge(40, 39, "left out", 0, &err), err, ERR_PG_BASE,
                "40 files came, and the server's manifest names 39");
    claim_fails(judge(40, -1, "more", 0, &err), err, ERR_PG_BASE, "41 files came, and the server's manifest names 40");
    claim_fails(judge(40, -1, "sum", 0, &err), err, ERR_PG_BASE, "has not the checksum that it says");
    claim_fails(judge(40, -1, "", 80, &err), err, ERR_PG_BASE, "the server's backup manifest broke off");
    claim_fails(judge(40, -1, "", 3000, &err), err, ERR_PG_BASE, "the server's backup manifest ");
}

static void what_never_came_is_missed(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct stream_tally *t;
    static const char line[] =
        "\n{ \"Path\": \"PG_VERSION\", \"Size\": 3, \"Last-Modified\": \"x\", \"Checksum-Algorithm\": \"SHA256\","
        " \"Checksum\": \"0000000000000000000000000000000000000000000000000000000000000000\" },\n";
    claim_ok(stream_tally_new(NULL, &t, &err), err);
    claim_ok(stream_tally_manifest(t, BYTES_STR(manifest_head), &err), err);
    claim_fails(stream_tally_manifest(t, BYTES_STR(line), &err), err, ERR_PG_BASE,
                "PG_VERSION is not what the server says it sent: it never came");
    stream_tally_free(t);
}

/* ---- the whole ---- */

static int check(uint64_t stop, uint32_t stop_timeline, uint64_t *segments, size_t n, struct error *err) {
    const struct stream_base b = {.start_lsn = 0x2000028,
                                  .stop_lsn = stop,
                                  .timeline = 3,
                                  .stop_timeline = stop_timeline,
                                  .wal_segment_bytes = 16 << 20,
                                  .has_label = true,
                                  .has_control = true,
                                  .label_checkpoint = 0x2000060,
                                  .control = {.checkpoint = 0x2000060, .timeline = 3},
                                  .segments = segments,
                                  .segment_count = n};
    return stream_base_check(&b, err);
}

static void a_base_without_its_wal_is_refused(void **state) {
    (void)state;
    uint64_t all[] = {2, 3, 4}, mixed[] = {4, 2, 3}, hole[] = {2, 4};
    struct error err = ERROR_INIT;
    claim_ok(check(0x4000100, 3, all, 3, &err), err);
    claim_ok(check(0x5000000, 3, all, 3, &err), err); /* exactly to the end of the last */
    claim_ok(check(0x4000100, 3, mixed, 3, &err), err);
    claim_ok(check(0x2000028, 3, all, 1, &err), err);
    claim_fails(
        check(0x4000100, 3, hole, 2, &err), err, ERR_PG_BASE,
        "the WAL segment 000000030000000000000003, which the base needs from 0/2000028 to 0/4000100, did not come");
    claim_fails(check(0x5000001, 3, all, 3, &err), err, ERR_PG_BASE, "the WAL segment 000000030000000000000005");
    claim_fails(check(0x4000100, 4, all, 3, &err), err, ERR_PG_BASE, "the server went from timeline 3 to 4");
    claim_fails(check(0x2000027, 3, all, 3, &err), err, ERR_PG_BASE, "before its start");
    struct stream_base b = {.has_label = true, .timeline = 1, .stop_timeline = 1};
    claim_fails(stream_base_check(&b, &err), err, ERR_PG_BASE, "the server sent no pg_control");
    b.has_label = false;
    claim_fails(stream_base_check(&b, &err), err, ERR_PG_BASE, "the server sent no backup label");
    b = (struct stream_base){
        .has_label = true, .has_control = true, .wal_segment_bytes = 1 << 20, .label_checkpoint = 9};
    claim_fails(stream_base_check(&b, &err), err, ERR_PG_BASE, "older than the backup's beginning");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_stock_tar_made_is_read_in_pieces_of_any_size),
        cmocka_unit_test(a_size_beyond_octal_digits_is_read),
        cmocka_unit_test(what_no_server_sends_is_refused),
        cmocka_unit_test(what_came_is_what_the_server_sent),
        cmocka_unit_test(what_never_came_is_missed),
        cmocka_unit_test(a_base_without_its_wal_is_refused),
    };
    return cmocka_run_group_tests_name("surface/pgphys_parts", tests, NULL, NULL);
}
