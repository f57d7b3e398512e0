/* The fold of the log into what is live. A signer is known from KEY entries below the entry at hand, and may say only
 * what its role allows: a stolen writer key can add snapshots, and can neither vouch for one, forget one nor release a
 * hold. */
#include "base/utf8.h"
#include "repo/repo_internal.h"

static const struct key_info *state_key(const struct state *s, const uint8_t pub[SIGN_PUBLIC_BYTES]) {
    for (size_t i = s->key_count; i-- > 0;)
        if (memcmp(s->keys[i].public_key, pub, SIGN_PUBLIC_BYTES) == 0) return &s->keys[i];
    return NULL;
}

static int broken(struct error *err, const struct ledger_entry *e, const char *what) {
    return error_set(err, ERR_LEDGER_BROKEN, "log entry %llu %s", (unsigned long long)e->seq, what);
}

/* As much as fits, ending with a whole character. */
static void text_copy(char *ret, size_t n, const char *s) {
    size_t at = 0, len = strlen(s), step;
    while ((step = utf8_char_bytes((const uint8_t *)s + at, len - at)) && at + step < n) at += step;
    memcpy(ret, s, at);
    ret[at] = 0;
}

static int digests_of(const json_t *array, struct digest **ret, size_t *ret_n, struct error *err) {
    size_t n = json_array_size(array);
    *ret = NULL;
    *ret_n = 0;
    if (n == 0) return 0;
    void *p;
    int rc = mem_alloc(n * sizeof(struct digest), &p, err);
    if (rc < 0) return rc;
    struct digest *d = p;
    for (size_t i = 0; i < n; i++)
        if (!json_get_digest(json_array_get(array, i), &d[i])) {
            seam_free(d);
            return error_set(err, ERR_LEDGER_BROKEN, "a digest in the log is malformed");
        }
    *ret = d;
    *ret_n = n;
    return 0;
}

/* Both lists are read before the first change: an entry that turns out to be void must not have changed anything. */
static int runs_change(struct state *s, const json_t *added, const json_t *removed, struct error *err) {
    struct digest *gone, *fresh = NULL;
    size_t gone_n, fresh_n;
    int rc = digests_of(removed, &gone, &gone_n, err);
    if (rc < 0) return rc;
    rc = digests_of(added, &fresh, &fresh_n, err);
    for (size_t i = 0; i < gone_n && rc == 0; i++)
        for (size_t j = 0; j < s->run_count; j++)
            if (digest_equal(&s->runs[j], &gone[i])) {
                s->runs[j] = s->runs[--s->run_count];
                break;
            }
    for (size_t i = 0; i < fresh_n && rc == 0; i++) {
        bool there = false;
        for (size_t j = 0; j < s->run_count; j++) there |= digest_equal(&s->runs[j], &fresh[i]);
        if (there) continue;
        rc = mem_grow((void **)&s->runs, &s->run_cap, s->run_count + 1, sizeof *s->runs, err);
        if (rc == 0) s->runs[s->run_count++] = fresh[i];
    }
    seam_free(gone);
    seam_free(fresh);
    return rc;
}

/* Of a snapshot that was copied, where from. Absent: it was not. */
static int source_of(const struct ledger_entry *e, const json_t *copy, struct snapshot_info *n, struct error *err) {
    const char *id = json_text(copy, "repository", "");
    json_int_t seq = json_integer_value(json_object_get(copy, "seq"));
    if (!copy) return 0;
    n->is_copy = true;
    n->source.seq = (uint64_t)seq;
    if (!hex_decode(id, strlen(id), n->source.repository, sizeof n->source.repository) || seq < 1 ||
        !json_get_digest(json_object_get(copy, "receipt"), &n->source.entry) ||
        !json_get_digest(json_object_get(copy, "envelope"), &n->source.kept))
        return broken(err, e, "is a copy and does not say of what");
    return 0;
}

