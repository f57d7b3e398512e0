#include "base/seam.h"
#include "store/s3/s3_internal.h"

/* One staged object on its way. Only its state is shared; whoever finds it PENDING and takes it owns the rest until
 * DONE. */
struct job {
    struct job *next; /* in the order staged */
    struct stager *g;
    char *key;
    uint8_t *bytes;
    size_t len;
    bool known;
    struct digest sha256; /* when known */
    enum { JOB_PENDING, JOB_DONE, JOB_FAILED } state;
    bool told; /* a commit has reported its failure */
    bool tried;
    struct error err;
};

struct stager {
    struct s3_store *s;
    struct pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t ended; /* a job did, or bytes were let go */
    struct job *first, **last;
    size_t held; /* bytes of all jobs in the list */
};

static void job_free(struct job *j) {
    seam_free(j->key);
    seam_free(j->bytes);
    seam_free(j);
}

/* Takes what is DONE out of the list; the lock is held. */
static void sweep(struct stager *g) {
    for (struct job **at = &g->first; *at;) {
        struct job *j = *at;
        if (j->state != JOB_DONE) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        g->held -= j->len;
        job_free(j);
    }
    g->last = &g->first;
    while (*g->last) g->last = &(*g->last)->next;
}

static void run(void *arg) {
    struct job *j = arg;
    struct stager *g = j->g;
    const struct bytes part = BYTES_OF(j->bytes, j->len);
    const struct digest *known = j->known ? &j->sha256 : NULL;
    struct error err = ERROR_INIT;
    int rc = s3_put_dated(g->s, j->key, &part, 1, j->tried ? S3_PUT_AGAIN : S3_PUT_SAME_IS_FINE, known, &g->s->closing,
                          NULL, &err);
    /* A signal breaks what is under way. Whoever is told to stop still wants what was staged, to go on from it later.
     */
    if ((rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) && !atomic_load(&g->s->closing)) {
        error_clear(&err);
        rc = s3_put_dated(g->s, j->key, &part, 1, S3_PUT_AGAIN, known, &g->s->closing, NULL, &err);
    }
    pthread_mutex_lock(&g->lock);
    j->state = rc == 0 ? JOB_DONE : JOB_FAILED;
    j->err = err;
    j->tried = true;
    if (rc == 0) sweep(g);
    pthread_cond_broadcast(&g->ended);
    pthread_mutex_unlock(&g->lock);
}

static int stager_get(struct s3_store *s, struct stager **ret, struct error *err) {
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (!s->stager) {
        void *p;
        rc = mem_alloc(sizeof(struct stager), &p, err);
        struct stager *g = rc == 0 ? p : NULL;
        if (g) rc = pool_new(s->place.connections, 2 * s->place.connections, &g->pool, err);
        if (rc == 0) {
            g->s = s;
            g->last = &g->first;
            pthread_mutex_init(&g->lock, NULL);
            pthread_cond_init(&g->ended, NULL);
            s->stager = g;
        } else {
            seam_free(g);
        }
    }
    *ret = s->stager;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void s3_stager_free(struct stager *g) {
    if (!g) return;
    pool_free(g->pool); /* waits for what is under way, which s->closing has called off */
    while (g->first) {
        struct job *j = g->first;
        g->first = j->next;
        job_free(j);
    }
    pthread_cond_destroy(&g->ended);
    pthread_mutex_destroy(&g->lock);
    seam_free(g);
}

/* The first failure that no commit has told yet; the lock is held. */
static struct job *failure(struct stager *g) {
    for (struct job *j = g->first; j; j = j->next)
        if (j->state == JOB_FAILED && !j->told) return j;
    return NULL;
}

/* Waits until the job list has room for `len` more. What failed keeps its room, so it is an error, not a wait. */
static int make_room(struct stager *g, size_t len, struct error *err) {
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    while (rc == 0 && g->held > 0 && g->held + len > STAGE_BYTES_MAX) {
        size_t failed = 0;
        for (struct job *j = g->first; j; j = j->next) failed += j->state == JOB_FAILED ? j->len : 0;
        struct job *bad = failure(g);
        if (bad || failed + len > STAGE_BYTES_MAX) {
            *err = bad ? bad->err : g->first->err;
            rc = err->code
                     ? -(int)err->code
                     : error_set(err, ERR_REPO_LATCHED, "objects that could not be stored fill the memory for them");
            break;
        }
        pthread_cond_wait(&g->ended, &g->lock);
    }
    if (rc == 0) g->held += len;
    pthread_mutex_unlock(&g->lock);
    return rc;
}

/* Takes `mem` over, unless it fails. */
static int job_new(struct stager *g, const char *key, uint8_t *mem, size_t len, const uint8_t *sha256, struct job **ret,
                   struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct job), &p, err);
    if (rc < 0) return rc;
    struct job *j = p;
    *j = (struct job){.g = g, .len = len, .known = sha256};
    if (sha256) memcpy(j->sha256.b, sha256, sizeof j->sha256.b);
    if ((rc = mem_strdup(key, &j->key, err)) < 0) {
        job_free(j);
        return rc;
    }
    j->bytes = mem;
    *ret = j;
    return 0;
}

