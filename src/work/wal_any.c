#include "work/any_copy.h"
#include "work/beside.h"
#include "work/wal_internal.h"

static bool helps(int rc) {
    return rc == -ERR_WAL_ABSENT || error_info(rc)->status == EXIT_INTEGRITY || repo_out_of_reach(rc);
}

static int from_copy(struct work_copies *c, size_t i, const struct work_wal *h, uint64_t system,
                     const struct wal_name *n, struct buf *ret, struct error *err) {
    struct work *at;
    struct work_wal *other = NULL;
    int rc = any_copy_open(c, i, &at, err);
    if (rc == 0) rc = work_wal_open_source(at, h->environment, h->surface, &other, err);
    if (rc == 0) rc = work_wal_source(other)->ops->get(work_wal_source(other), system, n, ret, err);
    work_wal_close(other);
    return rc;
}

int wal_any_get(struct work_wal *h, uint64_t system, const struct wal_name *n, struct buf *ret, struct error *err) {
    char name[WAL_NAME_BYTES];
    struct work_copies *c = h->w->copies;
    int rc = work_wal_source(h)->ops->get(work_wal_source(h), system, n, ret, err);
    if (rc == 0 || !c || !helps(rc)) return rc;
    wal_name_format(n, name);
    for (size_t i = 0; i < c->count; i++) {
        struct error e = ERROR_INIT;
        if (from_copy(c, i, h, system, n, ret, &e) < 0) continue;
        beside_warn(h->w, c->names[i], "%s came from it, as the repository could not give it: %.300s", name, err->text);
        error_clear(err);
        return 0;
    }
    return rc;
}
