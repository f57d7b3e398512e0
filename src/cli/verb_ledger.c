#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/listing.h"
#include "cli/stream.h"
#include "cli/verb_ledger.h"
#include "repo/log_view.h"
#include "work/counted.h"
#include "work/log_export.h"
#include "work/log_proof.h"
#include "work/witnesses.h"

#include <stdio.h>
#include <stdlib.h>

static const struct listing_column columns[] = {
    {"SEQ", true}, {"TIME", false}, {"TYPE", false}, {"SIGNER", false}, {"SUBJECT", false}, {"NOTES", false},
};
#define COLUMNS (sizeof columns / sizeof *columns)

struct rows {
    struct cli *c;
    struct stream stream;
    struct listing *listing;
    const uint64_t *wanted; /* NULL: all */
    size_t wanted_count, found;
};

static json_t *entry_json(const struct log_entry_view *e) {
    char when[32], signer[65], digest[65], subject[65];
    time_format(e->time_ns, when);
    hex_encode(e->signer, sizeof e->signer, signer);
    hex_encode(e->entry.b, sizeof e->entry.b, digest);
    hex_encode(e->subject_digest.b, sizeof e->subject_digest.b, subject);
    return json_pack("{s:I, s:s, s:s, s:{s:s, s:s?, s:s?}, s:{s:s, s:s}, s:s, s:b, s:s?}", "seq", (json_int_t)e->seq,
                     "time", when, "type", e->type, "signer", "key", signer, "role",
                     e->key ? key_role_name(e->key->role) : NULL, "label", e->key ? e->key->label : NULL, "subject",
                     "name", e->subject, "sha256", subject, "entry", digest, "void", e->void_why != NULL, "why",
                     e->void_why);
}

static void signer_text(const struct log_entry_view *e, char out[160]) {
    char hex[17];
    hex_encode(e->signer, 8, hex);
    snprintf(out, 160, "%s%s%s", e->key ? key_role_name(e->key->role) : "unknown ", e->key ? " " : "",
             e->key && *e->key->label && strcmp(e->key->label, key_role_name(e->key->role)) != 0 ? e->key->label
             : e->key && e->key->role == ROLE_ADMIN                                              ? ""
                                                                                                 : hex);
}

static int row(struct rows *r, const struct log_entry_view *e, struct error *err) {
    char seq[32], when[32], signer[160], subject[64], notes[280] = "";
    const char *name = strrchr(e->subject, ':') ? strrchr(e->subject, ':') + 1 : e->subject;
    snprintf(seq, sizeof seq, "%llu", (unsigned long long)e->seq);
    time_format(e->time_ns, when);
    signer_text(e, signer);
    if (e->void_why) snprintf(notes, sizeof notes, "VOID: %s", e->void_why);
    snprintf(subject, sizeof subject, strlen(name) > 40 ? "%.39s…" : "%.40s", name);
    const char *cells[COLUMNS] = {seq, when, e->type, signer, subject, notes};
    int rc = listing_row(r->listing, cells, err);
    if (rc == 0 && e->void_why) listing_style(r->listing, 5, STYLE_BAD);
    return rc;
}

static bool is_wanted(const struct rows *r, uint64_t seq) {
    for (size_t i = 0; i < r->wanted_count; i++)
        if (r->wanted[i] == seq) return true;
    return r->wanted == NULL;
}

static int list_one(void *ctx, const struct log_entry_view *e, struct error *err) {
    struct rows *r = ctx;
    if (!output_is_json(r->c->output)) return row(r, e, err);
    json_t *j = entry_json(e);
    return j ? stream_item(&r->stream, j, err) : error_set(err, ERR_NO_MEMORY, "no memory for an entry");
}

static int show_one(void *ctx, const struct log_entry_view *e, struct error *err) {
    struct rows *r = ctx;
    if (!is_wanted(r, e->seq)) return 0;
    r->found++;
    json_t *j = entry_json(e);
    if (!j) return error_set(err, ERR_NO_MEMORY, "no memory for an entry");
    int rc = json_put(j, "statement", json_incref((json_t *)e->statement), err);
    if (rc == 0 && output_is_json(r->c->output)) return stream_item(&r->stream, j, err);
    if (rc == 0) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(1u << 20);
        char signer[160], when[32], hex[65];
        signer_text(e, signer);
        time_format(e->time_ns, when);
        hex_encode(e->entry.b, sizeof e->entry.b, hex);
        output_styled(r->c->output, STYLE_BOLD, "entry %llu: %s\n", (unsigned long long)e->seq, e->type);
        output_print(r->c->output, "signed     %s by %s\nsha256     %s\n", when, signer, hex);
        if (e->void_why) output_styled(r->c->output, STYLE_BAD, "void       %s\n", e->void_why);
        rc = json_write_pretty(e->statement, &b, err);
        if (rc == 0) rc = buf_terminate(&b, err);
        if (rc == 0) output_print(r->c->output, "%s\n\n", (char *)b.ptr);
    }
    json_decref(j);
    return rc;
}

