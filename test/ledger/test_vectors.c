/* doc/format/log.md says what the code does: every vector in it is made anew and compared. */
#include "fixture.h"
#include "ledger/cosign.h"
#include "ledger/note.h"
#include "ledger/summary.h"
#include "ledger/tiles.h"
#include "ledger/tlog_proof.h"

static struct buf document = {.max_bytes = 1u << 20};

/* The value behind "name = ", on a line of its own. */
static struct bytes vector(const char *name) {
    char start[128];
    snprintf(start, sizeof(start), "\n%s = ", name);
    const uint8_t *at = memmem(document.ptr, document.len, start, strlen(start));
    if (!at) fail_msg("doc/format/log.md has no vector %s", name);
    at += strlen(start);
    size_t left = document.len - (size_t)(at - document.ptr);
    const uint8_t *end = memchr(at, '\n', left);
    return BYTES_OF(at, end ? (size_t)(end - at) : left);
}

static void expect_vector(const char *name, struct bytes got) {
    struct bytes want = vector(name);
    if (!bytes_equal(got, want))
        fail_msg("%s is\n%.*s\nand not, as doc/format/log.md has it,\n%.*s", name, (int)got.len, (const char *)got.ptr,
                 (int)want.len, (const char *)want.ptr);
}

static void expect_digest(const char *name, const struct digest *d) {
    char hex[2 * DIGEST_BYTES + 1];
    hex_encode(d->b, DIGEST_BYTES, hex);
    expect_vector(name, BYTES_STR(hex));
}

/* With newlines written as \n, so that it fits a line. */
static void expect_lines(const char *name, struct bytes got) {
    CLEANUP(buf_free) struct buf out = BUF_INIT(1u << 16);
    struct error err;
    for (size_t i = 0; i < got.len; i++) {
        bool nl = got.ptr[i] == '\n';
        EXPECT_OK(buf_append(&out, nl ? (const void *)"\\n" : got.ptr + i, nl ? 2 : 1, &err), err);
    }
    expect_vector(name, buf_bytes(&out));
}

static struct seam frozen;
static int frozen_clock(clockid_t id, struct timespec *ts) {
    (void)id;
    *ts = (struct timespec){1771225200, 0}; /* 2026-02-16T07:00:00Z */
    return 0;
}

static int setup(void **state) {
    struct error err;
    crypto_setup(state);
    EXPECT_OK(io_read_file(AT_FDCWD, PK_SOURCE_ROOT "/doc/format/log.md", (1u << 20) - 1, &document, &err), err);
    frozen = seam_system;
    frozen.clock_gettime = frozen_clock;
    seam_table = &frozen;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    seam_table = &seam_system;
    buf_free(&document);
    return 0;
}

static int build_example(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    (void)ctx;
    struct digest d;
    json_t *p = json_object();
    sha256(BYTES_STR("hello"), &d);
    if (json_put_str(p, "text", seq == 0 ? "first" : "second", err) < 0) {
        json_decref(p);
        return -(int)err->code;
    }
    if (statement_new("https://proofkeep.dev/example/v1", p, ret, err) < 0) return -(int)err->code;
    return statement_add_subject(*ret, "hello.txt", &d, err);
}

static struct ledger *two_entries(struct fixture *f, struct seen *seen) {
    struct error err;
    fixture_begin(f);
    struct ledger *l = fixture_open(f, false, seen);
    for (unsigned i = 0; i < 2; i++) EXPECT_OK(ledger_append(l, test_key, build_example, NULL, NULL, NULL, &err), err);
    return l;
}

