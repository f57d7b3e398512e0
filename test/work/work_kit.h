/* A repository of repo_kit and a configuration for it, opened as the use cases do: shared by the tests of work/. */
#ifndef PK_TEST_WORK_KIT_H
#define PK_TEST_WORK_KIT_H

#include "../repo/repo_kit.h"
#include "work/context.h"

struct work_kit {
    struct kit kit;
    struct work *work;
    char config[160], key_file[160];
};
/* `policy` is the YAML of environments.dev from "protected:" on, indented by four; NULL for none. */
void work_kit_begin(struct work_kit *k, const char *policy);
void work_kit_open(struct work_kit *k, const char *key_file); /* anew, with another key; NULL: the admin's */
void work_kit_end(struct work_kit *k);
/* One small snapshot of a surface; answers its place in the log. */
uint64_t work_kit_point(struct work_kit *k, const char *surface, size_t bytes, uint32_t seed);
/* What `seq` holds is what work_kit_point put there. */
void work_kit_expect(struct work_kit *k, uint64_t seq, size_t bytes, uint32_t seed);
void work_kit_verify(struct work_kit *k, uint64_t seq, enum verify_level level, bool passed);
const struct snapshot_info *work_kit_info(struct work_kit *k, uint64_t seq); /* as the repository says now */
/* A key file of that role in the kit's folder. */
void work_kit_key(struct work_kit *k, enum key_role role, char path[160]);

#define assert_fails(call, code_, ...)                                                                                 \
    do {                                                                                                               \
        struct error err = ERROR_INIT;                                                                                 \
        int got_ = (call);                                                                                             \
        if (got_ != -(code_)) fail_msg("%d (%s) instead of %s", got_, err.text, error_info(code_)->name);              \
        const char *const parts_[] = {__VA_ARGS__};                                                                    \
        for (size_t i_ = 0; i_ < sizeof parts_ / sizeof *parts_; i_++)                                                 \
            if (!strstr(err.text, parts_[i_])) fail_msg("'%s' is not in '%s'", parts_[i_], err.text);                  \
    } while (0)
#define assert_works(call)                                                                                             \
    do {                                                                                                               \
        struct error err = ERROR_INIT;                                                                                 \
        kit_ok((call), &err);                                                                                          \
    } while (0)

#endif
