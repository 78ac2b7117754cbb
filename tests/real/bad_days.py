#!/usr/bin/env python3
"""Bad input and bad days: hostile clients and peers, damaged and full disks, lost disks, wrong use.  bad_days.py SYNOD [--clock SO]

None of it may lose an acknowledged write, end a node that should live, or leave a client without an answer."""
import mmap
import os
import random
import resource
import select
import shutil
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Closed, Conn, Err, Load, Skip, die_with_parent, encode, expect, free_ports, main, refused, run, scenario, until

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 4096


# ---- clients ----

MALFORMED = (b"*1\r\n:1\r\n", b"*1\r\n$abc\r\nPING\r\n", b"*1\r\n$-5\r\n", b"*99999999999999999999\r\n", b"*2147483648\r\n", b"*1048577\r\n",
             b"*x\r\n", b"*1\r\n$99999999999999\r\n", b"*1\r\n$4\r\nPINGxx", b"*1\r\n+OK\r\n", b"*1\r\n$" + b"1" * 70000,
             b"SET k \"unbalanced\r\n", b"x" * 70000)


@scenario()
def malformed_requests_are_answered_with_an_error_and_hurt_nobody_else(env):
    c = env.cluster(nodes=1).up()
    node, choose = c.nodes[0], random.Random(1)
    with node.conn() as good:
        for text in MALFORMED:
            with node.conn(5) as bad:
                bad.raw(text)
                reply = bad.reply()
                expect(isinstance(reply, Err) and reply.startswith("ERR Protocol error"), text[:40], "was answered", reply)
                expect(bad.rest() == b"", "more came after the error", text[:40])
            expect(good.do("PING") == b"PONG", "after", text[:40])
        for _ in range(200):
            with node.conn(5) as bad:
                bad.raw(bytes(choose.choice(b"*$+-:\r\n0123456789 \"'PINGSET\0\xff") for _ in range(choose.randint(1, 60))))
        for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"):
            with node.conn(5) as bad:
                bad.raw(text)
                expect(isinstance(bad.reply(), Err), text)
        for args in (["SET"], ["SET", "k"], ["NOSUCH", "x"], ["GET", "a", "b"], ["SET", "k", "v", "EX", "0"], ["INCRBY", "k", "x"]):
            expect(isinstance(good.do(*args), Err), args, "was not refused")
        expect(good.do("SET", "k", "v") == b"OK")
    expect(node.alive(), node.said()[-300:])


@scenario()
def half_requests_and_slow_writers_get_their_turn(env):
    node = env.cluster(nodes=1).up().nodes[0]
    half = [node.conn() for _ in range(50)]
    for i, conn in enumerate(half):
        conn.raw(encode(("SET", f"h{i}", "x" * 1000))[:20 + i * 10])
    with node.conn() as slow, node.conn() as quick:
        for byte in encode(("SET", "slow", "value")):
            slow.raw(bytes([byte]))
            expect(quick.do("PING") == b"PONG")
        expect(slow.reply() == b"OK")
        for conn in half[:25]:
            conn.close()  # in the middle of a request: it never happened
        for i, conn in enumerate(half[25:], 25):
            conn.raw(encode(("SET", f"h{i}", "x" * 1000))[20 + i * 10:])
            expect(conn.reply() == b"OK")
        expect(quick.do("DBSIZE") == 26, "DBSIZE", quick.do("DBSIZE"))


@scenario()
def a_client_that_never_reads_costs_bounded_memory(env):
    """It asks for gigabytes and reads none of them. The server stops reading from it; others are served; and what it asked for is
    still right when it reads at last."""
    c = env.cluster().up()
    value = random.Random(2).randbytes(MIB)
    expect(c.nodes[0].do("SET", "big", value) == b"OK")
    leader = c.leader_of("big")
    for node in (leader, c.others(leader)[0]):  # its own replies, and those that come from another node
        before = node.memory()
        hungry = node.conn(10)
        hungry.sock.setblocking(False)
        asked, request, end = 0, encode(("GET", "big")) * 500, time.monotonic() + 4
        while asked < 8 * len(request) and time.monotonic() < end:
            if not select.select([], [hungry.sock], [], 0.5)[1]:
                break  # the server does not take more
            asked += hungry.sock.send(request)
        with node.conn() as other:
            for i in range(100):
                expect(other.do("SET", f"o{i}", i) == b"OK")
        grown = [n.memory() for n in c.nodes]
        expect(node.memory() - before < 192 * MIB, f"node {node.number} grew by {(node.memory() - before) // MIB} MiB;", grown)
        hungry.sock.setblocking(True)
        hungry.sock.settimeout(10)
        for _ in range(30):
            expect(hungry.reply() == value, "a reply that waited is wrong")
        hungry.close()
        expect(other_is_fine(node), "the node serves after the client went away")