static void entries_are_as_documented(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    char hex[2 * SIGN_PUBLIC_BYTES + 1];
    struct ledger *l = two_entries(&f, &seen);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    hex_encode(pub, sizeof(pub), hex);
    expect_vector("key.public", BYTES_STR(hex));
    hex_encode(test_seed, sizeof(test_seed), hex);
    expect_vector("key.seed", BYTES_STR(hex));
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(buf_free) struct buf envelope = BUF_INIT(65536), payload = BUF_INIT(65536);
        struct digest d;
        char name[32];
        EXPECT_OK(ledger_read(l, i, &envelope, &err), err);
        EXPECT_OK(dsse_decode(buf_bytes(&envelope), &payload, pub, sig, &err), err);
        snprintf(name, sizeof(name), "entry%u.envelope", i);
        expect_vector(name, buf_bytes(&envelope));
        snprintf(name, sizeof(name), "entry%u.payload", i);
        expect_vector(name, buf_bytes(&payload));
        snprintf(name, sizeof(name), "entry%u.sha256", i);
        sha256(buf_bytes(&envelope), &d);
        expect_digest(name, &d);
        snprintf(name, sizeof(name), "entry%u.leaf", i);
        merkle_leaf(buf_bytes(&envelope), &d);
        expect_digest(name, &d);
        /* and what is documented verifies */
        snprintf(name, sizeof(name), "entry%u.envelope", i);
        buf_clear(&payload);
        EXPECT_OK(dsse_verify(vector(name), pub, &payload, &err), err);
    }
    ledger_close(l);
    fixture_end(&f);
}

static void checkpoint_and_summary_are_as_documented(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    struct digest root;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    CLEANUP(buf_free) struct buf text = BUF_INIT(65536);
    json_t *live = json_pack("{s:[s]}", "live", "hello.txt");
    struct ledger *l = two_entries(&f, &seen);
    EXPECT_OK(ledger_publish(l, test_key, &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 2, live, &err), err);
    json_decref(live);
    ledger_root(l, &root);
    expect_digest("log.root", &root);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    EXPECT_OK(note_verifier(TEST_ORIGIN, pub, &text, &err), err);
    expect_vector("log.verifier", buf_bytes(&text));
    buf_clear(&text);
    EXPECT_OK(store_read_all(f.store, "checkpoint", 65535, &text, &err), err);
    expect_lines("log.checkpoint", buf_bytes(&text));
    buf_clear(&text);
    EXPECT_OK(store_read_all(f.store, "summary/0000000000000002", 65535, &text, &err), err);
    expect_vector("log.summary", buf_bytes(&text));
    buf_clear(&text);
    EXPECT_OK(store_read_all(f.store, "tile/0/000.p/2", 65535, &text, &err), err);
    char hex[129];
    assert_int_equal(text.len, 64);
    hex_encode(text.ptr, 64, hex);
    expect_vector("log.tile", BYTES_STR(hex));
    ledger_close(l);
    fixture_end(&f);
}

/* The other way round: "\\n" as newlines. */
static void unescape(struct bytes in, struct buf *out) {
    struct error err;
    for (size_t i = 0; i < in.len; i++) {
        bool nl = in.ptr[i] == '\\' && i + 1 < in.len && in.ptr[i + 1] == 'n';
        EXPECT_OK(buf_append(out, nl ? (const void *)"\n" : in.ptr + i, 1, &err), err);
        i += nl;
    }
}

