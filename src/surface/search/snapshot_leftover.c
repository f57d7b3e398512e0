#include "surface/search/snapshot.h"

#include <stdio.h>

/* Names of repositories have no slash. */
static void claim_of(const char *repository, const char *name, char out[600]) {
    snprintf(out, 600, "%.200s/%.380s", repository, name);
}

int engine_claim(const struct search_client *c, const char *repository, const char *name, struct error *err) {
    const struct surface_claims *claims = c->s->ctx->claims;
    char text[600];
    claim_of(repository, name, text);
    return claims ? claims->make(claims->ctx, text, err) : 0;
}

void engine_unclaim(const struct search_client *c, const char *repository, const char *name) {
    const struct surface_claims *claims = c->s->ctx->claims;
    char text[600];
    claim_of(repository, name, text);
    if (claims) claims->drop(claims->ctx, text);
}

struct leftovers {
    const struct search_client *c;
    const char *repository;
};

/* The note is one proof, what the snapshot says of itself the other. */
static int on_dead(void *ctx, const char *claim) {
    const struct leftovers *l = ctx;
    struct error e = ERROR_INIT;
    json_t *info = NULL;
    char line[700];
    size_t n = strlen(l->repository);
    if (strncmp(claim, l->repository, n) != 0 || claim[n] != '/')
        return 1; /* of another, which is not ours to ask for */
    const char *name = claim + n + 1;
    int r = engine_snapshot_get(l->c, l->repository, name, &info, &e);
    if (r == -ERR_ENGINE_GONE) return 0;
    if (r == 0 && (!engine_snapshot_ours(l->c, info) || strcmp(json_text(info, "snapshot", ""), name) != 0)) {
        json_decref(info);
        search_note(l->c->s, NOTE_WARNING, name,
                    "a snapshot of this name is there, and is not this surface's: it stays");
        return 0;
    }
    json_decref(info);
    if (r == 0) r = engine_snapshot_remove(l->c, l->repository, name, &e);
    if (r == 0)
        snprintf(line, sizeof line,
                 "a backup that was cut off had left it in the cluster's repository %.200s: it was removed",
                 l->repository);
    else
        snprintf(
            line, sizeof line,
            "a backup that was cut off has left it in the cluster's repository %.200s, and it could not be removed: "
            "%.300s",
            l->repository, e.text);
    search_note(l->c->s, NOTE_WARNING, name, line);
    return r == 0 ? 0 : 1;
}

void engine_leftovers_remove(const struct search_client *c, const char *repository) {
    const struct surface_claims *claims = c->s->ctx->claims;
    struct leftovers l = {c, repository};
    struct error e = ERROR_INIT;
    char line[500];
    if (!claims || claims->dead(claims->ctx, on_dead, &l, &e) == 0) return;
    snprintf(line, sizeof line, "what backups that were cut off have left in it could not be looked for: %.400s",
             e.text);
    search_note(c->s, NOTE_WARNING, repository, line);
}
