#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <ctype.h>
#include <stdio.h>

static int bad(const char *text, struct error *err) {
    return error_set(
        err, ERR_USAGE,
        "the target '%.200s' is none: it is a name with * for the index's own, such as *-copy, one name for one "
        "index, or http://host:9200/*-copy for another cluster",
        text);
}

static int pattern(struct search_target *t, const char *text, const char *whole, struct error *err) {
    const char *star = strchr(text, '*');
    if (!*text || strlen(text) > 250 || strpbrk(text, "/\\?\"<>| ,#:") || (star && strchr(star + 1, '*')))
        return bad(whole, err);
    for (const char *p = text; *p; p++)
        if (isupper((unsigned char)*p) || (unsigned char)*p < ' ') return bad(whole, err);
    if (strchr("-_+.", *text)) return bad(whole, err);
    snprintf(t->pattern, sizeof t->pattern, "%s", text);
    return 0;
}

static int elsewhere(struct search_target *t, const char *text, struct error *err) {
    const char *host = strstr(text, "://") + 3, *slash = strrchr(host, '/');
    int r = mem_strdup(text, &t->url, err);
    if (r == 0 && slash) t->url[slash - text] = 0;
    return r == 0 ? pattern(t, slash && slash[1] ? slash + 1 : "*", text, err) : r;
}

int search_target_decide(const struct restore_request *q, struct search_target *ret, struct error *err) {
    const char *stamp = json_string_value(json_object_get(q->facts, "stamp"));
    struct search_target t = {.live = q->in_place, .swap = q->swap};
    int r = search_include_check(q->include, err);
    if (r < 0) return r;
    if (q->in_place && q->target) return error_set(err, ERR_USAGE, "a restore in place has no other target");
    if (q->in_place && q->swap)
        return error_set(err, ERR_USAGE, "--swap moves aliases, --in-place replaces: say one of both");
    if (q->as_scratch)
        r = pattern(&t, "*", "*", err);
    else if (q->in_place)
        snprintf(t.pattern, sizeof t.pattern, "*-restoring-%.30s", stamp ? stamp : "");
    else if (!q->target)
        snprintf(t.pattern, sizeof t.pattern, "*-restored-%.30s", stamp ? stamp : "");
    else if (strncmp(q->target, "http://", 7) == 0 || strncmp(q->target, "https://", 8) == 0)
        r = elsewhere(&t, q->target, err);
    else
        r = pattern(&t, q->target, q->target, err);
    if (r == 0 && t.swap && t.url) r = error_set(err, ERR_USAGE, "aliases are swapped in one cluster, not between two");
    if (r < 0)
        search_target_free(&t);
    else
        *ret = t;
    return r;
}

void search_target_free(struct search_target *t) {
    seam_free(t->url);
    t->url = NULL;
}

int search_target_name(const struct search_target *t, const char *index, char out[256], struct error *err) {
    const char *star = strchr(t->pattern, '*');
    if (*index == '.') index++; /* the cluster's own names are not ours to make */
    int n = star ? snprintf(out, 256, "%.*s%s%s", (int)(star - t->pattern), t->pattern, index, star + 1)
                 : snprintf(out, 256, "%s", t->pattern);
    return n < 256 ? 0
                   : error_set(err, ERR_USAGE, "the name that the index %s would get is longer than 255 bytes", index);
}
