/* `synod status`, and the contract of the text it reads.
 *
 * The command SYNOD STATUS, sent to any node, answers one bulk string, a JSON object. The node that
 * answers knows its own figures at first hand and others' as they last reported them (`age_ms`
 * old). Every field below is there, save where "may be missing" is said; readers ignore fields they
 * do not know, so new ones may be added. Numbers are integers; sizes are bytes.
 *
 * {
 *   "cluster": {
 *     "id": "0123456789abcdef",     16 hex digits, made at founding
 *     "version": "0.1.0",           of the answering node
 *     "epoch": 1,                   of the cluster map; 0: it is not written yet
 *     "state": "ok",                "ok": every group has a leader that serves; "degraded": that,
 *                                   but some replica is down; "failing": some group has none;
 *                                   "joining": the answering node is of no cluster yet
 *     "self": 1,                    id of the answering node
 *     "replicas": 3,                a group is to have, as far as there are nodes
 *     "grace_ms": 300000,           a node that is down for longer is replaced
 *     "moves_max": 4,               groups that change members at once
 *     "split_keys": 0               a group with more keys is split; 0: never
 *   },
 *   "nodes": [{
 *     "id": 1,
 *     "address": "127.0.0.1:7001",  for clients
 *     "peer": "127.0.0.1:17001",
 *     "zone": "default",
 *     "state": "up",                "up", "down" (not heard of lately), "slow" (its log device is),
 *                                   "cut" (another hears more nodes than it), or what the map says:
 *                                   "joining", "draining", "gone" (down for longer than the grace
 *                                   time, or given up: its replicas are rebuilt elsewhere)
 *     "up": true,                   heard of lately, whatever its state
 *     "witness": false,             true: it holds votes and a log, and no data
 *     "capacity": 100,              weight; 100 is one share
 *     "age_ms": 0,                  since its last report; 0 for self
 *     "leads": 6,                   groups it leads
 *     "follows": 10,                groups it has another replica of
 *     "keys": 1234,                 of the replicas it has; may be missing
 *     "disk_bytes": 0,              engine files
 *     "log_bytes": 0,               log segments, allocated
 *     "room_bytes": 0,              free where they live
 *     "memory_bytes": 0,            resident
 *     "ops_per_s": 0,               commands served lately; may be missing
 *     "uptime_s": 0,
 *     "io": "io_uring"              or "epoll"
 *   }, ...],
 *   "groups": [{
 *     "id": 0,
 *     "slots": [[0, 1023]],         ranges, ends included
 *     "leader": 1,                  node id; 0 none known
 *     "ballot": "3.1",              round.replica; may be missing
 *     "chosen": 57,                 highest position up to which all are chosen; 0 where the
 *                                   answering node has no replica
 *     "keys": 1234, "ops_per_s": 0, as its leader last said; may be missing
 *     "target": [1, 3, 4],          nodes that are to hold it; missing: as it is
 *     "transactions": [{            over groups, with something locked or written here: said by the
 *       "id": "1.7.42",             group's leader alone, 64 at most; missing: none
 *       "state": "prepared",        "open", "prepared", "in doubt" (prepared, and its coordinator
 * is gone or does not go on), "decided" "age_ms": 12                since its first try began
 *     }, ...],
 *     "splits_at": 512,             slots from here on are to be another group; missing: no split
 *     "takes_over": 7,              the group after it is to become part of it; missing: no merge
 *     "replicas": [{
 *       "node": 1,
 *       "role": "leader",           "leader", "follower", "learner", "down"
 *       "votes": true,              false for a learner, also one that is down; may be missing
 *       "applied": 57,
 *       "lag": 0,                   leader's chosen less this replica's applied; -1 unknown
 *       "snapshot_percent": 40,     of a snapshot on its way to it, with the bytes sent so far and
 *       "snapshot_bytes": 0,        the time since it began: said by the group's leader alone;
 *       "snapshot_ms": 0            missing: none is
 *     }, ...]
 *   }, ...]
 * } */
#ifndef SYNOD_CLI_STATUS_H
#define SYNOD_CLI_STATUS_H

#include "cli/overview.h"

#include <stdio.h>

/* Tables for people: the whole of `synod status`, and its parts. */
void status_print(FILE *out, const struct overview *o);
void status_print_nodes(FILE *out, const struct overview *o);
void status_print_groups(FILE *out, const struct overview *o);
void status_print_moves(FILE *out, const struct overview *o); /* nothing where nothing moves */
/* Transactions over groups, each counted once; nothing where there are none. */
void status_print_transactions(FILE *out, const struct overview *o);

#endif
