/* libpq gives CopyData a message at a time, each in memory of its own, which goes to the other thread as it is. */
#include "surface/pgphys/stream_internal.h"

#include "base/seam.h"
#include <poll.h>
#include <stdio.h>

#define AHEAD 256 /* messages; the server makes them 32 KiB long */
#define LOOK_MS 500

struct message {
    char *text;
    size_t len;
};
struct stream_pump {
    PGconn *c;
    struct queue *full, *empty; /* of the messages below */
    struct message messages[AHEAD];
    struct message *present;
    pthread_t thread;
    bool has_thread;
    atomic_bool stop;
    int rc; /* of the thread, once it has ended */
    struct error err;
};

int stream_server_error(PGconn *c, const PGresult *r, struct error *err) {
    char text[512];
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    pg_one_line(primary ? primary : PQerrorMessage(c), text, sizeof text);
    if (state && !strcmp(state, "42501")) return error_set(err, ERR_PG_PRIVILEGE, "base backup: %s", text);
    return error_set(err, ERR_PG_BASE, "the server ended the base backup: %s", text[0] ? text : "the stream broke off");
}

int stream_wait(PGconn *c, const atomic_bool *given_up, struct error *err) {
    struct pollfd f = {.fd = PQsocket(c), .events = POLLIN};
    int n = 0, rc = 0;
    while (n == 0 && (rc = stop_check(err)) == 0) {
        if (given_up && atomic_load(given_up)) return error_set(err, ERR_PG_BASE, "the base backup was given up");
        n = seam_poll(&f, 1, LOOK_MS);
    }
    if (rc < 0) return rc;
    if (n < 0) return error_set_errno(err, ERR_PG_BASE, "waiting for the server");
    return PQconsumeInput(c) ? 0 : stream_server_error(c, NULL, err);
}

static void *run(void *arg) {
    struct stream_pump *p = arg;
    void *slot = NULL;
    while (p->rc == 0 && !atomic_load(&p->stop)) {
        char *text = NULL;
        int n = PQgetCopyData(p->c, &text, 1);
        if (n == 0) {
            p->rc = stream_wait(p->c, &p->stop, &p->err);
            continue;
        }
        if (n == -1) break;
        if (n < 0) {
            /* what the server said in the end is the result behind the copy */
            PGresult *r = PQgetResult(p->c);
            p->rc = stream_server_error(p->c, r, &p->err);
            PQclear(r);
            break;
        }
        if (!queue_pop(p->empty, &slot)) {
            PQfreemem(text);
            p->rc = error_set(&p->err, ERR_PG_BASE, "the base backup was given up");
            break;
        }
        struct message *m = slot;
        *m = (struct message){text, (size_t)n};
        queue_push(p->full, m);
    }
    queue_close(p->full);
    return NULL;
}

int stream_pump_start(PGconn *c, struct stream_pump **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct stream_pump), &mem, err);
    if (rc < 0) return rc;
    struct stream_pump *p = mem;
    p->c = c;
    rc = queue_new(AHEAD, &p->full, err);
    if (rc == 0) rc = queue_new(AHEAD, &p->empty, err);
    for (size_t i = 0; i < AHEAD && rc == 0; i++) queue_push(p->empty, &p->messages[i]);
    if (rc == 0) rc = thread_start(&p->thread, run, p, err);
    p->has_thread = rc == 0;
    if (rc < 0)
        stream_pump_free(p);
    else
        *ret = p;
    return rc;
}

static void give_back(struct stream_pump *p, struct message *m) {
    PQfreemem(m->text);
    *m = (struct message){0};
    queue_push(p->empty, m);
}

int stream_pump_next(struct stream_pump *p, struct bytes *ret, struct error *err) {
    void *slot = NULL;
    if (p->present) give_back(p, p->present);
    p->present = NULL;
    *ret = BYTES_OF(NULL, 0);
    if (queue_pop(p->full, &slot)) {
        p->present = slot;
        *ret = BYTES_OF(p->present->text, p->present->len);
        return 0;
    }
    return p->rc < 0 ? error_set(err, p->err.code, "%s", p->err.text) : 0;
}

void stream_pump_free(struct stream_pump *p) {
    void *slot = NULL;
    if (!p) return;
    atomic_store(&p->stop, true);
    if (p->empty) queue_close(p->empty);
    if (p->has_thread) pthread_join(p->thread, NULL);
    if (p->present) PQfreemem(p->present->text);
    while (p->full && queue_try_pop(p->full, &slot)) PQfreemem(((struct message *)slot)->text);
    queue_free(p->full);
    queue_free(p->empty);
    seam_free(p);
}

void stream_pump_freep(struct stream_pump **p) {
    stream_pump_free(*p);
    *p = NULL;
}
