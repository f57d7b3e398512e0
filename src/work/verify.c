#include "work/verify.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/receipt.h"

#include <stdio.h>

struct run {
    struct work *w;
    verify_finding_cb cb;
    void *ctx;
    json_t *harmed; /* {id: true} */
    int64_t started_ns;
};

static int finding(void *ctx, const struct check_finding *f, struct error *err) {
    struct run *r = ctx;
    struct verify_finding v = {
        .result = f->result, .paths_total = f->paths_total, .snapshots = json_array(), .paths = json_array()};
    int rc = 0;
    snprintf(v.object, sizeof v.object, "%s", f->object);
    snprintf(v.text, sizeof v.text, "%s", f->text);
    for (size_t i = 0; f->snapshots[i] && rc == 0; i++) {
        rc = json_push(v.snapshots, json_string(f->snapshots[i]), err);
        if (rc == 0) rc = json_put(r->harmed, f->snapshots[i], json_true(), err);
    }
    /* damage that names no snapshot (the log, an index run, a key slot) counts against every one */
    if (!f->snapshots[0] && strncmp(f->object, "packs/", 6) != 0 && rc == 0)
        rc = json_put(r->harmed, "*", json_true(), err);
    for (size_t i = 0; i < f->path_count && rc == 0; i++) rc = json_push(v.paths, json_name(f->paths[i]), err);
    if (rc == 0 && r->cb) r->cb(r->ctx, &v);
    json_decref(v.snapshots);
    json_decref(v.paths);
    return rc;
}

static void progress(void *ctx, uint64_t done, uint64_t total) {
    struct run *r = ctx;
    const struct work_events *e = &r->w->options.events;
    if (e->progress) e->progress(e->ctx, "repository", "check", done, total, 0, 0);
}

static bool value_holds(const json_t *want, const json_t *got, const char *expect) {
    if (!got) return false;
    if (strcmp(expect, "not_shrunk") == 0 && json_is_number(want) && json_is_number(got))
        return json_number_value(got) >= json_number_value(want);
    return json_equal(want, got);
}

/* Every invariant measured at capture must be there again; what was not measured again is a difference, never a pass.
 */
static int compare(const json_t *want, const json_t *got, json_t *differences, struct error *err) {
    const char *name;
    const json_t *w;
    int rc = 0;
    json_object_foreach((json_t *)want, name, w) {
        const json_t *g = json_object_get(got, name);
        const char *expect = json_string_value(json_object_get(w, "expect"));
        const json_t *wv = json_object_get(w, "value"), *gv = json_object_get(g, "value");
        if (value_holds(wv, gv, expect ? expect : "equal")) continue;
        json_t *d = json_pack("{s:s, s:O}", "invariant", name, "expected", wv);
        if (d && gv) json_object_set(d, "found", (json_t *)gv);
        rc = json_push(differences, d, err);
        if (rc < 0) break;
    }
    return rc;
}

static int full_one(struct work *w, const struct snapshot_info *info, json_t *differences, struct error *err) {
    struct work_surface s;
    struct work_bridge b;
    struct surface_context ctx;
    struct snapshot *snap = NULL;
    struct work_source source;
    json_t *scratch = NULL, *got = NULL;
    struct restore_result r = {0};
    int rc = work_surface_of(w, info, &s, err);
    if (rc < 0) return rc;
    if ((rc = work_bridge_open(w, &s, &b, &ctx, err)) < 0) goto closed;
    if ((rc = snapshot_open(w->repo, info, &snap, err)) < 0) goto out;
    const json_t *root = snapshot_root(snap), *facts = json_object_get(root, "facts"),
                 *want = json_object_get(root, "invariants");
    work_source_init(&source, snap);
    if ((rc = s.driver->scratch_start(&ctx, facts, &scratch, err)) < 0) goto out;
    struct restore_request q = {.as_scratch = true, .scratch = scratch, .facts = facts, .invariants = want};
    rc = s.driver->restore(&ctx, &source.source, &q, &r, err);
    if (rc == 0) rc = s.driver->measure(&ctx, scratch, facts, &got, err);
    if (rc == 0) rc = compare(want, got, differences, err);
    s.driver->scratch_stop(&ctx, scratch);
out:
    json_decref(scratch);
    json_decref(got);
    json_decref(r.facts);
    snapshot_close(snap);
    work_bridge_close(&b);
closed:
    work_surface_close(&s);
    return rc;
}

