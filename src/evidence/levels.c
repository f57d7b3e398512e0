#include "evidence/levels.h"

static const struct {
    const char *name, *method, *text;
} rungs[] = {
    [VERIFY_NONE] = {"none", NULL, "nothing was checked"},
    [VERIFY_PRESENT] = {"present", NULL, "every object is there and has its size"},
    [VERIFY_CHECKSUM] = {"checksum", "checksum", "every object's bytes have the digest in its name"},
    [VERIFY_DECODE] = {"decode", "checksum", "every chunk opens, decodes and has its id"},
    [VERIFY_SPOT] = {"spot", "spot_restore", "a sample was restored and compared"},
    [VERIFY_FULL] = {"full", "full_restore_test", "everything was restored into a scratch place and compared"},
    [VERIFY_REBUILD] = {"rebuild", "full_restore_test",
                        "a runtime store was rebuilt from restored artifacts and compared"},
};
#define RUNGS (sizeof(rungs) / sizeof(*rungs))

const char *level_name(enum verify_level l) {
    return rungs[l].name;
}
const char *level_text(enum verify_level l) {
    return rungs[l].text;
}
const char *level_method(enum verify_level l) {
    return rungs[l].method;
}

bool level_parse(const char *s, enum verify_level *ret) {
    for (size_t i = VERIFY_PRESENT; i < RUNGS; i++)
        if (strcmp(s, rungs[i].name) == 0) {
            *ret = (enum verify_level)i;
            return true;
        }
    return false;
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
