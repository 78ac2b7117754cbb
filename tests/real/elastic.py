#!/usr/bin/env python3
"""Clusters that grow, shrink, mend themselves and split, under load.  elastic.py SYNOD [--long]

Load runs through every scenario and checks at the end that nothing acknowledged is lost. What takes how long is printed, not judged; only
a client that waits far too long for its answer is a fault. What is about the map more than about I/O runs on one backend."""
import os
import shutil
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, Load, expect, main, refused, scenario, until

STALL = 9.0  # seconds that one writer may be without an acknowledged write; an election takes a tenth of that
THREE = {i: (16, 16) for i in (1, 2, 3)}


def shares(*ids, groups=16, replicas=3):
    """What each of these nodes should have, within what is not worth a move."""
    fair = groups * replicas / len(ids)
    return {i: (int(fair * 0.8), min(groups, int(fair * 1.2) + 1)) for i in ids}


def finish(c, load, reader=None):
    """The load is over: nothing is lost, replicas are equal, nobody waited too long."""
    load.check(reader or c.any())
    c.expect_equal_digests(seconds=40)
    expect(load.stall < STALL, f"a writer was without an answer for {load.stall:.1f} s: {load.replies}")


def node_state(c, node_id):
    return next((n["state"] for n in c.any().status()["nodes"] if n["id"] == node_id), "not there")


# ---- growing ----

@scenario(limit=90)
def a_fourth_node_joins_under_load_and_takes_its_share(env):
    c = env.cluster(spares=1).up()
    with Load(c.nodes, pause=0.001) as load:
        load.grows(200)
        before = load.rate(1.5)
        count, began = load.count(), time.monotonic()
        n = c.joined(c.newcomer().start())
        c.settled(shares(1, 2, 3, 4))
        took = time.monotonic() - began
        during = (load.count() - count) / took
        load.nodes = [*c.nodes]
        load.grows(50)
    print(f"# joined and balanced in {took:.1f} s; {before:.0f} writes/s before, {during:.0f} meanwhile ({100 * during / before:.0f} %); "
          f"longest stall {load.stall:.2f} s", flush=True)
    expect(n.id == 4, "the newcomer's id is", n.id)
    finish(c, load, n)


@scenario(limit=90, backends=("epoll",))
def one_node_alone_grows_to_three_and_its_groups_to_three_replicas(env):
    c = env.cluster(nodes=1, spares=2)
    first = c.nodes[0]
    c.founding = []
    c.up()
    with Load([first], pause=0.001) as load:
        load.grows(200)
        for _ in range(2):
            c.joined(c.newcomer(first).start())
        c.settled(THREE)
        load.grows(50)
        first.kill()
        load.nodes = c.nodes[1:]
        load.grows(50)
        first.start()
        c.wait_ready()
    finish(c, load, c.nodes[2])


