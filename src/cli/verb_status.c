#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/listing_sets.h"
#include "work/counted.h"
#include "work/point.h"
#include "work/status.h"

#include <stdio.h>

static const struct listing_column columns[] = {
    {"SURFACE", false}, {"STATE", false},    {"LAST GOOD", false}, {"RPO", false},
    {"PROVEN", false},  {"RESTORED", false}, {"RTO", false},       {"WHY", false},
};
#define COLUMNS (sizeof columns / sizeof *columns)

static const char *target(const struct config_duration *d) {
    return d->state == CONFIG_UNSET ? "unset" : d->text;
}

static enum style style_of(enum status_state s) {
    return status_fails(s) ? STYLE_BAD : s == STATUS_GOOD ? STYLE_GOOD : STYLE_WARN;
}

static int row(struct listing *l, const struct status_row *r, int64_t now_ns, struct error *err) {
    char label[260], good[48] = "never", proven[80] = "never", restored[96] = "never", took[32];
    snprintf(label, sizeof label, "%.126s/%.126s", r->environment, r->surface);
    if (r->good_time_ns) verb_age(r->good_time_ns, now_ns, good);
    if (r->proven_time_ns) {
        char age[48];
        verb_age(r->proven_time_ns, now_ns, age);
        snprintf(proven, sizeof proven, "%s, %s", age, point_level(r->proven_level));
    }
    if (r->restored_ns) {
        char age[48];
        verb_age(r->restored_ns, now_ns, age);
        duration_format(r->restore_took_ns, took);
        snprintf(restored, sizeof restored, "%s in %s", age, took);
    }
    const char *cells[COLUMNS] = {
        label, status_state_name(r->state), good, target(&r->rpo), proven, restored, target(&r->rto), r->why};
    int rc = listing_row(l, cells, err);
    if (rc == 0) listing_style(l, 1, style_of(r->state));
    return rc;
}

/* What checks with a budget have read, by age. */
static void coverage_print(struct cli *c, const struct status_repository *r, int64_t now_ns) {
    const struct coverage_sum *s = &r->coverage;
    char oldest[48] = "never";
    if (!s->any || !s->bytes) return;
    if (s->oldest_ns) verb_age(s->oldest_ns, now_ns, oldest);
    output_remark(
        c->output,
        "%s: read again by checks with a budget: %.1f %% of the stored bytes within 7 d, %.1f %% within 30 d, "
        "%.1f %% within 90 d; %.1f %% never; the oldest check of a pack: %s",
        r->name, 100.0 * (double)s->within[0] / (double)s->bytes, 100.0 * (double)s->within[1] / (double)s->bytes,
        100.0 * (double)s->within[2] / (double)s->bytes, 100.0 * (double)s->never / (double)s->bytes, oldest);
}

static void offline(struct cli *c, const struct status_copy *p, int64_t now_ns) {
    char told[48], reread[48] = "never", due[32];
    if (!p->told_ns) {
        output_remark(c->output, "%s: the offline copy %s was never written", p->repository, p->label);
        return;
    }
    verb_age(p->told_ns, now_ns, told);
    if (p->reread_ns) verb_age(p->reread_ns, now_ns, reread);
    duration_format(p->due_ns > now_ns ? p->due_ns - now_ns : now_ns - p->due_ns, due);
    output_remark(c->output, "%s: the offline copy %s lacks %s; last told %s; all of it read again %s, %s%s%s",
                  p->repository, p->label, COUNTED(p->behind, "recovery point"), told, reread,
                  p->reread_failed ? "and since then found DAMAGED or another"
                  : p->overdue     ? "OVERDUE for "
                                   : "due in ",
                  p->reread_failed ? "" : due, "");
}

/* Between which instants a surface with WAL can be recovered. */
static void wal_print(struct cli *c, const struct status_row *r, int64_t now_ns) {
    char first[32], last[32] = "never", age[32];
    if (!r->wal.any) return;
    if (r->wal.newest_ns) time_format(r->wal.newest_ns, last);
    duration_format(now_ns - r->wal.newest_ns, age);
    if (r->wal.reaches) {
        time_format(r->wal.first_ns, first);
        output_remark(c->output, "%s/%s: recoverable to any instant from %s to %s, %s ago%s%s", r->environment,
                      r->surface, first, last, age,
                      r->wal.server == STATUS_SERVER_SILENT ? "; whether the server has written more is not known: "
                      : *r->wal.server_why                  ? "; "
                                                            : "",
                      r->wal.server_why);
    } else
        output_remark(c->output, "%s/%s: the newest WAL was stored %s%s", r->environment, r->surface, last,
                      r->wal.broken ? ", and some before it is MISSING" : "");
    for (size_t i = 0; i < r->wal.window_count && r->wal.window_count > 1; i++) {
        char text[120];
        wal_window_text(&r->wal.windows[i], text);
        output_remark(c->output, "%s/%s: recoverable on %s", r->environment, r->surface, text);
    }
    for (size_t i = 0; i < r->wal.known_count; i++) {
        wal_lsn_format(r->wal.known[i].from, first);
        wal_lsn_format(r->wal.known[i].to, last);
        output_remark(c->output, "%s/%s: WAL of timeline %u from %s to %s is missing, as is known: %s", r->environment,
                      r->surface, (unsigned)r->wal.known[i].timeline, first, last, r->wal.known[i].why);
    }
}