static int judge_receipt(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    int rc;
    const json_t *repo = json_object_get(p, "repository");
    if (!json_is_object(repo) || !json_array_size(json_object_get(repo, "root"))) {
        rc = mem_grow((void **)&s->jobs, &s->job_cap, s->job_count + 1, sizeof *s->jobs, err);
        if (rc < 0) return rc;
        struct job_info j = {.seq = e->seq};
        text_copy(j.id, sizeof j.id, json_text(p, "backup_id", ""));
        time_parse(json_text(p, "completed_at", ""), &j.completed_ns);
        const char *surface = json_is_object(repo) ? json_text(repo, "surface", "") : json_text(p, "surface", "");
        if ((rc = mem_strdup(json_text(p, "environment", ""), &j.environment, err)) < 0) return rc;
        if ((rc = mem_strdup(surface, &j.surface, err)) < 0) {
            seam_free(j.environment);
            return rc;
        }
        s->jobs[s->job_count++] = j;
        return 0;
    }
    struct snapshot_info n = {.seq = e->seq,
                              .entry = e->digest,
                              .stored_ns = e->stored_ns ? e->stored_ns : e->time_ns,
                              .claimed_ns = e->time_ns};
    const char *id = json_text(p, "backup_id", "");
    if (!*id || strlen(id) >= SNAPSHOT_ID_MAX) return broken(err, e, "has no usable backup_id");
    snprintf(n.id, sizeof n.id, "%s", id);
    memcpy(n.writer, e->signer, sizeof n.writer);
    if (!time_parse(json_text(p, "started_at", ""), &n.started_ns) ||
        !time_parse(json_text(p, "completed_at", ""), &n.completed_ns))
        return broken(err, e, "has no usable times");
    n.complete = json_is_true(json_object_get(repo, "complete"));
    n.before_restore = *json_text(p, "before_restore", "") != 0;
    n.items = (uint64_t)json_integer_value(json_object_get(repo, "items"));
    n.bytes = (uint64_t)json_integer_value(json_object_get(repo, "bytes"));
    n.stored_bytes = (uint64_t)json_integer_value(json_object_get(repo, "stored_bytes"));
    if (!json_get_digest(json_object_get(repo, "packs"), &n.packs)) return broken(err, e, "names no pack list");
    const char *fallback = json_text(json_object_get(p, "fallback"), "of", "");
    if ((rc = source_of(e, json_object_get(p, "copy"), &n, err)) < 0) return rc;
    if ((rc = digests_of(json_object_get(repo, "root"), &n.root, &n.root_count, err)) < 0) return rc;
    if ((rc = mem_strdup(json_text(p, "environment", ""), &n.environment, err)) < 0 ||
        (rc = mem_strdup(json_text(repo, "surface", ""), &n.surface, err)) < 0 ||
        (rc = mem_strdup(json_text(repo, "kind", ""), &n.kind, err)) < 0 ||
        (rc = mem_strdup(json_text(p, "surface", ""), &n.receipt_surface, err)) < 0 ||
        (*fallback && (rc = mem_strdup(fallback, &n.fallback, err)) < 0) ||
        (rc = runs_change(s, json_object_get(repo, "index"), json_object_get(repo, "index_removed"), err)) < 0 ||
        (rc = mem_grow((void **)&s->snapshots, &s->snapshot_cap, s->snapshot_count + 1, sizeof *s->snapshots, err)) <
            0) {
        seam_free(n.root);
        seam_free(n.environment);
        seam_free(n.surface);
        seam_free(n.kind);
        seam_free(n.receipt_surface);
        seam_free(n.fallback);
        return rc;
    }
    n.packs_seq = n.seq;
    s->snapshots[s->snapshot_count++] = n;
    return 0;
}

