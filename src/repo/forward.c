/* What was stored here in the place of another repository, and whether that has got it meanwhile. */
#include "repo/copy.h"
#include "repo/repo_internal.h"

bool copy_waits(const struct repo *r, const struct snapshot_info *s) {
    if (!s->fallback || s->is_copy || s->forgotten || repo_snapshot_suspect(r, s)) return false;
    for (size_t i = 0; i < r->state.copy_count; i++) {
        const struct copy_info *c = &r->state.copies[i];
        if (strcmp(c->label, s->fallback) != 0 || s->seq > c->newest) continue;
        bool there = true;
        for (size_t k = 0; k < c->missing_count && there; k++) there = c->missing[k] != s->seq;
        if (there) return false;
    }
    return true;
}

size_t copy_waiting(const struct repo *r, const char *of, int64_t *ret_since_ns) {
    size_t n = 0;
    int64_t since = 0;
    for (size_t i = 0; i < r->state.snapshot_count; i++) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        if (!copy_waits(r, s) || (of && strcmp(s->fallback, of) != 0)) continue;
        if (!n++ || s->stored_ns < since) since = s->stored_ns;
    }
    if (ret_since_ns) *ret_since_ns = since;
    return n;
}

bool repo_out_of_reach(int rc) {
    return rc == -ERR_REPO_UNREACHABLE || rc == -ERR_NET_DNS || rc == -ERR_NET_REFUSED || rc == -ERR_NET_STALL ||
           rc == -ERR_NET_BROKEN || rc == -ERR_S3_BUSY;
}

bool repo_unreadable(int rc) {
    return error_info(rc)->status == EXIT_INTEGRITY || repo_out_of_reach(rc) || rc == -ERR_IO_READ ||
           rc == -ERR_IO_DENIED || rc == -ERR_IO_UNSUPPORTED;
}
