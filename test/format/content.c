#include "content.h"
#include "surface/files/attr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX 8000

static void *need(void *p) {
    if (!p) abort();
    return p;
}

static struct bytes copy(const void *p, size_t n) {
    uint8_t *to = need(malloc(n + 1));
    memcpy(to, p, n);
    return BYTES_OF(to, n);
}

static uint32_t next(uint32_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

static uint8_t *noise(size_t n, uint32_t seed) {
    uint8_t *p = need(malloc(n + 1));
    uint32_t s = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(next(&s) >> 11);
    return p;
}

/* Lines of words and numbers: compresses to about a third. */
static uint8_t *text(size_t n, uint32_t seed) {
    static const char *const words[] = {"order ", "paid ", "shipped ", "customer ", "total ",
                                        "of ",    "at ",   "row ",     "\n"};
    uint8_t *p = need(malloc(n + 1));
    uint32_t s = seed * 2654435761u + 1;
    for (size_t i = 0; i < n;) {
        uint32_t r = next(&s);
        for (const char *w = words[r % 9]; *w && i < n; w++) p[i++] = (uint8_t)*w;
        if (r % 3 == 0)
            for (int d = 0; d < 6 && i < n; d++) p[i++] = (uint8_t)('0' + next(&s) % 10);
    }
    return p;
}

/* What time does to a stream: some bytes are put in, some change. */
static struct bytes aged(uint8_t *p, size_t n, unsigned generation, bool shifts, size_t every) {
    uint8_t *to = need(malloc(n + 64));
    size_t put = 0;
    if (shifts && generation > 1) put = (size_t)snprintf((char *)to, 64, "generation %u came later\n", generation);
    memcpy(to + put, p, n);
    for (unsigned g = 2; g <= generation; g++)
        for (size_t i = 100 + 31 * g; i < n; i += every) to[put + i] ^= 1;
    free(p);
    return BYTES_OF(to, put + n);
}

static struct content *add(struct contents *c, struct bytes name, enum content_kind kind, struct bytes data) {
    if (c->count == ITEMS_MAX) abort();
    struct content *it = &c->items[c->count++];
    *it = (struct content){.name = name, .kind = kind, .data = data, .attr = copy("attr", 4)};
    return it;
}

static struct bytes named(const char *s) {
    return copy(s, strlen(s));
}

static void mixed(struct contents *c, unsigned g) {
    add(c, named("empty"), CONTENT_FILE, copy("", 0));
    add(c, named("file"), CONTENT_NONE, BYTES_OF(NULL, 0));
    add(c, named("file/large"), CONTENT_FILE, aged(text(3u << 20, 1), 3u << 20, g, false, 200000));
    add(c, named("file/small"), CONTENT_FILE, aged(text(9000, 2), 9000, g, false, 5000));
    struct content *lists = add(c, named("lists"), CONTENT_RECORDS, BYTES_OF(text(5000 * 24, 3 + g), 5000 * 24));
    lists->piece = 24;
    lists->hole = 4072;
    struct content *holes = add(c, named("holes"), CONTENT_FILE, BYTES_OF(noise(3 * 5000, 4), 3 * 5000));
    holes->piece = 5000;
    holes->hole = 1u << 20;
    for (unsigned i = 0; i < 6000; i++) {
        char name[64];
        snprintf(name, sizeof name, "names/%03u/%u-of-many", i / 100, i);
        struct content *it = add(c, named(name), CONTENT_NONE, BYTES_OF(NULL, 0));
        free((void *)(uintptr_t)it->attr.ptr);
        it->attr = BYTES_OF(noise(40 + i % 37, i + (i == 3000 ? g : 0)), 40 + i % 37);
    }
    add(c, named("noise"), CONTENT_OPAQUE, BYTES_OF(noise(700000, 5), 700000));
    add(c, named("pages"), CONTENT_PAGES, aged(text(2u << 20, 6), 2u << 20, g, false, 150000));
    struct content *parts = add(c, named("parts"), CONTENT_PARTS, aged(text(2u << 20, 8), 2u << 20, g, false, 150000));
    parts->piece = 900000; /* holes are zeros there */
    parts->hole = 77777;
    add(c, named("raw \xff\x01 name"), CONTENT_FILE, copy("a name that is not UTF-8", 24));
    add(c, named("records"), CONTENT_RECORDS, aged(text(4u << 20, 7), 4u << 20, g, true, 120000));
    c->facts = json_object();
    if (g == 2) { /* a root of several pieces */
        char *long_text = need(malloc(1300001));
        for (size_t i = 0; i < 1300000; i++) long_text[i] = (char)('a' + i * i % 26);
        long_text[1300000] = 0;
        json_object_set_new(c->facts, "long", json_string(long_text));
        free(long_text);
    }
}

static struct bytes attr_of(const struct attr *a) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(1u << 20);
    if (attr_encode(a, &b, &err) < 0) abort();
    struct bytes r = copy(b.ptr, b.len);
    buf_free(&b);
    return r;
}

