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
    struct bytes part = BYTES_OF(j->bytes, j->len);
    struct error err = ERROR_INIT;
    int rc = s3_put(g->s, j->key, &part, 1, j->tried ? S3_PUT_AGAIN : S3_PUT_SAME_IS_FINE, &g->s->closing, &err);
    /* A signal breaks what is under way. Whoever is told to stop still wants what was staged, to go on from it later.
     */
    if ((rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) && !atomic_load(&g->s->closing)) {
        error_clear(&err);
        rc = s3_put(g->s, j->key, &part, 1, S3_PUT_AGAIN, &g->s->closing, &err);
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

static int job_new(struct stager *g, const char *key, const struct bytes *parts, size_t n, size_t len, struct job **ret,
                   struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct job), &p, err);
    if (rc < 0) return rc;
    struct job *j = p;
    *j = (struct job){.g = g, .len = len};
    rc = mem_strdup(key, &j->key, err);
    if (rc == 0) {
        j->bytes = seam_alloc(len > 0 ? len : 1);
        if (!j->bytes) rc = error_set(err, ERR_NO_MEMORY, "no memory for an object of %zu bytes", len);
    }
    for (size_t i = 0, at = 0; i < n && rc == 0; at += parts[i++].len)
        if (parts[i].len > 0) memcpy(j->bytes + at, parts[i].ptr, parts[i].len);
    if (rc < 0) {
        job_free(j);
        return rc;
    }
    *ret = j;
    return 0;
}

int s3_stage(struct store *st, const char *key, const struct bytes *parts, size_t n, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    struct stager *g;
    struct job *j;
    uint64_t len = 0;
    for (size_t i = 0; i < n; i++) len += parts[i].len;
    int rc = stager_get(s, &g, err);
    if (rc < 0) return rc;
    if (len >= MULTIPART_BYTES_MIN) return s3_put_parts(s, g->pool, key, parts, n, &s->closing, err);
    if ((rc = make_room(g, (size_t)len, err)) < 0) return rc;
    rc = job_new(g, key, parts, n, (size_t)len, &j, err);
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
