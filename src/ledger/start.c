/* Beginning at a summary and by bundles. What may be believed, and why, stands in ledger.h; here only its order: what
 * is cheap to refuse first, the log's own answer last. */
#include "ledger/ledger_internal.h"
#include "ledger/tiles.h"

#include "base/seam.h"
#include <inttypes.h>
#include <stdio.h>

#define SUMMARIES_TRIED 3

bool start_doubtful(const struct error *e) {
    return error_info(e->code)->status == EXIT_INTEGRITY || e->code == ERR_KEY_ROLE;
}

void start_refuse(struct ledger *l, uint64_t summary_size, const char *why) {
    if (!l->refused[0]) snprintf(l->refused, sizeof(l->refused), "%s", why);
    if (summary_size > l->refused_size) l->refused_size = summary_size;
}

int start_reset(struct ledger *l, struct error *err) {
    struct tree *t;
    if (hash_tree_new(&t, err) < 0) return error_wrap(err, "log");
    hash_tree_free(l->tree);
    l->tree = t;
    l->last = (struct digest){{0}};
    l->signers.count = 0;
    l->unbound = false;
    l->direct_from = 0;
    l->bundle_width = 0;
    l->listed_end = 0;
    buf_free(&l->base_summary);
    if (l->cache) cache_begin_at(l->cache, 0);
    l->start->reset(l->judge_ctx);
    return 0;
}

/* ---- what the store lists ---- */

struct listed {
    struct {
        uint64_t seq;
        int64_t stored_ns;
    } * at;
    size_t count, cap;
    uint64_t end;
};

static int see_entry(void *ctx, const struct store_object *o, struct error *err) {
    struct listed *s = ctx;
    uint64_t seq = 0;
    void *p = s->at;
    if (!entry_number(o->key, &seq)) return 0;
    if (mem_grow(&p, &s->cap, s->count + 1, sizeof(*s->at), err) < 0) return -(int)err->code;
    s->at = p;
    s->at[s->count].seq = seq;
    s->at[s->count++].stored_ns = o->created_ns;
    if (seq >= s->end) s->end = seq + 1;
    return 0;
}

static int survey_log(struct ledger *l, struct survey *ret, struct error *err) {
    struct listed s = {0};
    void *p = NULL;
    int rc = store_list_kept(l->store, "log/", see_entry, &s, err);
    if (rc == 0) {
        ret->end = s.end;
        ret->whole = s.end == s.count;
        if (ret->whole && s.end) rc = mem_alloc(s.count * sizeof(int64_t), &p, err);
    }
    ret->stored_ns = p;
    for (size_t i = 0; p && i < s.count; i++) ret->stored_ns[s.at[i].seq] = s.at[i].stored_ns;
    seam_free(s.at);
    return rc < 0 ? error_wrap(err, "listing the log") : 0;
}

/* A list that is taken while others append may have a gap at its end, so it is taken twice before it is one. */
static int survey_whole(struct ledger *l, struct survey *s, struct error *err) {
    int rc = 0;
    s->whole = false;
    for (unsigned i = 0; i < 2 && rc == 0 && !s->whole; i++) {
        seam_free(s->stored_ns);
        s->stored_ns = NULL;
        rc = survey_log(l, s, err);
    }
    return rc;
}

/* Summaries are of whole bundles, so a log without one is not looked for them, unless nothing else says how long it is
 * (start_check_ahead). What a summary counts must be there when the entries are listed. */
int start_survey(struct ledger *l, struct survey *ret, struct error *err) {
    struct survey s = {0};
    const bool short_first = store_reads_many(l->store);
    int rc = short_first ? survey_whole(l, &s, err) : 0;
    s.summaries = !short_first || s.end >= TREE_FANOUT;
    if (rc == 0 && s.summaries) rc = ledger_list_summaries(l, &s.sizes, &s.size_count, err);
    if (rc == 0 && (!short_first || (s.size_count && s.sizes[s.size_count - 1] > s.end))) rc = survey_whole(l, &s, err);
    if (rc < 0)
        survey_free(&s);
    else
        *ret = s;
    return rc;
}

