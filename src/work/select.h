/* Which surfaces an operand means, and which repositories hold them. */
#ifndef PK_WORK_SELECT_H
#define PK_WORK_SELECT_H

#include "work/context.h"

struct selection {
    bool everything;        /* nothing was named */
    struct address address; /* "env" alone counts as "env/all" */
};
/* "env", "env/surface", "env/a,b", "env/all", "env/@class", or NULL for everything. A point ("@latest") is refused
 * unless `points` is set. ERR_USAGE. */
int selection_parse(const char *text, bool points, struct selection *ret, struct error *err) PK_CHECK;
/* A class needs a configuration: without one it selects nothing. */
bool selection_environment(const struct selection *s, const char *environment);
bool selection_has(const struct selection *s, const struct config *c, const char *environment, const char *surface);
/* ERR_NO_POINT for an environment or a surface that the configuration does not have; 0 without one. */
int selection_check(const struct selection *s, const struct work *w, struct error *err) PK_CHECK;

/* Opens each repository that holds what is selected, one after the other, and calls cb while it is open as w->repo (of
 * w->url). `failed` is set instead when it could not be opened; w->repo is then another's or NULL. Non-zero stops. */
typedef int (*each_repository_cb)(void *ctx, const char *url, const struct error *failed, struct error *err);
int work_each_repository(struct work *w, const struct selection *s, each_repository_cb cb, void *ctx,
                         struct error *err) PK_CHECK;
/* The folder that a URL names, absolute; false when it is not a local one, or too long. It need not be there. */
bool work_local_folder(const char *url, char out[4096]);
/* Whether `path`, which need not be there yet, lies in `folder` or is it; links are followed. */
bool work_path_within(const char *path, const char *folder);
/* Before what a backup holds is written in the clear: `path` must not lie in the folder of the repository at `url`
 * (ERR_POLICY). */
int work_apart_check(const char *path, const char *url, struct error *err) PK_CHECK;

#endif
