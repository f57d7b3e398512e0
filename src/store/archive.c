#include "store/archive.h"
#include "base/time.h"
#include "store/store.h"

#define MINUTES(n) ((n)*60 * NS_PER_S)
#define HOURS(n) ((n)*3600 * NS_PER_S)

const char *store_tier_name(enum store_tier t) {
    static const char *const names[] = {"expedited", "standard", "bulk"};
    return (unsigned)t < STORE_TIERS ? names[t] : "none";
}

int64_t store_thaw_ns(enum store_depth d, enum store_tier t) {
    static const int64_t longest[][STORE_TIERS] = {
        [STORE_DEPTH_NONE] = {0, 0, 0},
        [STORE_DEPTH_COLD] = {MINUTES(5), HOURS(5), HOURS(12)},
        [STORE_DEPTH_DEEP] = {0, HOURS(12), HOURS(48)},
    };
    return (unsigned)t < STORE_TIERS ? longest[d][t] : 0;
}

void store_set_cold(struct store *s, const char *prefix) {
    s->cold = prefix;
}

bool store_is_cold(const struct store *s, const char *key) {
    return s->cold && strncmp(key, s->cold, strlen(s->cold)) == 0;
}

bool store_has_archive(const struct store *s) {
    return s->ops->archive != NULL;
}

enum store_depth store_cold_depth(struct store *s) {
    return s->ops->archive ? s->ops->archive->writes(s) : STORE_DEPTH_NONE;
}

int store_look_cold(struct store *s, const char *key, struct store_coldness *ret, struct error *err) {
    if (s->ops->archive && store_key_valid(key)) return s->ops->archive->look(s, key, ret, err);
    *ret = (struct store_coldness){.name = "STANDARD"};
    return store_stat(s, key, NULL, NULL, err);
}

int store_thaw(struct store *s, const char *key, const struct store_coldness *c, enum store_tier tier, unsigned days,
               struct error *err) {
    if (!s->ops->archive || c->depth == STORE_DEPTH_NONE) return 0;
    if (!store_key_valid(key)) return error_set(err, ERR_STORE_KEY, "'%.64s' cannot be the name of an object", key);
    if (store_thaw_ns(c->depth, tier) == 0) {
        error_set(err, ERR_S3_TIER, "%s is not brought back in the tier %s by any server", c->name,
                  store_tier_name(tier));
        return error_next(err, "Take the tier standard or bulk.");
    }
    return s->ops->archive->thaw(s, key, c, tier, days, err);
}
