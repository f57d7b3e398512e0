#include "surface/pgphys/restore_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARTIAL ".proofkeep-partial-"
#define TEXT_MAX (64u << 20)

/* ---- the list of items ---- */

static bool part_ok(const char *p, size_t n) {
    return n > 0 && n <= NAME_MAX && !(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.');
}

/* A path below the folder, and nothing else. */
static bool name_ok(struct bytes b) {
    if (b.len == 0 || b.len >= PATH_MAX || memchr(b.ptr, 0, b.len)) return false;
    size_t from = 0;
    for (size_t i = 0; i <= b.len; i++) {
        if (i < b.len && b.ptr[i] != '/') continue;
        if (!part_ok((const char *)b.ptr + from, i - from)) return false;
        from = i + 1;
    }
    return true;
}

static bool is_space(const char *name) {
    static const char folder[] = "pg_tblspc/";
    if (strncmp(name, folder, sizeof folder - 1) != 0) return false;
    const char *oid = name + sizeof folder - 1;
    return *oid && oid[strspn(oid, "0123456789")] == 0;
}

static int keep_text(struct pgphys_restore *r, struct bytes b, const char **ret, struct error *err) {
    struct stat st = {.st_mode = S_IFDIR};
    size_t before = r->names.n;
    int rc = pgphys_list_add(&r->names, b, PGPHYS_FOLDER, &st, BYTES_OF(NULL, 0), err);
    if (rc == 0) *ret = r->names.entries[before].name;
    r->names.n = before; /* its memory is what is wanted */
    return rc;
}

static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct pgphys_restore *r = ctx;
    struct pgphys_item it = {.head = *h};
    int rc = mem_grow((void **)&r->items, &r->cap, r->n + 1, sizeof *r->items, err);
    if (rc == 0) rc = pgphys_attr_decode(h->attr, &it.attr, err);
    if (rc < 0) return rc;
    if (!name_ok(h->name)) return error_set(err, ERR_IO_ESCAPE, "the name of an item is no path below the data folder");
    if ((rc = keep_text(r, h->name, &it.name, err)) < 0) return rc;
    if (it.attr.type == PGPHYS_LINK) {
        if (!is_space(it.name)) return error_set(err, ERR_IO_ESCAPE, "'%s' is a link, and no tablespace", it.name);
        char to[PATH_MAX];
        rc = keep_text(r, it.attr.target, &it.was, err);
        if (rc == 0) rc = pgphys_target_space(r, it.name, it.was, to, err);
        if (rc == 0) rc = keep_text(r, BYTES_STR(to), &it.target, err);
        if (rc < 0) return rc;
    }
    it.attr.target = it.head.name = it.head.attr = BYTES_OF(NULL, 0);
    r->total += it.head.bytes;
    if (it.attr.type == PGPHYS_FILE && r->src->ops->expect) r->src->ops->expect(r->src, h);
    r->items[r->n++] = it;
    return 0;
}

