/* The log: envelopes, statements, and what they do to the state. First byte: 0 the rest is an entry as stored; 1 a
 * statement that is signed and placed; 2 lines of {"predicateType", "predicate", "signer"} for the judge of the
 * repository, one entry each; 3 a checkpoint. */
#include "ledger/ledger_internal.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct digest zeros;

static void entry(struct bytes in) {
    for (int trusted = 0; trusted < 2; trusted++) {
        struct error err = ERROR_INIT;
        struct entry e;
        int rc = entry_check(in, 0, &zeros, trusted, &e, &err);
        need(rc == 0 || (rc == -ERR_LEDGER_BROKEN && strncmp(err.text, "entry 0: ", 9) == 0));
        if (rc == 0) entry_free(&e);
    }
}

static void statement(struct fixture *f, struct bytes in) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(16u << 20);
    json_t *j = NULL;
    if (json_parse(in, 1u << 20, "input", &j, &err) < 0) return;
    int rc = entry_make(j, 0, &zeros, secret_bytes(f->repo.keys->sign_seed), &b, &err);
    need(rc == 0 || rc == -ERR_INTERNAL || rc == -ERR_LEDGER_TOO_BIG);
    if (rc == 0) entry(buf_bytes(&b));
    json_decref(j);
    buf_free(&b);
}

/* A snapshot that is there is live or forgotten, never half made. */
static void state_holds(const struct repo *r) {
    for (size_t i = 0; i < r->state.snapshot_count; i++) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        need(s->id[0] && s->root_count > 0 && s->root && s->environment && s->surface && s->kind && s->receipt_surface);
        need(i == 0 || s->seq > r->state.snapshots[i - 1].seq);
    }
    for (size_t i = 0; i < r->state.job_count; i++) need(r->state.jobs[i].environment && r->state.jobs[i].surface);
}

/* All that later entries build on. */
static struct digest state_print(const struct state *s) {
    struct digest d, all = {{0}};
    uint64_t counts[5] = {s->snapshot_count, s->job_count, s->key_count, s->run_count, s->delete_count};
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(64u << 20);
    need(buf_append(&b, counts, sizeof counts, &err) == 0);
    for (size_t i = 0; i < s->snapshot_count; i++) {
        uint64_t one[4] = {s->snapshots[i].forgotten, s->snapshots[i].holds, s->snapshots[i].verified,
                           s->snapshots[i].verify_failed};
        need(buf_append(&b, one, sizeof one, &err) == 0);
    }
    for (size_t i = 0; i < s->key_count; i++)
        need(buf_append(&b, &s->keys[i].removed, sizeof s->keys[i].removed, &err) == 0);
    for (size_t i = 0; i < s->run_count; i++) { /* in any order */
        sha256(BYTES_OF(s->runs[i].b, 32), &d);
        for (unsigned k = 0; k < 32; k++) all.b[k] ^= d.b[k];
    }
    need(buf_append(&b, all.b, 32, &err) == 0);
    sha256(buf_bytes(&b), &d);
    buf_free(&b);
    return d;
}

static void judged(struct fixture *f, struct bytes in) {
    struct error err = ERROR_INIT;
    for (uint64_t seq = 0; in.len > 0 && seq < 64;) {
        const uint8_t *nl = memchr(in.ptr, '\n', in.len);
        struct bytes line = input_take(&in, nl ? (size_t)(nl - in.ptr) : in.len);
        input_take(&in, 1);
        json_t *j = NULL;
        error_clear(&err);
        if (json_parse(line, 1u << 20, "input", &j, &err) < 0) return;
        struct ledger_entry e = {.seq = seq, .statement = j, .digest = {{(uint8_t)seq}}, .time_ns = (int64_t)seq};
        const char *signer = json_string_value(json_object_get(j, "signer"));
        if (!signer || !hex_decode(signer, strlen(signer), e.signer, sizeof e.signer))
            memcpy(e.signer, f->repo.keys->admin_public, sizeof e.signer);
        struct digest before = state_print(&f->repo.state);
        size_t voids = f->repo.state.void_count;
        int rc = state_judge(&f->repo, &e, &err);
        need(rc == 0 || (rc == -ERR_LEDGER_BROKEN && seq == 0));
        if (f->repo.state.void_count != voids) { /* an entry that is void changes nothing */
            struct digest after = state_print(&f->repo.state);
            need(digest_equal(&before, &after));
        }
        state_holds(&f->repo);
        json_decref(j);
        if (rc < 0) return; /* as the log ends for its reader */
        seq++;
    }
}

static void checkpoint(struct fixture *f, struct bytes in) {
    struct error err = ERROR_INIT;
    struct checkpoint c;
    int rc = checkpoint_verify(in, "proofkeep/000102030405060708090a0b0c0d0e0f", f->repo.keys->admin_public, &c, &err);
    need(rc == 0 || rc == -ERR_LEDGER_BROKEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fixture f;
    if (size < 1 || size > 1u << 20) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    fixture_init(&f);
    if (data[0] == 0)
        entry(in);
    else if (data[0] == 1)
        statement(&f, in);
    else if (data[0] == 2)
        judged(&f, in);
    else
        checkpoint(&f, in);
    fixture_free(&f);
    return 0;
}
