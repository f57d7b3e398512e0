#include "work/wal_receive.h"

#include "work/wal_homes.h"

/* A server's surface, ready for what asks its server. */
struct server {
    struct work_surface surface;
    struct work_bridge bridge;
    struct surface_context ctx;
    const struct config_wal *wal; /* may be NULL */
};

static int server_open(struct work *w, const char *environment, const char *surface, struct server *s,
                       struct error *err) {
    const struct config *config;
    memset(s, 0, sizeof *s);
    int rc = work_need_config(w, &config, err);
    if (rc < 0) return rc;
    const struct config_environment *e = config_environment(config, environment);
    const struct config_surface *c = config_surface(config, surface);
    if (!e || !c)
        return error_set(err, ERR_NO_POINT, "the configuration has no %s %s", e ? "surface" : "environment",
                         e ? surface : environment);
    if (c->kind != CONFIG_KIND_POSTGRES)
        return error_set(err, ERR_USAGE, "%s is no PostgreSQL server: only those have WAL", surface);
    s->wal = c->wal;
    rc = work_surface_open(w, e, c, &s->surface, err);
    if (rc < 0) return rc;
    rc = work_bridge_open(w, &s->surface, &s->bridge, &s->ctx, err);
    if (rc < 0) work_surface_close(&s->surface);
    return rc;
}

static void server_close(struct server *s) {
    work_bridge_close(&s->bridge);
    work_surface_close(&s->surface);
}

static const char *slot_of(const struct server *s, const char *said) {
    if (said) return said;
    return s->wal && s->wal->slot ? s->wal->slot : WAL_SLOT_DEFAULT;
}

/* ---- the sink of all repositories, and behind each put their logs: on the storing thread, where it holds up no stream
 * ---- */
struct registering {
    struct wal_sink sink;
    struct wal_homes *homes;
};

static int put(struct wal_sink *s, uint64_t system, const struct wal_name *n, struct bytes file, struct error *err) {
    struct wal_homes *h = ((struct registering *)s)->homes;
    int rc = h->sink.ops->put(&h->sink, system, n, file, err);
    return rc < 0 ? rc : wal_homes_register(h, false, err);
}

static int put_piece(struct wal_sink *s, uint64_t system, const struct wal_name *n, uint32_t from, struct bytes piece,
                     struct error *err) {
    struct wal_homes *h = ((struct registering *)s)->homes;
    int rc = h->sink.ops->put_piece(&h->sink, system, n, from, piece, err);
    return rc < 0 ? rc : wal_homes_register(h, false, err);
}

static int resume(struct wal_sink *s, uint64_t system, uint32_t *ret_timeline, uint64_t *ret_lsn,
                  uint32_t *ret_segment_bytes, struct error *err) {
    struct wal_homes *h = ((struct registering *)s)->homes;
    return h->sink.ops->resume(&h->sink, system, ret_timeline, ret_lsn, ret_segment_bytes, err);
}

static int receive(struct work *w, struct server *s, struct wal_homes *homes, const struct receive_options *said,
                   struct receive_state *ret, struct error *err) {
    static const struct wal_sink_ops ops = {put, put_piece, resume};
    struct registering sink = {{&ops}, homes};
    struct receive_options o = *said;
    struct error late = ERROR_INIT;
    o.slot = slot_of(s, said->slot);
    if (!o.piece_ns && s->wal && s->wal->every.state == CONFIG_SET) o.piece_ns = s->wal->every.ns;
    (void)!wal_homes_system(homes, &o.system);
    int rc = known_secrets_error(&w->known, pgphys_receive(&s->ctx, &sink.sink, &o, ret, err), err);
    /* Those without an entry are whole, and found by the next run. */
    if (wal_homes_register(homes, true, &late) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, s->bridge.label, late.text);
    return rc;
}

/* Where it went on while the repository was out of reach: from there the server's slot holds what comes next. Not where
 * the fallback has WAL for another reason: the repository need not have that. */
static int fallback_join(struct wal_homes *h, struct wal_home *home, struct error *err) {
    const char *name = home->wal ? wal_home_fallback(h, home) : NULL;
    uint64_t waits = 0;
    int64_t since;
    if (!name) return 0;
    int rc = wal_others_fallback(home->wal, name, err);
    if (rc < 0) return rc;
    struct work_wal *at = wal_other_open(home->wal->others, &home->wal->others->list[0]);
    if (at) rc = wal_log_waiting(at->w->repo, home->label, &waits, &since, err);
    if (rc == 0 && !waits) {
        wal_others_free(home->wal->others);
        home->wal->others = NULL;
    }
    return rc;
}

int work_wal_receive(struct work *w, const char *environment, const char *surface, const struct receive_options *o,
                     struct receive_state *ret, struct error *err) {
    struct server s;
    struct wal_homes homes;
    *ret = (struct receive_state){0};
    int rc = server_open(w, environment, surface, &s, err);
    if (rc < 0) return rc;
    rc = wal_homes_look(w, environment, surface, false, &homes, err);
    if (rc == 0) wal_homes_open(&homes);
    for (size_t i = 0; i < homes.count && rc == 0; i++) {
        if (homes.list[i].failed.code == ERR_NONE) continue;
        *err = homes.list[i].failed;
        rc = homes.count > 1 ? error_wrap(err, "%s, which must have the WAL", homes.list[i].label) : -(int)err->code;
    }
    for (size_t i = 0; i < homes.count && rc == 0; i++) rc = fallback_join(&homes, &homes.list[i], err);
    if (rc == 0) rc = receive(w, &s, &homes, o, ret, err);
    wal_homes_close(&homes);
    server_close(&s);
    return rc;
}

int work_wal_slot_drop(struct work *w, const char *environment, const char *surface, const char *slot,
                       const char **ret_slot, struct error *err) {
    struct server s;
    int rc = server_open(w, environment, surface, &s, err);
    if (rc < 0) return rc;
    const char *name = slot_of(&s, slot);
    rc = known_secrets_error(&w->known, pgphys_slot_drop(&s.ctx, name, err), err);
    if (rc == 0) *ret_slot = name;
    server_close(&s);
    return rc;
}

int work_wal_switch(struct work *w, const char *environment, const char *surface, bool *ret_switched,
                    struct wal_name *ret, struct error *err) {
    struct server s;
    int rc = server_open(w, environment, surface, &s, err);
    if (rc < 0) return rc;
    rc = known_secrets_error(&w->known, pgphys_wal_switch(&s.ctx, ret_switched, ret, err), err);
    server_close(&s);
    return rc;
}

int work_wal_written(struct work *w, const char *environment, const char *surface, struct wal_written *ret,
                     struct error *err) {
    struct server s;
    int rc = server_open(w, environment, surface, &s, err);
    if (rc < 0) return rc;
    rc = known_secrets_error(&w->known, pgphys_wal_written(&s.ctx, ret, err), err);
    server_close(&s);
    return rc;
}

int work_wal_server_read(struct work *w, const char *environment, const char *surface, uint64_t system,
                         const struct wal_name *n, struct buf *ret, struct error *err) {
    struct server s;
    int rc = server_open(w, environment, surface, &s, err);
    if (rc < 0) return rc;
    rc = known_secrets_error(&w->known, pgphys_wal_read(&s.ctx, system, n, ret, err), err);
    server_close(&s);
    return rc;
}