void survey_free(struct survey *s) {
    seam_free(s->stored_ns);
    seam_free(s->sizes);
    *s = (struct survey){0};
}

/* ---- a summary ---- */

static int begin(struct ledger *l, const struct survey *s, const struct ledger_summary *sum, struct error *err) {
    struct tree *t;
    uint8_t key[SIGN_PUBLIC_BYTES];
    if (hash_tree_begin(sum->size, sum->edge, &t, err) < 0) return -(int)err->code;
    if (l->start->load(l->judge_ctx, sum->state, sum->size, s->stored_ns, err) < 0) {
        hash_tree_free(t);
        return -(int)err->code;
    }
    hash_tree_free(l->tree);
    l->tree = t;
    l->direct_from = sum->size;
    l->last = sum->last;
    for (size_t i = 0; l->start->key(l->judge_ctx, i, key); i++)
        if (signers_add(l, key, err) < 0) return -(int)err->code;
    return 0;
}

static int bound_to_the_log(struct ledger *l, uint64_t size, struct error *err) {
    struct checkpoint c;
    struct digest d;
    bool found;
    if (ledger_published_lately(l, &found, &c, err) < 0) return -(int)err->code;
    if (!found || c.size < size)
        return error_set(err, ERR_LEDGER_BROKEN, "no checkpoint signed by a key of the log reaches so far");
    buf_clear(&l->scratch);
    if (ledger_stored(l, size - 1, &l->scratch, &found, err) < 0) return -(int)err->code;
    sha256(buf_bytes(&l->scratch), &d);
    if (!found || !digest_equal(&d, &l->last))
        return error_set(err, ERR_LEDGER_BROKEN, "entry %" PRIu64 " of the log is not the one that it names", size - 1);
    return 0;
}

static int from_store(struct ledger *l, const struct survey *s, uint64_t size, struct error *err) {
    struct ledger_summary sum;
    char key[SUMMARY_KEY_BYTES];
    summary_key(size, key);
    buf_clear(&l->base_summary);
    if (store_read_all(l->store, key, SUMMARY_MAX_BYTES, &l->base_summary, err) < 0) return -(int)err->code;
    if (summary_open(buf_bytes(&l->base_summary), l->origin, size, l->start->signer, &sum, err) < 0)
        return -(int)err->code;
    int rc = begin(l, s, &sum, err);
    ledger_summary_free(&sum);
    if (rc == 0) rc = bound_to_the_log(l, size, err);
    if (rc == 0 && l->cache) cache_begin_at(l->cache, size);
    return rc;
}

/* The newest summary that can be used, or none. */
static int choose(struct ledger *l, const struct survey *s, const struct cache_pin *pin, struct error *err) {
    unsigned tried = 0;
    for (size_t i = s->size_count; i-- > 0 && tried < SUMMARIES_TRIED;) {
        uint64_t size = s->sizes[i];
        struct error e = ERROR_INIT;
        char key[SUMMARY_KEY_BYTES], why[sizeof(l->refused)];
        /* what this machine has seen must be part of what it reads, and the root of less than a summary is unknown */
        if (size > s->end || (pin->size > 0 && size > pin->size)) continue;
        tried++;
        if (from_store(l, s, size, &e) == 0) return 0;
        if (!start_doubtful(&e)) {
            *err = e;
            return error_wrap(err, "beginning the log at a summary");
        }
        summary_key(size, key);
        snprintf(why, sizeof(why), "%s: %.400s", key, e.text);
        /* one that is gone was replaced by a newer one, and says nothing of anybody */
        if (e.code != ERR_OBJECT_MISSING) start_refuse(l, size, why);
        if (start_reset(l, err) < 0) return -(int)err->code;
    }
    buf_free(&l->base_summary);
    return signers_add(l, l->start->signer, err);
}

