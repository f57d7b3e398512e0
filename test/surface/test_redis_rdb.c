/* RDB streams of every version and type, made by hand: what is read, what is the same whatever its encoding, what is
 * refused. */
#include "harness/claims.h"
#include "harness/fault.h"
#include "surface/redis/canon.h"
#include "surface/redis/crc64.h"
#include "surface/redis/rdb.h"

#include <stdlib.h>

struct feed {
    struct bytes left;
    size_t at_once;
};

static int feed_read(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct feed *f = ctx;
    (void)err;
    if (n > f->left.len) n = f->left.len;
    if (n > f->at_once) n = f->at_once;
    *ret_n = n;
    if (n) memcpy(p, f->left.ptr, n);
    f->left.ptr += n;
    f->left.len -= n;
    return 0;
}

struct seen {
    struct buf value;
    unsigned keys, libraries, aux, module_aux;
    struct rdb_key last;
    char name[64];
    enum rdb_class class;
    struct hash128 content;
};

static int on_aux(void *ctx, struct bytes name, struct bytes value, struct error *err) {
    (void)name;
    (void)value;
    (void)err;
    ((struct seen *)ctx)->aux++;
    return 0;
}
static int on_library(void *ctx, struct bytes raw, struct bytes code, struct error *err) {
    (void)err;
    assert_int_equal(raw.ptr[0], 245);
    assert_true(code.len + 2 == raw.len);
    ((struct seen *)ctx)->libraries++;
    return 0;
}
static int on_module_aux(void *ctx, struct bytes raw, struct error *err) {
    (void)err;
    ((struct seen *)ctx)->module_aux += raw.len == 0;
    return 0;
}
static int on_key(void *ctx, const struct rdb_key *k, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    s->last = *k;
    snprintf(s->name, sizeof s->name, "%.*s", (int)k->name.len, (const char *)k->name.ptr);
    buf_clear(&s->value);
    return 0;
}
static int on_value(void *ctx, struct bytes raw, struct error *err) {
    return buf_append(&((struct seen *)ctx)->value, raw.ptr, raw.len, err);
}
static int on_key_end(void *ctx, enum rdb_class c, struct hash128 content, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    s->keys++;
    s->class = c;
    s->content = content;
    return 0;
}

static int walk(struct bytes rdb, size_t at_once, struct seen *s, struct rdb_facts *facts, struct error *err) {
    struct feed f = {rdb, at_once};
    struct rdb_events ev = {s, on_aux, on_library, on_module_aux, NULL, on_key, on_value, on_key_end};
    struct rdb_in in;
    *s = (struct seen){.value = BUF_INIT(1 << 20)};
    int r = rdb_in_open(&in, feed_read, &f, err);
    if (r == 0) r = rdb_walk(&in, &ev, facts, err);
    rdb_in_close(&in);
    buf_free(&s->value);
    return r;
}

/* "REDIS00vv", a body, the end mark and its checksum. */
static struct bytes stream(unsigned version, const void *body, size_t n) {
    static uint8_t out[8192];
    snprintf((char *)out, 10, "REDIS%04u", version);
    memcpy(out + 9, body, n);
    out[9 + n] = 255;
    put_u64(out + 10 + n, redis_crc64(0, BYTES_OF(out, 10 + n)));
    return BYTES_OF(out, 18 + n);
}

static struct seen read_one(const void *body, size_t n) {
    struct error err = ERROR_INIT;
    struct rdb_facts facts;
    struct seen s;
    claim_ok(walk(stream(11, body, n), 4096, &s, &facts, &err), err);
    assert_int_equal(s.keys, 1);
    assert_true(facts.checksum);
    struct hash128 whole = s.content;
    claim_ok(walk(stream(11, body, n), 1, &s, &facts, &err), err); /* pieces of a byte change nothing */
    assert_true(whole.lo == s.content.lo && whole.hi == s.content.hi);
    return s;
}
#define ONE(body) read_one(body, sizeof(body) - 1)

static void claim_same(struct seen a, struct seen b) {
    assert_int_equal(a.class, b.class);
    assert_true(a.content.lo == b.content.lo && a.content.hi == b.content.hi);
}
static void claim_other(struct seen a, struct seen b) {
    assert_false(a.content.lo == b.content.lo && a.content.hi == b.content.hi);
}

static void the_checksum_is_jones(void **state) {
    (void)state;
    assert_true(redis_crc64(0, BYTES_STR("123456789")) == UINT64_C(0xe9c6d914c4b8d9ca));
    const char *text = "a text that is longer than sixteen bytes, to be taken in one go or in two";
    uint64_t whole = redis_crc64(0, BYTES_STR(text));
    for (size_t i = 0; i <= strlen(text); i++)
        assert_true(redis_crc64(redis_crc64(0, BYTES_OF(text, i)), BYTES_STR(text + i)) == whole);
}

