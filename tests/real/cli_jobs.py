#!/usr/bin/env python3
"""`synod job` against nodes that are played: cli_jobs.py SYNOD. What a node says of JOB is scripted here, so that a node can be lost
at any point of a job, errors come that a cluster gives seldom, and what is drawn is known beforehand. (With real nodes: jobs.py.)
Prints "ok name" or "not ok name" a case."""
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

SYNOD = os.path.abspath(sys.argv[1])
failed = False


def case(name, good, *detail):
    global failed
    print(f"{'ok' if good else 'not ok'} {name}", flush=True)
    if not good:
        failed = True
        print("   ", *detail)


# ---- nodes ----

class Err(str):
    pass


def encode(value):
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, Err):
        return b"-%s\r\n" % value.encode()
    if isinstance(value, bool):
        return b"+OK\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, dict):
        return encode([part for pair in value.items() for part in pair])
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(encode(v) for v in value)
    raw = value if isinstance(value, bytes) else value.encode()
    return b"$%d\r\n%s\r\n" % (len(raw), raw)


class Node:
    """Listens, and answers each command as `answer(node, words)` says; what raises Dies ends the node: it closes all it has."""

    class Dies(Exception):
        pass

    def __init__(self, answer):
        self.answer, self.open = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(conn)
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        stream = conn.makefile("rb")
        try:
            while line := stream.readline():
                words = [stream.read(int(stream.readline()[1:]) + 2)[:-2].decode() for _ in range(int(line[1:]))]
                conn.sendall(encode(self.answer(self, words)))
        except self.Dies:
            self.end()
        except (OSError, ValueError):
            pass

    def end(self):
        """shutdown, for close alone does not wake who accepts or reads in another thread."""
        for s in [self.listener, *self.open]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


class Play:
    """A cluster of nodes that plays one job: each STATUS shows the next of `scenes` (the last one again and again)."""

    def __init__(self, scenes, nodes=1, **answers):
        self.scenes, self.answers, self.said, self.lock = list(scenes), answers, [], threading.Lock()
        self.dies_at = None  # the first node ends at this STATUS
        self.nodes = [Node(self.answer) for _ in range(nodes)]
        self.at = self.nodes[0].at

    def answer(self, node, words):
        with self.lock:
            self.said.append((self.nodes.index(node), words))
            if words[:2] == ["CLUSTER", "SLOTS"]:
                return [[0, 16383, *[["127.0.0.1", n.port, "id"] for n in self.nodes]]]
            verb = words[1].lower()
            if verb == "status":
                if self.dies_at == 0 and node is self.nodes[0]:
                    raise Node.Dies
                self.dies_at = None if self.dies_at is None else self.dies_at - 1
                scene = self.scenes.pop(0) if len(self.scenes) > 1 else self.scenes[0]
                return scene if isinstance(scene, Err) else {"name": words[2], "id": "00000000000000aa", **scene}
            reply = self.answers.get(verb, "aaaaaaaaaaaaaaaa" if verb == "submit" else True)
            return reply.pop(0) if isinstance(reply, list) and verb == "submit" else reply

    def words(self, verb):
        return [w for _, w in self.said if w[:1] == ["JOB"] and w[1] == verb]

    def end(self):
        for n in self.nodes:
            n.end()


def scene(state, maps_done=0, reduces_done=0, maps=10, reduces=2, **more):
    return {"state": state, "owner": 1, "maps": maps, "maps-done": maps_done, "reduces": reduces, "reduces-done": reduces_done,
            "running": 3, "failures": 0, "records": maps_done * 1000, "bytes": maps_done * 1000000, "submitted-ms": 1, "spent-ms": 2500,
            "snapshot": "", "error": "", "a-word-of-tomorrow": ["x"], **more}


A_JOB = [scene("submitted", maps=0, reduces=0), scene("cut", maps=0, reduces=0), *[scene("map", n) for n in (0, 2, 4, 6, 8)],
         scene("reduce", 10, 0), scene("reduce", 10, 1), scene("committing", 10, 2), scene("done", 10, 2, failures=1)]
RESULT = {"rows": [["libc6", "31000"], ["zlib1g", "9000"], ["perl:any", "70"]], "notes": {"records": "63000", "method": "exact"}}


def synod(*words, timeout=60):
    return subprocess.run([SYNOD, "job", *words], capture_output=True, text=True, timeout=timeout, check=False)


# ---- cases ----

