/* Copies of snapshots in a second repository: whole, small when there is little news, resumed, and never of damage. */
#include "base/thread.h"
#include "copy_kit.h"
#include "repo/alternate.h"
#include "repo/state_summary.h"

#include "../harness/fault.h"

#include "base/time.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAILS(code_, says_, call)                                                                                      \
    do {                                                                                                               \
        struct error e_ = ERROR_INIT, *e = &e_;                                                                        \
        int got_ = (call);                                                                                             \
        if (got_ != -(code_)) fail_msg("%d (%s) instead of %s", got_, e->text, error_info(code_)->name);               \
        if (!strstr(e->text, says_)) fail_msg("'%s' is not in '%s'", says_, e->text);                                  \
    } while (0)

static void is_whole(struct kit *k) {
    struct error err = ERROR_INIT;
    struct check_options o = {.level = VERIFY_DECODE, .threads = 2};
    struct check_totals t;
    kit_ok(repo_check(k->repo, &o, &t, &err), &err);
    assert_int_equal(t.result, CHECK_VERIFIED);
}

#define LARGE (3u << 20)
#define PARTS 700000u
struct content {
    uint8_t *text, *random, *small, *parts;
    struct kit_item items[64];
    char names[64][16];
    size_t n;
};
/* A large text, random bytes, content by parts and many small files. */
static void content_make(struct content *c) {
    c->text = malloc(LARGE);
    c->random = malloc(LARGE);
    c->small = malloc(60 * 4000);
    c->parts = malloc(PARTS);
    kit_text(c->text, LARGE, 1);
    kit_random(c->random, LARGE, 2);
    kit_text(c->small, 60 * 4000, 3);
    kit_text(c->parts, PARTS, 4);
    c->n = 0;
    for (int i = 0; i < 60; i++) {
        snprintf(c->names[i], sizeof c->names[i], "f%02d", i);
        c->items[c->n++] = (struct kit_item){c->names[i], CONTENT_FILE, c->small + i * 4000, 4000};
    }
    c->items[c->n++] = (struct kit_item){"none", CONTENT_NONE, NULL, 0};
    c->items[c->n++] = (struct kit_item){"parts", CONTENT_PARTS, c->parts, PARTS};
    c->items[c->n++] = (struct kit_item){"random", CONTENT_FILE, c->random, LARGE};
    c->items[c->n++] = (struct kit_item){"text", CONTENT_FILE, c->text, LARGE};
}
static void content_free(struct content *c) {
    free(c->text);
    free(c->random);
    free(c->small);
    free(c->parts);
}

static void a_copy_restores_to_the_same_and_moves_only_what_is_new(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    struct copy_stats s1, s2;
    struct writer_stats ws;
    kit_begin(&a);
    content_make(&c);
    uint64_t one = kit_backup(&a, "s", c.items, c.n, false, NULL);
    uint8_t *before = malloc(LARGE);
    memcpy(before, c.text, LARGE);
    kit_dest_begin(&a, &b, 0);
    uint64_t copied = kit_copy(&a, one, &b, &s1);
    kit_expect(&b, copied, c.items, c.n);
    assert_int_equal(s1.encoded_chunks, 0);
    assert_true(s1.frames > 3);
    assert_true(s1.stored_bytes > LARGE);

    memcpy(c.text + 1000000, "changed", 7);
    uint64_t two = kit_backup(&a, "s", c.items, c.n, true, &ws);
    assert_true(ws.delta_chunks > 0);
    kit_reopen(&b, true);
    uint64_t again = kit_copy(&a, two, &b, &s2);
    kit_expect(&b, again, c.items, c.n);
    assert_true(s2.stored_bytes < 200000);
    assert_true(s2.stored_bytes < ws.stored_bytes * 3 / 2 + 8192);
    c.items[c.n - 1].data = before;
    kit_expect(&b, copied, c.items, c.n);
    is_whole(&b);
    kit_reopen(&b, true);
    is_whole(&b);

    const struct snapshot_info *info = kit_snapshot(&b, again), *was = kit_snapshot(&a, two);
    assert_true(info->is_copy);
    assert_int_equal(info->source.seq, two);
    assert_true(digest_equal(&info->source.entry, &was->entry));
    assert_memory_equal(info->source.repository, repo_keys(a.repo)->repo_id, 16);
    assert_int_equal(info->started_ns, was->started_ns);
    assert_int_equal(info->completed_ns, was->completed_ns);
    assert_int_equal(info->verified, VERIFY_NONE);
    assert_ptr_equal(copy_find(a.repo, was, b.repo), info);
    /* and the other way round: the original is what the copy is a copy of */
    assert_ptr_equal(copy_find(b.repo, info, a.repo), was);
    struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1), kept = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    struct error err = ERROR_INIT;
    uint8_t signer[32];
    kit_ok(ledger_read(repo_ledger(a.repo), two, &envelope, &err), &err);
    kit_ok(copy_source_read(b.repo, info, &kept, signer, &err), &err);
    assert_true(bytes_equal(buf_bytes(&envelope), buf_bytes(&kept)));
    assert_memory_equal(signer, was->writer, 32);
    buf_free(&envelope);
    buf_free(&kept);
    free(before);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

