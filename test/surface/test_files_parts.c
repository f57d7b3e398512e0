/* The parts of the files driver that stand alone: attribute records, patterns, the tree's digest. */
#include "surface/files/filter.h"
#include "surface/files/glob.h"
#include "surface/files/tally.h"
#include "surface/files_bed.h"
#include <stdlib.h>

static struct attr sample(struct buf *run) {
    claim_ok(xattr_append(run, BYTES_STR("user.a"), BYTES_STR("value"), &err), err);
    claim_ok(xattr_append(run, BYTES_STR("user.b"), BYTES_OF("\0\1", 2), &err), err);
    return (struct attr){.type = FILE_REGULAR,
                         .mode = 04755,
                         .uid = 1000,
                         .gid = UINT32_MAX - 1,
                         .user = BYTES_STR("someone"),
                         .group = BYTES_STR("some group"),
                         .mtime = {-5, 999999999},
                         .ctime = {INT64_MAX, 0},
                         .ino = UINT64_MAX,
                         .dev = 66305,
                         .size = 1ull << 60,
                         .nlink = 3,
                         .flags = ATTR_SPARSE,
                         .since_ns = 1700000000000000000,
                         .xattrs = buf_bytes(run)};
}

static void an_attribute_record_comes_back(void **s) {
    (void)s;
    struct buf run = BUF_INIT(4096), out = BUF_INIT(4096), again = BUF_INIT(4096);
    struct attr a = sample(&run), b;
    claim_ok(attr_encode(&a, &out, &err), err);
    claim_ok(attr_decode(buf_bytes(&out), &b, &err), err);
    assert_true(bytes_equal(a.user, b.user) && bytes_equal(a.group, b.group) && bytes_equal(a.xattrs, b.xattrs));
    assert_true(a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.ino == b.ino && a.size == b.size);
    assert_true(stamp_equal(a.mtime, b.mtime) && stamp_equal(a.ctime, b.ctime) && a.since_ns == b.since_ns);
    claim_ok(attr_encode(&b, &again, &err), err);
    assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&again)));
    struct bytes left = b.xattrs, key, value;
    assert_true(xattr_next(&left, &key, &value) && bytes_equal(key, BYTES_STR("user.a")));
    assert_true(xattr_next(&left, &key, &value) && bytes_equal(value, BYTES_OF("\0\1", 2)));
    assert_false(xattr_next(&left, &key, &value));
    buf_free(&run);
    buf_free(&out);
    buf_free(&again);
}

static json_t *described(const char *const *pairs) { /* keys and values, NULL at the end */
    struct buf run = BUF_INIT(4096), out = BUF_INIT(4096);
    json_t *j = NULL;
    for (; *pairs; pairs += 2) claim_ok(xattr_append(&run, BYTES_STR(pairs[0]), BYTES_STR(pairs[1]), &err), err);
    struct attr a = {.type = FILE_REGULAR, .mode = 0644, .size = 1, .xattrs = buf_bytes(&run)};
    claim_ok(attr_encode(&a, &out, &err), err);
    claim_ok(surface_files.describe(BYTES_STR("a"), buf_bytes(&out), &j, &err), err);
    buf_free(&run);
    buf_free(&out);
    return j;
}

static void a_changed_value_of_an_extended_attribute_shows(void **s) {
    (void)s;
    static const char *const acl = "system.posix_acl_access", *const user = "user.k";
    json_t *first = described((const char *const[]){user, "v", acl, "rwx", NULL}),
           *swapped = described((const char *const[]){acl, "rwx", user, "v", NULL}),
           *value = described((const char *const[]){user, "w", acl, "rwx", NULL}),
           *list = described((const char *const[]){user, "v", acl, "r-x", NULL}),
           *moved = described((const char *const[]){user, "rwx", acl, "v", NULL}),
           *none = described((const char *const[]){NULL});
    json_t *xattrs = json_object_get(first, "xattrs");
    assert_string_equal(json_string_value(json_object_get(xattrs, user)),
                        "4c94485e0c21ae6c41ce1dfe7b6bfaceea5ab68e40a2476f50208e526f506080"); /* printf v | sha256sum */
    assert_true(json_equal(first, swapped));
    assert_false(json_equal(first, value));
    assert_false(json_equal(first, list));
    assert_false(json_equal(first, moved));
    assert_null(json_object_get(none, "xattrs"));
    json_decref(first);
    json_decref(swapped);
    json_decref(value);
    json_decref(list);
    json_decref(moved);
    json_decref(none);
}

