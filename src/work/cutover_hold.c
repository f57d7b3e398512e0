/* Which cutover of an environment has not come to its end: its freeze may hold, also after a kill. */
#include "base/seam.h"
#include "work/cutover.h"

#include <stdio.h>

#define JOURNAL_BYTES_MAX (4u << 20)

static bool is_journal(const char *name) {
    static const char end[] = ".journal";
    size_t n = strlen(name);
    return !strncmp(name, "cut-", 4) && n > sizeof end - 1 && n < PLAN_ID_BYTES + sizeof end - 1 &&
           !strcmp(name + n - (sizeof end - 1), end);
}

/* What cannot be read says nothing here; whoever goes on with that plan is told. */
static bool under_way(const char *path, const char *environment) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(JOURNAL_BYTES_MAX);
    struct error e = ERROR_INIT;
    json_auto_t *doc = NULL;
    json_t *read = NULL;
    if (io_read_file(AT_FDCWD, path, JOURNAL_BYTES_MAX, &b, &e) < 0 ||
        json_parse(buf_bytes(&b), JOURNAL_BYTES_MAX, path, &read, &e) < 0)
        return false;
    doc = read;
    const char *state = json_string_value(json_object_get(doc, "state")),
               *of = json_string_value(json_object_get(json_object_get(doc, "kept"), "environment"));
    return state && of && !strcmp(of, environment) && (!strcmp(state, "running") || !strcmp(state, "undoing"));
}

bool cutover_under_way(const struct work *w, const char *environment, char ret[PLAN_ID_BYTES]) {
    char folder[4200], path[4600];
    snprintf(folder, sizeof folder, "%.4000s/plans", w->cache_dir);
    int fd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    bool found = false;
    if (!d) {
        io_close(&fd);
        return false;
    }
    for (struct dirent *e; !found && (e = seam_readdir(d));) {
        if (!is_journal(e->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        found = under_way(path, environment);
        if (found) snprintf(ret, PLAN_ID_BYTES, "%.*s", (int)strcspn(e->d_name, "."), e->d_name);
    }
    seam_closedir(d);
    return found;
}
