#include "store/tree.h"

#include "base/assert.h"

struct tree_inner {
    struct tree_node node;
    struct tree_node *child[TREE_FAN + 1];
};

static struct tree_inner *inner_of(const struct tree_node *n)
{
    ASSERT(!n->leaf);
    return (struct tree_inner *)(uintptr_t)n;
}

static struct tree_leaf *leaf_of(const struct tree_node *n)
{
    ASSERT(n->leaf);
    return (struct tree_leaf *)(uintptr_t)n;
}

/* ---- searching within a node ---- */

static inline uint64_t head_of(struct bytes key, size_t skip)
{
    uint64_t head = 0;
    if (key.size >= skip + 8) {
        memcpy(&head, key.data + skip, 8);
        return __builtin_bswap64(head);
    }
    for (size_t i = skip; i < key.size; i++) head |= (uint64_t)key.data[i] << (56 - 8 * (i - skip));
    return head;
}

/* The key against the node's prefix: < 0 before all its keys, > 0 behind all, 0 shares it. */
static inline int prefix_compare(const struct tree_node *n, struct bytes key)
{
    if (key.size >= n->shared) return n->shared ? memcmp(key.data, n->prefix, n->shared) : 0;
    int order = key.size ? memcmp(key.data, n->prefix, key.size) : 0;
    return order ? order : -1;
}

/* First place whose head is not below h: no branch to mispredict. */
static inline unsigned head_lower(const struct tree_node *n, uint64_t h)
{
    unsigned base = 0, left = n->count;
    while (left > 1) {
        unsigned half = left / 2;
        base += n->head[base + half - 1] < h ? half : 0;
        left -= half;
    }
    return base + (left && n->head[base] < h);
}