def check_usage():
    for words, status in (([], 2), (["nonsense"], 2), (["--at", "h:1", "list"], 2), (["run"], 2), (["run", "a", "b"], 2), (["query"], 2),
                          (["status"], 2), (["list", "x"], 2), (["status", "x", "--rows", "3"], 2), (["wait", "x", "--json"], 2),
                          (["query", "COUNT", "--tasks", "3"], 2), (["run", SYNOD, "--partitions", "0"], 2),
                          (["run", "/nonexistent.lua"], 1), (["run", "/dev/null"], 1), (["run", "/"], 1),
                          (["status", "x", "--at", "127.0.0.1:1"], 1), (["--help"], 0), (["run", "--help"], 0)):
        done = synod(*words)
        one_line = status == 0 or (len(done.stderr.strip().splitlines()) == 1 and not done.stdout)
        case(f"exit status {status} of synod job {' '.join(words)}", done.returncode == status and one_line, done)


def check_limits(lua):
    for text in ("memory", "memory=", "memory=12xb", "memory=-1", "memory=1m=2", "memory=99999999999999999999", "memory=18014398509481984kb",
                 "heap=1mb", "time=3mb", "=3", "memory=1mb,", "cpu=1.5s"):
        done = synod("run", lua, "--limit", text)
        case(f"--limit {text} is refused before anybody is asked", done.returncode == 2 and "--limit" in done.stderr, done)


def check_run(lua):
    play = Play(A_JOB, result=RESULT)
    done = synod("run", lua, "--at", play.at, "--match", "pkg:*", "--type", "hash", "--partitions", "4", "--reduce", "sum", "--rows", "2",
                 "--limit", "memory=256mb", "--limit", "time=10m,cpu=1500")
    sent = play.words("SUBMIT")[0]
    case("a run sends its file and its options as the words of JOB SUBMIT", sent[3:] == [
        "MAP", "LUA", "-- the source\n", "REDUCE", "sum", "MATCH", "pkg:*", "TYPE", "hash", "PARTITIONS", "4", "LIMITS", "MEMORY",
        str(256 << 20), "TIME", "600000", "CPU", "1500"], sent)
    case("a name is drawn from the file's", re.fullmatch(r"top_x-[0-9a-f]{8}", sent[2]) is not None, sent[2])
    lines = done.stdout.splitlines()
    steps = [line.split()[0] for line in lines if "%" in line]
    case("without a terminal there is a line for each step", list(dict.fromkeys(steps)) == ["cut", "map", "reduce", "publish"], done)
    case("columns are aligned, numbers to the right, and rows beyond --rows are counted", lines[-4:] == [
        "libc6   31000", "zlib1g   9000", "... and 1 more row", "(records: 63000, method: exact)"], done)
    case("it says what failed on the way", "done after 2.5 s: 10000 records, 10.0 MB; 1 attempt failed" in done.stdout, done)
    case("a job without a name is forgotten, one time, after its result", done.returncode == 0 and
         [w[1] for _, w in play.said if w[0] == "JOB" and w[1] != "STATUS"] == ["SUBMIT", "RESULT", "FORGET"] and
         play.words("FORGET")[0][2] == sent[2], play.said)
    play.end()

    play = Play(A_JOB, result={"rows": [["a", b"\x00\xff"], ["tab\t", "é"]], "notes": {}})
    done = synod("run", lua, "--at", play.at, "--name", "mine", "--tasks", "7", "--json")
    case("with --json there is one object on stdout, bytes that are no text in hex", done.returncode == 0 and json.loads(done.stdout) == {
        "rows": [["a", {"hex": "00ff"}], ["tab\t", "é"]], "notes": {}} and "map" in done.stderr, done)
    case("a job with a name is kept; --tasks is a word", not play.words("FORGET") and
         play.words("SUBMIT")[0][2:] == ["mine", "TASKS", "7", "LUA", "-- the source\n"], play.said)
    play.end()

    for more, said in ((["--json"], '{"rows": [], "notes": {"into": "out:"}}'), ([], "the result is in the keys that begin with 'out:'")):
        play = Play(A_JOB, result=Err("ERR not a job with rows"))
        done = synod("run", lua, "--at", play.at, "--into", "out:", *more)
        case("a job INTO has no rows to ask for", done.returncode == 0 and done.stdout.splitlines()[-1] == said and not play.words("RESULT") and
             play.words("SUBMIT")[0][-2:] == ["INTO", "out:"] and len(play.words("FORGET")) == 1, done)
        play.end()

    play = Play([scene("done")], result={"rows": [["\x1b[31mred", "x" * 100]], "notes": {}})
    done = synod("result", "mine", "--at", play.at)
    case("what a terminal would obey is shown as text, and what is long is cut", done.stdout == "\\x1b[31mred  " + "x" * 57 + "...\n", done)
    play.end()


