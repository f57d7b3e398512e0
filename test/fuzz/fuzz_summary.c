/* Summaries of the log. First byte: 0 the rest is an envelope as stored; 1 a statement that is signed; 2 a state in its
 * canonical form; 3 lines for the judge of the repository as in fuzz_log.c, whose state must come back from what is
 * written of it; 4 a bundle of entries. */
#include "ledger/ledger_internal.h"
#include "ledger/tiles.h"
#include "repo/state_summary.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ORIGIN "proofkeep/000102030405060708090a0b0c0d0e0f"
#define ENTRIES 300

static void envelope(struct bytes in, const uint8_t *only) {
    struct error err = ERROR_INIT;
    struct ledger_summary s;
    for (uint64_t size = 1; size < 600; size = size == 1 ? 2 : size * 16) {
        error_clear(&err);
        int rc = summary_open(in, ORIGIN, size, only, &s, &err);
        need(rc == 0 || rc == -ERR_LEDGER_BROKEN);
        if (rc < 0) continue;
        need(s.size == size && s.state && s.edge && (!only || memcmp(only, s.signer, SIGN_PUBLIC_BYTES) == 0));
        ledger_summary_free(&s);
    }
}

static void statement(struct fixture *f, struct bytes in) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(16u << 20);
    need(dsse_sign(secret_bytes(f->repo.keys->sign_seed), in, &b, &err) == 0);
    envelope(buf_bytes(&b), f->repo.keys->admin_public);
    buf_free(&b);
}

static void state_again(struct fixture *f, const json_t *doc) {
    struct error err = ERROR_INIT;
    struct state s;
    json_t *again = NULL;
    int rc = state_read(doc, ENTRIES, NULL, f->repo.keys->admin_public, &s, &err);
    need(rc == 0 || rc == -ERR_LEDGER_BROKEN);
    if (rc < 0) return;
    for (size_t i = 0; i < s.snapshot_count; i++) {
        const struct snapshot_info *n = &s.snapshots[i];
        need(n->id[0] && n->root_count > 0 && n->root && n->environment && n->surface && n->kind && n->receipt_surface);
        need(n->seq < ENTRIES && (i == 0 || n->seq > s.snapshots[i - 1].seq));
        need(n->verified <= VERIFY_REBUILD && n->stored_ns == n->claimed_ns);
    }
    need(state_write(&s, &again, &err) == 0 && json_equal(again, doc));
    json_decref(again);
    state_free(&s);
}

static void judged(struct fixture *f, struct bytes in) {
    struct error err = ERROR_INIT;
    json_t *doc = NULL;
    struct state s;
    for (uint64_t seq = 0; in.len > 0 && seq < 64; seq++) {
        const uint8_t *nl = memchr(in.ptr, '\n', in.len);
        struct bytes line = input_take(&in, nl ? (size_t)(nl - in.ptr) : in.len);
        input_take(&in, 1);
        json_t *j = NULL;
        error_clear(&err);
        if (json_parse(line, 1u << 20, "input", &j, &err) < 0) break;
        struct ledger_entry e = {.seq = seq, .statement = j, .digest = {{(uint8_t)seq}}, .time_ns = (int64_t)seq};
        const char *signer = json_string_value(json_object_get(j, "signer"));
        if (!signer || !hex_decode(signer, strlen(signer), e.signer, sizeof e.signer))
            memcpy(e.signer, f->repo.keys->admin_public, sizeof e.signer);
        int rc = state_judge(&f->repo, &e, &err);
        json_decref(j);
        if (rc < 0) break;
    }
    if (!f->repo.state.initialised) return;
    error_clear(&err);
    need(state_write(&f->repo.state, &doc, &err) == 0);
    need(state_read(doc, ENTRIES, NULL, f->repo.keys->admin_public, &s, &err) == 0);
    state_free(&s);
    state_again(f, doc);
    json_decref(doc);
}

static void bundle(struct bytes in) {
    struct error err = ERROR_INIT;
    struct bytes one;
    while (in.len > 0) {
        size_t before = in.len;
        int rc = bundle_next(&in, &one, &err);
        need(rc == 0 ? in.len < before : rc == -ERR_LEDGER_BROKEN);
        if (rc < 0) return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fixture f;
    json_t *j = NULL;
    struct error err = ERROR_INIT;
    if (size < 1 || size > 1u << 20) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    fixture_init(&f);
    if (data[0] == 0)
        envelope(in, NULL);
    else if (data[0] == 1)
        statement(&f, in);
    else if (data[0] == 2 && json_parse(in, 1u << 20, "input", &j, &err) == 0)
        state_again(&f, j);
    else if (data[0] == 3)
        judged(&f, in);
    else if (data[0] == 4)
        bundle(in);
    json_decref(j);
    fixture_free(&f);
    return 0;
}
