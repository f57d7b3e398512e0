#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct restoring {
    const struct pg_settings *s;
    struct source *src;
    const struct restore_request *q;
    PGconn *admin; /* to a database that is not restored */
    struct pg_tools tools;
    struct pg_restore_job *jobs;
    size_t n;
    json_t *made_roles;
};

/* ---- before anything is made ---- */
static int add_role(json_t *roles, const char *name, struct error *err) {
    return name && *name ? json_put(roles, name, json_true(), err) : 0;
}

static int needed_roles(struct restoring *w, json_t *roles, struct error *err) {
    const json_t *v;
    size_t i;
    int r = 0;
    for (size_t k = 0; r == 0 && k < w->n; k++) {
        const struct pg_restore_job *j = &w->jobs[k];
        if (j->folder.all || !j->folder.toc) {
            json_array_foreach(json_object_get(j->facts, "roles"), i, v) {
                if (r == 0) r = add_role(roles, json_string_value(v), err);
            }
            if (r == 0) r = add_role(roles, json_string_value(json_object_get(j->facts, "owner")), err);
        }
        for (size_t e = 0; j->folder.toc && r == 0 && e < j->folder.toc->entry_count; e++) {
            struct bytes owner = pg_toc_text(j->folder.toc, j->folder.toc->entries[e].owner);
            if (owner.len && (j->folder.all || j->folder.take[e])) r = pg_json_put(roles, owner, json_true(), err);
        }
    }
    return r;
}

