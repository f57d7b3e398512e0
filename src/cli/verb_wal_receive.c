#include "cli/verb_wal.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/counted.h"
#include "work/wal_receive.h"

#include <stdio.h>

struct telling {
    struct cli *c;
    char label[260];
};

static const char *const words[] = {
    [RECEIVE_STARTED] = "started",           [RECEIVE_PROGRESS] = "progress",
    [RECEIVE_TIMELINE] = "timeline",         [RECEIVE_BRANCH] = "branch",
    [RECEIVE_DISCONNECTED] = "disconnected", [RECEIVE_STORE_FAILS] = "store_fails",
    [RECEIVE_STORE_WORKS] = "store_works",   [RECEIVE_SLOT] = "slot",
    [RECEIVE_SLOT_MADE] = "slot_made",       [RECEIVE_GAP] = "gap",
};

static json_t *facts(const struct receive_state *s) {
    char system[24], received[24], durable[24], end[24];
    snprintf(system, sizeof system, "%llu", (unsigned long long)s->system);
    wal_lsn_format(s->received, received);
    wal_lsn_format(s->durable, durable);
    wal_lsn_format(s->server_end, end);
    int64_t lag_ms = s->unsaved_ns ? (time_monotonic_ns() - s->unsaved_ns) / 1000000 : 0;
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:I}", "system", system, "timeline",
                     (json_int_t)s->timeline, "received", received, "durable", durable, "server_end", end, "unsaved_ms",
                     (json_int_t)lag_ms, "segments", (json_int_t)s->segments, "pieces", (json_int_t)s->pieces, "bytes",
                     (json_int_t)s->bytes, "slot_bytes", (json_int_t)s->slot_bytes, "wal_status", s->wal_status,
                     "synchronous", s->synchronous, "connections", (json_int_t)s->connections);
}

static void on_event(void *ctx, enum receive_event what, const struct receive_state *s, const char *text) {
    const struct telling *t = ctx;
    struct output *o = t->c->output;
    if (what == RECEIVE_PROGRESS) {
        struct progress_point p = {.surface = t->label, .phase = "receive", .bytes = s->bytes, .items = s->segments};
        output_progress(o, &p);
    } else if (what == RECEIVE_STARTED || what == RECEIVE_TIMELINE || what == RECEIVE_STORE_WORKS ||
               what == RECEIVE_SLOT_MADE) {
        output_remark(o, "%s: %s", t->label, text);
    } else {
        output_warning(o, t->label, "%s", text);
    }
    if (!output_is_json(o)) return;
    json_t *j = facts(s);
    if (j) json_object_set_new(j, "what", json_string(words[what]));
    if (j && *text) json_object_set_new(j, "text", json_string(text));
    output_event(o, "wal", j);
}

static int drop(struct cli *c, struct work *w, const struct address *a, struct error *err) {
    const char *slot;
    int rc = work_wal_slot_drop(w, a->environment, a->surfaces[0], options_text(c->options, OPT_SLOT), &slot, err);
    if (rc < 0) return rc;
    output_remark(c->output, "Slot %s was dropped; the server no longer keeps WAL for it.", slot);
    output_set_result(c->output, json_pack("{s:s}", "dropped", slot));
    return 0;
}

int wal_receive(struct cli *c, struct work *w, const struct address *a, struct error *err) {
    const char *until = options_text(c->options, OPT_UNTIL_LSN);
    struct telling t = {.c = c};
    struct receive_state s;
    char durable[24], size[32];
    struct receive_options o = {
        .slot = options_text(c->options, OPT_SLOT),
        .application_name = options_text(c->options, OPT_APPLICATION_NAME),
        .piece_ns = options_duration(c->options, OPT_EVERY, 0),
        .create_slot = options_flag(c->options, OPT_CREATE_SLOT),
        .accept_gap = options_flag(c->options, OPT_ACCEPT_GAP),
        .once = options_flag(c->options, OPT_ONCE),
        .ctx = &t,
        .event = on_event,
    };
    output_set_job(c->output, "wal receive");
    if (options_flag(c->options, OPT_DROP_SLOT)) return drop(c, w, a, err);
    if (until && (!wal_lsn_parse(until, &o.until_lsn) || o.until_lsn == 0))
        return error_set(err, ERR_USAGE, "--until-lsn wants a place such as 16/B374D848, not '%s'", until);
    snprintf(t.label, sizeof t.label, "%s/%s", a->environment, a->surfaces[0]);
    int rc = work_wal_receive(w, a->environment, a->surfaces[0], &o, &s, err);
    bool asked = rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED;
    wal_lsn_format(s.durable, durable);
    size_format(s.bytes, size);
    output_set_result(c->output, facts(&s));
    if (rc == 0 || asked)
        output_progress_end(c->output, t.label, STYLE_GOOD, "%s  %s and %s, %s; timeline %u is stored up to %s",
                            rc == 0 ? "OK" : "STOPPED", COUNTED(s.segments, "segment"), COUNTED(s.pieces, "piece"),
                            size, (unsigned)s.timeline, durable);
    else
        output_progress_end(c->output, t.label, STYLE_BAD, "FAILED  %s", err->text);
    return rc;
}

int wal_switch(struct cli *c, struct work *w, const struct address *a, struct error *err) {
    struct wal_name name;
    char text[WAL_NAME_BYTES] = "";
    bool switched;
    int rc = work_wal_switch(w, a->environment, a->surfaces[0], &switched, &name, err);
    if (rc < 0) return rc;
    if (switched) wal_name_format(&name, text);
    if (switched)
        output_print(c->output, "%s\n", text);
    else
        output_remark(c->output, "Nothing was written since the last segment's end.");
    output_document(c->output, json_pack("{s:b, s:s}", "switched", switched, "segment", text));
    return 0;
}
