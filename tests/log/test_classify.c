/* The classifier, a row a case: what is on disk, whether it opens, and where it was cut. FORMAT.md,
 * "Torn or corrupt". */
#include "test.h"

#include "base/hash.h"
#include "rig.h"
#include "store/record.h"

/* A disk is written as words. Files are log-000001 .. 9, of 8 pages.
 *   H<file>[q<sequence>]:<lsn>             a segment header; its sequence is the file's number
 * unless q says other B<file>[q<sequence>]@<page>:<lsn>+<n>  a block of n records from lsn on each
 * followed by any of <number (synced), e number (epoch, 1), o number (oldest, 1), x (one bit is
 * flipped), m number (misdirected: it says it belongs to that page). Z<file> is a file of zeros. */
struct row {
    const char *what;
    const char *disk;
    enum log_open_result result;
    uint64_t last; /* lsn of the last record replayed */
    int print;     /* what log_print returns */
};

static const struct row rows[] = {
    {"a new log", "H1:1", LOG_OPENED, 0, 0},
    {"a new log and its spare", "H1:1 Z2", LOG_OPENED, 0, 0},
    {"one block", "H1:1 B1@1:1+10<0", LOG_OPENED, 10, 0},
    {"blocks in a row", "H1:1 B1@1:1+10<0 B1@2:11+5<10 B1@3:16+1<15", LOG_OPENED, 16, 0},
    {"two segments", "H1:1 B1@1:1+10<0 H2:11<10 B2@1:11+5<10", LOG_OPENED, 15, 0},

    {"the last block is torn", "H1:1 B1@1:1+10<0 B1@2:11+5<10x", LOG_OPENED, 10, 1},
    {"the only block is torn", "H1:1 B1@1:1+10<0x", LOG_OPENED, 0, 1},
    {"two in flight, only the second landed", "H1:1 B1@1:1+10<0 B1@3:21+5<10", LOG_OPENED, 10, 1},
    {"two in flight, the first is torn", "H1:1 B1@1:1+10<0 B1@2:11+10<10x B1@3:21+5<10", LOG_OPENED,
     10, 1},
    {"two in flight from the start, the first is torn", "H1:1 B1@1:1+10<0x B1@2:11+5<0", LOG_OPENED,
     0, 1},

    {"a damaged block that the next proves", "H1:1 B1@1:1+10<0 B1@2:11+10<10x B1@3:21+5<20",
     LOG_E_CORRUPT, 0, 2},
    {"a lost block that the next proves", "H1:1 B1@1:1+10<0 B1@3:21+5<20", LOG_E_CORRUPT, 0, 2},
    {"a damaged block of which the first records are proven",
     "H1:1 B1@1:1+10<0 B1@2:11+10<10x B1@3:21+5<11", LOG_E_CORRUPT, 0, 2},
    {"a damaged block that only the one after next proves",
     "H1:1 B1@1:1+10<0x B1@2:11+10<0 B1@3:21+5<10", LOG_E_CORRUPT, 0, 2},
    {"a damaged block and a torn one, then proof",
     "H1:1 B1@1:1+10<0 B1@2:11+1<10x B1@3:12+1<10x B1@4:13+1<11", LOG_E_CORRUPT, 0, 2},
    {"a damaged last block that the idle beat proves",
     "H1:1 B1@1:1+10<0 B1@2:11+5<10x B1@3:16+1<15", LOG_E_CORRUPT, 0, 2},
    {"a damaged idle beat", "H1:1 B1@1:1+10<0 B1@2:11+5<10 B1@3:16+1<15x", LOG_OPENED, 15, 1},
    {"a proven block that was written to another place",
     "H1:1 B1@1:1+10<0 B1@2:11+10<10m5 B1@3:21+5<20", LOG_E_CORRUPT, 0, 2},

    {"the next segment's first write landed without its header", "H1:1 B1@1:1+10<0 Z2 B2@1:11+5<10",
     LOG_OPENED, 10, 1},
    {"the next segment's header is torn", "H1:1 B1@1:1+10<0 H2:11<10x B2@1:11+5<10", LOG_OPENED, 10,
     1},
    {"the next segment's header landed alone", "H1:1 B1@1:1+10<0 H2:11<10", LOG_OPENED, 10, 1},
    {"the next segment's first write is lost, its second landed",
     "H1:1 B1@1:1+10<0 Z2 B2@2:16+5<10", LOG_OPENED, 10, 1},
    {"the next segment's header is damaged, which its second block proves",
     "H1:1 B1@1:1+10<0 H2:11<10x B2@1:11+5<10 B2@2:16+1<15", LOG_E_CORRUPT, 0, 2},
    {"a segment's last block is damaged, which the next header proves",
     "H1:1 B1@1:1+10<0 B1@2:11+1<10x H2:12<11", LOG_E_CORRUPT, 0, 2},
    {"a segment's last block is torn, the next segment's write landed",
     "H1:1 B1@1:1+10<0 B1@2:11+1<10x H2:12<10 B2@1:12+1<10", LOG_OPENED, 10, 1},

    {"a segment is missing", "H1:1 B1@1:1+10<0 H3:21<20 B3@1:21+1<20", LOG_E_CORRUPT, 0, 2},
    {"a segment never landed, the one after it did", "H1:1 B1@1:1+10<0 H3:21<10 B3@1:21+1<10",
     LOG_OPENED, 10, 1},
    {"the oldest segment is missing", "H2:11<10 B2@1:11+1<10", LOG_E_CORRUPT, 0, 2},
    {"segments before the oldest are missing", "H3:21<20o3 B3@1:21+1<20o3", LOG_OPENED, 21, 0},
    {"a segment before the oldest is damaged", "H1:1x B1@1:1+10<0x H2:11<10o2 B2@1:11+1<10o2",
     LOG_OPENED, 11, 0},
    {"only a block of the newest segment says which is the oldest",
     "H1:1x H2:11<10 B2@1:11+1<10 B2@2:12+1<11o2", LOG_OPENED, 12, 0},
    {"the oldest segment was being overwritten, header torn",
     "H1q3:12x B1@1:1+10<0 H2:11<10 B2@1:11+1<10o2", LOG_OPENED, 11, 0},
    {"the oldest segment was overwritten",
     "H1q3:12<11o2 B1q3@1:12+3<11o2 B1@2:5+5<4 H2:11<10 B2@1:11+1<10o2", LOG_OPENED, 14, 0},

    {"blocks of the file's earlier life", "H2:11<10o2 B2@1:11+1<10o2 B2q1@2:5+1<4 B2q1@3:6+1<5",
     LOG_OPENED, 11, 0},
    {"what an earlier opening cut off comes to lie behind the tail",
     "H1:1 B1@1:1+10<0 B1@2:11+1<10e2 B1@3:12+1<10", LOG_OPENED, 11, 0},
    {"what was cut off claims more than the tail", "H1:1 B1@1:1+10<0 B1@2:11+1<10e2 B1@3:21+1<20",
     LOG_OPENED, 11, 0},
    {"a cut segment's header, after the log went on in the one before",
     "H1:1 B1@1:1+10<0 B1@2:11+1<10e2 H2:12<10 B2@1:12+1<10", LOG_OPENED, 11, 0},
    {"two files claim a sequence: one was cut off",
     "H1:1 B1@1:1+10<0e1 H2:11<10 B2@1:11+1<10 H3q2:11<10e2 B3q2@1:11+4<10e2", LOG_OPENED, 14, 0},
    {"the first block of an opening is damaged, the next proves it",
     "H1:1 B1@1:1+10<0 B1@2:11+1<10e2x B1@3:12+1<11e2", LOG_E_CORRUPT, 0, 2},
    {"the first block of an opening is torn, the next landed",
     "H1:1 B1@1:1+10<0 B1@2:11+1<10e2x B1@3:12+1<10e2", LOG_OPENED, 10, 1},
    {"damage before an opening, proven by it", "H1:1 B1@1:1+10<0 B1@2:11+5<10x B1@3:16+1<15e2",
     LOG_E_CORRUPT, 0, 2},

    {"a block of another segment in the right place", "H1:1 B1@1:1+10<0 B1q2@2:11+1<10", LOG_OPENED,
     10, 1},
    {"a segment's header and first block are not of one write",
     "H1:1 B1@1:1+10<0 H2:11<10 B2@1:11+1<10e2", LOG_OPENED, 10, 1},
    {"a cut segment's header would continue a later opening",
     "H1:1 B1@1:1+10<0e2 H2:11<10 B2@1:11+1<10", LOG_OPENED, 10, 0},

    {"a notice ends a segment", "H1:1 B1@1:1+10<0 B1@2:11+0<10 H2:11<10 B2@1:11+1<10", LOG_OPENED,
     11, 0},
    {"a damaged notice harms nobody", "H1:1 B1@1:1+10<0 B1@2:11+0<10x H2:11<10 B2@1:11+1<10",
     LOG_OPENED, 11, 0},

    {"the only header is damaged", "H1:1x B1@1:1+10<0", LOG_E_CORRUPT, 0, 2},
    {"zeros alone are no log", "Z1", LOG_E_FORMAT, 0, 2},
};

