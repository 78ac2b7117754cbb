/* What a job is to do, as asked for by JOB SUBMIT and JOB RUN.
 *
 *   JOB SUBMIT name  MAP LUA source | MAP query | TASKS n LUA source
 *       [COMBINE LUA source | SUM | MIN | MAX]   [REDUCE LUA source | SUM | COUNT | MIN |
 * MAX] [MATCH pattern] [TYPE string|hash|list|set|zset] [SNAPSHOT id] [INTO key-prefix | RETURN]
 * [PARTITIONS n] [LIMITS TIME ms | CPU ms | MEMORY bytes | SPILL bytes | OUTPUT bytes  ...] JOB RUN
 * query  [MATCH pattern] [TYPE type] [SNAPSHOT id] [LIMITS ...]
 *
 *   query:  COUNT | SUM | MIN | MAX | AVG | TOP n | DISTINCT | QUANTILES | HISTOGRAM [STEP width]
 *           | GROUP [COUNT|SUM|MIN|MAX|AVG] | JOIN pattern | GREP text
 *           [FIELD f]    hash: this field; zset: this member's score. Else every value of a record
 *           [BY PART n | BY field]   groups: by the n-th part of the key (from 1, between ':'), or
 *                                    by a hash's field. COUNT, SUM, MIN, MAX and AVG take it as
 * well
 *
 * The source of MAP may define combine and reduce too; the clauses replace them. Words in any case,
 * clauses after the first in any order. All bytes of a spec are borrowed from what it was parsed or
 * decoded from. Pure. */
#ifndef SYNOD_JOB_SPEC_H
#define SYNOD_JOB_SPEC_H

#include "base/buf.h"

#define JOB_NAME_MAX       128
#define JOB_SOURCE_MAX     (1u << 20)
#define JOB_PATTERN_MAX    1024
#define JOB_FIELD_MAX      1024
#define JOB_PARTITIONS_MAX 1024
#define JOB_TOP_MAX        100000
#define JOB_SPEC_MAX       (4u * 1024 * 1024) /* encoded */

enum job_op {
    JOB_OP_NONE,
    JOB_OP_COUNT,
    JOB_OP_SUM,
    JOB_OP_MIN,
    JOB_OP_MAX,
    JOB_OP_AVG,
    JOB_OP_TOP,
    JOB_OP_DISTINCT,
    JOB_OP_QUANTILES,
    JOB_OP_HISTOGRAM,
    JOB_OP_GROUP,
    JOB_OP_JOIN,
    JOB_OP_GREP,
    JOB_OPS
};

enum job_by { JOB_BY_NOTHING, JOB_BY_FIELD, JOB_BY_PART };

struct job_query {
    uint8_t op;
    uint8_t group_op; /* GROUP: COUNT .. AVG */
    uint8_t by;
    uint32_t n;         /* TOP's, BY PART's */
    double step;        /* HISTOGRAM's; 1 unless said */
    struct bytes field; /* empty: all values */
    struct bytes by_field;
    struct bytes argument; /* JOIN's other pattern, GREP's text */
};

enum job_kind { JOB_KIND_LUA, JOB_KIND_QUERY, JOB_KIND_TASKS };

struct job_limits {
    uint64_t time_ms, cpu_ms; /* of the job; of one attempt */
    uint64_t memory, spill;   /* bytes, of one attempt */
    uint64_t output;          /* bytes, of the job */
};

struct job_spec {
    struct bytes name; /* empty: RUN */
    uint8_t kind;
    struct job_query query;            /* JOB_KIND_QUERY */
    struct bytes map, combine, reduce; /* sources; empty: MAP's own, if it has any */
    uint8_t combine_op, reduce_op;     /* SUM, COUNT, MIN, MAX; NONE */
    struct bytes match;                /* of the keys; "*" unless said */
    uint8_t type;                      /* a record_type + 1; 0: any */
    bool into;                         /* else rows are returned */
    struct bytes prefix;
    uint32_t partitions; /* 0: as many as the cluster likes */
    uint32_t tasks;      /* JOB_KIND_TASKS */
    uint64_t snapshot;   /* 0: the job makes its own */
    struct job_limits limits;
};

struct job_spec_error {
    char text[256]; /* one line: what is wrong, and what is expected. NUL-terminated */
};

/* `args` after the words JOB SUBMIT, or JOB RUN. False: error->text, and *out is not to be used. */
bool job_spec_submit(const struct bytes *args, size_t count, struct job_spec *out,
                     struct job_spec_error *error);
bool job_spec_run(const struct bytes *args, size_t count, struct job_spec *out,
                  struct job_spec_error *error);

/* version:1, then all fields in the order above: numbers as varints, bytes as blobs. */
void job_spec_encode(const struct job_spec *s, struct buf *out);
/* False: damaged, of an unknown version, or out of the bounds that the parser keeps. */
bool job_spec_decode(struct bytes data, struct job_spec *out);

/* Is this key one that the job reads? `type` is a record_type. */
bool job_spec_wants(const struct job_spec *s, struct bytes key, uint8_t type);

const char *job_op_name(unsigned op);

#endif
