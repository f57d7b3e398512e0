#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include <stdlib.h>

void value_sort_free(struct value_sort *s) {
    seam_free(s->of);
    *s = (struct value_sort){0};
}

static int refuse(struct error *err, const char *what) {
    return error_set(err, ERR_NEO4J_VALUE, "a property is %s", what);
}

/* The members of each structure that can be a property's value, as letters: i a number, f a float, t a text. */
static const char *members_of(uint8_t tag) {
    switch (tag) {
    case TAG_DATE:
    case TAG_LOCAL_TIME:
        return "i";
    case TAG_TIME:
    case TAG_LOCAL_DATE_TIME:
        return "ii";
    case TAG_DATE_TIME:
        return "iii";
    case TAG_DATE_TIME_ZONE:
        return "iit";
    case TAG_DURATION:
        return "iiii";
    case TAG_POINT_2D:
        return "iff";
    case TAG_POINT_3D:
        return "ifff";
    }
    return NULL;
}

static int put_struct(struct ps_in *in, const struct ps_value *v, struct buf *out, struct error *err) {
    const char *members = members_of(v->tag);
    if (v->tag == TAG_DATE_TIME_LEGACY || v->tag == TAG_DATE_TIME_ZONE_LEGACY)
        return refuse(err, "a time in the form of Bolt 4, which a server that speaks Bolt 5 does not send");
    if (!members || v->count != strlen(members))
        return error_set(err, ERR_NEO4J_VALUE, "a property is a structure of unknown kind %02x with %u members", v->tag,
                         v->count);
    int r = ps_put_struct(out, v->count, v->tag, err);
    for (; r == 0 && *members; members++) {
        struct ps_value m;
        enum ps_kind kind = *members == 'i' ? PACK_INT : *members == 'f' ? PACK_FLOAT : PACK_TEXT;
        r = ps_need(in, kind, "a member of a date, time or point", &m, err);
        if (r == 0 && kind == PACK_INT) r = ps_put_int(out, m.number, err);
        if (r == 0 && kind == PACK_FLOAT) r = ps_put_float(out, m.bits, err);
        if (r == 0 && kind == PACK_TEXT) r = ps_put_text(out, m.text, err);
    }
    return r;
}

static int put_value(struct ps_in *in, bool in_list, struct buf *out, struct error *err) {
    struct ps_value v;
    int r = ps_next(in, &v, err);
    if (r < 0) return r;
    switch (v.kind) {
    case PACK_BOOL:
        return ps_put_bool(out, v.flag, err);
    case PACK_INT:
        return ps_put_int(out, v.number, err);
    case PACK_FLOAT:
        return ps_put_float(out, v.bits, err);
    case PACK_BYTES:
        return ps_put_bytes(out, v.text, err);
    case PACK_TEXT:
        return ps_put_text(out, v.text, err);
    case PACK_STRUCT:
        return put_struct(in, &v, out, err);
    case PACK_LIST:
        if (in_list) return refuse(err, "a list of lists");
        r = ps_put_list(out, v.count, err);
        for (uint32_t n = v.count; r == 0 && n; n--) r = put_value(in, true, out, err);
        return r;
    case PACK_NULL:
    case PACK_MAP:
        break;
    }
    return refuse(err, v.kind == PACK_NULL ? "null" : "a map");
}

int value_put(struct ps_in *in, struct buf *out, struct error *err) {
    return put_value(in, false, out, err);
}

static int compare(const void *pa, const void *pb) {
    const struct value_pair *a = pa, *b = pb;
    size_t n = a->key.len < b->key.len ? a->key.len : b->key.len;
    int c = n ? memcmp(a->key.ptr, b->key.ptr, n) : 0;
    if (c) return c;
    return a->key.len < b->key.len ? -1 : a->key.len > b->key.len;
}

/* Few and often in order: insertion costs less than a call of qsort. */
static void order(struct value_pair *p, size_t n) {
    if (n > 24) {
        qsort(p, n, sizeof *p, compare);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct value_pair x = p[i];
        size_t k = i;
        for (; k && compare(&p[k - 1], &x) > 0; k--) p[k] = p[k - 1];
        p[k] = x;
    }
}

static int room(struct value_sort *s, size_t n, struct error *err) {
    return n > s->cap ? mem_grow((void **)&s->of, &s->cap, n, sizeof *s->of, err) : 0;
}

int value_put_map(struct ps_in *in, struct value_sort *s, struct buf *out, struct error *err) {
    struct ps_value head, key;
    int r = ps_need(in, PACK_MAP, "the properties", &head, err);
    if (r == 0) r = room(s, head.count, err);
    for (uint32_t i = 0; r == 0 && i < head.count; i++) {
        r = ps_need(in, PACK_TEXT, "the name of a property", &key, err);
        if (r == 0) r = ps_skip(in, &s->of[i].value, err);
        s->of[i].key = key.text;
    }
    if (r < 0) return r;
    order(s->of, head.count);
    r = ps_put_map(out, head.count, err);
    for (uint32_t i = 0; r == 0 && i < head.count; i++) {
        struct ps_in value = ps_of(s->of[i].value);
        if (i && bytes_equal(s->of[i].key, s->of[i - 1].key)) return refuse(err, "there twice");
        r = ps_put_text(out, s->of[i].key, err);
        if (r == 0) r = value_put(&value, out, err);
    }
    return r;
}

int value_put_names(struct ps_in *in, struct value_sort *s, struct buf *out, struct error *err) {
    struct ps_value head, name;
    uint32_t n = 0;
    int r = ps_need(in, PACK_LIST, "the labels", &head, err);
    if (r == 0) r = room(s, head.count, err);
    for (uint32_t i = 0; r == 0 && i < head.count; i++) {
        r = ps_need(in, PACK_TEXT, "a label", &name, err);
        s->of[i].key = name.text;
    }
    if (r < 0) return r;
    order(s->of, head.count);
    for (uint32_t i = 0; i < head.count; i++)
        if (i == 0 || !bytes_equal(s->of[i].key, s->of[n - 1].key)) s->of[n++] = s->of[i];
    r = ps_put_list(out, n, err);
    for (uint32_t i = 0; r == 0 && i < n; i++) r = ps_put_text(out, s->of[i].key, err);
    return r;
}

/* Cypher takes \u0060 for a backtick wherever it stands, so a backslash is written as such an escape itself. */
int value_put_cypher_name(struct bytes name, struct buf *out, struct error *err) {
    int r = buf_append_str(out, "`", err);
    for (size_t i = 0; r == 0 && i < name.len; i++) {
        if (name.ptr[i] == '`')
            r = buf_append_str(out, "``", err);
        else if (name.ptr[i] == '\\')
            r = buf_append_str(out, "\\u005C", err);
        else
            r = buf_append(out, name.ptr + i, 1, err);
    }
    return r == 0 ? buf_append_str(out, "`", err) : r;
}
