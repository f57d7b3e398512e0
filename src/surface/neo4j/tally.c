#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"

void sums_free(struct sums *t) {
    for (size_t i = 0; i < t->n; i++) seam_free(t->of[i].name);
    seam_free(t->of);
    seam_free(t->slots);
    *t = (struct sums){0};
}

/* A slot holds a row's number plus one. The table is at most half full. */
static uint32_t *slot_of(const struct sums *t, struct bytes name) {
    for (size_t i = (size_t)mix_bytes(name).lo & (t->n_slots - 1);; i = (i + 1) & (t->n_slots - 1)) {
        uint32_t k = t->slots[i];
        if (k == 0 || bytes_equal(BYTES_OF(t->of[k - 1].name, t->of[k - 1].name_bytes), name)) return &t->slots[i];
    }
}

static int widen(struct sums *t, struct error *err) {
    size_t n = t->n_slots ? 2 * t->n_slots : 64;
    void *slots;
    int r = mem_alloc(n * sizeof *t->slots, &slots, err);
    if (r < 0) return r;
    seam_free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    for (size_t i = 0; i < t->n; i++) *slot_of(t, BYTES_OF(t->of[i].name, t->of[i].name_bytes)) = (uint32_t)i + 1;
    return 0;
}

int sums_add(struct sums *t, struct bytes name, struct hash128 h, struct error *err) {
    void *copy;
    int r = 2 * t->n >= t->n_slots ? widen(t, err) : 0;
    if (r < 0) return r;
    uint32_t *slot = slot_of(t, name);
    if (*slot == 0) {
        r = mem_grow((void **)&t->of, &t->cap, t->n + 1, sizeof *t->of, err);
        if (r == 0) r = mem_dup(name.ptr, name.len, &copy, err);
        if (r < 0) return r;
        t->of[t->n++] = (struct sums_row){.name = copy, .name_bytes = name.len};
        *slot = (uint32_t)t->n;
    }
    struct sums_row *row = &t->of[*slot - 1];
    row->count++;
    hash128_add(&row->sum, h);
    return 0;
}

bool sums_has(const struct sums *t, struct bytes name) {
    return t->n_slots && *slot_of(t, name) != 0;
}

void graph_count_free(struct graph_count *c) {
    sums_free(&c->labels);
    sums_free(&c->types);
}

int graph_count_node(struct graph_count *c, struct bytes labels, struct bytes labels_and_properties,
                     uint64_t *ret_stands_for, struct error *err) {
    struct hash128 h = mix_bytes(labels_and_properties);
    struct ps_in in = ps_of(labels);
    struct ps_value list, name;
    int r = ps_need(&in, PACK_LIST, "the labels", &list, err);
    for (uint32_t i = 0; r == 0 && i < list.count; i++) {
        r = ps_need(&in, PACK_TEXT, "a label", &name, err);
        if (r == 0) r = sums_add(&c->labels, name.text, h, err);
    }
    if (r < 0) return r;
    c->unlabelled += list.count == 0;
    c->nodes++;
    hash128_add(&c->node_sum, h);
    *ret_stands_for = h.lo ? h.lo : 1;
    return 0;
}

int graph_count_relationship(struct graph_count *c, struct bytes type, struct bytes type_and_properties, uint64_t start,
                             uint64_t end, struct error *err) {
    struct mix m;
    mix_begin(&m);
    mix_u64(&m, start);
    mix_u64(&m, end);
    mix_part(&m, type_and_properties);
    struct hash128 h = mix_end(&m);
    int r = sums_add(&c->types, type, h, err);
    if (r < 0) return r;
    c->relationships++;
    hash128_add(&c->relationship_sum, h);
    return 0;
}

/* ---- invariants ---- */
static int put(json_t *out, const char *name, json_t *value, struct error *err) {
    json_t *v = value ? json_pack("{s:o, s:s}", "value", value, "expect", "equal") : NULL;
    return v ? json_put(out, name, v, err) : error_set(err, ERR_NO_MEMORY, "no memory");
}

static int put_pair(json_t *out, const char *name, uint64_t count, struct hash128 sum, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 20);
    char hex[33];
    int r = put(out, name, json_integer((json_int_t)count), err);
    if (r == 0) r = buf_printf(&text, err, "%s/digest", name);
    if (r == 0) r = buf_terminate(&text, err);
    hash128_hex(sum, hex);
    return r == 0 ? put(out, (const char *)text.ptr, json_string(hex), err) : r;
}

static int put_names(json_t *out, const char *kind, const struct sums *t, struct error *err) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        CLEANUP(buf_free) struct buf name = BUF_INIT(1u << 20);
        json_t *shown = json_name(BYTES_OF(t->of[i].name, t->of[i].name_bytes));
        if (!shown) return error_set(err, ERR_NO_MEMORY, "no memory");
        r = buf_printf(&name, err, "%s/%s", kind, json_string_value(shown));
        json_decref(shown);
        if (r == 0) r = buf_terminate(&name, err);
        if (r == 0) r = put_pair(out, (const char *)name.ptr, t->of[i].count, t->of[i].sum, err);
    }
    return r;
}

int graph_count_json(const struct graph_count *c, json_t *out, struct error *err) {
    char hex[33];
    int r = put_pair(out, "nodes", c->nodes, c->node_sum, err);
    if (r == 0) r = put_pair(out, "relationships", c->relationships, c->relationship_sum, err);
    if (r == 0) r = put(out, "unlabelled", json_integer((json_int_t)c->unlabelled), err);
    if (r == 0) r = put_names(out, "label", &c->labels, err);
    if (r == 0) r = put_names(out, "type", &c->types, err);
    if (r == 0) r = put(out, "schema/constraints", json_integer((json_int_t)c->constraints), err);
    if (r == 0) r = put(out, "schema/indexes", json_integer((json_int_t)c->indexes), err);
    hash128_hex(c->schema_sum, hex);
    return r == 0 ? put(out, "schema/digest", json_string(hex), err) : r;
}
