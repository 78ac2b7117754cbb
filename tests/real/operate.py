#!/usr/bin/env python3
"""The operator's commands against live clusters: grow, shrink, replace, move, split; and every wrong use of them.  operate.py SYNOD"""
import re
import shutil
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, Load, Node, expect, free_ports, main, run, scenario, until


class Local:
    """A cluster that `synod cluster` looks after, in a directory of its own."""

    def __init__(self, env, nodes=3, groups=8):
        self.env, self.dir = env, f"{env.dir}/local"
        self.port = free_ports(8)
        env.cleanup(lambda: self.cluster("down", status=None))
        self.cluster("up", "--nodes", nodes, "--groups", groups, "--port", self.port, "--io", env.io)
        until(20, "the cluster map is written", lambda: self.json()["cluster"]["epoch"])

    def cluster(self, *words, status=0):
        return self.call("cluster", *words, "--dir", self.dir, status=status)

    def at(self, number=1):
        return f"127.0.0.1:{self.port + number - 1}"

    def ask(self, *words, number=1, status=0):
        return self.call(*words, "--at", self.at(number), status=status)

    def call(self, *words, status=0):
        done = run([self.env.synod, *map(str, words)], timeout=90)
        if status is not None:
            expect(done.returncode == status, f"synod {' '.join(map(str, words))} ended with {done.returncode}:", done.stderr, done.stdout)
        if status:
            lines = done.stderr.strip().splitlines()
            expect(len(lines) == 1, f"synod {' '.join(map(str, words))} said more, or less, than one line:", done.stderr)
        return done.stdout + done.stderr

    def node(self, number):
        return RunningNode(self.port + number - 1, number)

    def json(self, number=1):
        return self.node(number).status()

    def settled(self, number=1, seconds=40):
        """Until nothing is under way and nothing is planned."""
        def quiet():
            s = self.json(number)
            return not any("target" in g or "splits_at" in g for g in s["groups"]) and \
                self.ask("rebalance", "--dry-run", number=number).startswith("0 groups change")
        until(seconds, "the cluster is in balance", quiet)


class RunningNode(Node):
    """A node that somebody else started."""

    def __init__(self, port, number):
        self.host, self.port, self.number = "127.0.0.1", port, number


@scenario(backends=("epoll",))
def every_wrong_use_is_told_in_one_line(env):
    c = Local(env, nodes=1, groups=1)
    for words in (["node"], ["node", "nonsense"], ["node", "drain"], ["node", "drain", "x"], ["node", "drain", "0"], ["node", "drain", "1", "2"],
                  ["node", "list", "1"], ["node", "list", "--wait"], ["node", "capacity", "1"], ["node", "capacity", "1", "0"],
                  ["node", "capacity", "1", "x"], ["node", "undrain", "1", "--wait"], ["group"], ["group", "nonsense"], ["group", "move", "1", "2"],
                  ["group", "move", "1", "2", "x"], ["group", "split"], ["group", "split", "1", "2", "3"], ["group", "merge"], ["group", "merge", "1", "2"], ["group", "transfer", "1"],
                  ["group", "list", "1"], ["group", "split", "-1"], ["rebalance", "now"], ["rebalance", "--dry-run", "x"], ["set"],
                  ["set", "replicas"], ["set", "nonsense", "1"], ["set", "replicas", "x"], ["set", "replicas", "1", "2"], ["set", "replicas", "-1"]):
        c.ask(*words, status=2)
    for words in (["node", "drain", "9"], ["node", "drain", "64"], ["node", "undrain", "1"], ["node", "remove", "1"], ["node", "drain", "1"],
                  ["group", "move", "0", "1", "9"], ["group", "move", "7", "1", "1"], ["group", "move", "0", "1", "1"],
                  ["group", "split", "99"], ["group", "split", "0", "0"], ["group", "split", "0", "16384"], ["group", "transfer", "0", "9"],
                  ["group", "transfer", "9", "1"], ["set", "replicas", "6"], ["set", "grace-ms", "1"]):
        said = c.ask(*words, status=1)
        expect(not re.search(r"\b(ERR|REFUSED|TRYAGAIN)\b", said), "a word for programs is in what people read:", said)
    for words in (["node", "list"], ["group", "list"], ["rebalance"], ["set", "replicas", "1"], ["status"]):
        run_at = [*words, "--at", "127.0.0.1:1"]
        c.call(*run_at, status=1)
        c.call(*words, "--at", "nowhere", status=2)
    for words in (["add", "1"], ["remove"], ["remove", "x"], ["remove", "9"], ["remove", "1", "2"], ["kill"], ["add", "--nodes", "3"], ["nonsense"], []):
        c.cluster(*words, status=2)
    c.cluster("remove", "1", status=1)
    for command in ("node", "group", "rebalance", "set", "cluster", "status"):
        expect("usage: synod " + command in c.call(command, "--help"), command)


