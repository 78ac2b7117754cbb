#include "store/table.h"

#include "base/assert.h"
#include "base/mem.h"
#include "store/tree.h"

/* A pending wipe, or a wipe or trash record that a flush will carry. */
struct mark {
    uint64_t position;
    uint8_t *prefix; /* owned */
    size_t prefix_size;
};

struct marks {
    struct mark *list;
    size_t count, capacity;
};

struct table {
    struct tree tree;
    struct slab slab;
    uint64_t applied, last;  /* last: the highest position written */
    struct record **pending; /* in the order of the calls: [pending_first, pending_end) */
    size_t pending_first, pending_end, pending_capacity;
    struct marks wipes, trash; /* positions never fall; of applied wipes only the newest is kept */
    struct buf hi;             /* not empty: wipes concern keys below it (table_narrow) */
    uint64_t *kept;            /* positions that are read, in no order */
    size_t kept_count;
    bool frozen, disowned;
    bool ever_kept; /* versions that nobody reads any more may be left */
};

struct table *table_new(uint64_t applied)
{
    struct table *t = mem_zalloc(sizeof *t);
    slab_init(&t->slab);
    t->tree.slab = &t->slab;
    t->applied = t->last = applied;
    return t;
}

static void marks_truncate(struct marks *m, size_t count)
{
    ASSERT(count <= m->count);
    while (m->count > count) mem_free(m->list[--m->count].prefix);
}

static void marks_push(struct marks *m, uint64_t position, struct bytes prefix)
{
    ASSERT(m->count == 0 || m->list[m->count - 1].position <= position);
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? m->capacity * 2 : 4;
        m->list = mem_realloc(m->list, m->capacity * sizeof *m->list);
    }
    m->list[m->count++] = (struct mark){
        position, prefix.size ? mem_dup(prefix.data, prefix.size) : NULL, prefix.size};
}

/* Drops those of the first `count` whose prefix lies below `hi` (empty: all). */
static void marks_drop_front(struct marks *m, size_t count, struct bytes hi)
{
    size_t kept = 0;
    if (count == 0) return;
    for (size_t i = 0; i < m->count; i++) {
        struct mark k = m->list[i];
        if (i >= count || (hi.size && bytes_compare(bytes_of(k.prefix, k.prefix_size), hi) >= 0))
            m->list[kept++] = k;
        else
            mem_free(k.prefix);
    }
    m->count = kept;
}

/* How many lie at or below a position. */
static size_t marks_upto(const struct marks *m, uint64_t position)
{
    size_t count = m->count;
    while (count > 0 && m->list[count - 1].position > position) count--;
    return count;
}

static void marks_deinit(struct marks *m)
{
    marks_truncate(m, 0);
    mem_free(m->list);
}

static void table_end(struct table *t)
{
    if (!t->disowned || t->kept_count) return;
    marks_deinit(&t->wipes);
    marks_deinit(&t->trash);
    buf_deinit(&t->hi);
    mem_free(t->pending);
    mem_free(t->kept);
    slab_deinit(&t->slab);
    mem_free(t);
}

void table_free(struct table *t)
{
    if (!t) return;
    t->frozen = t->disowned = true;
    table_end(t);
}

void table_keep(struct table *t, uint64_t position)
{
    ASSERT(position >= t->applied || t->frozen);
    t->kept = mem_realloc(t->kept, (t->kept_count + 1) * sizeof *t->kept);
    t->kept[t->kept_count++] = position;
    t->ever_kept = true;
}

void table_unkeep(struct table *t, uint64_t position)
{
    size_t i = 0;
    while (i < t->kept_count && t->kept[i] != position) i++;
    ASSERT(i < t->kept_count);
    t->kept[i] = t->kept[--t->kept_count];
    table_end(t);
}

bool table_is_frozen(const struct table *t)
{
    return t->frozen;
}

/* ---- records and their chains ---- */

static size_t record_bytes(bool has_older, size_t key_size, size_t value_size)
{
    return sizeof(struct record) + (has_older ? sizeof(void *) : 0) + key_size + value_size;
}

static struct record *record_older(const struct record *r)
{
    struct record *older = NULL;
    if (r->has_older) memcpy(&older, r + 1, sizeof(void *));
    return older;
}