static void a_string_is_the_same_in_every_encoding(void **state) {
    (void)state;
    struct seen plain = ONE("\x00\x01k\x03"
                            "123");
    assert_string_equal(plain.name, "k");
    assert_int_equal(plain.class, RDB_STRING);
    claim_same(plain, ONE("\x00\x01k\xc0\x7b"));
    claim_same(plain, ONE("\x00\x01k\xc1\x7b\x00"));
    claim_same(plain, ONE("\x00\x01k\xc2\x7b\x00\x00\x00"));
    claim_other(plain, ONE("\x00\x01k\xc0\x7c"));
    claim_same(ONE("\x00\x01k\x0c"
                   "aaaaaaaaaaaa"),
               ONE("\x00\x01k\xc3\x05\x0c\x00"
                   "a\xe0\x02\x00")); /* LZF */
    claim_same(ONE("\x00\x01k\x02-5"), ONE("\x00\x01k\xc0\xfb"));
}

static void a_list_is_the_same_in_every_encoding(void **state) {
    (void)state;
    struct seen plain = ONE("\x01\x01k\x02\x01"
                            "a\x01"
                            "5");
    static const char ziplist[] = "\x0f\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01"
                                  "a\x03\xf6\xff";
    char body[128] = "\x0a\x01k\x10";
    memcpy(body + 4, ziplist, 16);
    ((uint8_t *)body)[4] = 16;
    claim_same(plain, read_one(body, 20));
    memcpy(body, "\x0e\x01k\x01\x10", 5); /* a quicklist of one ziplist */
    memcpy(body + 5, ziplist, 16);
    ((uint8_t *)body)[5] = 16;
    claim_same(plain, read_one(body, 21));
    claim_same(plain, ONE("\x12\x01k\x01\x02\x0c\x0c\x00\x00\x00\x02\x00\x81"
                          "a\x02\x05\x01\xff"));
    claim_same(plain, ONE("\x12\x01k\x02\x01\x01"
                          "a\x01\x01"
                          "5")); /* nodes that are plain elements */
    claim_other(plain, ONE("\x01\x01k\x02\x01"
                           "5\x01"
                           "a")); /* the order counts */
}

static void a_set_is_the_same_in_every_encoding_and_order(void **state) {
    (void)state;
    struct seen plain = ONE("\x02\x01k\x02\x01"
                            "1\x01"
                            "2");
    claim_same(plain, ONE("\x02\x01k\x02\x01"
                          "2\x01"
                          "1"));
    claim_same(plain, ONE("\x0b\x01k\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00"));
    claim_same(plain, ONE("\x14\x01k\x0b\x0b\x00\x00\x00\x02\x00\x02\x01\x01\x01\xff"));
    claim_other(plain, ONE("\x02\x01k\x02\x01"
                           "1\x01"
                           "3"));
}

static void a_sorted_set_is_the_same_in_every_encoding(void **state) {
    (void)state;
    struct seen plain = ONE("\x03\x01k\x02\x01"
                            "a\x03"
                            "1.5\x01"
                            "b\x01"
                            "2");
    claim_same(plain, ONE("\x05\x01k\x02\x01"
                          "b\x00\x00\x00\x00\x00\x00\x00\x40\x01"
                          "a\x00\x00\x00\x00\x00\x00\xf8\x3f"));
    claim_same(plain, ONE("\x11\x01k\x14\x14\x00\x00\x00\x04\x00\x81"
                          "a\x02\x83"
                          "1.5\x04\x81"
                          "b\x02\x02\x01\xff"));
    claim_other(plain, ONE("\x03\x01k\x02\x01"
                           "a\x03"
                           "2.5\x01"
                           "b\x01"
                           "2"));
    assert_int_equal(plain.class, RDB_ZSET);
    ONE("\x03\x01k\x02\x01"
        "a\xfe\x01"
        "b\xff"); /* the infinities */
}