/* The example of doc/format/files.md, taken from there. */
static void the_documented_record_is_read(void **s) {
    (void)s;
    struct buf doc = BUF_INIT(1 << 20);
    claim_ok(io_read_file(AT_FDCWD, FILES_FORMAT, 1 << 20, &doc, &err), err);
    claim_ok(buf_terminate(&doc, &err), err);
    char hex[256];
    size_t n = 0;
    const char *p = strstr((const char *)doc.ptr, "```\n0168");
    assert_non_null(p);
    for (p += 4; *p != '`' && n < sizeof hex; p++)
        if (*p != '\n') hex[n++] = *p;
    uint8_t raw[128];
    struct attr a;
    assert_true(hex_decode(hex, n, raw, n / 2));
    claim_ok(attr_decode(BYTES_OF(raw, n / 2), &a, &err), err);
    assert_int_equal(a.type, FILE_HARDLINK);
    assert_int_equal(a.mode, 0644);
    assert_int_equal(a.mtime.s, 1700000000);
    assert_int_equal(a.nlink, 2);
    assert_true(bytes_equal(a.target, BYTES_STR("a/b/first")));
    assert_int_equal(a.since_ns, 1700000100000000000);
    struct buf out = BUF_INIT(4096);
    claim_ok(attr_encode(&a, &out, &err), err);
    assert_true(bytes_equal(buf_bytes(&out), BYTES_OF(raw, n / 2)));
    buf_free(&out);
    buf_free(&doc);
}

