#include "cli/verb_wal.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/listing.h"
#include "work/counted.h"
#include "work/wal.h"
#include "work/wal_window.h"

#include <stdio.h>

static int one_surface(const char *text, struct address *ret, struct error *err) {
    int rc = address_parse(text, ret, err);
    if (rc < 0) return rc;
    if (ret->all || ret->class || ret->surface_count != 1 || ret->point.kind != POINT_UNSAID)
        return error_set(err, ERR_USAGE, "'%s' must name one surface, and no recovery point", text);
    return 0;
}

static int push(struct cli *c, struct work *w, const struct address *a, struct error *err) {
    struct wal_pushed p;
    char name[WAL_NAME_BYTES];
    int rc = work_wal_push(w, a->environment, a->surfaces[0], options_operand(c->options, 1), &p, err);
    if (rc < 0) return rc;
    wal_name_format(&p.name, name);
    if (p.ahead_of_time)
        output_detail(c->output, "%s was stored by an earlier run", name);
    else
        output_detail(c->output, "%s is stored, and %s ready after it", name, COUNTED(p.ahead, "file"));
    output_document(c->output, json_pack("{s:s, s:b, s:i, s:I}", "name", name, "ahead_of_time", p.ahead_of_time,
                                         "ahead", (int)p.ahead, "bytes", (json_int_t)p.bytes));
    return 0;
}

static int get(struct cli *c, struct work *w, const struct address *a, struct error *err) {
    const char *system = options_text(c->options, OPT_SYSTEM);
    struct wal_get q = {.name = options_operand(c->options, 1), .path = options_operand(c->options, 2)};
    if (system && !wal_system_parse(system, &q.system))
        return error_set(err, ERR_USAGE, "'%.40s' is no system identifier of a cluster", system);
    int rc = work_wal_get(w, a->environment, a->surfaces[0], &q, err);
    if (rc == 0) output_document(c->output, json_pack("{s:s, s:s}", "name", q.name, "path", q.path));
    return rc;
}

static const struct listing_column columns[] = {{"TIMELINE", true}, {"FROM", false},  {"TO", false},
                                                {"SIZE", true},     {"FIRST", false}, {"LAST", false}};
#define COLUMNS (sizeof columns / sizeof *columns)

static int range_row(struct listing *l, json_t *list, const struct wal_range *r, struct error *err) {
    char timeline[16], from[24], to[24], size[32], first[32], last[32];
    snprintf(timeline, sizeof timeline, "%u", (unsigned)r->timeline);
    wal_lsn_format(r->from, from);
    wal_lsn_format(r->to, to);
    size_format(r->to - r->from, size);
    time_format(r->first_ns, first);
    time_format(r->last_ns, last);
    const char *cells[COLUMNS] = {timeline, from, to, size, first, last};
    int rc = listing_row(l, cells, err);
    if (rc < 0) return rc;
    return json_push(list,
                     json_pack("{s:I, s:s, s:s, s:s, s:s}", "timeline", (json_int_t)r->timeline, "from", from, "to", to,
                               "first_stored", first, "last_stored", last),
                     err);
}

static int gap_row(json_t *list, const struct wal_gap *g, struct error *err) {
    char from[24], to[24];
    wal_lsn_format(g->from, from);
    wal_lsn_format(g->to, to);
    return json_push(list,
                     json_pack("{s:I, s:s, s:s, s:I, s:b, s:b, s:b, s:s*}", "timeline", (json_int_t)g->timeline, "from",
                               from, "to", to, "needed_by", (json_int_t)g->needed_by, "unreadable", g->unreadable,
                               "minimal", g->minimal, "known", g->known, "reason", g->known ? g->why : NULL),
                     err);
}

