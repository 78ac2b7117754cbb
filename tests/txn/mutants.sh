#!/bin/sh
# mutants.sh EXPLORER: each planted bug of transactions over groups that the explorer can know of must be found by it, and without
# a bug it must be content. Prints one line a mutant; fails if one survives. Not here, for what they are about is not in the
# explorer's world: 99 (splits), 102 and 103 (locks); the simulator finds these.
explorer=$1 survivors=0

. "$(dirname "$0")/../found.sh"

one="--access ww --crashes 1 --changes 1 --losses 1"

found 42 "answers before what they saw is chosen" "$explorer" --mutant 42 $one
found 91 "another leadership's token"      "$explorer" --mutant 91 $one
found 92 "told not to be prepared, and may be" "$explorer" --mutant 92 $one
found 93 "forgotten is told as aborted"    "$explorer" --mutant 93 --access ww --crashes 0 --changes 1 --losses 1 --recoveries 3
found 94 "commits without the anchor's word" "$explorer" --mutant 94 $one
found 95 "a decision is told before it is chosen" "$explorer" --mutant 95 $one
found 96 "who is only read is not asked"   "$explorer" --mutant 96 --access rw,wr --crashes 0 --changes 0 --losses 0
found 97 "a new leader does not know who is prepared" "$explorer" --mutant 97 $one
found 98 "commands of one group look at no locks" "$explorer" --mutant 98 --access ww,a. --crashes 0 --changes 0 --losses 0
found 100 "forgotten before all know"      "$explorer" --mutant 100 $one
found 101 "who writes does not ask where it only read" "$explorer" --mutant 101 --access rw,wr --crashes 0 --changes 0 --losses 0
found 107 "holds, and what it read may be lost" "$explorer" --mutant 107 --access rw,a.,g. --crashes 0 --changes 1 --losses 0
found 106 "who is in doubt asks the anchor alone" "$explorer" --mutant 106 $one

"$explorer" $one || survivors=$((survivors + 1))
test $survivors -eq 0
