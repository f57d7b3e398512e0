#include "base/seam.h"
#include "work/export.h"
#include "work/set.h"

#include <stdio.h>

#define MANIFEST_BYTES_MAX (1u << 20)

int set_export(struct work *w, const struct set_spec *spec, const struct set_result *r, const char *dir,
               const char *timestamp, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(MANIFEST_BYTES_MAX);
    json_auto_t *services = json_object();
    char path[4096];
    int rc = services ? io_mkdirs(dir, 0700, err) : error_set(err, ERR_NO_MEMORY, "no memory for a manifest");
    for (size_t i = 0; i < r->count && rc == 0; i++) {
        const struct set_member *m = &r->members[i];
        const struct snapshot_info *p = m->result.stored ? repo_snapshot_at(w->repo, m->result.seq) : NULL;
        char name[200];
        if (!p || strcmp(p->id, m->result.id) != 0) continue; /* failed, or in a fallback */
        snprintf(name, sizeof name, "%.100s_%.64s", p->surface, timestamp);
        snprintf(path, sizeof path, "%.3500s/%s", dir, name);
        rc = export_snapshot(w, p, path, err);
        if (rc == 0) rc = json_put_str(services, m->surface->head.name, name, err);
    }
    json_auto_t *doc = rc == 0 ? json_pack("{s:s, s:O, s:s, s:s, s:s, s:s}", "timestamp", timestamp, "services",
                                           services, "environment", spec->environment->head.name, "set", spec->name,
                                           "set_id", r->id, "consistency", r->consistency)
                               : NULL;
    if (rc == 0 && !doc) rc = error_set(err, ERR_NO_MEMORY, "no memory for a manifest");
    if (rc == 0) rc = json_write_pretty(doc, &text, err);
    if (rc == 0) rc = buf_append_str(&text, "\n", err);
    snprintf(path, sizeof path, "%.3500s/backup-manifest.json", dir);
    return rc == 0 ? io_replace_file(AT_FDCWD, path, buf_bytes(&text), 0600, err) : rc;
}
