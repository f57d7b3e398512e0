/* Which commit of which repository a file belongs to, read from git's own files (gitrepository-layout(5)); no program is run,
 * so that neither a hook nor an owner check of git's has a say. */
#ifndef PK_WORK_GIT_H
#define PK_WORK_GIT_H

#define GIT_TEXT 1024

struct git_origin {
    char sha[72];         /* of HEAD, 40 or 64 digits; empty when there is none yet */
    char repo[GIT_TEXT];  /* the URL of the remote "origin", else the work tree's folder */
};
/* Both empty when `file` lies in no work tree, or when git's files are not understood: this is never a reason to fail. */
void git_origin_of(const char *file, struct git_origin *ret);

#endif