static void say_gap(struct cli *c, const struct wal_gap *g) {
    char from[24], to[24];
    wal_lsn_format(g->from, from);
    wal_lsn_format(g->to, to);
    enum style style = g->known ? STYLE_WARN : STYLE_BAD;
    if (!g->to)
        output_styled(c->output, style, "The history of timeline %u is %s", (unsigned)g->timeline,
                      g->unreadable ? "damaged" : "missing");
    else if (g->minimal)
        output_styled(c->output, style, "Written with wal_level=minimal on timeline %u: %s to %s",
                      (unsigned)g->timeline, from, to);
    else if (g->needed_by == g->timeline)
        output_styled(c->output, style, "Missing on timeline %u: %s to %s", (unsigned)g->timeline, from, to);
    else
        output_styled(c->output, style, "Missing on timeline %u: %s to %s, from where timeline %u goes on",
                      (unsigned)g->timeline, from, to, (unsigned)g->needed_by);
    if (g->known)
        output_print(c->output, "; acknowledged: %s. No recovery crosses it.\n", g->why);
    else if (g->minimal)
        output_print(c->output, ". No recovery crosses it: later instants need a backup that was taken since.\n");
    else
        output_print(c->output, "\n");
}

static void on_damaged(void *ctx, const char *object, const struct error *why) {
    struct cli *c = ctx;
    if (why->code == ERR_OBJECT_MISSING)
        output_warning(c->output, NULL, "%s is missing: %s", object, why->text);
    else
        output_warning(c->output, NULL, "%s is damaged: %s", object, why->text);
}

static int show(struct cli *c, const struct wal_view *v, json_t **ret, struct error *err) {
    struct listing *l = NULL;
    json_auto_t *ranges = json_array(), *gaps = json_array();
    char system[24], size[32];
    int rc = ranges && gaps ? listing_new(columns, COLUMNS, &l, err)
                            : error_set(err, ERR_NO_MEMORY, "no memory for the list");
    for (size_t i = 0; i < v->range_count && rc == 0; i++) rc = range_row(l, ranges, &v->ranges[i], err);
    for (size_t i = 0; i < v->gap_count && rc == 0; i++) rc = gap_row(gaps, &v->gaps[i], err);
    snprintf(system, sizeof system, "%llu", (unsigned long long)v->system);
    if (rc == 0) {
        listing_print(l, c->output);
        if (v->range_count == 0) output_remark(c->output, "Nothing is stored.");
        for (size_t i = 0; i < v->gap_count; i++) say_gap(c, &v->gaps[i]);
        size_format(v->stored_bytes, size);
        if (v->objects)
            output_remark(c->output, "Cluster %s: %s, %s stored, %llu of them registered in the log.", system,
                          COUNTED(v->objects, "object"), size, (unsigned long long)v->registered);
        if (v->known)
            output_remark(c->output, "%s missing or damaged in ranges that are acknowledged.",
                          COUNTED(v->known, "object is"));
        *ret =
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "system", system, "objects",
                      (json_int_t)v->objects, "registered", (json_int_t)v->registered, "stored_bytes",
                      (json_int_t)v->stored_bytes, "checked", (json_int_t)v->checked, "damaged", (json_int_t)v->damaged,
                      "missing", (json_int_t)v->missing, "known", (json_int_t)v->known, "ranges", ranges, "gaps", gaps);
    }
    listing_free(l);
    return rc;
}

/* Between which instants what was seen can be recovered. */
static int windows(struct cli *c, struct work *w, const struct address *a, const struct wal_view *v, json_t *doc,
                   struct error *err) {
    struct wal_window *list = NULL;
    json_t *rows = NULL;
    bool known = false;
    size_t n = 0;
    int rc = wal_windows_seen(w, a->environment, a->surfaces[0], v, &known, &list, &n, err);
    if (rc == 0 && known && !(rows = json_array())) rc = error_set(err, ERR_NO_MEMORY, "no memory for the list");
    for (size_t i = 0; i < n && rc == 0; i++) {
        char text[120], first[32], last[32];
        wal_window_text(&list[i], text);
        time_format(list[i].first_ns, first);
        time_format(list[i].last_ns, last);
        output_print(c->output, "Recoverable on %s\n", text);
        rc = json_push(
            rows, json_pack("{s:I, s:s, s:s}", "timeline", (json_int_t)list[i].timeline, "first", first, "last", last),
            err);
    }
    seam_free(list);
    if (rc < 0) {
        json_decref(rows);
        return rc;
    }
    if (known && n == 0 && v->range_count)
        output_remark(c->output,
                      "No instant can be recovered by it: there is no physical backup that it leads on from.");
    return known ? json_put(doc, "windows", rows, err) : 0;
}

