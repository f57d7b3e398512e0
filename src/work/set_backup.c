#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "evidence/set.h"
#include "work/owed.h"
#include "work/quiesce.h"
#include "work/receipt.h"
#include "work/set.h"
#include "work/set_handles.h"

#include <stdio.h>
#include <time.h>

/* What a capture holds besides its threads (two open data packs and one of metadata, the driver's own), and by each
 * thread. Two surfaces of 500 MB of files took 100 MB with a thread each and 138 MB with two; a Redis sorts in 48 MiB
 * besides. */
#define BASE_BYTES (UINT64_C(40) << 20)
#define SURFACE_BYTES (UINT64_C(64) << 20)
#define FAR_BYTES (UINT64_C(16) << 20) /* of each: packs for a bucket are half as large again */
#define THREAD_BYTES (UINT64_C(18) << 20)

void set_share(size_t n, unsigned jobs, bool far, unsigned *ret_at_once, unsigned *ret_threads) {
    const uint64_t each = SURFACE_BYTES + (far ? FAR_BYTES : 0);
    unsigned k = jobs < SET_HANDLES_MAX ? jobs : SET_HANDLES_MAX;
    if (k > n) k = (unsigned)n;
    if (k == 0) k = 1;
    while (k > 1 && BASE_BYTES + k * (each + THREAD_BYTES) > SET_MEMORY_BYTES) k--;
    unsigned threads = jobs / k ? jobs / k : 1;
    while (k > 1 && threads > 1 && BASE_BYTES + k * (each + threads * THREAD_BYTES) > SET_MEMORY_BYTES) threads--;
    *ret_at_once = k;
    *ret_threads = threads;
}

struct run {
    const struct set_spec *spec;
    const struct backup_options *o;
    set_member_cb cb;
    void *cb_ctx;
    struct set_member *members;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t next;
    unsigned running;
};
struct slot {
    struct run *run;
    struct work *work;
    pthread_t thread;
};

static int take(struct work *w, const struct run *r, struct set_member *m, struct error *err) {
    struct work_surface s = {0};
    const struct config_environment *e;
    const struct config_surface *c = config_surface(w->config, m->surface->head.name);
    int rc = config_need_environment(w->config, r->spec->environment->head.name, &e, err);
    if (rc == 0 && !c)
        rc = error_set(err, ERR_NO_POINT, "the configuration has lost the surface %s", m->surface->head.name);
    if (rc == 0) rc = work_surface_open(w, e, c, &s, err);
    if (rc == 0) rc = backup_surface(w, &s, r->o, &m->result, err);
    work_surface_close(&s);
    return rc;
}