@scenario(limit=120, backends=("epoll",))
def a_node_that_cannot_join_yet_says_so_and_joins_when_it_can(env):
    """Two of three nodes are down: nobody can give an id. Before that: nobody at the address, somebody else, and a client's port."""
    c = env.cluster(spares=2).up()
    a, b, d = c.nodes
    wrong = c.newcomer(a)
    c.nodes.remove(wrong)
    wrong.dir, wrong.log_path = wrong.dir + "wrong", wrong.log_path + "wrong"
    wrong.how = ["--join", f"{a.host}:{a.port}"]  # a client's port; that takes a while, so it runs along
    wrong.start()
    with Load([a], pause=0.002) as load:
        load.grows(50)
        n = c.newcomer(a)
        listener = socket.create_server(("127.0.0.1", 0))
        stranger = threading.Thread(target=speak_http, args=(listener,), daemon=True)
        stranger.start()
        env.cleanup(listener.close)
        for where, text in ((f"127.0.0.1:{n.port + 1000}", "onnection refused"), (f"127.0.0.1:{listener.getsockname()[1]}", "synod's way")):
            n.how = ["--join", where]
            n.start()
            until(20, f"it says what is wrong at {where}", lambda where=where, text=text: says(n, f"joining through {where}: ", text, "tried again"))
            reply = n.do("GET", "a")
            expect(isinstance(reply, Err) and reply.startswith("CLUSTERDOWN"), "a node that has not joined answered", reply)
            expect(n.do("PING") == b"PONG", "PING of a node that has not joined")
            expect(n.alive(), "it ended:", n.said()[-300:])
            n.kill()
        b.kill(), d.kill()
        n.how = ["--join", a.peer]
        n.start()
        until(40, "it says that it waits for a majority", lambda: says(n, "CLUSTERDOWN", "tried again") or says(n, "UNKNOWN", "tried again"))
        expect(n.status()["cluster"]["state"] == "joining", n.status())
        b.start(), d.start()
        c.wait_ready([a, b, d], seconds=40)
        c.joined(n, seconds=40)
        c.settled(shares(1, 2, 3, 4))
        load.grows(50)
    until(40, f"it says what is wrong with a client's port: {wrong.said()[-300:]}",
          lambda: says(wrong, "is that a peer address", "tried again") or says(wrong, "synod's way", "tried again"))
    load.check(n)
    c.expect_equal_digests()


def says(node, *texts):
    """All in one line."""
    return any(all(t in line for t in texts) for line in node.said().splitlines())


def speak_http(listener):
    while True:
        try:
            conn, _ = listener.accept()
        except OSError:
            return
        with conn:
            conn.recv(100)
            conn.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@scenario(limit=90, backends=("uring",))
def a_node_killed_while_it_joins_joins_as_the_same_node(env):
    c = env.cluster(spares=2).up()
    with Load(c.nodes, pause=0.002) as load:
        load.grows(50)
        expect(c.ask("SYNOD", "SET", "moves-max", 4) == b"OK")  # there is a map to join
        n = c.newcomer()
        for other in c.nodes[1:3]:  # it asks, and dies before there can be an answer
            other.pause()
        n.start()
        until(20, "it has its directory", lambda: "serves clients" in n.said())
        refused(n.command(), "in use by another process", str(n.process.pid))
        time.sleep(0.3)
        n.kill()
        for other in c.nodes[1:3]:
            other.resume()
        for _ in range(20):  # the map may have it by now; if it died too early, it asks again
            if any(m["id"] == 4 for m in c.any().status()["nodes"]):
                break
            time.sleep(0.1)
        n.start()
        for i in range(env.seconds(5, 20)):
            time.sleep(env.rng.random() * 0.15 * (i + 1))
            n.kill()
            n.start()
        c.joined(n)
        c.settled(shares(1, 2, 3, 4))
        expect(n.id == 4, "it joined as node", n.id)
        n.kill()
        n.how = []  # a node that has joined needs no --join any more
        n.start()
        c.joined(n)
        expect(n.id == 4, "after a restart without --join it is node", n.id)
        m = c.joined(c.newcomer(n).start())
        expect(m.id == 5, "the next node's id is", m.id)
        c.settled(shares(1, 2, 3, 4, 5))
    finish(c, load, m)


# ---- shrinking ----

