#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/listing.h"
#include "work/hold.h"
#include "work/point.h"
#include "work/set.h"

#include <stdio.h>

static const struct listing_column columns[] = {{"POINT", false}, {"SINCE", false}, {"BY", false}, {"REASON", false}};
#define COLUMNS (sizeof columns / sizeof *columns)

struct list {
    struct cli *c;
    struct work *w;
    const struct selection *s;
    struct listing *listing;
    json_t *holds;
};

static int line(void *ctx, const struct hold_line *l, struct error *err) {
    struct list *s = ctx;
    char label[1200], point[1300], since[32], signer[65], all[80] = "";
    work_label(l->point, label);
    if (l->set) snprintf(label, sizeof label, "%.120s/%.1023s", l->set->environment, l->set->name);
    if (l->set && l->held < l->set->member_count)
        snprintf(all, sizeof all, " (%zu of its %zu recovery points)", l->held, l->set->member_count);
    snprintf(point, sizeof point, "%.1150s@%.63s%.80s", label, l->set ? l->set->id : l->point->id, all);
    time_format(l->hold->time_ns, since);
    hex_encode(l->hold->signer, sizeof l->hold->signer, signer);
    const char *cells[COLUMNS] = {point, since, l->principal, l->reason};
    int rc = listing_row(s->listing, cells, err);
    if (rc < 0) return rc;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "environment", l->point->environment,
                            l->set ? "set" : "surface", l->set ? l->set->name : l->point->surface, "id",
                            l->set ? l->set->id : l->point->id, "since", since, "principal", l->principal, "reason",
                            l->reason, "signer", signer, "log_seq", (json_int_t)l->hold->seq);
    if (l->set) rc = json_put_int(row, "points", (int64_t)l->held, err);
    return rc == 0 ? json_push(s->holds, row, err) : (json_decref(row), rc);
}

static int repository(void *ctx, const char *url, const struct error *failed, struct error *err) {
    struct list *s = ctx;
    (void)url;
    if (!failed) return hold_list(s->w, s->s, line, s, err);
    *err = *failed;
    return -(int)err->code;
}

static int list(struct cli *c, struct work *w, struct error *err) {
    json_auto_t *holds = json_array();
    struct selection sel;
    struct list s = {.c = c, .w = w, .s = &sel, .holds = holds};
    int rc = holds ? selection_parse(options_operand(c->options, 0), true, &sel, err)
                   : error_set(err, ERR_NO_MEMORY, "no memory for the holds");
    if (rc == 0) rc = listing_new(columns, COLUMNS, &s.listing, err);
    if (rc == 0) rc = work_each_repository(w, &sel, repository, &s, err);
    if (rc == 0) {
        listing_print(s.listing, c->output);
        if (listing_rows(s.listing) == 0) output_remark(c->output, "Nothing is on hold.");
        output_document(c->output, json_pack("{s:O}", "holds", holds));
    }
    listing_free(s.listing);
    return rc;
}

int verb_run_hold(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    const char *address = options_operand(c->options, 0), *reason = options_text(c->options, OPT_REASON);
    bool add = options_is_action(c->options, "add");
    struct hold_done d;
    int rc = verb_work(c, &w, err);
    if (rc < 0) return rc;
    if (options_is_action(c->options, "list")) return list(c, w, err);
    output_set_job(c->output, "hold");
    rc = add ? hold_add(w, address, reason, &d, err) : hold_release(w, address, reason, &d, err);
    if (rc < 0) return rc;
    char all[64] = "";
    if (d.points > 1) snprintf(all, sizeof all, ", all %u of its recovery points", d.points);
    if (add)
        output_print(c->output, "%s@%s is held%s (log entry %llu)\n", d.label, d.id, all, (unsigned long long)d.seq);
    else
        output_print(c->output, "%s@%s is no longer held: %u hold%s ended (log entry %llu)\n", d.label, d.id, d.ended,
                     d.ended == 1 ? "" : "s", (unsigned long long)d.seq);
    output_set_result(c->output, json_pack("{s:s, s:s, s:s, s:I, s:i, s:i}", "act", add ? "hold" : "release", "point",
                                           d.id, "surface", d.label, "log_seq", (json_int_t)d.seq, "ended",
                                           (int)d.ended, "points", (int)d.points));
    return 0;
}
