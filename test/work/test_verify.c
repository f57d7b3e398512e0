/* What verification says of damage, of entries that count for nothing, and what a run never says: the secrets it knows.
 */
#include "work_kit.h"

#include "work/backup.h"
#include "work/keys.h"
#include "work/restore.h"
#include "work/verify.h"

#include <stdio.h>
#include <unistd.h>

struct heard {
    unsigned findings;
    char object[128], text[300], snapshot[SNAPSHOT_ID_MAX], path[64], warning[1200];
    char receipt[8192];
};

static void hear_finding(void *ctx, const struct verify_finding *f) {
    struct heard *h = ctx;
    const char *id = json_string_value(json_array_get(f->snapshots, 0)),
               *path = json_string_value(json_array_get(f->paths, 0));
    h->findings++;
    snprintf(h->object, sizeof h->object, "%s", f->object);
    snprintf(h->text, sizeof h->text, "%s", f->text);
    snprintf(h->snapshot, sizeof h->snapshot, "%s", id ? id : "");
    snprintf(h->path, sizeof h->path, "%s", path ? path : "");
}

static void hear_warning(void *ctx, const char *surface, const char *text) {
    struct heard *h = ctx;
    (void)surface;
    size_t n = strlen(h->warning);
    snprintf(h->warning + n, sizeof h->warning - n, "%s\n", text);
}

static void hear_receipt(void *ctx, const char *surface, const json_t *predicate, uint64_t seq,
                         const struct digest *d) {
    struct heard *h = ctx;
    struct buf b = BUF_INIT(1u << 20);
    struct error err = ERROR_INIT;
    (void)surface;
    (void)seq;
    (void)d;
    kit_ok(json_write(predicate, &b, &err), &err);
    kit_ok(buf_terminate(&b, &err), &err);
    snprintf(h->receipt, sizeof h->receipt, "%s", (char *)b.ptr);
    buf_free(&b);
}

static void listen(struct work_kit *k, struct heard *h) {
    memset(h, 0, sizeof *h);
    k->work->options.events = (struct work_events){.ctx = h, .warning = hear_warning, .receipt = hear_receipt};
}

static int find_pack(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    if (strncmp(o->key, "packs/d/", 8) == 0) snprintf(ctx, 128, "%s", o->key);
    return 0;
}

/* One byte of the newest data pack, in its first frame. */
static void pack_alter(struct work_kit *k, char key[128]) {
    struct error err = ERROR_INIT;
    char path[300];
    uint8_t b;
    kit_ok(store_list(k->kit.store, "packs/", find_pack, key, &err), &err);
    snprintf(path, sizeof path, "%s/%s", k->kit.repo_dir, key);
    assert_int_equal(seam_fchmodat(AT_FDCWD, path, 0600, 0), 0);
    int fd = seam_openat(AT_FDCWD, path, O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(seam_pread(fd, &b, 1, 300), 1);
    b ^= 1;
    assert_int_equal(seam_pwrite(fd, &b, 1, 300), 1);
    io_close(&fd);
}

static void an_altered_pack_is_said_not_to_match_its_name(void **state) {
    static const enum verify_level levels[] = {VERIFY_CHECKSUM, VERIFY_DECODE};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct work_kit k;
        struct heard h;
        struct verify_result r;
        char key[128] = "";
        work_kit_begin(&k, NULL);
        uint64_t seq = work_kit_point(&k, "files", 200000, 3);
        pack_alter(&k, key);
        listen(&k, &h);
        const struct snapshot_info *list[] = {work_kit_info(&k, seq)};
        assert_works(verify_snapshots(k.work, list, 1, levels[i], hear_finding, &h, &r, &err));
        assert_false(r.passed);
        assert_true(h.findings >= 1);
        assert_string_equal(h.object, key);
        if (!strstr(h.text, "the pack's bytes do not match its name (SHA-256): ")) fail_msg("%s", h.text);
        assert_non_null(strstr(h.text, "frame 0 does not open"));
        assert_string_equal(h.snapshot, list[0]->id);
        assert_string_equal(h.path, "data");
        assert_true(work_kit_info(&k, seq)->verify_failed);
        json_decref(r.differences);
        work_kit_end(&k);
    }
}

static void a_key_that_may_not_read_still_names_the_pack(void **state) {
    struct work_kit k;
    struct heard h;
    struct verify_result r;
    char key[128] = "", writer[160];
    (void)state;
    work_kit_begin(&k, NULL);
    uint64_t seq = work_kit_point(&k, "files", 200000, 3);
    work_kit_key(&k, ROLE_PRUNE, writer);
    pack_alter(&k, key);
    work_kit_open(&k, writer);
    listen(&k, &h);
    const struct snapshot_info *list[] = {work_kit_info(&k, seq)};
    assert_works(verify_snapshots(k.work, list, 1, VERIFY_CHECKSUM, hear_finding, &h, &r, &err));
    assert_false(r.passed);
    assert_string_equal(h.object, key);
    assert_string_equal(h.text, "the pack's bytes do not match its name (SHA-256)");
    assert_string_equal(h.snapshot, list[0]->id);
    assert_non_null(strstr(h.warning, "a prune key may not vouch for a backup"));
    json_decref(r.differences);
    work_kit_end(&k);
}

static int build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    (void)seq;
    (void)err;
    *ret = json_incref(ctx);
    return 0;
}

