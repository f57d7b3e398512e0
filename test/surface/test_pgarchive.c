/* The reader of pg_dump archives, on archives made here, so that every byte of them is known. */
#include "harness/claims.h"
#include "harness/fault.h"
#include "surface/postgres/archive.h"
#include "surface/postgres/rows.h"

#include "base/seam.h"

/* ---- making archives ---- */
static void put(struct buf *b, const void *p, size_t n) {
    struct error e = ERROR_INIT;
    assert_int_equal(buf_append(b, p, n, &e), 0);
}
static void put_byte(struct buf *b, uint8_t v) {
    put(b, &v, 1);
}
static void put_int(struct buf *b, int32_t v) {
    uint8_t x[5] = {v < 0};
    put_u32(x + 1, v < 0 ? (uint32_t) - (int64_t)v : (uint32_t)v);
    put(b, x, 5);
}
static void put_text(struct buf *b, const char *s) {
    put_int(b, s ? (int32_t)strlen(s) : -1);
    if (s) put(b, s, strlen(s));
}

struct making {
    int minor;
    const char *rows;   /* of table 7 */
    bool objects;       /* entry 9, a block of two large objects */
    bool no_data_block; /* leave table 7's block away */
    int pieces;         /* bytes a piece; 0: one piece */
};

static void put_entry(struct buf *b, const struct making *m, int id, bool data, const char *tag, const char *desc,
                      int section, const char *copy, const char *dep) {
    put_int(b, id);
    put_int(b, data);
    put_text(b, "1259");
    put_text(b, "16384");
    put_text(b, tag);
    put_text(b, desc);
    put_int(b, section);
    put_text(b, data ? "" : "CREATE TABLE public.t (a integer);\n");
    put_text(b, NULL);
    put_text(b, copy);
    put_text(b, "public");
    put_text(b, NULL);
    if (m->minor >= 14) put_text(b, "heap");
    if (m->minor >= 16) put_int(b, 'r');
    put_text(b, "postgres");
    put_text(b, "false");
    if (dep) put_text(b, dep);
    put_text(b, NULL);
    uint8_t offset[9] = {0};
    put(b, offset, sizeof offset);
}

static void put_pieces(struct buf *b, const char *s, int piece) {
    size_t n = strlen(s);
    for (size_t at = 0; at < n;) {
        size_t take = piece && n - at > (size_t)piece ? (size_t)piece : n - at;
        put_int(b, (int32_t)take);
        put(b, s + at, take);
        at += take;
    }
    put_int(b, 0);
}

static struct buf make(struct making m) {
    struct buf b = BUF_INIT(1 << 20);
    uint8_t head[] = {'P', 'G', 'D', 'M', 'P', 1, (uint8_t)m.minor, 0, 4, 8, 1};
    put(&b, head, sizeof head);
    if (m.minor >= 15)
        put_byte(&b, 0);
    else
        put_int(&b, 0);
    for (int i = 0; i < 7; i++) put_int(&b, i);
    put_text(&b, "app");
    put_text(&b, "15.20");
    put_text(&b, "15.20");
    put_int(&b, m.objects ? 3 : 2);
    put_entry(&b, &m, 5, false, "t", "TABLE", PG_SECTION_PRE_DATA, NULL, NULL);
    put_entry(&b, &m, 7, true, "t", "TABLE DATA", PG_SECTION_DATA, "COPY public.t (a) FROM stdin;\n", "5");
    if (m.objects) put_entry(&b, &m, 9, true, "BLOBS", "BLOBS", PG_SECTION_DATA, NULL, NULL);
    if (!m.no_data_block) {
        put_byte(&b, 1);
        put_int(&b, 7);
        put_pieces(&b, m.rows ? m.rows : "1\n2\n\\.\n\n\n", m.pieces);
    }
    if (m.objects) {
        put_byte(&b, 3);
        put_int(&b, 9);
        put_int(&b, 24);
        put_pieces(&b, "abcdef", 4);
        put_int(&b, (int32_t)3000000000u); /* an oid above 2^31 is written as a negative integer */
        put_pieces(&b, "", 0);
        put_int(&b, 0);
    }
    return b;
}