static int check_roles(struct restoring *w, struct error *err) {
    CLEANUP(buf_free) struct buf missing = BUF_INIT(4096);
    json_t *roles = json_object(), *yes;
    const char *name;
    unsigned n = 0;
    int r = roles ? needed_roles(w, roles, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) {
        json_object_foreach(roles, name, yes) {
            CLEANUP(pg_clearp) PGresult *q = NULL;
            const char *params[] = {name};
            if (r == 0)
                r = pg_query(w->admin, &q, err, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", 1, params);
            if (r == 0 && PQntuples(q) == 0 && n++ < 5) r = buf_printf(&missing, err, "%s%s", n > 1 ? ", " : "", name);
        }
    }
    if (r == 0) r = buf_terminate(&missing, err);
    if (r == 0 && n)
        r = error_set(err, ERR_PG_ROLES, "the server lacks %u roles that the dump names: %s", n,
                      (const char *)missing.ptr);
    json_decref(roles);
    return r;
}

static int apply_globals(struct restoring *w, struct error *err) {
    struct buf roles = BUF_INIT(PG_GLOBALS_BYTES_MAX), passwords = BUF_INIT(PG_GLOBALS_BYTES_MAX);
    const json_t *v;
    size_t i;
    int r = pg_globals_read(w->src, &roles, &passwords, err);
    if (w->q->as_scratch) buf_clear(&passwords); /* nobody logs in to a scratch instance */
    if (r == 0) r = pg_globals_apply(w->admin, buf_bytes(&roles), buf_bytes(&passwords), w->made_roles, err);
    if (passwords.ptr) wipe(passwords.ptr, passwords.cap);
    buf_free(&roles);
    buf_free(&passwords);
    json_array_foreach(w->made_roles, i, v) {
        if (!w->q->as_scratch)
            pg_note(w->s, NOTE_WARNING, BYTES_STR(json_string_value(v)), "the role was missing and has been made");
    }
    return r;
}

static int check_extensions(struct restoring *w, struct error *err) {
    for (size_t k = 0; k < w->n; k++) {
        const char *name;
        json_t *version;
        if (w->jobs[k].folder.toc && !w->jobs[k].folder.all) continue;
        json_object_foreach(json_object_get(w->jobs[k].facts, "extensions"), name, version) {
            CLEANUP(pg_clearp) PGresult *q = NULL;
            const char *params[] = {name};
            int r = pg_query(w->admin, &q, err, "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = $1", 1,
                             params);
            if (r == 0 && PQntuples(q) == 0)
                r = error_set(err, ERR_PG_EXTENSION,
                              "database %s needs the extension %s %s, which the server does not have", w->jobs[k].name,
                              name, json_string_value(version));
            if (r < 0) return r;
        }
    }
    return 0;
}

static int check_version(struct restoring *w, struct error *err) {
    int64_t from = 0;
    const char *client = json_string_value(json_object_get(w->q->facts, "client_version"));
    int r = json_need_int(w->q->facts, "server_version_num", "the snapshot's facts", &from, err);
    if (r < 0) return r;
    int source = (int)(from / 10000), target = PQserverVersion(w->admin) / 10000, want = client ? atoi(client) : source;
    if (target < source)
        return error_set(err, ERR_PG_VERSION, "the dump is of PostgreSQL %d, the server is the older %d", source,
                         target);
    return pg_tools_find(w->s, want > target ? want : target, false, &w->tools, err);
}

static int check_targets(struct restoring *w, struct pg_swap *swaps, struct error *err) {
    int r = 0;
    for (size_t k = 0; r == 0 && k < w->n; k++) {
        bool exists;
        struct pg_restore_job *j = &w->jobs[k];
        r = pg_database_exists(w->admin, j->live, &j->live_exists, err);
        if (r == 0) r = pg_database_exists(w->admin, j->target, &exists, err);
        if (r == 0) r = pg_database_half(w->admin, j->target, w->q->planned_ns, &j->half, err);
        if (r == 0 && exists && !j->half && !w->q->as_scratch) {
            r = error_set(err, ERR_PG_EXISTS, "the server has a database %s already", j->target);
            error_state(err, "nothing was changed");
        }
        swaps[k] = (struct pg_swap){.live = j->live, .fresh = j->target, .live_exists = j->live_exists};
        memcpy(swaps[k].before, j->before, sizeof j->before);
    }
    if (r == 0 && (w->q->swap || w->q->in_place) && !w->q->as_scratch)
        r = pg_swap_check(w->admin, swaps, w->n, w->q->terminate_connections, err);
    return r;
}

/* ---- one database ---- */
static int has_tablespace(struct restoring *w, const char *name, bool *ret, struct error *err) {
    const char *params[] = {name};
    CLEANUP(pg_clearp) PGresult *q = NULL;
    int r = pg_query(w->admin, &q, err,
                     "SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = $1"
                     " AND pg_catalog.has_tablespace_privilege(oid, 'CREATE')",
                     1, params);
    if (r == 0) *ret = PQntuples(q) > 0;
    return r;
}

static void tell_tablespace(const struct restoring *w, const struct pg_restore_job *j, const char *name,
                            const char *what) {
    char text[320];
    if (w->q->as_scratch) return;
    snprintf(
        text, sizeof text,
        "the server has no tablespace '%.80s' that this role may use, so %s; globals/roles.sql says how it was made",
        name, what);
    pg_note(w->s, NOTE_WARNING, BYTES_STR(j->name), text);
}

static int tablespaces_known(struct restoring *w, const struct pg_restore_job *j, bool *ret, struct error *err) {
    const struct pg_toc *t = j->folder.toc;
    *ret = true;
    for (size_t i = 0; i < t->entry_count && *ret; i++) {
        CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
        struct bytes ts = pg_toc_text(t, t->entries[i].tablespace);
        if (ts.len == 0 || (!j->folder.all && !j->folder.take[i])) continue;
        int r = buf_append(&name, ts.ptr, ts.len, err);
        if (r == 0) r = buf_terminate(&name, err);
        if (r == 0) r = has_tablespace(w, (const char *)name.ptr, ret, err);
        if (r < 0) return r;
        if (!*ret) tell_tablespace(w, j, (const char *)name.ptr, "all tables go where the database is");
    }
    return 0;
}

static int options_for(const struct pg_restore_job *j, char *out, size_t n) {
    const char *money = json_string_value(json_object_get(j->facts, "lc_monetary"));
    int at = snprintf(out, n, "-c default_transaction_read_only=off");
    /* Only plain names: the option's text is split at spaces. */
    if (money && *money &&
        strspn(money, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-@") == strlen(money))
        at += snprintf(out + at, n - (size_t)at, " -c lc_monetary=%s", money);
    return at;
}

static int run_restore(struct restoring *w, struct pg_restore_job *j, const char *folder, struct error *err) {
    char jobs[32], options[256];
    char *conninfo = NULL;
    bool tablespaces = true;
    const char *args[16];
    size_t n = 0;
    int r = pg_conninfo(w->s, j->target, &conninfo, err);
    if (r == 0 && j->folder.toc) r = tablespaces_known(w, j, &tablespaces, err);
    if (r < 0) {
        seam_free(conninfo);
        return r;
    }
    options_for(j, options, sizeof options);
    snprintf(jobs, sizeof jobs, "--jobs=%u", w->s->ctx->jobs ? w->s->ctx->jobs : 1);
    args[n++] = "--exit-on-error";
    args[n++] = "--no-password";
    if (j->folder.toc) {
        args[n++] = "--format=directory";
        args[n++] = jobs;
    } else {
        args[n++] = "--format=custom";
    }
    if (j->folder.toc && !j->folder.all) args[n++] = "--use-list=list.txt";
    if (w->q->no_owner) {
        args[n++] = "--no-owner";
        args[n++] = "--no-privileges";
    }
    if (!tablespaces) args[n++] = "--no-tablespaces";
    args[n++] = "--dbname";
    args[n++] = conninfo;
    args[n++] = j->folder.toc ? "." : "archive.dump";
    args[n] = NULL;
    r = pg_child_run(w->s, &w->tools, "pg_restore", args, options, folder, NULL, err);
    seam_free(conninfo);
    return r;
}

static int timescale(PGconn *c, const char *function, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    int r = pg_query(c, &q, err,
                     "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e"
                     " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'",
                     0, NULL);
    if (r < 0 || PQntuples(q) == 0) return r;
    return pg_command(c, err, "SELECT %s.%s()", pg_value(q, 0, 0), function);
}

/* Of the very version that was dumped: its catalogue is data, and fits no other. */
static int create_timescale(PGconn *c, const struct pg_restore_job *j, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4096);
    const char *version = json_string_value(json_object_get(json_object_get(j->facts, "extensions"), "timescaledb"));
    const struct pg_toc *t = j->folder.toc;
    struct bytes defn = BYTES_STR("CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public");
    for (size_t i = 0; t && i < t->entry_count; i++)
        if (pg_text_is(t, t->entries[i].desc, "EXTENSION") && pg_text_is(t, t->entries[i].tag, "timescaledb"))
            defn = pg_toc_text(t, t->entries[i].defn);
    while (defn.len && (defn.ptr[defn.len - 1] == '\n' || defn.ptr[defn.len - 1] == ';')) defn.len--;
    int r = buf_append(&sql, defn.ptr, defn.len, err);
    if (r == 0) r = buf_append_str(&sql, " VERSION ", err);
    if (r == 0) r = pg_literal(&sql, BYTES_STR(version ? version : ""), err);
    if (r == 0) r = buf_terminate(&sql, err);
    return r == 0 ? pg_command(c, err, "%s", (const char *)sql.ptr) : r;
}

/* One entry after the other, in the archive's order. */
static int run_serial(struct restoring *w, struct pg_restore_job *j, const char *folder, struct error *err) {
    struct surface_context one = *w->s->ctx;
    struct pg_settings serial = *w->s;
    struct restoring alone = *w;
    one.jobs = 1;
    serial.ctx = &one;
    alone.s = &serial;
    return run_restore(&alone, j, folder, err);
}

/* TimescaleDB wants its catalogue filled by the restore itself, one entry after the other, and its own switch set back
 * whatever happened. */
static int load_timescale(struct restoring *w, struct pg_restore_job *j, const char *folder, struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    int r = pg_connect(w->s, j->target, &c, err);
    if (r == 0) r = create_timescale(c, j, err);
    if (r == 0) r = timescale(c, "timescaledb_pre_restore", err);
    if (r < 0) return r;
    pg_finishp(&c);
    r = run_serial(w, j, folder, err);
    struct error again = ERROR_INIT;
    int back = pg_connect(w->s, j->target, &c, &again);
    if (back == 0) back = timescale(c, "timescaledb_post_restore", &again);
    if (r == 0 && back < 0) {
        *err = again;
        r = back;
    }
    return r;
}

static int load(struct restoring *w, struct pg_restore_job *j, struct error *err) {
    char folder[PATH_MAX], name[64];
    static _Atomic unsigned runs;
    struct error ignored = ERROR_INIT;
    snprintf(name, sizeof name, "restore-%u", ++runs);
    int r = pg_scratch_folder(w->s, name, true, folder, err);
    int dirfd = r == 0 ? pg_open_dir(folder, err) : -1;
    if (r == 0 && dirfd < 0) r = dirfd;
    if (r == 0) r = pg_folder_write(w->s, w->src, &j->folder, dirfd, false, err);
    io_close(&dirfd);
    const json_t *extensions = json_object_get(j->facts, "extensions");
    /* The tables that an extension brings have their foreign keys from the start, and pg_restore's jobs do not wait for
     * each other's rows. */
    const bool keyed = json_object_get(extensions, "postgis_topology") != NULL;
    const bool ts = json_object_get(extensions, "timescaledb") != NULL;
    if (r == 0)
        r = ts      ? load_timescale(w, j, folder, err)
            : keyed ? run_serial(w, j, folder, err)
                    : run_restore(w, j, folder, err);
    if (io_remove_tree(AT_FDCWD, folder, r == 0 ? err : &ignored) < 0 && r == 0) r = -(int)err->code;
    return r;
}

static int prove(struct restoring *w, struct pg_restore_job *j, struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    json_t *measured = json_object(), *expected = NULL;
    struct pg_fleet alone = {0};
    int r = measured ? pg_connect(w->s, j->target, &c, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = pg_command(c, err, "ANALYZE");
    if (r == 0 && w->q->invariants) {
        r = pg_measure_database(w->s, c, j->name, j->facts, &alone, measured, err);
        if (r == 0) r = pg_bulk_expand(w->src, w->q->facts, w->q->invariants, j->name, &expected, err);
        if (r == 0) r = pg_compare(w->s, j->name, expected, measured, &j->folder, &j->compared, err);
    }
    json_decref(measured);
    json_decref(expected);
    return r;
}

/* initdb makes databases of its own, which a scratch instance does without. */
static int make_room(struct restoring *w, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf id = BUF_INIT(4096);
    int r = w->q->as_scratch ? pg_ident(&id, BYTES_STR(name), err) : 0;
    if (r == 0 && id.len) r = buf_terminate(&id, err);
    return r == 0 && id.len ? pg_command(w->admin, err, "DROP DATABASE IF EXISTS %s", (const char *)id.ptr) : r;
}

static int restore_one(struct restoring *w, struct pg_restore_job *j, struct error *err) {
    const char *space = json_string_value(json_object_get(j->facts, "tablespace"));
    bool no_owner = w->q->no_owner, has_space = false;
    int r = make_room(w, j->target, err);
    if (r == 0 && j->half && !pg_database_discard(w->s, j->target))
        r = error_set(err, ERR_PG_EXISTS, "what a killed run of this plan left of %s could not be dropped", j->target);
    if (r == 0 && space) r = has_tablespace(w, space, &has_space, err);
    if (r == 0 && space && !has_space) tell_tablespace(w, j, space, "the database goes to the server's default one");
    if (r == 0) r = pg_database_create(w->admin, j->target, j->facts, has_space ? space : NULL, w->q->planned_ns, err);
    if (r == 0) j->made = true;
    if (r == 0) r = pg_database_mark(w->admin, j->target, w->q->planned_ns, err);
    if (r == 0) r = pg_database_dress(w->admin, j->target, j->facts, no_owner || !j->folder.all, err);
    if (r == 0) r = load(w, j, err);
    if (r == 0) r = prove(w, j, err);
    return r < 0 ? error_wrap(err, "restore database %s into %s", j->name, j->target) : 0;
}

/* ---- all ---- */
/* A table that was asked for by a name that nothing has must not be missed in silence. */
static int check_hits(const struct restoring *w, const bool *hit, struct error *err) {
    const char *const *include = w->q->include;
    for (size_t i = 0; include && include[i]; i++) {
        const char *const alone[] = {include[i], NULL};
        if (!hit[i] && !pg_selects_globals(alone))
            return error_set(err, ERR_NO_POINT, "nothing in the snapshot is called, or matches, '%s'", include[i]);
    }
    return 0;
}

static int folder_open(struct restoring *w, struct pg_restore_job *j, bool *hit, struct error *err) {
    int r = pg_folder_open(w->s, w->src, j->name, w->q->include, &j->folder, err);
    for (size_t i = 0; r == 0 && w->q->include && w->q->include[i]; i++)
        hit[i] |= pg_select_hit(&j->folder, j->name, w->q->include, i);
    return r;
}

static int open_all(struct restoring *w, bool *hit, struct error *err) {
    size_t kept = 0, asked = w->n;
    for (size_t k = 0; k < asked; k++) {
        struct pg_restore_job *j = &w->jobs[k];
        int r = folder_open(w, j, hit, err);
        if (r < 0) return r;
        if (!j->folder.all && j->folder.taken == 0) { /* another database's table was meant */
            pg_folder_free(&j->folder);
            continue;
        }
        struct pg_restore_job keep = *j;
        *j = (struct pg_restore_job){0};
        w->jobs[kept++] = keep;
    }
    w->n = kept;
    if (kept == 0 && asked > 0 && !pg_selects_globals(w->q->include))
        return error_set(err, ERR_NO_POINT, "no table of the snapshot is what was asked for");
    return check_hits(w, hit, err);
}

static int open_folders(struct restoring *w, struct error *err) {
    void *hit;
    size_t n = 0;
    while (w->q->include && w->q->include[n]) n++;
    int r = mem_alloc((n + 1) * sizeof(bool), &hit, err);
    if (r < 0) return r;
    r = open_all(w, hit, err);
    seam_free(hit);
    return r;
}

#define LEFT_TOLD 20 /* the result names all */

static int report_heirs(struct restoring *w, const struct pg_restore_job *j, json_t *d, struct error *err) {
    json_t *heirs = NULL;
    int r = pg_select_heirs(&j->folder, &heirs, err);
    for (size_t i = 0; r == 0 && i < json_array_size(heirs) && i < LEFT_TOLD && !w->q->as_scratch; i++)
        pg_note(w->s, NOTE_WARNING, BYTES_STR(json_string_value(json_array_get(heirs, i))),
                "it inherits from a table that was taken, and was not named: its rows were not restored");
    if (r == 0 && d && json_array_size(heirs)) r = json_put(d, "heirs_left_out", json_incref(heirs), err);
    json_decref(heirs);
    return r;
}

static int report(struct restoring *w, bool swapped, const struct pg_swap *swaps, struct restore_result *ret,
                  struct error *err) {
    json_t *facts = json_object(), *list = json_array();
    int r = facts && list ? json_put(facts, "databases", json_incref(list), err)
                          : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t k = 0; r == 0 && k < w->n; k++) {
        const struct pg_restore_job *j = &w->jobs[k];
        json_t *d = json_pack("{s:s, s:s, s:i, s:b}", "name", j->name, "target", swapped ? j->live : j->target,
                              "invariants_compared", (int)j->compared, "swapped", swapped);
        json_t *left = NULL;
        if (d && swapped && swaps[k].live_exists) r = json_put_str(d, "kept", swaps[k].before, err);
        if (r == 0) r = pg_select_left(&j->folder, &left, err);
        for (size_t i = 0; r == 0 && i < json_array_size(left) && i < LEFT_TOLD && !w->q->as_scratch; i++)
            pg_note(w->s, NOTE_WARNING, BYTES_STR(json_string_value(json_array_get(left, i))),
                    "it was left out: what it refers to was not taken");
        if (d && json_array_size(left)) r = json_put(d, "left_out", json_incref(left), err);
        json_decref(left);
        if (r == 0) r = report_heirs(w, j, d, err);
        if (r == 0)
            r = json_push(list, d, err);
        else
            json_decref(d);
        ret->bytes += j->folder.bytes;
        ret->items += j->folder.items_written;
    }
    if (r == 0) r = json_put(facts, "roles_made", json_incref(w->made_roles), err);
    if (r == 0) r = json_put_str(facts, "client_version", w->tools.version, err);
    json_decref(list);
    if (r < 0)
        json_decref(facts);
    else
        ret->facts = facts;
    return r;
}

static void discard(struct restoring *w, struct error *err) {
    const char *left = NULL;
    for (size_t k = 0; k < w->n; k++)
        if (w->jobs[k].made && !pg_database_discard(w->s, w->jobs[k].target) && !left) left = w->jobs[k].target;
    if (left)
        error_state(err, "the live database is as it was; what had been restored could not be dropped: database %s",
                    left);
    else
        error_state(err, "the live database is as it was; what had been restored was dropped");
}

static int restore_all(struct restoring *w, struct restore_result *ret, struct error *err) {
    struct pg_swap *swaps = NULL;
    bool swap = (w->q->swap || w->q->in_place) && !w->q->as_scratch;
    int r = mem_alloc((w->n + 1) * sizeof *swaps, (void **)&swaps, err);
    if (r == 0) r = check_version(w, err);
    if (r == 0) r = open_folders(w, err);
    if (r == 0 && w->q->planned_ns && !w->q->as_scratch) r = pg_plan_take(w->admin, w->q->planned_ns, err);
    if (r == 0) r = check_targets(w, swaps, err);
    if (r == 0) r = check_extensions(w, err);
    if (r == 0 && (w->q->as_scratch || (pg_selects_globals(w->q->include) && !w->q->no_owner)))
        r = apply_globals(w, err);
    if (r == 0 && !w->q->no_owner) r = check_roles(w, err);
    for (size_t k = 0; r == 0 && k < w->n; k++) r = restore_one(w, &w->jobs[k], err);
    /* only then: a run that is killed leaves none that the plan's next run would take for somebody else's */
    for (size_t k = 0; r == 0 && k < w->n; k++)
        r = pg_database_finish(w->admin, w->jobs[k].target, w->jobs[k].facts, w->q->planned_ns, err);
    if (r == 0 && swap) r = pg_swap_run(w->admin, swaps, w->n, w->q->terminate_connections, err);
    if (r < 0) discard(w, err);
    if (r == 0) r = report(w, swap, swaps, ret, err);
    seam_free(swaps);
    return r;
}

int pg_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
               struct restore_result *ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    struct restore_result result = {0};
    struct restoring w = {.src = src, .q = q};
    size_t made = 0;
    int r = pg_settings_load(ctx, q->as_scratch ? q->scratch : NULL, &s, err);
    if (r < 0) return r;
    w.s = s;
    w.made_roles = json_array();
    r = w.made_roles ? pg_jobs_make(q, &w.jobs, &w.n, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    made = w.n;
    const char *avoid = NULL; /* a database that is to be swapped cannot be what we are connected to */
    for (size_t k = 0; r == 0 && k < w.n; k++)
        if (!strcmp(w.jobs[k].live, s->dbname)) avoid = s->dbname;
    if (r == 0) r = pg_connect_admin(s, avoid, &w.admin, err);
    if (r == 0) r = restore_all(&w, &result, err);
    pg_finishp(&w.admin);
    pg_jobs_free(w.jobs, made);
    json_decref(w.made_roles);
    if (r == 0) *ret = result;
    return r;
}
