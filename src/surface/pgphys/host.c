#include "surface/pgphys/pgphys_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define BAD_NAMED_MAX 256

struct host {
    const struct surface_context *ctx;
    struct pg_settings *settings;
    struct sink *sink;
    struct pgphys_session session;
    struct pgphys_control control;
    struct pgphys_list list;
    struct pgphys_reading reading;
    struct pgphys_manifest *manifest;
    char folder[PATH_MAX];
    int dirfd;
    uint64_t items, bytes;
    uint64_t wal_bytes;
    json_t *facts, *invariants, *before, *segments;
};

static int open_folder(struct host *h, struct error *err) {
    const char *set = json_string_value(json_object_get(h->ctx->settings, "data_directory"));
    int rc = 0;
    if (set)
        snprintf(h->folder, sizeof h->folder, "%s", set);
    else
        rc = pgphys_session_folder(&h->session, h->folder, err);
    if (rc < 0) return rc;
    h->dirfd = seam_openat(AT_FDCWD, h->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (h->dirfd < 0) return error_set_errno(err, ERR_IO_READ, "open the data folder %s", h->folder);
    return 0;
}

static int counted(struct host *h, const char *name, struct pgphys_attr a, struct bytes content, bool in_manifest,
                   struct error *err) {
    struct digest sha;
    int rc = pgphys_put(h->sink, name, ITEM_FILE, a, content, &sha, err);
    if (rc == 0 && in_manifest)
        rc = pgphys_manifest_add(h->manifest, BYTES_STR(name), content.len, a.mtime_ns, &sha, err);
    h->items++;
    h->bytes += content.len;
    return rc;
}

static int manifest_begin(struct host *h, struct error *err) {
    int rc = pgphys_manifest_new(h->session.major, h->session.system, &h->manifest, err);
    for (size_t i = 0; rc == 0 && i < h->list.n; i++) {
        const struct pgphys_entry *e = &h->list.entries[i];
        if (e->lost) continue;
        h->items++;
        h->bytes += e->bytes;
        if (e->type != PGPHYS_FILE) continue;
        rc = pgphys_kind_of(e) == ITEM_PARTS
                 ? pgphys_manifest_add_crc(h->manifest, BYTES_STR(e->name), e->bytes, e->mtime_ns, e->crc32c, err)
                 : pgphys_manifest_add(h->manifest, BYTES_STR(e->name), e->bytes, e->mtime_ns, &e->sha256, err);
    }
    return rc;
}

static int control_put(struct host *h, struct error *err) {
    uint8_t file[PGPHYS_CONTROL_BYTES];
    size_t n;
    struct stat st;
    int rc = pgphys_control_load(h->dirfd, file, &n, &h->control, err);
    if (rc < 0) return rc;
    if (seam_fstatat(h->dirfd, PGPHYS_CONTROL, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_PG_CONTROL, "look at " PGPHYS_CONTROL);
    if (h->session.standby && h->control.min_recovery_timeline > h->session.timeline_end)
        h->session.timeline_end = h->control.min_recovery_timeline;
    struct pgphys_attr a = {.type = PGPHYS_FILE,
                            .mode = (uint32_t)st.st_mode & 07777,
                            .mtime_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec};
    return counted(h, PGPHYS_CONTROL, a, BYTES_OF(file, n), true, err);
}

static int config_file(void *ctx, const char *name, struct pgphys_attr a, struct bytes content, struct error *err) {
    return counted(ctx, name, a, content, true, err);
}

static int config_put(struct host *h, struct error *err) {
    struct pgphys_config g = {.session = &h->session,
                              .settings = h->settings,
                              .sink = h->sink,
                              .dirfd = h->dirfd,
                              .list = &h->list,
                              .facts = h->facts,
                              .put = config_file,
                              .ctx = h};
    int rc = pgphys_config_put(&g, err);
    h->items += g.folders;
    h->list.skipped += g.skipped;
    return rc;
}

/* ---- the end ---- */

static int last_items(struct host *h, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 30);
    struct pgphys_session *s = &h->session;
    struct pgphys_attr a = {.type = PGPHYS_FILE, .mode = 0600, .mtime_ns = s->stop_ns};
    int rc = pgphys_segments_put(s, h->dirfd, h->sink, h->segments, &h->wal_bytes, err);
    if (rc == 0) rc = counted(h, "backup_label", a, buf_bytes(&s->label), true, err);
    if (rc == 0 && s->map.len) rc = counted(h, "tablespace_map", a, buf_bytes(&s->map), true, err);
    if (rc == 0) rc = pgphys_manifest_finish(h->manifest, s->timeline, s->start_lsn, s->stop_lsn, &text, err);
    if (rc == 0) rc = counted(h, "backup_manifest", a, buf_bytes(&text), false, err);
    h->items += json_array_size(h->segments);
    h->bytes += h->wal_bytes;
    return rc;
}

static int bad_facts(struct host *h, struct error *err) {
    const struct pgphys_reading *r = &h->reading;
    json_t *files = json_array();
    uint64_t pages = 0;
    int rc = json_put_int(h->facts, "pages_checked", (int64_t)atomic_load(&r->checked), err);
    if (rc == 0) rc = json_put_int(h->facts, "pages_unchecked", (int64_t)atomic_load(&r->unchecked), err);
    if (rc == 0 && !files) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; i < r->n_bad; i++) pages += r->bad[i].count;
    for (size_t i = 0; rc == 0 && i < r->n_bad && i < BAD_NAMED_MAX; i++) {
        json_t *blocks = json_array();
        size_t n = sizeof r->bad[i].blocks / sizeof *r->bad[i].blocks;
        for (size_t k = 0; k < n && k < r->bad[i].count; k++)
            json_array_append_new(blocks, json_integer(r->bad[i].blocks[k]));
        rc = json_push(files,
                       json_pack("{s:s, s:I, s:o}", "name", r->bad[i].entry->name, "count", (json_int_t)r->bad[i].count,
                                 "blocks", blocks),
                       err);
    }
    if (rc == 0 && r->n_bad)
        rc = json_put(h->facts, "bad_pages", json_pack("{s:I, s:O}", "count", (json_int_t)pages, "files", files), err);
    json_decref(files);
    return rc;
}

