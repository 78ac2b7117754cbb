#!/usr/bin/env python3
"""Jobs on clusters of real processes: the examples and every built-in query beside a plain loop in Python over the same data, and what the
JOB commands answer.  jobs.py SYNOD [--long]"""
import math
import random
import re
import sys
import threading
from collections import Counter, defaultdict
from fractions import Fraction

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, expect, main, scenario
from jobkit import (Jobs, as_commands, as_rows, at_once, documents, example, forgotten, load, nothing_left, packages, pairs, read_prefix, word_counts)


# ---- the examples ----

def needed(data):
    count = Counter()
    for fields in data.values():
        count.update(set(re.findall(rb"([A-Za-z0-9.+-]+)[^,|]*", fields.get(b"Depends", b""))))
    best = sorted(count, key=lambda name: (-count[name], name))[:10]
    return [(b"%2d %s" % (i, name), b"%d" % count[name]) for i, name in enumerate(best, 1)]


def index(docs):
    keys = defaultdict(set)
    for key, said in docs.items():
        for word in re.findall(rb"[A-Za-z]+", said.lower()):
            keys[word].add(key)
    return {word: b" ".join(sorted(k)) for word, k in keys.items()}


def shop(users, orders):
    choose = random.Random(3)
    data = {b"user:%d" % u: {b"id": b"u%d" % u, b"name": b"name%d" % u} for u in range(users)}
    for o in range(orders):  # some of them by nobody that there is
        data[b"order:%d" % o] = {b"user": b"u%d" % choose.randrange(users + 2), b"sum": b"%d" % choose.randrange(10000)}
    return data


def bills(data):
    names = {v[b"id"]: v[b"name"] for k, v in data.items() if k.startswith(b"user:")}
    return {k[6:]: names[v[b"user"]] + b" owes " + v[b"sum"] for k, v in data.items() if k.startswith(b"order:") and v[b"user"] in names}


