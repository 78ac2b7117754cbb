/* Planted bugs, for testing the tests (`make canary`; docs/TESTING.md).
 *
 * MUTANT(MUTANT_X) is false, and costs nothing, in every build except those with SYNOD_MUTANTS
 * (explorer, simulator, canary), where it is true while mutant_active == MUTANT_X. It wraps single
 * decision points: `if (MUTANT(MUTANT_X) || rule)`. A suite that does not fail with a mutant
 * switched on has a hole. Never reuse a number: runs are repeated by it. */
#ifndef SYNOD_BASE_MUTANT_H
#define SYNOD_BASE_MUTANT_H

enum mutant {
    MUTANT_NONE = 0,
    /* consensus core (src/paxos) */
    MUTANT_SKIP_SYNC_WAIT = 1, /* promises and accepted replies leave before they are on disk */
    MUTANT_REUSE_BALLOT =
        2, /* a candidate asks for promises without having written its ballot down */
    MUTANT_IGNORE_BASE = 3,     /* effects are applied on whatever state there is */
    MUTANT_TRUNCATE_SUFFIX = 4, /* accepting at a new ballot drops what was accepted above */
    MUTANT_COMMIT_OWN_VALUE =
        5, /* a commit notice applies what is there, at whatever ballot it was accepted */
    MUTANT_MAJORITY_MINUS_ONE = 6, /* chosen one vote too early */
    MUTANT_FORGET_PROMISE = 7,     /* promises are not restored */
    MUTANT_GAP_ACCEPT = 8,         /* an accept is taken although one before it is missing */
    MUTANT_NOOP_OVER_ACCEPTED = 9, /* a new leader ignores the entries that promises carry */
    MUTANT_SERVE_BEFORE_BARRIER =
        10,                     /* a new leader serves before it knows what was chosen before it */
    MUTANT_OWN_VOTE_EARLY = 11, /* the leader counts its own accept before it is on disk */
    MUTANT_LOWEST_BALLOT_WINS = 12,   /* of two accepted entries, the older is adopted */
    MUTANT_ACCEPT_BELOW_PROMISE = 13, /* an accept at a ballot below the promise is taken */
    MUTANT_STALE_CONFIRM = 14,        /* a read is confirmed by answers to an earlier round */
    /* leases (src/paxos/lease.c and read.c) */
    MUTANT_NO_RESTART_WAIT =
        20,                     /* a restarted node promises at once, having forgotten its grants */
    MUTANT_LEASE_NO_DRIFT = 21, /* the sender trusts all clocks to run alike */
    MUTANT_LEASE_FROM_RECEIPT = 22, /* the lease is counted from when the answer came */
    MUTANT_GRANT_IGNORED = 23,      /* groups are promised away in spite of a grant */
    MUTANT_LEASE_MARK_IGNORED =
        24, /* support is counted although the peer promised groups away meanwhile */
    MUTANT_LEASE_MINORITY = 25,         /* one supporter less than a quorum makes a lease */
    MUTANT_LEASE_KEPT_ON_TRANSFER = 26, /* the lease lives on after it was handed over */
    /* reconfiguration (src/paxos) */
    MUTANT_CONFIG_ON_ACCEPT = 27,  /* a configuration is in force when its entry is accepted */
    MUTANT_LEARNER_VOTES = 28,     /* a learner's vote counts */
    MUTANT_NO_CONFIG_BARRIER = 29, /* entries are proposed above an unchosen configuration */
    MUTANT_SKIP_PHASE1 =
        30, /* an adopted configuration is chosen, and its leader goes on at once */
    MUTANT_CONFIG_BASE_IGNORED = 31, /* a configuration replaces whatever there is */
    MUTANT_PEERS_BY_INDEX = 32, /* matches and marks stay at their index when the members change */
    MUTANT_LEASE_OVER_CONFIG = 33, /* the lease goes on while a configuration is unchosen */
    MUTANT_LOW_BALLOT = 34,    /* a candidate may take a ballot below that of its configuration */
    MUTANT_STRANGER_MARK = 35, /* support is claimed for a leader whose node is not known */
    MUTANT_UNMARKED_SUPPORT = 36, /* a new member's support counts before it answered */
    /* node (src/node) */
    MUTANT_LEASE_BEFORE_READ =
        40, /* the lease is checked with a clock read before the read was asked for */
    MUTANT_LOST_DISK_REJOIN = 41,    /* a replica that lost its log votes again under its old id:
                                        a founder's disk is the one it came with last */
    MUTANT_REPLY_BEFORE_CHOSEN = 42, /* replies leave before what they saw is chosen */
    MUTANT_KEEP_PENDING = 43,        /* speculative writes survive the loss of leadership */
    /* log (src/store) */
    MUTANT_SKIP_LOG_SYNC = 60, /* "on disk" is reported without a sync */
    MUTANT_CUT_CORRUPT = 61,   /* damage below synced_upto is cut off as if it were a torn tail */
    /* replicas in the engine (src/shard) */
    MUTANT_INSTALL_NO_MARKER = 62, /* an install begins without saying so durably */
    MUTANT_BORN_EARLY = 63,      /* what a split bore is opened before the engine has its record */
    MUTANT_NO_TOMBSTONE = 64,    /* a dropped replica leaves no tombstone */
    MUTANT_INSTALL_NO_WIPE = 65, /* an install leaves what was there before */
    /* nodes that come and go (src/node, src/redis/ring.c) */
    MUTANT_TOMBSTONE_IGNORED = 70, /* a replica that died here is made again under its id */
    MUTANT_DROP_BEFORE_MAP = 71,   /* a replica goes once its own configuration lacks it */
    MUTANT_VOTE_UNCAUGHT = 72,     /* a learner becomes a voter whatever it has */
    MUTANT_SLOTS_BEYOND = 73,      /* a leader serves what a split has taken from its group */
    MUTANT_OLDER_ROW = 74,         /* a row of the map gives way to an older one */
    MUTANT_LOG_TRUSTED = 75,       /* what the log has below a snapshot is served as chosen */
    MUTANT_BORN_LIVE = 76,         /* a new replica is fed the log from its beginning */
    MUTANT_SEND_WHEN_SERVING = 77, /* a leader sends no snapshot before it serves */
    MUTANT_DISK_TWO_IDS = 79,      /* who asks twice to join gets two ids */
    MUTANT_SEALED_SERVES = 80,     /* a sealed group is read while its neighbour takes it over */
    MUTANT_HEIR_UNFLUSHED =
        81, /* what was taken over is forgotten before the heir has it on disk */
    MUTANT_WITNESS_FORGETS = 82, /* the log lets go of what only a witness could tell a member */
    /* transactions (src/redis/multi.c) */
    MUTANT_WATCH_UNNOTED = 90, /* writes in transactions leave no trace for WATCH */
    /* transactions over groups (src/txn, src/redis/txn.c, src/node) */
    MUTANT_TXN_TOKEN = 91,     /* G1: an owner is taken for the one that another leader had */
    MUTANT_TXN_PREPARED = 92,  /* G3: who was said not to be prepared may still be */
    MUTANT_TXN_FORGOTTEN = 93, /* G4: what the anchor does not know is told as aborted */
    MUTANT_TXN_UNASKED = 94,   /* G5: who is prepared for long commits without the anchor's word */
    MUTANT_TXN_UNSEEN = 95,    /* G6: a decision is told before it is chosen */
    MUTANT_TXN_UNREAD = 96,    /* who was only read is not asked whether it still holds */
    MUTANT_TXN_UNLOCKED = 97,  /* a new leader does not know who is prepared */
    MUTANT_TXN_BARLESS = 98,   /* commands of one group do not look at locks */
    MUTANT_TXN_SPLIT = 99,     /* a split does not wait for who is prepared */
    MUTANT_TXN_EARLY = 100,    /* a group forgets its decision before all know */
    /* ... that leave each of them whole, and not apart from the others */
    MUTANT_TXN_SKEW = 101, /* who writes somewhere does not ask whether what it read still holds */
    MUTANT_TXN_SHARED = 102, /* a lock to read keeps nobody out */
    MUTANT_TXN_BARE = 103,   /* who is prepared has no locks any more */
    MUTANT_TXN_ALONE = 106,  /* G2: who is in doubt has it ended without asking the others */
    MUTANT_TXN_DIRTY = 107,  /* who is only read says that it holds, though what was read may go */
    /* cuts of the whole database (src/txn, src/redis/cut.c, src/node) */
    MUTANT_CUT_READS = 110,     /* replies to reads are not held */
    MUTANT_CUT_ONE_PHASE = 111, /* a group lets go once its own SNAP is applied */
    MUTANT_CUT_UNHELD = 112,    /* a leader that holds nothing (any more) says that it does */
    MUTANT_CUT_OVERLAY = 114,   /* what is prepared in the cut, and in it, is not read */
    MUTANT_CUT_UNDECIDED = 115, /* what is prepared everywhere in the cut counts only if decided */
    MUTANT_CUT_SLOTS = 116,     /* nobody looks whether the groups have all slots */
    MUTANT_CUT_STALE = 117,     /* READONLY replicas go on while a group is held */
    /* exactly-once requests (src/redis/once.c) */
    MUTANT_ONCE_UNKEPT = 104, /* an answer is not kept with what was done */
    MUTANT_ONCE_UNREAD = 105, /* a coordinator does not look whether it was done */
    /* jobs (src/job, src/redis/job.c, src/node/job_*.c) */
    MUTANT_JOB_ANY_ATTEMPT = 120,    /* J1: what an attempt of an older owner reports counts */
    MUTANT_JOB_REDUCE_EARLY = 121,   /* J3: reduces start before all maps' winners are on record */
    MUTANT_JOB_DROP_EARLY = 122,     /* J5: staging is dropped before the end is on record */
    MUTANT_JOB_LOSER_LIVES = 123,    /* J2: a second attempt's report replaces the winner */
    MUTANT_JOB_PUBLISH_BLIND = 124,  /* J4: a publication does not look at the record */
    MUTANT_JOB_BASE_IGNORED = 125,   /* a record is taken whatever it builds on */
    MUTANT_JOB_END_UNDONE = 126,     /* J6: a record follows one that says how the job ended */
    MUTANT_JOB_EPOCH_AGAIN = 127,    /* a new owner is given the epoch that the last one has */
    MUTANT_JOB_STAGE_ANY = 128,      /* attempts of older owners may stage */
    MUTANT_JOB_WINNERS_GO = 129,     /* what is cleaned is the result as well */
    MUTANT_JOB_STAGING_STAYS = 130,  /* what losers staged is not cleaned */
    MUTANT_JOB_NAME_TWICE = 131,     /* submitted twice, it is two jobs */
    MUTANT_JOB_FORGET_PART = 132,    /* what is forgotten leaves what it had staged */
    MUTANT_JOB_LOST_IS_END = 133,    /* a map's output that is gone is an empty one to a reduce */
    MUTANT_JOB_RANGES_OVERLAP = 134, /* a new owner divides the snapshot in another way */
    MUTANT_JOB_NEW_CUT = 135,     /* a new owner makes a snapshot of its own, and keeps winners */
    MUTANT_JOB_ORPHANS = 136,     /* snapshots of jobs that are no more stay */
    MUTANT_JOB_STRANDED = 137,    /* who waits for nodes that are gone waits for ever */
    MUTANT_JOB_PIECE_TWICE = 138, /* a piece that comes again is taken again */
};

#ifdef SYNOD_MUTANTS
extern int mutant_active; /* defined once, by the program that plants the bug */
#define MUTANT(id) (mutant_active == (int)(id))
#else
#define MUTANT(id) 0
#endif

#endif
