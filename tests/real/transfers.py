#!/usr/bin/env python3
"""Transactions over several groups while nodes die, stop, lead and join: a bank with accounts in every group (bank.py).
transfers.py SYNOD [--long]"""
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from bank import Bank, waited
from harness import expect, main, scenario, until


@scenario(limit=120)
def transfers_are_whole_while_nodes_die_and_stop(env):
    c = env.cluster(groups=8).up()
    with Bank(c) as bank:
        bank.grows(100)
        killed = []
        for n in c.nodes * env.seconds(1, 8):
            n.kill()
            killed.append(waited(bank, c.others(n)))
            bank.grows()
            n.start()
            c.wait_ready()
            bank.grows()
        n = env.rng.choice(c.nodes)
        n.pause()
        stopped = waited(bank, c.others(n))
        c.wait_ready(c.others(n))
        time.sleep(2)  # it comes back with what it had begun long after the others have done away with that
        n.resume()
        c.wait_ready()
        bank.grows()
    bank.check()
    print(f"# {bank.figures()}; all answered again {', '.join(f'{s:.2f}' for s in killed)} s after kill -9, "
          f"{stopped:.2f} s after SIGSTOP", flush=True)


@scenario(limit=90)
def what_a_dead_coordinator_has_locked_is_free_soon(env):
    """It leads nothing, so nobody is to be elected: what is waited for is what it had locked."""
    c = env.cluster(groups=4).up()
    victim, *rest = c.nodes

    def leads_nothing():
        led = [g["id"] for g in rest[0].status()["groups"] if g["leader"] not in (rest[0].id, rest[1].id)]
        for group in led:
            c.ask("SYNOD", "GROUP", "TRANSFER", group, env.rng.choice(rest).id, node=rest[0])
        return not led
    with Bank(c, [victim]) as bank:
        took = []
        for _ in range(env.seconds(3, 30)):
            until(30, "the victim leads nothing", leads_nothing)
            bank.grows()
            victim.kill()
            took.append(waited(bank, rest))
            victim.start()
            c.wait_ready()
        bank.grows()
    bank.check()
    print(f"# {bank.figures()}; all answered {', '.join(f'{s:.2f}' for s in took)} s after kill -9 of the coordinator", flush=True)


@scenario(limit=120, backends=("epoll",))
def transfers_are_whole_while_groups_split_merge_and_move(env):
    c = env.cluster(groups=4, spares=1).up()
    with Bank(c) as bank:
        bank.grows(100)
        for group in (0, 2):
            child = c.ask("SYNOD", "GROUP", "SPLIT", group)
            expect(isinstance(child, int), f"SPLIT {group} is answered", child)
            bank.grows()
        for g in c.any().status()["groups"]:
            c.ask("SYNOD", "GROUP", "TRANSFER", g["id"], env.rng.choice(c.nodes).id)
        bank.grows()
        until(20, "two groups merge", lambda: isinstance(c.ask("SYNOD", "GROUP", "MERGE", 1), int))
        until(30, "they are one", lambda: len(c.any().status()["groups"]) == 5)
        bank.grows()
        c.joined(c.newcomer().start())
        bank.nodes = c.nodes
        c.settled({i: (3, 4) for i in (1, 2, 3, 4)})
        bank.grows()
        c.nodes[0].kill()
        wait = waited(bank, c.nodes[1:])
        c.nodes[0].start()
        c.wait_ready()
        bank.grows()
    bank.check()
    print(f"# {bank.figures()}; all answered {wait:.2f} s after kill -9", flush=True)


if __name__ == "__main__":
    sys.exit(main())
