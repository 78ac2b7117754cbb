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
 *     "epoch": 1,                   of the cluster map
 *     "state": "ok",                "ok" every group has a leader that serves; "degraded" that, but
 * some replica is down; "failing" some group has none "self": 1                     id of the
 * answering node
 *   },
 *   "nodes": [{
 *     "id": 1,
 *     "address": "127.0.0.1:7001",  for clients
 *     "peer": "127.0.0.1:17001",
 *     "zone": "default",
 *     "state": "up",                "up", "down" (not heard of for longer than the lease),
 * "joining", "leaving" "age_ms": 0,                  since it was last heard of; 0 for self
 *     "leads": 6,                   groups it leads
 *     "follows": 10,                groups it has another replica of
 *     "keys": 1234,                 may be missing
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
 *     "chosen": 57,                 highest position up to which all are chosen
 *     "replicas": [{
 *       "node": 1,
 *       "role": "leader",           "leader", "follower", "learner", "down"
 *       "applied": 57,
 *       "lag": 0                    leader's chosen less this replica's applied; -1 unknown
 *     }, ...]
 *   }, ...]
 * } */
#ifndef SYNOD_CLI_STATUS_H
#define SYNOD_CLI_STATUS_H

#include "base/bytes.h"

#include <stdio.h>

/* Prints the JSON as tables for people. False, with a line in error[error_size], if the text is not
 * as above. */
bool status_print(FILE *out, struct bytes json, char *error, size_t error_size);

#endif