@scenario(limit=120)
def a_local_cluster_grows_shrinks_and_remembers(env):
    c = Local(env)
    with Load([c.node(n) for n in (1, 3)], threads=2) as load:
        load.grows(100)
        expect("has joined" in c.cluster("add"))
        c.settled()
        expect([n["state"] for n in c.json()["nodes"]] == ["up"] * 4, c.json()["nodes"])
        expect(all(n["leads"] + n["follows"] > 0 for n in c.json()["nodes"]), "the fourth node holds nothing")
        said = c.ask("node", "drain", 2, "--wait")
        expect("node 2 is empty" in said, said)
        expect("draining" in c.ask("node", "list") and "4 of 4 nodes up" in c.ask("status"), c.ask("status"))
        expect("node 2 stays" in c.ask("node", "undrain", 2))
        c.settled()
        expect("has left" in c.cluster("remove", 2))
        c.cluster("start", 2, status=1)
        c.cluster("kill", 2, status=1)
        load.grows(50)
        c.cluster("kill", 4)
        load.grows(50)
        c.cluster("start", 4)
        c.cluster("pause", 4)
        c.cluster("resume", 4)
        load.grows(50)
    load.check(c.node(1))
    c.cluster("down")
    said = c.cluster("up")
    expect(re.findall(r"^node (\d+)", said, re.M) == ["1", "3", "4"], said)
    load.check(c.node(4))


@scenario(limit=120)
def a_lost_disk_is_replaced_at_its_address_and_a_dead_node_by_a_spare(env):
    c = Local(env)
    with Load([c.node(1)], threads=2) as load:
        load.grows(100)
        c.cluster("kill", 2)
        shutil.rmtree(f"{c.dir}/node2")
        c.cluster("start", 2)
        until(30, "the lost disk's node is gone and replaced",
              lambda: {n["id"]: n["state"] for n in c.json()["nodes"]} == {1: "up", 2: "gone", 3: "up", 4: "up"} and not holders(c, 2))
        expect("gone and replaced" in c.ask("status"), c.ask("status"))
        c.ask("node", "remove", 2)
        c.cluster("add")
        c.settled()
        c.cluster("kill", 3)
        expect("has left" in c.cluster("remove", 3))
        load.grows(50)
        expect(not holders(c, 3) and all(len(g["replicas"]) == 3 for g in c.json()["groups"]), c.json()["groups"])
        c.cluster("kill", 2)
        c.cluster("start", 2)  # its directory is of a node that joined, and it knows that
        load.grows(50)
    load.check(c.node(2))


def holders(c, node):
    return [g["id"] for g in c.json()["groups"] if node in [r["node"] for r in g["replicas"]]]


