#!/usr/bin/env python3
"""One cluster of real processes through its life: founding, deaths, pauses, restarts.  cluster.py SYNOD [--long]"""
import random
import re
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Conn, Err, Load, expect, free_ports, main, outcome, run, scenario, until

LEASE = 0.4  # seconds; of node_config


@scenario()
def three_nodes_found_a_cluster_and_any_of_them_serves_any_key(env):
    c = env.cluster().up()
    keys = [f"k{i}" for i in range(64)]
    for i, key in enumerate(keys):
        expect(c.nodes[i % 3].do("SET", key, i) == b"OK", "SET", key)
    for n in c.nodes:
        with n.conn() as conn:
            got = conn.pipeline([("GET", k) for k in keys])
        expect(got == [b"%d" % i for i in range(64)], f"node {n.number} reads", got)
        expect(n.do("DBSIZE") == 64, f"DBSIZE through node {n.number}")
    leaders = {g["leader"] for g in c.nodes[0].status()["groups"]}
    expect(leaders <= {1, 2, 3} and 0 not in leaders, "leaders", leaders)
    c.expect_equal_digests()
    until(10, "digests count all keys", lambda: sum(d[2] for d in c.nodes[2].digests().values()) == 64)


@scenario(limit=60)
def readonly_connections_read_at_replicas_and_never_staler_than_they_allow(env):
    c = env.cluster().up()
    leader = c.leader_of("k")
    follower = c.others(leader)[0]
    stale = lambda: int(re.search(rb"reads_stale:(\d+)", follower.do("INFO", "stats"))[1])
    with follower.conn() as conn:
        expect(conn.do("READONLY", "MAXLAG", "-1").startswith("ERR"), "a bound that is none")
        expect(conn.do("READONLY") == b"OK", "READONLY")
        for i in range(5):
            expect(leader.do("SET", "k", i) == b"OK", "SET")
            time.sleep(1.1)  # the bound, which is 1000 ms, and a little
            got = conn.do("GET", "k")
            expect(got == b"%d" % i, "1.1 s after the write a READONLY connection reads", got)
        expect(stale() >= 3, "replicas answered", stale(), "of 5 reads")
        expect(conn.do("SET", "k", "x") == b"OK", "it may write")
        expect(conn.do("READWRITE") == b"OK" and conn.do("GET", "k") == b"x", "and reads what it wrote after READWRITE")
        expect(conn.do("READONLY", "MAXLAG", "0") == b"OK", "MAXLAG 0")
        before = stale()
        leader.do("SET", "k", "y")
        expect(conn.do("GET", "k") == b"y" and stale() == before, "MAXLAG 0 reads at the leader")


@scenario(limit=90)
def a_killed_node_is_not_missed_and_comes_back(env):
    """Each node in turn dies by kill -9 under load. What is written through one survivor is read at once through the other, whoever led."""
    c = env.cluster().up()
    with Load(c.nodes) as load:
        for victim in c.nodes if env.long else env.rng.sample(c.nodes, 2):
            load.grows()
            victim.kill()
            a, b = c.others(victim)
            agree_at_every_moment(a, b, seconds=env.seconds(1.5, 10), tag=f"v{victim.number}")
            c.wait_ready([a, b])
            load.grows()
            victim.start()
            c.wait_ready()
            load.grows()
    expect(load.fault is None, load.fault)
    load.check(c.nodes[0])
    c.expect_equal_digests()


def agree_at_every_moment(writer, reader, seconds, tag):
    """SET through one, GET through the other, for a while: the value read is the one just written, or newer than none other.

    Errors of a failover are answers too; only a wrong value, a refusal that lasts or silence is a fault."""
    end, i, good, last_good = time.monotonic() + seconds, 0, 0, time.monotonic()
    with writer.conn(20) as w, reader.conn(20) as r:
        while time.monotonic() < end or good == 0:
            i += 1
            key = f"agree:{tag}:{i % 32}"
            wrote = w.do("SET", key, i)
            read = r.do("GET", key)
            if isinstance(wrote, Err) or isinstance(read, Err):
                expect(time.monotonic() - last_good < 12, "still refused after 12 s:", wrote, read)
                continue
            expect(read == b"%d" % i, f"SET {key} {i} was acknowledged by node {writer.number}, and node {reader.number} then read", read)
            good, last_good = good + 1, time.monotonic()
    expect(good > 5, f"only {good} of {i} pairs were served within {seconds} s")


@scenario(limit=90)
def nothing_acknowledged_is_missing_after_all_nodes_are_killed_at_once(env):
    c = env.cluster().up()
    with Load(c.nodes, threads=6) as load:
        for _ in range(env.seconds(2, 10)):
            load.grows(200)
            c.restart_all()
            load.grows(50)
    load.check(c.nodes[env.rng.randrange(3)], at_least=500)
    c.expect_equal_digests()


