#include "cli/picture.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define FIRST 15 /* column of the first lane, right of the time */
#define NEXT  15 /* from the first lane (the client's) to the second */
#define TAIL  18 /* right of the last one, for what happens there */
#define GAP   26 /* between two lanes at most */

int picture_lane(struct picture *p, const char *head, const char *under)
{
    if (p->lanes == PICTURE_LANES) return -1;
    struct picture_lane *l = &p->lane[p->lanes];
    snprintf(l->head[0], sizeof l->head[0], "%s", head);
    snprintf(l->head[1], sizeof l->head[1], "%s", under);
    return (int)p->lanes++;
}

void picture_event(struct picture *p, double us, int from, int to, const char *text)
{
    if (from == -1 || to == -1) return; /* a lane without room */
    ASSERT(from == PICTURE_EVERYWHERE || ((size_t)from < p->lanes && (size_t)to < p->lanes));
    if ((p->events & (p->events - 1)) == 0) /* 1, 2, 4, ... */
        p->event = mem_realloc(p->event, (p->events ? 2 * p->events : 1) * sizeof *p->event);
    size_t i = p->events++;
    for (; i > 0 && p->event[i - 1].us > us; i--) p->event[i] = p->event[i - 1];
    p->event[i] = (struct picture_event){.us = us, .from = from, .to = to};
    snprintf(p->event[i].text, sizeof p->event[i].text, "%s", text);
}

void picture_deinit(struct picture *p)
{
    mem_free(p->event);
}

/* ---- drawing ---- */

static void place_lanes(struct picture *p)
{
    size_t gap = p->lanes > 2 ? (PICTURE_WIDTH - FIRST - NEXT - TAIL) / (p->lanes - 2) : GAP;
    if (gap > GAP) gap = GAP;
    for (size_t i = 0; i < p->lanes; i++) p->lane[i].x = i ? FIRST + NEXT + (i - 1) * gap : FIRST;
}

static void put(char *row, size_t at, const char *text, size_t most)
{
    size_t size = strlen(text);
    if (size > most) size = most;
    if (at + size > PICTURE_WIDTH) size = PICTURE_WIDTH - at;
    memcpy(row + at, text, size);
}

static void put_row(struct buf *out, const char *row)
{
    size_t size = PICTURE_WIDTH;
    while (size && row[size - 1] == ' ') size--;
    buf_append(out, row, size);
    buf_u8(out, '\n');
}

static void put_heads(const struct picture *p, struct buf *out)
{
    for (size_t h = 0; h < 2; h++) {
        char row[PICTURE_WIDTH];
        memset(row, ' ', sizeof row);
        if (h == 0) put(row, 8, "ms", 2);
        for (size_t i = 0; i < p->lanes; i++) {
            size_t size = strlen(p->lane[i].head[h]);
            put(row, p->lane[i].x - size / 2, p->lane[i].head[h], size);
        }
        put_row(out, row);
    }
}

/* The label stands where the arrow begins: that is the side to read it from. */
static void put_arrow(char *row, size_t from, size_t to, const char *text)
{
    size_t lo = from < to ? from : to, hi = from < to ? to : from, room = hi - lo - 1;
    size_t size = strlen(text);
    if (size + 6 > room) size = room - 6;
    memset(row + lo + 1, '-', room);
    if (from < to) {
        row[hi - 1] = '>';
        row[lo + 3] = ' ';
        put(row, lo + 4, text, size);
        row[lo + 4 + size] = ' ';
    } else {
        row[lo + 1] = '<';
        row[hi - 3] = ' ';
        put(row, hi - 3 - size, text, size);
        row[hi - 4 - size] = ' ';
    }
}

static void put_everywhere(const struct picture *p, char *row, const char *text)
{
    size_t lo = p->lane[0].x, hi = p->lane[p->lanes - 1].x;
    memset(row + lo, '=', hi - lo + 1);
    row[lo + 3] = ' ';
    put(row, lo + 4, text, hi - lo - 8);
    size_t size = strlen(text) < hi - lo - 8 ? strlen(text) : hi - lo - 8;
    row[lo + 4 + size] = ' ';
}

static void put_event(const struct picture *p, const struct picture_event *e, struct buf *out)
{
    char row[PICTURE_WIDTH], time[24];
    memset(row, ' ', sizeof row);
    int size = snprintf(time, sizeof time, "%10.2f", e->us / 1000);
    put(row, 0, time, (size_t)size);
    for (size_t i = 0; i < p->lanes; i++) row[p->lane[i].x] = '|';
    if (e->from == PICTURE_EVERYWHERE) {
        put_everywhere(p, row, e->text);
    } else if (e->from == e->to) {
        size_t x = p->lane[e->to].x, next = (size_t)e->to + 1;
        size_t most = next < p->lanes ? p->lane[next].x - x - 3 : PICTURE_WIDTH - x - 2;
        put(row, x + 2, e->text, most);
    } else {
        put_arrow(row, p->lane[e->from].x, p->lane[e->to].x, e->text);
    }
    put_row(out, row);
}

void picture_draw(struct picture *p, struct buf *out)
{
    ASSERT(p->lanes > 0);
    place_lanes(p);
    put_heads(p, out);
    for (size_t i = 0; i < p->events; i++) put_event(p, &p->event[i], out);
}
