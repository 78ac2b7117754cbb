#!/usr/bin/env python3
"""Jobs whose workers are killed, that are cancelled, that lose their snapshot or their disk's room, and all of it at random: each gives the
exact answer once, or says why not, and leaves nothing behind.  jobs_days.py SYNOD [--long]"""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, Skip, expect, main, run, scenario, until
from jobkit import (DOCS, ENDED, SPIN, Jobs, as_commands, at_once, begun, exact, forgotten, kill_worker, load, met, nothing_left, read_prefix,
                    slow, still_mine, workers)

MIB = 1 << 20


# ---- workers ----

def worker_killed(c, jobs, state):
    name, twin = met(c, jobs, state)
    killed = 0

    def hit():
        nonlocal killed
        for n in c.nodes:
            for pid in workers(n)[:1]:
                killed += kill_worker(pid)
        return killed >= 3 or jobs.state(name) in ENDED
    until(20, "three workers were killed", hit, pause=0.1)
    expect(killed, "no worker was killed in", state)
    exact(c, jobs, name, twin)
    said = [line for line in jobs.log(name) if "attempt" in line and "signal" in line or "killed" in line]
    expect(said, "nobody says that a worker was killed:", jobs.log(name))
    nothing_left(c)
    forgotten(c)


@scenario(limit=90, backends=("epoll",))
def workers_that_are_killed_are_replaced(env):
    c, jobs = begun(env)
    worker_killed(c, jobs, "map")
    worker_killed(c, jobs, "reduce")
    jobs.submit("hopeless", "TASKS", 1, "LUA", "function task(i, n, emit) while true do end end", "REDUCE", "SUM")

    def hit():
        for n in c.nodes:
            for pid in workers(n):
                kill_worker(pid)
        return jobs.state("hopeless") in ENDED
    until(40, "five attempts were killed", hit, pause=0.1)
    jobs.failed("hopeless", "signal")
    nothing_left(c)


@scenario(limit=90, backends=("uring",))
def a_worker_that_is_stopped_is_given_up(env):
    """As when the machine swaps, or somebody stops it: no heartbeat comes, so the attempt fails and is made elsewhere."""
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    jobs.submit("stops", "TASKS", 6, "LUA", SPIN + "function task(i, n, emit) spin(700) emit('n', i) end", "REDUCE", "SUM")
    expect(jobs.caught("stops", "map") == "map")
    pid = until(10, "there is a worker", lambda: next((p for n in c.nodes for p in workers(n)), None), pause=0.01)
    os.kill(pid, signal.SIGSTOP)
    jobs.done("stops", seconds=70)
    expect(jobs.result("stops").dict() == {b"n": b"15"}, jobs.result("stops").rows)
    nothing_left(c)
    expect(not os.path.exists(f"/proc/{pid}"), "the stopped worker is still there")


# ---- cancelling ----

@scenario(limit=90, backends=("uring",))
def cancel_ends_a_job_in_any_state(env):
    c, jobs = begun(env)
    for state in ("cut", "map", "reduce", "committing"):
        other = c.others(jobs.owner())[0]
        name, twin = met(c, jobs, state, paused=other)
        began = time.monotonic()
        expect(jobs.do("CANCEL", name, node=jobs.owner()) == b"OK")
        if state == "cut":
            jobs.resume()
        how = jobs.ended(name, 20)
        expect(how == "cancelled" or (how == "done" and state == "committing"), f"cancelled in {state}: {how}")
        got = read_prefix(c.nodes[1], f"{name}:")
        expect(got == (twin if how == "done" else {}), f"{how}, and there are {len(got)} keys")
        if how == "cancelled":
            reply = jobs.do("RESULT", name)
            expect(isinstance(reply, Err) and reply.startswith("JOBFAILED") and "cancelled" in reply, reply)
            reply = jobs.do("CANCEL", name)
            expect(isinstance(reply, Err) and "ended" in reply, "cancelled twice", reply)
        print(f"# in {state}: {how} after {time.monotonic() - began:.1f} s", flush=True)
        nothing_left(c)
        forgotten(c)
    jobs.submit("early", "MAP", "COUNT")
    expect(jobs.do("CANCEL", "early") == b"OK" or jobs.state("early") == "done")
    jobs.ended("early")
    nothing_left(c)