static int finish_facts(struct host *h, struct error *err) {
    const struct pgphys_session *s = &h->session;
    char lsn[24], when[32], system[24];
    struct stat st;
    if (seam_fstat(h->dirfd, &st) < 0) return error_set_errno(err, ERR_IO_READ, "look at %s", h->folder);
    snprintf(system, sizeof system, "%" PRIu64, s->system);
    int rc = json_put_str(h->facts, "system_identifier", system, err);
    if (rc == 0) rc = json_put_str(h->facts, "way", "host", err);
    if (rc == 0) rc = json_put_str(h->facts, "label", s->label_text, err);
    if (rc == 0) rc = json_put(h->facts, "from_standby", json_boolean(s->standby), err);
    if (rc == 0) rc = json_put_int(h->facts, "timeline", s->timeline, err);
    wal_lsn_format(s->start_lsn, lsn);
    if (rc == 0) rc = json_put_str(h->facts, "start_lsn", lsn, err);
    wal_lsn_format(s->stop_lsn, lsn);
    if (rc == 0) rc = json_put_str(h->facts, "stop_lsn", lsn, err);
    time_format(s->start_ns, when);
    if (rc == 0) rc = json_put_str(h->facts, "start_time", when, err);
    time_format(s->stop_ns + NS_PER_S - 1, when); /* recovery to any instant from here on is possible */
    if (rc == 0) rc = json_put_str(h->facts, "stop_time", when, err);
    if (rc == 0) rc = json_put_int(h->facts, "folder_mode", st.st_mode & 0777, err);
    if (rc == 0) rc = json_put(h->facts, "checksums", json_boolean(h->control.checksum_version != 0), err);
    if (rc == 0) rc = json_put_int(h->facts, "pg_control_version", h->control.version, err);
    if (rc == 0) rc = json_put_int(h->facts, "catalog_version", h->control.catalog, err);
    if (rc == 0) rc = json_put(h->facts, "wal_segments", json_incref(h->segments), err);
    if (rc == 0) rc = json_put(h->facts, "wal_kept_by_slot", json_boolean(s->slot), err);
    if (rc == 0) rc = json_put_int(h->facts, "bytes", (int64_t)h->bytes, err);
    if (rc == 0) rc = json_put_int(h->facts, "files_vanished", (int64_t)atomic_load(&h->reading.vanished), err);
    if (rc == 0) rc = json_put_int(h->facts, "files_cut_off", (int64_t)atomic_load(&h->reading.shrunk), err);
    return rc == 0 ? bad_facts(h, err) : rc;
}

