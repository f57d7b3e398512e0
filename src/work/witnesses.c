#include "work/witnesses.h"

#include "base/seam.h"
#include "base/time.h"
#include "ledger/proof.h"
#include "platform/open_store.h"
#include "repo/log_view.h"
#include "work/witness.h"

#include <stdio.h>
#include <stdlib.h>

#define TRIED_MAX 8u

static const struct config_repository *repository_of(const struct work *w) {
    for (size_t i = 0; w->config && i < w->config->repositories.count; i++)
        if (strcmp(w->config->repositories.items[i]->url, w->url) == 0) return w->config->repositories.items[i];
    return NULL;
}

void witnesses_free(struct work_witnesses *s) {
    if (!s) return;
    for (size_t i = 0; i < s->count; i++) buf_free(&s->each[i].note);
    seam_free(s->each);
    seam_free(s);
}

/* ---- what one of them said ---- */

/* The names that come last, newest first: sizes and times are written with leading zeros. */
struct newest {
    char names[TRIED_MAX][WITNESS_KEY_BYTES];
    size_t n;
};

static int see(void *ctx, const struct store_object *o, struct error *err) {
    struct newest *l = ctx;
    size_t at = 0;
    (void)err;
    if (strlen(o->key) >= WITNESS_KEY_BYTES) return 0;
    while (at < l->n && strcmp(l->names[at], o->key) > 0) at++;
    if (at == TRIED_MAX) return 0;
    if (l->n < TRIED_MAX) l->n++;
    memmove(l->names[at + 1], l->names[at], (l->n - 1 - at) * WITNESS_KEY_BYTES);
    snprintf(l->names[at], WITNESS_KEY_BYTES, "%s", o->key);
    return 0;
}

static int word_read(struct store *s, const char *origin, const char *name, struct witness_word *word,
                     struct error *err) {
    struct checkpoint_parts p;
    int64_t time_s;
    buf_clear(&word->note);
    int rc = store_read_all(s, name, CHECKPOINT_MAX_BYTES, &word->note, err);
    if (rc == 0) rc = checkpoint_split(buf_bytes(&word->note), origin, &p, err);
    if (rc == 0) rc = checkpoint_signed_by(&p, &word->key, &time_s, err);
    if (rc < 0) return error_wrap(err, "%s", name);
    word->size = p.head.size;
    word->time_s = time_s;
    return 0;
}

/* Anyone may put something beside what a witness stored, so what is not its own is passed over. */
static int word_find(struct work_witnesses *ws, struct store *s, const char *origin, struct witness_word *word,
                     struct error *err) {
    struct newest l = {.n = 0};
    char prefix[WITNESS_KEY_BYTES], hex[2 * SIGN_PUBLIC_BYTES + 1];
    hex_encode(word->key.pub, SIGN_PUBLIC_BYTES, hex);
    snprintf(prefix, sizeof prefix, WITNESS_PREFIX "%s/", hex);
    int rc = store_list(s, prefix, see, &l, err);
    for (size_t i = 0; i < l.n && rc == 0 && word->size == 0; i++) {
        struct error e = ERROR_INIT;
        rc = word_read(s, origin, l.names[i], word, &e);
        if (rc < 0 && error_info(rc)->status == EXIT_INTEGRITY) {
            if (!*ws->refused) snprintf(ws->refused, sizeof ws->refused, "%.290s", e.text);
            rc = 0;
        } else if (rc < 0)
            *err = e;
    }
    return rc;
}

static int word_judge(struct work *w, const struct witness_word *word, struct error *err) {
    struct checkpoint_parts p;
    struct digest root;
    char origin[64], when[32];
    repo_origin(w->repo, origin);
    int rc = checkpoint_split(buf_bytes(&word->note), origin, &p, err);
    if (rc < 0) return rc;
    /* it may have seen entries that came while this run was opening the log */
    if (word->size > ledger_size(repo_ledger(w->repo)) && (rc = repo_sync(w->repo, err)) < 0) return rc;
    time_format(word->time_s * NS_PER_S, when);
    if (word->size > ledger_size(repo_ledger(w->repo))) {
        error_set(err, ERR_LEDGER_ROLLBACK, "the log has %llu entries, but the witness %s vouched for %llu at %s",
                  (unsigned long long)ledger_size(repo_ledger(w->repo)), word->key.name, (unsigned long long)word->size,
                  when);
        return error_state(err, "Nothing was written.");
    }
    if ((rc = ledger_root_at(repo_ledger(w->repo), word->size, &root, err)) < 0) return rc;
    if (digest_equal(&root, &p.head.root)) return 0;
    error_set(err, ERR_LEDGER_ROLLBACK,
              "the log was forked: its first %llu entries are not those that the witness %s vouched for at %s",
              (unsigned long long)word->size, word->key.name, when);
    return error_state(err, "Nothing was written.");
}

