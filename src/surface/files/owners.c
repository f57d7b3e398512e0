#include "surface/files/owners.h"
#include "base/seam.h"
#include <grp.h>
#include <pwd.h>

#define USER 0
#define GROUP 1
#define ENTRY_BYTES 65536 /* of one line of the user or group database; groups may have many members */

struct owner {
    struct owner *next;
    uint32_t id;
    size_t len;
    char name[];
};

void owners_init(struct owners *o) {
    *o = (struct owners){0};
    pthread_mutex_init(&o->lock, NULL);
}

void owners_end(struct owners *o) {
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 0; i < OWNERS_BUCKETS; i++) {
            for (struct owner *w = o->by_id[kind][i], *next; w; w = next) {
                next = w->next;
                seam_free(w);
            }
            for (struct owner *w = o->by_name[kind][i], *next; w; w = next) {
                next = w->next;
                seam_free(w);
            }
        }
    }
    pthread_mutex_destroy(&o->lock);
}

static struct owner *owner_add(struct owner **at, uint32_t id, const void *name, size_t len) {
    struct owner *w = seam_alloc(sizeof *w + len + 1);
    if (!w) return NULL;
    *w = (struct owner){.next = *at, .id = id, .len = len};
    memcpy(w->name, name, len);
    w->name[len] = 0;
    *at = w;
    return w;
}

/* Without memory an id has no name for the moment, which costs nothing but the name. */
static struct bytes name_of(struct owners *o, int kind, uint32_t id) {
    struct owner **at = &o->by_id[kind][id % OWNERS_BUCKETS], *w;
    pthread_mutex_lock(&o->lock);
    for (w = *at; w && w->id != id; w = w->next) {}
    if (!w) {
        char *text = seam_alloc(ENTRY_BYTES);
        const char *name = "";
        struct passwd pw, *user = NULL;
        struct group gr, *group = NULL;
        if (text && kind == USER && getpwuid_r(id, &pw, text, ENTRY_BYTES, &user) == 0 && user) name = pw.pw_name;
        if (text && kind == GROUP && getgrgid_r(id, &gr, text, ENTRY_BYTES, &group) == 0 && group) name = gr.gr_name;
        w = owner_add(at, id, name, strlen(name));
        seam_free(text);
    }
    pthread_mutex_unlock(&o->lock);
    return w ? BYTES_OF(w->name, w->len) : (struct bytes){0};
}

static unsigned name_bucket(struct bytes name) {
    unsigned h = 5381;
    for (size_t i = 0; i < name.len; i++) h = h * 33 + name.ptr[i];
    return h % OWNERS_BUCKETS;
}

static uint32_t id_of(struct owners *o, int kind, struct bytes name, uint32_t id) {
    if (name.len == 0 || id == 0) return id;
    struct owner **at = &o->by_name[kind][name_bucket(name)], *w;
    pthread_mutex_lock(&o->lock);
    for (w = *at; w && !bytes_equal(BYTES_OF(w->name, w->len), name); w = w->next) {}
    if (!w) {
        w = owner_add(at, UINT32_MAX, name.ptr, name.len);
        char *text = seam_alloc(ENTRY_BYTES);
        struct passwd pw, *user = NULL;
        struct group gr, *group = NULL;
        if (w && text && kind == USER && getpwnam_r(w->name, &pw, text, ENTRY_BYTES, &user) == 0 && user)
            w->id = pw.pw_uid;
        if (w && text && kind == GROUP && getgrnam_r(w->name, &gr, text, ENTRY_BYTES, &group) == 0 && group)
            w->id = gr.gr_gid;
        seam_free(text);
    }
    uint32_t result = w && w->id != UINT32_MAX ? w->id : id;
    pthread_mutex_unlock(&o->lock);
    return result;
}

struct bytes owners_user(struct owners *o, uint32_t uid) {
    return name_of(o, USER, uid);
}
struct bytes owners_group(struct owners *o, uint32_t gid) {
    return name_of(o, GROUP, gid);
}
uint32_t owners_uid(struct owners *o, struct bytes name, uint32_t id) {
    return id_of(o, USER, name, id);
}
uint32_t owners_gid(struct owners *o, struct bytes name, uint32_t id) {
    return id_of(o, GROUP, name, id);
}
