/* `synod log dump|check`: the log for people. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "store/log_scan.h"

struct print {
    bool dump;
    void (*line)(void *ctx, const char *text);
    void *ctx;
    uint64_t segments, blocks, records[LOG_DROP + 1], bytes;
};

static void print_line(struct print *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print_line(struct print *p, const char *format, ...)
{
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->line(p->ctx, text);
}

static void print_segment(void *ctx, const struct scan_file *f)
{
    struct print *p = ctx;
    p->segments++;
    if (p->dump)
        print_line(p,
                   "%s segment=%" PRIu64 " epoch=%" PRIu64 " first_lsn=%" PRIu64 " bytes=%" PRIu64,
                   f->name, f->h.sequence, f->h.epoch, f->h.lsn, f->bytes);
}

static void print_block(void *ctx, const struct scan_file *f, const struct record_block *h)
{
    struct print *p = ctx;
    p->blocks++;
    if (p->dump)
        print_line(p,
                   "%s+%" PRIu64 " block epoch=%" PRIu64 " lsn=%" PRIu64
                   " records=%u payload=%u synced=%" PRIu64 " oldest=%" PRIu64,
                   f->name, (uint64_t)h->place * IO_BLOCK, h->epoch, h->lsn, h->count, h->payload,
                   h->synced, h->oldest);
}

static void print_entry(struct print *p, uint64_t lsn, const struct log_record *r)
{
    static const char *const kind[] = {"noop", "data", "config"};
    const struct paxos_entry *e = &r->entry;
    print_line(p,
               "  %" PRIu64 " entry group=%u replica=%u position=%" PRIu64 " ballot=%" PRIu64
               ".%u born=%" PRIu64 ".%u"
               " base=%" PRIu64 "@%" PRIu64 ".%u %s size=%u hash=%016" PRIx64 " chosen=%" PRIu64,
               lsn, r->group, r->replica, e->position, paxos_ballot_round(e->ballot),
               paxos_ballot_replica(e->ballot), paxos_ballot_round(e->born),
               paxos_ballot_replica(e->born), e->base.position, paxos_ballot_round(e->base.born),
               paxos_ballot_replica(e->base.born), kind[e->kind], e->size, e->hash, r->chosen);
}

static void print_record(void *ctx, const struct log_place *place, uint64_t lsn,
                         const struct log_record *r)
{
    struct print *p = ctx;
    p->records[r->type]++;
    p->bytes += place->size;
    if (!p->dump) return;
    if (r->type == LOG_ENTRY)
        print_entry(p, lsn, r);
    else if (r->type == LOG_PROMISE)
        print_line(
            p, "  %" PRIu64 " promise group=%u replica=%u ballot=%" PRIu64 ".%u chosen=%" PRIu64,
            lsn, r->group, r->replica, paxos_ballot_round(r->promised),
            paxos_ballot_replica(r->promised), r->chosen);
    else if (r->type == LOG_BEAT)
        print_line(p, "  %" PRIu64 " beat", lsn);
    else
        print_line(p, "  %" PRIu64 " %s group=%u replica=%u chosen=%" PRIu64, lsn,
                   record_type_name(r->type), r->group, r->replica, r->chosen);
}

static void print_summary(struct print *p, const struct scan *s)
{
    print_line(p,
               "%" PRIu64 " segments, %" PRIu64 " blocks, last lsn %" PRIu64 ", %" PRIu64
               " bytes of records:",
               p->segments, p->blocks, s->end.lsn, p->bytes);
    for (uint8_t t = LOG_PROMISE; t <= LOG_DROP; t++)
        print_line(p, "  %s %" PRIu64, record_type_name(t), p->records[t]);
    for (uint32_t i = 0; i < s->count; i++)
        if (!s->file[i].live) print_line(p, "%s not in use", s->file[i].name);
}

int log_print(struct io *io, bool dump, void (*line)(void *ctx, const char *text), void *ctx)
{
    struct print p = {.dump = dump, .line = line, .ctx = ctx};
    struct scan s;
    struct scan_sink sink = {
        .segment = print_segment, .block = print_block, .record = print_record, .ctx = &p};
    enum log_open_result e = scan_run(&s, io, &sink);
    int status = 2;
    if (e) {
        print_line(&p, "%s", s.message);
    } else if (s.count == 0) {
        print_line(&p, "there is no log here");
    } else {
        print_summary(&p, &s);
        status = s.torn ? 1 : 0;
        if (s.torn)
            print_line(&p,
                       "torn tail behind lsn %" PRIu64
                       ": writes that never completed, to be cut at the next start",
                       s.end.lsn);
        else
            print_line(&p, "sound");
    }
    scan_deinit(&s);
    return status;
}
