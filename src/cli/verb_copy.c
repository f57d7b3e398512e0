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
    if (r->sets.done) output_print(c->output, "%s whole there now\n", COUNTED(r->sets.done, "set"));
}

static void sum_up_wal(struct cli *c, const struct copy_result *r, bool dry_run) {
    char size[32];
    size_format(r->wal.bytes, size);
    if (dry_run && r->wal.would + r->wal.there)
        output_print(c->output, "%s would be copied, %llu there\n", COUNTED(r->wal.would, "WAL object"),
                     (unsigned long long)r->wal.there);
    else if (r->wal.objects + r->wal.there + r->wal.failed)
        output_print(c->output, "%s copied (%s), %llu there before, %llu still missing\n",
                     COUNTED(r->wal.objects, "WAL object"), size, (unsigned long long)r->wal.there,
                     (unsigned long long)r->wal_behind);
}

static json_t *wal_json(const struct copy_result *r) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "copied", (json_int_t)r->wal.objects, "bytes",
                     (json_int_t)r->wal.bytes, "there", (json_int_t)r->wal.there, "would", (json_int_t)r->wal.would,
                     "failed", (json_int_t)r->wal.failed, "behind", (json_int_t)r->wal_behind);
}

static json_t *result_json(const struct copy_result *r) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "destination", r->label, "sets",
                     (json_int_t)r->sets.done, "copied", (json_int_t)r->done, "there", (json_int_t)r->there, "suspect",
                     (json_int_t)r->suspect, "failed", (json_int_t)r->failed, "behind", (json_int_t)r->behind,
                     "read_bytes", (json_int_t)r->stats.read_bytes, "stored_bytes", (json_int_t)r->stats.stored_bytes,
                     "duration_ms", (json_int_t)(r->duration_ns / 1000000));
}

static json_t *reread_json(const struct copy_result *r) {
    if (!r->reread.at_ns) return json_null();
    return json_pack("{s:s, s:I, s:I, s:I, s:I}", "result", r->reread.whole ? "PASSED" : "FAILED", "objects",
                     (json_int_t)r->reread.objects, "bytes", (json_int_t)r->reread.bytes, "findings",
                     (json_int_t)r->reread.findings, "lost_points", (json_int_t)r->reread.lost);
}

static void read_again(struct cli *c, const struct copy_result *r) {
    char size[32];
    size_format(r->reread.bytes, size);
    if (r->reread.at_ns)
        output_progress_end(c->output, r->label, r->reread.whole ? STYLE_GOOD : STYLE_BAD,
                            "%s  all of it was read again: %s, %s", r->reread.whole ? "WHOLE" : "DAMAGED",
                            COUNTED(r->reread.objects, "object"), size);
    else if (r->reread_due_ns && r->reread_due_ns < time_now_ns())
        output_warning(c->output, r->label, "all of it is to be read again by now: proofkeep copy --reread --to %s",
                       r->label);
}

static int failures(const struct copy_result *r, struct error *err) {
    if (!r->failed && r->wal.failed)
        return error_set(err, ERR_COPY_PARTIAL, "%s could not be copied; the first: %s",
                         COUNTED(r->wal.failed, "WAL object"), r->wal.first.text);
    if (r->failed && (r->done || r->there))
        return error_set(err, ERR_COPY_PARTIAL, "%u of %s failed; the first: %s", r->failed,
                         COUNTED(r->failed + r->done + r->there + r->suspect, "recovery point"), r->first.text);
    if (r->failed) {
        *err = r->first;
        return -(int)err->code;
    }
    return 0;
}

static int forward_one(struct told *t, const struct config_repository *p, struct copy_result *r, struct error *err) {
    CLEANUP(verb_work_close) struct work *from = NULL;
    CLEANUP(verb_work_close) struct work *to = NULL;
    struct copy_request q = {.forward = p->head.name, .dry_run = options_flag(t->c->options, OPT_DRY_RUN)};
    int rc = verb_work_other(t->c, p->fallback, options_text(t->c->options, OPT_FROM_KEY_FILE), &from, err);
    if (rc == 0) rc = verb_work_other(t->c, p->head.name, options_text(t->c->options, OPT_KEY_FILE), &to, err);
    if (rc == 0) rc = work_copy(from, to, &q, point, t, r, err);
    if (rc == 0) output_print(t->c->output, "%s, from its fallback %s: ", p->head.name, p->fallback);
    if (rc == 0) sum_up(t->c, r, q.dry_run);
    return rc;
}

