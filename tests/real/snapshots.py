#!/usr/bin/env python3
"""Snapshots between nodes: newcomers that need what the log no longer has, and what can go wrong meanwhile.  snapshots.py SYNOD [--long]"""
import os
import random
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, Load, Skip, expect, main, run, scenario, until

MIB = 1 << 20
VALUE = 128 << 10


class Fill:
    """Enough data that engines were flushed and logs begin behind it: keys with values that no compression makes smaller."""

    def __init__(self, c, mib, tag="big"):
        self.count, self.tag = mib * MIB // VALUE, tag
        self.noise = random.Random(mib).randbytes(VALUE + self.count)
        threads = [threading.Thread(target=self._write, args=(c.nodes[i % len(c.nodes)], range(i, self.count, 3))) for i in range(3)]
        self.faults = []
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(not self.faults, self.faults)

    def value(self, i):
        return self.noise[i:i + VALUE]

    def _write(self, node, numbers):
        try:
            with node.conn(30) as conn:
                for i in numbers:
                    reply = conn.do("SET", f"{self.tag}:{i}", self.value(i))
                    for _ in range(200):
                        if reply == b"OK":
                            break
                        time.sleep(0.05)
                        reply = conn.do("SET", f"{self.tag}:{i}", self.value(i))
                    expect(reply == b"OK", "a value was answered", reply)
        except (OSError, AssertionError) as error:
            self.faults.append(error)

    def check(self, node, part=4):
        with node.conn(30) as conn:
            for i in random.sample(range(self.count), self.count // part):
                expect(conn.do("GET", f"{self.tag}:{i}") == self.value(i), f"{self.tag}:{i} through node {node.number}")


def sending(c, to):
    """(node that sends, group, percent) of a snapshot that is on its way to this node id, if there is one."""
    for n in c.nodes:
        if n.alive() and n.id != to:
            for g in n.status()["groups"]:
                for r in g["replicas"]:
                    if r["node"] == to and "snapshot_percent" in r:
                        return n, g["id"], r["snapshot_percent"]
    return None


def wait_sending(c, to):
    """The same, once there is one. A node that has its share before we look had nothing to wait for: (None, ...)."""
    def look():
        held, under_way = c.holders()
        return sending(c, to) or ((None, None, None) if len(held.get(to, ())) >= 2 and not under_way else None)
    return until(40, f"a snapshot is on its way to node {to}", look, pause=0)


def sent(c):
    return sum(int(line.split(b":")[1]) for n in c.nodes if n.alive() for line in n.do("INFO").splitlines() if line.startswith(b"snapshots_sent:"))


def fair(c, ids, groups):
    whole = groups * 3 / len(ids)
    return {i: (int(whole * 0.6), min(groups, int(whole * 1.4) + 1)) for i in ids}


@scenario(limit=150)
def snapshots_end_well_whoever_is_killed_meanwhile(env):
    """A newcomer is killed again and again while it takes its snapshots, another one's sources are; both come to all they should have."""
    c = env.cluster(groups=4, spares=2).up()
    began = time.monotonic()
    fill = Fill(c, env.seconds(100, 400))
    print(f"# {fill.count * VALUE // MIB} MiB were written in {time.monotonic() - began:.1f} s", flush=True)
    with Load(c.nodes, threads=2, pause=0.005) as load:
        load.grows(20)
        n = c.newcomer(c.nodes[0]).start()
        killed = []
        for _ in range(env.seconds(3, 10)):
            percent = wait_sending(c, 4)[2]
            if percent is None:
                break
            time.sleep(env.rng.random() * 0.05)
            n.kill()
            killed.append(percent)
            time.sleep(env.rng.random() * 0.2)
            n.start()
        c.joined(n)
        c.settled(fair(c, (1, 2, 3, 4), 4), seconds=90)
        print(f"# the target was killed at {killed} percent", flush=True)
        expect(sent(c) > 0, "no snapshot was needed; the data was too little")
        m = c.newcomer(c.nodes[0]).start()
        source, group, percent = wait_sending(c, 5)
        if source:
            source.kill()
            print(f"# the source of group {group} was killed at {percent} percent", flush=True)
            load.grows(20, seconds=30)
            time.sleep(env.rng.random())
            source.start()
        c.joined(m)
        c.wait_ready()
        c.settled(fair(c, (1, 2, 3, 4, 5), 4), seconds=90)
        load.grows(20)
    load.check(m)
    c.expect_equal_digests(seconds=40)
    fill.check(m)


@scenario(limit=150)
def a_snapshot_that_meets_a_full_disk_is_installed_when_there_is_room(env):
    small = f"{env.dir}/small"
    os.mkdir(small)
    if run(["mount", "-t", "tmpfs", "-o", "size=600m", "synod-test", small]).returncode != 0:
        raise Skip("a small file system cannot be mounted here")
    env.cleanup(lambda: run(["umount", "-l", small]))
    c = env.cluster(groups=2, spares=1).up()
    fill = Fill(c, 100)
    with Load(c.nodes, threads=2, pause=0.005) as load:
        load.grows(20)
        n = c.newcomer()
        n.dir = f"{small}/data"
        n.start()
        c.joined(n)
        taking = wait_sending(c, 4)
        with open(f"{small}/ballast", "wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(256 << 10)):
                    pass
            except OSError:
                pass  # full
        until(60, f"it says that its disk is full (group {taking[1]}): {n.said()[-500:]}",
              lambda: "No space left" in n.said() or "disk is nearly full" in n.said() or not n.alive())
        time.sleep(2)
        expect(n.alive(), "the node with the full disk ended:", n.said()[-500:])
        load.grows(20)
        for key in ("big:0", "big:1"):
            expect(not isinstance(n.do("GET", key), Err), f"{key} through the node with the full disk")
        os.unlink(f"{small}/ballast")
        c.settled(fair(c, (1, 2, 3, 4), 2), seconds=90)
        load.grows(20)
    load.check(n)
    c.expect_equal_digests(seconds=40)
    fill.check(n)


if __name__ == "__main__":
    sys.exit(main())
