/* The content of Neo4j dumps: whatever the bytes, frame and files are the content, and the frame alone tells the same
 * cuts. */
#include "surface/neo4j/container.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

struct seen {
    struct bytes content; /* what must come out, and how far it has */
    size_t at;
    struct buf frame, files; /* the latter is put in when a frame is read */
    size_t used;
    bool again;
};

static void expect(struct seen *s, struct bytes piece) {
    need(piece.len <= s->content.len - s->at && !memcmp(s->content.ptr + s->at, piece.ptr, piece.len));
    s->at += piece.len;
}

static int on_frame(void *ctx, struct bytes piece, struct error *err) {
    struct seen *s = ctx;
    if (piece.len) expect(s, piece);
    return s->again ? 0 : buf_append(&s->frame, piece.ptr, piece.len, err);
}

static int on_file(void *ctx, struct bytes name, uint64_t bytes, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    need(name.ptr && bytes > 0 && name.len > 0 && name.len <= NEO4J_FILE_NAME_MAX && name.ptr[0] != '/' &&
         !memchr(name.ptr, 0, name.len));
    need(!memmem(name.ptr, name.len, "/../", 4) && !memmem(name.ptr, name.len, "//", 2));
    if (!s->again) return 0;
    /* A file that was cut off comes to what there is of it. */
    uint64_t left = s->files.len - s->used;
    if (bytes > left) bytes = left;
    if (bytes) expect(s, BYTES_OF(s->files.ptr + s->used, (size_t)bytes));
    s->used += (size_t)bytes;
    return 0;
}

static int on_content(void *ctx, struct bytes piece, struct error *err) {
    struct seen *s = ctx;
    expect(s, piece);
    return buf_append(&s->files, piece.ptr, piece.len, err);
}

static int read_it(struct seen *s, struct bytes in, size_t at_once, struct error *err) {
    const struct neo4j_container_events on = {s, on_frame, on_file, on_content};
    struct neo4j_container c;
    neo4j_container_init(&c, &on, s->again);
    for (size_t at = 0; at < in.len; at += at_once)
        need(neo4j_container_feed(&c, BYTES_OF(in.ptr + at, in.len - at < at_once ? in.len - at : at_once), err) == 0);
    int r = neo4j_container_end(&c, err);
    need(r == 0 || r == -ERR_SOURCE_TRUNCATED);
    neo4j_container_free(&c);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct seen s = {.content = BYTES_OF(data, size), .frame = BUF_INIT(64u << 20), .files = BUF_INIT(64u << 20)};
    int said = read_it(&s, BYTES_OF(data, size), 1 + size % 700, &err);
    need(s.at == size);
    s.again = true;
    s.at = 0;
    error_clear(&err);
    int again = read_it(&s, buf_bytes(&s.frame), 1 + size % 300, &err);
    need(s.at == size && s.used == s.files.len);
    /* Where a file is cut off the frame ends with its header; that is an end of neither. */
    need(said != 0 || again == 0);
    buf_free(&s.frame);
    buf_free(&s.files);
    return 0;
}