@scenario(limit=60, backends=("epoll",))
def what_a_job_made_goes_when_the_job_is_forgotten_meanwhile(env):
    """A snapshot that is made after the job's end and after its rows went, and workers of a job whose rows all went at once."""
    c, jobs = begun(env)
    other = c.others(jobs.owner())[0]
    name, _ = met(c, jobs, "cut", paused=other)
    expect(jobs.do("CANCEL", name, node=jobs.owner()) == b"OK")
    expect(jobs.ended(name) == "cancelled")
    jobs.forget(name)
    jobs.resume()
    time.sleep(2)
    nothing_left(c)
    jobs.submit("endless", "MAP", "LUA", "function map() while true do end end", "REDUCE", "SUM", "MATCH", "doc:*")
    until(20, "workers run", lambda: [p for n in c.nodes for p in workers(n)])
    expect(c.nodes[1].do("FLUSHALL") == b"OK")
    nothing_left(c)
    load(c, as_commands(DOCS))
    answers = at_once([lambda n=n: [jobs.run("COUNT", node=n).rows for _ in range(4)] for n in c.nodes + c.nodes])
    expect(answers == [[[(b"count", b"300")]] * 4] * 6, "many at once", answers)
    nothing_left(c)


# ---- snapshots and disks ----

@scenario(limit=60, backends=("epoll",))
def a_job_whose_snapshot_is_dropped_says_so(env):
    c, jobs = begun(env)
    name, twin = met(c, jobs, "map")
    row = c.any().do("SNAPSHOT", "LIST")
    expect(len(row) == 1, "a running job has one snapshot", row)
    snapshot = row[0][1] if isinstance(row[0], list) else row[0]
    expect(c.nodes[1].do("SNAPSHOT", "DROP", snapshot) == 1, "DROP of", snapshot)
    error = jobs.failed(name, "snapshot")
    print(f"# it says: {error}", flush=True)
    expect(read_prefix(c.any(), f"{name}:") == {}, "and it wrote")
    nothing_left(c)
    mine = c.nodes[0].do("SNAPSHOT", "CREATE")
    c.nodes[1].do("SNAPSHOT", "DROP", mine)
    jobs.submit("given", "MAP", "COUNT", "SNAPSHOT", mine)
    jobs.failed("given", "snapshot")
    nothing_left(c)
    forgotten(c)


@scenario(limit=90, backends=("epoll",))
def a_node_whose_disk_is_full_fails_its_attempts_and_others_make_them(env):
    small = f"{env.dir}/small"
    os.mkdir(small)
    if run(["mount", "-t", "tmpfs", "-o", "size=200m", "synod-test", small]).returncode != 0:
        raise Skip("a small file system cannot be mounted here")
    env.cleanup(lambda: run(["umount", "-l", small]))
    c = env.cluster(groups=4)
    n = c.nodes[2]
    n.dir = f"{small}/data"
    c.up()
    jobs = Jobs(c)
    with open(f"{small}/ballast", "wb") as ballast:
        room = os.statvfs(small)
        os.posix_fallocate(ballast.fileno(), 0, max(MIB, room.f_bavail * room.f_bsize - 100 * MIB))
    jobs.submit("big", "TASKS", 6, "LUA", "function task(i, n, emit) for k = 1, 150000 do emit(k % 1000, ('x'):rep(400) .. i .. k) end end\n"
                "function reduce(k, vs, emit) local n = 0 for v in vs do n = n + #v end emit(k, n) end", "LIMITS", "MEMORY", "16m")
    jobs.done("big", seconds=80)
    twin = {}
    for i in range(6):
        for k in range(1, 150001):
            twin[k % 1000] = twin.get(k % 1000, 0) + 400 + len(f"{i}{k}")
    expect(jobs.result("big").dict() == {str(k).encode(): str(v).encode() for k, v in twin.items()}, "big")
    said = [line for line in jobs.log("big") if "No space" in line or "full" in line]
    expect(said, "no attempt met the full disk:", jobs.log("big"))
    os.unlink(f"{small}/ballast")
    expect(n.alive(), "the node with the full disk ended:", n.said()[-300:])
    nothing_left(c)
    forgotten(c)


# ---- all of it ----

@scenario(limit=90, backends=("uring",))
def jobs_end_well_whoever_dies_and_when(env):
    """Jobs of all kinds while two of three nodes die at random and come back, and workers are killed: all are done, for the third one keeps
    their snapshots."""
    c, jobs = begun(env)
    total = 0
    for turn in range(env.seconds(1, 20)):
        twins = {}
        for i, state in enumerate(("map", "reduce", "committing")):
            twins[f"{turn}-{i}"] = slow(jobs, f"{turn}-{i}", state)
        while any(jobs.state(name) not in ENDED for name in twins):
            time.sleep(env.rng.random() * 0.8)
            victim = env.rng.choice(c.nodes[:2])
            if env.rng.random() < 0.3:
                for pid in workers(victim)[:1]:
                    kill_worker(pid)
                continue
            victim.kill()
            time.sleep(env.rng.random() * 0.5)
            victim.start()
            c.wait_ready()
            total += 1
            if total % 4 == 0:
                time.sleep(3)
        for name, twin in twins.items():
            exact(c, jobs, name, twin)
        nothing_left(c)
        for name, twin in twins.items():
            still_mine(c, name, twin)
        forgotten(c)
    print(f"# nodes died {total} times", flush=True)
    c.expect_equal_digests()


if __name__ == "__main__":
    sys.exit(main())
