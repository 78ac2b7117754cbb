#!/usr/bin/env python3
"""Jobs while nodes and owners die, stop and come back, in each state of a job: each gives the exact answer once, or says why not, and leaves
nothing behind.  jobs_deaths.py SYNOD [--long]"""
import os
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import expect, main, scenario, until
from jobkit import SPIN, begun, exact, failed_cleanly, forgotten, met, nothing_left, still_mine, workers


STATES = ("cut", "map", "reduce", "committing")


def dies(c, jobs, state, victim, paused):
    """The victim dies while a job is in this state; the job's answer is exact all the same."""
    name, twin = met(c, jobs, state, paused)
    orphans = workers(victim)
    victim.kill()
    if paused is not victim and state == "cut":
        jobs.resume()
    jobs.away = None
    exact(c, jobs, name, twin)
    expect(not [p for p in orphans if os.path.exists(f"/proc/{p}")], "workers outlive their node")
    victim.start()
    c.wait_ready()
    nothing_left(c)
    still_mine(c, name, twin)
    forgotten(c)


@scenario(limit=120, backends=("epoll",))
def a_job_goes_on_when_a_node_dies_in_any_state(env):
    c, jobs = begun(env)
    for state in STATES:
        began = time.monotonic()
        victim = c.others(jobs.owner())[0]
        dies(c, jobs, state, victim, paused=victim)
        print(f"# {state}: {time.monotonic() - began:.1f} s", flush=True)
    c.expect_equal_digests()


@scenario(limit=120, backends=("uring",))
def a_job_goes_on_when_its_owner_dies_in_any_state(env):
    c, jobs = begun(env)
    for state in STATES:
        began = time.monotonic()
        owner = jobs.owner()
        dies(c, jobs, state, owner, paused=c.others(owner)[0])
        print(f"# {state}: {time.monotonic() - began:.1f} s", flush=True)
    c.expect_equal_digests()


@scenario(limit=180, backends=("epoll",))
def an_owner_that_was_away_longer_than_its_lease_does_no_harm(env):
    c, jobs = begun(env)
    for state in ("map", "reduce", "committing"):
        name, twin = met(c, jobs, state)
        owner = jobs.owner()
        owner.pause()
        others = c.others(owner)
        until(20, "another node leads group 0",
              lambda: next(g["leader"] for g in others[0].status()["groups"] if g["id"] == 0) not in (0, owner.id))
        time.sleep(1.5)
        owner.resume()
        exact(c, jobs, name, twin)
        owners = [line for line in jobs.log(name) if "owns the job" in line]
        expect(len(owners) >= 2 or state == "committing", "it had one owner only:", owners)
        nothing_left(c, seconds=75)  # nobody told it DROP while it was away: it forgets after a minute in which it heard nothing
        still_mine(c, name, twin)
        forgotten(c)
    c.expect_equal_digests()


@scenario(limit=90, backends=("uring",))
def when_all_nodes_die_a_job_goes_on_or_says_that_its_snapshot_is_gone(env):
    """A snapshot survives no restart, but where the log is replayed from before the cut it is made again."""
    c, jobs = begun(env)
    for state in ("map", "reduce"):
        name, twin = met(c, jobs, state)
        jobs.submit("tasks", "TASKS", 12, "LUA", SPIN + "function task(i, n, emit) spin(300) emit('n', i) end", "REDUCE", "SUM", "INTO", "tasks:")
        expect(jobs.caught("tasks", "map") == "map")
        c.restart_all()
        if not failed_cleanly(c, jobs, name):
            exact(c, jobs, name, twin)
        exact(c, jobs, "tasks", {b"n": b"66"})
        nothing_left(c)
        still_mine(c, "tasks", {b"n": b"66"})
        forgotten(c)
    c.expect_equal_digests()


@scenario(limit=90, backends=("epoll",))
def a_node_that_restarts_at_once_has_lost_its_outputs_and_they_are_made_again(env):
    c, jobs = begun(env)
    victim = c.others(jobs.owner())[1]
    name, twin = met(c, jobs, "reduce")
    victim.kill()
    victim.start()
    exact(c, jobs, name, twin)
    nothing_left(c)
    victim.pause()  # and one that only was away for a while has lost nothing
    time.sleep(0.5)
    victim.resume()
    c.wait_ready()
    name, twin = met(c, jobs, "reduce")
    victim.pause()
    time.sleep(5)
    victim.resume()
    exact(c, jobs, name, twin)
    nothing_left(c)
    forgotten(c)
    c.expect_equal_digests()


if __name__ == "__main__":
    sys.exit(main())
