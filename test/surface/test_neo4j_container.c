/* The content of Neo4j dumps, taken apart and put together again, without a server. Claims name the invariants of
 * container.h. */
#include "harness/claims.h"
#include "surface/neo4j/container.h"

#include <stdlib.h>

/* ---- archives by hand ---- */
static void header(struct buf *b, const char *name, char type, uint64_t size) {
    struct error err = ERROR_INIT;
    uint8_t h[512] = {0};
    unsigned sum = 0;
    snprintf((char *)h, 100, "%s", name);
    memcpy(h + 100, "0000644\0000000000\0000000000\0", 24);
    snprintf((char *)h + 124, 12, "%011o", (unsigned)size);
    memcpy(h + 136, "00000000000", 11);
    h[156] = (uint8_t)type;
    memcpy(h + 257, "ustar\00000", 8);
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < sizeof h; i++) sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum & 0777777);
    claim_ok(buf_append(b, h, sizeof h, &err), err);
}

static void content(struct buf *b, char fill, size_t n) {
    struct error err = ERROR_INIT;
    claim_ok(buf_reserve(b, n + 512, &err), err);
    memset(b->ptr + b->len, fill, n);
    b->len += n;
    size_t pad = (512 - n % 512) % 512;
    memset(b->ptr + b->len, 0, pad);
    b->len += pad;
}

static void entry(struct buf *b, const char *name, char fill, size_t n) {
    header(b, name, '0', n);
    content(b, fill, n);
}

static void pax(struct buf *b, const char *records) {
    struct error err = ERROR_INIT;
    size_t n = strlen(records), pad = (512 - n % 512) % 512;
    uint8_t zeros[512] = {0};
    header(b, "./PaxHeaders.X/x", 'x', n);
    claim_ok(buf_append(b, records, n, &err), err);
    claim_ok(buf_append(b, zeros, pad, &err), err);
}

static void put_big(uint8_t *p, unsigned n, uint64_t v) {
    while (n--) {
        p[n] = (uint8_t)v;
        v >>= 8;
    }
}

static void prelude(struct buf *b, uint64_t files, uint64_t bytes) {
    struct error err = ERROR_INIT;
    uint8_t p[24] = "zstd";
    put_big(p + 4, 4, 1);
    put_big(p + 8, 8, files);
    put_big(p + 16, 8, bytes);
    claim_ok(buf_append(b, p, sizeof p, &err), err);
}

static void finish(struct buf *b) {
    struct error err = ERROR_INIT;
    uint8_t zeros[1024] = {0};
    claim_ok(buf_append(b, zeros, sizeof zeros, &err), err);
}

/* ---- and what is seen of them ---- */
struct seen {
    struct buf frame, files, names, all; /* contents one after the other; names with a newline each */
    const struct seen *from;             /* whose files are put in, when a frame is read */
    size_t at;
};

static int on_frame(void *ctx, struct bytes piece, struct error *err) {
    struct seen *s = ctx;
    int r = buf_append(&s->frame, piece.ptr, piece.len, err);
    return r == 0 ? buf_append(&s->all, piece.ptr, piece.len, err) : r;
}
static int on_file(void *ctx, struct bytes name, uint64_t bytes, struct error *err) {
    struct seen *s = ctx;
    assert_true(bytes > 0);
    int r = buf_append(&s->names, name.ptr, name.len, err);
    if (r == 0) r = buf_append(&s->names, "\n", 1, err);
    if (r == 0 && s->from) {
        assert_true(s->at + bytes <= s->from->files.len);
        r = buf_append(&s->all, s->from->files.ptr + s->at, (size_t)bytes, err);
        s->at += (size_t)bytes;
    }
    return r;
}
static int on_content(void *ctx, struct bytes piece, struct error *err) {
    struct seen *s = ctx;
    assert_null(s->from);
    int r = buf_append(&s->files, piece.ptr, piece.len, err);
    return r == 0 ? buf_append(&s->all, piece.ptr, piece.len, err) : r;
}

static struct seen seen_new(const struct seen *from) {
    return (struct seen){.frame = BUF_INIT(16u << 20),
                         .files = BUF_INIT(16u << 20),
                         .names = BUF_INIT(1u << 20),
                         .all = BUF_INIT(16u << 20),
                         .from = from};
}
static void seen_free(struct seen *s) {
    buf_free(&s->frame);
    buf_free(&s->files);
    buf_free(&s->names);
    buf_free(&s->all);
}

static int read_it(struct bytes in, size_t at_once, bool frame_only, struct seen *s, bool *ret_foreign,
                   struct error *err) {
    const struct neo4j_container_events on = {s, on_frame, on_file, on_content};
    struct neo4j_container c;
    neo4j_container_init(&c, &on, frame_only);
    int r = 0;
    for (size_t at = 0; r == 0 && at < in.len; at += at_once)
        r = neo4j_container_feed(&c, BYTES_OF(in.ptr + at, in.len - at < at_once ? in.len - at : at_once), err);
    if (r == 0) r = neo4j_container_end(&c, err);
    if (ret_foreign) *ret_foreign = c.foreign;
    neo4j_container_free(&c);
    return r;
}