static void *captures(void *arg) {
    struct slot *s = arg;
    struct run *r = s->run;
    struct error stop = ERROR_INIT;
    pthread_mutex_lock(&r->lock);
    while (r->next < r->spec->count && stop_check(&stop) == 0) {
        struct set_member *m = &r->members[r->next++];
        m->tried = true;
        pthread_mutex_unlock(&r->lock);
        int rc = take(s->work, r, m, &m->failure);
        pthread_mutex_lock(&r->lock);
        if (rc == 0) error_clear(&m->failure);
        if (r->cb) r->cb(r->cb_ctx, m);
    }
    r->running--;
    pthread_cond_signal(&r->ended);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Until all have ended, or `limit_ns` is over (0: none): false. */
static bool wait_for(struct run *r, int64_t limit_ns) {
    bool all;
    struct timespec until;
    int64_t end = time_now_ns() + limit_ns;
    until.tv_sec = (time_t)(end / NS_PER_S);
    until.tv_nsec = (long)(end % NS_PER_S);
    pthread_mutex_lock(&r->lock);
    while (r->running > 0)
        if (!limit_ns)
            pthread_cond_wait(&r->ended, &r->lock);
        else if (pthread_cond_timedwait(&r->ended, &r->lock, &until) != 0)
            break;
    all = r->running == 0;
    pthread_mutex_unlock(&r->lock);
    return all;
}

static void warn(struct work *w, const struct set_spec *s, const char *what, const char *text) {
    const struct work_events *e = &w->options.events;
    char label[260], line[1700];
    snprintf(label, sizeof label, "%.120s/%.130s", s->environment->head.name, s->name);
    snprintf(line, sizeof line, "%s%s", what, text);
    if (e->warning) e->warning(e->ctx, label, line);
}

/* The frozen time ends with the last capture, or with the limit. */
static int capture_all(struct work *w, struct run *r, struct slot *slots, unsigned n, struct set_result *ret,
                       struct error *err) {
    const struct config_set *c = r->spec->config;
    struct quiesce q;
    struct error lost = ERROR_INIT;
    int rc = quiesce_begin(&q, w, r->spec, "freeze", "resume", "backup", true, err);
    if (rc < 0) return rc;
    const bool frozen = q.fd >= 0;
    const int64_t limit = frozen && c && c->freeze_max.state == CONFIG_SET ? c->freeze_max.ns : 0;
    unsigned begun = 0;
    for (; begun < n && rc == 0; begun++) {
        pthread_mutex_lock(&r->lock);
        r->running++;
        pthread_mutex_unlock(&r->lock);
        rc = thread_start(&slots[begun].thread, captures, &slots[begun], begun ? &lost : err);
        if (rc < 0) {
            pthread_mutex_lock(&r->lock);
            r->running--;
            pthread_mutex_unlock(&r->lock);
            if (begun) rc = 0; /* the others do its part */
            break;
        }
    }
    error_clear(&lost);
    bool all = wait_for(r, limit);
    int up = quiesce_end(&q, &lost);
    if (up < 0) warn(w, r->spec, "writes were frozen and could not be resumed: ", lost.text);
    if (frozen && !all) {
        warn(w, r->spec,
             "the captures take longer than freeze_max: ", "writes were resumed, and the set is not quiesced");
        (void)wait_for(r, 0);
    }
    for (unsigned i = 0; i < begun; i++) pthread_join(slots[i].thread, NULL);
    ret->held = frozen && all && q.all;
    ret->frozen_ns = frozen ? q.up_ns - q.down_ns : 0;
    if (rc == 0 && up < 0) {
        *err = lost;
        error_state(err, "what was captured is stored; writes may still be frozen");
        rc = up;
    }
    return rc;
}

static void count(const struct run *r, struct set_result *ret) {
    bool fuzzy = false, changed = false;
    unsigned stored = 0;
    for (size_t i = 0; i < ret->count; i++) {
        const struct set_member *m = &r->members[i];
        if (!m->tried || m->failure.code != ERR_NONE) {
            ret->failed++;
            continue;
        }
        stored++;
        ret->done += m->result.complete;
        ret->partial += !m->result.complete;
        ret->elsewhere += *m->result.fallback != 0;
        changed |= m->result.changed > 0;
        fuzzy |= strcmp(m->result.consistency, "exact") != 0;
    }
    /* what changed while it was read was not frozen, whatever the hooks said */
    ret->held = ret->held && !changed;
    snprintf(ret->consistency, sizeof ret->consistency, "%s",
             !stored     ? "none"
             : ret->held ? "quiesced"
             : fuzzy     ? "fuzzy"
                         : "per-surface");
}

/* NULL: it is not. */
static json_t *rebuilt_json(const struct config_surface *c) {
    json_t *list = c->rebuilt_from.count ? json_array() : NULL;
    for (size_t i = 0; list && i < c->rebuilt_from.count; i++)
        json_array_append_new(list, json_string(c->rebuilt_from.items[i]));
    return list;
}

static int missing_add(json_t *list, const struct set_member *m, const char *code, const char *text,
                       struct error *err) {
    char some[401];
    snprintf(some, sizeof some, "%s", text);
    json_t *clean = json_name(BYTES_STR(some)); /* cut anywhere */
    return json_push(list,
                     json_pack("{s:s, s:s, s:o, s:o*}", "surface", m->surface->head.name, "code", code, "text", clean,
                               "rebuilt_from", rebuilt_json(m->surface)),
                     err);
}

static int member_add(json_t *members, json_t *missing, const struct work *w, const struct set_spec *spec,
                      const struct set_member *m, const struct error *why, struct error *err) {
    const struct snapshot_info *p = m->result.stored ? repo_snapshot_at(w->repo, m->result.seq) : NULL;
    const struct config_surface *c = m->surface;
    if (!m->tried) return missing_add(missing, m, error_info(why->code)->code, why->text, err);
    if (m->failure.code != ERR_NONE)
        return missing_add(missing, m, error_info(m->failure.code)->code, m->failure.text, err);
    if (*m->result.fallback)
        return missing_add(missing, m, error_info(ERR_FALLBACK)->code, m->result.fallback_why, err);
    if (!p || strcmp(p->id, m->result.id) != 0)
        return missing_add(missing, m, "", "its receipt is not in this log", err);
    char receipt[65];
    hex_encode(p->entry.b, DIGEST_BYTES, receipt);
    json_t *depends = set_depends_json(w->config, c, spec->members, spec->count);
    return json_push(members,
                     json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o*, s:s, s:b, s:I, s:I}", "surface", p->surface,
                               "backup_id", p->id, "seq", (json_int_t)p->seq, "receipt", receipt, "kind", p->kind,
                               "class", config_class_name(c), "depends_on", depends, "rebuilt_from", rebuilt_json(c),
                               "consistency", m->result.consistency, "complete", (int)p->complete, "items",
                               (json_int_t)p->items, "bytes", (json_int_t)p->bytes),
                     err);
}