def other_is_fine(node):
    return node.do("PING") == b"PONG" and node.do("SET", "fine", "1") == b"OK"


@scenario()
def a_reply_that_is_not_read_does_not_hold_up_the_same_keys(env):
    """One client reads a long hash bit by bit while others write to it."""
    node = env.cluster(nodes=1).up().nodes[0]
    with node.conn() as c:
        for at in range(0, 20000, 500):
            c.do("HSET", "h", *(w for i in range(at, at + 500) for w in (f"f{i}", "v" * 200)))
        with node.conn() as slow:
            slow.raw(encode(("HGETALL", "h")) * 5)
            for i in range(50):
                expect(c.do("HSET", "h", f"f{i}", "changed") == 0)
            first = slow.reply()
            expect(len(first) == 40000, "HGETALL has", len(first))
            for _ in range(4):
                expect(len(slow.reply()) == 40000)


@scenario(limit=90)
def ten_thousand_connections_are_served_and_one_more_is_told_no(env):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10000, hard - 500)
    if count < 1000:
        raise Skip(f"only {hard} files may be open here")
    node = env.cluster(nodes=1).up().nodes[0]
    before, conns = node.memory(), []
    try:
        for i in range(count):
            conns.append(node.conn(20))
            if i % 500 == 499:
                conns[-1].do("PING")  # so that the server's queue of connections never overflows
        for at in range(0, count, 1000):
            for conn in conns[at:at + 1000]:
                conn.send("INCR", "n")
            for conn in conns[at:at + 1000]:
                expect(isinstance(conn.reply(), int))
        expect(conns[0].do("GET", "n") == b"%d" % count)
        if count == 10000:
            with node.conn(10) as extra:
                reply = extra.reply()
                expect(isinstance(reply, Err) and "max number of clients" in reply, "client 10001 was told", reply)
        each = (node.memory() - before) // count
        print(f"# {count} connections, {each} bytes of memory each")
        expect(each < 32 * KIB, f"a connection takes {each} bytes")
    finally:
        for conn in conns:
            conn.close()
    until(10, "the node serves after they left", lambda: other_is_fine(node))


@scenario()
def keys_and_values_over_the_limits_are_refused_with_a_reason(env):
    c = env.cluster().up()
    with c.nodes[0].conn(30) as a:
        key = b"k" * (64 * KIB)
        expect(a.do("SET", key, "v") == b"OK", "a key of exactly 64 KiB")
        expect(a.do("GET", key) == b"v")
        for command in (("SET", key + b"k", "v"), ("GET", key + b"k"), ("HSET", key + b"k", "f", "v")):
            reply = a.do(*command)
            expect(isinstance(reply, Err) and "64 KiB" in reply, command[0], "with too long a key was answered", reply)
        value = random.Random(3).randbytes(32 * MIB)
        reply = until(30, "a value of exactly 32 MiB is taken", lambda: again_if_moved(a.do("SET", "big", value)))
        expect(reply == b"OK", "a value of exactly 32 MiB was answered", reply)
    for n in c.nodes:
        with n.conn(30) as b:
            expect(b.do("GET", "big") == value, f"the value of 32 MiB through node {n.number}")
            expect(b.do("STRLEN", "big") == 32 * MIB)
            grown = b.do("APPEND", "big", "x")
            expect(isinstance(grown, Err), "APPEND beyond the limit was answered", grown)
            grown = b.do("SETRANGE", "big", 32 * MIB, "x")
            expect(isinstance(grown, Err), "SETRANGE beyond the limit was answered", grown)
    with c.nodes[0].conn(30) as d:
        try:
            d.send("SET", "big", value + b"x")
        except ConnectionError:
            pass  # refused at its announced length, before it was sent whole
        reply = d.reply()
        expect(isinstance(reply, Err) and "Protocol error" in reply, "a value over 32 MiB was answered", reply)
    expect(c.nodes[1].do("STRLEN", "big") == 32 * MIB)
    expect(c.nodes[1].do("DEL", "big") == 1)
    expect(all(n.alive() for n in c.nodes))
    c.expect_equal_digests()