static int print(struct cli *c, const struct status *st, struct error *err) {
    struct listing *l = NULL;
    int rc = listing_new(columns, COLUMNS, &l, err);
    for (size_t i = 0; i < st->row_count && rc == 0; i++) rc = row(l, &st->rows[i], st->now_ns, err);
    if (rc == 0) listing_print(l, c->output);
    if (rc == 0 && st->row_count == 0 && st->unreachable.code == ERR_NONE)
        output_remark(c->output, "There is no backup, and nothing is configured.");
    listing_free(l);
    if (rc == 0) rc = listing_sets_status(c, st, err);
    for (size_t i = 0; i < st->row_count && rc == 0; i++) wal_print(c, &st->rows[i], st->now_ns);
    for (size_t i = 0; i < st->repository_count && rc == 0; i++) {
        const struct status_repository *r = &st->repositories[i];
        char age[48] = "never";
        if (r->inconsistent) {
            output_remark(c->output, "%s: its log is NOT consistent", r->name);
            continue;
        }
        if (r->witnessed) output_remark(c->output, "%s: %s", r->name, r->witness);
        coverage_print(c, r, st->now_ns);
        if (r->drilled_ns) verb_age(r->drilled_ns, st->now_ns, age);
        output_remark(c->output, "%s: key recovery drilled %s%s%s%s", r->name, age, r->drilled_ns ? " with " : "",
                      r->drilled_ns ? key_role_name(r->drill_role) : "", r->drilled_ns ? " kit" : "");
    }
    for (size_t i = 0; i < st->copy_count && rc == 0; i++) {
        const struct status_copy *p = &st->copies[i];
        char told[48], lag[32];
        if (p->offline) {
            offline(c, p, st->now_ns);
            continue;
        }
        verb_age(p->told_ns, st->now_ns, told);
        duration_format(p->waiting_ns ? st->now_ns - p->waiting_ns : 0, lag);
        char wal[60] = "";
        if (p->wal_behind) snprintf(wal, sizeof wal, " and %s", COUNTED(p->wal_behind, "WAL object"));
        if (p->behind || p->wal_behind)
            output_remark(c->output, "%s: the copy %s is %s%s behind, for %s; last told %s", p->repository, p->label,
                          COUNTED(p->behind, "recovery point"), wal, lag, told);
        else
            output_remark(c->output, "%s: the copy %s has every recovery point; last told %s", p->repository, p->label,
                          told);
    }
    for (size_t i = 0; i < st->fallback_count && rc == 0; i++) {
        const struct status_fallback *f = &st->fallbacks[i];
        char since[48];
        verb_age(f->since_ns, st->now_ns, since);
        if (*f->why)
            output_remark(c->output, "%s: its fallback %s could not be used: %s", f->repository, f->name, f->why);
        else if (f->waiting)
            output_remark(c->output, "%s: %s in its fallback %s %s to be forwarded, the oldest stored %s",
                          f->repository, COUNTED(f->waiting, "recovery point"), f->name,
                          f->waiting == 1 ? "waits" : "wait", since);
        else if (!f->wal)
            output_remark(c->output, "%s: nothing waits in its fallback %s", f->repository, f->name);
        if (f->wal)
            output_remark(c->output, "%s: %s of WAL in its fallback %s %s to be forwarded%s%s", f->repository,
                          COUNTED(f->wal, "object"), f->name, f->wal == 1 ? "waits" : "wait",
                          f->waiting ? "" : ", the oldest stored ", f->waiting ? "" : since);
    }
    return rc;
}

static int show(struct cli *c, const struct status *st, struct error *err) {
    struct buf text = BUF_INIT(16u << 20);
    json_t *document = NULL;
    int rc;
    if (options_flag(c->options, OPT_METRICS)) {
        rc = status_metrics(st, PROOFKEEP_VERSION, &text, err);
        if (rc == 0) output_raw(c->output, buf_bytes(&text));
    } else if (output_is_json(c->output)) {
        if ((rc = status_json(st, &document, err)) == 0) output_document(c->output, document);
    } else {
        rc = print(c, st, err);
    }
    buf_free(&text);
    return rc;
}

int verb_run_status(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    struct selection s;
    struct status st;
    const struct config *config;
    int rc = selection_parse(options_operand(c->options, 0), false, &s, err);
    if (rc == 0) rc = verb_work(c, &w, err);
    if (rc == 0 && options_flag(c->options, OPT_CHECK)) rc = work_need_config(w, &config, err);
    if (rc == 0) rc = work_status(w, &s, &st, err);
    if (rc < 0) return rc;
    rc = show(c, &st, err);
    /* what could be seen is shown; what could not is why it fails */
    if (rc == 0 && st.unreachable.code != ERR_NONE) {
        *err = st.unreachable;
        rc = -(int)err->code;
    }
    if (rc == 0 && options_flag(c->options, OPT_CHECK)) rc = status_check(&st, err);
    status_free(&st);
    return rc;
}
