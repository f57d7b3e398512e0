#include "platform/config_internal.h"
#include "platform/policy.h"

int config_dump(const struct config *c, json_t **ret, struct error *err) {
    json_t *dumped, *matrix;
    int rc = schema_dump(&schema_root, c, NULL, NULL, &dumped, err);
    if (rc < 0) return rc;
    json_auto_t *all = dumped;
    rc = policy_matrix(c, &matrix, err);
    if (rc == 0) rc = json_put(all, "effective_policy", matrix, err);
    if (rc < 0) return rc;
    *ret = json_incref(all);
    return 0;
}
