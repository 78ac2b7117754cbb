#!/usr/bin/env python3
"""Two nodes with data and a witness.  witness.py SYNOD [--long]"""
import os
import shutil
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Load, expect, main, scenario, until

MB = 1 << 20
WITNESS_LOG = 6 * 64 * MB  # four segments, the one that is begun, a spare


def two_and_a_witness(env):
    """Nodes 1 and 2 found the cluster, node 3 joins as a witness of all groups."""
    c = env.cluster(nodes=2, spares=1, groups=8)
    c.up()
    w = c.newcomer()
    w.extra = ["--witness"]
    c.joined(w.start())
    c.settled({1: (8, 8), 2: (8, 8), 3: (8, 8)})
    roles = {r["role"] for g in c.nodes[0].status()["groups"] for r in g["replicas"] if r["node"] == w.id}
    expect(roles == {"witness"}, "node 3 has the roles", roles)
    return c, w


def row_of(n, node_id):
    return next(r for r in n.status()["nodes"] if r["id"] == node_id)


def expect_shown_as_witness(c, w):
    expect([r["id"] for r in c.any().status()["nodes"] if r["witness"]] == [w.id], "who is shown as a witness")
    slots = c.nodes[0].do("CLUSTER", "SLOTS")
    expect(all(node[1] != w.port for row in slots for node in row[2:]), "clients are sent to the witness:", slots)
    expect(str(w.port).encode() not in c.nodes[0].do("CLUSTER", "NODES"), "CLUSTER NODES shows the witness")
    expect(w.do("SYNOD", "DIGEST") == b"", "a witness has no data to show")


@scenario(limit=120)
def two_nodes_and_a_witness_go_on_whichever_is_killed(env):
    c, w = two_and_a_witness(env)
    expect_shown_as_witness(c, w)
    with Load(c.nodes, pause=0.001) as load:
        load.grows(200)
        for n in (c.leader_of("a"), *(c.nodes[:2]), w):
            n.kill()
            load.nodes = c.others(n)
            load.grows(100)
            n.start()
            c.wait_ready()
            load.nodes = c.nodes
            load.grows(100)
    load.check(w)
    c.expect_equal_digests(40)
    print(f"# longest stall {load.stall:.2f} s", flush=True)


@scenario(limit=180, backends=("epoll",))
def a_witness_stays_small(env):
    c, w = two_and_a_witness(env)
    value = os.urandom(1 * MB)
    with c.nodes[0].conn(60) as conn:
        for i in range(700):
            expect(conn.do("SET", f"large:{i}", value) == b"OK")
    until(30, "the witness lets go of its log", lambda: row_of(w, w.id)["log_bytes"] <= WITNESS_LOG)
    sizes = {i: (row_of(c.any(), i)["disk_bytes"], row_of(c.any(), i)["log_bytes"]) for i in (1, 2, 3)}
    print("# store and log, MB:", {i: (d // MB, l // MB) for i, (d, l) in sizes.items()}, flush=True)
    expect(sizes[3][0] < MB and sizes[1][0] > 100 * MB, "stores have", sizes)
    c.nodes[0].kill()
    expect(c.ask("GET", "large:699", node=w) == value)


@scenario(limit=180, backends=("epoll",))
def what_the_lost_disk_had_is_with_the_witness(env):
    """Node 2 is away while node 1 and the witness acknowledge; then node 1's disk is lost, and node 2 comes back."""
    c, w = two_and_a_witness(env)
    first, second, _ = c.nodes
    with Load([first, w], pause=0.001) as load:
        load.grows(200)
        second.kill()
        load.grows(2000, seconds=60)
    first.kill()
    shutil.rmtree(first.dir)
    second.start()
    c.wait_ready([second, w])
    load.check(second, at_least=2000)

    first.how = ["--join", second.peer]
    c.joined(first.start(), seconds=60)
    c.settled({first.id: (8, 8), 2: (8, 8), 3: (8, 8)})
    load.check(first, at_least=2000)
    c.expect_equal_digests(40)


if __name__ == "__main__":
    sys.exit(main())