/* ---- reading them ---- */
struct feed {
    struct bytes left;
    size_t at_once;
};
static int feed_read(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct feed *f = ctx;
    (void)err;
    if (n > f->left.len) n = f->left.len;
    if (f->at_once && n > f->at_once) n = f->at_once;
    if (n) memcpy(p, f->left.ptr, n);
    f->left.ptr += n;
    f->left.len -= n;
    *ret_n = n;
    return 0;
}

struct seen {
    struct buf rows, objects;
    unsigned blocks;
    struct pg_rows sum;
};

static int read_block(struct pg_archive *a, struct buf *out, struct pg_rows *sum, struct error *err) {
    uint8_t p[7];
    for (;;) {
        size_t n;
        int r = pg_archive_read(a, p, sizeof p, &n, err);
        if (r < 0 || n == 0) return r;
        put(out, p, n);
        if (sum && (r = pg_rows_text(sum, BYTES_OF(p, n), err)) < 0) return r;
    }
}

static int read_all(struct bytes bytes, size_t at_once, struct seen *s, struct error *err) {
    struct feed f = {bytes, at_once};
    struct pg_archive *a = NULL;
    const struct pg_toc *t;
    const struct pg_entry *e;
    *s = (struct seen){BUF_INIT(1 << 20), BUF_INIT(1 << 20), 0, {0}};
    pg_rows_init(&s->sum);
    int r = pg_archive_open(feed_read, &f, &a, err);
    if (r == 0) r = pg_archive_toc(a, &t, err);
    while (r == 0 && (r = pg_archive_next(a, &e, err)) == 0 && e) {
        s->blocks++;
        if (!pg_entry_is_large_objects(t, e)) {
            r = read_block(a, &s->rows, &s->sum, err);
            if (r == 0) r = pg_rows_finish(&s->sum, err);
            continue;
        }
        for (uint32_t oid = 1; r == 0 && oid;) {
            r = pg_archive_object(a, &oid, err);
            if (r < 0 || oid == 0) break;
            char text[32];
            put(&s->objects, text, (size_t)snprintf(text, sizeof text, "[%u]", oid));
            r = read_block(a, &s->objects, NULL, err);
        }
    }
    pg_archive_free(a);
    return r;
}

static void seen_free(struct seen *s) {
    buf_free(&s->rows);
    buf_free(&s->objects);
}

static bool holds(const struct buf *b, const char *want) {
    return bytes_equal(buf_bytes(b), BYTES_STR(want));
}

/* ---- claims ---- */
static void every_version_is_read_the_same(void **state) {
    (void)state;
    for (int minor = 12; minor <= 16; minor++) {
        struct buf b = make((struct making){.minor = minor, .objects = true, .pieces = 3});
        for (size_t at_once = 0; at_once < 9; at_once += 4) {
            struct seen s;
            struct error e = ERROR_INIT;
            assert_int_equal(read_all(buf_bytes(&b), at_once, &s, &e), 0);
            assert_true(holds(&s.rows, "1\n2\n\\.\n\n\n"));
            assert_true(holds(&s.objects, "[24]abcdef[3000000000]"));
            assert_int_equal(s.blocks, 2);
            assert_int_equal(s.sum.rows, 2);
            seen_free(&s);
        }
        buf_free(&b);
    }
}

static void entries_are_as_they_were_written(void **state) {
    (void)state;
    struct buf b = make((struct making){.minor = 14});
    struct feed f = {buf_bytes(&b), 0};
    struct pg_archive *a;
    const struct pg_toc *t;
    struct error e = ERROR_INIT;
    assert_int_equal(pg_archive_open(feed_read, &f, &a, &e), 0);
    assert_int_equal(pg_archive_toc(a, &t, &e), 0);
    assert_int_equal(t->entry_count, 2);
    assert_true(pg_text_is(t, t->database, "app"));
    const struct pg_entry *d = pg_toc_find(t, 7);
    assert_non_null(d);
    assert_true(d->has_data);
    assert_true(pg_text_is(t, d->schema, "public"));
    assert_true(pg_text_is(t, d->copy, "COPY public.t (a) FROM stdin;\n"));
    assert_int_equal(d->deps_len, 1);
    assert_int_equal(t->deps[d->deps_at], 5);
    assert_null(pg_toc_find(t, 6));
    pg_archive_free(a);
    buf_free(&b);
}

