#include "work/copy_sets.h"

#include "base/time.h"
#include "evidence/set.h"
#include "repo/copy.h"

#include <stdio.h>

static bool is_there(const struct work *to, const struct set_info *s) {
    for (size_t i = 0; i < repo_set_count(to->repo); i++) {
        const struct set_info *o = repo_set(to->repo, i);
        /* one whose members were forgotten there and copied again is told anew */
        if (strcmp(o->id, s->id) == 0 && strcmp(o->environment, s->environment) == 0 &&
            o->member_count == s->member_count && set_members_left(to, o) == o->member_count)
            return true;
    }
    return false;
}

static const struct snapshot_info *copy_of(const struct work *from, const struct work *to, uint64_t member) {
    const struct snapshot_info *p = repo_snapshot_at(from->repo, member),
                               *c = p ? copy_find(from->repo, p, to->repo) : NULL;
    return c && !c->forgotten ? c : NULL;
}

static int tell(struct work *from, struct work *to, const struct set_info *s, struct error *err) {
    struct redaction secrets = known_secrets_redaction(&to->known);
    json_auto_t *predicate = NULL, *statement = NULL;
    struct digest entry;
    uint64_t seq;
    json_t *m;
    size_t i;
    char label[260];
    int rc = set_predicate(from, s, &predicate, err);
    if (rc == 0 && json_array_size(json_object_get(predicate, "members")) != s->member_count)
        rc = error_set(err, ERR_LEDGER_BROKEN, "the set %s is not what was read before", s->id);
    json_array_foreach(json_object_get(predicate, "members"), i, m) {
        const struct snapshot_info *c = rc == 0 ? copy_of(from, to, s->members[i]) : NULL;
        char receipt[65];
        if (!c) break;
        hex_encode(c->entry.b, DIGEST_BYTES, receipt);
        rc = json_put_int(m, "seq", (int64_t)c->seq, err);
        if (rc == 0) rc = json_put_str(m, "receipt", receipt, err);
    }
    struct set_copied c = {.source = predicate,
                           .set_id = s->id,
                           .source_repository = repo_id_hex(from->repo),
                           .source_seq = s->seq,
                           .source_entry = s->entry,
                           .copied_ns = time_now_ns(),
                           .principal = to->principal};
    if (rc == 0) rc = evidence_set_copied(&c, &secrets, &statement, err);
    if (rc == 0) rc = repo_append(to->repo, statement, &seq, &entry, err);
    if (rc < 0) return error_wrap(err, "the receipt of the set %s", s->id);
    const struct work_events *e = &to->options.events;
    snprintf(label, sizeof label, "%.120s/%.130s", s->environment, s->name);
    if (e->receipt) e->receipt(e->ctx, label, json_object_get(statement, "predicate"), seq, &entry);
    return 0;
}

int copy_sets_run(struct work *from, struct work *to, uint64_t before, struct copy_sets *r, struct error *err) {
    int rc = 0;
    for (; rc == 0 && r->next < repo_set_count(from->repo); r->next++) {
        const struct set_info *s = repo_set(from->repo, r->next);
        bool whole = s->member_count > 0;
        if (s->seq >= before) break;
        for (size_t k = 0; k < s->member_count && whole; k++) whole = copy_of(from, to, s->members[k]) != NULL;
        if (!whole) continue;
        if (is_there(to, s)) {
            r->there++;
        } else {
            rc = tell(from, to, s, err);
            r->done += rc == 0;
        }
    }
    return rc;
}
