#include "base/seam.h"
#include "base/time.h"
#include "cli/listing.h"
#include "cli/verb.h"
#include "work/counted.h"
#include "work/quiesce.h"
#include "work/set.h"
#include "work/set_restore.h"

#include <stdio.h>

struct tally {
    unsigned done, partial, failed;
    unsigned elsewhere; /* of those done or partial, stored in a fallback */
    char fallback[200];
    struct error first; /* of a failed surface */
    json_t *surfaces, *sets;
    uint64_t unreadable; /* items, of all surfaces */
};

static int result_add(struct tally *t, const struct backup_result *r, const struct error *failure, struct error *err) {
    const struct writer_stats *s = &r->stats;
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "surface", r->label, "backup_id",
                  r->id, "status",
                  failure       ? "failed"
                  : r->complete ? "ok"
                                : "partial",
                  "duration_ms", (json_int_t)(r->duration_ns / 1000000), "items", (json_int_t)r->items, "bytes",
                  (json_int_t)r->bytes, "new_bytes", (json_int_t)s->new_bytes, "kept_bytes", (json_int_t)s->kept_bytes,
                  "stored_bytes", (json_int_t)s->stored_bytes, "unreadable", (json_int_t)r->unreadable, "changed",
                  (json_int_t)r->changed, "skipped", (json_int_t)r->skipped);
    int rc = 0;
    if (j && r->stored) rc = json_put_int(j, "seq", (int64_t)r->seq, err);
    if (j && *r->fallback && rc == 0)
        rc = json_put(
            j, "fallback",
            json_pack("{s:s, s:s, s:s}", "repository", r->fallback, "of", r->fallback_of, "why", r->fallback_why), err);
    if (j && failure && rc == 0) rc = json_put_str(j, "code", error_info(failure->code)->code, err);
    return rc < 0 ? rc : json_push(t->surfaces, j, err);
}

static void say(struct cli *c, const struct backup_result *r, const struct error *failure) {
    char bytes[32], stored[32], took[32], rate[40];
    size_format(r->bytes, bytes);
    size_format(r->stats.stored_bytes, stored);
    duration_format(r->duration_ns, took);
    verb_rate(r->bytes, r->duration_ns, rate);
    if (failure)
        output_progress_end(c->output, r->label, STYLE_BAD, "FAILED  %s", failure->text);
    else
        output_progress_end(c->output, r->label, r->complete && !*r->fallback ? STYLE_GOOD : STYLE_WARN,
                            "%s%s%s  %s: %s, %s, stored %s, in %s (%s)", r->complete ? "OK" : "PARTIAL",
                            *r->fallback ? ", IN THE FALLBACK " : "", r->fallback, r->id, COUNTED(r->items, "item"),
                            bytes, stored, took, rate);
}

/* e: ERR_NONE when it was stored */
static int ended(struct cli *c, const struct backup_result *r, const struct error *e, struct tally *t,
                 struct error *err) {
    const bool failed = e->code != ERR_NONE;
    say(c, r, failed ? e : NULL);
    if (failed && t->first.code == ERR_NONE) t->first = *e;
    if (failed)
        t->failed++;
    else if (r->complete)
        t->done++;
    else
        t->partial++;
    t->unreadable += r->unreadable;
    if (!failed && *r->fallback && !t->elsewhere++)
        snprintf(t->fallback, sizeof t->fallback, "%s in the place of %s", r->fallback, r->fallback_of);
    return result_add(t, r, failed ? e : NULL, err);
}

static int one(struct cli *c, struct work *w, const struct work_surface *s, const struct backup_options *o,
               struct tally *t, struct error *err) {
    struct backup_result r;
    struct error e = ERROR_INIT;
    int rc = backup_surface(w, s, o, &r, &e);
    if (o->dry_run && rc == 0) {
        output_print(c->output, "%s would be backed up\n", r.label);
        return 0;
    }
    int add = ended(c, &r, &e, t, err);
    if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) {
        *err = e;
        return rc;
    }
    return add;
}

struct set_watch {
    struct cli *c;
    struct tally *t;
    struct error lost;
};