static void a_hash_is_the_same_in_every_encoding(void **state) {
    (void)state;
    struct seen plain = ONE("\x04\x01k\x02\x01"
                            "a\x01"
                            "1\x01"
                            "b\x01"
                            "2");
    claim_same(plain, ONE("\x04\x01k\x02\x01"
                          "b\x01"
                          "2\x01"
                          "a\x01"
                          "1"));
    claim_same(plain, ONE("\x10\x01k\x11\x11\x00\x00\x00\x04\x00\x81"
                          "a\x02\x01\x01\x81"
                          "b\x02\x02\x01\xff"));
    claim_same(plain, ONE("\x09\x01k\x0c\x02\x01"
                          "a\x01\x00"
                          "1\x01"
                          "b\x01\x00"
                          "2\xff")); /* a zipmap */
    claim_other(plain, ONE("\x04\x01k\x02\x01"
                           "a\x01"
                           "2\x01"
                           "b\x01"
                           "1"));
    /* fields with times: of a table, where they count from the least, and of a listpack, where they are whole */
    struct seen timed = ONE("\x18\x01k\xe8\x03\x00\x00\x00\x00\x00\x00\x02\x01\x01"
                            "a\x01"
                            "1\x00\x01"
                            "b\x01"
                            "2");
    claim_same(timed, ONE("\x19\x01k\xe8\x03\x00\x00\x00\x00\x00\x00\x16\x16\x00\x00\x00\x06\x00\x81"
                          "a\x02\x01\x01\xc3\xe8\x02\x81"
                          "b\x02\x02\x01\x00\x01\xff"));
    claim_other(timed, plain);
}

static void streams_and_modules_are_passed_exactly(void **state) {
    (void)state;
    static const char node[] = "\x01\x10\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\x03xyz\x01\x05\x00";
    static const char group[] = "\x01\x01g\x05\x00";
    static const char pending[] = "\x01\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x01\x01\x01"
                                  "c\x20\0\0\0\0\0\0\0";
    static const char owned[] = "\x01\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0";
    struct seen s[3];
    for (int i = 0; i < 3; i++) {
        char body[256];
        size_t n = 0;
#define PUT(text) (memcpy(body + n, text, sizeof(text) - 1), n += sizeof(text) - 1)
        body[n++] = (char)(i == 0 ? 15 : i == 1 ? 19 : 21);
        PUT("\x01k");
        PUT(node);
        if (i) PUT("\x05\x00\x00\x00\x07");
        PUT(group);
        if (i) PUT("\x02");
        PUT(pending);
        if (i == 2) PUT("\x30\0\0\0\0\0\0\0");
        PUT(owned);
#undef PUT
        s[i] = read_one(body, n);
        assert_int_equal(s[i].class, RDB_STREAM);
    }
    claim_same(s[0], s[1]);
    claim_same(s[0], s[2]);
    struct seen m = ONE("\x07\x01k\x81\0\0\0\0\0\0\4\0\x01\x05\x02\x06\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x05\x02hi\x00");
    assert_int_equal(m.class, RDB_MODULE);
}

static void opcodes_are_passed_exactly(void **state) {
    (void)state;
    static const char body[] = "\xfa\x03"
                               "ver\x01"
                               "7" /* aux */
                               "\xf5\x04"
                               "code"                         /* a library */
                               "\xf7\x01\x02\x02\x02\x05\x00" /* a module's own */
                               "\xfe\x03\xfb\x01\x01"         /* database 3 has one key, which expires */
                               "\xf4\x01\x01\x00"             /* a slot */
                               "\xfc\x10\x27\x00\x00\x00\x00\x00\x00\xf8\x05\x00\x01k\x01v";
    struct error err = ERROR_INIT;
    struct rdb_facts facts;
    struct seen s;
    claim_ok(walk(stream(12, body, sizeof body - 1), 5, &s, &facts, &err), err);
    assert_int_equal(s.aux, 1);
    assert_int_equal(s.libraries, 1);
    assert_int_equal(s.module_aux, 1);
    assert_int_equal(s.last.database, 3);
    assert_int_equal(s.last.expires_ms, 10000);
    assert_int_equal(s.last.access, ACCESS_IDLE);
    assert_int_equal(s.last.since, 5);
    s = ONE("\xfd\x0a\x00\x00\x00\xf9\x07\x00\x01k\x01v"); /* in seconds; and a frequency */
    assert_int_equal(s.last.expires_ms, 10000);
    assert_int_equal(s.last.access, ACCESS_FREQ);
}