/* What an earlier run on this machine began at, with the entries that it has read since; both must come to the pin. */
static int from_cache(struct ledger *l, const struct survey *s, const struct cache_pin *pin, bool *ret_good,
                      struct error *err) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(SUMMARY_MAX_BYTES + 1);
    struct ledger_summary sum;
    struct error e = ERROR_INIT;
    uint64_t size;
    bool good = false;
    *ret_good = false;
    if (!l->cache || pin->size == 0) return 0;
    if (cache_base_read(l->cache, SUMMARY_MAX_BYTES, &size, &envelope, err) < 0) return -(int)err->code;
    if (size == 0 || size > pin->size || size > s->end) return 0;
    if (summary_open(buf_bytes(&envelope), l->origin, size, l->start->signer, &sum, &e) < 0) {
        if (start_doubtful(&e)) return 0;
        *err = e;
        return error_wrap(err, "cache of the log");
    }
    cache_begin_at(l->cache, size);
    int rc = cache_load(l->cache, sum.edge, &good, &e);
    if (rc == 0 && good) rc = begin(l, s, &sum, &e);
    if (rc == 0 && good) rc = ledger_replay_cache(l, &e);
    ledger_summary_free(&sum);
    if (rc < 0 && !start_doubtful(&e)) {
        *err = e;
        return error_wrap(err, "cache of the log");
    }
    *ret_good = rc == 0 && good;
    return *ret_good ? 0 : start_reset(l, err);
}

int start_check_ahead(struct ledger *l, struct survey *s, struct error *err) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(SUMMARY_MAX_BYTES + 1);
    struct ledger_summary sum;
    struct checkpoint c;
    struct error e = ERROR_INIT;
    char key[SUMMARY_KEY_BYTES];
    bool found;
    if (!s->summaries) {
        if (ledger_published_lately(l, &found, &c, err) < 0) return -(int)err->code;
        if ((!found || c.size < ledger_size(l)) && ledger_list_summaries(l, &s->sizes, &s->size_count, err) < 0)
            return -(int)err->code;
    }
    uint64_t size = s->size_count ? s->sizes[s->size_count - 1] : 0;
    /* the list of entries may be older than that of summaries */
    if (size > ledger_size(l) && ledger_read_on(l, size, err) < 0) return -(int)err->code;
    if (size <= ledger_size(l)) return 0;
    summary_key(size, key);
    int rc = store_read_all(l->store, key, SUMMARY_MAX_BYTES, &envelope, &e);
    if (rc == 0) rc = summary_open(buf_bytes(&envelope), l->origin, size, l->start->signer, &sum, &e);
    if (rc < 0 && !start_doubtful(&e)) {
        *err = e;
        return error_wrap(err, "%s", key);
    }
    if (rc < 0) {
        char why[sizeof(l->refused)];
        snprintf(why, sizeof(why), "%s: %.400s", key, e.text);
        if (e.code != ERR_OBJECT_MISSING) start_refuse(l, size, why);
        return 0;
    }
    ledger_summary_free(&sum);
    error_set(err, ERR_LEDGER_ROLLBACK,
              "the log of %s has %" PRIu64 " entries, but a signed summary speaks of %" PRIu64, l->origin,
              ledger_size(l), size);
    return error_state(err, "Nothing was written.");
}

/* ---- bundles ---- */