static void malformed_records_are_refused(void **s) {
    (void)s;
    static const struct {
        const char *bytes;
        size_t len;
        enum error_code code;
        const char *says;
    } cases[] = {
        {"", 0, ERR_OBJECT_CORRUPT, "too short"},
        {"\x02"
         "f",
         2, ERR_FORMAT_VERSION, "version 2"},
        {"\x01z", 2, ERR_OBJECT_CORRUPT, "type is unknown"},
        {"\x01\x00", 2, ERR_OBJECT_CORRUPT, "type is unknown"},
        {"\x01"
         "f\x01",
         3, ERR_OBJECT_CORRUPT, "ends within a field"},
        {"\x01"
         "f\x01\x05\x01",
         5, ERR_OBJECT_CORRUPT, "ends within a field"},
        {"\x01"
         "f\x02\x01\x01\x01\x01\x01",
         8, ERR_OBJECT_CORRUPT, "out of order"},
        {"\x01"
         "f\x01\x01\x01\x01\x01\x01",
         8, ERR_OBJECT_CORRUPT, "out of order"},
        {"\x01"
         "f\x01\x02\x80\x20",
         6, ERR_OBJECT_CORRUPT, "more than permission bits"},
        {"\x01"
         "f\x01\x02\x01\x01",
         6, ERR_OBJECT_CORRUPT, "impossible value"},
        {"\x01l", 2, ERR_OBJECT_CORRUPT, "link target do not go together"},
        {"\x01"
         "f\x0c\x01x",
         5, ERR_OBJECT_CORRUPT, "link target do not go together"},
        {"\x01l\x0c\x03"
         "a\0b",
         7, ERR_OBJECT_CORRUPT, "impossible value"},
        {"\x01"
         "f\x06\x0c\0\0\0\0\0\0\0\0\xff\xff\xff\xff",
         16, ERR_OBJECT_CORRUPT, "impossible value"},
        {"\x01"
         "f\x10\x03\x05"
         "ab",
         7, ERR_OBJECT_CORRUPT, "impossible value"},
        {"\x01"
         "f\x20\x01x",
         5, ERR_FORMAT_VERSION, "field 32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct attr a;
        claim_fails(attr_decode(BYTES_OF(cases[i].bytes, cases[i].len), &a, &err), err, cases[i].code, cases[i].says);
    }
    struct attr a;
    claim_ok(attr_decode(BYTES_OF("\x01"
                                  "d\xc8\x02xy",
                                  6),
                         &a, &err),
             err); /* an optional field of the future */
}

static void no_damage_to_a_record_does_harm(void **s) {
    (void)s;
    struct buf run = BUF_INIT(4096), out = BUF_INIT(4096);
    struct attr a = sample(&run), b;
    claim_ok(attr_encode(&a, &out, &err), err);
    for (size_t n = 0; n <= out.len; n++) {
        uint8_t *p = malloc(n ? n : 1); /* of the exact size, for the address sanitiser */
        for (unsigned bit = 0; bit <= 8 * n; bit++) {
            if (n < out.len && bit > 0) break;
            memcpy(p, out.ptr, n);
            if (bit < 8 * n && n == out.len) p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            error_clear(&err);
            if (attr_decode(BYTES_OF(p, n), &b, &err) == 0) {
                struct bytes left = b.xattrs, key, value;
                while (xattr_next(&left, &key, &value)) assert_true(key.len > 0);
            }
        }
        free(p);
    }
    error_clear(&err);
    buf_free(&run);
    buf_free(&out);
}

static void patterns_match_as_documented(void **s) {
    (void)s;
    static const struct {
        const char *pattern, *name;
        bool hit;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "a", true},
        {"a", "b", false},
        {"?", "a", true},
        {"?", "/", false},
        {"*", "", true},
        {"*", "abc", true},
        {"*", "a/b", false},
        {"a*c", "abbc", true},
        {"a*c", "abb", false},
        {"*.o", "x.o", true},
        {"*.o", "d/x.o", false},
        {"d/*.o", "d/x.o", true},
        {"**", "a/b/c", true},
        {"**", "", true},
        {"**/x", "x", true},
        {"**/x", "a/b/x", true},
        {"**/x", "ax", false},
        {"a/**/b", "a/b", true},
        {"a/**/b", "a/x/y/b", true},
        {"a/**/b", "ab", false},
        {"a/**", "a/b", true},
        {"a/**", "a", false},
        {"a**b", "a/x/b", true},
        {"**.txt", "a/b.txt", true},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[a-c]x", "bx", true},
        {"[!a-c]", "d", true},
        {"[!a-c]", "b", false},
        {"[^a]", "a", false},
        {"[!a]", "/", false},
        {"[]]", "]", true},
        {"[a-]", "-", true},
        {"[", "[", true},
        {"[a", "[a", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\", "\\", true},
        {"[\\]]", "]", true},
        {"*a*b*c", "xxaxxbxxc", true},
        {"*a*b*c", "xxaxxcxxb", false},
        {"**/*.c", "src/a/x.c", true},
        {"**/a*/z", "q/a1/y/a2/z", true},
        {"*/b", "a/b", true},
        {"*/b", "a/c/b", false},
        {"***", "a/b", true},
        {"a***b", "a/b", true},
        {"**/", "a/", true},
        {"x**y/*z", "x/y/y/1z", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (glob_match(BYTES_STR(cases[i].pattern), BYTES_STR(cases[i].name)) != cases[i].hit)
            fail_msg("'%s' and '%s': not %d", cases[i].pattern, cases[i].name, cases[i].hit);
    assert_true(glob_is_plain(BYTES_STR("a/b.c")));
    assert_false(glob_is_plain(BYTES_STR("a/[b")));
}

/* The definition, slowly, over patterns of plain bytes, '?', '*' and "**" that is no whole component. */
static bool slow_match(const char *p, const char *n) {
    if (!*p) return !*n;
    if (p[0] == '*' && p[1] == '*') {
        for (;; n++) {
            if (slow_match(p + 2, n)) return true;
            if (!*n) return false;
        }
    }
    if (*p == '*') {
        for (;; n++) {
            if (slow_match(p + 1, n)) return true;
            if (!*n || *n == '/') return false;
        }
    }
    return *n && (*p == '?' ? *n != '/' : *p == *n) && slow_match(p + 1, n + 1);
}

static void patterns_agree_with_the_definition(void **s) {
    (void)s;
    unsigned seed = 1;
    for (int round = 0; round < 300000; round++) {
        char p[16] = "x", n[16] = "x";
        size_t pl = 1, nl = 1, pw = 1 + (size_t)rand_r(&seed) % 9, nw = 1 + (size_t)rand_r(&seed) % 10;
        while (pl < pw) p[pl++] = "ab/?**"[rand_r(&seed) % 6];
        while (nl < nw) n[nl++] = "ab/"[rand_r(&seed) % 3];
        /* "**" as a whole component, and three stars, mean something more, which the table above claims */
        bool whole = false;
        for (size_t i = 1; i + 1 < pl; i++)
            if (p[i] == '*' && p[i + 1] == '*' && (p[i - 1] == '/' || p[i - 1] == '*' || p[i + 2] == '*')) whole = true;
        if (whole) continue;
        if (glob_match(BYTES_OF(p, pl), BYTES_OF(n, nl)) != slow_match(p, n)) fail_msg("'%s' and '%s'", p, n);
    }
}

static void bad_patterns_cost_little(void **s) {
    (void)s;
    char p[4096], n[4096];
    for (size_t i = 0; i < sizeof p; i++) p[i] = i % 2 ? '*' : 'a';
    memset(n, 'a', sizeof n);
    p[sizeof p - 1] = 'b';
    int64_t began = time_monotonic_ns();
    assert_false(glob_match(BYTES_OF(p, sizeof p), BYTES_OF(n, sizeof n)));
    assert_true(time_monotonic_ns() - began < 2 * NS_PER_S);
}

static void slot_gone(struct tally_slot *slot) {
    (void)slot;
}

static void a_tally_does_not_mind_the_order_of_ends(void **s) {
    (void)s;
    struct tally a, b;
    struct digest d = {{7}};
    json_t *x = NULL, *y = NULL;
    claim_ok(tally_init(&a, &err), err);
    claim_ok(tally_init(&b, &err), err);
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0};
        claim_ok(tally_put(&a, BYTES_STR(name), FILE_REGULAR, 10, &d, &err), err);
    }
    struct tally_slot one = {
        .name = BYTES_STR("a"), .type = FILE_REGULAR, .size = 10, .sha256 = d, .release = slot_gone};
    struct tally_slot lost = one, three = one;
    three.name = BYTES_STR("c");
    tally_add(&b, &one);
    tally_add(&b, &lost);
    claim_ok(tally_put(&b, BYTES_STR("b"), FILE_REGULAR, 10, &d, &err), err);
    tally_add(&b, &three);
    tally_finish(&b, &three, false);
    tally_finish(&b, &lost, true);
    tally_finish(&b, &one, false);
    claim_ok(tally_invariants(&a, &x, &err), err);
    claim_ok(tally_invariants(&b, &y, &err), err);
    assert_true(json_equal(x, y));
    json_decref(x);
    json_decref(y);
    tally_end(&a);
    tally_end(&b);
}

static void drivers_are_found_by_kind(void **s) {
    (void)s;
    assert_ptr_equal(surface_find("files"), &surface_files);
    assert_ptr_equal(surface_find("postgres"), &surface_postgres);
    assert_null(surface_find("file"));
}

static void sink_write_copies_all(void **s) {
    (void)s;
    struct fake *f = fake_new();
    struct sink *sink = fake_sink(f);
    struct sink_item *it;
    struct fake_view v;
    static uint8_t data[300001];
    memset(data, 7, sizeof data);
    claim_ok(sink->ops->open(sink, 0, BYTES_STR("x"), ITEM_RECORDS, &it, &err), err);
    claim_ok(sink_write(sink, it, BYTES_OF(data, sizeof data), &err), err);
    claim_ok(sink_write(sink, it, (struct bytes){0}, &err), err);
    claim_ok(sink->ops->close(it, (struct bytes){0}, NULL, &err), err);
    claim_ok(fake_seal(f, &err), err);
    assert_true(fake_find(f, "x", &v) && v.bytes == sizeof data && memcmp(v.data, data, sizeof data) == 0);
    fake_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attribute_record_comes_back),
        cmocka_unit_test(the_documented_record_is_read),
        cmocka_unit_test(a_changed_value_of_an_extended_attribute_shows),
        cmocka_unit_test(malformed_records_are_refused),
        cmocka_unit_test(no_damage_to_a_record_does_harm),
        cmocka_unit_test(patterns_match_as_documented),
        cmocka_unit_test(patterns_agree_with_the_definition),
        cmocka_unit_test(bad_patterns_cost_little),
        cmocka_unit_test(drivers_are_found_by_kind),
        cmocka_unit_test(sink_write_copies_all),
        cmocka_unit_test(a_tally_does_not_mind_the_order_of_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