static int list(struct cli *c, struct work *w, struct error *err) {
    struct rows r = {.c = c};
    int rc = listing_new(columns, COLUMNS, &r.listing, err);
    if (rc == 0) rc = stream_begin(&r.stream, c->output, NULL, "entries", err);
    if (rc == 0) rc = repo_log_each(w->repo, list_one, &r, err);
    if (rc == 0) rc = stream_end(&r.stream, NULL, err);
    if (rc == 0) listing_print(r.listing, c->output);
    stream_free(&r.stream);
    listing_free(r.listing);
    return rc;
}

static int show(struct cli *c, struct work *w, struct error *err) {
    size_t n;
    const char *const *operands = options_operands(c->options, &n);
    struct rows r = {.c = c, .wanted_count = n};
    void *mem = NULL;
    int rc = mem_alloc((n + 1) * sizeof(uint64_t), &mem, err);
    uint64_t *wanted = mem;
    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t digits = strspn(operands[i], "0123456789");
        if (digits == 0 || digits > 16 || operands[i][digits])
            rc = error_set(err, ERR_USAGE, "'%.60s' is no number of an entry", operands[i]);
        else
            wanted[i] = strtoull(operands[i], NULL, 10);
        if (rc == 0 && wanted[i] >= ledger_size(repo_ledger(w->repo)))
            rc = error_set(err, ERR_NO_POINT, "there is no entry %s in the log of %s", operands[i],
                           COUNTED(ledger_size(repo_ledger(w->repo)), "entry"));
    }
    r.wanted = wanted;
    if (rc == 0) rc = stream_begin(&r.stream, c->output, NULL, "entries", err);
    if (rc == 0) rc = repo_log_each(w->repo, show_one, &r, err);
    if (rc == 0) rc = stream_end(&r.stream, NULL, err);
    stream_free(&r.stream);
    seam_free(mem);
    return rc;
}

/* ---- verify ---- */

static int found(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct cli *c = ctx;
    (void)err;
    output_print(c->output, "%s  %s: %s\n", error_info(code)->code, object, text);
    output_event(c->output, "finding",
                 json_pack("{s:s, s:s, s:s}", "object", object, "code", error_info(code)->code, "text", text));
    return 0;
}

static int verify(struct cli *c, struct work *w, struct error *err) {
    struct log_audit a;
    char root[65], words[200] = "";
    int rc = repo_log_audit(w->repo, found, c, &a, err);
    if (rc < 0) return rc;
    hex_encode(a.root.b, sizeof a.root.b, root);
    if (w->witnesses) witnesses_sentence(w->witnesses, time_now_ns(), words);
    output_print(c->output, "%s read anew, %s held against them; root %s\n", COUNTED(a.entries, "entry"),
                 COUNTED(a.objects, "derived object"), root);
    if (a.checkpoint_size)
        output_print(c->output, "checkpoint over %s, signed by %s %s\n", COUNTED(a.checkpoint_size, "entry"),
                     key_role_name(a.checkpoint_signer->role), a.checkpoint_signer->label);
    else
        output_print(c->output, "no checkpoint is published\n");
    if (*words) output_print(c->output, "%s\n", words);
    if (a.voids)
        output_print(c->output, "%s count%s for nothing; 'ledger list' says why\n", COUNTED(a.voids, "entry"),
                     a.voids == 1 ? "s" : "");
    output_set_result(c->output, json_pack("{s:I, s:I, s:I, s:I, s:s, s:I, s:s?}", "entries", (json_int_t)a.entries,
                                           "void", (json_int_t)a.voids, "objects", (json_int_t)a.objects, "problems",
                                           (json_int_t)a.problems, "root", root, "checkpoint",
                                           (json_int_t)a.checkpoint_size, "witness", *words ? words : NULL));
    if (a.problems == 0) return 0;
    rc = error_set(err, ERR_LEDGER_BROKEN, "%s of what is derived from the log %s not what its entries give",
                   COUNTED(a.problems, "object"), a.problems == 1 ? "is" : "are");
    error_state(err, "The %s themselves are whole: signed, chained, and those that were seen before.",
                COUNTED(a.entries, "entry"));
    return error_next(err, "Find out who stored the objects above; remove them, and any run publishes them anew.");
}

/* ---- proofs and copies ---- */

static int proof(struct cli *c, struct work *w, struct error *err) {
    struct log_proof_made m;
    int rc = log_proof_make(w, options_operand(c->options, 0), options_text(c->options, OPT_OUT), &m, err);
    if (rc < 0) return rc;
    output_print(c->output, "entry %llu is in the log of %s: %s, receipt in %s\n", (unsigned long long)m.seq,
                 COUNTED(m.size, "entry"), m.proof, m.envelope);
    output_set_result(c->output,
                      json_pack("{s:I, s:I, s:s, s:s, s:I}", "seq", (json_int_t)m.seq, "size", (json_int_t)m.size,
                                "proof", m.proof, "envelope", m.envelope, "witnesses", (json_int_t)m.witnesses));
    return 0;
}

