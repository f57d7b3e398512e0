#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/counted.h"
#include "work/drift.h"
#include "work/renew.h"
#include "work/store_policy.h"

#include <stdio.h>

static int renew(struct cli *c, struct work *w, struct error *err) {
    struct renew_options o = {.when_due = false};
    struct renew_totals t;
    char soonest[32] = "";
    int rc = work_renew(w, &o, &t, err);
    if (rc < 0) return rc;
    if (t.soonest_ns) time_format(t.soonest_ns, soonest);
    if (!t.configured)
        output_print(c->output, "Nothing to renew: %s has no immutability configured.\n", w->url);
    else
        output_print(c->output, "%s of %llu in use locked anew%s%s\n", COUNTED(t.renewed, "object"),
                     (unsigned long long)t.objects, *soonest ? "; the first lock ends " : "", soonest);
    if (t.missing)
        output_styled(c->output, STYLE_BAD, "%s in use and not there; see 'proofkeep verify'\n",
                      COUNTED(t.missing, "object"));
    output_set_result(c->output, json_pack("{s:b, s:I, s:I, s:I, s:I, s:o}", "configured", t.configured, "objects",
                                           (json_int_t)t.objects, "looked_at", (json_int_t)t.looked_at, "renewed",
                                           (json_int_t)t.renewed, "missing", (json_int_t)t.missing, "first_lock_ends",
                                           *soonest ? json_string(soonest) : json_null()));
    return 0;
}

struct drift {
    struct cli *c;
    json_t *signals;
};

static int line(void *ctx, const struct drift_signal *s, struct error *err) {
    static const enum style styles[] = {STYLE_BAD, STYLE_GOOD, STYLE_WARN, STYLE_BAD};
    struct drift *d = ctx;
    output_styled(d->c->output, styles[s->state], "%-8s", drift_state_name(s->state));
    output_print(d->c->output, " %-12s  %s\n", s->name, s->text);
    if (s->next) output_print(d->c->output, "                        next: %s\n", s->next);
    return json_push(d->signals,
                     json_pack("{s:s, s:s, s:s, s:o}", "signal", s->name, "state", drift_state_name(s->state), "text",
                               s->text, "next", s->next ? json_string(s->next) : json_null()),
                     err);
}

static int drift(struct cli *c, struct work *w, struct error *err) {
    json_auto_t *signals = json_array();
    struct drift d = {c, signals};
    struct drift_totals t;
    if (!signals) return error_set(err, ERR_NO_MEMORY, "no memory for the signals");
    int rc = work_drift(w, line, &d, &t, err);
    if (rc < 0) return rc;
    if (t.ok + t.told + t.unknown + t.breached == 0)
        output_print(c->output, "%s is a folder: nothing can drift there.\n", w->url);
    output_document(c->output,
                    json_pack("{s:b, s:i, s:i, s:i, s:O}", "ok", t.breached + t.unknown == 0, "breached",
                              (int)t.breached, "unknown", (int)t.unknown, "told", (int)t.told, "signals", signals));
    if (t.breached + t.unknown == 0) return 0;
    return error_set(err, ERR_DRIFT,
                     "%u of the store's properties are not as the policy asks, and %u could not be found out",
                     t.breached, t.unknown);
}

static int policy(struct cli *c, struct error *err) {
    const char *role = options_text(c->options, OPT_ROLE), *style = options_text(c->options, OPT_STYLE);
    struct store_policy_request q = {
        .config_path = options_text(c->options, OPT_CONFIG),
        .repository = options_text(c->options, OPT_REPOSITORY),
        .style = style && strcmp(style, "bucket") == 0 ? POLICY_BUCKET : POLICY_IDENTITY,
    };
    struct store_policy p;
    CLEANUP(buf_free) struct buf text = BUF_INIT(JSON_MAX_BYTES);
    q.principals = options_list(c->options, OPT_PRINCIPAL, &q.principal_count);
    if (!key_role_parse(role, &q.role)) return error_set(err, ERR_USAGE, "there is no role '%s'", role);
    int rc = store_policy_make(&q, &p, err);
    if (rc < 0) return rc;
    rc = json_write_pretty(p.document, &text, err);
    if (rc == 0) rc = buf_append(&text, "\n", 1, err);
    if (rc == 0) output_raw(c->output, buf_bytes(&text));
    for (size_t i = 0; i < POLICY_NOTES_MAX && p.notes[i] && rc == 0; i++) output_remark(c->output, "%s", p.notes[i]);
    json_decref(p.document);
    return rc;
}

int verb_run_store(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    bool query = options_is_action(c->options, "drift");
    if (options_is_action(c->options, "policy")) return policy(c, err);
    int rc = verb_work(c, &w, err);
    if (rc < 0) return rc;
    if (!query) output_set_job(c->output, "store");
    if ((rc = work_open_repo(w, NULL, err)) < 0) return rc;
    return query ? drift(c, w, err) : renew(c, w, err);
}