@scenario(limit=90)
def a_node_is_drained_and_removed_under_load_and_ends(env):
    c = env.cluster(nodes=4, replicas=3).up()
    victim = env.rng.choice(c.nodes)
    rest = c.others(victim)
    with Load(c.nodes, pause=0.001) as load:
        load.grows(200)
        reply = c.ask("SYNOD", "NODE", "REMOVE", victim.id, node=rest[0])
        expect(isinstance(reply, Err) and reply.startswith("REFUSED") and "drain" in reply, "removing a full node was answered", reply)
        began = time.monotonic()
        expect(c.ask("SYNOD", "NODE", "DRAIN", victim.id) == b"OK")
        c.settled({n.id: (16, 16) for n in rest} | {victim.id: (0, 0)})
        took = time.monotonic() - began
        until(20, "the drained node has no replica left", lambda: not victim.digests())
        expect(node_state(c, victim.id) == "draining", "its state is", node_state(c, victim.id))
        load.grows(50)  # through the empty node too
        expect(c.ask("SYNOD", "NODE", "REMOVE", victim.id, node=rest[0]) == b"OK")
        status = victim.ended(20)
        load.nodes = rest
        load.grows(50)
        said = victim.said().strip().splitlines()[-1]
        expect("removed from the cluster" in said, "it says why it ended:", said)
        print(f"# drained in {took:.1f} s; longest stall {load.stall:.2f} s", flush=True)
        for how in (None, ["--join", rest[0].peer]):
            victim.how = how
            expect(victim.start().ended(20) == status, "exit status of a removed node that is started again")
            last = victim.said().strip().splitlines()[-1]
            expect("removed" in last, f"a removed node started again ({how}) says:", last)
        expect(all(n["id"] != victim.id for n in rest[0].status()["nodes"]), "a removed node is shown:", rest[0].status()["nodes"])
        shutil.rmtree(victim.dir)
        c.joined(victim.start())
        expect(victim.id == 5, "an empty directory at its address joined as", victim.id)
        c.settled(shares(*(n.id for n in c.nodes)))
    finish(c, load, victim)


@scenario(limit=60, backends=("uring",))
def what_would_endanger_data_is_refused(env):
    c = env.cluster(spares=1).up()
    with Load(c.nodes, threads=2, pause=0.002) as load:
        load.grows(50)
        for word in ("DRAIN", "REMOVE"):
            reply = c.ask("SYNOD", "NODE", word, 2)
            expect(isinstance(reply, Err) and reply.startswith("REFUSED"), f"{word} of one node of three was answered", reply)
        n = c.joined(c.newcomer().start())
        c.settled(shares(1, 2, 3, 4))
        away = c.nodes[1]
        away.kill()
        load.nodes = c.others(away)
        until(20, "the map says that the node is down", lambda: any("node 2 is down" in m.said() for m in c.nodes))
        for victim in (1, 4):
            reply = c.ask("SYNOD", "NODE", "DRAIN", victim)
            expect(isinstance(reply, Err) and reply.startswith("REFUSED"), f"DRAIN of node {victim} while another is down was answered", reply)
        for words in (("NODE", "DRAIN", 9), ("NODE", "DRAIN", 0), ("NODE", "DRAIN", "x"), ("NODE", "DRAIN"), ("GROUP", "SPLIT", 99),
                      ("GROUP", "SPLIT", 0, 0), ("GROUP", "SPLIT", 0, 16384), ("GROUP", "MOVE", 0, 1, 1), ("GROUP", "MOVE", 0, 9, 4),
                      ("GROUP", "TRANSFER", 0, 9), ("SET", "replicas", 0), ("SET", "grace-ms", 10), ("SET", "nosuch", 1), ("MAP", "BOOT")):
            reply = c.ask("SYNOD", *words)
            expect(isinstance(reply, Err), words, "was answered", reply)
        away.start()
        c.wait_ready()
        expect(all(m["state"] == "up" for m in n.status()["nodes"]), n.status()["nodes"])
    finish(c, load, n)


# ---- mending ----

