/* Checkpoints, proofs and keys of witnesses, as anyone may hand them in. First byte 0: a checkpoint. 1: a proof. 2: a
 * verifier key. 3: a witness's secret. 4: a request for a cosignature. What is taken is written again and must be the
 * same. */
#include "ledger/add_checkpoint.h"
#include "ledger/cosign.h"
#include "ledger/tlog_proof.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keys_of(const struct fixture *f, struct note_key *log, struct note_key *witness) {
    struct error err = ERROR_INIT;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    need(sign_public(secret_bytes(f->repo.keys->sign_seed), pub, &err) == 0);
    need(note_key_make("proofkeep/00", NOTE_ED25519, pub, log, &err) == 0);
    need(note_key_make("w", NOTE_COSIGNATURE, pub, witness, &err) == 0);
}

static void checkpoint(const struct fixture *f, struct bytes in) {
    struct checkpoint_parts p, again;
    struct note_key keys[2];
    struct error err = ERROR_INIT;
    keys_of(f, &keys[0], &keys[1]);
    int rc = checkpoint_split(in, NULL, &p, &err);
    need(rc == 0 || rc == -ERR_LEDGER_BROKEN);
    if (rc < 0) return;
    need(p.text.len + p.lines.len + 1 == in.len && p.origin.len < p.text.len);
    for (unsigned i = 0; i < 2; i++) {
        struct buf more = BUF_INIT(in.len + 4096);
        error_clear(&err);
        need(checkpoint_signed_by(&p, &keys[i], NULL, &err) == -ERR_LEDGER_BROKEN); /* nobody else has the secret */
        error_clear(&err);
        need(buf_append(&more, in.ptr, in.len, &err) == 0);
        need(checkpoint_line(p.text, &keys[i], secret_bytes(f->repo.keys->sign_seed), 1771225200, &more, &err) == 0);
        if (more.len <= CHECKPOINT_MAX_BYTES && checkpoint_split(buf_bytes(&more), NULL, &again, &err) == 0)
            need(again.text.len == p.text.len);
        buf_free(&more);
    }
}

static void proof(struct bytes in) {
    struct tlog_proof p, again;
    struct error err = ERROR_INIT;
    struct buf out = BUF_INIT(TLOG_PROOF_MAX_BYTES);
    int rc = tlog_proof_parse(in, &p, &err);
    need(rc == 0 || rc == -ERR_LEDGER_BROKEN);
    if (rc == 0 && tlog_proof_write(&p, &out, &err) == 0) {
        need(tlog_proof_parse(buf_bytes(&out), &again, &err) == 0);
        need(again.index == p.index && again.path.count == p.path.count && bytes_equal(again.note, p.note));
        struct digest leaf = {{0}};
        rc = proof_check_inclusion(&leaf, p.index, p.index + 1, &leaf, &p.path, &err);
        need(rc == 0 || rc == -ERR_LEDGER_BROKEN);
    }
    buf_free(&out);
}

static void verifier(struct bytes in) {
    char text[4096];
    struct note_key k, again;
    struct error err = ERROR_INIT;
    struct buf out = BUF_INIT(8192);
    if (in.len >= sizeof text) return;
    memcpy(text, in.ptr, in.len);
    text[in.len] = 0;
    int rc = note_key_parse(text, &k, &err);
    need(rc == 0 || rc == -ERR_USAGE);
    if (rc == 0) {
        need(note_key_format(&k, &out, &err) == 0 && buf_terminate(&out, &err) == 0);
        need(note_key_parse((char *)out.ptr, &again, &err) == 0 && memcmp(&k.pub, &again.pub, sizeof k.pub) == 0);
    }
    buf_free(&out);
}

static void secret(struct bytes in) {
    struct note_key k;
    struct secret *seed = NULL;
    struct error err = ERROR_INIT;
    int rc = note_secret_parse(in, &k, &seed, &err);
    need(rc == 0 || rc == -ERR_SECRET);
    need((rc == 0) == (seed != NULL));
    secret_free(seed);
}

static void request(struct bytes in) {
    struct add_checkpoint a, again;
    struct error err = ERROR_INIT;
    struct buf out = BUF_INIT(ADD_CHECKPOINT_BYTES_MAX + 1);
    uint64_t size;
    int rc = add_checkpoint_parse(in, &a, &err);
    need(rc == 0 || rc == -ERR_LEDGER_BROKEN);
    if (rc == 0) {
        need(add_checkpoint_format(&a, &out, &err) == 0 && add_checkpoint_parse(buf_bytes(&out), &again, &err) == 0);
        need(again.old_size == a.old_size && again.proof.count == a.proof.count && bytes_equal(again.note, a.note));
    }
    (void)add_checkpoint_size(in, &size);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fixture f;
    if (size < 1 || size > 1u << 18) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    fixture_init(&f);
    if (data[0] == 0) checkpoint(&f, in);
    if (data[0] == 1) proof(in);
    if (data[0] == 2) verifier(in);
    if (data[0] == 3) secret(in);
    if (data[0] == 4) request(in);
    fixture_free(&f);
    return 0;
}