static void a_base_comes_along_with_its_delta(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    kit_begin(&a);
    content_make(&c);
    kit_backup(&a, "s", c.items, c.n, false, NULL);
    memcpy(c.text + 1000000, "changed", 7);
    memcpy(c.parts + 300000, "changed", 7);
    struct writer_stats ws;
    uint64_t two = kit_backup(&a, "s", c.items, c.n, true, &ws);
    assert_true(ws.delta_chunks > 1);
    kit_dest_begin(&a, &b, 0);
    uint64_t copied = kit_copy(&a, two, &b, NULL); /* the first point, which holds the base, is not copied */
    kit_expect(&b, copied, c.items, c.n);
    is_whole(&b);
    /* and what a collection keeps of the destination still restores */
    struct gc_options o = {.grace_ns = 0, .now_ns = time_now_ns() + NS_PER_S, .repack_below = 1};
    struct gc_plan done = {0};
    struct error err = ERROR_INIT;
    kit_ok(gc_run(b.repo, &o, &done, &err), &err);
    gc_plan_free(&done);
    kit_reopen(&b, true);
    kit_expect(&b, copied, c.items, c.n);
    is_whole(&b);
    struct buf kept = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    kit_ok(copy_source_read(b.repo, kit_snapshot(&b, copied), &kept, NULL, &err), &err);
    buf_free(&kept);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

static void of_a_frame_that_is_mostly_not_needed_the_rest_stays(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    struct copy_stats s;
    kit_begin(&a);
    content_make(&c);
    a.threads = 1;
    kit_backup(&a, "s", c.items, 60, false, NULL); /* small ones share frames */
    uint64_t few = kit_backup(&a, "t", c.items, 3, false, NULL);
    uint64_t most = kit_backup(&a, "u", c.items, 50, false, NULL);
    kit_dest_begin(&a, &b, 0);
    uint64_t copied = kit_copy(&a, few, &b, &s);
    assert_int_equal(s.encoded_chunks, 3);
    kit_expect(&b, copied, c.items, 3);
    assert_true(s.stored_bytes < 40000);
    copied = kit_copy(&a, most, &b, &s);
    assert_int_equal(s.encoded_chunks, 0);
    kit_expect(&b, copied, c.items, 50);
    is_whole(&b);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

static void keys_decide(void **state) {
    (void)state;
    struct kit a, b, other;
    struct content c;
    struct error err = ERROR_INIT;
    kit_begin(&a);
    kit_begin(&other);
    content_make(&c);
    uint64_t one = kit_backup(&a, "s", c.items, 3, false, NULL);
    kit_dest_begin(&a, &b, 0);
    FAILS(ERR_COPY_FOREIGN, "does not share the content keys",
          kit_copy_try(&a, one, &other, NULL, false, NULL, NULL, e));
    FAILS(ERR_USAGE, "are one repository", copy_check(a.repo, a.repo, e));
    assert_int_equal(repo_snapshot_count(other.repo), 0);

    uint8_t key[4][32];
    for (int role = ROLE_WRITER; role <= ROLE_PRUNE; role++) {
        for (int i = 0; i < 32; i++) key[role - 1][i] = (uint8_t)(role * 40 + i);
        struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key[role - 1], 32)};
        for (int side = 0; side < 2; side++) {
            struct keyring *k = NULL;
            struct repo *r = side ? b.repo : a.repo;
            kit_ok(keyring_derive(repo_keys(r), (enum key_role)role, &k, &err), &err);
            assert_false(k->shared_content);
            kit_ok(repo_key_add(r, k, &u, "", &err), &err);
            keyring_free(k);
        }
    }
    /* what may be: a restore key of the source, a writer key of the destination */
    a.unlock.secret = BYTES_OF(key[ROLE_RESTORE - 1], 32);
    b.unlock.secret = BYTES_OF(key[ROLE_WRITER - 1], 32);
    kit_reopen(&a, true);
    kit_reopen(&b, true);
    kit_copy(&a, one, &b, NULL);
    bool said = false;
    struct copy_stats none = {0};
    kit_ok(copy_tell(a.repo, b.repo, "there", 1, &none, NULL, "me", &said, &err), &err);
    assert_true(said);
    FAILS(ERR_KEY_ROLE, "needs a restore or admin key", copy_check(b.repo, a.repo, e));
    a.unlock.secret = BYTES_OF(key[ROLE_WRITER - 1], 32);
    b.unlock.secret = BYTES_OF(key[ROLE_RESTORE - 1], 32);
    kit_reopen(&a, true);
    FAILS(ERR_KEY_ROLE, "needs a restore or admin key", kit_copy_try(&a, one, &b, NULL, false, NULL, NULL, e));
    json_t *said_by_writer = json_pack("{s:s}", "predicateType", PREDICATE_COPY);
    FAILS(ERR_KEY_ROLE, "may not sign an entry of type copy/v1", repo_append(a.repo, said_by_writer, NULL, NULL, e));
    json_decref(said_by_writer);
    a.unlock.secret = BYTES_OF(key[ROLE_RESTORE - 1], 32);
    kit_reopen(&a, true);
    kit_reopen(&b, true);
    FAILS(ERR_KEY_ROLE, "needs a writer or admin key of it", kit_copy_try(&a, one, &b, NULL, false, NULL, NULL, e));
    b.unlock.secret = BYTES_OF(b.key, 32);
    kit_reopen(&b, true);
    assert_true(repo_keys(b.repo)->shared_content);
    is_whole(&b);
    /* a copy can be the source of another, by a restore key as well */
    b.unlock.secret = BYTES_OF(key[ROLE_RESTORE - 1], 32);
    kit_reopen(&b, true);
    struct kit third;
    kit_dest_begin(&b, &third, 0);
    assert_true(keyring_shares_content(repo_keys(third.repo), repo_keys(a.repo)));
    uint64_t hop = kit_copy(&b, repo_snapshot(b.repo, 0)->seq, &third, NULL);
    kit_expect(&third, hop, c.items, 3);
    assert_non_null(copy_find(a.repo, kit_snapshot(&a, one), third.repo));
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
    kit_end(&other);
    kit_end(&third);
}