enum { PAGES = 8, LOG_ID = 0x1234567 };

static uint64_t number(const char **p)
{
    char *end;
    uint64_t v = strtoull(*p + 1, &end, 10);
    *p = end;
    return v;
}

static void put_block(struct record_block *h, uint8_t *page)
{
    uint8_t *at = page + sizeof *h;
    for (uint32_t i = 0; i < h->count; i++) {
        uint32_t check;
        struct log_record r = {.type = LOG_CHOSEN, .group = 1, .replica = 1, .chosen = h->lsn + i};
        at += record_put(&r, LOG_ID, at, &check);
    }
    h->payload = (uint32_t)(at - page - (long)sizeof *h);
    record_block_put(h, page);
}

/* One word of the language above. */
static void put_word(struct fake_io *f, const char *p, const char *end)
{
    bool block = *p == 'B', zeros = *p == 'Z', flip = false;
    uint64_t file = number(&p), page = 0;
    struct record_block h = {.log_id = LOG_ID, .sequence = file, .epoch = 1, .oldest = 1};
    h.place = UINT32_MAX;
    while (p < end) {
        switch (*p) {
        case 'q': h.sequence = number(&p); break;
        case '@': page = number(&p); break;
        case ':': h.lsn = number(&p); break;
        case '+': h.count = (uint32_t)number(&p); break;
        case '<': h.synced = number(&p); break;
        case 'e': h.epoch = number(&p); break;
        case 'o': h.oldest = number(&p); break;
        case 'm': h.place = (uint32_t)number(&p); break;
        case 'x': flip = true, p++; break;
        default: fail_msg("bad word at '%s'", p);
        }
    }
    char name[32];
    struct io_file *handle;
    snprintf(name, sizeof name, "log-%06u", (unsigned)file);
    assert_int_equal(io_file_open(&f->io, name, PAGES * IO_BLOCK, &handle), 0);
    io_file_close(&f->io, handle);
    uint8_t *data = fake_find(f, name)->data + page * IO_BLOCK;
    if (h.place == UINT32_MAX) h.place = (uint32_t)page;
    struct record_segment s = {.log_id = LOG_ID,
                               .sequence = h.sequence,
                               .epoch = h.epoch,
                               .lsn = h.lsn,
                               .synced = h.synced,
                               .oldest = h.oldest};
    if (block)
        put_block(&h, data);
    else if (!zeros)
        record_segment_put(&s, data);
    if (flip) data[block ? 70 : 18] ^= 4; /* in the place; in the version */
}