static void witness_and_proof_are_as_documented(void **state) {
    (void)state;
    struct error err;
    struct note_key key, log;
    struct secret *seed = NULL;
    struct checkpoint_parts parts;
    struct tlog_proof proof;
    struct digest leaf;
    uint8_t raw[SIGN_SEED_BYTES], pub[SIGN_PUBLIC_BYTES];
    int64_t time_s;
    CLEANUP(buf_free) struct buf text = BUF_INIT(65536), note = BUF_INIT(65536), line = BUF_INIT(4096);
    struct bytes hex = vector("witness.seed");
    assert_true(hex_decode((const char *)hex.ptr, hex.len, raw, sizeof(raw)));
    EXPECT_OK(sign_public(BYTES_OF(raw, sizeof(raw)), pub, &err), err);
    EXPECT_OK(note_key_make("witness.example/w1", NOTE_COSIGNATURE, pub, &key, &err), err);
    EXPECT_OK(note_key_format(&key, &text, &err), err);
    expect_vector("witness.verifier", buf_bytes(&text));
    buf_clear(&text);
    EXPECT_OK(note_secret_format(&key, BYTES_OF(raw, sizeof(raw)), &text, &err), err);
    expect_vector("witness.secret", buf_bytes(&text));
    EXPECT_OK(note_secret_parse(buf_bytes(&text), &key, &seed, &err), err);

    unescape(vector("log.checkpoint"), &note);
    EXPECT_OK(checkpoint_split(buf_bytes(&note), TEST_ORIGIN, &parts, &err), err);
    EXPECT_OK(checkpoint_line(parts.text, &key, secret_bytes(seed), 1771225200, &line, &err), err);
    EXPECT_OK(buf_append(&note, line.ptr, line.len, &err), err);
    expect_lines("witness.cosigned", buf_bytes(&note));
    secret_free(seed);

    buf_clear(&text);
    unescape(vector("witness.proof"), &text);
    EXPECT_OK(tlog_proof_parse(buf_bytes(&text), &proof, &err), err);
    assert_true(bytes_equal(proof.note, buf_bytes(&note)));
    EXPECT_OK(checkpoint_split(proof.note, NULL, &parts, &err), err);
    merkle_leaf(vector("entry0.envelope"), &leaf);
    EXPECT_OK(proof_check_inclusion(&leaf, proof.index, parts.head.size, &parts.head.root, &proof.path, &err), err);
    buf_clear(&line);
    EXPECT_OK(tlog_proof_write(&proof, &line, &err), err);
    assert_true(bytes_equal(buf_bytes(&line), buf_bytes(&text)));
    char vkey[256];
    struct bytes v = vector("log.verifier");
    snprintf(vkey, sizeof(vkey), "%.*s", (int)v.len, (const char *)v.ptr);
    EXPECT_OK(note_key_parse(vkey, &log, &err), err);
    EXPECT_OK(checkpoint_signed_by(&parts, &log, &time_s, &err), err);
    assert_int_equal(time_s, 0);
    EXPECT_OK(checkpoint_signed_by(&parts, &key, &time_s, &err), err);
    assert_int_equal(time_s, 1771225200);
}

static void the_vector_of_other_programs_is_as_documented(void **state) {
    (void)state;
    const char *origin = "kfm.example/ledger/prod";
    struct error err;
    struct merkle *m;
    struct checkpoint c = {.size = 7};
    uint8_t pub[SIGN_PUBLIC_BYTES];
    CLEANUP(buf_free) struct buf text = BUF_INIT(4096);
    EXPECT_OK(merkle_new(&m, &err), err);
    for (unsigned i = 0; i < 7; i++) {
        char leaf[16];
        struct digest d;
        snprintf(leaf, sizeof(leaf), "entry-%u", i);
        merkle_leaf(BYTES_STR(leaf), &d);
        EXPECT_OK(merkle_add(m, &d, &err), err);
    }
    merkle_root(m, &c.root);
    merkle_free(m);
    expect_digest("seven.root", &c.root);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    EXPECT_OK(note_verifier(origin, pub, &text, &err), err);
    expect_vector("seven.verifier", buf_bytes(&text));
    buf_clear(&text);
    EXPECT_OK(checkpoint_sign(origin, &c, test_key, &text, &err), err);
    expect_lines("seven.checkpoint", buf_bytes(&text));
}

static void tile_names_are_as_documented(void **state) {
    (void)state;
    char path[TILE_PATH_MAX];
    tile_path(0, 1234067, 256, path);
    expect_vector("tile.0.1234067", BYTES_STR(path));
    tile_path(TILE_ENTRIES, 273, 112, path);
    expect_vector("entries.273.112", BYTES_STR(path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_as_documented),
        cmocka_unit_test(checkpoint_and_summary_are_as_documented),
        cmocka_unit_test(witness_and_proof_are_as_documented),
        cmocka_unit_test(the_vector_of_other_programs_is_as_documented),
        cmocka_unit_test(tile_names_are_as_documented),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