def check_query():
    play = Play([scene("done", 10, 2)], result={"rows": [["42"]], "notes": {"records": "42"}})
    done = synod("query", "SUM", "FIELD", "Installed-Size", "MATCH", "pkg:*", "--at", play.at)
    sent = play.words("SUBMIT")[0]
    case("a query's words are passed on, under a drawn name", sent[3:] == ["MAP", "SUM", "FIELD", "Installed-Size", "MATCH", "pkg:*"] and
         sent[2].startswith("query-"), sent)
    case("its rows are shown, and it is forgotten", done.returncode == 0 and "42\n(records: 42)\n" in done.stdout and play.words("FORGET"), done)
    play.end()
    play = Play([scene("done")], submit=Err("ERR unknown query 'MEDIAN'; expected COUNT, SUM"))
    done = synod("query", "MEDIAN", "--at", play.at)
    case("what the node refuses is said in its words", done.returncode == 1 and
         done.stderr == "synod: unknown query 'MEDIAN'; expected COUNT, SUM\n" and not play.words("STATUS"), done)
    play.end()


def check_ends(lua):
    play = Play([scene("map", 4), scene("failed", 4, error="map failed at key 'k1': map:3: no (task 4, attempt 5)")])
    done = synod("run", lua, "--at", play.at)
    case("a job that fails is an exit status of 1 and its reason", done.returncode == 1 and "map failed at key 'k1'" in done.stderr and
         "synod job log top_x-" in done.stderr and not play.words("RESULT") and not play.words("FORGET"), done)
    play.end()
    play = Play([scene("map", 4), scene("cancelled", 4)])
    done = synod("wait", "x", "--at", play.at)
    case("so is one that was cancelled", done.returncode == 1 and "was cancelled" in done.stderr, done)
    play.end()
    play = Play([scene("map", 4)])
    done = synod("wait", "x", "--at", play.at, "--timeout", "1")
    case("a wait ends at its timeout", done.returncode == 1 and "not ended after 1 s" in done.stderr, done)
    play.end()
    play = Play([Err("NOJOB there is no job of that name")], forget=Err("NOJOB there is no job of that name"))
    done = synod("status", "x", "--at", play.at)
    case("there is no such job", done.returncode == 1 and "there is no job 'x'" in done.stderr, done)
    play.end()
    play = Play([scene("done")], result=RESULT, forget=Err("NOJOB there is no job of that name"))
    case("a job that somebody else has forgotten is forgotten", synod("run", lua, "--at", play.at).returncode == 0 and play.words("FORGET"))
    play.end()
    play = Play([{"state": "dreaming"}])
    done = synod("wait", "x", "--at", play.at)
    case("a state that is not known is no job", done.returncode == 1 and "same version" in done.stderr, done)
    play.end()


def check_lost_nodes(lua):
    play = Play(A_JOB, nodes=3, result=RESULT)
    play.dies_at = 4
    done = synod("run", lua, "--at", play.at)
    case("when the node that was asked dies, another one is asked", done.returncode == 0 and "is gone" in done.stdout and
         f"going on with the node at {play.nodes[1].at}" in done.stdout and "libc6" in done.stdout, done)
    case("... of the nodes that the first one named, and the job is not submitted again", len(play.words("SUBMIT")) == 1 and
         {n for n, w in play.said if w[1] == "RESULT"} == {1}, play.said)
    play.end()

    play = Play(A_JOB, result=RESULT, submit=[Err("TRYAGAIN later"), Err("UNKNOWN whether it was done"), Err("CLUSTERDOWN"), "aaaaaaaaaaaaaaaa"])
    done = synod("run", lua, "--at", play.at)
    case("what may pass is asked again, under the same name", done.returncode == 0 and len({w[2] for w in play.words("SUBMIT")}) == 1 and
         len(play.words("SUBMIT")) == 4, done, play.said)
    play.end()


def read_terminal(words, columns, wanted=None):
    """The raw output of synod job on a terminal, and its exit status; Ctrl-C once `wanted` was seen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(SYNOD, [SYNOD, "job", *words])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    text, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
        if wanted and wanted in text:
            os.write(fd, b"\x03")
            wanted = None
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    return text.decode(), os.waitstatus_to_exitcode(status)


def screen_of(text):
    """What stands on the screen at the end, a line a string."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\d*[A-Z]|.", text, re.DOTALL):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token.endswith("A") and len(token) > 1:
            row -= int(token[2:-1])
        elif token == "\x1b[K":
            lines[row] = lines[row][:column]
        elif token == "\x1b[J":
            lines[row:] = [lines[row][:column]]
        else:
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1:]
            column += 1
    return [line.rstrip() for line in lines]