static void put_disk(struct fake_io *f, const char *disk)
{
    while (*disk) {
        size_t size = strcspn(disk, " ");
        char word[64];
        assert_true(size < sizeof word);
        memcpy(word, disk, size);
        word[size] = 0;
        put_word(f, word, word + size);
        disk += size + (disk[size] == ' ');
    }
}

static void ignore_line(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

/* Else a sequence that is given out again would be there twice. */
static void expect_no_header_beyond_the_cut(const struct rig *g)
{
    for (uint32_t i = 0; i < g->f.file_count; i++) {
        const struct fake_file *f = &g->f.file[i];
        struct record_segment h;
        if (!f->data || record_segment_get(bytes_of(f->data, f->size), &h) != RECORD_OK) continue;
        if (h.sequence >= g->l->segment[0]->sequence)
            assert_string_equal(log_segment_of(g->l, h.sequence)->name, f->name);
    }
}

TEST(each_kind_of_damage_is_told_from_a_torn_write)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct rig g;
        rig_init(&g, i, PAGES * IO_BLOCK);
        put_disk(&g.f, row->disk);
        int print = log_print(&g.f.io, false, ignore_line, NULL);
        enum log_open_result e = rig_open(&g);
        uint64_t last = g.replayed_count ? g.replayed[g.replayed_count - 1].r.chosen : 0;
        if (e != row->result || (!e && (last != row->last || log_synced(g.l) != last)) ||
            print != row->print)
            fail_msg("%s: result %d (%s), last %d, print %d", row->what, e, g.error, (int)last,
                     print);
        for (uint32_t k = 1; k < g.replayed_count; k++)
            assert_true(g.replayed[k].r.chosen == g.replayed[k - 1].r.chosen + 1);
        /* a line for the operator: damage, or a torn tail that was cut */
        assert_int_equal(strlen(g.error) > 0, e != LOG_OPENED || row->print == 1);
        if (!e) expect_no_header_beyond_the_cut(&g);
        rig_deinit(&g);
    }
}