/* ---- all of them ---- */

static int newer(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return *x < *y ? 1 : *x > *y ? -1 : 0;
}

static int when_last(struct work_witnesses *s, struct error *err) {
    void *mem;
    int rc = mem_alloc((s->count + 1) * sizeof(int64_t), &mem, err);
    if (rc < 0) return rc;
    int64_t *times = mem;
    size_t wanted = s->quorum ? s->quorum : 1;
    for (size_t i = 0; i < s->count; i++) times[i] = s->each[i].time_s;
    qsort(times, s->count, sizeof *times, newer);
    s->last_s = wanted <= s->count ? times[wanted - 1] : 0;
    s->silent = s->last_s == 0 || time_now_ns() - s->last_s * NS_PER_S > s->silent_after_ns;
    seam_free(times);
    return 0;
}

static int ask_each(struct work *w, const struct config_repository *r, struct work_witnesses *s, struct error *err) {
    const struct config_witness *c = r->witness;
    struct store *elsewhere = NULL;
    char origin[64];
    int rc = c->from ? config_open_store(w->config, NULL, c->from, false, &elsewhere, err) : 0;
    repo_origin(w->repo, origin);
    for (size_t i = 0; i < c->keys.count && rc == 0; i++) {
        struct witness_word *word = &s->each[s->count];
        *word = (struct witness_word){.note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1)};
        s->count++;
        rc = note_key_parse(c->keys.items[i], &word->key, err);
        if (rc == 0 && word->key.kind != NOTE_COSIGNATURE)
            rc = error_set(err, ERR_USAGE, "'%.200s' is a log's key, not a witness's", c->keys.items[i]);
        if (rc == 0) rc = word_find(s, elsewhere ? elsewhere : w->store, origin, word, err);
        if (rc == 0 && word->size) rc = word_judge(w, word, err);
        if (rc == 0) s->found += word->size > 0;
    }
    store_close(elsewhere);
    return rc;
}

int witnesses_ask(struct work *w, struct work_witnesses **ret, struct error *err) {
    const struct config_repository *r = repository_of(w);
    void *mem;
    *ret = NULL;
    if (!r || !r->witness) return 0;
    int rc = mem_alloc(sizeof(struct work_witnesses), &mem, err);
    if (rc < 0) return rc;
    struct work_witnesses *s = mem;
    s->quorum = r->witness->quorum.set ? (unsigned)r->witness->quorum.value : 0;
    s->silent_after_ns =
        r->witness->silent_after.state == CONFIG_SET ? r->witness->silent_after.ns : WITNESS_SILENT_AFTER_NS;
    rc = mem_alloc((r->witness->keys.count + 1) * sizeof *s->each, &mem, err);
    if (rc == 0) s->each = mem;
    if (rc == 0) rc = ask_each(w, r, s, err);
    if (rc == 0) rc = when_last(s, err);
    if (rc == 0 && s->found < s->quorum) {
        rc = error_set(err, ERR_LEDGER_WITNESS,
                       "%zu of the %zu witnesses of repository '%s' vouched for its log, and %u must%s%s", s->found,
                       s->count, r->head.name, s->quorum, *s->refused ? "; " : "", s->refused);
        error_state(err, "Nothing was written.");
    }
    if (rc < 0)
        witnesses_free(s);
    else
        *ret = s;
    return rc < 0 ? error_wrap(err, "witnesses") : 0;
}

void witnesses_sentence(const struct work_witnesses *s, int64_t now_ns, char out[200]) {
    char age[32];
    duration_format(now_ns > s->last_s * NS_PER_S ? now_ns - s->last_s * NS_PER_S : 0, age);
    if (s->last_s)
        snprintf(out, 200, "%zu of %zu witnesses vouch for the log, %s %s ago", s->found, s->count,
                 s->silent ? "silent since" : "last", age);
    else
        snprintf(out, 200, "%zu of %zu witnesses vouch for the log, which is not enough", s->found, s->count);
}