@scenario(limit=90)
def groups_move_split_and_change_their_leader(env):
    c = Local(env)
    c.cluster("add")
    c.settled()
    c.ask("set", "moves-max", 0)
    expect("All moves are stopped" in c.ask("rebalance") and "moves-max 0" in c.ask("status"), c.ask("rebalance"))
    group = next(g for g in c.json()["groups"] if 4 not in [r["node"] for r in g["replicas"]])
    source = next(r["node"] for r in group["replicas"] if r["node"] != group["leader"])
    c.ask("group", "move", group["id"], source, 4)
    until(20, "the group has moved", lambda: group["id"] in holders(c, 4) and group["id"] not in holders(c, source))
    c.ask("group", "move", group["id"], source, 4, status=1)
    c.ask("group", "transfer", group["id"], 4)
    until(20, "node 4 leads it", lambda: next(g for g in c.json()["groups"] if g["id"] == group["id"])["leader"] == 4)
    said = c.ask("group", "split", 1)
    child = int(re.match(r"group (\d+) is to be born of group 1", said)[1])
    until(20, "the child serves", lambda: any(g["id"] == child and g["leader"] for g in c.json()["groups"]))
    c.ask("group", "merge", 99, status=1)
    c.ask("group", "merge", 1)
    until(30, "the child is part of it again", lambda: all(
        g["id"] != child and "takes_over" not in g for g in c.json()["groups"]))
    slots = sorted(s for g in c.json()["groups"] for s in g["slots"])
    expect(slots[0][0] == 0 and slots[-1][1] == 16383 and all(a[1] + 1 == b[0] for a, b in zip(slots, slots[1:])), "slots", slots)
    c.ask("set", "moves-max", 4)
    c.ask("node", "capacity", 1, 300)
    c.settled()
    expect("capacity 300" in c.ask("status"), c.ask("status"))


@scenario(limit=60)
def what_changes_a_redis_cluster_is_answered_with_the_command_that_does_it(env):
    c = Local(env)
    c.cluster("add")
    n = c.node(1)
    mine = n.do("CLUSTER", "MYID").decode()
    for words, names in ((["MEET", "127.0.0.1", "7009"], "--join"), (["FORGET", mine], "node remove 1"), (["ADDSLOTS", "1"], "group move"),
                         (["ADDSLOTSRANGE", "1", "2"], "group move"), (["DELSLOTS", "1"], "group move"), (["DELSLOTSRANGE", "1", "2"], "group move"),
                         (["SETSLOT", "1", "STABLE"], "group split"), (["FLUSHSLOTS"], "group split"), (["FAILOVER"], "group transfer"),
                         (["FAILOVER", "FORCE"], "group transfer"), (["REPLICATE", mine], "group move"), (["RESET"], "node drain 1"),
                         (["SET-CONFIG-EPOCH", "7"], "by itself"), (["FORGET", "nobody"], "Unknown node")):
        reply = n.do("CLUSTER", *words)
        expect(isinstance(reply, Err) and reply.startswith("ERR ") and names in reply, words, "was answered", reply)
    expect(n.do("CLUSTER", "SAVECONFIG") == b"OK" and n.do("CLUSTER", "BUMPEPOCH").startswith(b"STILL "))
    expect(n.do("CLUSTER", "COUNT-FAILURE-REPORTS", mine) == 0 and isinstance(n.do("CLUSTER", "COUNT-FAILURE-REPORTS", "x"), Err))
    until(30, "node 1 leads a group, so it has replicas", lambda: n.do("CLUSTER", "REPLICAS", mine))
    expect(len(n.do("CLUSTER", "REPLICAS", mine)) == len(n.do("CLUSTER", "SLAVES", mine)) >= 2, n.do("CLUSTER", "REPLICAS", mine))
    expect(n.do("CLUSTER", "MYSHARDID").decode() == mine)
    expect(isinstance(n.do("SYNOD", "DIGEST", "x"), Err) and isinstance(n.do("SYNOD", "DIGEST", "99"), Err))
    expect(len(n.do("SYNOD", "DIGEST", "0").splitlines()) == 1)


@scenario(limit=60)
def redis_cli_finds_every_slot_covered_on_three_and_on_four_nodes(env):
    if not shutil.which("redis-cli"):
        return
    c = Local(env)
    for number in (3, 4):
        if number == 4:
            c.cluster("add")
        c.settled()

        def fine():
            check, info = (run(["redis-cli", "--cluster", word, c.at(1)]).stdout for word in ("check", "info"))
            expect("All nodes agree" in check and "All 16384 slots covered" in check and "[ERR]" not in check + info
                   and "[WARNING]" not in check + info, check, info)
            expect(f"{number} masters" in info, info)
            return True
        until(20, "redis-cli is content", fine)  # leaders may move just then


if __name__ == "__main__":
    sys.exit(main())
