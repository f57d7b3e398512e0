#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "surface/plan.h"
#include <stdio.h>

struct plan {
    const struct search_client *c;
    const struct restore_request *q;
    const struct search_target *t;
    struct plan_parts parts;
    bool exists;
    uint64_t bytes;
    size_t taken;
};

static const char *uuid_of(const json_t *definition) {
    const char *u = json_string_value(json_object_get(json_object_get(definition, "settings"), "index.uuid"));
    return u ? u : "";
}

static int stream_there(const struct search_client *c, const char *stream, bool *ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_auto_t *there = NULL;
    bool missing = false;
    int r = search_path(&path, "/_data_stream/", stream, "", err);
    if (r == 0) r = search_ask(c, "GET", (const char *)path.ptr, NULL, &there, &missing, "look for a data stream", err);
    *ret = r == 0 && !missing;
    return r;
}

static int one(struct plan *p, const json_t *x, struct error *err) {
    const char *index = json_string_value(json_object_get(x, "name"));
    char name[256];
    json_t *there = NULL, *live = NULL;
    bool missing = false, no_live = false, streams = false;
    const char *stream = json_string_value(json_object_get(x, "data_stream"));
    if (!index || !search_takes_backing(p->q->include, index, stream)) return 0;
    if (stream && p->t->live && engine_facts(p->q->facts))
        return error_set(err, ERR_USAGE, "the index %s is part of the data stream %s: it is restored beside it only",
                         index, stream);
    p->taken++;
    p->bytes += (uint64_t)json_integer_value(json_object_get(x, "bytes"));
    int r = search_target_name(p->t, index, name, err);
    if (r == 0) r = search_index_get(p->c, name, &there, &missing, err);
    if (r == 0 && (p->t->live || p->t->swap)) r = search_index_get(p->c, index, &live, &no_live, err);
    if (r == 0) r = buf_printf(&p->parts.print, err, "%s %s %s %s\n", index, name, uuid_of(there), uuid_of(live));
    p->exists |= there || live;
    if (r == 0 && p->t->live && stream) r = stream_there(p->c, stream, &streams, err);
    p->parts.overwrites |= p->t->live && (live || streams);
    if (r == 0 && there)
        r = plan_say(
            p->parts.warnings, err,
            "there is an index %s already: unless it is what was backed up, or what a run that broke off left, "
            "the restore is refused",
            name);
    if (r == 0 && p->t->live && stream)
        r = plan_say(p->parts.warnings, err,
                     "the data stream %s is replaced by what was backed up of it, when there is one", stream);
    else if (r == 0 && p->t->live && live)
        r = plan_say(p->parts.warnings, err, "the index %s is replaced by what was backed up", index);
    /* Nothing is in the way; a snapshot of the cluster's own comes in beside even so. */
    bool direct = p->t->live && !live && !there && !engine_facts(p->q->facts);
    if (r == 0 && !direct)
        r = plan_say(p->parts.steps, err, "restore the index %s as %s, and compare its documents with the backup",
                     index, name);
    if (r == 0 && p->t->live && stream)
        r = plan_say(p->parts.steps, err, "make the data stream %s anew, with what %s has", stream, index);
    else if (r == 0 && direct)
        r = plan_say(p->parts.steps, err, "make the index %s, and compare its documents with the backup", index);
    else if (r == 0 && p->t->live)
        r = plan_say(p->parts.steps, err, "remove the index %s and put the restored one in its place", index);
    if (r == 0 && p->t->swap)
        r = plan_say(p->parts.steps, err, "move the aliases of %s to %s; %s itself stays", index, name, index);
    json_decref(there);
    json_decref(live);
    return r;
}

static int work(struct plan *p, json_t *out, struct error *err) {
    const json_t *x;
    size_t i;
    int r = buf_printf(&p->parts.print, err, "%s %s\n", p->c->s->url, p->c->version);
    json_array_foreach(json_object_get(p->q->facts, "indices"), i, x) {
        if (r == 0) r = one(p, x, err);
    }
    if (r == 0 && p->taken > 1 && !strchr(p->t->pattern, '*'))
        r = error_set(err, ERR_USAGE, "%zu indices cannot all be restored as '%s': put a * into it", p->taken,
                      p->t->pattern);
    for (const struct search_section *s = search_sections; s->name && r == 0; s++)
        if (!s->apart && search_takes_section(p->q->include, s->name, p->t->live))
            r = plan_say(p->parts.steps, err, "put cluster/%s%s", s->name,
                         p->t->live ? ", over those that are there" : "");
    if (r == 0) r = json_put_str(out, "server_version", p->c->version, err);
    return r;
}

int search_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_target t = {0};
    struct search_client c = {0};
    struct plan p = {.c = &c, .q = q, .t = &t};
    json_t *out = json_object();
    char target[1024];
    int r = out ? plan_begin(&p.parts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_target_decide(q, &t, err);
    if (r == 0) r = search_settings_load(ctx, q->as_scratch ? q->scratch : NULL, t.url, &s, err);
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = work(&p, out, err);
    if (r == 0 && t.url)
        snprintf(target, sizeof target, "%.600s/%s", t.url, t.pattern);
    else
        snprintf(target, sizeof target, "%s", t.live ? "in place" : t.pattern);
    if (r == 0) r = json_put_str(out, "target", target, err);
    if (r == 0) r = plan_put(&p.parts, p.exists, !p.exists, 2 * p.bytes, out, err);
    plan_end(&p.parts);
    search_target_free(&t);
    search_close(&c);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r < 0 ? error_wrap(err, "search %s", ctx->name ? ctx->name : "") : 0;
}