struct snapshot_info *state_snapshot_at(const struct state *s, uint64_t seq) {
    size_t lo = 0, hi = s->snapshot_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->snapshots[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->snapshot_count && s->snapshots[lo].seq == seq ? &s->snapshots[lo] : NULL;
}

static enum verify_level level_of(const char *name) {
    static const char *const names[] = {"", "present", "checksum", "decode", "spot", "full", "rebuild"};
    for (int i = 1; i < 7; i++)
        if (strcmp(name, names[i]) == 0) return (enum verify_level)i;
    return VERIFY_NONE;
}

static int judge_verification(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    struct snapshot_info *n = state_snapshot_at(s, (uint64_t)json_integer_value(json_object_get(p, "seq")));
    struct digest d;
    if (!n || !json_get_digest(json_object_get(p, "receipt"), &d) || !digest_equal(&d, &n->entry))
        return broken(err, e, "vouches for a snapshot that is not there");
    const char *result = json_text(p, "result", "");
    if (strcmp(result, "PASSED") == 0 || strcmp(result, "WARNED") == 0) {
        enum verify_level l = level_of(json_text(p, "level", ""));
        if (l > n->verified) n->verified = l;
        n->level_ns[l] = e->time_ns;
        n->verified_ns = n->level_ns[n->verified]; /* a lower rung today does not refresh a higher one of long ago */
        n->verify_failed = false;
        int64_t started;
        if (l >= VERIFY_FULL && time_parse(json_text(p, "started_at", ""), &started) && started <= e->time_ns) {
            int64_t ms = json_integer_value(json_object_get(p, "duration_ms"));
            n->restored_ns = e->time_ns;
            n->restore_took_ns = ms > 0 && ms < INT64_MAX / 1000000 ? ms * 1000000 : e->time_ns - started;
        }
    } else if (strcmp(result, "FAILED") == 0) {
        n->verify_failed = true;
        n->verified = VERIFY_NONE;
    }
    return 0;
}

static int judge_key(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    struct key_info k = {.seq = e->seq};
    const char *hex = json_text(p, "key", "");
    if (!hex_decode(hex, strlen(hex), k.public_key, sizeof k.public_key))
        return broken(err, e, "names a malformed key");
    if (strcmp(json_text(p, "action", ""), "remove") == 0) {
        const char *since = json_string_value(json_object_get(p, "suspect_since"));
        if (since && (!time_parse(since, &k.suspect_ns) || k.suspect_ns <= 0))
            return broken(err, e, "says at no usable time since when a key is suspect");
        for (size_t i = 0; i < s->key_count; i++) {
            if (memcmp(s->keys[i].public_key, k.public_key, sizeof k.public_key) != 0) continue;
            if (!s->keys[i].removed) s->keys[i].last_epoch = (unsigned)s->epoch_count;
            s->keys[i].removed = true;
            if (k.suspect_ns) s->keys[i].suspect_ns = k.suspect_ns;
        }
        return 0;
    }
    if (!key_role_parse(json_text(p, "role", ""), &k.role)) return broken(err, e, "names an unknown role");
    text_copy(k.label, sizeof k.label, json_text(p, "label", ""));
    int64_t epoch = json_integer_value(json_object_get(p, "epoch"));
    if (k.role != ROLE_ADMIN && epoch != (int64_t)s->epoch_count)
        return broken(err, e, "adds a key that holds the keys of an epoch that is not in force");
    k.epoch = k.role == ROLE_ADMIN ? 0 : (unsigned)epoch;
    int rc = mem_grow((void **)&s->keys, &s->key_cap, s->key_count + 1, sizeof *s->keys, err);
    if (rc == 0) s->keys[s->key_count++] = k;
    return rc;
}

/* An epoch begins with an entry that adds the object of its keys to the live runs: see epoch.c for why. */
static int judge_epoch(struct state *s, const struct ledger_entry *e, const json_t *p, enum key_role role,
                       struct error *err) {
    struct epoch_info n = {.seq = e->seq};
    int64_t epoch = json_integer_value(json_object_get(p, "epoch"));
    if (role != ROLE_ADMIN) return broken(err, e, "begins an epoch without an admin key");
    if (epoch != (int64_t)s->epoch_count + 1 || epoch > EPOCHS_MAX)
        return broken(err, e, "begins an epoch that does not follow the one in force");
    if (!json_get_digest(json_object_get(p, "epoch_keys"), &n.keys))
        return broken(err, e, "begins an epoch and does not name its keys");
    int rc = mem_grow((void **)&s->epochs, &s->epoch_cap, s->epoch_count + 1, sizeof *s->epochs, err);
    if (rc == 0) rc = runs_change(s, json_object_get(p, "index_added"), json_object_get(p, "index_removed"), err);
    if (rc == 0) s->epochs[s->epoch_count++] = n;
    return rc;
}

/* Pack lists that were lost and written anew, and lists of collections that are lost and needed no longer. */
static int judge_repair(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    const json_t *lists = json_object_get(p, "lists"), *row;
    struct digest *lost, d;
    size_t lost_n, i;
    json_array_foreach(
        lists, i, row) if (!state_snapshot_at(s, (uint64_t)json_integer_value(json_array_get(row, 0))) ||
                           !json_get_digest(json_array_get(row, 1),
                                            &d)) return broken(err, e,
                                                               "gives a pack list to a snapshot that is not there");
    int rc = digests_of(json_object_get(p, "lists_lost"), &lost, &lost_n, err);
    if (rc < 0) return rc;
    json_array_foreach(lists, i, row) {
        struct snapshot_info *n = state_snapshot_at(s, (uint64_t)json_integer_value(json_array_get(row, 0)));
        (void)!json_get_digest(json_array_get(row, 1), &n->packs);
        n->packs_seq = e->seq;
    }
    for (i = 0; i < lost_n; i++)
        for (size_t k = 0; k < s->delete_count; k++) {
            struct delete_info *x = &s->deletes[k];
            if (x->has_packs && digest_equal(&x->packs, &lost[i])) x->has_packs = false;
            if (x->has_replacement && digest_equal(&x->replaced_by, &lost[i])) x->has_replacement = false;
            if (x->has_swept && digest_equal(&x->swept, &lost[i])) x->has_swept = false;
        }
    seam_free(lost);
    return 0;
}

static int judge_delete(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    struct delete_info d = {.seq = e->seq};
    d.has_packs = json_get_digest(json_object_get(p, "packs"), &d.packs);
    d.has_replacement = json_get_digest(json_object_get(p, "replaced_by"), &d.replaced_by);
    d.has_swept = json_get_digest(json_object_get(p, "swept"), &d.swept);
    int rc = mem_grow((void **)&s->deletes, &s->delete_cap, s->delete_count + 1, sizeof *s->deletes, err);
    if (rc < 0) return rc;
    rc = runs_change(s, json_object_get(p, "index_added"), json_object_get(p, "index_removed"), err);
    if (rc == 0) s->deletes[s->delete_count++] = d;
    return rc;
}

/* What is said last of a copy stands. */
static int judge_copy(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    struct copy_info c = {.seq = e->seq, .time_ns = e->time_ns};
    const char *id = json_text(p, "repository", "");
    const json_t *list = json_object_get(p, "missing");
    json_int_t newest = json_integer_value(json_object_get(p, "newest"));
    if (!hex_decode(id, strlen(id), c.repository, sizeof c.repository) || newest < 0 || (uint64_t)newest >= e->seq)
        return broken(err, e, "does not say what was copied where");
    c.newest = (uint64_t)newest;
    json_int_t wal = json_integer_value(json_object_get(p, "wal_newest")),
               lacks = json_integer_value(json_object_get(p, "wal_missing"));
    if (wal < 0 || (uint64_t)wal >= e->seq || lacks < 0) return broken(err, e, "does not say which WAL was copied");
    c.wal_newest = (uint64_t)wal;
    c.wal_missing = (uint64_t)lacks;
    text_copy(c.label, sizeof c.label, json_text(p, "label", ""));
    void *mem;
    int rc = mem_alloc((json_array_size(list) + 1) * sizeof *c.missing, &mem, err);
    if (rc < 0) return rc;
    c.missing = mem;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t v = json_integer_value(json_array_get(list, i));
        if (v < 1 || v > newest) {
            seam_free(mem);
            return broken(err, e, "misses what is not older than the newest copy");
        }
        c.missing[c.missing_count++] = (uint64_t)v;
    }
    size_t at = 0;
    while (at < s->copy_count && memcmp(s->copies[at].repository, c.repository, sizeof c.repository) != 0) at++;
    if (at == s->copy_count && (rc = mem_grow((void **)&s->copies, &s->copy_cap, at + 1, sizeof *s->copies, err)) < 0) {
        seam_free(mem);
        return rc;
    }
    const struct copy_info *was = at < s->copy_count ? &s->copies[at] : NULL;
    c.first_ns = was ? was->first_ns : e->time_ns;
    const char *reread = json_string_value(json_object_get(p, "reread_at"));
    c.reread_ns = was ? was->reread_ns : 0;
    c.reread_failed = was && was->reread_failed;
    if (reread && json_is_true(json_object_get(p, "reread_ok"))) {
        c.reread_failed = !time_parse(reread, &c.reread_ns);
    } else if (reread) {
        c.reread_failed = true;
    }
    if (was)
        seam_free(was->missing);
    else
        s->copy_count++;
    s->copies[at] = c;
    return 0;
}