static void member_ended(void *ctx, const struct set_member *m) {
    struct set_watch *w = ctx;
    (void)!ended(w->c, &m->result, &m->failure, w->t, &w->lost);
}

static int set_say(struct cli *c, const struct set_spec *spec, const struct set_result *r, struct tally *t,
                   struct error *err) {
    char took[32], frozen[32];
    const unsigned stored = r->done + r->partial;
    duration_format(r->duration_ns, took);
    duration_format(r->frozen_ns, frozen);
    if (r->seq) {
        output_styled(c->output, r->done == r->count ? STYLE_GOOD : STYLE_WARN, "%s",
                      r->done == r->count ? "SET" : "PARTIAL SET");
        output_print(c->output, "  %s/%s@%s: %u of %s, %s%s%s, in %s\n", spec->environment->head.name, spec->name,
                     r->id, stored, COUNTED(r->count, "surface"), r->consistency,
                     r->frozen_ns ? ", writes frozen for " : "", r->frozen_ns ? frozen : "", took);
    }
    return json_push(t->sets,
                     json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:b}", "environment",
                               spec->environment->head.name, "set", spec->name, "set_id", r->id, "seq",
                               (json_int_t)r->seq, "consistency", r->consistency, "stored", (json_int_t)stored,
                               "surfaces", (json_int_t)r->count, "duration_ms", (json_int_t)(r->duration_ns / 1000000),
                               "frozen_ms", (json_int_t)(r->frozen_ns / 1000000), "frozen_held", (int)r->held),
                     err);
}

static int several(struct cli *c, struct work *w, const struct set_spec *spec, const struct backup_options *o,
                   struct tally *t, struct error *err) {
    const struct set_backup_options so = {.backup = *o, .timestamp = options_text(c->options, OPT_TIMESTAMP)};
    struct set_watch watch = {.c = c, .t = t};
    struct set_result r;
    int rc = set_backup(w, spec, &so, member_ended, &watch, &r, err);
    if (rc == 0 && watch.lost.code != ERR_NONE) {
        *err = watch.lost;
        rc = -(int)err->code;
    }
    struct error lost = ERROR_INIT;
    int said = set_say(c, spec, &r, t, rc < 0 ? &lost : err);
    set_result_free(&r);
    return rc < 0 ? rc : said;
}

/* The targets of one environment are one run, and several of them a set. */
static int environment(struct cli *c, struct work *w, const struct address *a, size_t n, const struct backup_options *o,
                       struct tally *t, struct error *err) {
    struct set_spec spec;
    char left[1500];
    int rc = set_resolve(w->config, a, n, &spec, err);
    if (rc < 0) return rc;
    const bool named = options_given(c->options, OPT_TIMESTAMP);
    /* of what restores write over, each is for itself: a set of them is nothing to go back to */
    if (!o->dry_run && !o->before_restore && (spec.count > 1 || spec.config || named))
        return several(c, w, &spec, o, t, err);
    if (quiesce_left(w, a->environment, "freeze", left, sizeof left))
        output_warning(c->output, a->environment, "%s", left);
    for (size_t k = 0; rc == 0 && k < spec.count; k++) {
        struct work_surface s;
        rc = work_surface_open(w, spec.environment, spec.members[k], &s, err);
        if (rc < 0) break;
        rc = one(c, w, &s, o, t, err);
        work_surface_close(&s);
    }
    return rc;
}

static int configured(struct cli *c, struct work *w, const struct backup_options *o, struct tally *t,
                      struct error *err) {
    size_t n, left;
    const char *const *targets = options_operands(c->options, &n);
    const struct config *config;
    void *mem = NULL;
    int rc = work_need_config(w, &config, err);
    if (rc == 0) rc = mem_alloc((2 * n + 1) * sizeof(struct address), &mem, err);
    if (rc < 0) return rc;
    struct address *a = mem, *same = a + n;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = address_parse(targets[i], &a[i], err);
        if (rc == 0 && a[i].point.kind != POINT_UNSAID)
            rc = error_set(err, ERR_USAGE, "'%s' names a point; a backup makes one", targets[i]);
    }
    for (left = n; left > 0 && rc == 0;) {
        size_t taken = 0, kept = 0;
        for (size_t i = 0; i < left; i++)
            if (strcmp(a[i].environment, a[0].environment) == 0) same[taken++] = a[i];
        for (size_t i = 0; i < left; i++)
            if (strcmp(a[i].environment, same[0].environment) != 0) a[kept++] = a[i];
        rc = environment(c, w, same, taken, o, t, err);
        left = kept;
    }
    seam_free(mem);
    return rc;
}