static int join(const struct bytes *parts, size_t n, size_t len, uint8_t **ret, struct error *err) {
    uint8_t *mem = seam_alloc(len > 0 ? len : 1);
    if (!mem) return error_set(err, ERR_NO_MEMORY, "no memory for an object of %zu bytes", len);
    for (size_t i = 0, at = 0; i < n; at += parts[i++].len)
        if (parts[i].len > 0) memcpy(mem + at, parts[i].ptr, parts[i].len);
    *ret = mem;
    return 0;
}

/* Either the parts, or `own`, which is taken over, unless it fails. */
static int stage(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, uint8_t *own,
                 const uint8_t *sha256, struct error *err) {
    struct stager *g;
    struct job *j;
    uint64_t len = 0;
    uint8_t *mem = own;
    for (size_t i = 0; i < n; i++) len += parts[i].len;
    int rc = stager_get(s, &g, err);
    if (rc < 0) return rc;
    if (len >= MULTIPART_BYTES_MIN) {
        rc = s3_put_parts(s, g->pool, key, parts, n, &s->closing, err);
        if (rc == 0) seam_free(own);
        return rc;
    }
    if ((rc = make_room(g, (size_t)len, err)) < 0) return rc;
    if (!own) rc = join(parts, n, (size_t)len, &mem, err);
    if (rc == 0) rc = job_new(g, key, mem, (size_t)len, sha256, &j, err);
    if (rc < 0 && !own) seam_free(mem);
    pthread_mutex_lock(&g->lock);
    if (rc == 0) {
        *g->last = j;
        g->last = &j->next;
    } else {
        g->held -= (size_t)len;
        pthread_cond_broadcast(&g->ended);
    }
    pthread_mutex_unlock(&g->lock);
    if (rc == 0) pool_submit(g->pool, run, j);
    return rc;
}

int s3_stage(struct store *st, const char *key, const struct bytes *parts, size_t n, struct error *err) {
    return stage((struct s3_store *)st, key, parts, n, NULL, NULL, err);
}

int s3_stage_own(struct store *st, const char *key, uint8_t *mem, size_t len, const uint8_t sha256[32],
                 struct error *err) {
    const struct bytes part = {mem, len};
    int rc = stage((struct s3_store *)st, key, &part, 1, mem, sha256, err);
    if (rc < 0) seam_free(mem);
    return rc;
}

/* What an earlier commit told of is tried again by the next one. */
static void try_again(struct stager *g) {
    for (;;) {
        struct job *found = NULL;
        pthread_mutex_lock(&g->lock);
        for (struct job *j = g->first; j && !found; j = j->next)
            if (j->state == JOB_FAILED && j->told) found = j;
        if (found) {
            found->state = JOB_PENDING;
            found->told = false;
            found->err = ERROR_INIT;
        }
        pthread_mutex_unlock(&g->lock);
        if (!found) return;
        pool_submit(g->pool, run, found);
    }
}

int s3_commit(struct store *st, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    pthread_mutex_lock(&s->lock);
    struct stager *g = s->stager;
    pthread_mutex_unlock(&s->lock);
    if (!g) return 0;
    try_again(g);
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    for (;;) {
        bool pending = false;
        for (struct job *j = g->first; j && !pending; j = j->next) pending = j->state == JOB_PENDING;
        if (!pending) break;
        pthread_cond_wait(&g->ended, &g->lock);
    }
    struct job *bad = failure(g);
    if (bad) {
        *err = bad->err;
        rc = -(int)err->code;
        bad->told = true;
        /* A name that is taken stays so; there is nothing to try again. */
        if (rc == -ERR_OBJECT_EXISTS) bad->state = JOB_DONE;
    }
    sweep(g);
    pthread_cond_broadcast(&g->ended);
    pthread_mutex_unlock(&g->lock);
    return rc < 0 && rc != -ERR_OBJECT_EXISTS
               ? error_state(err, "What was staged is kept, and the next try stores what is missing.")
               : rc;
}