@scenario(limit=90)
def the_examples_give_what_a_loop_in_python_gives(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    pkgs, docs, sales = packages(), documents(400), shop(40, 300)
    for data in (pkgs, docs, sales):
        load(c, as_commands(data))
    jobs.submit("words", "MAP", "LUA", example("word_count"), "COMBINE", "SUM", "REDUCE", "SUM", "MATCH", "doc:*", "INTO", "count:")
    jobs.submit("words2", "MAP", "LUA", example("word_count"), "MATCH", "pkg:*", node=c.nodes[1])
    jobs.submit("index", "MAP", "LUA", example("inverted_index"), "MATCH", "doc:*", "TYPE", "string", "INTO", "word:", node=c.nodes[2])
    jobs.submit("needed", "MAP", "LUA", example("top_dependencies"), "MATCH", "pkg:*", "PARTITIONS", 1, "RETURN")
    jobs.submit("joined", "MAP", "LUA", example("join"), "MATCH", "*:*", "TYPE", "hash", "INTO", "bill:")
    jobs.submit("pi", "TASKS", 6, "LUA", example("monte_carlo_pi"))
    jobs.submit("pi again", "TASKS", 6, "LUA", example("monte_carlo_pi"), "PARTITIONS", 2)
    for name in ("words", "words2", "index", "needed", "joined", "pi", "pi again"):
        jobs.done(name)
    expect(read_prefix(c.nodes[0], "count:") == as_rows(word_counts(docs.values())), "words")
    counts = word_counts(v for fields in pkgs.values() for v in fields.values())
    expect(jobs.result("words2").dict() == as_rows(counts), "words of hashes")
    expect(jobs.result("words2").rows == sorted(jobs.result("words2").rows), "rows come in the order of their keys")
    expect(read_prefix(c.nodes[1], "word:") == index(docs), "index")
    expect(jobs.result("needed").rows == needed(pkgs), "needed:", jobs.result("needed").rows, needed(pkgs))
    expect(read_prefix(c.nodes[2], "bill:") == bills(sales), "joined")
    pi = jobs.result("pi").dict()
    expect(pi == jobs.result("pi again").dict(), "the same darts give the same pi")
    expect(abs(float(pi[b"pi"]) - math.pi) < 5 * 1.642 / math.sqrt(6e6), pi)
    nothing_left(c)
    forgotten(c)
    c.expect_equal_digests()


# ---- queries ----

def number(value):
    try:
        return Fraction(value.decode()) if re.fullmatch(rb"-?\d+(\.\d+)?", value) else None
    except UnicodeDecodeError:
        return None


def shown(v):
    """A double as synod writes it."""
    return repr(int(v)).encode() if v == int(v) else repr(float(v)).encode()


def values_of(data, field):
    return [(k, v[field]) for k, v in sorted(data.items()) if field in v]


def near(a, b):
    return math.isclose(float(a), float(b), rel_tol=1e-14)


def check_numbers(jobs, data, ask):
    sizes = [int(number(v)) for _, v in values_of(data, b"Size")]
    expect(len(sizes) > 100, "the sample has sizes")
    records = str(len(data)).encode()
    for op, twin in (("SUM", sum(sizes)), ("MIN", min(sizes)), ("MAX", max(sizes))):
        got = ask(op, "FIELD", "Size")
        expect(got.rows == [(op.lower().encode(), str(twin).encode())], op, got.rows, twin)
        expect(got.notes[b"records"] == records and got.notes[b"values"] == b"%d" % len(sizes), got.notes)
    got = ask("AVG", "FIELD", "Size")
    expect(got.rows[0][0] == b"avg" and near(got.rows[0][1], Fraction(sum(sizes), len(sizes))), "AVG", got.rows)
    expect(ask("COUNT").rows == [(b"count", records)], "COUNT")
    expect(ask("COUNT", "FIELD", "Tag").rows == [(b"count", b"%d" % len(values_of(data, b"Tag")))], "COUNT FIELD")
    skips = ask("SUM", "FIELD", "Version")  # of which some are numbers and most are not
    told = [number(v) for _, v in values_of(data, b"Version")]
    expect(near(skips.rows[0][1], sum(v for v in told if v is not None)), "SUM of versions", skips.rows)
    expect(skips.notes[b"skipped"] == b"%d" % sum(v is None for v in told), skips.notes)
    ranks = sorted(sizes)
    got = ask("QUANTILES", "FIELD", "Size")
    expect(got.notes[b"method"] == b"exact" and len(got.rows) == 12, got.notes)
    for q, v in got.rows:
        at = max(0, math.ceil(float(q) * len(ranks)) - 1)
        expect(int(v) == ranks[at], f"quantile {q} is {v}, not {ranks[at]}")
    got = ask("HISTOGRAM", "STEP", 50000, "FIELD", "Size")
    width = int(got.notes[b"width"])
    twin = Counter(s // width * width for s in sizes)
    expect(width % 50000 == 0 and [(int(a), int(n)) for a, n in got.rows] == sorted(twin.items()), "HISTOGRAM", got.rows)


def check_groups(data, ask):
    size = {k: int(v) for k, v in values_of(data, b"Size")}
    groups = defaultdict(list)
    for key, section in values_of(data, b"Section"):
        groups[section].append(key)
    for op, fn in (("COUNT", len), ("SUM", lambda k: sum(size[x] for x in k)), ("MIN", lambda k: min(size[x] for x in k)),
                   ("MAX", lambda k: max(size[x] for x in k))):
        words = (op, "BY", "Section") if op == "COUNT" else (op, "FIELD", "Size", "BY", "Section")
        got = ask(*words)
        twin = [(s, b"%d" % fn(k)) for s, k in sorted(groups.items())]
        expect(got.rows == twin, words, got.rows[:4], twin[:4])
    expect(ask("GROUP", "BY", "Section").rows == [(s, b"%d" % len(k)) for s, k in sorted(groups.items())], "GROUP")
    parts = Counter(k.split(b":")[0] for k in data)
    expect(ask("GROUP", "COUNT", "BY", "PART", 1).rows == [(p, b"%d" % n) for p, n in sorted(parts.items())], "BY PART")


def check_rows(data, ask):
    top = sorted(((-int(v), k) for k, v in values_of(data, b"Size")))[:25]
    expect(ask("TOP", 25, "FIELD", "Size").rows == [(k, b"Size", b"%d" % -v) for v, k in top], "TOP")
    sections = {v for _, v in values_of(data, b"Section")}
    got = ask("DISTINCT", "FIELD", "Section")
    expect(got.rows == [(b"distinct", b"%d" % len(sections))] and got.notes[b"method"] == b"exact", "DISTINCT", got.rows)
    got = ask("GREP", "game", "FIELD", "Tag")
    expect([r[0] for r in got.rows] == [k for k, v in values_of(data, b"Tag") if b"game" in v], "GREP", got.rows)
    expect(all(r[1] == b"Tag" and b"game" in r[2] for r in got.rows) and got.rows, "GREP shows", got.rows[:2])


@scenario(limit=120)
def each_query_gives_what_a_loop_in_python_gives(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    data, sales = packages(), shop(30, 200)
    load(c, as_commands(data))
    load(c, as_commands(sales))
    load(c, (("SET", f"pkg:{i}", i) for i in range(50)))  # of another type: TYPE leaves them out
    at = iter(range(1 << 30))

    def ask(*query):
        return jobs.run(*query, "MATCH", "pkg:*", "TYPE", "hash", node=c.nodes[next(at) % 3])
    check_numbers(jobs, data, ask)
    check_groups(data, ask)
    check_rows(data, ask)
    joined = jobs.run("JOIN", "order:*", "FIELD", "user", "MATCH", "order:1*")
    orders = sorted((v[b"user"], k) for k, v in sales.items() if k.startswith(b"order:"))
    twin = sorted((u, a, b) for u, a in orders if a.startswith(b"order:1") for w, b in orders if w == u)
    expect(joined.rows == twin, "JOIN", joined.rows[:3], twin[:3])
    nothing_left(c)
    expect(jobs.do("HISTORY") == [], "what RUN made is in no history:", jobs.do("HISTORY"))
    jobs.submit("q", "MAP", "SUM", "FIELD", "Size", "BY", "Section", "MATCH", "pkg:*", "TYPE", "hash", "PARTITIONS", 5, "INTO", "sum:")
    sums = Counter()
    for key, section in values_of(data, b"Section"):
        sums[section] += int(data[key].get(b"Size", 0))
    jobs.done("q")
    expect(read_prefix(c.nodes[1], "sum:") == as_rows(sums), "a query's rows INTO keys")
    nothing_left(c)


@scenario(limit=90, backends=("epoll",))
def queries_over_many_strings_are_exact_or_within_what_they_state(env):
    c = env.cluster(groups=8).up()
    jobs, choose = Jobs(c), random.Random(11)
    values = [choose.randrange(-10**15, 10**15) for _ in range(30000)]
    load(c, (("SET", f"n:{i}", v) for i, v in enumerate(values)))
    expect(jobs.run("SUM", "MATCH", "n:*").rows == [(b"sum", b"%d" % sum(values))], "whole numbers are summed exactly")
    expect(jobs.run("COUNT").rows == [(b"count", b"30000")])
    top = sorted(((-v, f"n:{i}".encode()) for i, v in enumerate(values)))[:1000]
    expect([(r[0], int(r[2])) for r in jobs.run("TOP", 1000).rows] == [(k, -v) for v, k in top], "TOP 1000")
    ranks = sorted(values)
    for q, v in jobs.run("QUANTILES").rows:
        lo = sum(1 for x in ranks if x < float(v)) / len(ranks)
        expect(abs(lo - float(q)) <= 0.006, f"quantile {q}: {v} has rank {lo}")
    expect(jobs.run("DISTINCT").rows == [(b"distinct", b"%d" % len(set(values)))])
    groups = Counter(k.split(b":")[1][:0] + k.split(b":")[0] for k in (f"n:{i}".encode() for i in range(30000)))
    expect(jobs.run("GROUP", "BY", "PART", 1).rows == [(b"n", b"%d" % groups[b"n"])])
    got = jobs.run("GROUP", "SUM", "BY", "PART", 2, "MATCH", "n:1*")  # a group for each key: a large result, in many pieces
    twin = sorted((f"{i}".encode(), b"%d" % v) for i, v in enumerate(values) if str(i).startswith("1"))
    expect(got.rows == twin, "a group for each key", len(got.rows), len(twin))
    nothing_left(c)


# ---- bytes ----

@scenario(limit=60)
def keys_and_values_may_be_any_bytes(env):
    c = env.cluster(groups=4).up()
    jobs, choose = Jobs(c), random.Random(5)
    odd = [b"\xff\xfe", b"\x00", b"\r\n", b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x92", b"$-1\r\n", b" ", b"'\"\\", b""]
    data = {b"b:" + k: k[::-1] for k in odd}
    data.update({b"b:" + choose.randbytes(choose.randrange(1, 300)): choose.randbytes(choose.randrange(5000)) for _ in range(300)})
    load(c, as_commands(data))
    jobs.submit(b"\xffname\x00", "MAP", "LUA", "function map(k, v, emit) emit(k, v) end\nfunction reduce(k, vs, emit) "
                "for v in vs do emit(k, v) end end", "MATCH", "b:*", "INTO", b"\xfe:")
    jobs.done(b"\xffname\x00")
    with c.nodes[1].conn() as conn:
        got = conn.pipeline([("GET", b"\xfe:" + k) for k in data])
    expect(got == list(data.values()), "bytes come through as they are")
    expect(jobs.run("COUNT", "MATCH", b"b:\xff*").rows == [(b"count", b"%d" % sum(k.startswith(b"b:\xff") for k in data))])
    grep = jobs.run("GREP", b"\xff\xfe"[::-1], "MATCH", "b:*")
    expect([r[0] for r in grep.rows] == sorted(k for k, v in data.items() if b"\xfe\xff" in v), "GREP of bytes", grep.rows[:2])
    nothing_left(c)


# ---- commands ----

WRONG = (
    (("SUBMIT",), "wrong number of arguments"), (("SUBMIT", "x"), "wrong number of arguments", "what to do is missing"),
    (("SUBMIT", "", "MAP", "COUNT"), "name is empty"), (("SUBMIT", "n" * 129, "MAP", "COUNT"), "too long"),
    (("SUBMIT", "x", "MAP"), "wrong number of arguments"), (("SUBMIT", "x", "MAP", "MEDIAN"), "unknown query"), (("SUBMIT", "x", "MAP", "LUA"), "LUA"),
    (("SUBMIT", "x", "MAP", "LUA", ""), "empty source"), (("SUBMIT", "x", "MAP", "LUA", b"\x1bLJ"), "bytecode"),
    (("SUBMIT", "x", "REDUCE", "SUM"), "what to do is missing"), (("SUBMIT", "x", "MAP", "COUNT", "REDUCE", "SUM"), "not for queries"),
    (("SUBMIT", "x", "MAP", "COUNT", "PARTITIONS", 0), "out of range"), (("SUBMIT", "x", "MAP", "COUNT", "PARTITIONS", "two"), "not a whole number"),
    (("SUBMIT", "x", "TASKS", 0, "LUA", "s"), "out of range"), (("SUBMIT", "x", "TASKS", 3, "LUA", "s", "MATCH", "a*"), "not for TASKS"),
    (("SUBMIT", "x", "MAP", "COUNT", "LIMITS"), "LIMITS lacks"), (("SUBMIT", "x", "MAP", "COUNT", "LIMITS", "MEMORY", "1k"), "out of range"),
    (("SUBMIT", "x", "MAP", "COUNT", "INTO"), "INTO"), (("SUBMIT", "x", "MAP", "COUNT", "SNAPSHOT", "abc"), "not an id"),
    (("RUN",), "wrong number of arguments"), (("RUN", "MEDIAN"), "unknown query 'MEDIAN'"), (("RUN", "TOP", 0), "out of range"),
    (("RUN", "COUNT", "INTO", "x"), "unknown word 'INTO'"), (("RUN", "COUNT", "TYPE", "stream"), "unknown type"),
    (("RUN", "GROUP"), "by what"), (("RUN", "TOP", 5, "BY", "f"), "BY is not for"), (("RUN", "JOIN", "a*"), "on what"),
    (("STATUS",), "wrong number of arguments"), (("STATUS", "a", "b"), "wrong number of arguments"), (("STATUS", "none"), "NOJOB"),
    (("LIST", "x"), "wrong number of arguments"), (("HISTORY", "x"), "wrong number of arguments"),
    (("CANCEL",), "wrong number of arguments"), (("CANCEL", "none"), "NOJOB"), (("CANCEL", "a", "b"), "wrong number of arguments"),
    (("RESULT",), "wrong number of arguments"), (("RESULT", "none"), "NOJOB"), (("LOG",), "wrong number of arguments"), (("LOG", "none"), "NOJOB"),
    (("WAIT",), "wrong number of arguments"), (("WAIT", "none"), "NOJOB"), (("WAIT", "none", "soon"), "milliseconds"),
    (("WAIT", "none", -1), "milliseconds"), (("WAIT", "none", 1, 2), "milliseconds", "wrong number"), (("FORGET",), "wrong number of arguments"),
    (("FORGET", "none"), "NOJOB"), (("DANCE",), "unknown subcommand"), ((), "wrong number of arguments"))


@scenario(limit=60, backends=("uring",))
def wrong_commands_are_told_what_is_wrong(env):
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    for i, (words, *says) in enumerate(WRONG):
        got = c.nodes[i % 3].do("JOB", *words)
        expect(isinstance(got, Err) and any(s.lower() in got.lower() for s in says), "JOB", *words, "was answered", repr(got), "nothing of", says)
    expect(isinstance(jobs.do("HELP"), list), "JOB HELP")
    gone = c.nodes[0].do("JOB", "RUN", "COUNT", "SNAPSHOT", "00000000deadbeef")
    expect(isinstance(gone, Err) and gone.startswith("JOBFAILED") and "snapshot" in gone, "a snapshot that never was", gone)
    jobs.submit("slow", "TASKS", 1, "LUA", "function task(i, n, emit) local t = os.clock() while os.clock() - t < 3 do end emit('a', 1) end",
                "REDUCE", "SUM")
    for words, says in ((("RESULT", "slow"), "JOBRUNS"), (("FORGET", "slow"), "JOBRUNS")):
        got = jobs.do(*words)
        expect(isinstance(got, Err) and got.startswith(says), words, got)
    expect(jobs.do("WAIT", "slow", 50) is None, "WAIT gives up after its time")
    expect([pairs(j)[b"name"] for j in jobs.do("LIST")] == [b"slow"], "LIST shows what runs")
    expect(jobs.do("WAIT", "slow", 20000) == b"done", "WAIT tells the end")
    got = jobs.do("CANCEL", "slow")
    expect(isinstance(got, Err) and "ended" in got, "what is done is not cancelled", got)
    expect(jobs.result("slow").dict() == {b"a": b"1"})
    jobs.submit("into", "MAP", "COUNT", "INTO", "k:")
    jobs.done("into")
    got = jobs.do("RESULT", "into")
    expect(isinstance(got, Err) and "'k:'" in got, "the result is in keys", got)
    jobs.forget("slow", "into")
    expect(jobs.do("STATUS", "slow").startswith("NOJOB"))
    nothing_left(c)


@scenario(limit=60, backends=("epoll",))
def a_name_is_one_job_however_often_it_is_submitted(env):
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    load(c, (("SET", f"k:{i}", i) for i in range(100)))
    first = jobs.submit("j", "MAP", "COUNT", "MATCH", "k:*")
    expect(jobs.submit("j", "MAP", "COUNT", "MATCH", "k:*", node=c.nodes[2]) == first, "the same again is the same job")
    other = jobs.do("SUBMIT", "j", "MAP", "COUNT", "MATCH", "l:*")
    expect(isinstance(other, Err) and other.startswith("JOBEXISTS"), "another one of that name", other)
    jobs.done("j")
    expect(jobs.submit("j", "MAP", "COUNT", "MATCH", "k:*") == first, "after its end as well")
    for turn in range(env.seconds(5, 30)):
        same = at_once([lambda n=n: jobs.do("SUBMIT", f"same{turn}", "MAP", "COUNT", "MATCH", "k:*", node=n) for n in c.nodes + c.nodes])
        expect(len(set(same)) == 1 and isinstance(same[0], bytes), "the same from all nodes at once", same)
        differ = at_once([lambda n=n: jobs.do("SUBMIT", f"differ{turn}", "MAP", "COUNT", "MATCH", f"k:{n.number}*", node=n) for n in c.nodes])
        won = [d for d in differ if not isinstance(d, Err)]
        expect(len(won) == 1 and all(d.startswith("JOBEXISTS") for d in differ if isinstance(d, Err)), "differing ones at once", differ)
        winner = next(n for n, d in zip(c.nodes, differ) if not isinstance(d, Err))
        jobs.done(f"same{turn}").done(f"differ{turn}")
        expect(jobs.result(f"same{turn}").rows == [(b"count", b"100")])
        twin = sum(str(i).startswith(str(winner.number)) for i in range(100))
        expect(jobs.result(f"differ{turn}").rows == [(b"count", b"%d" % twin)], "the winner's spec is the job")
        jobs.forget(f"same{turn}", f"differ{turn}")
    jobs.forget("j")
    again = jobs.submit("j", "MAP", "COUNT", "MATCH", "l:*")
    expect(again != first, "a name that was forgotten is free")
    jobs.done("j")
    nothing_left(c)


@scenario(limit=60, backends=("epoll",))
def a_job_reads_one_moment_and_a_given_snapshot_stays(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, (("SET", f"k:{i}", i) for i in range(2000)))
    snapshot = c.nodes[0].do("SNAPSHOT", "CREATE")
    expect(not isinstance(snapshot, Err), snapshot)
    load(c, (("SET", f"k:{i}", 1000000) for i in range(2000)))
    load(c, (("SET", f"k:{i}", 1000000) for i in range(2000, 2500)))
    for n in c.nodes:
        expect(jobs.run("SUM", "MATCH", "k:*", "SNAPSHOT", snapshot, node=n).rows == [(b"sum", b"%d" % sum(range(2000)))], "as it was")
        expect(jobs.run("SUM", "MATCH", "k:*", node=n).rows == [(b"sum", b"2500000000")], "as it is")
    expect(len(c.nodes[1].do("SNAPSHOT", "LIST")) == 1, "a snapshot that was given stays", c.nodes[1].do("SNAPSHOT", "LIST"))
    expect(c.nodes[2].do("SNAPSHOT", "DROP", snapshot) == 1)
    stop = threading.Event()

    def swap():  # of two keys that sum up to 100, in one transaction
        with c.nodes[1].conn() as conn:
            while not stop.is_set():
                conn.pipeline([("MULTI",), ("DECRBY", "t:{a}", 7), ("INCRBY", "t:{b}", 7), ("EXEC",)])
    load(c, [("SET", "t:{a}", 60), ("SET", "t:{b}", 40)])
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(env.seconds(10, 100)):
            expect(jobs.run("SUM", "MATCH", "t:*").rows == [(b"sum", b"100")], "a job sees transactions whole or not at all")
    finally:
        stop.set()
        thread.join()
    nothing_left(c)


@scenario(limit=60, backends=("uring",))
def four_nodes_with_less_than_all_on_each(env):
    """Each group is on three of four nodes, so maps must find their ranges, and reduces fetch from nodes that hold none of theirs."""
    c = env.cluster(nodes=4, groups=16).up()
    jobs = Jobs(c)
    docs = documents(1500)
    load(c, as_commands(docs))
    jobs.submit("w", "MAP", "LUA", example("word_count"), "MATCH", "doc:*", "PARTITIONS", 9)
    jobs.done("w")
    expect(jobs.result("w").dict() == as_rows(word_counts(docs.values())), "words")
    expect(jobs.run("COUNT").rows == [(b"count", b"1500")])
    down = next(n for n in c.nodes if n is not jobs.owner())
    down.kill()
    jobs.submit("w2", "MAP", "LUA", example("word_count"), "MATCH", "doc:*", "PARTITIONS", 5)
    jobs.done("w2")
    expect(jobs.result("w2").dict() == as_rows(word_counts(docs.values())), "words, with a node down")
    down.start()
    c.wait_ready()
    nothing_left(c)


if __name__ == "__main__":
    sys.exit(main())
