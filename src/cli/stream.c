#include "cli/stream.h"

#include "base/seam.h"

#define PENDING_MAX (8u << 20)
#define PENDING_FLUSH (64u << 10)

static void flush(struct stream *s) {
    output_raw(s->output, buf_bytes(&s->pending));
    buf_clear(&s->pending);
}

/* The members of an object, without its braces. */
static int put_members(struct stream *s, const json_t *object, struct error *err) {
    struct buf b = BUF_INIT(PENDING_MAX);
    int rc = json_write(object, &b, err);
    if (rc == 0 && b.len > 2) rc = buf_append(&s->pending, b.ptr + 1, b.len - 2, err);
    buf_free(&b);
    return rc;
}

int stream_begin(struct stream *s, struct output *o, const json_t *head, const char *array, struct error *err) {
    *s = (struct stream){.output = o, .pending = BUF_INIT(PENDING_MAX)};
    if (!output_is_json(o)) return 0;
    s->begun = true;
    int rc = buf_append_str(&s->pending, "{", err);
    if (rc == 0 && head && json_object_size(head) > 0) {
        rc = put_members(s, head, err);
        if (rc == 0) rc = buf_append_str(&s->pending, ",", err);
    }
    return rc < 0 ? rc : buf_printf(&s->pending, err, "\"%s\":[", array);
}

int stream_item(struct stream *s, json_t *item, struct error *err) {
    if (!item) return error_set(err, ERR_NO_MEMORY, "no memory for a line of output");
    int rc = 0;
    if (s->begun) {
        rc = buf_append_str(&s->pending, s->any ? ",\n" : "\n", err);
        if (rc == 0) rc = json_write(item, &s->pending, err);
        s->any = true;
        if (s->pending.len >= PENDING_FLUSH) flush(s);
    }
    json_decref(item);
    return rc;
}

int stream_end(struct stream *s, const json_t *tail, struct error *err) {
    if (!s->begun) return 0;
    int rc = buf_append_str(&s->pending, s->any ? "\n]" : "]", err);
    if (rc == 0 && tail && json_object_size(tail) > 0) {
        rc = buf_append_str(&s->pending, ",", err);
        if (rc == 0) rc = put_members(s, tail, err);
    }
    if (rc == 0) rc = buf_append_str(&s->pending, "}\n", err);
    if (rc < 0) return rc;
    s->ended = true;
    flush(s);
    return 0;
}

void stream_free(struct stream *s) {
    if (s->begun && !s->ended) {
        flush(s);
        output_raw(s->output, BYTES_STR("\n"));
    }
    buf_free(&s->pending);
    *s = (struct stream){0};
}