static int between(struct host *h, struct error *err) {
    struct pgphys_session *s = &h->session;
    int rc = pgphys_config_look(s->c, h->facts, &h->list, err);
    if (rc == 0) rc = pgphys_list_make(&h->list, h->settings, h->dirfd, h->folder, s->major, h->control.catalog, err);
    if (rc < 0) return rc;
    struct pgphys_reading *r = &h->reading;
    r->ctx = h->ctx;
    r->sink = h->sink;
    r->dirfd = h->dirfd;
    r->control = &h->control;
    r->start_lsn = s->start_lsn;
    r->list = &h->list;
    struct pgphys_position position;
    pgphys_position_init(&position, s->c);
    r->position = &position;
    rc = pgphys_read_all(&h->reading, err);
    pgphys_position_free(&position);
    if (rc == 0) rc = manifest_begin(h, err);
    if (rc == 0) rc = config_put(h, err);
    return rc == 0 ? control_put(h, err) : rc;
}

/* Measuring the server beside what else is done: it is waiting, for the most part. */
struct measuring {
    struct host *h;
    json_t *out;
    pthread_t thread;
    bool started;
    atomic_bool in_vain; /* nobody needs it any more: its query is given up */
    int rc;
    struct error err;
};

static void *measuring_run(void *arg) {
    struct measuring *m = arg;
    m->rc = pgphys_invariants(m->h->settings, NULL, &m->in_vain, m->out, &m->err);
    if (m->rc < 0) m->h->reading.in_vain = true;
    return NULL;
}

static int measuring_start(struct measuring *m, struct host *h, json_t *out, struct error *err) {
    *m = (struct measuring){.h = h, .out = out};
    int rc = thread_start(&m->thread, measuring_run, m, err);
    m->started = rc == 0;
    return rc;
}

/* rc is what came of what else was done, which a measurement that fails may have ended. */
static int measuring_end(struct measuring *m, int rc, struct error *err) {
    if (!m->started) return rc;
    if (rc < 0) m->in_vain = true;
    pthread_join(m->thread, NULL);
    if (m->rc == 0 || (rc < 0 && rc != -ERR_INTERRUPTED)) return rc;
    *err = m->err;
    return m->rc;
}

static int run(struct host *h, struct error *err) {
    struct measuring before = {0}, after = {0};
    struct pgphys_session *s = &h->session;
    int rc = pg_settings_load(h->ctx, NULL, &h->settings, err);
    if (rc == 0) rc = pgphys_session_start(s, h->settings, err);
    if (rc == 0) rc = pgphys_server_facts(s->c, h->facts, err);
    if (rc == 0) rc = pgphys_declared_facts(h->settings, h->facts, err);
    if (rc == 0) rc = open_folder(h, err);
    if (rc == 0) rc = pgphys_session_prove(s, h->dirfd, &h->control, err);
    /* The instant of the backup is its end: one measurement is over before, the other begins behind. */
    if (rc == 0) rc = measuring_start(&before, h, h->before, err);
    if (rc == 0) rc = between(h, err);
    rc = measuring_end(&before, rc, err);
    if (rc == 0) rc = pgphys_session_stop(s, err);
    if (rc == 0) rc = measuring_start(&after, h, h->invariants, err);
    if (rc == 0) rc = last_items(h, err);
    rc = measuring_end(&after, rc, err);
    if (rc == 0) rc = pgphys_invariants_steady(h->before, h->invariants, err);
    return rc == 0 ? finish_facts(h, err) : rc;
}

int pgphys_capture_host(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                        struct error *err) {
    struct host h = {.ctx = ctx,
                     .sink = sink,
                     .dirfd = -1,
                     .session = {.label = BUF_INIT(0), .map = BUF_INIT(0)},
                     .facts = json_object(),
                     .invariants = json_object(),
                     .before = json_object(),
                     .segments = json_array()};
    int rc =
        h.facts && h.invariants && h.before && h.segments ? run(&h, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) {
        *ret = (struct capture_result){.facts = h.facts,
                                       .invariants = h.invariants,
                                       .items = h.items,
                                       .bytes = h.bytes,
                                       .unreadable = h.reading.n_bad,
                                       .changed = pgphys_pairs_differ(h.settings, h.invariants),
                                       .skipped = h.list.skipped,
                                       .method = "physical_basebackup",
                                       .consistency = "exact"};
    } else {
        json_decref(h.facts);
        json_decref(h.invariants);
    }
    json_decref(h.before);
    json_decref(h.segments);
    pgphys_session_end(&h.session);
    pgphys_list_free(&h.list);
    pgphys_manifest_free(h.manifest);
    seam_free(h.reading.bad);
    pg_settings_free(h.settings);
    io_close(&h.dirfd);
    return rc < 0 ? error_wrap(err, "postgres %s", ctx->name ? ctx->name : "") : 0;
}
