#!/usr/bin/env python3
"""Reconfiguration while the network is cut: both sides are asked, and only the one with the majority does. Transfers between accounts in all
groups while it is cut: none is lost, done twice or in half, and soon all goes on.  partitions.py SYNOD [--long]"""
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from bank import Bank, certain, waited
from harness import Err, Load, expect, main, options_parse, scenario, until
from network import Network, move_into_a_namespace


def netted(env, nodes, spares=0, **words):
    """A cluster each of whose nodes has a network of its own."""
    net = Network(env, nodes)
    c = env.cluster(addresses=[(net.address(i), 7001) for i in range(1, nodes + 1)], spares=spares, **words)
    for n in c.nodes:
        n.prefix = net.prefix(n.number)
    return net, c


def one_way(some, others):
    return [(a, b) for a in some for b in others]


def apart(some, others):
    return one_way(some, others) + one_way(others, some)


def asks(node, answers, *command):
    def run():
        try:
            answers.append((command, node.do(*command, timeout=30)))
        except OSError as error:
            answers.append((command, error))
    t = threading.Thread(target=run, daemon=True)
    t.start()
    return t


def refused(answers):
    """What was asked on the minority's side cannot have been done."""
    for command, reply in answers:
        expect(isinstance(reply, (Err, OSError)), " ".join(map(str, command)), "on the minority's side was answered", reply)


@scenario(limit=120)
def a_node_that_joins_into_a_partition_joins_the_majority(env):
    """Node 1 is alone; node 4 joins through it, then through the others; node 1 is asked to reconfigure all the while."""
    net, c = netted(env, 4, spares=1)
    c.up()
    a, b, d = c.nodes
    n = c.newcomer(a)
    n.prefix = net.prefix(4)
    with Load([b, d], pause=0.005) as load:
        load.grows(50)
        net.cut(apart((1,), (2, 3)))
        n.start()  # node 1 still hears it, and can do nothing for it
        answers, threads = [], []
        for command in (("SYNOD", "NODE", "DRAIN", 2), ("SYNOD", "GROUP", "SPLIT", 3), ("SYNOD", "SET", "split-keys", 77)):
            threads.append(asks(a, answers, *command))
        until(40, f"it says that it waits: {n.said()[-300:]}", lambda: "tried again" in n.said())
        expect(n.status()["cluster"]["state"] == "joining", n.status()["cluster"])
        net.cut(apart((1,), (4,)))
        n.kill()
        n.how = ["--join", b.peer]
        n.start()
        c.joined(n)
        c.wait_ready([b, d, n])
        for t in threads:
            t.join(40)
        refused(answers)
        expect(len(answers) == 3, "some got no answer:", answers)
        load.grows(50)
        net.heal()
        c.wait_ready()
        c.settled({i: (9, 14) for i in (1, 2, 3, 4)})
        expect([m["state"] for m in a.status()["nodes"]] == ["up"] * 4, a.status()["nodes"])
        load.grows(50)
    load.check(a)
    c.expect_equal_digests()


def whole(groups):
    """The groups, if none is in the middle of a move and all have leaders."""
    return groups if all(g["leader"] and len(g["replicas"]) == 3 for g in groups) else None


@scenario(limit=180)
def a_move_cut_in_two_is_finished_by_the_majority_alone(env):
    """Four nodes, three replicas each; a node is cut off while it gives and takes replicas. It cannot change anything; the others go on, and
    when the cut heals all is one again."""
    net, c = netted(env, 4, replicas=3)
    c.up()
    expect(c.ask("SYNOD", "SET", "moves-max", 0) == b"OK")
    for _ in range(env.seconds(2, 8)):
        victim = env.rng.choice(c.nodes)
        rest = c.others(victim)
        groups = until(60, "every group has a leader and three replicas", lambda: whole(c.any().status()["groups"]))
        with Load(rest, pause=0.005) as load:
            load.grows(50)
            for g in groups[:8]:
                members = [r["node"] for r in g["replicas"]]
                spare = next(n.id for n in c.nodes if n.id not in members)
                source = victim.id if victim.id in members else members[0]
                c.ask("SYNOD", "GROUP", "MOVE", g["id"], source, spare)
            time.sleep(env.rng.random() * 0.3)
            net.cut(apart((victim.number,), [n.number for n in rest]))
            answers, threads = [], []
            for command in (("SYNOD", "GROUP", "SPLIT", 9), ("SYNOD", "NODE", "DRAIN", rest[0].id), ("SYNOD", "GROUP", "TRANSFER", 0, victim.id)):
                threads.append(asks(victim, answers, *command))
            time.sleep(1.5)  # until the victim's leases are over; before that it may well answer
            for command in (("SYNOD", "SET", "grace-ms", 60000), ("SYNOD", "GROUP", "TRANSFER", 1, next(
                    r["node"] for r in groups[1]["replicas"] if r["node"] != victim.id))):
                reply = c.ask(*command, node=rest[0])
                expect(reply == b"OK" or "no voting replica" in reply, *command, "on the majority's side was answered", reply)
            c.wait_ready(rest)
            load.grows(50)
            for t in threads:
                t.join(40)
            expect(len(answers) == 3, "some got no answer:", answers)
            refused(answers)
            net.heal()
            c.wait_ready()
            c.settled({n.id: (1, 16) for n in c.nodes})
            load.grows(50)
        load.check(victim)
        c.expect_equal_digests()
        expect(len(c.any().status()["groups"]) == 16, "a group was split on the minority's side")


