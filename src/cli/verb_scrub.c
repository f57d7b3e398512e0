#include "base/seam.h"
#include "base/time.h"
#include "cli/verb.h"
#include "work/counted.h"
#include "work/repair.h"

#include <stdio.h>

static int finding(void *ctx, const char *object, enum check_result result, const char *text, struct error *err) {
    struct cli *c = ctx;
    (void)err;
    if (output_is_json(c->output)) {
        output_event(c->output, "warning",
                     json_pack("{s:s, s:s, s:s, s:s}", "kind", "finding", "object", object, "result",
                               check_result_name(result), "text", text));
        return 0;
    }
    output_styled(c->output, STYLE_BAD, "DAMAGE  %s  %s\n", check_result_name(result), object);
    output_print(c->output, "  %s\n", text);
    return 0;
}

static void print(struct cli *c, const struct scrub_totals *t, int64_t duration_ns) {
    char size[32], took[32], rate[40], left[32], age[48];
    size_format(t->bytes, size);
    size_format(t->bytes_left, left);
    duration_format(duration_ns, took);
    verb_rate(t->bytes, duration_ns, rate);
    output_progress_end(c->output, "repository", t->findings ? STYLE_BAD : STYLE_GOOD,
                        "%s  %s, %s, in %s (%s); log of %s, admin key %.16s",
                        t->findings                    ? "DAMAGED"
                        : t->packs_left || t->wal_left ? "CHECKED"
                                                       : "WHOLE",
                        COUNTED(t->objects, "object"), size, took, rate, COUNTED(t->entries, "entry"), t->admin);
    if (t->packs_left) {
        verb_age(t->oldest_ns, time_now_ns(), age);
        output_print(c->output, "not read: %s of %llu, %s; the oldest check of a pack from here: %s\n",
                     COUNTED(t->packs_left, "pack"), (unsigned long long)t->packs, left, t->oldest_ns ? age : "never");
    }
    if (t->wal_left) output_print(c->output, "not reached: %s of WAL\n", COUNTED(t->wal_left, "object"));
    if (t->packs_archived) {
        size_format(t->bytes_archived, left);
        output_print(c->output, "of these, %s (%s) lie in an archive class of the bucket\n",
                     COUNTED(t->packs_archived, "pack"), left);
    }
    if (t->void_entries)
        output_styled(c->output, STYLE_WARN,
                      "  %s of the log count for nothing: their signers may not say such things\n",
                      COUNTED(t->void_entries, "entry"));
    output_remark(c->output, "Whether whole packs are missing needs a key: proofkeep verify --all --level present.");
}

int verb_run_scrub(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    struct scrub_options o = {.ctx = c, .finding = finding};
    struct scrub_totals t = {0};
    char oldest[32] = "";
    int64_t begun = time_monotonic_ns();
    output_set_job(c->output, "scrub");
    int rc = verb_budget(c, &o.budget_ns, &o.budget_bytes, err);
    if (rc == 0) rc = verb_work(c, &w, err);
    if (rc == 0) rc = scrub_run(w, options_operand(c->options, 0), &o, &t, err);
    if (rc < 0) return rc;
    int64_t took = time_monotonic_ns() - begun;
    if (t.oldest_ns) time_format(t.oldest_ns, oldest);
    print(c, &t, took);
    output_set_result(
        c->output,
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s?, s:I, s:I}", "result",
                  t.findings                   ? "FAILED"
                  : t.packs_left || t.wal_left ? "INCOMPLETE"
                                               : "PASSED",
                  "repository", t.repository, "admin", t.admin, "objects", (json_int_t)t.objects, "bytes",
                  (json_int_t)t.bytes, "packs", (json_int_t)t.packs, "pack_bytes", (json_int_t)t.pack_bytes,
                  "packs_left", (json_int_t)t.packs_left, "bytes_left", (json_int_t)t.bytes_left, "wal_left",
                  (json_int_t)t.wal_left, "entries", (json_int_t)t.entries, "void_entries", (json_int_t)t.void_entries,
                  "findings", (json_int_t)t.findings, "oldest", *oldest ? oldest : NULL, "duration_ms",
                  (json_int_t)(took / 1000000), "packs_archived", (json_int_t)t.packs_archived));
    if (t.findings) {
        error_set(err, ERR_VERIFY_FAILED, "%s", COUNTED(t.findings, "damaged object"));
        rc = error_next(
            err,
            "Run 'proofkeep verify --all' to see whom it harms, and 'proofkeep repair --dry-run' to see what can be "
            "mended.");
    }
    return rc;
}
