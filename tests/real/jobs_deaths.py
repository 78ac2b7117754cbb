#!/usr/bin/env python3
"""Jobs while worker processes, nodes and owners die, stop and come back, are cancelled, or lose their snapshot or their disk's room: each
gives the exact answer once, or says why not, and leaves nothing behind.  jobs_deaths.py SYNOD [--long]"""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, Skip, expect, main, run, scenario, until
from jobkit import (ENDED, SPIN, Jobs, as_commands, as_rows, documents, forgotten, kill_worker, load, nothing_left, read_prefix,
                    word_counts, workers)

MIB = 1 << 20
STATES = ("cut", "map", "reduce", "committing")
DOCS = documents(300)
COUNTS = as_rows(word_counts(DOCS.values()))
WORDS = SPIN + """
function map(k, v, emit) spin(%d) for w in v:gmatch('%%a+') do emit(w, 1) end end
function reduce(w, counts, emit)
  local n = 0
  for c in counts do n = n + c end
  spin(%d)
  emit(w, n)
end
"""
PUBLISHES = "function task(i, n, emit) for k = 1, 2000 do emit(i .. ':' .. k, ('x'):rep(1500) .. k) end end\n" \
    "function reduce(k, vs, emit) emit(k, vs()) end"
PUBLISHED = {f"{i}:{k}".encode(): b"x" * 1500 + str(k).encode() for i in range(4) for k in range(1, 2001)}


def slow(jobs, name, state):
    """Submits a job that can be met in this state. Returns what the keys `name:` are to be."""
    if state == "committing":
        jobs.submit(name, "TASKS", 4, "LUA", PUBLISHES, "INTO", f"{name}:")
        return PUBLISHED
    ms = {"cut": (0, 0), "map": (15, 0), "reduce": (0, 60)}[state]
    jobs.submit(name, "MAP", "LUA", WORDS % ms, "MATCH", "doc:*", "PARTITIONS", 6, "INTO", f"{name}:")
    return COUNTS


def met(c, jobs, state, paused=None):
    """Starts jobs until one was met in this state: its name, and what it is to give. With a node paused, no cut can end."""
    for turn in range(20):
        name = f"{state}{turn}"
        if state == "cut":
            paused.pause()
        twin = slow(jobs, name, state)
        if jobs.caught(name, state):
            return name, twin
        if state == "cut":
            paused.resume()
        jobs.done(name)
        jobs.forget(name)
    raise AssertionError(f"no job was ever seen in {state}")


def exact(c, jobs, name, twin, seconds=60):
    jobs.done(name, seconds)
    got = read_prefix(c.any(), f"{name}:")
    expect(got == twin, f"{name}: {len(got)} keys, not {len(twin)}; or others:", [(k, v[:40], twin.get(k, b"")[:40]) for k, v in got.items()
                                                                                      if twin.get(k) != v][:3], jobs.log(name)[-8:])
    for n in c.nodes:  # a second publication would undo it
        if n.alive():
            expect(n.do("SET", f"{name}:{next(iter(twin)).decode()}", "mine") == b"OK")
            break


def still_mine(c, name, twin):
    key = f"{name}:{next(iter(twin)).decode()}"
    expect(c.any().do("GET", key) == b"mine", f"{key} was written again after the job was done")


def dies(c, jobs, state, victim, paused):
    """The victim dies while a job is in this state; the job's answer is exact all the same."""
    name, twin = met(c, jobs, state, paused)
    orphans = workers(victim)
    victim.kill()
    if paused is not victim and state == "cut":
        paused.resume()
    exact(c, jobs, name, twin)
    expect(not [p for p in orphans if os.path.exists(f"/proc/{p}")], "workers outlive their node")
    victim.start()
    c.wait_ready()
    nothing_left(c)
    still_mine(c, name, twin)
    expect(any("node" in line for line in jobs.log(name)))
    forgotten(c)


@scenario(limit=120, backends=("epoll",))
def a_job_goes_on_when_a_node_dies_in_any_state(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
    for state in STATES:
        began = time.monotonic()
        victim = c.others(jobs.owner())[0]
        dies(c, jobs, state, victim, paused=victim)
        print(f"# {state}: {time.monotonic() - began:.1f} s", flush=True)
    c.expect_equal_digests()


@scenario(limit=120, backends=("uring",))
def a_job_goes_on_when_its_owner_dies_in_any_state(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
    for state in STATES:
        began = time.monotonic()
        owner = jobs.owner()
        dies(c, jobs, state, owner, paused=c.others(owner)[0])
        print(f"# {state}: {time.monotonic() - began:.1f} s", flush=True)
    c.expect_equal_digests()


@scenario(limit=90, backends=("epoll",))
def an_owner_that_was_away_longer_than_its_lease_does_no_harm(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
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
        nothing_left(c)
        still_mine(c, name, twin)
        forgotten(c)
    c.expect_equal_digests()


@scenario(limit=90, backends=("uring",))
def when_all_nodes_die_a_job_that_reads_says_so_and_one_that_does_not_goes_on(env):
    """Snapshots are in the memory of nodes: none survives all of them."""
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
    for state in ("map", "reduce"):
        name, _ = met(c, jobs, state)
        jobs.submit("tasks", "TASKS", 12, "LUA", SPIN + "function task(i, n, emit) spin(300) emit('n', i) end", "REDUCE", "SUM", "INTO", "tasks:")
        expect(jobs.caught("tasks", "map") == "map")
        c.restart_all()
        jobs.failed(name, "snapshot")
        expect(read_prefix(c.any(), f"{name}:") == {}, "and it wrote")
        exact(c, jobs, "tasks", {b"n": b"66"})
        nothing_left(c)
        still_mine(c, "tasks", {b"n": b"66"})
        forgotten(c)
    c.expect_equal_digests()


@scenario(limit=90, backends=("epoll",))
def a_node_that_restarts_at_once_has_lost_its_outputs_and_they_are_made_again(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
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
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
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
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
    for state in STATES:
        other = c.others(jobs.owner())[0]
        name, twin = met(c, jobs, state, paused=other)
        began = time.monotonic()
        expect(jobs.do("CANCEL", name, node=jobs.owner()) == b"OK")
        if state == "cut":
            other.resume()
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


# ---- snapshots and disks ----

@scenario(limit=60, backends=("epoll",))
def a_job_whose_snapshot_is_dropped_says_so(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
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

@scenario(limit=90)
def jobs_end_well_whoever_dies_and_when(env):
    """Jobs of all kinds while nodes die at random and come back, and workers are killed."""
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
    total = 0
    for turn in range(env.seconds(2, 20)):
        twins = {}
        for i, state in enumerate(("map", "reduce", "committing")):
            twins[f"{turn}-{i}"] = slow(jobs, f"{turn}-{i}", state)
        while any(jobs.state(name) not in ENDED for name in twins):
            time.sleep(env.rng.random() * 0.8)
            victim = env.rng.choice(c.nodes)
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
        done = {name: twin for name, twin in twins.items() if jobs.state(name) == "done"}
        for name in set(twins) - set(done):  # all nodes that had the snapshot died, one after another
            jobs.failed(name, "snapshot")
            expect(read_prefix(c.any(), f"{name}:") == {}, f"{name} failed, and it wrote")
        for name, twin in done.items():
            exact(c, jobs, name, twin)
        print(f"# {len(done)} of {len(twins)} jobs are done", flush=True)
        nothing_left(c)
        for name, twin in done.items():
            still_mine(c, name, twin)
        forgotten(c)
    print(f"# nodes died {total} times", flush=True)
    c.expect_equal_digests()


if __name__ == "__main__":
    sys.exit(main())