/* Which roles may say what. A bit per role. */
static const struct {
    const char *type;
    unsigned roles;
} allowed[] = {
    {PREDICATE_KEY, 1u << ROLE_ADMIN},
    {PREDICATE_RECEIPT, 1u << ROLE_ADMIN | 1u << ROLE_WRITER},
    {PREDICATE_VERIFICATION, 1u << ROLE_ADMIN | 1u << ROLE_RESTORE},
    {PREDICATE_FORGET, 1u << ROLE_ADMIN | 1u << ROLE_PRUNE},
    {PREDICATE_DELETE, 1u << ROLE_ADMIN | 1u << ROLE_PRUNE},
    {PREDICATE_HOLD, 1u << ROLE_ADMIN | 1u << ROLE_PRUNE | 1u << ROLE_RESTORE},
    {PREDICATE_RESTORE, 1u << ROLE_ADMIN | 1u << ROLE_RESTORE},
    {PREDICATE_READ, 1u << ROLE_ADMIN | 1u << ROLE_RESTORE},
    {PREDICATE_KEY_DRILL, 1u << ROLE_ADMIN | 1u << ROLE_RESTORE},
    {PREDICATE_REPAIR, 1u << ROLE_ADMIN},
    {PREDICATE_COVERAGE, 1u << ROLE_ADMIN | 1u << ROLE_RESTORE},
    {PREDICATE_COPY, 1u << ROLE_ADMIN | 1u << ROLE_RESTORE},
    {PREDICATE_WAL, 1u << ROLE_ADMIN | 1u << ROLE_WRITER},
    {PREDICATE_WAL_GAP, 1u << ROLE_ADMIN},
    {PREDICATE_SET, 1u << ROLE_ADMIN | 1u << ROLE_WRITER},
    {PREDICATE_SET_RESTORE, 1u << ROLE_ADMIN | 1u << ROLE_RESTORE},
};

