/* LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN], whose row stands with the other
 * strings' (strings.c). */
#ifndef SYNOD_REDIS_LCS_H
#define SYNOD_REDIS_LCS_H

#include "redis/command.h"

void lcs_command(struct view *v, const struct cmd_args *a, struct reply *out);

#endif
