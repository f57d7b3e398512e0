#include "store/versions.h"
#include "work/wal_internal.h"

static bool same_segment(const struct wal_name *a, const struct wal_name *b) {
    return a->timeline == b->timeline && a->log == b->log && a->seg == b->seg;
}

static int collect_cluster(struct work *w, uint64_t system, uint64_t *ret_objects, uint64_t *ret_bytes,
                           struct error *err) {
    struct wal_place *p = NULL;
    const struct wal_name *whole = NULL;
    size_t n = 0;
    int rc = wal_places(w->repo, system, &p, &n, err);
    /* the whole segment comes before its pieces */
    for (size_t i = 0; i < n && rc == 0; i++) {
        char key[WAL_OBJECT_KEY_BYTES];
        int64_t locked_until_ns = 0;
        if (p[i].name.kind != WAL_SEGMENT) continue;
        if (!p[i].piece) whole = &p[i].name;
        if (!p[i].piece || !whole || !same_segment(whole, &p[i].name)) continue;
        wal_piece_name(system, &p[i].name, p[i].from, p[i].to, key);
        rc = store_reclaim(w->store, key, &locked_until_ns, err);
        if (rc < 0 || locked_until_ns) continue;
        ++*ret_objects;
        *ret_bytes += p[i].object_bytes;
    }
    seam_free(p);
    return rc;
}

int work_wal_collect(struct work *w, uint64_t *ret_objects, uint64_t *ret_bytes, struct error *err) {
    int rc = 0;
    *ret_objects = *ret_bytes = 0;
    for (size_t i = 0; i < wal_log_count(w->repo) && rc == 0; i++) {
        uint64_t system = wal_log_batch(w->repo, i)->system;
        bool done = false;
        for (size_t k = 0; k < i && !done; k++) done = wal_log_batch(w->repo, k)->system == system;
        if (!done) rc = collect_cluster(w, system, ret_objects, ret_bytes, err);
    }
    return rc < 0 ? error_wrap(err, "removing pieces of WAL that is whole by now") : 0;
}