def again_if_moved(reply):
    """None for an answer that a busy machine may give, and that asks to try again."""
    return None if isinstance(reply, Err) and reply.startswith(("TRYAGAIN", "UNKNOWN")) else reply


# ---- peers ----

def hello_of_another_cluster(env):
    """The first frame of a node that was founded with a peer that we play."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    other = env.cluster(nodes=1, groups=1)
    port = listener.getsockname()[1]
    process = subprocess.Popen([env.synod, "server", "--data", other.nodes[0].dir, "--listen", f"127.0.0.1:{other.nodes[0].port}",
                                "--found", f"{other.nodes[0].peer},127.0.0.1:{port}", "--io", env.io],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        conn = listener.accept()[0]
        conn.settimeout(10)
        frame = b""
        while len(frame) < 16 or len(frame) < 16 + struct.unpack_from("<I", frame)[0]:
            part = conn.recv(4096)
            expect(part, "it says HELLO")
            frame += part
        conn.close()
        return frame
    finally:
        process.kill()
        process.wait()
        listener.close()


def peer_says(node, data, wait=0.3):
    """What the node's peer port answers; None: nothing, and it keeps the connection."""
    host, port = node.peer.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as s:
        s.settimeout(wait)
        answer = b""
        try:
            s.sendall(data)
            while part := s.recv(65536):
                answer += part
        except socket.timeout:
            return answer or None
        except ConnectionError:
            pass
        return answer


@scenario()
def strangers_at_the_peer_port_are_refused_and_change_nothing(env):
    hello = hello_of_another_cluster(env)
    c = env.cluster().up()
    choose = random.Random(4)
    before = c.nodes[0].status()["groups"]
    with Load(c.nodes, threads=2, pause=0.002) as load:
        for node in c.nodes:
            answer = peer_says(node, hello)
            expect(answer and b"this is cluster" in answer, "another cluster's HELLO was answered", answer)
            expect(hello[6:8] == b"\x01\x08", "type and version are where FORMAT.md has them", hello[:16])
            expect(peer_says(node, hello[:7] + b"\x01" + hello[8:]) == b"", "a frame of version 1 ends the connection")
            for _ in range(40):
                at = choose.randrange(4, len(hello))
                flipped = bytearray(hello)
                flipped[at] ^= 1 << choose.randrange(8)
                answer = peer_says(node, bytes(flipped))
                expect(answer == b"", f"a HELLO with a flipped bit at {at} was answered", answer)
            for garbage in (b"GET / HTTP/1.0\r\n\r\n", encode(("PING",)) * 2, choose.randbytes(4096), b"\xff" * 64, b"\0" * 64,
                            struct.pack("<I", 0xffffffff) + hello[4:]):
                expect(peer_says(node, garbage) == b"", "garbage ends the connection", garbage[:20])
            memory = node.memory()
            idle = []
            for _ in range(20):  # announces 90 MiB and sends nothing: believed only as it arrives
                host, port = node.peer.rsplit(":", 1)
                s = socket.create_connection((host, int(port)))
                s.sendall(struct.pack("<I", 90 * MIB) + hello[4:16])
                idle.append(s)
            load.grows(5)
            expect(node.memory() - memory < 64 * MIB, f"announced sizes took {(node.memory() - memory) // MIB} MiB")
            for s in idle:
                s.close()
    load.check(c.nodes[0])
    expect(all(n.alive() for n in c.nodes), "a node ended")
    after = c.nodes[0].status()["groups"]
    expect([g["leader"] for g in before] == [g["leader"] for g in after] or load.stall < 3, "leaders changed")
    c.expect_equal_digests()