static void record_set_older(struct record *r, struct record *older)
{
    ASSERT(r->has_older);
    memcpy(r + 1, &older, sizeof(void *));
}

static struct record *record_new(struct table *t, uint64_t position, struct bytes key,
                                 struct bytes value, bool deleted, struct record *older)
{
    ASSERT(key.size < 1u << 30 && value.size <= UINT32_MAX);
    struct record *r = slab_alloc(&t->slab, record_bytes(older, key.size, value.size));
    *r = (struct record){.position = position,
                         .value_size = (uint32_t)value.size,
                         .key_size = (uint32_t)key.size & 0x3fffffff,
                         .has_older = older != NULL,
                         .deleted = deleted};
    if (older) record_set_older(r, older);
    uint8_t *at = record_key_at(r);
    if (key.size) memcpy(at, key.data, key.size);
    if (value.size) memcpy(at + key.size, value.data, value.size);
    return r;
}

static void record_free(struct table *t, struct record *r)
{
    slab_free(&t->slab, r, record_bytes(r->has_older, r->key_size, r->value_size));
}

/* Does somebody read at a position in [from, to)? */
static bool is_kept(const struct table *t, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < t->kept_count; i++)
        if (t->kept[i] >= from && t->kept[i] < to) return true;
    return false;
}

/* What lies below an applied version is needed no more, but by who reads where it was the newest.
 */
static void record_free_older(struct table *t, struct record *r)
{
    struct record *older = record_older(r);
    if (!older) return;
    while (older) {
        struct record *next = record_older(older);
        if (is_kept(t, older->position, r->position)) {
            record_set_older(r, older);
            r = older;
        } else {
            record_free(t, older);
        }
        older = next;
    }
    if (r->has_older) record_set_older(r, NULL);
}

static void pending_push(struct table *t, struct record *r)
{
    if (t->pending_first == t->pending_end) t->pending_first = t->pending_end = 0;
    if (t->pending_end == t->pending_capacity) {
        size_t count = t->pending_end - t->pending_first;
        if (count > t->pending_capacity / 2 || count == t->pending_capacity) {
            t->pending_capacity = t->pending_capacity ? t->pending_capacity * 2 : 64;
            t->pending = mem_realloc(t->pending, t->pending_capacity * sizeof *t->pending);
        } else {
            memmove(t->pending, t->pending + t->pending_first, count * sizeof *t->pending);
            t->pending_first = 0;
            t->pending_end = count;
        }
    }
    t->pending[t->pending_end++] = r;
}

/* ---- writing ---- */

/* Whether the newest version may simply take the new bytes: written by the same entry, and of equal
 * room. */
static bool record_fits(const struct record *r, uint64_t position, struct bytes value)
{
    size_t old_bytes = record_bytes(r->has_older, r->key_size, r->value_size);
    size_t new_bytes = record_bytes(r->has_older, r->key_size, value.size);
    return r->position == position && slab_room(old_bytes) == slab_room(new_bytes);
}

/* Puts a version on top of the chain in `slot`. */
static void version_push(struct table *t, struct record **slot, uint64_t position, struct bytes key,
                         struct bytes value, bool deleted)
{
    struct record *top = *slot;
    ASSERT(!top || top->position <= position);
    if (top && record_fits(top, position, value)) {
        if (value.size) memmove(record_key_at(top) + top->key_size, value.data, value.size);
        top->value_size = (uint32_t)value.size;
        top->deleted = deleted;
        return;
    }
    struct record *r = record_new(t, position, key, value, deleted, top);
    *slot = r;
    if (position > t->applied)
        pending_push(t, r);
    else
        record_free_older(t, r);
}

static void table_note(struct table *t, uint64_t position)
{
    ASSERT(position > 0 && position >= t->last);
    t->last = position;
}

static void table_write(struct table *t, uint64_t position, struct bytes key, struct bytes value,
                        bool deleted)
{
    table_note(t, position);
    version_push(t, tree_insert(&t->tree, key), position, key, value, deleted);
}

void table_put(struct table *t, uint64_t position, struct bytes key, struct bytes value)
{
    table_write(t, position, key, value, false);
}

