#include "repo/lost.h"

#include "repo/reader.h"
#include "repo/repair_internal.h"

int lost_open(struct repo *r, const struct repair_plan *plan, const struct idset *saved, struct lost_search *ret,
              struct error *err) {
    *ret = (struct lost_search){.r = r, .plan = plan, .saved = saved};
    return fetcher_new(r, &r->index, NULL, 16u << 20, &ret->f, err);
}

void lost_close(struct lost_search *s) {
    fetcher_free(s->f);
    idset_free(&s->whole);
    idset_free(&s->broken);
    *s = (struct lost_search){0};
}

static bool pack_gone(const struct lost_search *s, const struct location *l) {
    struct digest pack;
    if (!s->plan) return false;
    return !index_pack(&s->r->index, l, &pack, NULL, NULL) || repair_pack_find(s->plan, &pack);
}

static bool had(const struct lost_search *s, const uint8_t *id, bool plain_only) {
    struct copies at = {0};
    struct location l;
    if (s->saved && idset_has(s->saved, id)) return true;
    while (index_copy(&s->r->index, id, &at, &l))
        if (!pack_gone(s, &l) && (!l.delta || (!plain_only && had(s, l.base, true)))) return true;
    return false;
}

/* What was wrong is an answer; anything else an error. */
static int answer(int rc, const struct error *e, bool *ret_bad, struct error *err) {
    if (rc == 0) return 0;
    *ret_bad = true;
    if (is_damage(rc)) return 0;
    *err = *e;
    return rc;
}

static int refs_look(struct lost_search *s, struct bytes refs, bool in_list, bool *ret_bad, struct error *err);

static int list_look(struct lost_search *s, const struct digest *id, bool *ret_bad, struct error *err) {
    struct fetched list;
    struct error e = ERROR_INIT;
    bool bad = false;
    if (idset_has(&s->whole, id->b)) return 0;
    int got = fetch_chunk(s->f, id->b, id, CHUNK_LIST, &list, &e);
    int rc = answer(got, &e, &bad, err);
    if (got == 0) {
        rc = refs_look(s, list.data, true, &bad, err);
        fetch_release(s->f, &list);
    }
    *ret_bad |= bad;
    return rc < 0 || bad ? rc : idset_add(&s->whole, id->b, err);
}

static int refs_look(struct lost_search *s, struct bytes refs, bool in_list, bool *ret_bad, struct error *err) {
    struct cursor c = cursor_of(refs);
    struct ref ref;
    int rc = 0;
    while (rc == 0 && !*ret_bad && ref_take(&c, &ref)) {
        if (ref.type == REF_HOLE) continue;
        if (ref.type == REF_LIST && !in_list)
            rc = list_look(s, &ref.id, ret_bad, err);
        else
            *ret_bad |= !had(s, ref.id.b, false);
    }
    return rc;
}

static int manifest_look(struct lost_search *s, const struct digest *id, bool *ret_bad, bool *ret_listless,
                         struct error *err) {
    struct fetched c;
    struct error e = ERROR_INIT;
    struct manifest_parser p;
    struct manifest_item it;
    bool bad = false, end = false;
    if (idset_has(&s->whole, id->b)) return 0;
    if (idset_has(&s->broken, id->b)) {
        *ret_bad = true;
        return 0;
    }
    int got = fetch_chunk(s->f, id->b, id, CHUNK_MANIFEST, &c, &e);
    if (got < 0) {
        *ret_listless = true;
        return answer(got, &e, ret_bad, err);
    }
    manifest_parser_init(&p, c.data);
    int rc = 0;
    while (rc == 0 && !bad && (rc = manifest_next(&p, &it, &end, err)) == 0 && !end)
        rc = refs_look(s, it.refs, false, &bad, err);
    manifest_parser_free(&p);
    fetch_release(s->f, &c);
    *ret_bad |= bad;
    return rc < 0 ? rc : idset_add(bad ? &s->broken : &s->whole, id->b, err);
}

int lost_look(struct lost_search *s, const struct snapshot_info *info, bool *ret_lost, bool *ret_listless,
              struct error *err) {
    struct root_doc root = {0};
    struct error e = ERROR_INIT;
    *ret_lost = *ret_listless = false;
    int got = root_read(s->f, info, &root, &e);
    int rc = answer(got, &e, ret_lost, err);
    *ret_listless = got < 0;
    for (size_t i = 0; i < root.chunk_count && rc == 0 && got == 0; i++)
        rc = manifest_look(s, &root.chunks[i].id, ret_lost, ret_listless, err);
    if (got == 0) root_free(&root);
    return rc == 0 && *ret_lost ? repo_index_whole(s->r, err) : rc;
}

struct names {
    struct lost_search *s;
    struct snapshot *snapshot;
    struct buf *paths;
    size_t n;
    uint64_t total;
};

static int name_chunk(void *ctx, const struct digest *id, uint32_t len, struct error *err) {
    struct names *h = ctx;
    (void)len;
    (void)err;
    return !had(h->s, id->b, false);
}

static int name_item(void *ctx, const struct item_head *head, struct error *err) {
    struct names *h = ctx;
    struct error e = ERROR_INIT;
    int rc = ritem_chunks(h->snapshot, head, name_chunk, h, &e);
    if (rc < 0 && !is_damage(rc)) {
        *err = e;
        return rc;
    }
    if (rc == 0) return 0;
    h->total++;
    if (h->n == LOST_PATHS_MAX) return 0;
    struct buf *b = &h->paths[h->n++];
    *b = BUF_INIT(1u << 20);
    return buf_append(b, head->name.ptr, head->name.len, err);
}

int lost_paths(struct lost_search *s, const struct snapshot_info *info, struct buf paths[LOST_PATHS_MAX], size_t *ret_n,
               uint64_t *ret_total, struct error *err) {
    struct names h = {.s = s, .paths = paths};
    struct error e = ERROR_INIT;
    int rc = snapshot_open(s->r, info, &h.snapshot, &e);
    if (rc == 0) rc = snapshot_walk(h.snapshot, BYTES_OF(NULL, 0), name_item, &h, &e);
    snapshot_close(h.snapshot);
    *ret_n = h.n;
    *ret_total = h.total;
    if (rc == 0 || is_damage(rc)) return 0;
    *err = e;
    return rc;
}