static int fold(struct state *s, const struct ledger_entry *e, const char *type, const json_t *p, struct error *err) {
    const struct key_info *k = state_key(s, e->signer);
    if (!k || k->removed)
        return broken(err, e, k ? "is signed by a key that was removed" : "is signed by an unknown key");
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(type, allowed[i].type) == 0 && !(allowed[i].roles & 1u << k->role)) {
            s->read_void |= strcmp(type, PREDICATE_READ) == 0;
            return error_set(err, ERR_LEDGER_BROKEN, "log entry %llu says %s, which a %s key may not",
                             (unsigned long long)e->seq, type + strlen(PREDICATE_PREFIX), key_role_name(k->role));
        }
    if (strcmp(type, PREDICATE_RECEIPT) == 0) return judge_receipt(s, e, p, err);
    if (strcmp(type, PREDICATE_VERIFICATION) == 0) return judge_verification(s, e, p, err);
    if (strcmp(type, PREDICATE_KEY) == 0) return judge_key(s, e, p, err);
    if (strcmp(type, PREDICATE_COPY) == 0) return judge_copy(s, e, p, err);
    if (strcmp(type, PREDICATE_WAL) == 0) return judge_wal(s, e, p, k->role, err);
    if (strcmp(type, PREDICATE_WAL_GAP) == 0) return judge_wal_ack(s, e, p, err);
    if (strcmp(type, PREDICATE_SET) == 0) return judge_set(s, e, p, err);
    if (strcmp(type, PREDICATE_SET_RESTORE) == 0) return judge_set_restore(s, e, p, err);
    if (strcmp(type, PREDICATE_KEY_DRILL) == 0) {
        s->drill = (struct drill_info){.seq = e->seq, .time_ns = e->time_ns, .role = k->role};
        memcpy(s->drill.signer, e->signer, sizeof s->drill.signer);
        return 0;
    }
    if (strcmp(type, PREDICATE_RESTORE) == 0) {
        struct snapshot_info *n = state_snapshot_at(s, (uint64_t)json_integer_value(json_object_get(p, "seq")));
        int64_t ms = json_integer_value(json_object_get(p, "duration_ms"));
        if (n && ms > 0) n->restore_ns = ms * 1000000;
        return 0;
    }
    if (strcmp(type, PREDICATE_DELETE) == 0 && json_object_get(p, "wal_first")) return judge_wal_gone(s, e, p, err);
    if (strcmp(type, PREDICATE_DELETE) == 0)
        return json_object_get(p, "epoch") ? judge_epoch(s, e, p, k->role, err) : judge_delete(s, e, p, err);
    if (strcmp(type, PREDICATE_REPAIR) == 0) return judge_repair(s, e, p, err);
    if (strcmp(type, PREDICATE_FORGET) == 0) {
        const json_t *seqs = json_object_get(p, "seqs");
        for (size_t i = 0; i < json_array_size(seqs); i++) {
            struct snapshot_info *n = state_snapshot_at(s, (uint64_t)json_integer_value(json_array_get(seqs, i)));
            if (!n) return broken(err, e, "forgets a snapshot that is not there");
            if (n->holds) return broken(err, e, "forgets a snapshot that is on hold");
        }
        for (size_t i = 0; i < json_array_size(seqs); i++) {
            struct snapshot_info *n = state_snapshot_at(s, (uint64_t)json_integer_value(json_array_get(seqs, i)));
            n->forgotten = true;
            n->forgotten_seq = e->seq;
        }
        return 0;
    }
    if (strcmp(type, PREDICATE_HOLD) == 0) {
        struct snapshot_info *n = state_snapshot_at(s, (uint64_t)json_integer_value(json_object_get(p, "seq")));
        if (!n) return broken(err, e, "holds a snapshot that is not there");
        if (strcmp(json_text(p, "action", ""), "release") == 0) {
            if (k->role != ROLE_ADMIN) return broken(err, e, "releases a hold without an admin key");
            n->holds = 0;
            for (size_t i = 0; i < s->hold_count; i++) s->holds[i].released |= s->holds[i].snapshot == n->seq;
        } else {
            int rc = mem_grow((void **)&s->holds, &s->hold_cap, s->hold_count + 1, sizeof *s->holds, err);
            if (rc < 0) return rc;
            struct hold_info *h = &s->holds[s->hold_count++];
            *h = (struct hold_info){.seq = e->seq, .snapshot = n->seq, .time_ns = e->time_ns};
            memcpy(h->signer, e->signer, sizeof h->signer);
            n->holds++;
        }
    }
    return 0;
}

