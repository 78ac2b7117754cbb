/* A time line as text: who takes part stands side by side, time goes down, and what one says to
 * another is an arrow. Plain ASCII, at most PICTURE_WIDTH columns, the same for the same calls.
 *
 *         ms  client        node 1             group 3
 *                         coordinator       node 2 leads
 *       0.00    |-- MSET ---->|                  |
 *       0.01    |             |-- LOCK --------->|
 */
#ifndef SYNOD_CLI_PICTURE_H
#define SYNOD_CLI_PICTURE_H

#include "base/buf.h"

#define PICTURE_WIDTH 100
#define PICTURE_LANES 6

struct picture {
    struct picture_lane {
        char head[2][20];
        size_t x; /* column of its line */
    } lane[PICTURE_LANES];
    size_t lanes;
    struct picture_event {
        double us;
        int from, to;
        char text[PICTURE_WIDTH];
    } * event;
    size_t events;
};

/* {0} is empty. The lanes come first. What it returns counts from 0; -1: there is no room. */
int picture_lane(struct picture *p, const char *head, const char *under);
/* At this time, in us, one lane tells another; or, from == to, something happens there; or, from
 * < 0, to all of it. Events may come in any order; those of one time are drawn as they came. Lanes
 * that have no room (to < 0 <= from) are left out. */
void picture_event(struct picture *p, double us, int from, int to, const char *text);
#define PICTURE_EVERYWHERE (-2)
void picture_draw(struct picture *p, struct buf *out);
void picture_deinit(struct picture *p);

#endif