@scenario(limit=120, backends=("uring",))
def a_killed_node_is_replaced_after_the_grace_time_and_may_come_back(env):
    c = env.cluster(nodes=4, replicas=3).up()
    victim = env.rng.choice(c.nodes)
    rest = c.others(victim)
    expect(c.ask("SYNOD", "SET", "grace-ms", 5000) == b"OK")
    c.settled(shares(1, 2, 3, 4))
    with Load(rest, pause=0.001) as load:
        load.grows(200)
        began = time.monotonic()
        victim.kill()
        c.settled({n.id: (16, 16) for n in rest} | {victim.id: (0, 0)})
        print(f"# replaced {time.monotonic() - began:.1f} s after its death", flush=True)
        until(20, "it is gone", lambda: node_state(c, victim.id) == "gone")
        load.grows(50)
        victim.start()
        c.wait_ready([victim])
        c.settled(shares(*(n.id for n in c.nodes)))
        expect("leaves this node" in victim.said(), "it drops what was rebuilt elsewhere:", victim.said()[-400:])
        expect(node_state(c, victim.id) == "up", "its state is", node_state(c, victim.id))
        load.grows(50)
    print(f"# longest stall {load.stall:.2f} s", flush=True)
    finish(c, load, victim)


@scenario(limit=90, backends=("epoll",))
def a_newcomer_that_dies_for_good_while_it_gets_its_share_is_given_up(env):
    """It is a learner of some groups by then, and a voter of others: neither is waited for."""
    c = env.cluster(spares=2).up()
    expect(c.ask("SYNOD", "SET", "grace-ms", 4000) == b"OK")
    with Load(c.nodes, pause=0.001) as load:
        load.grows(100)
        n = c.newcomer().start()
        until(30, "the newcomer is a learner", lambda: any(r["role"] == "learner" for m in c.nodes[:3] for g in m.status()["groups"]
                                                           for r in g["replicas"]), pause=0)
        n.kill()
        load.grows(50)
        c.settled(THREE)
        until(20, "it is gone", lambda: node_state(c, 4) == "gone")
        c.joined(c.newcomer().start())
        c.settled(shares(1, 2, 3, 5))
        load.grows(50)
    finish(c, load, c.nodes[4])


@scenario(limit=120, backends=("epoll",))
def a_wiped_disk_comes_back_as_a_new_node_and_the_old_one_never(env):
    c = env.cluster().up()
    n = env.rng.choice(c.nodes)
    rest, old, kept = c.others(n), n.id, f"{env.dir}/kept"
    with Load(rest, pause=0.002) as load:
        load.grows(100)
        n.kill()
        os.rename(n.dir, kept)
        n.how = ["--join", rest[0].peer]

        def joins():
            if not n.alive():  # the map may still have the old one among the living: then the address is refused
                expect(not n.process.returncode or "is alive at" in n.said().splitlines()[-1], "it ended:", n.said()[-300:])
                n.start()
                time.sleep(1)
            return n.status()["cluster"]["state"] != "joining"
        n.start()
        until(40, "the empty directory joins in place of the old one", joins, pause=0.3)
        c.joined(n)
        expect(n.id == 4, "the new node's id is", n.id)
        c.settled({m.id: (16, 16) for m in c.nodes} | {old: (0, 0)})
        load.grows(50)
        n.kill()
        os.rename(n.dir, f"{env.dir}/new")
        os.rename(kept, n.dir)
        n.how = None
        for how in (None, ["--join", rest[0].peer]):
            n.how = how
            expect(n.start().ended(20) == 1, "exit status of the old directory")
            last = n.said().strip().splitlines()[-1]
            expect(f"node {old}" in last and "directory" in last, "the old directory, brought back, says:", last)
        shutil.rmtree(n.dir)
        os.rename(f"{env.dir}/new", n.dir)
        n.how = []
        n.start()
        c.joined(n)
        expect(n.id == 4, "the new directory is node", n.id)
        load.grows(50)
    finish(c, load, n)


# ---- splits and moves ----

def slots_of(c):
    """{group: (first, last slot)} as the first running node knows them."""
    return {g["id"]: tuple(g["slots"][0]) for g in c.any().status()["groups"]}