/* What was cut once stays cut: after the next opening wrote its first block, and also if that write
 * is lost. */
TEST(every_cut_is_final)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (row->result) continue;
        for (int landed = 0; landed < 2; landed++) {
            struct rig g;
            rig_init(&g, i, PAGES * IO_BLOCK);
            put_disk(&g.f, row->disk);
            rig_start(&g);
            log_turn(g.l);
            rig_crash(&g, landed ? UINT64_MAX : 0);
            rig_start(&g);
            uint64_t last = g.replayed_count ? g.replayed[g.replayed_count - 1].r.chosen : 0;
            if (last != row->last) fail_msg("%s: last %d", row->what, (int)last);
            rig_append_promise(&g, 9, 5);
            rig_settle(&g);
            rig_crash(&g, 0);
            rig_start(&g);
            assert_true(rig_replayed_promise(&g, 9) == 5);
            rig_deinit(&g);
        }
    }
}

TEST(a_file_of_another_format_version_or_another_log_is_named)
{
    struct rig g;
    rig_init(&g, 1, PAGES * IO_BLOCK);
    rig_start(&g);
    rig_settle(&g);
    rig_crash(&g, 0);
    struct fake_file *file = fake_find(&g.f, "log-000001");
    uint8_t saved[IO_BLOCK];
    memcpy(saved, file->data, IO_BLOCK);

    struct record_segment h;
    memcpy(&h, file->data, sizeof h);
    h.version = 2;
    memcpy(file->data, &h, sizeof h);
    h.checksum = hash64(bytes_of(file->data + 16, IO_BLOCK - 16), 0);
    memcpy(file->data, &h, sizeof h);
    assert_int_equal(rig_open(&g), LOG_E_FORMAT);
    assert_non_null(strstr(g.error, "version 2"));

    memcpy(file->data, saved, IO_BLOCK);
    put_disk(&g.f, "H3:1");
    assert_int_equal(rig_open(&g), LOG_E_FORMAT);
    assert_non_null(strstr(g.error, "another log"));
    rig_deinit(&g);
}

TEST_MAIN
