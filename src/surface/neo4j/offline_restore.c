#include "surface/neo4j/offline_place.h"

#include "base/seam.h"
#include "base/time.h"
#include <errno.h>
#include <stdio.h>

#define BEFORE_MAX 100

struct restore {
    struct neo4j_offline o;
    struct neo4j_place place;
    const struct restore_request *q;
    struct source *src;
    struct restore_result *ret;
    json_t *all, *take;
    int held;              /* the folder beside, locked for as long as it is ours */
    char before[PATH_MAX]; /* where dumps of what was replaced are */
    bool goes_on;          /* they are an earlier restore's, which was cut off */
};

static void conf_of(const char *home, char out[PATH_MAX + 16]) {
    snprintf(out, PATH_MAX + 16, "%s/conf", home);
}

/* What was measured at capture, of the databases that were taken, must be so again. */
static int compare(struct restore *j, const char *conf, struct error *err) {
    json_t *info = NULL, *got = json_object();
    const char *key;
    json_t *now;
    int r = got ? neo4j_admin_info(&j->o, conf, &info, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = neo4j_home_invariants(j->take, info, got, err);
    json_object_foreach(got, key, now) {
        const json_t *was = json_object_get(json_object_get(j->q->invariants, key), "value");
        if (r == 0 && was && !json_equal(was, json_object_get(now, "value")))
            r = error_set(err, ERR_RESTORE_DIFFERS, "%s is another than when it was backed up", key);
    }
    json_decref(info);
    json_decref(got);
    return r;
}

static int load_all(struct restore *j, const char *conf, const char *reports, struct error *err) {
    const json_t *d;
    size_t i;
    int r = 0;
    json_array_foreach(j->take, i, d) {
        const char *name = json_string_value(d);
        if (r == 0) r = neo4j_home_load(&j->o, conf, j->src, name, j->ret, err);
        if (r == 0) r = neo4j_home_check(&j->o, conf, name, reports, err);
    }
    return r == 0 ? compare(j, conf, err) : r;
}

/* So that a run that is killed leaves nothing that could be taken for somebody else's, or for one at work. */
static int hold(struct restore *j, const char *home, struct error *err) {
    j->held = seam_openat(AT_FDCWD, home, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (j->held < 0) return error_set_errno(err, ERR_IO_READ, "open %s", home);
    if (io_lock(j->held) < 0) return error_set_errno(err, ERR_IO_WRITE, "lock %s", home);
    int mark = seam_openat(j->held, NEO4J_PARTIAL_MARK, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (mark < 0) return error_set_errno(err, ERR_IO_WRITE, "%s/" NEO4J_PARTIAL_MARK, home);
    io_close(&mark);
    return 0;
}

static int fill(struct restore *j, const char *home, const char *as, struct error *err) {
    char conf[PATH_MAX + 16], reports[PATH_MAX + 16];
    conf_of(home, conf);
    snprintf(reports, sizeof reports, "%s/report", home);
    int r = neo4j_home_make(&j->o, home, err);
    if (r == 0) r = hold(j, home, err);
    if (r == 0) r = neo4j_home_configure(&j->o, home, home, NULL, err);
    if (r == 0) r = load_all(j, conf, reports, err);
    return r == 0 && as ? neo4j_home_configure(&j->o, home, as, NULL, err) : r;
}

static int fill_scratch(struct restore *j, struct error *err) {
    char conf[PATH_MAX + 16], reports[PATH_MAX + 16];
    conf_of(j->place.path, conf);
    snprintf(reports, sizeof reports, "%s/report", j->place.path);
    return load_all(j, conf, reports, err);
}

/* neo4j-admin does not say that what it wrote is on disk. */
static int make_durable(const char *path, struct error *err) {
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int r = fd >= 0 && seam_syncfs(fd) == 0 ? 0 : error_set_errno(err, ERR_IO_SYNC, "make %s durable", path);
    io_close(&fd);
    return r;
}

static void parent_of(const char *path, char parent[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    snprintf(parent, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static int name_it(const struct restore *j, struct error *err) {
    char parent[PATH_MAX];
    if (j->place.exists && seam_unlinkat(AT_FDCWD, j->place.path, AT_REMOVEDIR) < 0)
        return error_set_errno(err, ERR_TARGET_NOT_EMPTY, "%s", j->place.path);
    if (seam_renameat2(AT_FDCWD, j->place.beside, AT_FDCWD, j->place.path, RENAME_NOREPLACE) < 0)
        return error_set_errno(err, errno == EEXIST ? ERR_TARGET_NOT_EMPTY : ERR_IO_WRITE, "give %s its name",
                               j->place.path);
    parent_of(j->place.path, parent);
    int fd = seam_openat(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int r = fd >= 0 && seam_fsync(fd) == 0 ? 0 : error_set_errno(err, ERR_IO_SYNC, "make %s durable", parent);
    io_close(&fd);
    return r;
}

static int restore_new(struct restore *j, struct error *err) {
    struct error ignored = ERROR_INIT;
    char parent[PATH_MAX];
    parent_of(j->place.path, parent);
    int r = io_mkdirs(parent, 0755, err);
    if (r < 0) return r;
    r = fill(j, j->place.beside, j->place.path, err);
    if (r == 0 && seam_unlinkat(j->held, NEO4J_PARTIAL_MARK, 0) < 0)
        r = error_set_errno(err, ERR_IO_WRITE, "%s/" NEO4J_PARTIAL_MARK, j->place.beside);
    if (r == 0) r = make_durable(j->place.beside, err);
    if (r == 0) r = name_it(j, err);
    if (r < 0) (void)!io_remove_tree(AT_FDCWD, j->place.beside, &ignored);
    return r;
}

/* ---- in place ---- */
/* Another restore may have been in the same second: what that one kept is never taken for ours. */
static int make_before(struct restore *j, struct error *err) {
    char path[PATH_MAX], stamp[24];
    time_format_compact(time_now_ns(), stamp);
    snprintf(path, sizeof path, "%.4000s.before-%s", j->o.home, stamp);
    size_t n = strlen(path);
    for (unsigned i = 2; seam_mkdirat(AT_FDCWD, path, 0700) < 0; i++) {
        if (errno != EEXIST || i == BEFORE_MAX) return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", path);
        snprintf(path + n, sizeof path - n, "-%u", i);
    }
    memcpy(j->before, path, sizeof path);
    return 0;
}

/* A restore that was cut off has dumped what it was about to replace: that is what was live. */
static int go_on(struct restore *j, struct error *err) {
    json_t *begun = NULL;
    CLEANUP(buf_free) struct buf text = BUF_INIT(1 << 20);
    int r = 0;
    j->goes_on = neo4j_service_half(&j->o, j->before, &begun);
    if (j->goes_on && !json_equal(begun, j->take)) {
        r = json_write(begun, &text, err);
        if (r == 0) r = buf_terminate(&text, err);
        if (r == 0)
            r = error_set(
                err, ERR_USAGE,
                "an earlier restore was cut off while it replaced %.400s: restore these databases, with --path",
                (const char *)text.ptr);
    }
    json_decref(begun);
    return r;
}

static bool is_kept(const struct restore *j, const char *name) {
    char path[PATH_MAX + NEO4J_NAME_MAX + 16];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s.dump", j->before, name);
    return seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int keep_old(struct restore *j, const json_t *info, struct error *err) {
    char to[PATH_MAX + 16], doing[NEO4J_NAME_MAX + 64];
    const json_t *d;
    size_t i;
    int r = make_before(j, err);
    if (r < 0) return r;
    snprintf(to, sizeof to, "--to-path=%s", j->before);
    if (j->o.become && seam_fchownat(AT_FDCWD, j->before, j->o.uid, j->o.gid, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give %s to %s", j->before, j->o.run_as);
    json_array_foreach(j->take, i, d) {
        const char *name = json_string_value(d);
        if (!neo4j_info_of(info, name)) continue;
        snprintf(doing, sizeof doing, "dump the database %s as it is, before it is replaced", name);
        r = neo4j_admin_run(&j->o, NULL, (const char *[]){"database", "dump", to, name, NULL}, doing, NULL, err);
        if (r < 0) {
            (void)!error_state(err, "nothing was replaced");
            if (r == -ERR_NEO4J_ADMIN)
                (void)!error_next(err, "Restore into a new home with --into, and let the server start from that.");
            return r;
        }
    }
    return make_durable(j->before, err);
}

static int put_back(struct restore *j, struct error *err) {
    struct error why = ERROR_INIT;
    char from[PATH_MAX + 16];
    const json_t *d;
    size_t i;
    int r = 0;
    snprintf(from, sizeof from, "--from-path=%s", j->before);
    json_array_foreach(j->take, i, d) {
        const char *name = json_string_value(d);
        if (r == 0 && is_kept(j, name))
            r = neo4j_admin_run(&j->o, NULL,
                                (const char *[]){"database", "load", from, "--overwrite-destination=true", name, NULL},
                                "put the old database back", NULL, &why);
    }
    if (r == 0)
        (void)!error_state(err, "the old databases were put back");
    else
        (void)!error_state(err, "the old databases are in %.120s as dumps, and could not be put back", j->before);
    return r;
}

static int replace(struct restore *j, bool stopped, struct error *err) {
    struct error ignored = ERROR_INIT;
    char reports[PATH_MAX + 16];
    json_t *info = NULL;
    snprintf(reports, sizeof reports, "%s/report", j->place.beside);
    int r = j->goes_on ? 0 : neo4j_admin_info(&j->o, NULL, &info, err);
    if (r == 0 && !j->goes_on) r = keep_old(j, info, err);
    json_decref(info);
    if (r == 0) r = neo4j_service_replacing(&j->o, j->before, j->take, err);
    if (r < 0) {
        if (j->before[0] && !j->goes_on) (void)!io_remove_tree(AT_FDCWD, j->before, &ignored);
        return error_state(err, "nothing was replaced by this restore");
    }
    r = load_all(j, NULL, reports, err);
    if (r == 0) r = make_durable(j->o.home, err);
    if (r < 0 && put_back(j, err) < 0) return r;
    int said = neo4j_service_replaced(&j->o, stopped, r < 0 ? &ignored : err);
    return r < 0 ? r : said;
}

static int restore_in_place(struct restore *j, struct error *err) {
    struct error ignored = ERROR_INIT;
    bool stopped = false;
    int r = go_on(j, err);
    if (r == 0) r = fill(j, j->place.beside, NULL, err);
    j->ret->items = j->ret->bytes = 0; /* counted as it goes where it stays */
    if (r == 0 && (r = neo4j_service_stop(&j->o, "restore", &stopped, err)) == 0)
        r = neo4j_service_start(&j->o, "restore", stopped, replace(j, stopped, err), err);
    (void)!io_remove_tree(AT_FDCWD, j->place.beside, &ignored);
    return r;
}

static int report(struct restore *j, struct error *err) {
    json_t *facts = json_pack("{s:s, s:O, s:b}", "target", j->place.path, "loaded", j->take, "checked", 1);
    int r = facts ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && j->before[0]) r = json_put_str(facts, "kept_old", j->before, err);
    if (r < 0)
        json_decref(facts);
    else
        j->ret->facts = facts;
    return r;
}

int neo4j_offline_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                          struct restore_result *ret, struct error *err) {
    struct restore j = {.q = q, .src = src, .ret = ret, .held = -1};
    *ret = (struct restore_result){0};
    int r = neo4j_offline_load(ctx, &j.o, err);
    if (r == 0) r = neo4j_place_decide(&j.o, q, &j.place, err);
    if (r == 0) r = neo4j_items_databases(src, &j.all, err);
    if (r == 0) r = neo4j_place_takes(q, j.all, &j.take, err);
    if (r == 0 && q->as_scratch)
        r = fill_scratch(&j, err);
    else if (r == 0)
        r = j.place.in_place ? restore_in_place(&j, err) : restore_new(&j, err);
    if (r == 0) r = report(&j, err);
    io_close(&j.held);
    json_decref(j.all);
    json_decref(j.take);
    return r < 0 ? error_wrap(err, "neo4j %s", ctx->name ? ctx->name : "") : 0;
}