int state_may(const struct repo *r, const char *type, struct error *err) {
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(type, allowed[i].type) == 0 && !(allowed[i].roles & 1u << r->keys->role))
            return error_set(err, ERR_KEY_ROLE, "this is a %s key, which may not sign an entry of type %s",
                             key_role_name(r->keys->role), type + strlen(PREDICATE_PREFIX));
    return 0;
}

int state_judge(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct repo *r = ctx;
    struct state *s = &r->state;
    const char *type = json_text(e->statement, "predicateType", "");
    const json_t *p = json_object_get(e->statement, "predicate");
    r->log_time_ns = e->time_ns;
    if (e->seq == 0) {
        if (strcmp(type, PREDICATE_INIT) != 0) return broken(err, e, "does not begin the log");
        if (memcmp(e->signer, r->keys->admin_public, SIGN_PUBLIC_BYTES) != 0)
            return broken(err, e, "is not signed by this repository's admin key");
        if (strcmp(json_text(p, "repository", ""), r->id_hex) != 0)
            return broken(err, e, "belongs to another repository");
        if (!json_get_digest(json_object_get(p, "format"), &s->format)) return broken(err, e, "names no format");
        struct key_info k = {.role = ROLE_ADMIN, .label = "admin"};
        memcpy(k.public_key, e->signer, sizeof k.public_key);
        int rc = mem_grow((void **)&s->keys, &s->key_cap, 1, sizeof *s->keys, err);
        if (rc < 0) return rc;
        s->keys[s->key_count++] = k;
        s->initialised = true;
        return 0;
    }
    struct error e2 = ERROR_INIT;
    int rc = json_is_object(p) ? fold(s, e, type, p, &e2) : broken(&e2, e, "has no predicate");
    if (rc == -ERR_LEDGER_BROKEN) {
        s->void_count++;
        s->void_seq = e->seq;
        snprintf(s->void_text, sizeof s->void_text, "%.250s", e2.text);
        return 0;
    }
    if (rc < 0) *err = e2;
    return rc;
}

void state_free(struct state *s) {
    for (size_t i = 0; i < s->snapshot_count; i++) {
        seam_free(s->snapshots[i].environment);
        seam_free(s->snapshots[i].surface);
        seam_free(s->snapshots[i].kind);
        seam_free(s->snapshots[i].receipt_surface);
        seam_free(s->snapshots[i].fallback);
        seam_free(s->snapshots[i].root);
    }
    for (size_t i = 0; i < s->job_count; i++) {
        seam_free(s->jobs[i].environment);
        seam_free(s->jobs[i].surface);
    }
    for (size_t i = 0; i < s->copy_count; i++) seam_free(s->copies[i].missing);
    for (size_t i = 0; i < s->wal_count; i++) {
        seam_free(s->wal[i].environment);
        seam_free(s->wal[i].surface);
    }
    seam_free(s->wal);
    seam_free(s->wal_first);
    for (size_t i = 0; i < s->wal_ack_count; i++) seam_free(s->wal_acks[i].reason);
    seam_free(s->wal_acks);
    state_sets_free(s);
    seam_free(s->copies);
    seam_free(s->snapshots);
    seam_free(s->jobs);
    seam_free(s->keys);
    seam_free(s->holds);
    seam_free(s->runs);
    seam_free(s->deletes);
    seam_free(s->epochs);
    *s = (struct state){0};
}