/* First place whose key is >= key; *equal: it is this very key. */
static unsigned node_find(const struct tree_node *n, struct bytes key, bool *equal)
{
    *equal = false;
    int order = prefix_compare(n, key);
    if (order) return order < 0 ? 0 : n->count;

    uint64_t h = head_of(key, n->shared);
    unsigned low = head_lower(n, h);
    if (low == n->count || n->head[low] != h) return low;

    unsigned high = h == UINT64_MAX ? n->count : head_lower(n, h + 1);
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        order = bytes_compare(record_key(n->record[middle]), key);
        if (order == 0) {
            *equal = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A search in a cold node would wait for memory several times in a row; asked for together, it
 * comes in one wait. */
static inline void node_prefetch(const struct tree_node *n)
{
    for (size_t at = 0; at < sizeof *n; at += 64) __builtin_prefetch((const uint8_t *)n + at);
}

/* Which child of an inner node may hold the key: separators are the least key on their right. */
static inline struct tree_node *child_for(const struct tree_node *n, struct bytes key, unsigned *at)
{
    bool equal;
    *at = node_find(n, key, &equal);
    *at += equal;
    struct tree_node *child = inner_of(n)->child[*at];
    node_prefetch(child);
    return child;
}

/* ---- changing a node ---- */

/* Sets how much of the prefix is kept apart, and the heads that follow from it. */
static void node_share(struct tree_node *n, size_t shared)
{
    if (n->count && shared > 0) memcpy(n->prefix, record_key_at(n->record[0]), shared);
    n->shared = (uint8_t)shared;
    for (unsigned i = 0; i < n->count; i++) n->head[i] = head_of(record_key(n->record[i]), shared);
}

static size_t shared_size(struct bytes a, struct bytes b)
{
    size_t max = a.size < b.size ? a.size : b.size, i = 0;
    if (max > TREE_PREFIX_MAX) max = TREE_PREFIX_MAX;
    while (i < max && a.data[i] == b.data[i]) i++;
    return i;
}

/* After a split the keys are closer together and may share more. */
static void node_reshare(struct tree_node *n)
{
    if (n->count < 2) return;
    size_t shared = shared_size(record_key(n->record[0]), record_key(n->record[n->count - 1]));
    if (shared > n->shared) node_share(n, shared);
}

/* Makes room for the key at `at`; the record is not set yet. */
static void node_open(struct tree_node *n, unsigned at, struct bytes key)
{
    ASSERT(n->count < TREE_FAN && at <= n->count);
    if (n->count == 0) {
        n->shared = 0;
    } else if (prefix_compare(n, key)) {
        node_share(n, shared_size(bytes_of(n->prefix, n->shared), key));
    }
    memmove(n->head + at + 1, n->head + at, (n->count - at) * sizeof *n->head);
    memmove(n->record + at + 1, n->record + at, (n->count - at) * sizeof *n->record);
    n->head[at] = head_of(key, n->shared);
    n->record[at] = NULL;
    n->count++;
}

static void node_take_upper(struct tree_node *to, struct tree_node *from, unsigned first)
{
    to->shared = from->shared;
    memcpy(to->prefix, from->prefix, sizeof to->prefix);
    to->count = (uint16_t)(from->count - first);
    memcpy(to->head, from->head + first, to->count * sizeof *to->head);
    memcpy(to->record, from->record + first, to->count * sizeof *to->record);
    from->count = (uint16_t)first;
}

static struct tree_leaf *leaf_new(struct tree *t)
{
    struct tree_leaf *l = slab_alloc(t->slab, sizeof *l);
    l->node.count = 0;
    l->node.shared = 0;
    l->node.leaf = true;
    l->next = l->prev = NULL;
    return l;
}

static struct tree_inner *inner_new(struct tree *t)
{
    struct tree_inner *n = slab_alloc(t->slab, sizeof *n);
    n->node.count = 0;
    n->node.shared = 0;
    n->node.leaf = false;
    return n;
}

/* The shortest key that is above `left` and not above `right`. */
static struct record *separator_new(struct tree *t, struct bytes left, struct bytes right)
{
    size_t size = 0;
    while (size < left.size && left.data[size] == right.data[size]) size++;
    size++;
    ASSERT(size <= right.size);
    struct record *r = slab_alloc(t->slab, sizeof *r + size);
    *r = (struct record){.key_size = (uint32_t)size & 0x3fffffff};
    memcpy(record_key_at(r), right.data, size);
    return r;
}

/* A full leaf becomes two. Keys that come in rising order leave full leaves behind. */
static struct record *leaf_split(struct tree *t, struct tree_leaf *l, struct bytes key,
                                 struct tree_node **right)
{
    unsigned last = l->node.count - 1u;
    bool rising = !l->next && bytes_compare(key, record_key(l->node.record[last])) > 0;
    struct tree_leaf *r = leaf_new(t);
    node_take_upper(&r->node, &l->node, rising ? last : TREE_FAN / 2);
    r->next = l->next;
    r->prev = l;
    if (r->next) r->next->prev = r;
    l->next = r;
    *right = &r->node;
    struct record *separator = separator_new(t, record_key(l->node.record[l->node.count - 1]),
                                             record_key(r->node.record[0]));
    node_reshare(&l->node);
    node_reshare(&r->node);
    return separator;
}

static struct record *inner_split(struct tree *t, struct tree_inner *l, struct tree_node **right)
{
    struct tree_inner *r = inner_new(t);
    unsigned middle = l->node.count / 2u;
    node_take_upper(&r->node, &l->node, middle + 1);
    memcpy(r->child, l->child + middle + 1, (r->node.count + 1u) * sizeof *r->child);
    l->node.count = (uint16_t)middle;
    *right = &r->node;
    struct record *separator = l->node.record[middle];
    node_reshare(&l->node);
    node_reshare(&r->node);
    return separator;
}

/* Splits child `at` of the inner node p, which has room. */
static void child_split(struct tree *t, struct tree_inner *p, unsigned at, struct bytes key)
{
    struct tree_node *child = p->child[at], *right;
    struct record *separator = child->leaf ? leaf_split(t, leaf_of(child), key, &right)
                                           : inner_split(t, inner_of(child), &right);
    memmove(p->child + at + 2, p->child + at + 1, (p->node.count - at) * sizeof *p->child);
    node_open(&p->node, at, record_key(separator));
    p->node.record[at] = separator;
    p->child[at + 1] = right;
}

_Static_assert(sizeof(struct tree_leaf) == 1024, "a size class of the slab");

/* ---- the tree ---- */

const struct tree_leaf *tree_seek(const struct tree *t, struct bytes key, unsigned *at)
{
    *at = 0;
    if (!t->root) return NULL;
    const struct tree_node *n = t->root;
    unsigned which;
    while (!n->leaf) n = child_for(n, key, &which);
    bool equal;
    *at = node_find(n, key, &equal);
    return leaf_of(n);
}

struct record **tree_find(const struct tree *t, struct bytes key)
{
    if (!t->root) return NULL;
    struct tree_node *n = t->root;
    unsigned at;
    while (!n->leaf) n = child_for(n, key, &at);
    bool equal;
    at = node_find(n, key, &equal);
    return equal ? &n->record[at] : NULL;
}

static void tree_grow(struct tree *t)
{
    if (!t->root) {
        t->first = leaf_new(t);
        t->root = &t->first->node;
    } else if (t->root->count == TREE_FAN) {
        struct tree_inner *root = inner_new(t);
        root->child[0] = t->root;
        t->root = &root->node;
    }
}

struct record **tree_insert(struct tree *t, struct bytes key)
{
    tree_grow(t);
    struct tree_node *n = t->root;
    if (!n->leaf && n->count == 0) child_split(t, inner_of(n), 0, key);
    while (!n->leaf) { /* full nodes are split on the way down, so there is always room above */
        unsigned at;
        struct tree_node *child = child_for(n, key, &at);
        if (child->count == TREE_FAN) {
            child_split(t, inner_of(n), at, key);
            child = child_for(n, key, &at);
        }
        n = child;
    }
    bool equal;
    unsigned at = node_find(n, key, &equal);
    if (!equal) {
        node_open(n, at, key);
        t->keys++;
    }
    return &n->record[at];
}

void tree_remove(struct tree *t, struct bytes key)
{
    struct record **slot = tree_find(t, key);
    ASSERT(slot);
    unsigned at;
    struct tree_node *n = (struct tree_node *)(uintptr_t)&tree_seek(t, key, &at)->node;
    ASSERT(&n->record[at] == slot && t->keys > 0);
    n->count--;
    memmove(n->head + at, n->head + at + 1, (n->count - at) * sizeof *n->head);
    memmove(n->record + at, n->record + at + 1, (n->count - at) * sizeof *n->record);
    t->keys--;
}

/* Keys of a node rise, lie in [low, high), begin with its prefix, and have the heads that belong to
 * them. */
static uint64_t node_check(const struct tree_node *n, const struct bytes *low,
                           const struct bytes *high, unsigned depth)
{
    ASSERT(depth < 32 && n->count <= TREE_FAN && n->shared <= TREE_PREFIX_MAX);
    for (unsigned i = 0; i < n->count; i++) {
        struct bytes key = record_key(n->record[i]);
        ASSERT(i == 0 || bytes_compare(record_key(n->record[i - 1]), key) < 0);
        ASSERT((!low || bytes_compare(*low, key) <= 0) && (!high || bytes_compare(key, *high) < 0));
        ASSERT(prefix_compare(n, key) == 0 && n->head[i] == head_of(key, n->shared));
    }
    if (n->leaf) return n->count;

    uint64_t keys = 0;
    for (unsigned i = 0; i <= n->count; i++) {
        struct bytes left = i ? record_key(n->record[i - 1]) : (struct bytes){0};
        struct bytes right = i < n->count ? record_key(n->record[i]) : (struct bytes){0};
        keys += node_check(inner_of(n)->child[i], i ? &left : low, i < n->count ? &right : high,
                           depth + 1);
    }
    return keys;
}

void tree_check(const struct tree *t)
{
    ASSERT(!t->root == !t->first);
    if (!t->root) return;
    ASSERT(node_check(t->root, NULL, NULL, 0) == t->keys);
    uint64_t keys = 0;
    for (const struct tree_leaf *l = t->first, *before = NULL; l; before = l, l = l->next) {
        ASSERT(l->prev == before);
        keys += l->node.count;
    }
    ASSERT(keys == t->keys);
}
