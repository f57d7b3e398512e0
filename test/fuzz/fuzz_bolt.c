/* A server's answers, whatever they are: understood within bounds, or an error. The first byte chooses: answers in
 * their chunks, or one value as a query returns it. What is taken for a record of ours is then in its one form. */
#include "surface/neo4j/bolt_internal.h"
#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sorted {
    struct value_sort room;
    struct buf once, twice;
};

/* Packed again, it must be the same bytes. */
static int on_entity(void *ctx, const struct entity *e, struct error *err) {
    struct sorted *s = ctx;
    struct ps_in in = e->properties, names = e->names;
    buf_clear(&s->once);
    buf_clear(&s->twice);
    int r = value_put_map(&in, &s->room, &s->once, err);
    if (r < 0) return r;
    in = ps_of(buf_bytes(&s->once));
    if (value_put_map(&in, &s->room, &s->twice, err) < 0 || in.at != in.end) abort();
    if (!bytes_equal(buf_bytes(&s->once), buf_bytes(&s->twice))) abort();
    if (value_put_names(&names, &s->room, &s->once, err) < 0) error_clear(err);
    return 0;
}

static int value(struct bytes b, struct error *err) {
    struct sorted s = {.once = BUF_INIT(1 << 20), .twice = BUF_INIT(1 << 20)};
    struct entity_walk w = {.cb = on_entity, .ctx = &s};
    struct ps_in in = ps_of(b);
    int r = entity_walk(&w, &in, err);
    in = ps_of(b);
    w.relationships = true;
    if (r == 0) r = entity_walk(&w, &in, err);
    value_sort_free(&s.room);
    buf_free(&s.once);
    buf_free(&s.twice);
    entity_walk_free(&w);
    return r;
}

static void answers(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct bolt_rows rows = {.fetch = 10};
    struct ps_in in;
    uint32_t n = 0;
    bool end = false;
    int fds[2], r = 0;
    void *room;
    struct bolt b = {.fd = -1,
                     .timeout_ms = 1000,
                     .patience_ms = 1000,
                     .where = "fuzz",
                     .long_message = BUF_INIT(BOLT_MESSAGE_MAX),
                     .out = BUF_INIT(1 << 20),
                     .request = BUF_INIT(1 << 20)};
    if (pipe(fds) < 0) return;
    if (write(fds[1], data, size) != (ssize_t)size) abort();
    close(fds[1]);
    b.fd = fds[0];
    if (mem_alloc(BOLT_IN_BYTES, &room, &err) < 0) abort();
    b.in = room;
    rows.b = &b;
    r = bolt_success(&b, NULL, &err);
    while (r == 0 && !end) {
        r = bolt_row(&rows, &in, &n, &end, &err);
        buf_clear(&b.out); /* nobody listens */
        if (r == 0 && !end) r = value(BYTES_OF(in.at, (size_t)(in.end - in.at)), &err);
    }
    if (r < 0 && err.code == ERR_NONE) abort();
    b.broken = true;
    bolt_disconnect(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    if (size < 1 || size > 32768) return 0;
    if (data[0] == 'a')
        answers(data + 1, size - 1);
    else if (value(BYTES_OF(data + 1, size - 1), &err) < 0 && err.code == ERR_NONE)
        abort();
    return 0;
}
