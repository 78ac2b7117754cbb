#!/usr/bin/env python3
"""Another engine computes over a snapshot: Dask (examples/dask) while the data changes and a node dies.  engines.py SYNOD [--long]"""
import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Crew, Err, Skip, die_with_parent, expect, main, run, scenario, until
from snapshot_read import ask, read

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/dask/sections.py")
PYTHON = "/usr/bin/python3"
SECTIONS = ["admin", "devel", "libs", "net", "text/odd name"]


def needs_dask():
    if run([PYTHON, "-c", "import distributed, redis"]).returncode != 0:
        raise Skip("Dask is not installed: apt-get install python3-distributed python3-redis")


def package(i):
    needs = ", ".join(f"lib{j} (>= {j}.0) | other{j}" for j in range(1, 6) if i % (j + 1) == 0)
    return {"Section": SECTIONS[i * i % len(SECTIONS)], "Installed-Size": str(i * 7 % 1000), **({"Depends": needs} if needs else {})}


def plain(packages):
    """The answer, by a loop."""
    count, size, needed = Counter(), Counter(), Counter()
    for p in packages:
        count[p["Section"]] += 1
        size[p["Section"]] += int(p["Installed-Size"])
        needed.update(part.split(" ")[0] for part in p.get("Depends", "").split(", ") if part)
    order = lambda counter: sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return {"sections": [[s, n, size[s]] for s, n in order(count)], "needed": [[n, by] for n, by in order(needed)]}


def loaded(env, count):
    """A cluster with packages, and something that is none, and what they come to."""
    c = env.cluster(groups=8).up()
    packages = [package(i) for i in range(count)]
    with c.nodes[0].conn() as conn:
        for at in range(0, count, 500):
            replies = conn.pipeline([("HSET", f"pkg:{i}", *(w for pair in packages[i].items() for w in pair)) for i in range(at, min(at + 500, count))])
            expect(all(isinstance(r, int) for r in replies), replies[:3])
        expect(conn.do("SET", "other:1", "x") == b"OK")
    return c, plain(packages)


class Changes(Crew):
    """Packages change, go and come until the `with` is left."""

    def __init__(self, c, count):
        self.c, self.count, self.done, self.stopping = c, count, 0, threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(2)]

    def run(self, seed):
        choose, conn = random.Random(seed), None
        while not self.stopping.is_set():
            i = choose.randrange(self.count)
            change = choose.choice([("HSET", f"pkg:{i}", "Section", "changed", "Installed-Size", 10**6, "Depends", "changed"),
                                    ("DEL", f"pkg:{i}"), ("HSET", f"pkg:new{i}", "Section", "new", "Installed-Size", 1)])
            try:
                conn = conn or choose.choice([n for n in self.c.nodes if n.alive()]).conn()
                self.done += not isinstance(conn.do(*change), Err)
            except OSError:
                conn = None

    def grow(self, by):
        before = self.done
        until(20, f"{by} more changes", lambda: self.done >= before + by)


def start(env, c, *more):
    command = [PYTHON, PROGRAM, "--at", f"127.0.0.1:{c.nodes[0].port}", "--json", "--splits", "48", "--top", "1000", *more]
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
    env.cleanup(p.kill)
    return p


def answer(p):
    out, said = p.communicate(timeout=60)
    expect(p.returncode == 0, f"sections.py ended with {p.returncode}:", said[-1500:])
    return json.loads(out)


def listening(pid):
    """Addresses that a process and its children listen on."""
    import psutil  # which Dask needs, too
    top = psutil.Process(pid)
    return {conn.laddr.ip for p in (top, *top.children(recursive=True)) for conn in p.connections() if conn.status == psutil.CONN_LISTEN}


def same(result, wanted, what):
    for part, value in wanted.items():
        expect(result[part] == value, f"{part} are not {what}: {str(result[part])[:300]}; wanted {str(value)[:300]}")


