#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/stream.h"
#include "work/inspect.h"
#include "work/point.h"

struct diff {
    struct cli *c;
    struct stream stream;
};

static const struct {
    const char *mark;
    enum style style;
} marks[] = {
    [CHANGE_ADDED] = {"+", STYLE_GOOD},      [CHANGE_REMOVED] = {"-", STYLE_BAD}, [CHANGE_CONTENT] = {"M", STYLE_WARN},
    [CHANGE_ATTRIBUTES] = {"a", STYLE_WARN}, [CHANGE_BOTH] = {"M", STYLE_WARN},
};

static int side_json(json_t *j, const char *key, const struct surface_driver *d, const struct item_head *h,
                     struct error *err) {
    json_t *item = NULL;
    if (!h) return json_put(j, key, json_null(), err);
    int rc = inspect_item_json(d, h, &item, err);
    return rc < 0 ? rc : json_put(j, key, item, err);
}

static int change(void *ctx, const struct surface_driver *d, const struct change *c, struct error *err) {
    struct diff *s = ctx;
    json_t *name = json_name((c->after ? c->after : c->before)->name);
    if (!name) return error_set(err, ERR_NO_MEMORY, "no memory for a difference");
    if (!output_is_json(s->c->output)) {
        output_styled(s->c->output, marks[c->kind].style, "%s", marks[c->kind].mark);
        output_print(s->c->output, " %s\n", json_string_value(name));
        json_decref(name);
        return output_alive(s->c->output) ? 0 : 1;
    }
    json_t *j = json_pack("{s:s, s:o}", "change", change_kind_name(c->kind), "name", name);
    if (!j) return error_set(err, ERR_NO_MEMORY, "no memory for a difference");
    int rc = side_json(j, "before", d, c->before, err);
    if (rc == 0) rc = side_json(j, "after", d, c->after, err);
    if (rc == 0) return stream_item(&s->stream, j, err);
    json_decref(j);
    return rc;
}

static int compare(struct cli *c, struct work *w, const struct snapshot_info *a, const struct snapshot_info *b,
                   struct error *err) {
    struct diff s = {.c = c};
    struct diff_totals t;
    json_t *from = NULL, *to = NULL, *head = NULL, *tail = NULL;
    int rc = point_json(a, &from, err);
    if (rc == 0) rc = point_json(b, &to, err);
    if (rc == 0 && !(head = json_pack("{s:O, s:O}", "from", from, "to", to)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = stream_begin(&s.stream, c->output, head, "changes", err);
    if (rc == 0) rc = inspect_diff(w, a, b, change, &s, &t, err);
    if (rc == 0 &&
        !(tail = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "added", (json_int_t)t.added, "removed",
                           (json_int_t)t.removed, "changed", (json_int_t)t.changed, "same", (json_int_t)t.same,
                           "bytes_added", (json_int_t)t.bytes_added, "bytes_removed", (json_int_t)t.bytes_removed)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = stream_end(&s.stream, tail, err);
    if (rc == 0) {
        char added[32], removed[32];
        size_format(t.bytes_added, added);
        size_format(t.bytes_removed, removed);
        output_remark(c->output, "%llu added (%s), %llu removed (%s), %llu changed, %llu the same",
                      (unsigned long long)t.added, added, (unsigned long long)t.removed, removed,
                      (unsigned long long)t.changed, (unsigned long long)t.same);
    }
    stream_free(&s.stream);
    json_decref(tail);
    json_decref(head);
    json_decref(to);
    json_decref(from);
    return rc > 0 ? 0 : rc;
}

int verb_run_diff(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    const struct snapshot_info *a, *b;
    int rc = verb_work_reading(c, &w, err);
    if (rc == 0) rc = work_find_point(w, options_operand(c->options, 0), &a, err);
    if (rc < 0) return rc;
    const struct repo *first = w->repo;
    if ((rc = work_find_point(w, options_operand(c->options, 1), &b, err)) < 0) return rc;
    /* another place was opened, and what the first point was borrowed from is gone */
    if (w->repo != first)
        return error_set(err, ERR_USAGE,
                         "the two recovery points lie in different repositories: they cannot be compared");
    return compare(c, w, a, b, err);
}