void table_del(struct table *t, uint64_t position, struct bytes key)
{
    table_write(t, position, key, (struct bytes){0}, true);
}

/* Of applied wipes only the newest counts, and trash from before it is gone with it. */
static void wipes_collapse(struct table *t)
{
    size_t applied = marks_upto(&t->wipes, t->applied);
    if (applied == 0 || t->ever_kept) return; /* who reads further back may be before the newest */
    uint64_t newest = t->wipes.list[applied - 1].position;
    marks_drop_front(&t->wipes, applied - 1, (struct bytes){0});
    marks_drop_front(&t->trash, marks_upto(&t->trash, newest - 1), buf_bytes(&t->hi));
}

void table_narrow(struct table *t, struct bytes hi)
{
    ASSERT(hi.size > 0 && (t->hi.size == 0 || bytes_compare(hi, buf_bytes(&t->hi)) <= 0));
    buf_clear(&t->hi);
    buf_append_bytes(&t->hi, hi);
}

static bool table_concerns(const struct table *t, struct bytes key)
{
    return t->hi.size == 0 || bytes_compare(key, buf_bytes(&t->hi)) < 0;
}

void table_wipe(struct table *t, uint64_t position)
{
    table_note(t, position);
    for (struct tree_leaf *l = t->tree.first; l; l = l->next) {
        for (unsigned i = 0; i < l->node.count; i++) {
            struct record **slot = &l->node.record[i];
            if (!(*slot)->deleted && table_concerns(t, record_key(*slot)))
                version_push(t, slot, position, record_key(*slot), (struct bytes){0}, true);
        }
    }
    marks_push(&t->wipes, position, (struct bytes){0});
    wipes_collapse(t);
}

void table_trash(struct table *t, uint64_t position, struct bytes prefix)
{
    ASSERT(prefix.size > 0);
    table_note(t, position);
    marks_push(&t->trash, position, prefix);
}

void table_set_applied(struct table *t, uint64_t position)
{
    ASSERT(position >= t->applied);
    t->applied = position;
    if (t->last < position) t->last = position;
    while (t->pending_first < t->pending_end && t->pending[t->pending_first]->position <= position)
        record_free_older(t, t->pending[t->pending_first++]);
    if (t->wipes.count) wipes_collapse(t);
}

/* Newest first, so that each one met is the top of its chain. */
void table_drop_pending(struct table *t)
{
    while (t->pending_end > t->pending_first) {
        struct record *r = t->pending[--t->pending_end], *older = record_older(r);
        struct record **slot = tree_find(&t->tree, record_key(r));
        ASSERT(slot && *slot == r && r->position > t->applied);
        if (older)
            *slot = older;
        else
            tree_remove(&t->tree, record_key(r));
        record_free(t, r);
    }
    marks_truncate(&t->wipes, marks_upto(&t->wipes, t->applied));
    marks_truncate(&t->trash, marks_upto(&t->trash, t->applied));
    t->last = t->applied;
}

/* The deletions that a pending wipe wrote over this table's keys come along as ordinary versions:
 * they change nothing above the wipe, which hides this whole table from the new one. */
struct table *table_split_pending(struct table *t)
{
    struct table *young = table_new(t->applied);
    for (size_t i = t->pending_first; i < t->pending_end; i++) {
        struct record *r = t->pending[i];
        table_write(young, r->position, record_key(r), record_value(r), r->deleted);
    }
    for (size_t i = marks_upto(&t->wipes, t->applied); i < t->wipes.count; i++)
        marks_push(&young->wipes, t->wipes.list[i].position, (struct bytes){0});
    for (size_t i = marks_upto(&t->trash, t->applied); i < t->trash.count; i++)
        marks_push(&young->trash, t->trash.list[i].position,
                   bytes_of(t->trash.list[i].prefix, t->trash.list[i].prefix_size));
    young->last = t->last;
    table_drop_pending(t);
    t->frozen = true;
    return young;
}

/* ---- reading ---- */

enum table_found table_get(const struct table *t, struct bytes key, struct bytes *value,
                           uint64_t *position)
{
    struct record **slot = tree_find(&t->tree, key);
    if (!slot) return TABLE_NONE;
    if (position) *position = (*slot)->position;
    if ((*slot)->deleted) return TABLE_DELETED;
    *value = record_value(*slot);
    return TABLE_VALUE;
}