/* Flips a bit in the middle of the largest data pack of a repository. */
static void harm(const char *dir) {
    char command[300];
    snprintf(command, sizeof command,
             "f=$(find %s/repo/packs/d -type f -size +600k | sort | head -1); chmod u+w $f; "
             "printf '\\377\\000\\377' | dd of=$f bs=1 seek=400000 conv=notrunc 2>/dev/null",
             dir);
    assert_int_equal(system(command), 0);
}

static void damage_is_never_copied(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    struct error err = ERROR_INIT;
    uint64_t seq;
    struct copy_stats s;
    kit_begin(&a);
    content_make(&c);
    uint64_t good = kit_backup(&a, "small", c.items, 60, false, NULL);
    uint64_t bad = kit_backup(&a, "s", c.items, c.n, false, NULL);
    kit_dest_begin(&a, &b, 0);
    harm(a.dir);
    kit_reopen(&a, true);
    FAILS(ERR_OBJECT_CORRUPT, "frame", kit_copy_try(&a, bad, &b, NULL, false, NULL, NULL, e));
    assert_int_equal(repo_snapshot_count(b.repo), 0);
    kit_ok(kit_copy_try(&a, good, &b, NULL, false, &s, &seq, &err), &err);
    kit_expect(&b, seq, c.items, 60);
    assert_int_equal(repo_snapshot_count(b.repo), 1);
    is_whole(&b);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

static void stop_soon(void *ctx, uint64_t read_bytes, uint64_t stored_bytes) {
    (void)ctx, (void)read_bytes;
    if (stored_bytes > 2u << 20) stop_signal = 2;
}

static void an_interrupted_copy_goes_on_where_it_was(void **state) {
    (void)state;
    struct kit a, b;
    struct error err = ERROR_INIT;
    struct copy_stats s, rest;
    const size_t n = 20u << 20;
    uint8_t *data = malloc(n);
    kit_random(data, n, 9);
    struct kit_item item = {"large", CONTENT_FILE, data, n};
    kit_begin(&a);
    uint64_t one = kit_backup(&a, "s", &item, 1, false, NULL), seq;
    kit_dest_begin(&a, &b, 0);
    struct copy_options o = {.threads = 2, .checkpoint_bytes = 1u << 20, .progress = stop_soon};
    FAILS(ERR_INTERRUPTED, "", kit_copy_try(&a, one, &b, &o, false, &s, &seq, e));
    stop_signal = 0;
    assert_int_equal(repo_snapshot_count(b.repo), 0);
    assert_in_range(s.stored_bytes, 2u << 20, n - (2u << 20));
    kit_reopen(&b, true);
    kit_ok(kit_copy_try(&a, one, &b, NULL, false, &rest, &seq, &err), &err);
    kit_expect(&b, seq, &item, 1);
    assert_in_range(rest.frame_bytes, 1, n - s.stored_bytes + (1u << 20));
    is_whole(&b);
    free(data);
    kit_end(&a);
    kit_end(&b);
}

static void a_receipt_that_is_not_its_sources_is_told(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    struct error err = ERROR_INIT;
    uint64_t seq = 0;
    kit_begin(&a);
    content_make(&c);
    uint64_t one = kit_backup(&a, "s", c.items, 3, false, NULL);
    kit_dest_begin(&a, &b, 0);
    kit_ok(kit_copy_try(&a, one, &b, NULL, true, NULL, &seq, &err), &err);
    struct buf kept = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    FAILS(ERR_LEDGER_BROKEN, "another than the one named",
          copy_source_read(b.repo, kit_snapshot(&b, seq), &kept, NULL, e));
    struct check_options o = {.level = VERIFY_CHECKSUM, .threads = 2};
    struct check_totals t;
    kit_ok(repo_check(b.repo, &o, &t, &err), &err);
    assert_int_equal(t.result, CHECK_CORRUPT);
    FAILS(ERR_NO_POINT, "is no copy", copy_source_read(a.repo, kit_snapshot(&a, one), &kept, NULL, e));
    /* a source's entry that was replaced in its log is noticed before anything is copied */
    char command[200];
    snprintf(command, sizeof command, "f=%s/repo/log/%016d; chmod u+w $f; sed -i 's/payloadType/payloadtype/' $f",
             a.dir, (int)one);
    assert_int_equal(system(command), 0);
    FAILS(ERR_LEDGER_BROKEN, "", kit_copy_try(&a, one, &b, NULL, false, NULL, NULL, e));
    buf_free(&kept);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

/* A summary of the log says of copies what the log says. */
static void is_summed_up(struct kit *k) {
    struct error err = ERROR_INIT;
    struct state again = {0};
    json_t *doc = NULL, *twice = NULL;
    kit_ok(state_write(&k->repo->state, &doc, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), STATE_VERSION);
    kit_ok(state_read(doc, ledger_size(repo_ledger(k->repo)), NULL, repo_keys(k->repo)->admin_public, &again, &err),
           &err);
    kit_ok(state_write(&again, &twice, &err), &err);
    assert_true(json_equal(doc, twice));
    assert_int_equal(again.copy_count, k->repo->state.copy_count);
    for (size_t i = 0; i < again.snapshot_count; i++) {
        const struct snapshot_info *s = &again.snapshots[i], *was = repo_snapshot(k->repo, i);
        assert_int_equal(s->is_copy, was->is_copy);
        assert_memory_equal(&s->source, &was->source, sizeof s->source);
        assert_string_equal(s->fallback ? s->fallback : "", was->fallback ? was->fallback : "");
    }
    state_free(&again);
    json_decref(doc);
    json_decref(twice);
}

static void the_source_knows_how_far_its_copy_is(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    struct error err = ERROR_INIT;
    struct copy_stats none = {0};
    int64_t since;
    bool said;
    kit_begin(&a);
    content_make(&c);
    uint64_t seqs[4];
    for (int i = 0; i < 3; i++) seqs[i] = kit_backup(&a, "s", c.items + i, 3, false, NULL);
    kit_dest_begin(&a, &b, 0);
    kit_copy(&a, seqs[0], &b, NULL);
    kit_copy(&a, seqs[2], &b, NULL); /* the middle one is left out */
    kit_ok(copy_tell(a.repo, b.repo, "the cellar", 2, &none, NULL, "me", &said, &err), &err);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(repo_copy_count(a.repo), 1);
        const struct copy_info *i = repo_copy(a.repo, 0);
        assert_string_equal(i->label, "the cellar");
        assert_memory_equal(i->repository, repo_keys(b.repo)->repo_id, 16);
        assert_int_equal(i->newest, seqs[2]);
        assert_int_equal(i->missing_count, 1);
        assert_int_equal(repo_copy_lag(a.repo, i, &since), 1);
        assert_int_equal(since, kit_snapshot(&a, seqs[1])->stored_ns);
        kit_reopen(&a, true);
    }
    is_summed_up(&a);
    is_summed_up(&b);
    seqs[3] = kit_backup(&a, "s", c.items + 3, 3, false, NULL);
    assert_int_equal(repo_copy_lag(a.repo, repo_copy(a.repo, 0), NULL), 2);
    kit_ok(repo_forget(a.repo, &seqs[1], 1, "old", &err), &err);
    assert_int_equal(repo_copy_lag(a.repo, repo_copy(a.repo, 0), NULL), 1);
    kit_copy(&a, seqs[3], &b, NULL);
    kit_ok(copy_tell(a.repo, b.repo, "the cellar", 1, &none, NULL, "me", &said, &err), &err);
    assert_int_equal(repo_copy_count(a.repo), 1);
    assert_int_equal(repo_copy_lag(a.repo, repo_copy(a.repo, 0), &since), 0);
    assert_int_equal(since, 0);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

static void what_was_stored_for_another_waits_until_that_has_it(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    struct error err = ERROR_INIT;
    struct copy_stats none = {0};
    struct copy_reread reread = {.at_ns = time_now_ns(), .whole = true, .objects = 3};
    int64_t since;
    bool said;
    kit_begin(&a);
    content_make(&c);
    uint64_t one = kit_backup(&a, "s", c.items, 3, false, NULL), two = kit_backup(&a, "s", c.items + 1, 3, false, NULL);
    assert_int_equal(copy_waiting(a.repo, NULL, &since), 0);
    assert_int_equal(since, 0);
    /* as a receipt says it */
    for (size_t i = 0; i < a.repo->state.snapshot_count; i++)
        kit_ok(mem_strdup("home", &a.repo->state.snapshots[i].fallback, &err), &err);
    assert_int_equal(copy_waiting(a.repo, "home", &since), 2);
    assert_int_equal(since, kit_snapshot(&a, one)->stored_ns);
    assert_int_equal(copy_waiting(a.repo, "elsewhere", NULL), 0);
    is_summed_up(&a);
    kit_dest_begin(&a, &b, 0);
    kit_copy(&a, one, &b, NULL);
    kit_ok(copy_tell(a.repo, b.repo, "another", 1, &none, NULL, "me", &said, &err), &err);
    assert_int_equal(copy_waiting(a.repo, "home", NULL), 2);
    kit_ok(copy_tell(a.repo, b.repo, "home", 1, &none, &reread, "me", &said, &err), &err);
    assert_false(copy_waits(a.repo, kit_snapshot(&a, one)));
    assert_true(copy_waits(a.repo, kit_snapshot(&a, two)));
    assert_true(repo_copy(a.repo, 0)->reread_ns > 0 && repo_copy(a.repo, 0)->first_ns > 0);
    assert_int_equal(copy_lost(a.repo, b.repo), 0);
    int64_t read_ns = repo_copy(a.repo, 0)->reread_ns;
    reread.whole = false;
    kit_ok(copy_tell(a.repo, b.repo, "home", 1, &none, &reread, "me", &said, &err), &err);
    assert_true(repo_copy(a.repo, 0)->reread_failed);
    assert_int_equal(repo_copy(a.repo, 0)->reread_ns, read_ns);
    kit_ok(copy_tell(a.repo, b.repo, "home", 1, &none, NULL, "me", &said, &err), &err);
    assert_true(repo_copy(a.repo, 0)->reread_failed); /* until it is read again */
    is_summed_up(&a);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

struct others {
    struct repo *list[2];
    unsigned opened;
};

static int other_open(void *ctx, size_t i, struct repo **ret, struct error *err) {
    struct others *o = ctx;
    o->opened++;
    if (!o->list[i]) return error_set(err, ERR_REPO_NONE, "there is no folder");
    *ret = o->list[i];
    return 0;
}

static void what_is_lost_comes_from_an_alternate_chunk_by_chunk(void **state) {
    (void)state;
    static const char *const labels[] = {"foreign", "copy"};
    struct kit a, b, other;
    struct content c;
    struct error err = ERROR_INIT;
    struct alternate_stats st;
    char command[200];
    kit_begin(&a);
    kit_begin(&other);
    content_make(&c);
    uint64_t one = kit_backup(&a, "s", c.items, c.n, false, NULL);
    kit_dest_begin(&a, &b, 0);
    kit_copy(&a, one, &b, NULL);
    kit_reopen(&a, false);
    struct others o = {{other.repo, b.repo}, 0};
    kit_ok(repo_alternates_set(a.repo, labels, 2, other_open, &o, &err), &err);
    kit_expect(&a, one, c.items, c.n);
    assert_int_equal(o.opened, 0); /* nobody is asked for what is there */
    snprintf(command, sizeof command, "rm -rf %s/packs", a.repo_dir);
    assert_int_equal(system(command), 0);
    kit_expect(&a, one, c.items, c.n);
    assert_int_equal(o.opened, 2);
    repo_alternate_stats(a.repo, 0, &st);
    assert_true(st.failed && st.failed->code == ERR_COPY_FOREIGN && st.chunks == 0);
    repo_alternate_stats(a.repo, 1, &st);
    assert_true(!st.failed && st.chunks > 60 && st.bytes > 2 * LARGE);
    uint64_t chunks = st.chunks;
    kit_expect(&a, one, c.items, c.n);
    repo_alternate_stats(a.repo, 1, &st);
    assert_int_equal(st.chunks, chunks); /* each counts once */
    struct check_options co = {.level = VERIFY_PRESENT, .threads = 2};
    struct check_totals t;
    kit_ok(repo_check(a.repo, &co, &t, &err), &err);
    assert_int_equal(t.result != CHECK_VERIFIED, 1); /* a check is of its own repository */
    /* the same is lost in both */
    snprintf(command, sizeof command, "rm -rf %s/packs", b.repo_dir);
    assert_int_equal(system(command), 0);
    kit_reopen(&b, false);
    kit_reopen(&a, false);
    o = (struct others){{NULL, b.repo}, 0};
    kit_ok(repo_alternates_set(a.repo, labels, 2, other_open, &o, &err), &err);
    FAILS(ERR_OBJECT_MISSING, "", kit_expect_try(&a, one, c.items, c.n, e));
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
    kit_end(&other);
}

static char kept_from_us[PATH_MAX]; /* the packs below this folder */
static int why_errno;

static int openat_kept_from_us(int dirfd, const char *path, int flags, mode_t mode) {
    char link[64], folder[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    if (strncmp(path, "packs/", 6) == 0 && readlink(link, folder, sizeof folder - 1) > 0 &&
        strcmp(folder, kept_from_us) == 0) {
        errno = why_errno;
        return -1;
    }
    return seam_system.openat(dirfd, path, flags, mode);
}

static void what_may_not_be_read_comes_from_an_alternate(void **state) {
    (void)state;
    static const char *const labels[] = {"copy"};
    static const int why[] = {EACCES, EPERM, EIO};
    static const enum error_code code[] = {ERR_IO_DENIED, ERR_IO_DENIED, ERR_IO_READ};
    struct seam refusing = seam_system;
    struct kit a, b;
    struct content c;
    struct error err = ERROR_INIT;
    struct alternate_stats st;
    kit_begin(&a);
    content_make(&c);
    uint64_t one = kit_backup(&a, "s", c.items, c.n, false, NULL);
    kit_dest_begin(&a, &b, 0);
    kit_copy(&a, one, &b, NULL);
    refusing.openat = openat_kept_from_us;
    assert_non_null(realpath(a.repo_dir, kept_from_us));
    for (size_t i = 0; i < sizeof why / sizeof *why; i++) {
        struct others o = {{b.repo, NULL}, 0};
        why_errno = why[i];
        kit_reopen(&a, false);
        seam_table = &refusing;
        FAILS((int)code[i], "", kit_expect_try(&a, one, c.items, c.n, e));
        seam_table = &seam_system;
        kit_reopen(&a, false);
        kit_ok(repo_alternates_set(a.repo, labels, 1, other_open, &o, &err), &err);
        seam_table = &refusing;
        kit_expect(&a, one, c.items, c.n);
        seam_table = &seam_system;
        repo_alternate_stats(a.repo, 0, &st);
        assert_true(st.chunks > 60 && !st.failed);
        kit_reopen(&a, false);
        kit_reopen(&b, false);
    }
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

static void a_copy_follows_its_source_into_its_epochs(void **state) {
    (void)state;
    struct kit a, b, late;
    struct content c;
    struct error err = ERROR_INIT;
    unsigned epoch, begun;
    uint64_t keys, one, two, at;
    kit_begin(&a);
    content_make(&c);
    one = kit_backup(&a, "s", c.items, c.n, false, NULL);
    kit_dest_begin(&a, &b, 0);
    kit_copy(&a, one, &b, NULL);
    FAILS(ERR_POLICY, "this repository is a copy", repo_epoch_begin(b.repo, &epoch, &keys, e));
    for (int i = 0; i < 2; i++) kit_ok(repo_epoch_begin(a.repo, &epoch, &keys, &err), &err);
    two = kit_backup(&a, "s", c.items + 1, c.n - 1, false, NULL);
    FAILS(ERR_COPY_FOREIGN, "has not followed", copy_check(a.repo, b.repo, e));
    kit_ok(copy_check(b.repo, a.repo, &err), &err); /* the other way needs nothing */
    kit_ok(repo_epoch_follow(b.repo, a.repo, &begun, &err), &err);
    assert_int_equal(begun, 2);
    kit_ok(repo_epoch_follow(b.repo, a.repo, &begun, &err), &err);
    assert_int_equal(begun, 0);
    kit_ok(copy_check(a.repo, b.repo, &err), &err);
    at = kit_copy(&a, two, &b, NULL);
    kit_reopen(&b, true);
    kit_expect(&b, at, c.items + 1, c.n - 1);
    is_whole(&b);
    kit_dest_begin(&a, &late, 0); /* its epoch 0 has the ids of then */
    kit_ok(repo_epoch_follow(late.repo, a.repo, &begun, &err), &err);
    assert_int_equal(begun, 2);
    uint64_t old = kit_copy(&a, one, &late, NULL);
    at = kit_copy(&a, two, &late, NULL);
    kit_reopen(&late, true);
    kit_expect(&late, old, c.items, c.n);
    kit_expect(&late, at, c.items + 1, c.n - 1);
    is_whole(&late);
    kit_ok(repo_epoch_leave(late.repo, &epoch, &keys, &err), &err);
    assert_int_equal(epoch, 3);
    kit_reopen(&late, true);
    kit_backup(&late, "s", c.items, c.n, false, NULL);
    is_whole(&late);
    kit_ok(repo_epoch_begin(a.repo, &epoch, &keys, &err), &err);
    FAILS(ERR_COPY_FOREIGN, "does not share the content keys", copy_check(a.repo, late.repo, e));
    FAILS(ERR_COPY_FOREIGN, "does not share the content keys", repo_epoch_follow(late.repo, a.repo, &begun, e));
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
    kit_end(&late);
}

/* ---- every call to the system fails in turn ---- */

static int copy_opened(struct kit *from, uint64_t seq, const char *dir, uint64_t *ret_seq, struct error *err) {
    struct kit to;
    struct copy_options o = {.threads = 2, .checkpoint_bytes = 1u << 20};
    int rc = kit_open_try(&to, dir, err);
    if (rc < 0) return rc;
    rc = kit_copy_try(from, seq, &to, &o, false, NULL, ret_seq, err);
    kit_close(&to);
    return rc;
}

static char failing[1200]; /* which call fails, and what the copy says to it */

/* The copies that are there are whole, and the next one makes them so that are not. */
static void next_is_whole(struct kit *a, uint64_t seq, struct kit *b, const struct content *c) {
    struct error err = ERROR_INIT;
    const struct check_options o = {.level = VERIFY_DECODE, .threads = 2};
    struct check_totals t = {0};
    uint64_t at;
    int rc = 0;
    for (size_t i = 0; i < repo_snapshot_count(b->repo) && rc == 0; i++)
        rc = kit_expect_try(b, repo_snapshot(b->repo, i)->seq, c->items, c->n, &err);
    if (rc < 0) fail_msg("%s: what it stored: %s", failing, err.text);
    if (!copy_find(a->repo, kit_snapshot(a, seq), b->repo)) rc = kit_copy_try(a, seq, b, NULL, false, NULL, &at, &err);
    if (rc < 0) fail_msg("%s: the next copy: %s", failing, err.text);
    if (repo_snapshot_count(b->repo) != 1) fail_msg("%s: %zu points", failing, repo_snapshot_count(b->repo));
    rc = kit_expect_try(b, repo_snapshot(b->repo, 0)->seq, c->items, c->n, &err);
    if (rc < 0) fail_msg("%s: what the next copy stored: %s", failing, err.text);
    rc = repo_check(b->repo, &o, &t, &err);
    if (rc < 0 || t.result != CHECK_VERIFIED)
        fail_msg("%s: the check: %s %s", failing, check_result_name(t.result), err.text);
}

/* A failing disk or a lack of memory is told as such, nothing is committed that is not whole, and the next try
 * succeeds. PK_COPY_STEP=1 takes every call, PK_COPY_CALL=N with PK_COPY_WAY=N the one that a failure names (threads
 * run as they like: it may take several runs to meet it again); else a sample. */
static void whatever_fails_on_the_way_the_next_copy_is_whole(void **state) {
    (void)state;
    struct kit a, b;
    struct content c;
    struct error err = ERROR_INIT;
    char command[400], dir[64];
    uint64_t seq = 0, calls;
    kit_begin(&a);
    content_make(&c);
    uint64_t one = kit_backup(&a, "s", c.items, c.n, false, NULL);
    memcpy(c.text + 1000000, "changed", 7);
    uint64_t two = kit_backup(&a, "s", c.items, c.n, true, NULL);
    (void)one;
    kit_dest_begin(&a, &b, 0);
    kit_close(&b);
    snprintf(dir, sizeof dir, "%s", b.dir);
    snprintf(command, sizeof command, "rm -rf %s/was && mkdir %s/was && cp -a %s/repo %s/was/", dir, dir, dir, dir);
    assert_int_equal(system(command), 0);
    fault_install();
    kit_ok(copy_opened(&a, two, dir, &seq, &err), &err);
    calls = fault_calls();
    fault_remove();
    assert_true(calls > 300);
    const char *said = getenv("PK_COPY_STEP");
    const char *only = getenv("PK_COPY_CALL"), *way = getenv("PK_COPY_WAY");
    uint64_t step = said ? (uint64_t)atoi(said) : 1 + calls / 60;
    static const struct {
        int sys_errno;
        bool on;
    } ways[] = {{0, false}, {0, true}, {EIO, true}, {ENOSPC, false}};
    unsigned hits = 0, failed = 0;
    for (uint64_t n = only ? strtoull(only, NULL, 10) : 1, k = way ? strtoull(way, NULL, 10) : 0; n <= calls;
         n = only ? UINT64_MAX : n + step, k++) {
        snprintf(command, sizeof command, "rm -rf %s/repo %s/cache && cp -a %s/was/repo %s/", dir, dir, dir, dir);
        assert_int_equal(system(command), 0);
        struct error e = ERROR_INIT;
        fault_install();
        fault_fail(n, ways[k % 4].sys_errno, ways[k % 4].on);
        int rc = copy_opened(&a, two, dir, &seq, &e);
        hits += fault_hits() > 0;
        snprintf(failing, sizeof failing,
                 "PK_COPY_CALL=%llu (of %llu, %s) PK_COPY_WAY=%u (errno %d%s), which the copy answered with %s: %.600s",
                 (unsigned long long)n, (unsigned long long)calls, fault_hit(), (unsigned)(k % 4),
                 ways[k % 4].sys_errno, ways[k % 4].on ? ", from then on" : "",
                 rc < 0 ? error_info(rc)->name : "success", e.text);
        fault_remove();
        failed += rc < 0;
        kit_reopen(&a, false); /* a handle that could not read its index says so for good */
        if (rc < 0 && (rc != -(int)e.code || error_info(rc)->status == EXIT_INTEGRITY || rc == -ERR_INTERNAL ||
                       rc == -ERR_KEY_WRONG || rc == -ERR_COPY_FOREIGN))
            fail_msg("%s", failing);
        rc = kit_open_try(&b, dir, &err);
        if (rc < 0) fail_msg("%s: opened afterwards: %s", failing, err.text);
        next_is_whole(&a, two, &b, &c);
        kit_close(&b);
    }
    assert_true(only || (hits > 30 && failed > 10));
    print_message("# %llu calls, %u hits, %u failures\n", (unsigned long long)calls, hits, failed);
    kit_ok(kit_open_try(&b, dir, &err), &err);
    content_free(&c);
    kit_end(&a);
    kit_end(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_restores_to_the_same_and_moves_only_what_is_new),
        cmocka_unit_test(a_base_comes_along_with_its_delta),
        cmocka_unit_test(of_a_frame_that_is_mostly_not_needed_the_rest_stays),
        cmocka_unit_test(keys_decide),
        cmocka_unit_test(damage_is_never_copied),
        cmocka_unit_test(an_interrupted_copy_goes_on_where_it_was),
        cmocka_unit_test(a_receipt_that_is_not_its_sources_is_told),
        cmocka_unit_test(the_source_knows_how_far_its_copy_is),
        cmocka_unit_test(what_was_stored_for_another_waits_until_that_has_it),
        cmocka_unit_test(what_is_lost_comes_from_an_alternate_chunk_by_chunk),
        cmocka_unit_test(what_may_not_be_read_comes_from_an_alternate),
        cmocka_unit_test(a_copy_follows_its_source_into_its_epochs),
        cmocka_unit_test(whatever_fails_on_the_way_the_next_copy_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