/* Invariants 1 and 2, whatever the pieces. Returns what the end said. */
static int both_ways(const struct buf *b, const char *names, bool foreign, struct error *err) {
    static const size_t pieces[] = {1, 7, 511, 512, 513, 100000};
    int said = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct seen apart = seen_new(NULL), again = seen_new(&apart);
        bool other = false;
        error_clear(err);
        said = read_it(buf_bytes(b), pieces[i], false, &apart, &other, err);
        assert_true(other == foreign);
        assert_true(bytes_equal(buf_bytes(&apart.all), buf_bytes(b)));
        assert_true(bytes_equal(buf_bytes(&apart.names), BYTES_STR(names)));
        error_clear(err);
        assert_int_equal(read_it(buf_bytes(&apart.frame), pieces[i], true, &again, &other, err), said);
        assert_true(bytes_equal(buf_bytes(&again.all), buf_bytes(b)));
        assert_true(again.at == apart.files.len);
        seen_free(&again);
        seen_free(&apart);
    }
    return said;
}

static void whole(void **state) {
    (void)state;
    struct buf b = BUF_INIT(16u << 20);
    struct error err = ERROR_INIT;
    prelude(&b, 4, 8192 + 5 + 700);
    pax(&b, "28 mtime=1795266283.9272713\n");
    header(&b, "./", '5', 0);
    entry(&b, "./neostore", 'n', 8192);
    entry(&b, "./schema/index/a", 'i', 5);
    entry(&b, "./empty", 'e', 0);
    header(&b, "./", '5', 0);
    entry(&b, "./neostore.transaction.db.0", 't', 700);
    finish(&b);
    finish(&b); /* an archive is filled up to a record */
    claim_ok(both_ways(&b, "neostore\nschema/index/a\nneostore.transaction.db.0\n", false, &err), err);
    buf_free(&b);
}

static void long_names(void **state) {
    (void)state;
    struct buf b = BUF_INIT(16u << 20);
    struct error err = ERROR_INIT;
    char name[300], record[400], want[400];
    memset(name, 'x', 200);
    strcpy(name + 200, "/y");
    snprintf(record, sizeof record, "214 path=./%s\n9 size=9\n", name);
    snprintf(want, sizeof want, "%s\nplain\n", name);
    prelude(&b, 2, 9 + 3);
    pax(&b, record);
    header(&b, "./cut-off", '0', 0); /* the size is that of the record */
    content(&b, 'z', 9);
    entry(&b, "plain", 'p', 3); /* which holds for one entry only */
    finish(&b);
    claim_ok(both_ways(&b, want, false, &err), err);
    buf_free(&b);
}

static void names_that_are_none(void **state) {
    (void)state;
    static const char *const bad[] = {"../up", "/root", "a//b", "a/./b", "a/..", "", "."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = BUF_INIT(16u << 20);
        struct error err = ERROR_INIT;
        prelude(&b, 2, 600);
        entry(&b, bad[i], 'b', 500);
        entry(&b, "./good", 'g', 100);
        finish(&b);
        claim_ok(both_ways(&b, "good\n", false, &err), err); /* its content stays in the frame */
        buf_free(&b);
    }
}

static void cut_off(void **state) {
    (void)state;
    struct buf b = BUF_INIT(16u << 20);
    prelude(&b, 2, 1500);
    entry(&b, "./a", 'a', 1000);
    entry(&b, "./b", 'b', 500);
    finish(&b);
    size_t full = b.len;
    for (size_t n = 0; n < full; n += 97) {
        struct error err = ERROR_INIT;
        struct seen s = seen_new(NULL);
        claim_fails(read_it(BYTES_OF(b.ptr, n), 333, false, &s, NULL, &err), err, ERR_SOURCE_TRUNCATED, "ends within");
        seen_free(&s);
    }
    buf_free(&b);
}

static void counts_that_differ(void **state) {
    (void)state;
    static const struct { uint64_t files, bytes; } said[] = {{3, 1000}, {0, 1000}, {1, 999}, {1, 0}};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct buf b = BUF_INIT(16u << 20);
        struct error err = ERROR_INIT;
        struct seen s = seen_new(NULL);
        prelude(&b, said[i].files, said[i].bytes);
        entry(&b, "./a", 'a', 1000);
        finish(&b);
        claim_fails(read_it(buf_bytes(&b), 100, false, &s, NULL, &err), err, ERR_SOURCE_TRUNCATED, "says that it has");
        seen_free(&s);
        buf_free(&b);
    }
}

static void what_is_foreign(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(16u << 20);
    claim_ok(buf_append_str(&b, "something else altogether, and longer than what a dump begins with", &err), err);
    claim_ok(both_ways(&b, "", true, &err), err);
    buf_clear(&b);
    prelude(&b, 1, 100);
    b.ptr[7] = 2; /* a version to come */
    entry(&b, "./a", 'a', 100);
    finish(&b);
    claim_ok(both_ways(&b, "", true, &err), err);
    buf_clear(&b);
    prelude(&b, 2, 200);
    entry(&b, "./a", 'a', 100);
    size_t at = b.len;
    entry(&b, "./b", 'b', 100);
    b.ptr[at + 3] ^= 1; /* a header whose sum does not hold: from there on it is frame */
    finish(&b);
    claim_ok(both_ways(&b, "a\n", true, &err), err);
    buf_free(&b);
}

static void sizes_that_cannot_be(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(16u << 20);
    prelude(&b, 1, 3);
    header(&b, "./huge", '0', 0);
    b.ptr[24 + 124] = 0x80; /* base 256 */
    memset(b.ptr + 24 + 125, 0xff, 11);
    finish(&b);
    claim_ok(both_ways(&b, "", true, &err), err);
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(long_names),
        cmocka_unit_test(names_that_are_none),
        cmocka_unit_test(cut_off),
        cmocka_unit_test(counts_that_differ),
        cmocka_unit_test(what_is_foreign),
        cmocka_unit_test(sizes_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