@scenario()
def a_node_founded_with_another_list_is_refused_and_ends(env):
    c = env.cluster().up()
    stranger = env.cluster(nodes=1)
    n = stranger.nodes[0]
    n.extra = ["--found", f"{n.peer},{c.nodes[0].peer},{c.nodes[1].peer}"]
    n.start()
    expect(n.ended() == 1, "exit status; it said", n.said()[-300:])
    expect("cluster" in n.said() and "--found" in n.said(), n.said()[-300:])
    expect(c.nodes[0].do("SET", "a", "1") == b"OK")


# ---- starting ----

@scenario(needs_server=False)
def wrong_arguments_are_told_in_one_line(env):
    env.io = "auto"
    port = free_ports(4)
    base = [env.synod, "server", "--data", f"{env.dir}/w", "--listen", f"127.0.0.1:{port}"]
    for words, status, text in (
            (["--groups", "0"], 2, "groups"), (["--groups", "many"], 2, "groups"), (["--io", "kqueue"], 2, "io"), (["--nosuch"], 2, "nosuch"),
            (["--found", f"127.0.0.1:{port + 1},127.0.0.1:{port + 2}"], 2, "found"), (["--read-mode", "guess"], 2, "read-mode"),
            (["--replicas", "3"], 1, "replicas"), (["--fault", "gremlins=1"], 1, "fault"), (["--config", f"{env.dir}/none"], 1, "none")):
        refused(base + words, text, status=status)
    refused([env.synod, "server", "--data", f"{env.dir}/v", "--listen", "no.such.host.invalid:7000"], "no.such.host.invalid", status=2)
    refused([env.synod, "server", "--listen", f"127.0.0.1:{port}"], "--data", status=2)


@scenario()
def a_taken_port_and_a_taken_directory_are_told(env):
    c = env.cluster(nodes=1).up()
    n = c.nodes[0]
    refused(n.command(), "in use by another process", str(n.process.pid))
    other = ["--data", f"{env.dir}/other", "--io", env.io]
    spare = free_ports(1)
    refused([env.synod, "server", *other, "--listen", f"127.0.0.1:{n.port}", "--peer", f"127.0.0.1:{spare + 10000}"],
            f"127.0.0.1:{n.port}", "Address already in use")
    refused([env.synod, "server", *other, "--listen", f"127.0.0.1:{spare}", "--peer", n.peer], n.peer, "Address already in use")
    expect(other_is_fine(n))


@scenario(needs_server=False)
def a_directory_without_permission_is_told(env):
    os.chmod(env.dir, 0o755)
    binary = f"{env.dir}/synod"
    shutil.copy(env.synod, binary)
    os.mkdir(f"{env.dir}/closed", 0o700)
    os.mkdir(f"{env.dir}/readonly", 0o755)
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            raise Skip("root may write anywhere, and there is no setpriv to become somebody else")
        prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    else:
        os.chmod(f"{env.dir}/closed", 0)
        os.chmod(f"{env.dir}/readonly", 0o555)
    port = free_ports(1)
    for where in ("closed/data", "readonly", "readonly/data"):
        refused([*prefix, binary, "server", "--data", f"{env.dir}/{where}", "--listen", f"127.0.0.1:{port}"], where, "Permission denied")
    with open(f"{env.dir}/file", "w", encoding="ascii"):
        pass
    refused([binary, "server", "--data", f"{env.dir}/file", "--listen", f"127.0.0.1:{port}"], "file", "Not a directory")