def expect_all_slots_once(c):
    """Also on a node that has heard of the upper half of a split a little later."""
    for n in c.nodes:
        def look(n=n):
            ranges = sorted(tuple(g["slots"][0]) for g in n.status()["groups"])
            expect([lo for lo, _ in ranges] + [16384] == [0] + [hi + 1 for _, hi in ranges], "it has", ranges)
            return True
        until(15, f"node {n.number} knows a group for every slot, and one only", look)


def split(c, group, *at):
    child = c.ask("SYNOD", "GROUP", "SPLIT", group, *at)
    expect(isinstance(child, int), f"SPLIT {group} was answered", child)
    return child


def born(c, *children, seconds=30):
    """Until every node knows these groups and leaders of them."""
    for n in c.nodes:
        until(seconds, f"node {n.number} knows leaders of {children}", lambda n=n: all(
            any(g["id"] == child and g["leader"] for g in n.status()["groups"]) for child in children))


@scenario(limit=90)
def groups_split_in_a_row_under_load(env):
    c = env.cluster(groups=2).up()
    with Load(c.nodes, threads=6) as load:
        load.grows(300)
        began, children = time.monotonic(), []
        for group in (0, 1, 0, 2, 0, 1):
            children.append(split(c, group))
            load.grows(20)
        children.append(split(c, 1, slots_of(c)[1][0] + 1))  # a half of a single slot
        born(c, *children)
        took = time.monotonic() - began
        c.settled({i: (9, 9) for i in (1, 2, 3)})
        expect_all_slots_once(c)
        load.grows(100)
        reply = c.ask("SYNOD", "GROUP", "SPLIT", 1)
        expect(isinstance(reply, Err), "a group of one slot was split:", reply)
    print(f"# {len(children)} splits in {took:.1f} s; longest stall {load.stall:.2f} s", flush=True)
    finish(c, load)


@scenario(limit=90)
def splits_survive_the_death_of_the_leader_and_of_all(env):
    c = env.cluster(groups=2).up()
    with Load(c.nodes, threads=6) as load:
        load.grows(300)
        for group in (0, 1):
            child = split(c, group)
            leader = c.by_id(next(g["leader"] for g in c.any().status()["groups"] if g["id"] == group) or 1)
            time.sleep(env.rng.random() * 0.15)
            leader.kill()
            born_elsewhere = [n for n in c.nodes if n is not leader]
            c.wait_ready(born_elsewhere)
            load.grows(50)
            leader.start()
            born(c, child)
        for group in (0, 1, 2):
            child = split(c, group)
            time.sleep(env.rng.random() * 0.15)
            c.restart_all()
            born(c, child)
            load.grows(50)
        c.settled({i: (7, 7) for i in (1, 2, 3)})
        expect_all_slots_once(c)
    load.check(c.nodes[env.rng.randrange(3)])
    c.expect_equal_digests()


def merged(c, child, seconds=30):
    """Until no node has the group any more, and all slots are somebody's."""
    for n in c.nodes:
        until(seconds, f"node {n.number} has no group {child}", lambda n=n: not any(
            g["id"] == child or "takes_over" in g for g in n.status()["groups"]))
    expect_all_slots_once(c)