static void entries_that_count_for_nothing_are_mentioned(void **state) {
    struct work_kit k;
    struct heard h;
    struct verify_result r;
    char writer[160];
    (void)state;
    work_kit_begin(&k, NULL);
    uint64_t seq = work_kit_point(&k, "files", 1000, 3);
    work_kit_key(&k, ROLE_WRITER, writer);
    work_kit_open(&k, writer);
    /* a thief with a writer's key, who passes our own refusal by */
    json_t *s = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:[I], s:s}}", "_type", "https://in-toto.io/Statement/v1",
                          "subject", "name", "snapshots", "digest", "sha256",
                          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "predicateType",
                          PREDICATE_FORGET, "predicate", "seqs", (json_int_t)seq, "reason", "theft");
    assert_non_null(s);
    struct error thief = ERROR_INIT;
    (void)!ledger_append(repo_ledger(k.work->repo), secret_bytes(repo_keys(k.work->repo)->sign_seed), build, s, NULL,
                         NULL, &thief);
    json_decref(s);
    work_kit_open(&k, NULL);
    listen(&k, &h);
    const struct snapshot_info *list[] = {work_kit_info(&k, seq)};
    assert_false(list[0]->forgotten);
    assert_works(verify_snapshots(k.work, list, 1, VERIFY_DECODE, hear_finding, &h, &r, &err));
    assert_true(r.passed);
    if (!strstr(h.warning, "1 entry of the log counts for nothing, as its signer may not say such things"))
        fail_msg("'%s' (%s)", h.warning, thief.text);
    json_decref(r.differences);
    work_kit_end(&k);
}

/* ---- secrets ---- */

#define PASSWORD "h0rse+battery/st@ple"

static int leak(const struct surface_context *ctx, struct error *err) {
    struct secret *s = NULL;
    int rc = ctx->secret(ctx->secret_ctx, "password", &s, err);
    if (rc < 0) return rc;
    struct bytes b = secret_bytes(s);
    ctx->events.note(ctx->events.ctx, NOTE_WARNING, BYTES_OF(NULL, 0), "the tool says h0rse+battery/st@ple!");
    error_state(err, "it was %.*s", (int)b.len, b.ptr);
    rc = error_set(err, ERR_PROC_FAILED, "pg_dump failed: FATAL for '%.*s' and once more %.*s", (int)b.len, b.ptr,
                   (int)b.len - 3, b.ptr);
    secret_free(s);
    return rc;
}

static int leak_capture(const struct surface_context *ctx, struct sink *s, struct capture_result *ret,
                        struct error *err) {
    (void)s;
    (void)ret;
    return leak(ctx, err);
}

static int leak_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    (void)ret;
    return leak(ctx, err);
}

static void clean(const char *what, const char *text) {
    if (strstr(text, PASSWORD) || strstr(text, "h0rse")) fail_msg("%s: %s", what, text);
}

static void a_secret_that_a_tool_repeats_is_in_no_message_and_no_receipt(void **state) {
    struct work_kit k;
    struct heard h;
    struct surface_driver driver = surface_files;
    struct backup_options o = {0}, dry = {.dry_run = true};
    struct backup_result r;
    char text[4096], path[160];
    struct buf b = BUF_INIT(1u << 20);
    (void)state;
    work_kit_begin(&k, NULL);
    snprintf(path, sizeof path, "%s/password", k.kit.dir);
    assert_works(io_replace_file(AT_FDCWD, path, BYTES_STR(PASSWORD "\n"), 0600, &err));
    assert_works(io_read_file(AT_FDCWD, k.config, b.max_bytes, &b, &err));
    assert_works(buf_terminate(&b, &err));
    char *at = strstr((char *)b.ptr, "secrets:\n") + strlen("secrets:\n");
    snprintf(text, sizeof text, "%.*s  password: { file: \"%s\" }\n%s", (int)(at - (char *)b.ptr), (char *)b.ptr, path,
             at);
    assert_works(io_replace_file(AT_FDCWD, k.config, BYTES_STR(text), 0600, &err));
    buf_free(&b);
    work_kit_open(&k, NULL);
    listen(&k, &h);
    driver.capture = leak_capture;
    driver.probe = leak_probe;
    struct work_surface s;
    const struct config *c = k.work->config;
    assert_works(work_surface_open(k.work, c->environments.items[0], c->surfaces.items[0], &s, &err));
    s.driver = &driver;
    for (int i = 0; i < 2; i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(backup_surface(k.work, &s, i ? &dry : &o, &r, &err), -ERR_PROC_FAILED);
        clean("text", err.text);
        clean("state", err.state);
        if (!strstr(err.text, "FATAL for '[redacted]'")) fail_msg("%s", err.text);
        assert_non_null(strstr(err.state, "it was [redacted]"));
    }
    clean("receipt", h.receipt);
    assert_non_null(strstr(h.receipt, "FATAL for '[redacted]'"));
    clean("warning", h.warning);
    assert_non_null(strstr(h.warning, "the tool says [redacted]!"));
    work_surface_close(&s);
    work_kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_altered_pack_is_said_not_to_match_its_name),
        cmocka_unit_test(a_key_that_may_not_read_still_names_the_pack),
        cmocka_unit_test(entries_that_count_for_nothing_are_mentioned),
        cmocka_unit_test(a_secret_that_a_tool_repeats_is_in_no_message_and_no_receipt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