def damage(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


@scenario()
def a_directory_of_another_format_is_refused(env):
    c = env.cluster(nodes=1).up()
    n = c.nodes[0]
    expect(n.do("SET", "a", "1") == b"OK")
    n.kill()
    kept = f"{env.dir}/kept"
    shutil.copytree(n.dir, kept)

    def again(change, *texts):
        shutil.rmtree(n.dir)
        shutil.copytree(kept, n.dir)
        change()
        refused(n.command(), *texts)

    again(lambda: damage(f"{n.dir}/log-000001", 0, b"SOMEBODY"), "log-000001")
    again(lambda: damage(f"{n.dir}/log-000001", 0, b"\0" * BLOCK), "log")
    again(lambda: damage(f"{n.dir}/identity", 0, b"\xa5" * (3 * BLOCK)), "identity", "damaged")
    again(lambda: os.unlink(f"{n.dir}/identity"), "identity")
    again(lambda: os.truncate(f"{n.dir}/identity", 100), "identity")
    again(lambda: damage(f"{n.dir}/engine/CURRENT", 0, b"MANIFEST-999999\n"), "engine")
    shutil.rmtree(n.dir)
    shutil.copytree(kept, n.dir)
    damage(f"{n.dir}/identity", 0, b"\xa5" * (2 * BLOCK))  # two copies of four are enough
    n.start()
    c.wait_ready()
    expect(n.do("GET", "a") == b"1")


# ---- disks ----

def blocks(path):
    """Offsets of the blocks in a segment (docs/FORMAT.md), in order, those of its present life only."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        if m[:8] != b"SYNODLOG":
            return 0, []
        sequence = struct.unpack_from("<Q", m, 32)[0]
        found, at = [], BLOCK
        while at + 80 <= len(m) and m[at:at + 4] == b"SBLK" and struct.unpack_from("<Q", m, at + 24)[0] == sequence:
            size = 80 + struct.unpack_from("<I", m, at + 72)[0]
            found.append((at, size))
            at += (size + BLOCK - 1) // BLOCK * BLOCK
        return sequence, found


def newest_segment(directory):
    """(path, [(offset, size) of its blocks])"""
    segments = []
    for name in os.listdir(directory):
        if name.startswith("log-"):
            sequence, found = blocks(os.path.join(directory, name))
            if found:
                segments.append((sequence, os.path.join(directory, name), found))
    expect(segments, "there is a log segment with blocks")
    return max(segments)[1:]


@scenario()
def a_torn_tail_is_cut_and_said(env):
    """The last write of a killed node is damaged as a power loss could: the node starts, says so, and comes to the same data."""
    c = env.cluster().up()
    with Load(c.nodes) as load:
        load.grows(200)
        n = env.rng.choice(c.nodes)
        n.kill()
        load.grows(50)
    for how in ("zeros", "garbage"):
        path, found = newest_segment(n.dir)
        at, size = found[-1]
        start = max(80, size // 2) if size > 80 else 8  # what the checksum covers, not where it says whose it is
        damage(path, at + start, (b"\0" if how == "zeros" else b"\xa5") * (size - start))
        checked = run([env.synod, "log", "check", n.dir])
        expect(checked.returncode == 0 and "torn tail" in checked.stdout, f"log check ({how}):", checked)
        n.start()
        c.wait_ready()
        expect("torn" in n.said() or "cut" in n.said(), f"the node does not say that it cut a torn tail ({how}):", n.said()[-500:])
        c.expect_equal_digests()
        n.kill()
    n.start()
    c.wait_ready()
    load.check(n)


@scenario()
def a_byte_flipped_before_the_tail_keeps_the_node_from_starting(env):
    c = env.cluster().up()
    with Load(c.nodes) as load:
        load.grows(200)
        n = env.rng.choice(c.nodes)
        n.kill()
        path, found = newest_segment(n.dir)
        at, size = found[len(found) // 2]
        with open(path, "rb") as f:
            f.seek(at + 80 + (size - 80) // 2)
            byte = f.read(1)[0]
        damage(path, at + 80 + (size - 80) // 2, bytes([byte ^ 0x10]))
        checked = run([env.synod, "log", "check", n.dir])
        expect(checked.returncode == 1 and "damaged" in checked.stdout + checked.stderr, "log check:", checked)
        n.start()
        expect(n.ended() == 1, "exit status")
        last = n.said().strip().splitlines()[-1]
        expect("corrupt" in last or "damaged" in last, "it says what is wrong:", last)
        expect(os.path.basename(path) in last, "it says where:", last)
        expect("rebuil" in last or "new id" in last, "it says how to rebuild:", last)
        load.grows(50)
    load.check(c.others(n)[0])


@scenario()
def a_failing_write_ends_the_node_at_once_and_the_others_go_on(env):
    c = env.cluster()
    n = env.rng.choice(c.nodes)
    n.extra = ["--fault", "write-eio-after=400"]
    c.up()
    with Load(c.nodes) as load:
        expect(n.ended(30) == 1, "exit status")
        said = n.said().strip().splitlines()[-1]
        expect("nput/output error" in said and "log" in said, "it says why:", said)
        load.grows(100)
        n.extra = []
        n.start()
        c.wait_ready()
        load.grows(100)
    load.check(n)
    c.expect_equal_digests()


@scenario()
def a_node_that_lost_its_disk_is_refused_and_ends(env):
    """Under its old name with an empty directory it could vote twice. Its old directory brought back, it is welcome."""
    c = env.cluster().up()
    with Load(c.nodes) as load:
        load.grows(100)
        n = env.rng.choice(c.nodes)
        n.kill()
        os.rename(n.dir, f"{env.dir}/kept")
        n.start()
        expect(n.ended() == 1, "exit status; it said", n.said()[-300:])
        last = n.said().strip().splitlines()[-1]
        expect("lost its disk" in last, "it says why:", last)
        expect("old data directory" in last, "it says what to do:", last)
        load.grows(100)
        n.start()  # it tries again, and is refused again
        expect(n.ended() == 1, "exit status of the second try")
        shutil.rmtree(n.dir)
        os.rename(f"{env.dir}/kept", n.dir)
        n.start()
        c.wait_ready()
        load.grows(100)
    load.check(n)
    c.expect_equal_digests()


@scenario(limit=90)
def a_full_disk_refuses_writes_and_recovers_when_there_is_room(env):
    """A small file system of its own. Writes are refused with -OOM, reads and deletes go on; then room is made."""
    small = f"{env.dir}/small"
    os.mkdir(small)
    if run(["mount", "-t", "tmpfs", "-o", "size=360m", "synod-test", small]).returncode != 0:
        raise Skip("a small file system cannot be mounted here")
    env.cleanup(lambda: run(["umount", "-l", small]))
    c = env.cluster(nodes=1, directory=f"{small}/c").up()
    n = c.nodes[0]
    value = random.Random(5).randbytes(256 * KIB)
    with open(f"{small}/ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, 80 * MIB)
    done = fill(n, value)
    expect(len(done) >= 100, f"only {len(done)} writes before the disk was full: {n.said()[-300:]}")
    with n.conn() as conn:
        for at in range(0, len(done), 50):
            got = conn.pipeline([("GET", k) for k in done[at:at + 50]])
            expect(all(v == value for v in got), "reads go on and are right")
        for i in range(20):
            reply = conn.do("SET", f"more{i}", value)
            expect(isinstance(reply, Err) and reply.startswith("OOM"), "a write to a full disk was answered", reply)
        gone = done[:len(done) // 2]
        for k in gone:
            reply = conn.do("DEL", k)
            expect(reply == 1, "a delete on a full disk was answered", reply)
        expect(conn.do("EXISTS", gone[0]) == 0)
    expect("full" in n.said(), "the node says it:", n.said()[-300:])
    n.kill()
    n.start()
    c.wait_ready()
    expect(n.do("GET", done[-1]) == value, "a restart on the full disk reads what was acknowledged")
    os.unlink(f"{small}/ballast")
    until(20, "writes are accepted when there is room", lambda: n.do("SET", "again", value) == b"OK")
    n.kill()
    n.start()
    c.wait_ready()
    with n.conn() as conn:
        for k in done:
            expect(conn.do("GET", k) == (None if k in gone else value), f"{k} after a full disk and a restart")
        expect(conn.do("GET", "again") == value)


def fill(node, value):
    """Writes until every write is refused for want of room, for as long as it may take to flush what was written, which makes room by
    itself; the keys that were acknowledged."""
    done, refused = [], None
    with node.conn(20) as conn:
        for i in range(20000):
            reply = conn.do("SET", f"{{{i % 97}}}{i}", value)
            if not isinstance(reply, Err):
                done.append(f"{{{i % 97}}}{i}")
                refused = None
                continue
            expect(reply.startswith("OOM"), "a refusal is", reply)
            refused = refused or time.monotonic()
            if time.monotonic() > refused + 3:
                return done
            time.sleep(0.01)
    raise AssertionError("the disk never was full")


@scenario(limit=60)
def one_full_disk_of_three_stops_nothing_for_good(env):
    """Two nodes have room. The node without answers -OOM for what it leads, or hands it over; nothing acknowledged is lost, and nobody
    waits for ever."""
    small = f"{env.dir}/small"
    os.mkdir(small)
    if run(["mount", "-t", "tmpfs", "-o", "size=280m", "synod-test", small]).returncode != 0:
        raise Skip("a small file system cannot be mounted here")
    env.cleanup(lambda: run(["umount", "-l", small]))
    c = env.cluster()
    n = c.nodes[0]
    n.dir = f"{small}/data"
    c.up()
    with Load(c.nodes, threads=4, value=random.Random(6).randbytes(100 * KIB), tag="f") as load:
        until(40, "the small disk is full", lambda: "full" in n.said() or load.fault or not n.alive())
        expect(n.alive(), "the node with the full disk ended:", n.said()[-300:])
        time.sleep(2)
    for key in (k for t, done in enumerate(load.acknowledged) for k in [load.key(t, i) for i in done[-5:]]):
        for other in c.nodes:
            reply = other.do("GET", key)
            expect(reply == load.value, f"{key} through node {other.number} reads", repr(reply)[:100])
    load.check(c.nodes[1])
    expect(set(load.replies) <= {"OOM", "TRYAGAIN", "UNKNOWN"}, "answers", load.replies)


@scenario(limit=120)
def a_slow_disk_slows_and_breaks_nothing(env):
    c = env.cluster()
    n = env.rng.choice(c.nodes)
    n.extra = ["--fault", "dsync-delay-ms=100"]
    c.up(seconds=30)
    with Load(c.nodes) as load:
        load.grows(200, seconds=30)
        until(60, "the node knows that its disk is slow", lambda: "log device is slow" in n.said())
        until(60, "a node with a slow disk leads nothing any more", lambda: n.status() and not any(
            g["leader"] == n.number for g in c.others(n)[0].status()["groups"]))
        load.grows(50, seconds=30)
    load.check(n)
    c.expect_equal_digests()


# ---- clocks ----

class Clock:
    """The wall clock of one node: an offset in a file, which clock.c adds."""

    def __init__(self, env, node):
        library = env.options.clock
        if not library:
            raise Skip("no library that moves a process's clock (--clock)")
        path = f"{env.dir}/clock{node.number}"
        with open(path, "wb") as f:
            f.write(struct.pack("<q", 0))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 8)
        node.prefix = ["env", f"LD_PRELOAD={library}", f"SYNOD_TEST_CLOCK={path}"]

    def jump(self, seconds):
        self.map[:8] = struct.pack("<q", int(seconds * 1e9))


@scenario()
def clock_jumps_neither_lose_writes_nor_raise_the_dead(env):
    """The wall clocks of the nodes jump by hours, apart from each other. Leases do not look at them; a key that was seen expired stays
    expired, and one that has no time limit stays."""
    c = env.cluster()
    clocks = [Clock(env, n) for n in c.nodes]
    c.up()
    keys = [f"t{i}" for i in range(30)]
    for k in keys:
        expect(c.any().do("SET", k, "v", "EX", "1000") == b"OK")
        expect(c.any().do("SET", f"for-ever-{k}", "v") == b"OK")
    leaders = [g["leader"] for g in c.nodes[0].status()["groups"]]
    hours = 3600
    with Load(c.nodes, pause=0.001) as load:
        for jumps in ((2, 2, 2), (-3, 2, -1), (0, 0, 0), (0.0001, -0.0002, 48), (0, 0, 0)):
            for clock, jump in zip(clocks, jumps):
                clock.jump(jump * hours)
            load.grows(50)
            expect(abs(c.nodes[0].do("TIME") and int(c.nodes[0].do("TIME")[0]) - time.time() - jumps[0] * hours) < 5, "the clock did not jump")
            if jumps == (2, 2, 2):
                expired = [k for k in keys if c.any().do("GET", k) is None]
                expect(expired == keys, "all clocks are two hours on, and these are still there:", set(keys) - set(expired))
            for n in c.nodes:
                for k in keys:
                    expect(n.do("GET", k) is None, f"{k} was seen expired, and node {n.number} shows it again after jumps of", jumps)
                    expect(n.do("GET", f"for-ever-{k}") == b"v", f"for-ever-{k} through node {n.number}")
    load.check(c.nodes[0])
    expect(load.stall < 2, f"a client waited {load.stall:.1f} s; leases must not look at the wall clock")
    expect([g["leader"] for g in c.nodes[0].status()["groups"]] == leaders, "leaders changed because a wall clock jumped")
    c.expect_equal_digests()


if __name__ == "__main__":
    sys.exit(main())
