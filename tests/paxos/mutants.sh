#!/bin/sh
# mutants.sh EXPLORER HUNT TRACE EXPLORER-RECONFIG RECONFIG: each planted bug of src/paxos must be found by the tool named in its row, and without a bug each
# tool must be content. Prints one line a mutant; fails if one survives.
explorer=$1 hunt=$2 trace=$3 members=$4 reconfig=$5 survivors=0

. "$(dirname "$0")/../found.sh"

search="--crashes 1 --dups 0 --fetches 0"
wide="--ballots 3 --data 2 --crashes 0 --dups 0 --fetches 0 --walks 400000"
changes="--ballots 3 --configs 2 --data 1 --crashes 1 --dups 0 --walks 1000000"
leases="--leases --dups 0 --fetches 0 --walks 1000000"

found 1 "promise before sync"            "$explorer" --mutant 1 $search
found 2 "reused ballot"                  "$explorer" --mutant 2 $search
found 3 "base ignored"                   "$explorer" --mutant 3 $wide
found 4 "accepted suffix dropped"        env SYNOD_MUTANT=4 "$trace"
found 5 "own value on a commit notice"   "$explorer" --mutant 5 $search
found 6 "majority minus one"             "$explorer" --mutant 6 $search
found 7 "promise forgotten"              "$explorer" --mutant 7 $search
found 8 "accept over a gap"              "$explorer" --mutant 8 $search
found 9 "no-op over accepted"            "$explorer" --mutant 9 $search
found 10 "serving before the barrier"    "$explorer" --mutant 10 $search
found 11 "own vote before sync"          "$explorer" --mutant 11 $search
found 12 "lowest ballot wins"            "$explorer" --mutant 12 $wide
found 13 "accept below the promise"      "$explorer" --mutant 13 $search
found 14 "stale confirmation"            env SYNOD_MUTANT=14 "$trace"
found 20 "no wait after a restart"       "$hunt" --mutant 20
found 21 "drift not counted"             "$hunt" --mutant 21
found 22 "lease from receipt"            "$explorer" --mutant 22 $leases
found 23 "grant ignored"                 "$explorer" --mutant 23 $leases
found 24 "lease mark ignored"            "$explorer" --mutant 24 $leases
found 25 "lease of a minority"           "$explorer" --mutant 25 $leases
found 26 "lease kept on transfer"        "$explorer" --mutant 26 $leases
found 27 "configuration when accepted"   "$members" --mutant 27 $changes
found 28 "learner votes"                 "$members" --mutant 28 $changes
found 29 "no barrier"                    "$members" --mutant 29 $changes
found 30 "no phase 1 after adopting"     "$members" --mutant 30 $changes
found 31 "configuration's base ignored"  env SYNOD_MUTANT=31 "$reconfig"
found 32 "peers by index"                "$members" --mutant 32 $changes
found 33 "lease over a configuration"    env SYNOD_MUTANT=33 "$reconfig"
found 34 "ballot below the configuration" env SYNOD_MUTANT=34 "$reconfig"
found 35 "support for a stranger"        env SYNOD_MUTANT=35 "$reconfig"
found 36 "support before an answer"      "$members" --mutant 36 --leases --ballots 3 --beats 4 --walks 300000

"$hunt" --seeds 500 || survivors=$((survivors + 1))
"$hunt" --reconfigure 1 --seeds 500 || survivors=$((survivors + 1))
"$reconfig" >/dev/null 2>&1 || { echo "the reconfiguration tests fail without a bug"; survivors=$((survivors + 1)); }
"$trace" >/dev/null 2>&1 || { echo "the trace tests fail without a bug"; survivors=$((survivors + 1)); }
test $survivors -eq 0