static int sign(struct work *w, const struct set_spec *spec, const struct job *j, const struct set_result *r,
                const struct error *why, uint64_t *ret_seq, struct error *err) {
    struct redaction secrets = known_secrets_redaction(&w->known);
    struct digest entry;
    json_auto_t *members = json_array(), *missing = json_array(), *freeze = NULL, *statement = NULL;
    int rc = members && missing ? repo_sync(w->repo, err) : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    for (size_t i = 0; i < r->count && rc == 0; i++)
        rc = member_add(members, missing, w, spec, &r->members[i], why, err);
    if (rc == 0 && r->frozen_ns &&
        !(freeze = json_pack("{s:I, s:b}", "frozen_ms", (json_int_t)(r->frozen_ns / 1000000), "held", (int)r->held)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    struct set_record record = {.id = j->id,
                                .environment = spec->environment->head.name,
                                .name = spec->name,
                                .started_ns = j->started_ns,
                                .completed_ns = time_now_ns(),
                                .consistency = r->consistency,
                                .members = members,
                                .missing = missing,
                                .freeze = freeze,
                                .complete = r->done == r->count && json_array_size(missing) == 0,
                                .principal = w->principal,
                                .notes = j->note,
                                .ticket = j->ticket};
    if (rc == 0) rc = evidence_set(&record, &secrets, &statement, err);
    const struct work_events *e = &w->options.events;
    char label[260];
    snprintf(label, sizeof label, "%.120s/%.130s", spec->environment->head.name, spec->name);
    if (rc == 0) rc = owed_append(w, label, statement, ret_seq, &entry, err);
    if (rc == 0 && e->receipt) e->receipt(e->ctx, label, json_object_get(statement, "predicate"), *ret_seq, &entry);
    struct error derived = ERROR_INIT;
    if (rc == 0 && repo_publish(w->repo, &derived) < 0) warn(w, spec, "", derived.text);
    return rc;
}

static int set_run(struct work *w, struct run *r, const struct job *j, struct set_result *ret, struct error *err) {
    struct slot slots[SET_HANDLES_MAX];
    struct set_handles h;
    unsigned at_once, threads;
    int rc = work_open_repo(w, r->spec->environment->head.name, err);
    const bool reached = rc == 0;
    if (rc < 0 && !repo_out_of_reach(rc)) return rc;
    error_clear(err);
    set_share(ret->count, w->jobs, reached && store_reads_many(repo_store(w->repo)), &at_once, &threads);
    /* a kit is typed once, and a fallback is gone over to by one */
    set_handles_open(&h, w, r->spec->environment->head.name, reached && !w->options.recovery_kit ? at_once : 1,
                     threads);
    for (unsigned i = 0; i < h.count; i++) slots[i] = (struct slot){.run = r, .work = h.of[i]};
    rc = capture_all(w, r, slots, h.count, ret, err);
    set_handles_close(&h);
    count(r, ret);
    ret->duration_ns = time_now_ns() - j->started_ns;
    if (ret->count == 1 && !r->spec->config) return rc;
    struct error lost = ERROR_INIT;
    int signed_rc = work_open_repo(w, r->spec->environment->head.name, &lost);
    struct error why = *err; /* of surfaces that were not begun */
    if (why.code == ERR_NONE) (void)!stop_check(&why);
    if (signed_rc == 0) signed_rc = sign(w, r->spec, j, ret, &why, &ret->seq, &lost);
    if (signed_rc < 0) warn(w, r->spec, "the receipt of the set could not be written: ", lost.text);
    return rc;
}

int set_backup(struct work *w, const struct set_spec *spec, const struct set_backup_options *o, set_member_cb cb,
               void *ctx, struct set_result *ret, struct error *err) {
    struct job j;
    void *mem;
    struct backup_options each = o->backup;
    *ret = (struct set_result){.count = spec->count};
    int rc = job_begin(&j, "set", err);
    if (rc == 0) rc = mem_alloc((spec->count + 1) * sizeof *ret->members, &mem, err);
    if (rc < 0) return rc;
    ret->members = mem;
    snprintf(ret->id, sizeof ret->id, "%s", j.id);
    j.note = each.note;
    j.ticket = each.ticket;
    each.export_dir = NULL; /* after writes were resumed */
    for (size_t i = 0; i < spec->count; i++) {
        struct set_member *m = &ret->members[i];
        m->surface = spec->members[i];
        snprintf(m->result.label, sizeof m->result.label, "%.120s/%.130s", spec->environment->head.name,
                 m->surface->head.name);
    }
    struct run r = {.spec = spec, .o = &each, .cb = cb, .cb_ctx = ctx, .members = ret->members};
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.ended, NULL);
    rc = set_run(w, &r, &j, ret, err);
    pthread_cond_destroy(&r.ended);
    pthread_mutex_destroy(&r.lock);
    if (rc == 0) rc = stop_check(err);
    char own[24];
    time_format_compact(j.started_ns, own);
    own[8] = '_', own[15] = 0; /* 20260216_070000, as 002 has it */
    if (rc == 0 && o->backup.export_dir)
        rc = set_export(w, spec, ret, o->backup.export_dir, o->timestamp ? o->timestamp : own, err);
    return rc;
}

void set_result_free(struct set_result *r) {
    seam_free(r->members);
    *r = (struct set_result){0};
}