static void what_is_not_known_is_refused_by_its_number(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct rdb_facts facts;
    struct seen s;
    static const struct {
        const char *body, *says;
    } cases[] = {{"\x1a\x01k\x01v", "type 26"},
                 {"\x06\x01k\x01v", "type 6"},
                 {"\x16\x01k\x01v", "type 22"},
                 {"\xf2\x01k", "opcode 242"},
                 {"\xf6\x01k", "opcode 246"},
                 {"\x01\x01k\x01\xc7", "encoding 7"},
                 {"\x12\x01k\x01\x03\x01", "container 3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        claim_fails(walk(stream(11, cases[i].body, strlen(cases[i].body)), 99, &s, &facts, &err), err, ERR_REDIS_RDB,
                    cases[i].says);
    claim_fails(walk(stream(13, "", 0), 99, &s, &facts, &err), err, ERR_REDIS_RDB, "RDB version 13");
    claim_fails(walk(BYTES_STR("VALKEY080"), 99, &s, &facts, &err), err, ERR_REDIS_RDB, "Valkey 9");
    claim_fails(walk(BYTES_STR("PGDMPxxxxxx"), 99, &s, &facts, &err), err, ERR_REDIS_RDB, "does not begin");
}

static void a_checksum_is_held_or_said_to_be_missing(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct rdb_facts facts;
    struct seen s;
    uint8_t copy[64];
    struct bytes b = stream(11, "\x00\x01k\x01v", 5);
    memcpy(copy, b.ptr, b.len);
    copy[13] ^= 1;
    claim_fails(walk(BYTES_OF(copy, b.len), 99, &s, &facts, &err), err, ERR_REDIS_RDB, "checksum");
    memset(copy + b.len - 8, 0, 8);
    claim_ok(walk(BYTES_OF(copy, b.len), 99, &s, &facts, &err), err);
    assert_false(facts.checksum);
}

static void a_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct rdb_facts facts;
    struct seen s;
    struct bytes b = stream(11,
                            "\xfe\x00\x10\x01k\x11\x11\x00\x00\x00\x04\x00\x81"
                            "a\x02\x01\x01\x81"
                            "b\x02\x02\x01\xff",
                            23);
    for (size_t n = 0; n < b.len; n++)
        claim_fails(walk(BYTES_OF(b.ptr, n), 7, &s, &facts, &err), err, ERR_SOURCE_TRUNCATED, "before its end mark");
}

static void read_with_fault(void *arg, uint64_t n) {
    struct error err = ERROR_INIT;
    struct rdb_facts facts;
    struct seen s;
    (void)n;
    int r = walk(*(struct bytes *)arg, 9, &s, &facts, &err);
    assert_int_equal(r, -(int)err.code);
    if (fault_hits()) assert_int_equal(r, -ERR_NO_MEMORY);
}

static void refused_memory_is_an_error_each_time(void **state) {
    (void)state;
    struct bytes b = stream(11,
                            "\xf5\x04"
                            "code\x00\x01k\xc3\x05\x0c\x00"
                            "a\xe0\x02\x00",
                            17);
    assert_true(fault_each(false, read_with_fault, &b) > 3);
}

static void hash_tables_are_put_in_one_order(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct canon c = {.text = BUF_INIT(4096)};
    uint8_t a[] = "\x03\x01"
                  "c\xc0\x05\x01"
                  "a",
            b[] = "\x03\x01"
                  "a\x01"
                  "c\xc0\x05";
    claim_ok(canon_order(&c, 2, a, 7, &err), err);
    claim_ok(canon_order(&c, 2, b, 7, &err), err);
    assert_memory_equal(a, b, 7);
    uint8_t h[] = "\x02\x01z\x01"
                  "1\x01y\xc3\x02\x09xx",
            was[sizeof h];
    claim_ok(canon_order(&c, 4, h, sizeof h - 1, &err), err);
    assert_memory_equal(h,
                        "\x02\x01y\xc3\x02\x09xx\x01z\x01"
                        "1",
                        sizeof h - 1);
    for (size_t n = 0; n < sizeof h - 1; n++) { /* what ends early is not touched */
        memcpy(was, h, sizeof h);
        claim_ok(canon_order(&c, 4, h, n, &err), err);
        assert_memory_equal(was, h, sizeof h);
    }
    claim_ok(canon_order(&c, 1, h, sizeof h - 1, &err), err); /* the order of a list is its content */
    assert_memory_equal(was, h, sizeof h);
    canon_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_jones),
        cmocka_unit_test(a_string_is_the_same_in_every_encoding),
        cmocka_unit_test(a_list_is_the_same_in_every_encoding),
        cmocka_unit_test(a_set_is_the_same_in_every_encoding_and_order),
        cmocka_unit_test(a_sorted_set_is_the_same_in_every_encoding),
        cmocka_unit_test(a_hash_is_the_same_in_every_encoding),
        cmocka_unit_test(streams_and_modules_are_passed_exactly),
        cmocka_unit_test(opcodes_are_passed_exactly),
        cmocka_unit_test(what_is_not_known_is_refused_by_its_number),
        cmocka_unit_test(a_checksum_is_held_or_said_to_be_missing),
        cmocka_unit_test(refused_memory_is_an_error_each_time),
        cmocka_unit_test(hash_tables_are_put_in_one_order),
        cmocka_unit_test(a_cut_at_any_byte_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