static void a_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    for (int minor = 14; minor <= 16; minor++) {
        struct buf b = make((struct making){.minor = minor, .objects = true, .pieces = 2});
        for (size_t n = 0; n < b.len; n++) {
            struct seen s;
            struct error e = ERROR_INIT;
            assert_int_equal(read_all(BYTES_OF(b.ptr, n), 0, &s, &e), -ERR_SOURCE_TRUNCATED);
            assert_non_null(strstr(e.text, "end"));
            seen_free(&s);
        }
        buf_free(&b);
    }
}

static void a_damaged_byte_never_makes_it_crash(void **state) {
    (void)state;
    struct buf b = make((struct making){.minor = 14, .objects = true});
    for (size_t n = 0; n < b.len; n++)
        for (int flip = 1; flip < 256; flip <<= 1) {
            struct seen s;
            struct error e = ERROR_INIT;
            b.ptr[n] ^= (uint8_t)flip;
            int r = read_all(buf_bytes(&b), 0, &s, &e);
            assert_true(r == 0 || e.text[0]);
            b.ptr[n] ^= (uint8_t)flip;
            seen_free(&s);
        }
    buf_free(&b);
}

static void expect(struct bytes b, enum error_code code, const char *text) {
    struct seen s;
    struct error e = ERROR_INIT;
    assert_int_equal(read_all(b, 0, &s, &e), -(int)code);
    if (!strstr(e.text, text)) fail_msg("\"%s\" does not say \"%s\"", e.text, text);
    seen_free(&s);
}

static void a_block_that_never_came_is_named(void **state) {
    (void)state;
    struct buf b = make((struct making){.minor = 14, .no_data_block = true});
    expect(buf_bytes(&b), ERR_SOURCE_TRUNCATED, "the data of 1 of its entries never came, the first is public.t");
    buf_free(&b);
}

static void blocks_that_do_not_belong_are_refused(void **state) {
    (void)state;
    struct buf b = make((struct making){.minor = 14});
    size_t whole = b.len;
    put_byte(&b, 1);
    put_int(&b, 7);
    put_pieces(&b, "", 0);
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "two blocks for entry 7");
    b.len = whole;
    put_byte(&b, 1);
    put_int(&b, 5);
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "entry 5, which has no data");
    b.len = whole;
    put_byte(&b, 2);
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "unknown type 2");
    buf_free(&b);
    b = make((struct making){.minor = 14, .no_data_block = true});
    put_byte(&b, 3);
    put_int(&b, 7);
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "wrong type");
    buf_free(&b);
}

static void headers_that_are_not_ours_are_refused(void **state) {
    (void)state;
    struct buf b = make((struct making){.minor = 15});
    b.ptr[11] = 1; /* an algorithm of compression */
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "compressed");
    b.ptr[11] = 0;
    b.ptr[10] = 3;
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "not of the custom format");
    b.ptr[10] = 1;
    b.ptr[8] = 8;
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "integers of 8");
    b.ptr[0] = 'X';
    expect(buf_bytes(&b), ERR_PG_ARCHIVE, "PGDMP");
    buf_free(&b);
}

static void an_unknown_version_is_handed_out_whole(void **state) {
    (void)state;
    struct buf b = make((struct making){.minor = 16});
    b.ptr[6] = 17;
    struct feed f = {buf_bytes(&b), 10};
    struct pg_archive *a;
    const struct pg_toc *t;
    struct error e = ERROR_INIT;
    struct buf got = BUF_INIT(1 << 20);
    assert_int_equal(pg_archive_open(feed_read, &f, &a, &e), 0);
    assert_false(pg_archive_known(a));
    for (size_t n = 1; n;) {
        uint8_t p[13];
        assert_int_equal(pg_archive_raw(a, p, sizeof p, &n, &e), 0);
        put(&got, p, n);
    }
    assert_true(bytes_equal(buf_bytes(&got), buf_bytes(&b)));
    assert_int_equal(pg_archive_toc(a, &t, &e), -ERR_PG_ARCHIVE);
    assert_non_null(strstr(e.text, "1.17"));
    pg_archive_free(a);
    buf_free(&got);
    buf_free(&b);
}