static void leaf(struct contents *c, const char *name, struct attr a, struct bytes data, size_t piece, uint64_t hole) {
    static unsigned ino;
    bool file = a.type == FILE_REGULAR;
    a.uid = 1000;
    a.gid = 100;
    a.user = BYTES_STR("ann");
    a.group = BYTES_STR("users");
    a.dev = 2049;
    a.ino = 4000 + ++ino;
    a.nlink = a.nlink ? a.nlink : 1;
    a.ctime = (struct stamp){1760000000, 7};
    a.since_ns = INT64_C(1760000100000000000);
    a.size = file ? data.len + (hole ? data.len / piece * hole : 0) : 0;
    struct content *it = add(c, named(name), file ? CONTENT_FILE : CONTENT_NONE, data);
    it->piece = piece;
    it->hole = hole;
    free((void *)(uintptr_t)it->attr.ptr);
    it->attr = attr_of(&a);
}

static void tree(struct contents *c, unsigned g) {
    struct buf run = BUF_INIT(4096);
    struct error err = ERROR_INIT;
    struct bytes none = BYTES_OF(NULL, 0);
    const struct stamp then = {1750000000, 123456789};
#define STAMPED(t, m) (struct attr){.type = (t), .mode = (m), .mtime = then}
    leaf(c, "srv/artifacts", STAMPED(FILE_FOLDER, 02755), none, 0, 0);
    leaf(c, "srv/artifacts/caf\xe9", STAMPED(FILE_REGULAR, 0644), copy("latin-1, not UTF-8\n", 19), 0, 0);
    leaf(c, "srv/artifacts/empty", STAMPED(FILE_REGULAR, 0400), copy("", 0), 0, 0);
    struct attr hello = STAMPED(FILE_REGULAR, 0664);
    hello.nlink = 2;
    if (xattr_append(&run, BYTES_STR("user.note"), BYTES_STR("golden"), &err) < 0) abort();
    hello.xattrs = buf_bytes(&run);
    leaf(c, "srv/artifacts/hello.txt", hello, copy("hello, proofkeep\n", 17), 0, 0);
    struct attr hard = hello;
    hard.type = FILE_HARDLINK;
    hard.target = BYTES_STR("srv/artifacts/hello.txt");
    leaf(c, "srv/artifacts/hello-again.txt", hard, none, 0, 0);
    struct attr old = STAMPED(FILE_REGULAR, 0600);
    old.mtime = (struct stamp){-86400 * 400, 999999999};
    leaf(c, "srv/artifacts/notes", old, aged(text(9000, 11), 9000, g, false, 3000), 0, 0);
    struct attr sparse = STAMPED(FILE_REGULAR, 0644);
    sparse.flags = ATTR_SPARSE;
    leaf(c, "srv/artifacts/sparse.img", sparse, copy("0123456789abcdef", 16), 8, 100000);
    leaf(c, "srv/artifacts/sub", STAMPED(FILE_FOLDER, 0750), none, 0, 0);
    leaf(c, "srv/artifacts/sub/pipe", STAMPED(FILE_FIFO, 0620), none, 0, 0);
    struct attr link = STAMPED(FILE_LINK, 0777);
    link.target = BYTES_STR("../hello.txt");
    leaf(c, "srv/artifacts/sub/to-hello", link, none, 0, 0);
    char now[32];
    snprintf(now, sizeof now, "generation %u\n", g);
    leaf(c, "srv/artifacts/version", STAMPED(FILE_REGULAR, 0644), named(now), 0, 0);
    buf_free(&run);
    c->facts = json_pack("{s:{s:[{s:s, s:s}], s:[], s:b}}", "facts", "roots", "path", "/srv/artifacts", "type",
                         "folder", "exclude", "one_file_system", 0);
}

static int order(const void *a, const void *b) {
    return name_compare(((const struct content *)a)->name, ((const struct content *)b)->name);
}

void contents_make(const char *set, unsigned g, struct contents *c) {
    *c = (struct contents){.items = need(calloc(ITEMS_MAX, sizeof *c->items))};
    if (strcmp(set, "mixed") == 0) {
        mixed(c, g);
    } else if (strcmp(set, "tree") == 0) {
        tree(c, g);
    } else if (strcmp(set, "log") == 0) {
        add(c, named("records"), CONTENT_RECORDS, aged(text(12000, 21), 12000, g, true, 4000));
        c->facts = json_object();
    } else if (strcmp(set, "small") == 0) {
        char now[32];
        snprintf(now, sizeof now, "small %u", g);
        add(c, named("small"), CONTENT_FILE, named(now));
        c->facts = json_object();
    } else {
        fprintf(stderr, "there is no set '%s'\n", set);
        exit(2);
    }
    if (!c->facts) abort();
    qsort(c->items, c->count, sizeof *c->items, order);
}

void contents_free(struct contents *c) {
    for (size_t i = 0; i < c->count; i++) {
        free((void *)(uintptr_t)c->items[i].name.ptr);
        free((void *)(uintptr_t)c->items[i].attr.ptr);
        free((void *)(uintptr_t)c->items[i].data.ptr);
    }
    free(c->items);
    json_decref(c->facts);
    *c = (struct contents){0};
}
