#include "surface/files/tally.h"

#define TALLY_SLOTS (64u << 10)

int tally_init(struct tally *t, struct error *err) {
    *t = (struct tally){0};
    int rc = sha256_new(&t->hash, err);
    if (rc) return rc;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->room, NULL);
    return 0;
}

void tally_end(struct tally *t) {
    if (!t->hash) return;
    while (t->first) {
        struct tally_slot *s = t->first;
        t->first = s->next;
        s->release(s);
    }
    sha256_free(t->hash);
    t->hash = NULL;
    pthread_cond_destroy(&t->room);
    pthread_mutex_destroy(&t->lock);
}

static void item_add(struct tally *t, struct bytes name, enum file_type type, uint64_t size,
                     const struct digest *sha256) {
    uint8_t len[4], fixed[1 + 8 + DIGEST_BYTES];
    put_u32(len, (uint32_t)name.len);
    fixed[0] = (uint8_t)type;
    put_u64(fixed + 1, size);
    memcpy(fixed + 9, sha256->b, DIGEST_BYTES);
    sha256_update(t->hash, BYTES_OF(len, sizeof len));
    sha256_update(t->hash, name);
    sha256_update(t->hash, BYTES_OF(fixed, sizeof fixed));
    t->items++;
    if (type == FILE_REGULAR || type == FILE_HARDLINK) t->files++;
    if (type == FILE_REGULAR) t->bytes += size;
}

static void slot_append(struct tally *t, struct tally_slot *slot) {
    slot->next = NULL;
    if (t->first)
        t->last->next = slot;
    else
        t->first = slot;
    t->last = slot;
    t->waiting++;
}

void tally_add(struct tally *t, struct tally_slot *slot) {
    slot->state = TALLY_PENDING;
    pthread_mutex_lock(&t->lock);
    while (t->waiting >= TALLY_SLOTS) pthread_cond_wait(&t->room, &t->lock);
    slot_append(t, slot);
    pthread_mutex_unlock(&t->lock);
}

/* Takes in what is finished at the front; the lock is held. */
static void slots_take(struct tally *t) {
    while (t->first && t->first->state != TALLY_PENDING) {
        struct tally_slot *s = t->first;
        t->first = s->next;
        if (t->waiting-- == TALLY_SLOTS) pthread_cond_signal(&t->room);
        if (s->state == TALLY_DONE)
            item_add(t, s->name, s->type, s->size, &s->sha256);
        else
            t->dropped++;
        s->release(s);
    }
}

void tally_finish(struct tally *t, struct tally_slot *slot, bool dropped) {
    pthread_mutex_lock(&t->lock);
    slot->state = dropped ? TALLY_DROPPED : TALLY_DONE;
    slots_take(t);
    pthread_mutex_unlock(&t->lock);
}

static void copy_release(struct tally_slot *s) {
    seam_free(s);
}

int tally_put(struct tally *t, struct bytes name, enum file_type type, uint64_t size, const struct digest *sha256,
              struct error *err) {
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    if (t->first) {
        void *p;
        while (t->waiting >= TALLY_SLOTS) pthread_cond_wait(&t->room, &t->lock);
        rc = mem_alloc(sizeof(struct tally_slot) + name.len, &p, err);
        if (rc == 0) {
            struct tally_slot *s = p;
            memcpy(s + 1, name.ptr, name.len);
            *s = (struct tally_slot){.name = BYTES_OF(s + 1, name.len),
                                     .type = type,
                                     .size = size,
                                     .sha256 = *sha256,
                                     .state = TALLY_DONE,
                                     .release = copy_release};
            slot_append(t, s);
            slots_take(t);
        }
    } else {
        item_add(t, name, type, size, sha256);
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

static int invariant_put(json_t *all, const char *key, json_t *value, struct error *err) {
    json_t *one = json_object();
    int rc = json_put(one, "value", value, err);
    if (rc == 0) rc = json_put_str(one, "expect", "equal", err);
    if (rc == 0) return json_put(all, key, one, err);
    json_decref(one);
    return rc;
}

int tally_invariants(struct tally *t, json_t **ret, struct error *err) {
    struct digest d;
    char hex[2 * DIGEST_BYTES + 1];
    sha256_finish(t->hash, &d);
    hex_encode(d.b, DIGEST_BYTES, hex);
    json_t *all = json_object();
    int rc = invariant_put(all, "files", json_integer((json_int_t)t->files), err);
    if (rc == 0) rc = invariant_put(all, "bytes", json_integer((json_int_t)t->bytes), err);
    if (rc == 0) rc = invariant_put(all, "tree_sha256", json_string(hex), err);
    if (rc)
        json_decref(all);
    else
        *ret = all;
    return rc;
}

void tally_digest(const struct attr *a, uint64_t *ret_size, struct digest *ret) {
    uint8_t dev[8];
    *ret = (struct digest){0};
    *ret_size = 0;
    switch (a->type) {
    case FILE_LINK:
        *ret_size = a->target.len;
        sha256(a->target, ret);
        break;
    case FILE_HARDLINK:
        sha256(a->target, ret);
        break;
    case FILE_CHAR:
    case FILE_BLOCK:
        put_u32(dev, a->rdev_major);
        put_u32(dev + 4, a->rdev_minor);
        sha256(BYTES_OF(dev, sizeof dev), ret);
        break;
    case FILE_REGULAR:
    case FILE_FOLDER:
    case FILE_FIFO:
        break;
    }
}