static void the_directory_form_names_the_files(void **state) {
    (void)state;
    for (int minor = 14; minor <= 16; minor++) {
        struct buf b = make((struct making){.minor = minor, .objects = true}), dir = BUF_INIT(1 << 20);
        struct feed f = {buf_bytes(&b), 0};
        struct pg_archive *a;
        const struct pg_toc *t;
        struct pg_toc *again;
        char name[32];
        struct error e = ERROR_INIT;
        assert_int_equal(pg_archive_open(feed_read, &f, &a, &e), 0);
        assert_int_equal(pg_archive_toc(a, &t, &e), 0);
        assert_int_equal(pg_toc_directory(t, &dir, &e), 0);
        assert_int_equal(dir.ptr[10], 3);
        assert_non_null(memmem(dir.ptr, dir.len, "7.dat", 5));
        pg_toc_file_name(t, pg_toc_find(t, 9), name);
        assert_string_equal(name, minor >= 16 ? "blobs_9.toc" : "blobs.toc");
        assert_non_null(memmem(dir.ptr, dir.len, name, strlen(name)));
        /* What an item keeps is enough to get all of it back. */
        assert_int_equal(pg_toc_parse(buf_bytes(&t->raw), &again, &e), 0);
        assert_true(bytes_equal(buf_bytes(&again->raw), buf_bytes(&t->raw)));
        pg_toc_free(again);
        put(&b, "x", 1);
        struct bytes longer = BYTES_OF(b.ptr, t->raw.len + 1);
        assert_int_equal(pg_toc_parse(longer, &again, &e), -ERR_PG_ARCHIVE);
        assert_non_null(strstr(e.text, "bytes follow"));
        pg_archive_free(a);
        buf_free(&b);
        buf_free(&dir);
    }
}

static void read_with_fault(void *arg, uint64_t n) {
    const struct buf *b = arg;
    struct error e = ERROR_INIT;
    struct feed f = {buf_bytes(b), 0};
    struct pg_archive *a = NULL;
    const struct pg_toc *t;
    const struct pg_entry *entry;
    uint8_t p[64];
    size_t got = 1;
    (void)n;
    int r = pg_archive_open(feed_read, &f, &a, &e);
    if (r == 0) r = pg_archive_toc(a, &t, &e);
    if (r == 0) r = pg_archive_next(a, &entry, &e);
    while (r == 0 && got) r = pg_archive_read(a, p, sizeof p, &got, &e);
    if (fault_hits())
        assert_int_equal(r, -ERR_NO_MEMORY);
    else
        assert_int_equal(r, 0);
    pg_archive_free(a);
}

static void refused_memory_is_an_error_each_time(void **state) {
    (void)state;
    struct buf b = make((struct making){.minor = 14, .objects = true});
    assert_true(fault_each(false, read_with_fault, &b) > 3);
    buf_free(&b);
}

/* ---- rows ---- */
static void sum_of(const char *text, size_t at_once, struct pg_rows *s) {
    struct error e = ERROR_INIT;
    size_t n = strlen(text);
    pg_rows_init(s);
    for (size_t at = 0; at < n; at += at_once) {
        size_t take = n - at < at_once ? n - at : at_once;
        assert_int_equal(pg_rows_text(s, BYTES_OF(text + at, take), &e), 0);
    }
    assert_int_equal(pg_rows_finish(s, &e), 0);
}

static void digests_do_not_depend_on_order_or_pieces(void **state) {
    (void)state;
    static const char a[] = "1\tone\n2\ta row that is longer than sixteen bytes\n\n3\tx\\ty\n\\.\n\n\n";
    static const char b[] = "\n3\tx\\ty\n2\ta row that is longer than sixteen bytes\n1\tone\n\\.\n";
    char want[33], got[33];
    struct pg_rows s;
    sum_of(a, 1000, &s);
    assert_int_equal(s.rows, 4);
    pg_rows_digest(&s, want);
    for (size_t n = 1; n < sizeof a; n++) {
        sum_of(a, n, &s);
        pg_rows_digest(&s, got);
        assert_string_equal(got, want);
        assert_int_equal(s.rows, 4);
    }
    sum_of(b, 5, &s);
    pg_rows_digest(&s, got);
    assert_string_equal(got, want);
}