static struct pgphys_item *find(struct pgphys_restore *r, const char *name) {
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = name_compare(BYTES_STR(r->items[mid].name), BYTES_STR(name));
        if (c == 0) return &r->items[mid];
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static int list_items(struct pgphys_restore *r, struct error *err) {
    int rc = r->src->ops->walk(r->src, BYTES_OF(NULL, 0), on_item, r, err);
    if (rc < 0) return rc;
    r->control = find(r, PGPHYS_CONTROL);
    r->map = find(r, "tablespace_map");
    r->manifest = find(r, "backup_manifest");
    if (!r->control || !find(r, "PG_VERSION") || !find(r, "backup_label"))
        return error_set(err, ERR_RESTORE_DIFFERS,
                         "the snapshot is no whole base backup: pg_control, PG_VERSION or backup_label is not in it");
    return 0;
}

/* ---- before and after the files ---- */

static int choose_owner(struct pgphys_restore *r, struct error *err) {
    if (geteuid() != 0 || r->q->no_owner) return 0;
    const char *user =
        json_string_value(json_object_get(r->q->as_scratch ? r->q->scratch : r->ctx->settings, "run_as"));
    if (!r->settings->run_as) {
        int rc = mem_strdup(user ? user : "postgres", &r->settings->run_as, err);
        if (rc == 0) rc = pg_settings_user(r->settings, err);
        if (rc < 0) return error_next(err, "Set run_as to the server's user, or pass --no-owner.");
    }
    r->own = r->settings->become;
    r->uid = r->settings->uid;
    r->gid = r->settings->gid;
    return 0;
}

static int open_target(struct pgphys_restore *r, struct error *err) {
    const char *last = strrchr(r->target, '/') + 1;
    uint8_t random[8];
    char hex[17];
    int rc = io_mkdirs(r->parent, 0755, err);
    if (rc < 0) return rc;
    r->parentfd = seam_openat(AT_FDCWD, r->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (r->parentfd < 0) return error_set_errno(err, ERR_IO_WRITE, "open %s", r->parent);
    if (r->delta) {
        snprintf(r->name, sizeof r->name, "%s", last);
    } else {
        if ((rc = random_bytes(random, sizeof random, err)) < 0) return rc;
        hex_encode(random, sizeof random, hex);
        snprintf(r->name, sizeof r->name, "%.200s" PARTIAL "%s", last, hex);
        if (seam_mkdirat(r->parentfd, r->name, 0700) < 0)
            return error_set_errno(err, ERR_IO_WRITE, "make a folder beside %s", r->target);
        r->made = true;
    }
    r->dirfd = seam_openat(r->parentfd, r->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (r->dirfd < 0) return error_set_errno(err, ERR_IO_WRITE, "open %s/%s", r->parent, r->name);
    (void)!io_lock(r->dirfd); /* who cleans up after killed runs sees that this one lives */
    return 0;
}

static bool wanted(struct pgphys_restore *r, const char *name) {
    return find(r, name) != NULL && strcmp(name, "tablespace_map") != 0;
}

/* Removes what the snapshot does not have, of a folder that an earlier state left. Closes fd. */
static int remove_extra(struct pgphys_restore *r, int fd, const char *folder, struct error *err) {
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        int rc = error_set_errno(err, ERR_IO_READ, "read the folder %s", folder);
        io_close(&fd);
        return rc;
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (errno = 0, e = seam_readdir(d));) {
        char name[PATH_MAX];
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", e->d_name) >= PATH_MAX) continue;
        if (seam_fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            rc = error_set_errno(err, ERR_IO_READ, "look at %s", name);
        } else if (!wanted(r, name) && is_space(folder)) {
            continue; /* a tablespace's folder may have files of another version's cluster beside ours */
        } else if (!wanted(r, name)) {
            rc = io_remove_tree(fd, e->d_name, err);
            r->removed++;
        } else if (S_ISDIR(st.st_mode) || (S_ISLNK(st.st_mode) && (is_space(name) || !strcmp(name, "pg_wal")))) {
            /* Other links are put out of the way, and what they lead to is no business of ours. */
            int below = seam_openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
            if (below >= 0)
                rc = remove_extra(r, below, name, err);
            else if (S_ISDIR(st.st_mode) || (errno != ENOENT && errno != ENOTDIR))
                rc = error_set_errno(err, ERR_IO_READ, "open the folder %s", name);
        }
    }
    if (rc == 0 && errno) rc = error_set_errno(err, ERR_IO_READ, "read the folder %s", folder);
    seam_closedir(d);
    return rc;
}

static int delta_begin(struct pgphys_restore *r, struct error *err) {
    if (seam_unlinkat(r->dirfd, PGPHYS_CONTROL, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, ERR_IO_WRITE, "remove " PGPHYS_CONTROL);
    int fd = seam_openat(r->dirfd, "global", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0 && seam_fsync(fd) < 0) {
        io_close(&fd);
        return error_set_errno(err, ERR_IO_WRITE, "make it durable that " PGPHYS_CONTROL " is gone");
    }
    io_close(&fd);
    fd = seam_openat(r->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "open %s", r->target);
    return remove_extra(r, fd, "", err);
}

/* A segment that the backup brought is archived already, or is no business of the copy's. */
static int segments_done(struct pgphys_restore *r, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->n; i++) {
        char name[PATH_MAX];
        if (strncmp(r->items[i].name, "pg_wal/", 7) != 0 || r->items[i].attr.type != PGPHYS_FILE ||
            strchr(r->items[i].name + 7, '/')) /* the stream brings such marks itself */
            continue;
        snprintf(name, sizeof name, "pg_wal/archive_status/%.200s.done", r->items[i].name + 7);
        rc = pgphys_text_write(r, name, BYTES_OF(NULL, 0), 0600, err);
    }
    return rc;
}

/* tablespace_map, which the server would read as orders, is not laid down, so a manifest that lists it would be wrong.
 */
static int manifest_write(struct pgphys_restore *r, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 30);
    struct pgphys_manifest *m = NULL;
    uint64_t start = 0, stop = 0;
    const json_t *f = r->q->facts;
    const char *from = json_string_value(json_object_get(f, "start_lsn")),
               *to = json_string_value(json_object_get(f, "stop_lsn")),
               *system = json_string_value(json_object_get(f, "system_identifier"));
    if (!r->manifest || !r->map) return 0;
    if (!from || !to || !system || !wal_lsn_parse(from, &start) || !wal_lsn_parse(to, &stop))
        return error_set(err, ERR_JSON, "the facts of the backup do not say where it begins and ends");
    int rc = pgphys_manifest_new((int)r->major, strtoull(system, NULL, 10), &m, err);
    for (size_t i = 0; rc == 0 && i < r->n; i++) {
        const struct pgphys_item *it = &r->items[i];
        if (it->attr.type != PGPHYS_FILE || it == r->map || it == r->manifest || !strncmp(it->name, "pg_wal/", 7))
            continue;
        rc = it->attr.has_crc ? pgphys_manifest_add_crc(m, BYTES_STR(it->name), it->head.bytes, it->attr.mtime_ns,
                                                        it->attr.crc32c, err)
                              : pgphys_manifest_add(m, BYTES_STR(it->name), it->head.bytes, it->attr.mtime_ns,
                                                    &it->head.sha256, err);
    }
    if (rc == 0)
        rc = pgphys_manifest_finish(m, (uint32_t)json_integer_value(json_object_get(f, "timeline")), start, stop, &text,
                                    err);
    if (rc == 0) rc = pgphys_text_write(r, "backup_manifest", buf_bytes(&text), 0600, err);
    pgphys_manifest_free(m);
    return rc;
}

static int read_text(struct pgphys_restore *r, const struct pgphys_item *it, struct buf *ret, struct error *err) {
    struct source_item *in;
    struct source_head head = it->head;
    head.name = BYTES_STR(it->name);
    int rc = r->src->ops->open(r->src, &head, &in, err);
    if (rc < 0) return rc;
    for (struct bytes d; rc == 0 && (rc = r->src->ops->next(in, &d, err)) == 0 && d.len;)
        if (d.ptr) rc = buf_append(ret, d.ptr, d.len, err);
    r->src->ops->close(in);
    return rc;
}

/* A server notices that it has come to `immediate` by the record behind it. A standby's base may have none, since
 * nothing is written when it ends: such a copy takes all WAL that came with it, and without consistency it does not
 * come up. */
static bool own_wal_only(const struct pgphys_restore *r, const struct restore_recovery *q) {
    return q && q->immediate && json_is_true(json_object_get(r->q->facts, "from_standby")) &&
           (!q->action || !strcmp(q->action, "promote"));
}

static int recovery_write(struct pgphys_restore *r, const char **ret_signal, struct error *err) {
    static const struct restore_recovery consistent = {.immediate = true};
    static const struct restore_recovery all_of_it = {.timeline = "current", .restore_command = "false"};
    CLEANUP(buf_free) struct buf was = BUF_INIT(TEXT_MAX);
    CLEANUP(buf_free) struct buf text = BUF_INIT(TEXT_MAX);
    const struct pgphys_item *it = find(r, PGPHYS_AUTO_CONF);
    const struct restore_recovery *q = r->q->as_scratch && !r->q->recovery ? &consistent : r->q->recovery;
    if (own_wal_only(r, q)) q = &all_of_it;
    int rc = it && !r->q->as_scratch ? read_text(r, it, &was, err) : 0;
    /* A copy that archives would write its own history among that of the cluster that it was copied from. */
    if (rc == 0) rc = pgphys_recovery_text(q, !r->q->in_place, buf_bytes(&was), &text, ret_signal, err);
    for (size_t i = 0; rc == 0 && i < r->n; i++)
        if (r->items[i].attr.type == PGPHYS_FOLDER && is_space(r->items[i].name)) {
            /* A tablespace that is a folder in pg_tblspc; recovery ends in a panic otherwise. */
            rc = buf_append_str(&text, "allow_in_place_tablespaces = on\n", err);
            break;
        }
    if (rc == 0) rc = pgphys_text_write(r, PGPHYS_AUTO_CONF, buf_bytes(&text), 0600, err);
    if (rc == 0 && *ret_signal) rc = pgphys_text_write(r, *ret_signal, BYTES_OF(NULL, 0), 0600, err);
    return rc;
}

/* The server looks for the next number of a timeline in its pg_wal too; marked as archived, which they are. */
static int histories_write(struct pgphys_restore *r, struct error *err) {
    const char *name;
    json_t *text;
    int rc = 0;
    if (!r->q->recovery || r->q->as_scratch) return 0;
    json_object_foreach((json_t *)r->q->recovery->histories, name, text) {
        char path[PATH_MAX];
        struct wal_name n;
        if (rc < 0 || (rc = wal_name_parse(name, &n, err)) < 0) break;
        snprintf(path, sizeof path, "pg_wal/%.40s", name);
        rc = pgphys_text_write(r, path, BYTES_STR(json_string_value(text)), 0600, err);
        snprintf(path, sizeof path, "pg_wal/archive_status/%.40s.done", name);
        if (rc == 0) rc = pgphys_text_write(r, path, BYTES_OF(NULL, 0), 0600, err);
    }
    return rc;
}

static int durable(struct pgphys_restore *r, struct error *err) {
    if (seam_syncfs(r->dirfd) < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s durable", r->target);
    for (size_t i = 0; i < r->n; i++) {
        if (r->items[i].attr.type != PGPHYS_LINK) continue;
        int fd = seam_openat(AT_FDCWD, r->items[i].target, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        int rc = fd < 0 || seam_syncfs(fd) < 0
                     ? error_set_errno(err, ERR_IO_WRITE, "make the tablespace %s durable", r->items[i].target)
                     : 0;
        io_close(&fd);
        if (rc < 0) return rc;
    }
    return 0;
}

static int sync_folder(struct pgphys_restore *r, const char *name, struct error *err) {
    int fd = seam_openat(r->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int rc = fd < 0 || seam_fsync(fd) < 0 ? error_set_errno(err, ERR_IO_WRITE, "make the folder %s durable", name) : 0;
    io_close(&fd);
    return rc;
}

static int control_write(struct pgphys_restore *r, struct error *err) {
    static const char temporary[] = "global/pg_control.proofkeep";
    int rc = pgphys_file_write(r, r->control, temporary, err);
    if (rc < 0) return rc;
    int fd = seam_openat(r->dirfd, temporary, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0 || seam_fsync(fd) < 0) rc = error_set_errno(err, ERR_IO_WRITE, "make " PGPHYS_CONTROL " durable");
    io_close(&fd);
    if (rc == 0 && seam_renameat2(r->dirfd, temporary, r->dirfd, PGPHYS_CONTROL, 0) < 0)
        rc = error_set_errno(err, ERR_IO_WRITE, "name " PGPHYS_CONTROL);
    r->whole = rc == 0;
    return rc == 0 ? sync_folder(r, "global", err) : rc;
}

static int dress_top(struct pgphys_restore *r, struct error *err) {
    if (r->own && seam_fchownat(r->dirfd, "", r->uid, r->gid, AT_EMPTY_PATH) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give %s to the server's user", r->target);
    if (seam_fchmod(r->dirfd, r->folder_mode) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "set the mode of %s", r->target);
    if (r->lasting && seam_fsync(r->dirfd) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "make the folder %s durable", r->target);
    return 0;
}

static int give_name(struct pgphys_restore *r, struct error *err) {
    const char *last = strrchr(r->target, '/') + 1;
    if (r->delta) return 0;
    int rc = pgphys_spaces_done(r, err);
    if (rc < 0) return rc;
    /* Over an empty folder, and over nothing else. */
    if (r->exists && seam_unlinkat(r->parentfd, last, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return error_set_errno(err, ERR_TARGET_NOT_EMPTY, "take the place of %s", r->target);
    if (seam_renameat2(r->parentfd, r->name, r->parentfd, last, 1 /* RENAME_NOREPLACE */) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give %s its name", r->target);
    r->made = r->spaces_made = false; /* what bears its name is not taken apart any more */
    pgphys_spaces_free(r);
    for (size_t i = 0; i < r->n; i++) r->items[i].made = r->items[i].marked = false;
    if (seam_fsync(r->parentfd) < 0) return error_set_errno(err, ERR_IO_WRITE, "make the name %s durable", r->target);
    return 0;
}

static void discard(struct pgphys_restore *r, struct error *err) {
    struct error ignored = ERROR_INIT;
    if (r->made) (void)!io_remove_tree(r->parentfd, r->name, &ignored);
    for (size_t i = 0; i < r->n; i++) {
        error_clear(&ignored);
        const struct pgphys_item *it = &r->items[i];
        if (it->made && (it->marked || r->delta))
            (void)!io_remove_tree(AT_FDCWD, it->target, &ignored);
        else if (it->made) /* another fills it */
            (void)!seam_unlinkat(AT_FDCWD, it->target, AT_REMOVEDIR);
        else if (it->marked)
            (void)!pgphys_space_empty(it->target, &ignored);
    }
    pgphys_spaces_free(r);
    error_clear(&ignored);
    if (r->spaces_made) (void)!seam_unlinkat(AT_FDCWD, r->spaces, AT_REMOVEDIR);
    if (r->q->as_scratch) return; /* it goes */
    if (r->delta && r->whole)
        (void)!error_state(
            err, "%s is whole, and a server starts from it; whether a power cut would leave it so is not known",
            r->target);
    else if (r->delta)
        (void)!error_state(err, "%s is half restored and no server starts from it; the same restore again completes it",
                           r->target);
}

static int report(struct pgphys_restore *r, const char *signal, struct restore_result *ret, struct error *err) {
    json_t *spaces = json_array(), *facts = json_object();
    int rc = spaces && facts ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; rc == 0 && i < r->n; i++)
        if (r->items[i].attr.type == PGPHYS_LINK)
            rc = json_push(spaces, json_pack("{s:s, s:s}", "was", r->items[i].was, "is", r->items[i].target), err);
    if (rc == 0) rc = json_put_str(facts, "target", r->target, err);
    if (rc == 0) rc = json_put(facts, "tablespaces", json_incref(spaces), err);
    if (rc == 0) rc = json_put(facts, "delta", json_boolean(r->delta), err);
    if (rc == 0) rc = json_put_int(facts, "files_written", (int64_t)atomic_load(&r->changed), err);
    if (rc == 0) rc = json_put_int(facts, "files_kept", (int64_t)atomic_load(&r->kept), err);
    if (rc == 0) rc = json_put_int(facts, "files_removed", (int64_t)r->removed, err);
    if (rc == 0) rc = json_put_int(facts, "bytes_written", (int64_t)atomic_load(&r->written), err);
    if (rc == 0) rc = json_put(facts, "recovery", signal ? json_string(signal) : json_null(), err);
    if (rc == 0) rc = json_put(facts, "archiving_off", json_boolean(!r->q->in_place), err);
    json_decref(spaces);
    if (rc < 0) {
        json_decref(facts);
        return rc;
    }
    *ret = (struct restore_result){.facts = facts, .items = r->n, .bytes = r->total};
    return 0;
}

static int run(struct pgphys_restore *r, struct restore_result *ret, struct error *err) {
    const char *signal = NULL;
    const json_t *mode = json_object_get(r->q->facts, "folder_mode");
    r->folder_mode = json_is_integer(mode) && (json_integer_value(mode) & 070) ? 0750 : 0700;
    r->major = json_integer_value(json_object_get(r->q->facts, "server_version_num")) / 10000;
    /* What is looked at for a moment need not outlive a power cut; a verification measures a restore as it is. */
    r->lasting = !json_is_false(json_object_get(r->q->scratch, "verify"));
    int rc = pgphys_recovery_check(r->q->recovery, r->q->facts, err);
    if (rc == 0) rc = pgphys_target_decide(r, err);
    if (rc == 0) rc = choose_owner(r, err);
    if (rc == 0) rc = list_items(r, err);
    if (rc == 0) rc = open_target(r, err);
    if (rc == 0 && r->delta) rc = delta_begin(r, err);
    if (rc == 0) rc = pgphys_files_write(r, err);
    if (rc == 0) rc = manifest_write(r, err);
    if (rc == 0) rc = segments_done(r, err);
    if (rc == 0) rc = recovery_write(r, &signal, err);
    if (rc == 0) rc = histories_write(r, err);
    if (rc == 0 && r->lasting) rc = durable(r, err);
    if (rc == 0) rc = control_write(r, err);
    if (rc == 0) rc = report(r, signal, ret, err);
    if (rc == 0) rc = dress_top(r, err); /* until then it is ours, and goes with the next run if this one is killed */
    if (rc == 0) rc = give_name(r, err);
    if (rc < 0) discard(r, err);
    return rc;
}

int pgphys_export_tree(const struct surface_context *ctx, struct source *src, int dirfd, struct error *err) {
    static const struct restore_request all = {0};
    struct pgphys_restore r = {
        .ctx = ctx, .src = src, .q = &all, .parentfd = -1, .dirfd = dirfd, .lasting = true, .plain = true};
    pthread_mutex_init(&r.lock, NULL);
    int rc = list_items(&r, err);
    if (rc == 0) rc = pgphys_files_write(&r, err);
    if (rc == 0 && seam_syncfs(dirfd) < 0) rc = error_set_errno(err, ERR_IO_WRITE, "make the exported files durable");
    pthread_mutex_destroy(&r.lock);
    pgphys_list_free(&r.names);
    seam_free(r.items);
    return rc;
}

int pgphys_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) {
    struct pgphys_restore r = {.ctx = ctx, .src = src, .q = q, .parentfd = -1, .dirfd = -1};
    struct restore_result result = {0};
    json_t *nowhere = json_object();
    /* Where the live server is does not matter, and its password is not asked for. */
    int rc = nowhere ? pg_settings_load(ctx, nowhere, &r.settings, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    pthread_mutex_init(&r.lock, NULL);
    if (rc == 0) rc = run(&r, &result, err);
    if (rc == 0 && q->as_scratch) rc = pgphys_scratch_run(ctx, q, err);
    pthread_mutex_destroy(&r.lock);
    json_decref(nowhere);
    pgphys_list_free(&r.names);
    seam_free(r.items);
    pg_settings_free(r.settings);
    io_close(&r.dirfd);
    io_close(&r.parentfd);
    if (rc == 0)
        *ret = result;
    else
        json_decref(result.facts);
    return rc;
}
