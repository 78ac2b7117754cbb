# For the mutants.sh of each folder, which set `survivors=0` and source this.
found() { # number, what, command...: a planted bug and who must find it, with status 1; 2 would be a mistake of the caller's.
    # A test program (through env) finds it by failing in any way.
    number=$1 what=$2
    shift 2
    "$@" >/dev/null 2>&1
    status=$?
    test "$1" = env && test $status -ne 0 && status=1
    if test $status -eq 1; then
        echo "mutant $number dead: $what"
    else
        echo "mutant $number SURVIVED ($status): $what"
        survivors=$((survivors + 1))
    fi
}
