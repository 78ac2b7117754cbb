#!/bin/sh
# mutants.sh EXPLORER: each planted bug of cuts must be found by the explorer, and without one it must be content. Prints one line a
# mutant; fails if one survives. Not here: 116 (slots) and 117 (READONLY), for what they are about is not in the explorer's world.
explorer=$1 survivors=0

. "$(dirname "$0")/../found.sh"

few="--changes 1 --losses 0 --doubles 0 --runouts 1 --crashes 0 --attempts 1"

found 110 "replies to reads are not held"                 "$explorer" --mutant 110 --actors 12 $few
found 111 "a group lets go once its own SNAP is applied"  "$explorer" --mutant 111 --actors 12 $few
found 112 "who holds nothing says that it does"           "$explorer" --mutant 112 --actors 12 $few
found 114 "what is prepared in the cut is not read"       "$explorer" --mutant 114 --actors T3 $few
found 115 "what is prepared counts only if it is decided" "$explorer" --mutant 115 --actors T3 $few

"$explorer" --actors 12 $few || survivors=$((survivors + 1))
"$explorer" --actors T3 $few || survivors=$((survivors + 1))
test $survivors -eq 0