/* Damage found on the way is a result; that the scratch could not be had is not. */
static bool is_damage(int rc) {
    switch (-rc) {
    case ERR_OBJECT_MISSING:
    case ERR_OBJECT_CORRUPT:
    case ERR_RESTORE_DIFFERS:
    case ERR_PG_INVARIANT:
    case ERR_PG_ARCHIVE:
        return true;
    default:
        return false;
    }
}

static int sign(struct run *r, const struct snapshot_info *info, enum verify_level level, bool passed,
                const json_t *detail, struct error *err) {
    enum key_role role = repo_keys(r->w->repo)->role;
    if (role == ROLE_ADMIN || role == ROLE_RESTORE)
        return receipt_verification(r->w, info, level, passed, r->started_ns, detail, err);
    const struct work_events *e = &r->w->options.events;
    char label[260], line[160];
    work_label(info, label);
    snprintf(line, sizeof line, "a %s key may not vouch for a backup: this result is not recorded",
             key_role_name(role));
    if (e->warning) e->warning(e->ctx, label, line);
    return 0;
}

int verify_snapshots(struct work *w, const struct snapshot_info *const *snapshots, size_t n, enum verify_level level,
                     verify_finding_cb cb, void *ctx, struct verify_result *ret, struct error *err) {
    struct run r = {w, cb, ctx, json_object(), time_now_ns()};
    *ret = (struct verify_result){.level = level, .differences = json_array()};
    const struct snapshot_info **list = NULL;
    uint64_t *seqs = NULL;
    void *mem;
    struct check_totals totals;
    int rc = r.harmed && ret->differences ? mem_alloc((n + 1) * sizeof *list, &mem, err)
                                          : error_set(err, ERR_NO_MEMORY, "no memory for a verification");
    if (rc < 0) goto out;
    list = mem;
    if ((rc = mem_alloc((n + 1) * sizeof *seqs, &mem, err)) < 0) goto out;
    seqs = mem;
    for (size_t i = 0; i < n; i++) {
        list[i] = snapshots[i];
        seqs[i] = snapshots[i]->seq;
    }
    struct check_options o = {.level = level > VERIFY_DECODE ? VERIFY_DECODE : level,
                              .snapshots = list,
                              .threads = w->jobs,
                              .ctx = &r,
                              .progress = progress,
                              .finding = finding};
    if ((rc = repo_check(w->repo, &o, &totals, err)) < 0) {
        rc = error_wrap(err, "the verification could not be carried out");
        goto out;
    }
    ret->objects = totals.objects;
    ret->bytes = totals.bytes;
    ret->findings = totals.findings;
    ret->passed = totals.result == CHECK_VERIFIED;
    for (size_t i = 0; i < n && rc == 0; i++) {
        /* appending may move the array that the pointers lead into, so each is looked up again */
        const struct snapshot_info *info = NULL;
        for (size_t k = 0; k < repo_snapshot_count(w->repo); k++)
            if (repo_snapshot(w->repo, k)->seq == seqs[i]) info = repo_snapshot(w->repo, k);
        if (!info) continue;
        bool good = !json_object_get(r.harmed, info->id) && !json_object_get(r.harmed, "*");
        json_t *differences = json_array();
        if (good && level >= VERIFY_FULL) {
            struct error e = ERROR_INIT;
            int one = full_one(w, info, differences, &e);
            if (one < 0 && !is_damage(one)) {
                *err = e;
                rc = error_wrap(err, "full verification of %s could not be carried out", info->id);
            } else if (one < 0) {
                good = false;
                json_array_append_new(differences, json_pack("{s:s, s:s}", "invariant", "restore", "found", e.text));
            } else
                good = json_array_size(differences) == 0;
        }
        if (!good) ret->passed = false;
        if (rc == 0) rc = sign(&r, info, good || level <= VERIFY_DECODE ? level : VERIFY_FULL, good, differences, err);
        json_array_extend(ret->differences, differences);
        json_decref(differences);
    }
    if (rc == 0) {
        struct error e = ERROR_INIT;
        (void)!repo_publish(w->repo, &e);
    }
    ret->duration_ns = time_now_ns() - r.started_ns;
out:
    seam_free(list);
    seam_free(seqs);
    json_decref(r.harmed);
    if (rc < 0) {
        json_decref(ret->differences);
        ret->differences = NULL;
        ret->passed = false;
    }
    return rc;
}