uint64_t table_wiped(const struct table *t, uint64_t upto)
{
    size_t count = marks_upto(&t->wipes, upto);
    return count ? t->wipes.list[count - 1].position : 0;
}

size_t table_trashed(const struct table *t, uint64_t upto, struct bytes *list)
{
    size_t count = marks_upto(&t->trash, upto);
    for (size_t i = 0; list && i < count; i++)
        list[i] = bytes_of(t->trash.list[i].prefix, t->trash.list[i].prefix_size);
    return count;
}

bool table_has_applied(const struct table *t)
{
    if (marks_upto(&t->wipes, t->applied) || marks_upto(&t->trash, t->applied)) return true;
    size_t keys = 0; /* with nothing but pending versions: each has one that is the oldest */
    if (t->tree.keys > t->pending_end - t->pending_first) return true;
    for (size_t i = t->pending_first; i < t->pending_end; i++) {
        struct record *older = record_older(t->pending[i]);
        if (older && older->position <= t->applied) return true;
        keys += !older;
    }
    return t->tree.keys > keys;
}

bool table_has_pending(const struct table *t)
{
    return t->last > t->applied;
}

uint64_t table_keys(const struct table *t)
{
    return t->tree.keys;
}

size_t table_bytes(const struct table *t)
{
    return sizeof *t + t->slab.bytes + t->pending_capacity * sizeof *t->pending +
           (t->wipes.capacity + t->trash.capacity) * sizeof(struct mark);
}

void table_seek(const struct table *t, struct bytes key, uint64_t upto, struct table_cursor *c)
{
    *c = (struct table_cursor){.table = t, .upto = upto};
    c->leaf = tree_seek(&t->tree, key, &c->at);
}

/* The version a cursor sees of a chain. */
static enum table_found cursor_see(const struct table_cursor *c, const struct record *r,
                                   struct bytes *key, struct bytes *value)
{
    while (r && r->position > c->upto) r = record_older(r);
    if (!r) return TABLE_NONE;
    *key = record_key(r);
    *value = r->deleted ? (struct bytes){0} : record_value(r);
    return r->deleted ? TABLE_DELETED : TABLE_VALUE;
}

enum table_found table_next(struct table_cursor *c, struct bytes *key, struct bytes *value)
{
    const struct tree_leaf *leaf = c->leaf;
    while (leaf) {
        if (c->at == leaf->node.count) {
            if (!leaf->next) return TABLE_NONE;
            c->leaf = leaf = leaf->next;
            c->at = 0;
            continue;
        }
        enum table_found found = cursor_see(c, leaf->node.record[c->at++], key, value);
        if (found != TABLE_NONE) return found;
    }
    return TABLE_NONE;
}

enum table_found table_prev(struct table_cursor *c, struct bytes *key, struct bytes *value)
{
    const struct tree_leaf *leaf = c->leaf;
    while (leaf) {
        if (c->at == 0) {
            if (!leaf->prev) return TABLE_NONE;
            c->leaf = leaf = leaf->prev;
            c->at = leaf->node.count;
            continue;
        }
        enum table_found found = cursor_see(c, leaf->node.record[--c->at], key, value);
        if (found != TABLE_NONE) return found;
    }
    return TABLE_NONE;
}

void table_check(const struct table *t)
{
    tree_check(&t->tree);
    uint64_t pending = 0;
    for (const struct tree_leaf *l = t->tree.first; l; l = l->next) {
        for (unsigned i = 0; i < l->node.count; i++) {
            const struct record *r = l->node.record[i];
            ASSERT(r && r->position <= t->last);
            while (r && r->position > t->applied) {
                const struct record *older = record_older(r);
                ASSERT(!older || (older->position <= r->position &&
                                  bytes_equal(record_key(older), record_key(r))));
                pending++;
                r = older;
            }
            ASSERT(!r || !record_older(r) || t->ever_kept); /* INV-TABLE-1 */
        }
    }
    ASSERT(pending == t->pending_end - t->pending_first);
    ASSERT(marks_upto(&t->wipes, t->applied) <= 1 || t->ever_kept);
}