# ---- transfers ----

CUT = 6  # seconds: leases are over, leaders elected, and what was in doubt is resolved before it heals
BACK = 15  # ... after it has healed, until there are half as many transfers as before: who was asked at a cut-off node answers after ten


def lead(c, leader):
    """Most groups are led by this node."""
    def leads_most():
        led = [g["id"] for g in leader.status()["groups"] if g["leader"] != leader.id]
        for group in led:
            c.ask("SYNOD", "GROUP", "TRANSFER", group, leader.id)
        return len(led) <= c.groups // 4
    until(30, f"node {leader.number} leads most groups", leads_most, pause=0.2)


def spread(c):
    """Every node leads some."""
    until(60, "every node leads some groups", lambda: {g["leader"] for g in c.any().status()["groups"]} == {n.id for n in c.nodes}, pause=0.2)


def trade_through(bank, net, pairs, served):
    """A cut, while tellers are at all nodes; at these nodes all goes on, and soon nothing is in doubt. Then it heals. Returns what is to be
    printed of it."""
    rate = bank.rate(1.5)
    net.cut(pairs)
    began = time.monotonic()
    bank.nodes = served  # for who is told that it cannot be done where it is
    wait = waited(bank, served)
    certain(served)
    sure = time.monotonic() - began
    bank.grows(200)
    time.sleep(max(0.0, began + CUT - time.monotonic()))
    net.heal()
    bank.nodes, healed = bank.c.nodes, time.monotonic()
    again = waited(bank, bank.c.nodes)
    certain(bank.c.nodes)
    until(BACK, f"there are half as many transfers as the {rate:.0f}/s before", lambda: bank.rate(0.5) >= rate / 2)
    return (f"cut: {wait:.2f} s until all answered that should, {sure:.2f} until nothing was in doubt; healed: {again:.2f} s until all answered, "
            f"{time.monotonic() - healed:.2f} until half of {rate:.0f} transfers/s")


def traded(env, prepare, *cuts):
    """A bank on three nodes, through cuts that prepare(c, victim) makes worth while: cut(victim, [the other two]) is pairs of nodes' numbers and
    the nodes that should serve all the same."""
    net, c = netted(env, 3, groups=8)
    c.up()
    said = []
    with Bank(c) as bank:
        bank.grows(100)
        for cut in cuts * env.seconds(1, 5):
            victim = env.rng.choice(c.nodes)
            prepare(c, victim)
            said.append(trade_through(bank, net, *cut(victim, c.others(victim))))
            c.wait_ready()
    bank.check()
    print(f"# {bank.figures()}", *said, sep="\n#   ", flush=True)


def numbers(nodes):
    return [n.number for n in nodes]


@scenario(limit=120)
def transfers_are_whole_while_who_leads_most_is_cut_off(env):
    def cut(victim, rest):
        return apart([victim.number], numbers(rest)), rest
    traded(env, lead, cut, cut)


@scenario(limit=120)
def transfers_are_whole_while_who_leads_most_is_not_heard_or_hears_nobody(env):
    traded(env, lead, lambda victim, rest: (one_way([victim.number], numbers(rest)), rest),
           lambda victim, rest: (one_way(numbers(rest), [victim.number]), rest))


@scenario(limit=120)
def transfers_are_whole_and_go_on_while_coordinators_and_leaders_at_two_nodes_cannot_talk(env):
    """Both reach the third, so everybody is served: groups are led where all can reach them."""
    def cut(victim, rest):
        return apart([victim.number], [rest[0].number]), [victim, *rest]
    traded(env, lambda c, _: spread(c), cut, cut)


if __name__ == "__main__":
    options_parse(__doc__)  # wrong arguments are told before anything moves
    move_into_a_namespace()
    sys.exit(main())
