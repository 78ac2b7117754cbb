#!/usr/bin/env python3
"""`synod job` on live clusters: what it prints is what a loop in Python, or awk, finds in the same data; whichever node dies meanwhile.
(What only a played node would say: cli_jobs.py.)  job_cli.py SYNOD"""
import collections
import json
import os
import random
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Cluster, expect, main, run, scenario, until

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "jobs")


def job(cluster, *words, node=None, status=0):
    at = node or cluster.any()
    done = run([cluster.synod, "job", *words, "--at", f"{at.host}:{at.port}"], timeout=120)
    expect(done.returncode == status, f"synod job {' '.join(words)} ended with {done.returncode}:", done.stderr, done.stdout[-800:])
    return done


def started(cluster, *words):
    """A job command that runs in the background."""
    at = cluster.any()
    return subprocess.Popen([cluster.synod, "job", *words, "--at", f"{at.host}:{at.port}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(done):
    return json.loads(done.stdout)["rows"]


def load(cluster, records):
    with cluster.any().conn() as c:
        items = list(records.items())
        for at in range(0, len(items), 500):
            replies = c.pipeline([("HSET", key, *[w for pair in fields.items() for w in pair]) for key, fields in items[at:at + 500]])
            expect(all(isinstance(r, int) and not isinstance(r, bool) for r in replies), replies[:3])


def packages(count, seed):
    """{"pkg:NAME": fields}: names that others depend on are few, so that there is a ranking, with ties at its end."""
    draw = random.Random(seed)
    made = {}
    for i in range(count):
        needs = [f"lib{int(draw.paretovariate(0.8)) % 40}" for _ in range(draw.randrange(5))]
        text = ", ".join(n + draw.choice(["", " (>= 1.2)", ":any", " | other"]) for n in needs)
        made[f"pkg:p{i}"] = {"Package": f"p{i}", "Size": str(draw.randrange(10000)), "Section": draw.choice("abc"), **({"Depends": text} if text else {})}
    return made


def ranking(records):
    count = collections.Counter()
    for fields in records.values():
        count.update({n for part in re.split(r"[,|]", fields.get("Depends", "")) if (n := re.match(r"[\w.+-]*", part.strip()).group())})
    return [[f"{i + 1:2d} {name}", str(n)] for i, (name, n) in enumerate(sorted(count.items(), key=lambda x: (-x[1], x[0]))[:10])]


def by_awk(env, records):
    path = os.path.join(env.dir, "packages")
    with open(path, "w", encoding="ascii") as out:
        for fields in records.values():
            out.write("".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n")
    command = f"awk -f '{EXAMPLES}/top_dependencies.awk' '{path}' | sort -k1,1nr -k2,2 | sed -n 1,10p"
    said = subprocess.run(command, shell=True, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
    return [[f"{i + 1:2d} {line.split()[1]}", line.split()[0]] for i, line in enumerate(said.splitlines())]


@scenario(limit=120)
def a_ranking_is_what_awk_and_a_loop_find(env):
    c = Cluster(env).up()
    records = packages(3000, 1)
    load(c, records)
    load(c, {f"noise:{i}": {"Depends": "lib1"} for i in range(50)})
    expected = ranking(records)
    expect(by_awk(env, records) == expected, "awk and Python differ", by_awk(env, records), expected)
    done = job(c, "run", f"{EXAMPLES}/top_dependencies.lua", "--match", "pkg:*", "--type", "hash", "--partitions", "1", "--json")
    expect(rows(done) == expected, done.stdout, expected)
    text = job(c, "run", f"{EXAMPLES}/top_dependencies.lua", "--match", "pkg:*", "--partitions", "1", "--rows", "3").stdout
    expect("... and 7 more rows" in text and re.search(rf"^{re.escape(expected[0][0])} +{expected[0][1]}$", text, re.M), text)
    expect(json.loads(job(c, "history", "--json").stdout) == [], "a job without a name is in the history")
    total = sum(int(r["Size"]) for r in records.values())
    got = rows(job(c, "query", "SUM", "FIELD", "Size", "MATCH", "pkg:*", "--json"))
    expect(got[0][-1] == str(total), got, total)
    got = rows(job(c, "query", "COUNT", "BY", "Section", "--match", "pkg:*", "--json"))
    expect(dict(got) == {k: str(n) for k, n in collections.Counter(r["Section"] for r in records.values()).items()}, got)


@scenario(limit=120)
def a_job_with_a_name_is_kept_and_its_keys_are_written_at_once(env):
    c = Cluster(env).up()
    records = packages(500, 2)
    load(c, records)
    source = os.path.join(env.dir, "sections.lua")
    with open(source, "w", encoding="ascii") as out:
        out.write("function map(key, p, emit) emit(p.Section, tonumber(p.Size)) end")
    said = job(c, "run", source, "--match", "pkg:*", "--reduce", "sum", "--combine", "sum", "--into", "size:", "--name", "sizes").stdout
    expect("the result is in the keys that begin with 'size:'" in said, said)
    sums = collections.Counter()
    for r in records.values():
        sums[r["Section"]] += int(r["Size"])
    got = {k: c.any().do("GET", f"size:{k}") for k in sums}
    expect(got == {k: str(n).encode() for k, n in sums.items()}, got, sums)
    expect([j["name"] for j in json.loads(job(c, "history", "--json").stdout)] == ["sizes"], "the history")
    expect("state      done" in job(c, "status", "sizes").stdout and job(c, "log", "sizes").stdout, "status and log")
    job(c, "result", "sizes", status=1)
    job(c, "run", source, "--match", "*", "--reduce", "sum", "--name", "sizes", status=1)  # another job of that name
    expect("is forgotten" in job(c, "forget", "sizes").stdout, "forget")
    expect("there is no job" in job(c, "status", "sizes", status=1).stderr, "status of what is forgotten")


@scenario(limit=120)
def errors_of_users_code_are_told_and_a_cancelled_job_leaves_nothing(env):
    c = Cluster(env, groups=4).up()
    load(c, packages(100, 3))
    bad, slow = os.path.join(env.dir, "bad.lua"), os.path.join(env.dir, "slow.lua")
    with open(bad, "w", encoding="ascii") as out:
        out.write("function map(key, p, emit)\n  if key == 'pkg:p7' then error('I do not like it') end\nend\nfunction reduce(k, v, emit) end")
    with open(slow, "w", encoding="ascii") as out:
        out.write("function task(i, n, emit) emit('k', 1) while true do end end\nfunction reduce(k, v, emit) emit(k, 1) end")
    said = job(c, "run", bad, "--match", "pkg:*", status=1).stderr
    expect("failed: map failed at key 'pkg:p7'" in said and "I do not like it" in said, said)
    expect("failed" in job(c, "history").stdout, "a failed job is kept, with or without a name")
    said = job(c, "query", "MEDIAN", status=1).stderr
    expect("expected COUNT" in said, said)
    runs = started(c, "run", slow, "--tasks", "2", "--into", "out:", "--name", "slow", "--limit", "cpu=10m")
    until(30, "it runs", lambda: json.loads(job(c, "status", "slow", "--json").stdout)["running"])
    job(c, "forget", "slow", status=1)
    job(c, "result", "slow", status=1)
    job(c, "wait", "slow", "--timeout", "1", status=1)
    job(c, "cancel", "slow")
    _, errors = runs.communicate(timeout=60)
    expect(runs.returncode == 1 and "was cancelled" in errors, runs.returncode, errors)
    expect(c.any().do("GET", "out:k") is None, "a cancelled job has written")


@scenario(limit=180)
def bars_go_on_while_the_owner_and_the_node_that_was_asked_die(env):
    c = Cluster(env).up()
    records = packages(4000, 4)
    load(c, records)
    with open(f"{EXAMPLES}/top_dependencies.lua", encoding="ascii") as example:
        source = example.read().replace("local seen", "local t = os.clock() while os.clock() < t + 0.002 do end\n  local seen")
    path = os.path.join(env.dir, "slow.lua")
    with open(path, "w", encoding="ascii") as out:
        out.write(source)
    runs = started(c, "run", path, "--match", "pkg:*", "--partitions", "1", "--name", "slow")  # asks node 1

    def half():
        v = json.loads(job(c, "status", "slow", "--json", node=c.nodes[1]).stdout)
        return v if v["state"] == "map" and v["maps-done"] > 3 else None
    owner = c.by_id(until(60, "some maps are done", half)["owner"])
    owner.kill()
    time.sleep(2)  # the others take over
    owner.start()
    c.wait_ready()
    if owner is not c.nodes[0]:
        c.nodes[0].kill()
    said, errors = runs.communicate(timeout=120)
    expect(runs.returncode == 0 and "going on with the node at" in said, runs.returncode, said, errors)
    shown = [list(m.groups()) for line in said.splitlines() if (m := re.fullmatch(r"([ \d]\d \w+) +(\d+)", line))]
    expect(shown == ranking(records), said, ranking(records))


if __name__ == "__main__":
    sys.exit(main())