static int check_proof(struct cli *c, struct error *err) {
    struct log_proof_checked r;
    size_t n;
    struct log_proof_request q = {
        .proof = options_operand(c->options, 0),
        .envelope = options_text(c->options, OPT_ENVELOPE),
        .log_keys = options_list(c->options, OPT_LOG_KEY, &n),
        .witness_keys = options_list(c->options, OPT_WITNESS_KEY, &n),
    };
    char when[32], signer[65], entry[65], root[65], seen[32] = "";
    int rc = log_proof_check(&q, &r, err);
    if (rc < 0) return rc;
    const char *type = json_string_value(json_object_get(r.statement, "predicateType"));
    const char *id = json_string_value(json_object_get(json_object_get(r.statement, "predicate"), "backup_id"));
    time_format(r.time_ns, when);
    if (r.witnessed_s) time_format(r.witnessed_s * NS_PER_S, seen);
    hex_encode(r.signer, sizeof r.signer, signer);
    hex_encode(r.entry.b, sizeof r.entry.b, entry);
    hex_encode(r.root.b, sizeof r.root.b, root);
    output_print(c->output, "entry %llu of the log of %s: %s%s%s\nsigned     %s by %s\nsha256     %s\n",
                 (unsigned long long)r.seq, COUNTED(r.size, "entry"), type ? type : "", id ? ", " : "", id ? id : "",
                 when, signer, entry);
    if (*seen) output_print(c->output, "witnessed  %s\n", seen);
    output_document(c->output, json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s?, s:O}", "seq", (json_int_t)r.seq, "size",
                                         (json_int_t)r.size, "root", root, "entry", entry, "signer", signer, "time",
                                         when, "witnessed", *seen ? seen : NULL, "statement", r.statement));
    json_decref(r.statement);
    return 0;
}

static int export(struct cli *c, struct work *w, struct error *err) {
    struct log_exported e;
    const char *to = options_text(c->options, OPT_TO);
    int rc = log_export(w, to, &e, err);
    if (rc < 0) return rc;
    output_print(c->output, "%s and %s are in %s; its README.md says how they are checked\n",
                 COUNTED(e.entries, "entry"), COUNTED(e.objects - e.entries, "object"), to);
    output_set_result(c->output, json_pack("{s:I, s:I, s:I, s:s, s:s}", "entries", (json_int_t)e.entries, "size",
                                           (json_int_t)e.size, "objects", (json_int_t)e.objects, "to", to, "verifier",
                                           e.verifier));
    return 0;
}

static int verifier(struct cli *c, struct work *w, struct error *err) {
    CLEANUP(buf_free) struct buf first = BUF_INIT(4096);
    json_t *keys = json_array();
    int rc = keys ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for keys");
    for (size_t i = 0; i < repo_key_count(w->repo) && rc == 0; i++) {
        CLEANUP(buf_free) struct buf one = BUF_INIT(4096);
        const struct key_info *k = repo_key(w->repo, i);
        struct note_key v;
        rc = repo_verifier(w->repo, k->public_key, &v, err);
        if (rc == 0) rc = note_key_format(&v, &one, err);
        if (rc == 0) rc = buf_terminate(&one, err);
        if (rc == 0 && i == 0) rc = buf_append(&first, one.ptr, one.len + 1, err);
        if (rc == 0)
            rc = json_push(keys,
                           json_pack("{s:s, s:s, s:b, s:s}", "role", key_role_name(k->role), "label", k->label,
                                     "removed", k->removed, "verifier", (char *)one.ptr),
                           err);
    }
    if (rc == 0) {
        output_print(c->output, "%s\n", (char *)first.ptr);
        output_document(c->output, json_pack("{s:s, s:O}", "verifier", (char *)first.ptr, "keys", keys));
    }
    json_decref(keys);
    return rc;
}

int verb_run_ledger(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    if (options_is_job(c->options)) output_set_job(c->output, "ledger");
    if (options_is_action(c->options, "witness")) return ledger_witness(c, err);
    if (options_is_action(c->options, "check-proof")) return check_proof(c, err);
    int rc = verb_work(c, &w, err);
    if (rc == 0 && options_is_action(c->options, "proof")) return proof(c, w, err);
    if (rc == 0) rc = work_open_repo(w, NULL, err);
    if (rc < 0) return rc;
    if (options_is_action(c->options, "list")) return list(c, w, err);
    if (options_is_action(c->options, "show")) return show(c, w, err);
    if (options_is_action(c->options, "verify")) return verify(c, w, err);
    return options_is_action(c->options, "export") ? export(c, w, err) : verifier(c, w, err);
}
