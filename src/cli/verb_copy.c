#include "base/seam.h"
#include "base/time.h"
#include "cli/verb.h"
#include "work/copy.h"
#include "work/counted.h"

#include <stdio.h>

static const char *const outcomes[] = {"failed", "copied", "there", "suspect", "would be copied"};

struct told {
    struct cli *c;
    json_t *points;
};

static int result_add(struct told *t, const struct copy_point *p, struct error *err) {
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "surface", p->label, "backup_id", p->id,
                          "outcome", outcomes[p->outcome], "source_seq", (json_int_t)p->source_seq, "bytes",
                          (json_int_t)p->bytes, "read_bytes", (json_int_t)p->stats.read_bytes, "moved_bytes",
                          (json_int_t)p->stats.frame_bytes, "encoded_chunks", (json_int_t)p->stats.encoded_chunks,
                          "stored_bytes", (json_int_t)p->stats.stored_bytes, "duration_ms",
                          (json_int_t)(p->duration_ns / 1000000));
    int rc = 0;
    if (j && p->outcome == COPY_DONE) rc = json_put_int(j, "seq", (int64_t)p->seq, err);
    if (j && p->failure && rc == 0) rc = json_put_str(j, "code", error_info(p->failure->code)->code, err);
    return rc < 0 ? rc : json_push(t->points, j, err);
}

static int point(void *ctx, const struct copy_point *p, struct error *err) {
    struct told *t = ctx;
    struct output *o = t->c->output;
    char size[32], stored[32], took[32];
    size_format(p->bytes, size);
    size_format(p->stats.stored_bytes, stored);
    duration_format(p->duration_ns, took);
    if (p->outcome == COPY_FAILED)
        output_progress_end(o, p->label, STYLE_BAD, "FAILED  %s: %s", p->id, p->failure->text);
    else if (p->outcome == COPY_DONE)
        output_progress_end(o, p->label, STYLE_GOOD, "OK  %s: %s, stored %s, in %s", p->id, size, stored, took);
    else if (p->outcome == COPY_WOULD)
        output_print(o, "%s@%s would be copied, %s\n", p->label, p->id, size);
    else if (p->outcome == COPY_SUSPECT)
        output_warning(o, p->label, "%s is not copied: its writer's key was revoked as stolen, and it is suspect",
                       p->id);
    return result_add(t, p, err);
}

static void sum_up(struct cli *c, const struct copy_result *r, bool dry_run) {
    char size[32], moved[32], stored[32], took[32];
    size_format(r->bytes, size);
    size_format(r->stats.read_bytes, moved);
    size_format(r->stats.stored_bytes, stored);
    duration_format(r->duration_ns, took);
    if (dry_run)
        output_print(c->output, "%s would be copied to %s, %u %s there\n", COUNTED(r->would, "recovery point"),
                     r->label, r->there, r->there == 1 ? "is" : "are");
    else
        output_print(c->output,
                     "%s copied to %s (%s; read %s, stored %s, in %s), %u %s there before, %zu still missing\n",
                     COUNTED(r->done, "recovery point"), r->label, size, moved, stored, took, r->there,
                     r->there == 1 ? "was" : "were", r->behind);
}

int verb_run_copy(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *from = NULL;
    CLEANUP(verb_work_close) struct work *to = NULL;
    struct told t = {c, json_array()};
    struct copy_result r = {0};
    struct copy_request q = {.dry_run = options_flag(c->options, OPT_DRY_RUN)};
    output_set_job(c->output, "copy");
    q.addresses = options_operands(c->options, &q.count);
    int rc = t.points ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for the result");
    if (rc == 0) rc = verb_work(c, &from, err);
    if (rc == 0)
        rc = verb_work_other(c, options_text(c->options, OPT_TO), options_text(c->options, OPT_TO_KEY_FILE), &to, err);
    if (rc == 0) rc = work_copy(from, to, &q, point, &t, &r, err);
    if (rc == 0) sum_up(c, &r, q.dry_run);
    output_set_result(c->output,
                      json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "destination", r.label, "copied",
                                (json_int_t)r.done, "there", (json_int_t)r.there, "suspect", (json_int_t)r.suspect,
                                "failed", (json_int_t)r.failed, "behind", (json_int_t)r.behind, "read_bytes",
                                (json_int_t)r.stats.read_bytes, "stored_bytes", (json_int_t)r.stats.stored_bytes,
                                "duration_ms", (json_int_t)(r.duration_ns / 1000000), "points", t.points));
    json_decref(t.points);
    if (rc < 0) return rc;
    if (r.failed && (r.done || r.there))
        return error_set(err, ERR_COPY_PARTIAL, "%u of %s failed; the first: %s", r.failed,
                         COUNTED(r.failed + r.done + r.there + r.suspect, "recovery point"), r.first.text);
    if (r.failed) {
        *err = r.first;
        return -(int)err->code;
    }
    return 0;
}
