/* Who this node is: the one thing that cannot be rebuilt from peers. File "identity", four
 * checksummed copies of one block each; a start needs two good copies (docs/FORMAT.md). */
#ifndef SYNOD_NODE_IDENTITY_H
#define SYNOD_NODE_IDENTITY_H

#include "base/io.h"
#include "node/node.h"

struct identity {
    uint64_t sequence; /* of this version of the file */
    uint64_t cluster;  /* hash of the founding list; 0: not joined yet */
    uint16_t node;     /* 1..; 0: not given yet (a node that is to join) */
    uint64_t
        disk; /* drawn when the directory was made; a disk that was lost comes back with another */
    uint64_t incarnation; /* rises at every start */
    uint32_t groups, replicas;
    bool founded;        /* every founding node has recorded my disk: I may take part */
    bool witness;        /* of this directory for ever: its replicas vote, and hold no data */
    uint16_t node_count; /* founding nodes; 0: this node joined, and the map says who there is */
    char address[NODE_FOUND_MAX + 1][64]; /* [1..]: their peer addresses */
    uint64_t disks[NODE_FOUND_MAX + 1];   /* [1..]: theirs, as first seen; 0: not yet */
};

enum identity_result { IDENTITY_FOUND, IDENTITY_NONE, IDENTITY_E_DAMAGED, IDENTITY_E_IO };

enum identity_result identity_load(struct io *io, struct identity *id);
/* Durable when it returns 0; else a negative errno. Blocking; rare. */
int identity_save(struct io *io, struct identity *id);

#endif