/* Take in what a bundle has beyond the entries known. */
static int take_bundle(struct ledger *l, const struct survey *s, uint64_t index, unsigned width, struct error *err) {
    CLEANUP(buf_free) struct buf bundle = BUF_INIT(BUNDLE_BYTES_MAX + 1);
    char path[TILE_PATH_MAX];
    if (bundle_read(l, index, width, &bundle, path, err) < 0) return -(int)err->code;
    struct bytes rest = buf_bytes(&bundle), envelope;
    const bool whole = ledger_size(l) == index * TREE_FANOUT;
    for (uint64_t seq = index * TREE_FANOUT; seq < index * TREE_FANOUT + width; seq++) {
        struct entry e;
        uint64_t size;
        char key[ENTRY_KEY_BYTES];
        if (bundle_next(&rest, &envelope, err) < 0) return error_wrap(err, "%s", path);
        if (seq < ledger_size(l)) continue;
        int64_t stored_ns = seq < s->end ? s->stored_ns[seq] : 0;
        entry_key(seq, key);
        if (seq >= s->end && store_stat(l->store, key, &size, &stored_ns, err) < 0) return error_wrap(err, "%s", path);
        if (ledger_reserve(l, err) < 0 || entry_check(envelope, seq, &l->last, false, &e, err) < 0)
            return error_wrap(err, "%s", path);
        int rc = ledger_take(l, envelope, &e, stored_ns, err);
        entry_free(&e);
        if (rc < 0) return error_wrap(err, "%s", path);
        l->unbound = true;
        l->direct_from = ledger_size(l);
    }
    if (rest.len) return error_set(err, ERR_LEDGER_BROKEN, "%s: it has more than its %u entries", path, width);
    l->bundle_index = index;
    l->bundle_width = whole ? width : 0;
    return 0;
}

bool ledger_took_bundle(const struct ledger *l, uint64_t index, unsigned width) {
    return width > 0 && l->bundle_width == width && l->bundle_index == index;
}

/* One bundle, or where it is of no use the entries that it should have. */
static int take_either(struct ledger *l, const struct survey *s, uint64_t index, unsigned width, struct error *err) {
    struct error e = ERROR_INIT;
    if (take_bundle(l, s, index, width, &e) == 0) return 0;
    if (!start_doubtful(&e)) {
        *err = e;
        return error_wrap(err, "reading the log");
    }
    if (e.code != ERR_OBJECT_MISSING) start_refuse(l, 0, e.text);
    return ledger_read_on(l, index * TREE_FANOUT + width, err);
}

static int take_bundles(struct ledger *l, const struct survey *s, struct error *err) {
    struct checkpoint c;
    bool found;
    for (uint64_t index = ledger_size(l) / TREE_FANOUT; (index + 1) * TREE_FANOUT <= s->end; index++) {
        if (take_either(l, s, index, TREE_FANOUT, err) < 0) return -(int)err->code;
        if (ledger_size(l) < (index + 1) * TREE_FANOUT) return 0; /* the rest of a beginning sees why */
    }
    if (ledger_size(l) + BUNDLE_WORTH > s->end) return 0;
    if (ledger_published_lately(l, &found, &c, err) < 0) return -(int)err->code;
    uint64_t index = ledger_size(l) / TREE_FANOUT;
    if (!found || c.size / TREE_FANOUT != index || c.size < ledger_size(l) + BUNDLE_WORTH) return 0;
    return take_either(l, s, index, (unsigned)(c.size % TREE_FANOUT), err);
}

int start_short(struct ledger *l, const struct survey *s, const struct cache_pin *pin, struct error *err) {
    bool good;
    if (!s->whole) return error_set(err, ERR_LEDGER_BROKEN, "the log has a gap: it was not begun at a summary");
    if (from_cache(l, s, pin, &good, err) < 0) return -(int)err->code;
    if (!good && (choose(l, s, pin, err) < 0 || take_bundles(l, s, err) < 0)) return -(int)err->code;
    l->listed_end = s->end;
    int rc = ledger_settle(l, pin, err);
    l->listed_end = 0;
    if (rc == 0 && l->cache && l->base_summary.len) cache_base_keep(l->cache, buf_bytes(&l->base_summary));
    if (rc == 0) buf_free(&l->base_summary);
    return rc;
}
