#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"

#define LINE_MAX_BYTES (512u << 20) /* a record with all of its bytes escaped */
#define OUT_BYTES (1u << 20)

static int number(struct ps_in *in, const char *key, struct buf *out, struct error *err) {
    struct ps_value v;
    int r = ps_need(in, PACK_INT, key, &v, err);
    return r == 0 ? buf_printf(out, err, "\"%s\":%lld,", key, (long long)v.number) : r;
}

static int labels(struct ps_in *in, struct buf *out, struct error *err) {
    struct ps_value list, name;
    int r = ps_need(in, PACK_LIST, "labels", &list, err);
    if (r == 0) r = buf_append_str(out, "\"labels\":[", err);
    for (uint32_t i = 0; r == 0 && i < list.count; i++) {
        r = ps_need(in, PACK_TEXT, "a label", &name, err);
        if (r == 0 && i) r = buf_append_str(out, ",", err);
        if (r == 0) r = value_put_json_text(name.text, out, err);
    }
    return r == 0 ? buf_append_str(out, "],", err) : r;
}

static int type(struct ps_in *in, struct buf *out, struct error *err) {
    struct ps_value name;
    int r = number(in, "start", out, err);
    if (r == 0) r = number(in, "end", out, err);
    if (r == 0) r = ps_need(in, PACK_TEXT, "a type", &name, err);
    if (r == 0) r = buf_append_str(out, "\"type\":", err);
    if (r == 0) r = value_put_json_text(name.text, out, err);
    return r == 0 ? buf_append_str(out, ",", err) : r;
}

static int line(struct bytes record, bool relationships, struct buf *out, struct error *err) {
    struct ps_in in = ps_of(record);
    struct ps_value map, key;
    int r = buf_append_str(out, "{", err);
    if (r == 0) r = number(&in, "id", out, err);
    if (r == 0) r = relationships ? type(&in, out, err) : labels(&in, out, err);
    if (r == 0) r = ps_need(&in, PACK_MAP, "properties", &map, err);
    if (r == 0) r = buf_append_str(out, "\"properties\":{", err);
    for (uint32_t i = 0; r == 0 && i < map.count; i++) {
        r = ps_need(&in, PACK_TEXT, "the name of a property", &key, err);
        if (r == 0 && i) r = buf_append_str(out, ",", err);
        if (r == 0) r = value_put_json_text(key.text, out, err);
        if (r == 0) r = buf_append_str(out, ":", err);
        if (r == 0) r = value_put_json(&in, out, err);
    }
    return r == 0 ? buf_append_str(out, "}}\n", err) : r;
}

static int create(int dirfd, const char *name, int *ret, struct error *err) {
    *ret = seam_openat(dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *ret < 0 ? error_set_errno(err, ERR_IO_WRITE, "make %s", name) : 0;
}

static int durable(int fd, const char *name, struct error *err) {
    return seam_fsync(fd) < 0 ? error_set_errno(err, ERR_IO_SYNC, "make %s durable", name) : 0;
}

static int write_lines(struct source *src, const char *item, bool relationships, int dirfd, const char *name,
                       struct error *err) {
    CLEANUP(buf_free) struct buf out = BUF_INIT(LINE_MAX_BYTES);
    struct source_head head;
    struct records in = {0};
    struct bytes record;
    bool end = false;
    int fd = -1;
    int r = records_find(src, item, &head, err);
    if (r == 0) r = records_open(src, &head, &in, err);
    if (r == 0) r = create(dirfd, name, &fd, err);
    while (r == 0 && !end) {
        r = records_next(&in, &record, &end, err);
        if (r == 0 && !end) r = line(record, relationships, &out, err);
        if (r < 0 || (!end && out.len < OUT_BYTES)) continue;
        r = io_write_full(fd, out.ptr, out.len, name, err);
        buf_clear(&out);
    }
    if (r == 0) r = durable(fd, name, err);
    io_close(&fd);
    records_close(&in);
    return r;
}

static int write_schema(struct source *src, int dirfd, struct error *err) {
    static const char name[] = "schema.cypher";
    static const char *const keys[] = {"constraints", "indexes"};
    CLEANUP(buf_free) struct buf out = BUF_INIT(GRAPH_TEXT_MAX);
    json_t *schema = NULL;
    const json_t *row;
    size_t i;
    int fd = -1, r = records_schema(src, &schema, err);
    for (size_t k = 0; r == 0 && k < 2; k++) json_array_foreach(json_object_get(schema, keys[k]), i, row) {
            const json_t *s = json_object_get(row, "statement");
            if (r == 0 && s) r = buf_append(&out, json_string_value(s), json_string_length(s), err);
            if (r == 0 && s) r = buf_append_str(&out, ";\n", err);
        }
    json_decref(schema);
    if (r == 0) r = create(dirfd, name, &fd, err);
    if (r == 0) r = io_write_full(fd, out.ptr, out.len, name, err);
    if (r == 0) r = durable(fd, name, err);
    io_close(&fd);
    return r;
}

static int any(void *ctx, const struct source_head *h, struct error *err) {
    (void)h;
    (void)err;
    *(bool *)ctx = true;
    return 0;
}

int neo4j_logical_export(struct source *src, int dirfd, struct error *err) {
    bool there = false;
    int r = src->ops->walk(src, BYTES_STR("graph/"), any, &there, err);
    if (r < 0 || !there) return r;
    r = write_lines(src, GRAPH_NODES, false, dirfd, "nodes.jsonl", err);
    if (r == 0) r = write_lines(src, GRAPH_RELATIONSHIPS, true, dirfd, "relationships.jsonl", err);
    if (r == 0) r = write_schema(src, dirfd, err);
    return r == 0 ? durable(dirfd, "the export", err) : r;
}