@scenario(limit=120)
def groups_merge_under_load_and_survive_the_death_of_all(env):
    c = env.cluster(groups=4).up()
    with Load(c.nodes, threads=6) as load:
        load.grows(300)
        began = time.monotonic()
        for child in (2, 3):
            expect(c.ask("SYNOD", "GROUP", "MERGE", 1) == child, f"group 1 did not take over group {child}")
            merged(c, child)
        took = time.monotonic() - began
        load.grows(100)
        stall = load.stall
        reply = c.ask("SYNOD", "GROUP", "MERGE", 1)
        expect(isinstance(reply, Err) and "has the last slots" in str(reply), "the last group was merged:", reply)
        for everybody in (False, True):  # and again, with the death of a leader, or of all, in the midst
            child = split(c, 1)
            born(c, child)
            until(20, "the map knows both", lambda child=child: c.ask("SYNOD", "GROUP", "MERGE", 1) == child)
            time.sleep(env.rng.random() * 0.3)
            if everybody:
                c.restart_all()
            else:
                leader = c.by_id(next(g["leader"] for g in c.any().status()["groups"] if g["id"] == 1) or 1)
                leader.kill()
                c.wait_ready([n for n in c.nodes if n is not leader])
                leader.start()
            c.wait_ready()
            until(20, "the merge is over or called off", lambda: not any("takes_over" in g for g in c.any().status()["groups"]))
            load.grows(50)
            if any(g["id"] == child for g in c.any().status()["groups"]):
                until(20, "it is asked again", lambda child=child: c.ask("SYNOD", "GROUP", "MERGE", 1) == child)
            merged(c, child)
        expect(sorted(slots_of(c)) == [0, 1], "there are groups", slots_of(c))
        c.settled({i: (2, 2) for i in (1, 2, 3)})
    print(f"# two merges in {took:.1f} s; longest stall {stall:.2f} s", flush=True)
    finish(c, load)


@scenario(limit=90, backends=("uring",))
def groups_with_many_keys_split_by_themselves(env):
    c = env.cluster(groups=1).up()
    expect(c.ask("SYNOD", "SET", "split-keys", 500) == b"OK")
    with Load(c.nodes, threads=4) as load:
        load.grows(1500, seconds=40)
    load.stop()

    def small():
        groups = c.any().status()["groups"]
        return len(groups) >= 3 and all(g["keys"] <= 500 for g in groups)
    until(60, "no group has more than 500 keys", small)
    c.wait_ready()
    expect_all_slots_once(c)
    print(f"# {load.count()} keys are in {len(slots_of(c))} groups", flush=True)
    expect(c.ask("SYNOD", "SET", "split-keys", 0) == b"OK")
    expect(c.ask("SYNOD", "SET", "merge-keys", 1000000) == b"OK")
    until(60, "and in two again", lambda: len(c.any().status()["groups"]) == 2)
    c.wait_ready()
    expect_all_slots_once(c)
    load.check(c.nodes[1])
    c.expect_equal_digests()


@scenario(limit=120)
def the_leader_of_every_group_moves_while_writers_write(env):
    c = env.cluster(nodes=4, replicas=3, groups=4).up()
    expect(c.ask("SYNOD", "SET", "moves-max", 0) == b"OK")  # nothing moves by itself

    def group(number):
        return next(g for g in c.any().status()["groups"] if g["id"] == number)
    until(30, "what was on its way before that has arrived", lambda: all(
        "target" not in group(i) and len(group(i)["replicas"]) == 3 for i in range(4)))
    with Load(c.nodes, threads=6) as load:
        load.grows(200)
        for number in range(4):
            g = until(15, f"group {number} has a leader", lambda number=number: group(number)["leader"] and group(number))
            members = {r["node"] for r in g["replicas"]}
            source, to = g["leader"], next(n.id for n in c.nodes if n.id not in members)
            expect(c.ask("SYNOD", "GROUP", "MOVE", number, source, to) == b"OK")
            after = members - {source} | {to}
            until(30, f"group {number} moved from {source} to {to}", lambda number=number, after=after: "target" not in group(number) and
                  {r["node"] for r in group(number)["replicas"]} == after and group(number)["leader"] in after)
            heir = env.rng.choice(sorted(after - {group(number)["leader"]}))
            expect(c.ask("SYNOD", "GROUP", "TRANSFER", number, heir) == b"OK")
            until(30, f"node {heir} leads group {number}", lambda number=number, heir=heir: group(number)["leader"] == heir)
        load.grows(50)
    print(f"# longest stall {load.stall:.2f} s; answers that were not OK: {load.replies}", flush=True)
    expect("UNKNOWN" not in load.replies, "moves left outcomes unknown:", load.replies)
    finish(c, load)


if __name__ == "__main__":
    sys.exit(main())