@scenario(limit=90)
def a_paused_leader_never_answers_with_what_was_true_before(env):
    """SIGSTOP of a leader for longer than its lease, while the others elect and write on. Requests that wait in its sockets when it goes
    on must see the new values: it may not answer from a lease that ended while it slept."""
    c = env.cluster().up()
    keys = [f"p{i}" for i in range(60)]
    for i in range(env.seconds(2, 12)):
        leader = c.leader_of(keys[0])
        a, b = c.others(leader)
        mine = [k for k in keys if c.leader_of(k, a) is leader][:8]
        for k in mine:
            expect(outcome(until_done(a, "SET", k, f"old{i}")) == "done")
        with leader.conn(20) as asleep, Load([a, b], threads=2, tag=f"l{i}") as load:
            asleep.do("PING")
            leader.pause()
            try:
                asleep.raw(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(k), k.encode()) for k in mine * 4))
                for k in mine:
                    until_done(b, "SET", k, f"new{i}")
                time.sleep(3 * LEASE)
                load.grows()
            finally:
                leader.resume()
            for k in mine * 4:
                got = asleep.reply()
                expect(got == f"new{i}".encode() or isinstance(got, Err), f"{k} was new{i} at a majority, and node {leader.number} answered", got)
            for k in mine:
                got = until_done(leader, "GET", k)
                expect(got == f"new{i}".encode(), f"{k} through the resumed node reads", got)
        load.check(leader)
        c.wait_ready()
    c.expect_equal_digests()


def until_done(node, *command, seconds=15):
    """Sends it again after an error of a failover, on a new connection each time."""
    def attempt():
        try:
            reply = node.do(*command)
        except OSError:
            return None
        return None if isinstance(reply, Err) else [reply]
    return until(seconds, f"{' '.join(command)} through node {node.number}", attempt)[0]


@scenario(limit=90)
def an_orderly_stop_under_load_loses_nothing(env):
    """`synod cluster up`, `kill`, `start`, `down`, as a person would, with load all the while."""
    port = free_ports(3)
    where = ["--dir", f"{env.dir}/cluster"]

    def synod(*words):
        return run([env.synod, "cluster", *words, *where], check=True)
    env.cleanup(lambda: run([env.synod, "cluster", "down", *where], timeout=30))
    synod("up", "--port", str(port), "--io", env.io)
    nodes = [Named(port + i, i + 1) for i in range(3)]
    with Load(nodes) as load:
        load.grows(100)
        synod("kill", "2")
        load.grows(50)
        synod("start", "2")
        load.grows(50)
        synod("down")
    expect(load.fault is None, load.fault)
    synod("up")
    load.check(nodes[1], at_least=200)
    expect("UNKNOWN" not in load.replies or load.replies["UNKNOWN"] < 200, "an orderly stop leaves many outcomes unknown", load.replies)


class Named:
    """A node that `synod cluster` looks after."""

    def __init__(self, port, number):
        self.address, self.number = ("127.0.0.1", port), number

    def conn(self, timeout=15.0):
        return Conn(self.address, timeout)


@scenario(limit=60)
def connections_to_a_node_that_stops_orderly_get_their_answers(env):
    """SIGTERM to one node while clients use the others: its leaderships are handed over, so no client of theirs waits for an election."""
    c = env.cluster().up()
    for victim in env.rng.sample(c.nodes, 2 if not env.long else 3):
        with Load(c.others(victim), pause=0.002) as load:
            load.grows()
            victim.signal(15)
            expect(victim.ended() == 0, "exit status")
            load.grows(100)
        load.check(c.any())
        expect(load.stall < 5, f"a client of another node waited {load.stall:.1f} s")
        victim.start()
        c.wait_ready()
    c.expect_equal_digests()


@scenario(limit=60)
def a_lagging_node_catches_up_from_the_others_logs(env):
    c = env.cluster().up()
    away = env.rng.choice(c.nodes)
    away.kill()
    with Load(c.others(away), threads=4, value=random.Random(1).randbytes(4000)) as load:
        load.grows(2000 * (1 if not env.long else 20), seconds=60)
    away.start()
    c.wait_ready()
    c.expect_equal_digests(seconds=40)
    load.check(away)


@scenario(limit=60)
def a_minority_answers_that_it_cannot_and_does_not_hang(env):
    """One node of three, alone: reads and writes get an error within the documented ten seconds, and nothing of it happened later."""
    c = env.cluster().up()
    alone = c.nodes[0]
    expect(alone.do("SET", "m", "before") == b"OK")
    for n in c.others(alone):
        n.kill()
    time.sleep(1.5)  # until its leases have run out: before that it may answer a read, and rightly
    answers = {}

    def ask(word, *command):
        answers[word] = alone.do(*command, timeout=25)
    threads = [threading.Thread(target=ask, args=a, daemon=True)
               for a in (("set", "SET", "m", "after"), ("get", "GET", "m"), ("set2", "SET", "other", "1"), ("dbsize", "DBSIZE"))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(25)
    expect(len(answers) == 4, "some got no answer within 25 s:", answers)
    for word, reply in answers.items():
        expect(isinstance(reply, Err) and reply.startswith(("CLUSTERDOWN", "UNKNOWN", "TRYAGAIN")), word, "was answered", reply)
    for n in c.others(alone):
        n.start()
    c.wait_ready()
    allowed = [b"before"] + ([b"after"] if outcome(answers["set"]) == "unknown" else [])
    expect(c.nodes[2].do("GET", "m") in allowed, "m reads", c.nodes[2].do("GET", "m"), answers)


if __name__ == "__main__":
    sys.exit(main())
