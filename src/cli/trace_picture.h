/* The reply of TRACE as a picture that a person can follow (cli/picture.h). The lines that it reads
 * are described in node/trace.c and node/txn_trace.c. */
#ifndef SYNOD_CLI_TRACE_PICTURE_H
#define SYNOD_CLI_TRACE_PICTURE_H

#include "base/buf.h"
#include "cli/client.h"

/* Appends the picture to `out`, with `name` (the command's) at the first arrow, and a line of
 * totals. False, and nothing is appended: it is no such reply. */
bool trace_picture(const struct client_reply *r, const char *name, struct buf *out);

#endif
