#include "evidence/levels.h"

static const struct {
    const char *name, *method;
} rungs[] = {
    [VERIFY_NONE] = {"none", NULL},
    [VERIFY_PRESENT] = {"present", NULL},
    [VERIFY_CHECKSUM] = {"checksum", "checksum"},
    [VERIFY_DECODE] = {"decode", "checksum"},
    [VERIFY_SPOT] = {"spot", "spot_restore"},
    [VERIFY_FULL] = {"full", "full_restore_test"},
    [VERIFY_REBUILD] = {"rebuild", "full_restore_test"},
};

const char *level_name(enum verify_level l) {
    return rungs[l].name;
}
const char *level_method(enum verify_level l) {
    return rungs[l].method;
}

const char *verification_word(enum check_result r) {
    static const char *const words[] = {[CHECK_NOT_CHECKED] = "NOT_CHECKED",
                                        [CHECK_VERIFIED] = "VERIFIED",
                                        [CHECK_MISSING] = "MISSING",
                                        [CHECK_CORRUPT] = "CORRUPT",
                                        [CHECK_UNREADABLE] = "UNREADABLE"};
    return words[r];
}

const char *verification_outcome(const struct verification_result *v) {
    if (v->result != CHECK_VERIFIED || v->findings) return "FAILED";
    return v->warnings ? "WARNED" : "PASSED";
}

bool verification_validates(const struct verification_result *v) {
    return v->result == CHECK_VERIFIED && v->findings == 0 && level_method(v->level) != NULL;
}