static int look(struct cli *c, struct work *w, const struct address *a, bool verify, struct error *err) {
    const char *level = options_text(c->options, OPT_LEVEL);
    bool decode = verify && level && strcmp(level, "present") != 0;
    struct wal_view v;
    json_t *doc = NULL;
    struct error why = ERROR_INIT;
    /* The log alone tells what there is; the backups that it leads on from are found by the index, too. */
    bool indexed = verify && work_open_repo(w, a->environment, &why) == 0;
    int rc = work_wal_verify(w, a->environment, a->surfaces[0], decode, on_damaged, c, &v, err);
    if (rc < 0) return rc;
    rc = show(c, &v, &doc, err);
    if (rc == 0 && verify) rc = json_put(doc, "windows", json_null(), err);
    /* What was found out is said even so. */
    if (rc == 0 && verify && (!indexed || windows(c, w, a, &v, doc, &why) < 0))
        output_warning(c->output, NULL, "between which instants it can be recovered cannot be told: %s", why.text);
    if (rc < 0) {
        json_decref(doc);
        wal_view_free(&v);
        return rc;
    }
    if (verify && decode)
        output_print(c->output, "%s read, %llu damaged\n", COUNTED(v.checked, "object"), (unsigned long long)v.damaged);
    if (verify)
        output_set_result(c->output, doc);
    else
        output_document(c->output, doc);
    size_t open_gaps = v.gap_count - v.known_gaps;
    if (verify && (open_gaps || v.damaged || v.missing))
        rc = error_set(err, ERR_VERIFY_FAILED, "the WAL of %s/%s has %s, %s and %s", a->environment, a->surfaces[0],
                       COUNTED(open_gaps, "gap"), COUNTED(v.damaged, "damaged object"),
                       COUNTED(v.missing, "missing one"));
    wal_view_free(&v);
    return rc;
}

static int acknowledge(struct cli *c, struct work *w, const struct address *a, struct error *err) {
    const char *named = options_operand(c->options, 1);
    struct wal_acknowledged *list = NULL;
    struct wal_name segment;
    json_auto_t *done = json_array();
    size_t n = 0;
    int rc = named ? wal_name_parse(named, &segment, err) : 0;
    if (rc == 0 && named && segment.kind != WAL_SEGMENT)
        rc = error_set(err, ERR_USAGE, "'%.60s' is no name of a segment", named);
    if (rc == 0)
        rc = work_wal_acknowledge(w, a->environment, a->surfaces[0], named ? &segment : NULL,
                                  options_text(c->options, OPT_REASON), &list, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char from[24], to[24];
        wal_lsn_format(list[i].from, from);
        wal_lsn_format(list[i].to, to);
        output_print(c->output, "acknowledged: timeline %u, %s to %s; no recovery crosses it\n",
                     (unsigned)list[i].timeline, from, to);
        rc = json_push(
            done, json_pack("{s:I, s:s, s:s}", "timeline", (json_int_t)list[i].timeline, "from", from, "to", to), err);
    }
    seam_free(list);
    if (rc == 0) output_set_result(c->output, json_pack("{s:O}", "acknowledged", done));
    return rc;
}

int verb_run_wal(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    struct address a;
    int rc = one_surface(options_operand(c->options, 0), &a, err);
    bool gets = options_is_action(c->options, "get");
    if (rc == 0) rc = (gets ? verb_work_reading : verb_work)(c, &w, err);
    if (rc < 0) return rc;
    if (options_is_action(c->options, "push")) return push(c, w, &a, err);
    if (gets) return get(c, w, &a, err);
    if (options_is_action(c->options, "receive")) return wal_receive(c, w, &a, err);
    if (options_is_action(c->options, "switch")) return wal_switch(c, w, &a, err);
    if (options_is_action(c->options, "acknowledge")) {
        output_set_job(c->output, "wal acknowledge");
        return acknowledge(c, w, &a, err);
    }
    bool verify = options_is_action(c->options, "verify");
    if (verify) output_set_job(c->output, "wal verify");
    return look(c, w, &a, verify, err);
}