static int timestamp_check(struct cli *c, struct error *err) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *t = options_text(c->options, OPT_TIMESTAMP);
    if (!t) return 0;
    if (!options_given(c->options, OPT_EXPORT) || options_given(c->options, OPT_FILES))
        return error_set(err, ERR_USAGE, "--timestamp is of --export, for surfaces of a configuration");
    if (strlen(t) > 64 || strspn(t, allowed) != strlen(t))
        return error_set(err, ERR_USAGE, "--timestamp wants up to 64 letters, digits, '.', '_' and '-'");
    return 0;
}

int verb_run_backup(struct cli *c, struct error *err) {
    struct work *w = NULL;
    struct tally t = {.surfaces = json_array(), .sets = json_array()};
    struct backup_options o = {.full_read = options_flag(c->options, OPT_FULL_READ),
                               .dry_run = options_flag(c->options, OPT_DRY_RUN),
                               .ticket = options_text(c->options, OPT_TICKET),
                               .note = options_text(c->options, OPT_NOTE),
                               .export_dir = options_text(c->options, OPT_EXPORT),
                               .before_restore = options_text(c->options, OPT_BEFORE_RESTORE)};
    int rc = verb_work(c, &w, err);
    output_set_job(c->output, "backup");
    if (rc == 0) rc = timestamp_check(c, err);
    if (rc == 0 && o.before_restore && !plan_file_is(o.before_restore, "pln") &&
        !plan_file_is(o.before_restore, SET_PLAN_PREFIX))
        rc = error_set(err, ERR_USAGE, "'%.40s' is no plan's id", o.before_restore);
    if (rc == 0 && options_given(c->options, OPT_FILES)) {
        size_t n;
        const char *const *paths = options_list(c->options, OPT_FILES, &n);
        struct work_surface s = {0};
        rc = backup_adhoc_surface(paths, n, options_text(c->options, OPT_NAME), &s, err);
        if (rc == 0) rc = one(c, w, &s, &o, &t, err);
        work_surface_close(&s);
    } else if (rc == 0)
        rc = configured(c, w, &o, &t, err);
    output_set_result(c->output,
                      json_pack("{s:I, s:I, s:I, s:O, s:O}", "ok", (json_int_t)t.done, "partial", (json_int_t)t.partial,
                                "failed", (json_int_t)t.failed, "surfaces", t.surfaces, "sets", t.sets));
    json_decref(t.surfaces);
    json_decref(t.sets);
    work_close(w);
    if (rc < 0) return rc;
    if (t.failed && (t.done || t.partial)) {
        rc = error_set(err, ERR_SET_PARTIAL, "%u of %s failed; the first: %s", t.failed,
                       COUNTED(t.failed + t.partial + t.done, "surface"), t.first.text);
        return rc;
    }
    if (t.failed) {
        *err = t.first;
        return -(int)err->code;
    }
    if (t.partial)
        return error_set(err, t.unreadable ? ERR_SOURCE_UNREADABLE : ERR_SOURCE_CHANGED,
                         "%u of %s %s partial: see the warnings above and the receipt", t.partial,
                         COUNTED(t.partial + t.done, "backup"), t.partial == 1 ? "is" : "are");
    if (t.elsewhere) {
        error_set(err, ERR_FALLBACK, "%s %s stored in %s, which is out of reach", COUNTED(t.elsewhere, "backup"),
                  t.elsewhere == 1 ? "was" : "were", t.fallback);
        return error_state(err,
                           "they are whole, and protect only as far as the fallback does until they are forwarded");
    }
    return 0;
}