@scenario(limit=90, backends=("epoll",))
def dask_computes_what_a_loop_does_while_the_data_changes(env):
    needs_dask()
    count = env.seconds(3000, 20000)
    c, before = loaded(env, count)
    name = ask(c, "SNAPSHOT", "CREATE").decode()
    with Changes(c, count) as changes:
        changes.grow(200)
        p = start(env, c, "--snapshot", name)
        while (said := p.stderr.readline()) and not said.startswith("1 of "):
            pass
        heard = listening(p.pid)
        result = answer(p)
        expect(heard and heard <= {"127.0.0.1"}, "Dask listens on", heard)
        same(result, before, "those of what was loaded")
        kept = read(c, name, splits=8, count=500)
        packages = [dict(zip(*[iter(w.decode() for w in flat)] * 2)) for key, (_, flat) in kept.items() if key.startswith(b"pkg:")]
        same(result, plain(packages), "those of a loop over the snapshot")
        expect(result["answers_elsewhere"] == 0 and result["splits"] >= 8, result["answers_elsewhere"], result["splits"])
        later = answer(start(env, c))
    expect(later["sections"] != before["sections"] and later["snapshot"] != name, "a later snapshot has the changes")
    names = [row[1] for row in ask(c, "SNAPSHOT", "LIST")]
    expect(names == [name.encode()], "what was given stays, what was made is dropped", names)


@scenario(limit=90, backends=("epoll",))
def dask_goes_on_where_a_node_dies(env):
    """The node is frozen before the first task and killed after it: so tasks wait for it when it dies, and others are yet to come to it."""
    needs_dask()
    count = env.seconds(3000, 20000)
    c, before = loaded(env, count)
    p = start(env, c)
    said = p.stderr.readline()
    expect(said == "0 of 48 splits\n", "it has a snapshot", said)
    with Changes(c, count) as changes:
        changes.grow(20)
        c.nodes[0].pause()  # which it was told to talk to
        said = p.stderr.readline()
        expect(said == "1 of 48 splits\n", "its first split is done", said)
        c.nodes[0].kill()
        result = answer(p)
    same(result, before, "those of what was loaded")
    expect(result["answers_elsewhere"] > 0, "no other node was asked than the first")
    c.wait_ready(c.nodes[1:])
    expect(ask(c, "SNAPSHOT", "LIST") == [], "the snapshot is dropped")


@scenario(backends=("epoll",))
def a_split_goes_on_at_its_cursor_where_its_node_dies(env):
    needs_dask()
    sys.path.insert(0, os.path.dirname(PROGRAM))
    from snapshot import Snapshot, records
    c, _ = loaded(env, 2000)
    with Snapshot(f"127.0.0.1:{c.nodes[2].port}") as snapshot:
        split, addresses = snapshot.splits(1)[0]
        wanted = [key for batch, _ in records(snapshot.name, split, addresses) for key, _, _ in batch]
        expect(len(wanted) > 100 and len(set(wanted)) == len(wanted), f"{len(wanted)} keys of a split")
        walk = records(snapshot.name, split, addresses, count=9)
        batch, who = next(walk)
        next(n for n in c.nodes if f"{n.host}:{n.port}" == who).kill()
        got, others = [key for key, _, _ in batch], set()
        for batch, other in walk:
            got += [key for key, _, _ in batch]
            others.add(other)
    expect(got == wanted and who not in others, f"{len(got)} keys of {len(wanted)}, {len(set(got))} different; from {who}, then {others}")


@scenario(limit=120, backends=("epoll",))
def what_dask_cannot_do_is_said_in_a_sentence(env):
    needs_dask()
    c, _ = loaded(env, 20)
    at = f"127.0.0.1:{c.nodes[0].port}"
    for words, text in ((["--at", "127.0.0.1:1"], "Connection refused"), (["--at", at, "--by", "Sektion"], "20 hashes that match pkg:* has a field Sektion"),
                        (["--at", at, "--match", "none:*"], "no hash matches none:*"), (["--at", at, "--splits", "9999"], "there may be 1 to 4096 splits"),
                        (["--at", at, "--snapshot", "x"], "16 hexadecimal")):
        done = run([PYTHON, PROGRAM, *words])
        last = done.stderr.splitlines()[-1:]
        expect(done.returncode == 1 and last and last[0].startswith("sections.py: ") and text in last[0] and "Traceback" not in done.stderr,
               words, done.returncode, done.stderr[-600:])
    done = run([PYTHON, "-S", PROGRAM])  # without what Debian's packages bring
    expect(done.returncode == 1 and "apt-get install python3-distributed python3-redis" in done.stderr, done.stderr)
    expect(ask(c, "SNAPSHOT", "LIST") == [], "each dropped its snapshot")


if __name__ == "__main__":
    sys.exit(main())