static void digests_see_every_change(void **state) {
    (void)state;
    char row[64], digests[64 * 8 + 65][33];
    size_t n = 0;
    memset(row, 'a', sizeof row);
    struct pg_rows s;
    for (size_t len = 0; len <= 64; len++) {
        pg_rows_init(&s);
        pg_rows_row(&s, BYTES_OF(row, len));
        pg_rows_digest(&s, digests[n++]);
    }
    for (size_t bit = 0; bit < 64 * 8; bit++) {
        row[bit / 8] ^= (char)(1 << bit % 8);
        pg_rows_init(&s);
        pg_rows_row(&s, BYTES_OF(row, sizeof row));
        pg_rows_digest(&s, digests[n++]);
        row[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++) assert_string_not_equal(digests[i], digests[k]);
    /* A row twice is not the row once, nor nothing. */
    struct pg_rows twice;
    pg_rows_init(&twice);
    pg_rows_row(&twice, BYTES_STR("x"));
    pg_rows_row(&twice, BYTES_STR("x"));
    assert_int_equal(twice.rows, 2);
    assert_true(twice.sum.lo || twice.sum.hi);
}

static void vectors_of_the_document_hold(void **state) {
    (void)state;
    static const struct {
        const char *row, *digest;
    } vectors[] = {{"", "b55d1404f7bacf2a1c5762fb1fd9cd02"},
                   {"1\tone", "c3ecc3ffc4b50b1703716389ee8c76d0"},
                   {"0123456789abcdef", "afc9ca49ec99d2a4e5f0369116f4c911"},
                   {"0123456789abcdef0123456789abcdef!", "10abca1ae4a98a18126c1f1ec8cd248d"}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        char got[33];
        struct pg_rows whole, parts;
        pg_rows_init(&whole);
        pg_rows_row(&whole, BYTES_STR(vectors[i].row));
        pg_rows_digest(&whole, got);
        assert_string_equal(got, vectors[i].digest);
        pg_rows_init(&parts);
        pg_rows_begin(&parts);
        for (const char *p = vectors[i].row; *p; p++) pg_rows_part(&parts, BYTES_OF(p, 1));
        pg_rows_end(&parts);
        pg_rows_digest(&parts, got);
        assert_string_equal(got, vectors[i].digest);
    }
}

static void data_without_its_end_mark_is_refused(void **state) {
    (void)state;
    struct pg_rows s;
    struct error e = ERROR_INIT;
    pg_rows_init(&s);
    assert_int_equal(pg_rows_text(&s, BYTES_STR("1\n\\.x\n\\\\.\n2\n\\."), &e), 0);
    assert_int_equal(pg_rows_finish(&s, &e), -ERR_SOURCE_TRUNCATED);
    assert_non_null(strstr(e.text, "after 4 rows"));
    error_clear(&e);
    pg_rows_init(&s);
    assert_int_equal(pg_rows_text(&s, BYTES_STR("1\n\\.\n\n2\n"), &e), -ERR_PG_ARCHIVE);
    assert_non_null(strstr(e.text, "after its end mark"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_is_read_the_same),
        cmocka_unit_test(entries_are_as_they_were_written),
        cmocka_unit_test(a_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_damaged_byte_never_makes_it_crash),
        cmocka_unit_test(a_block_that_never_came_is_named),
        cmocka_unit_test(blocks_that_do_not_belong_are_refused),
        cmocka_unit_test(headers_that_are_not_ours_are_refused),
        cmocka_unit_test(an_unknown_version_is_handed_out_whole),
        cmocka_unit_test(the_directory_form_names_the_files),
        cmocka_unit_test(refused_memory_is_an_error_each_time),
        cmocka_unit_test(digests_do_not_depend_on_order_or_pieces),
        cmocka_unit_test(digests_see_every_change),
        cmocka_unit_test(vectors_of_the_document_hold),
        cmocka_unit_test(data_without_its_end_mark_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
