/* The rows of the cluster map (ring/ring.h) as a command of the map reads and writes them: over the
 * view it is evaluated on, with one new epoch for all that it changes. Every check comes before the
 * first write. */
#ifndef SYNOD_REDIS_RING_ROWS_H
#define SYNOD_REDIS_RING_ROWS_H

#include "redis/types.h"
#include "ring/ring.h"

struct change {
    struct view *v;
    struct reply *out;
    struct ring_settings settings;
    bool changed; /* the settings are to be written, with a new epoch */
};

enum row_found { ROW_THERE, ROW_ABSENT, ROW_MISS };
enum row_found row_get(struct view *v, uint8_t type, uint32_t id, struct ring_row *row);
void row_put(struct change *c, struct ring_row *row);
void node_put(struct change *c, const struct ring_node *n);
void group_put(struct change *c, const struct ring_group *g);

/* False: missed, or there is no map yet (answered). */
bool change_begin(struct change *c, struct view *v, struct reply *out);
void change_end(struct change *c);
/* The node or group, or an error (answered), or a miss: false. */
bool node_of(struct change *c, int64_t id, struct ring_node *n);
bool group_of(struct change *c, int64_t id, struct ring_group *g);

/* Calls `each` for every node (group) row. False: missed. */
struct walk {
    void (*node)(void *ctx, const struct ring_node *n);
    void (*group)(void *ctx, const struct ring_group *g);
    void *ctx;
};
bool rows_walk(struct view *v, struct walk *w);

bool arg_is(const struct cmd_args *a, uint32_t i, const char *word);
bool arg_i64(struct change *c, const struct cmd_args *a, uint32_t i, int64_t *v);
/* One change of a group at a time: false, and answered, if there is one under way. */
bool group_is_free(struct change *c, const struct ring_group *g);

/* ring_merge.c */
void map_merge(struct view *v, const struct cmd_args *a, struct reply *out);
void map_sealed(struct view *v, const struct cmd_args *a, struct reply *out);
void map_open(struct view *v, const struct cmd_args *a, struct reply *out);
void map_merged(struct view *v, const struct cmd_args *a, struct reply *out);
/* A group that takes another over has changed its members: it goes back to where the other is. */
bool merge_hold_members(struct change *c, struct ring_group *g);

#endif