/* Of one repository, or of each that has a fallback; one that fails does not stop the others. */
static int forward(struct cli *c, struct told *t, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    struct copy_result sum = {0};
    const struct config *config;
    const char *named = options_text(c->options, OPT_REPOSITORY);
    unsigned found = 0;
    size_t n;
    (void)options_operands(c->options, &n);
    if (n || options_given(c->options, OPT_ALL) || options_given(c->options, OPT_TO) ||
        options_given(c->options, OPT_REREAD))
        return error_set(err, ERR_USAGE,
                         "'copy --forward' takes whatever waits, and goes where it belongs: no address, "
                         "no '--all', no '--to' and no '--reread'");
    int rc = verb_work(c, &w, err);
    if (rc == 0) rc = work_need_config(w, &config, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < config->repositories.count && rc == 0; i++) {
        const struct config_repository *p = config->repositories.items[i];
        struct copy_result r = {0};
        struct error e = ERROR_INIT;
        if (!p->fallback || (named && strcmp(named, p->head.name) != 0 && strcmp(named, p->url) != 0)) continue;
        found++;
        int one = forward_one(t, p, &r, &e);
        if (one == 0) one = failures(&r, &e);
        if (one < 0 && err->code == ERR_NONE) *err = e;
        if (one == -ERR_INTERRUPTED || one == -ERR_TERMINATED) rc = one;
        sum.done += r.done;
        sum.there += r.there;
        sum.suspect += r.suspect;
        sum.failed += r.failed;
        sum.would += r.would;
        sum.behind += r.behind;
        sum.stats.read_bytes += r.stats.read_bytes;
        sum.stats.stored_bytes += r.stats.stored_bytes;
        sum.duration_ns += r.duration_ns;
        snprintf(sum.label, sizeof sum.label, "%s", r.label);
    }
    json_t *result = result_json(&sum);
    if (result) json_object_set(result, "points", t->points);
    output_set_result(c->output, result);
    if (!found)
        return error_set(err, ERR_USAGE, "no repository %s%shas a fallback", named ? named : "",
                         named ? " of the configuration " : "of the configuration ");
    return err->code == ERR_NONE ? 0 : -(int)err->code;
}

int verb_run_copy(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *from = NULL;
    CLEANUP(verb_work_close) struct work *to = NULL;
    json_auto_t *points = json_array();
    struct told t = {c, points};
    struct copy_result r = {0};
    struct copy_request q = {.dry_run = options_flag(c->options, OPT_DRY_RUN)};
    output_set_job(c->output, "copy");
    q.addresses = options_operands(c->options, &q.count);
    if (!points) return error_set(err, ERR_NO_MEMORY, "no memory for the result");
    if (options_flag(c->options, OPT_FORWARD)) return forward(c, &t, err);
    if (options_given(c->options, OPT_FROM_KEY_FILE))
        return error_set(err, ERR_USAGE, "'--from-key-file' is for '--forward'; the source's key is '--key-file'");
    q.reread = options_flag(c->options, OPT_REREAD);
    q.none = q.reread && !q.count && !options_flag(c->options, OPT_ALL);
    if (!q.count && !q.none && !options_flag(c->options, OPT_ALL))
        return error_set(err, ERR_USAGE, "'copy' needs an operand, or the option '--all', '--reread' or '--forward'");
    if (!options_given(c->options, OPT_TO)) return error_set(err, ERR_USAGE, "'copy' needs the option '--to'");
    int rc = verb_work(c, &from, err);
    if (rc == 0)
        rc = verb_work_other(c, options_text(c->options, OPT_TO), options_text(c->options, OPT_TO_KEY_FILE), &to, err);
    if (rc == 0) rc = work_copy(from, to, &q, point, &t, &r, err);
    if (rc == 0 && r.absent)
        output_warning(c->output, r.label, "it is offline, and not attached: nothing was copied");
    else if (rc == 0 || rc == -ERR_COPY_MEDIUM)
        read_again(c, &r);
    if (rc == 0 && !r.absent && !q.none) sum_up(c, &r, q.dry_run);
    if (rc == 0 && !r.absent && !q.none) sum_up_wal(c, &r, q.dry_run);
    json_t *result = result_json(&r);
    if (result) json_object_set(result, "points", points);
    if (result) json_object_set_new(result, "absent", json_boolean(r.absent));
    if (result) json_object_set_new(result, "reread", reread_json(&r));
    if (result) json_object_set_new(result, "wal", wal_json(&r));
    output_set_result(c->output, result);
    return rc < 0 ? rc : failures(&r, err);
}
