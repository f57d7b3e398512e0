/* What the log says of sets. An entry that names a receipt which is not there, or another one, counts for nothing. */
#include "base/time.h"
#include "repo/repo_internal.h"

#include <stdio.h>

#define DURATION_MS_MAX (INT64_MAX / 1000000)

static int broken(struct error *err, const struct ledger_entry *e, const char *what) {
    return error_set(err, ERR_LEDGER_BROKEN, "log entry %llu %s", (unsigned long long)e->seq, what);
}

static bool member_of(const struct state *s, const json_t *m, const char *environment, uint64_t *ret) {
    json_int_t seq = json_integer_value(json_object_get(m, "seq"));
    const struct snapshot_info *n = seq > 0 ? state_snapshot_at(s, (uint64_t)seq) : NULL;
    struct digest d;
    if (!n || !json_get_digest(json_object_get(m, "receipt"), &d) || !digest_equal(&d, &n->entry) ||
        strcmp(n->environment, environment) != 0 || strcmp(n->surface, json_text(m, "surface", "")) != 0)
        return false;
    *ret = (uint64_t)seq;
    return true;
}

static void set_clear(struct set_info *n) {
    seam_free(n->environment);
    seam_free(n->name);
    seam_free(n->members);
}

int judge_set(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    struct set_info n = {.seq = e->seq, .entry = e->digest, .claimed_ns = e->time_ns};
    const json_t *members = json_object_get(p, "members"), *missing = json_object_get(p, "missing");
    const char *id = json_text(p, "set_id", ""), *environment = json_text(p, "environment", ""),
               *name = json_text(p, "set", ""), *consistency = json_text(p, "consistency", "");
    if (!*id || strlen(id) >= sizeof n.id || !*environment || !*name || strlen(consistency) >= sizeof n.consistency)
        return broken(err, e, "does not say which set it is");
    if (!time_parse(json_text(p, "started_at", ""), &n.started_ns) ||
        !time_parse(json_text(p, "completed_at", ""), &n.completed_ns))
        return broken(err, e, "has no usable times");
    if (json_array_size(members) + json_array_size(missing) > SET_MEMBERS_MAX)
        return broken(err, e, "has more members than a set may have");
    snprintf(n.id, sizeof n.id, "%s", id);
    snprintf(n.consistency, sizeof n.consistency, "%s", consistency);
    n.missing = (unsigned)json_array_size(missing);
    n.complete = strcmp(json_text(p, "status", ""), "success") == 0;
    void *mem;
    int rc = mem_alloc((json_array_size(members) + 1) * sizeof *n.members, &mem, err);
    if (rc < 0) return rc;
    n.members = mem;
    for (size_t i = 0; i < json_array_size(members) && rc == 0; i++)
        if (!member_of(s, json_array_get(members, i), environment, &n.members[n.member_count++]))
            rc = broken(err, e, "is of a recovery point that is not there");
    if (rc == 0) rc = mem_strdup(environment, &n.environment, err);
    if (rc == 0) rc = mem_strdup(name, &n.name, err);
    if (rc == 0) rc = mem_grow((void **)&s->sets, &s->set_cap, s->set_count + 1, sizeof *s->sets, err);
    if (rc == 0)
        s->sets[s->set_count++] = n;
    else
        set_clear(&n);
    return rc;
}

int judge_set_restore(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    json_int_t seq = json_integer_value(json_object_get(p, "seq"));
    int64_t ms = json_integer_value(json_object_get(p, "duration_ms"));
    struct set_info *n = NULL;
    struct digest d;
    for (size_t i = 0; i < s->set_count; i++)
        if (seq > 0 && s->sets[i].seq == (uint64_t)seq) n = &s->sets[i];
    if (!n || !json_get_digest(json_object_get(p, "entry"), &d) || !digest_equal(&d, &n->entry))
        return broken(err, e, "restores a set that is not there");
    if (strcmp(json_text(p, "status", ""), "success") != 0 || ms < 1 || ms > DURATION_MS_MAX) return 0;
    n->restored_ns = e->time_ns;
    n->restore_took_ns = ms * 1000000;
    return 0;
}

void state_sets_free(struct state *s) {
    for (size_t i = 0; i < s->set_count; i++) set_clear(&s->sets[i]);
    seam_free(s->sets);
}

size_t repo_set_count(const struct repo *r) {
    return r->state.set_count;
}

const struct set_info *repo_set(const struct repo *r, size_t i) {
    return &r->state.sets[i];
}