def check_terminal(lua):
    play = Play([*A_JOB[:4], *[scene("map", 4)] * 4, *A_JOB[4:]], nodes=2, result=RESULT)
    play.dies_at = 6
    text, status = read_terminal(["run", lua, "--at", play.at], 130)
    screen = screen_of(text)
    bars = [line for line in screen if "[" in line]
    case("on a terminal there are four bars at the end, all full", status == 0 and len(bars) == 4 and
         [b.split()[0] for b in bars] == ["cut", "map", "reduce", "publish"] and all("[" + "#" * 40 + "] 100 %" in b for b in bars), screen)
    case("what is said stands above them, once", sum("going on with" in line for line in screen) == 1 and
         screen.index(bars[0]) > [i for i, line in enumerate(screen) if "going on with" in line][0], screen)
    case("they were half full on the way, with tasks and the time left", "[" + "#" * 16 + "-" * 24 + "]  40 %  4 of 10 tasks, 3 run" in text
         and re.search(r"about \d+ s to go", text) and re.search(r"\d+ records/s, \d+\.\d MB/s", text), text)
    play.end()

    play = Play([scene("map", 4)], result=RESULT)
    text, status = read_terminal(["run", lua, "--at", play.at], 45, wanted=b" 40 %")
    screen = screen_of(text)
    bars = [line for line in screen if "[" in line]
    case("no bar is longer than the terminal is wide", len(bars) == 4 and max(map(len, bars)) == 44, screen)
    case("Ctrl-C ends the watching, says that the job goes on, and asks for nothing", status == 130 and
         "The job goes on" in text and "synod job cancel top_x-" in text and {w[1] for _, w in play.said} == {"SLOTS", "SUBMIT", "STATUS"},
         status, screen, play.said)
    play.end()


def check_looking():
    list_of = [{"name": "a", "id": "1", "state": "map", "submitted-ms": 1700000000000, "spent-ms": 1500, "maps": 4, "maps-done": 1,
                "reduces": 2, "reduces-done": 0, "error": ""},
               {"name": "b\x1b", "id": "2", "state": "failed", "submitted-ms": 1700000000000, "spent-ms": 99000, "maps": 4,
                "maps-done": 1, "reduces": 2, "reduces-done": 0, "error": "it broke"}]
    play = Play([scene("map", 4, snapshot="00000000000000ff")], list=list_of, history=[], log=["one", "two\x1b"], cancel=True,
                forget=Err("ERR it has not ended"), result=Err("JOBRUNS it has not ended; JOB WAIT waits"))
    at = ["--at", play.at]
    done = synod("list", *at)
    case("a list has a line for each job", done.returncode == 0 and re.search(r"^map +\S+ \S+ +1\.5 +1/4 +0/2  a$", done.stdout, re.M) and
         re.search(r"^failed .* 99\.0 .*b\\x1b: it broke$", done.stdout, re.M), done)
    case("and as JSON what the node said", json.loads(synod("list", "--json", *at).stdout) == list_of)
    case("nothing is said to be nothing", synod("history", *at).stdout == "(none)\n" and synod("history", "--json", *at).stdout == "[]\n")
    case("a log is its lines", synod("log", "x", *at).stdout == "one\ntwo\\x1b\n")
    done = synod("status", "x", *at)
    case("a status has it all", "4 of 10 maps, 0 of 2 reduces; 3 run, 0 failed" in done.stdout and "00000000000000ff" in done.stdout, done)
    case("and as JSON", json.loads(synod("status", "x", "--json", *at).stdout)["maps-done"] == 4)
    case("cancel asks for it", synod("cancel", "x", *at).stdout == "job x is being cancelled\n" and play.words("CANCEL") == [["JOB", "CANCEL", "x"]])
    done = synod("forget", "x", *at)
    case("what cannot be forgotten yet is said", done.returncode == 1 and "it has not ended" in done.stderr, done)
    done = synod("result", "x", *at)
    case("a result that is not there yet is an error", done.returncode == 1 and "it has not ended" in done.stderr, done)
    play.end()


def main():
    signal.alarm(300)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        lua = os.path.join(directory, "top_x.lua")
        with open(lua, "w", encoding="utf-8") as out:
            out.write("-- the source\n")
        check_usage()
        check_limits(lua)
        check_run(lua)
        check_query()
        check_ends(lua)
        check_lost_nodes(lua)
        check_terminal(lua)
        check_looking()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
